"""Compare, Present, the report, Runs and uploads in a real browser, and text of every script."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from analysis import report, story, storyboard
from analysis.measures import compare
from engine import record
from engine.registry import table
from tests.browser.conftest import SIZE, Serve, Server, settle, watched
from tests.synthetic import Shape, write_store
from tests.test_measures import quiet
from tests.test_pages_analysis import measured

pytestmark = pytest.mark.browser
SHAPE = Shape(languages=7, seeds=2, items=40, natural=0, probe=24, classes=4, layers=2, width=16, methods=("random", "magnitude", "sdp_cc"), levels=(0.5, 0.9))  # fmt: skip
STUDY = SHAPE.study
FIGURE = "[data-testid=stPlotlyChart] .js-plotly-plot"
SENTENCES = {"ar": "شغّل بعض الموسيقى الهادئة من فضلك", "hi": "कृपया थोड़ा संगीत चलाओ", "ru": "Включи, пожалуйста, музыку"}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A measured and compared study whose sentences are of several scripts."""
    store = write_store(tmp_path_factory.mktemp("told"), SHAPE)
    for path in store.rglob("details.parquet"):
        frame = record.read_frame(path)
        frame["text"] = [SENTENCES.get(code, text) for code, text in zip(frame["language"], frame["text"], strict=True)]
        record.write_frame(path, frame)
    measured(store)
    assert compare.compare(store, STUDY, say=quiet) == []
    return store


@pytest.fixture(scope="module")
def shared(told: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(told, tmp_path_factory.mktemp("server") / "app.log")
    yield server
    server.stop()


@pytest.fixture()
def tab(browser: Browser, shared: Server) -> Iterator[Page]:
    with watched(browser, shared.url) as page:
        yield page


def visit(page: Page, server: Server, address: str) -> Page:
    page.goto(f"{server.url}/{address}")
    settle(page)
    return page


def main(page: Page) -> str:
    return page.locator("[data-testid=stMainBlockContainer]").inner_text()


# -- Compare -------------------------------------------------------------------------------------------------------


def test_a_cold_link_restores_a_comparison(tab: Page, shared: Server) -> None:
    address = f"compare?studies={STUDY}&arms={STUDY}%2Fmagnitude&arms={STUDY}%2Fsdp_cc&reference={STUDY}%2Fsdp_cc&level=0.5&split=test&view=scores"
    visit(tab, shared, address)
    expect(tab.locator(FIGURE).first).to_be_visible()
    assert "At 50% sparsity magnitude is" in main(tab) and "than sdp_cc on the zero-shot mean" in main(tab)
    assert set(tab.url.partition("?")[2].split("&")) == set(address.partition("?")[2].split("&"))
    assert tab.locator("[data-testid=stAlert]").count() == 0


@pytest.mark.parametrize("view", ["Inside the network", "Masks", "Maps", "Size and speed", "Suite", "Settings"])
def test_every_view_of_a_comparison(tab: Page, shared: Server, view: str) -> None:
    visit(tab, shared, "compare")
    tab.get_by_role("button", name=view, exact=True).or_(tab.get_by_role("radio", name=view, exact=True)).first.click()
    settle(tab)
    expect(tab.locator(f"{FIGURE}, [data-testid=stDataFrame]").first).to_be_visible()


MARKED = "gd => [...gd.data].reduce((sum, trace) => sum + (trace.selectedpoints || []).length, 0)"


def encircle(page: Page, chart: Locator) -> None:
    """Draw a lasso around the left half of a map."""
    box = chart.locator(".nsewdrag").first.bounding_box()
    assert box is not None
    left, top, right, bottom = box["x"] + 2, box["y"] + 2, box["x"] + box["width"] / 2, box["y"] + box["height"] - 2
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom), (left, top + 4)):
        page.mouse.move(x, y, steps=6)
    page.mouse.up()


def test_a_lasso_on_one_map_marks_the_other(browser: Browser, tab: Page, shared: Server) -> None:
    visit(tab, shared, f"compare?studies={STUDY}&view=maps")
    charts = tab.locator(FIGURE)
    expect(charts).to_have_count(2)
    charts.first.scroll_into_view_if_needed()
    encircle(tab, charts.nth(1))
    expect(tab.get_by_text("marked examples")).to_be_visible()
    settle(tab)
    counts = [charts.nth(place).evaluate(MARKED) for place in (0, 1)]
    assert counts[0] == counts[1] > 1 and "items=" in tab.url
    with watched(browser, shared.url) as other:
        other.goto(tab.url)
        settle(other)
        expect(other.locator(FIGURE)).to_have_count(2)
        assert [other.locator(FIGURE).nth(place).evaluate(MARKED) for place in (0, 1)] == counts
    tab.get_by_role("button", name="Clear the lasso").click()
    expect(tab.get_by_text("marked examples")).to_have_count(0)
    settle(tab)
    assert [charts.nth(place).evaluate(MARKED) for place in (0, 1)] == [0, 0]


# -- Present -------------------------------------------------------------------------------------------------------


def test_a_story_is_walked_through_with_the_arrow_keys(tab: Page, shared: Server) -> None:
    visit(tab, shared, f"present?study={STUDY}")
    tab.get_by_role("button", name="Present").click()
    tab.wait_for_url("**mode=show**")
    settle(tab)
    first = tab.locator("h1").inner_text()
    assert (
        tab.locator("[data-testid=stSidebarNav]").count() == 0 and tab.locator("[data-testid=stSelectbox]").count() == 0
    )
    assert tab.locator(FIGURE).count() == 1
    tab.keyboard.press("ArrowRight")
    tab.wait_for_url("**slide=2**")
    settle(tab)
    second = tab.locator("h1").inner_text()
    assert second != first
    tab.keyboard.press("ArrowLeft")
    tab.wait_for_url("**slide=1**")
    settle(tab)
    assert tab.locator("h1").inner_text() == first
    tab.keyboard.press("Escape")
    tab.wait_for_url("**mode=edit**")
    settle(tab)
    expect(tab.locator("[data-testid=stSidebarNav]")).to_be_visible()


def test_a_screen_opens_cold_by_its_link(tab: Page, shared: Server) -> None:
    visit(tab, shared, f"present?study={STUDY}&mode=show&deck=story&slide=3")
    assert "loses most in" in tab.locator("h1").inner_text()
    expect(tab.get_by_text(re.compile(r"3 of \d+"))).to_be_visible()


def test_a_figure_is_kept_and_presented(browser: Browser, serve: Serve, told: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(told, tmp_path / "store"))
    server = serve(store)
    with watched(browser, server.url) as page:
        visit(page, server, f"degradation?study={STUDY}&method=sdp_cc&level=0.9")
        page.get_by_text("Data and export").first.click()
        page.get_by_role("button", name="Keep for presenting").first.click()
        expect(page.locator("[data-testid=stToast]")).to_contain_text("Kept")
        assert len(storyboard.read(store, STUDY)) == 1
        visit(page, server, f"present?study={STUDY}&deck=kept")
        page.get_by_role("textbox", name="Sentence").fill("This is what it costs.")
        page.get_by_role("textbox", name="Sentence").press("Enter")
        settle(page)
        page.get_by_role("button", name="Present").click()
        page.wait_for_url("**mode=show**")
        settle(page)
        assert page.locator("h1").inner_text() == "This is what it costs."
        page.get_by_role("link", name="See it live").click()
        page.wait_for_url("**/degradation?**method=sdp_cc**")


# -- the report ----------------------------------------------------------------------------------------------------


def test_a_report_opens_with_the_network_blocked(browser: Browser, told: Path, tmp_path: Path) -> None:
    assert report.write(told, STUDY, tmp_path / "report.html") == []
    context = browser.new_context(viewport=SIZE, offline=True)
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.append(request.url) if not request.url.startswith(("file:", "data:", "blob:")) else None)  # fmt: skip
    page.goto((tmp_path / "report.html").as_uri())
    figures = len(story.slides(story.Told(told, STUDY)))
    expect(page.locator(".js-plotly-plot")).to_have_count(figures)
    expect(page.locator(".js-plotly-plot .main-svg").first).to_be_visible()
    arabic = page.locator("td.text", has_text=SENTENCES["ar"]).first
    expect(arabic).to_be_visible()
    assert arabic.evaluate("cell => getComputedStyle(cell).direction") == "rtl"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.locator("#methods math").count() >= 2 and page.locator("merror").count() == 0
    page.emulate_media(media="print")
    assert page.locator("details:visible").count() == 0 and page.locator(".modebar:visible").count() == 0
    page.emulate_media(media="screen")
    assert len(page.pdf(format="A4")) > 50_000
    context.close()
    assert not wrong, wrong


def test_the_report_is_written_and_downloaded(browser: Browser, serve: Serve, told: Path, tmp_path: Path) -> None:
    server = serve(Path(shutil.copytree(told, tmp_path / "store")))
    with watched(browser, server.url) as page:
        visit(page, server, f"present?study={STUDY}")
        page.get_by_text("Without corpus sentences").click()
        settle(page)
        page.get_by_role("button", name="Write the report").click()
        expect(page.get_by_role("button", name="Download the report")).to_be_visible()
        with page.expect_download() as download:
            page.get_by_role("button", name="Download the report").click()
        download.value.save_as(tmp_path / "report.html")
    written = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Prunoscope report" in written and not any(text in written for text in SENTENCES.values())


# -- Runs, uploads, scripts ----------------------------------------------------------------------------------------


def test_a_run_goes_out_is_deleted_and_comes_back(browser: Browser, serve: Serve, told: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(told, tmp_path / "store"))
    server = serve(store)
    with watched(browser, server.url) as page:
        visit(page, server, f"runs?study={STUDY}")
        box = page.locator("[data-testid=stDataFrame] canvas").first.bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + 15, box["y"] + 52)  # the tick of the first row
        expect(page.get_by_text("1 ticked")).to_be_visible()
        with page.expect_download() as download:
            page.get_by_role("button", name="Take out as a zip file").click()
        download.value.save_as(tmp_path / download.value.suggested_filename)
        name = download.value.suggested_filename.removesuffix(".zip").replace("--", "/")
        page.get_by_role("button", name="Delete", exact=True).click()
        expect(page.get_by_text("1 deleted.")).to_be_visible()
        assert not (store / name).exists()
        page.get_by_role("button", name="Put back").click()
        expect(page.get_by_text("is back")).to_be_visible()
        assert (store / name).is_dir()
        shutil.rmtree(store / name)
        page.reload()
        settle(page)
        page.get_by_text("Bring in a run").click()
        page.locator("[data-testid=stFileUploader] input").set_input_files(tmp_path / download.value.suggested_filename)
        settle(page)
        page.get_by_role("button", name="Bring in", exact=True).click()
        expect(page.get_by_text("is here.")).to_be_visible()
        assert (store / name / "config.json").is_file()


def test_good_and_bad_files_are_uploaded(browser: Browser, serve: Serve, tmp_path: Path) -> None:
    server = serve(tmp_path / "store")
    rows = {
        "train.en.tsv": "play music\tplay\nlight on\tlight\n" * 10,
        "test.en.tsv": "music please\tplay\nlights\tlight\n",
        "test.ar.tsv": f"{SENTENCES['ar']}\tplay\nأطفئ الضوء\tlight\n",
    }
    for name, text in rows.items():
        (tmp_path / name).write_text(f"text\tlabel\n{text}", encoding="utf-8")
    (tmp_path / "test.de.tsv").write_text("text\tlabel\none\ttwo\tthree\n", encoding="utf-8")
    with watched(browser, server.url) as page:
        visit(page, server, "new-study")
        page.get_by_role("combobox", name="Task", exact=True).click()
        page.get_by_role("option", name="Your own data").click()
        settle(page)
        page.get_by_role("combobox", name="Data from").click()
        page.get_by_role("option", name="files to upload").click()
        settle(page)
        page.locator("[data-testid=stFileUploader] input").set_input_files(
            [tmp_path / name for name in (*rows, "test.de.tsv")]
        )
        expect(page.get_by_text("Not taken:")).to_be_visible()
        expect(page.locator("[data-testid=stAlert]").first).to_contain_text("test.de.tsv")
        expect(page.get_by_text("Here: test: ar, en; train: en")).to_be_visible()
        settle(page)
        page.get_by_role("button", name="Look at the data").click()
        expect(page.get_by_text("The data is read.")).to_be_visible()


@pytest.mark.parametrize("kind", ["measures", "criteria", "objectives", "scores"])
def test_every_formula_of_the_methods_page_is_drawn(tab: Page, shared: Server, kind: str) -> None:
    """The same formulas as in the report: drawn by the app's own KaTeX, none left as source."""
    visit(tab, shared, f"methods?kind={kind}")
    rows = [row for row in table(kind).values() if row.formula]
    for row in rows[:: max(1, len(rows) // 4)]:
        visit(tab, shared, f"methods?kind={kind}&entry={row.name}")
        expect(tab.locator(".katex").first).to_be_visible()
        assert tab.locator(".katex-error").count() == 0, row.name


def test_text_of_every_script_is_shown_as_it_is(tab: Page, shared: Server) -> None:
    """Shaped glyphs, not boxes: a rendered Arabic word is narrower than the sum of its isolated letters."""
    visit(tab, shared, "methods")
    widths = tab.evaluate(
        """() => {
          const measure = text => { const span = document.createElement('span'); span.textContent = text; span.style.fontSize = '40px';
            document.querySelector('h1').appendChild(span); const width = span.getBoundingClientRect().width; span.remove(); return width };
          const word = 'بسم'; return [measure(word), [...word].reduce((sum, letter) => sum + measure(letter), 0), measure('संगीत'), measure('音楽')]
        }"""
    )
    assert 0 < widths[0] < widths[1] and widths[2] > 0 and widths[3] > 0


# -- access --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "",
        "degradation",
        "compare",
        "compare?view=inside",
        "compare?view=maps",
        "compare?view=suite",
        "present",
        "present?mode=show",
        "runs",
        "methods",
        "new-study",
        "monitor",
    ],
)
def test_a_phone_shows_every_page_without_sideways_scrolling(browser: Browser, shared: Server, address: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    page = context.new_page()
    page.goto(f"{shared.url}/{address}")
    settle(page)
    block = page.locator("[data-testid=stMainBlockContainer]")
    assert block.evaluate("node => node.scrollWidth <= node.clientWidth + 1")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth + 1")
    context.close()


def test_every_figure_has_words_for_those_who_cannot_see_it(tab: Page, shared: Server) -> None:
    for address in ("degradation", "compare", "alignment", "weights"):
        visit(tab, shared, address)
        expect(tab.locator(FIGURE).first).to_be_visible()
        charts = tab.locator("[data-testid=stPlotlyChart]").all()
        labels = [chart.evaluate("node => (node.closest('[aria-label]') || node.querySelector('[aria-label]'))?.getAttribute('aria-label') || ''") for chart in charts]  # fmt: skip
        assert charts and all(len(label) > 20 for label in labels), (address, labels)


def test_the_menu_and_controls_are_reached_by_keyboard(tab: Page, shared: Server) -> None:
    visit(tab, shared, "degradation")
    reached = set()
    for _ in range(40):
        tab.keyboard.press("Tab")
        reached.add(
            tab.evaluate(
                "document.activeElement?.getAttribute('aria-label') || document.activeElement?.innerText || ''"
            )
        )
    assert "Compare" in reached and any("Method" in text for text in reached), reached
