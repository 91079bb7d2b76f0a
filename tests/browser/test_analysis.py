"""The analysis pages in a real browser: cold links with parameters, selections in figures, downloads, maps made on request."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import Server, settle, watched
from tests.synthetic import Shape, write_store
from tests.test_pages_analysis import measured

pytestmark = pytest.mark.browser
SHAPE = Shape(
    languages=3, seeds=2, items=40, natural=0, probe=24, classes=4, layers=2, width=16,
    methods=("random", "magnitude"), levels=(0.5, 0.9), restored=True,
)  # fmt: skip
FIGURE = "[data-testid=stPlotlyChart] .js-plotly-plot"
# One link per page with every control away from its default, and what must stand on the page that it opens.
LINKS = {
    "degradation?study=synthetic&method=random&level=0.5&split=test&metric=accuracy&language=de&methods=random&view=heatmap": "random loses most in",
    "separability?study=synthetic&methods=magnitude&measure=silhouette&language=fr&level=0.5&pooling=mean&layer=1&method=magnitude": "Silhouette of",
    "alignment?study=synthetic&method=random&language=de&pooling=first&variant=zscored&view=depth&measure=cka": "CKA with dense of the last",
    "map?study=synthetic&view=level&method=random&level=0.5&seed=1&projection=pca&pooling=first&layer=2&colour=family&states=pruned&languages=de": "PCA of both",
    "weights?study=synthetic&method=random&level=0.5&measure=hoyer&seeds=1&view=training": "Hoyer sparsity under random at 50%",
    "flips?study=synthetic&method=random&level=0.9&split=test&view=slices&kind=label&language=de": "loses most in",
    "diagnose?study=synthetic&method=random&level=0.9&view=restoration&seed=0&partition=modules&effect=score&language=de&way=prune_only": "Part with the",
}


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on a measured study."""
    store = write_store(tmp_path_factory.mktemp("analysed"), SHAPE)
    measured(store)
    server = Server(store, tmp_path_factory.mktemp("server") / "app.log")
    yield server
    server.stop()


@pytest.fixture()
def tab(browser: Browser, analysed: Server) -> Iterator[Page]:
    """A tab of a new profile; the test fails where anything in it goes wrong."""
    with watched(browser, analysed.url) as page:
        yield page


def visit(page: Page, server: Server, address: str) -> Page:
    page.goto(f"{server.url}/{address}")
    settle(page)
    return page


def parameters(address: str) -> set[str]:
    return set(address.partition("?")[2].split("&"))


@pytest.mark.parametrize("address", LINKS, ids=lambda address: address.partition("?")[0])
def test_a_cold_link_restores_the_view(tab: Page, analysed: Server, address: str) -> None:
    visit(tab, analysed, address)
    expect(tab.locator(FIGURE).first).to_be_visible()
    expect(tab.locator("[data-testid=stMainBlockContainer]")).to_contain_text(LINKS[address])
    assert parameters(tab.url) == parameters(address)
    assert tab.locator("[data-testid=stAlert]").count() == 0


def test_the_back_button_and_another_page_keep_the_choice(tab: Page, analysed: Server) -> None:
    visit(tab, analysed, "degradation")
    tab.get_by_role("combobox", name="Method", exact=True).click()
    tab.get_by_role("option", name="random", exact=True).click()
    settle(tab)
    assert "method=random" in tab.url
    tab.locator("[data-testid=stSidebarNav] a").filter(has_text="Weights").click()
    tab.wait_for_url("**/weights?**method=random**")
    settle(tab)
    tab.go_back()  # the page as the menu opened it, before its address was written out
    settle(tab)
    tab.go_back()
    tab.wait_for_url("**/degradation?**method=random**")


def place(page: Page, figure: Locator, x: float, y: float) -> tuple[float, float]:
    """Where a point of a figure's coordinates lies on the screen."""
    figure.scroll_into_view_if_needed()
    box = figure.bounding_box()
    assert box is not None
    left, top = figure.evaluate(
        "(gd, [x, y]) => { const l = gd._fullLayout; return [l.xaxis._offset + l.xaxis.l2p(x), l.yaxis._offset + l.yaxis.l2p(y)] }",
        [x, y],
    )
    return box["x"] + left, box["y"] + top


def test_a_click_on_a_cell_opens_its_details(tab: Page, analysed: Server) -> None:
    visit(tab, analysed, "alignment?method=magnitude&level=0.9&pooling=first&view=layers")
    figure = tab.locator(FIGURE)
    tab.mouse.click(*place(tab, figure, 1, 2))
    tab.wait_for_url(re.compile("cell_pruned=2&cell_dense=1"))
    expect(tab.get_by_role("combobox", name="Pruned layer")).to_have_value("2")


def test_a_lasso_on_the_map_lists_sentences(tab: Page, analysed: Server) -> None:
    visit(tab, analysed, "map?projection=pca&level=0.9&method=magnitude")
    figure = tab.locator(FIGURE)
    expect(tab.get_by_text("Draw a lasso or a box")).to_be_visible()
    drag = figure.locator(".nsewdrag").first
    drag.scroll_into_view_if_needed()
    box = drag.bounding_box()
    assert box is not None
    corners = [(0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98), (0.02, 0.02)]
    path = [(box["x"] + box["width"] * right, box["y"] + box["height"] * down) for right, down in corners]
    tab.mouse.move(*path[0])
    tab.mouse.down()
    for corner in path[1:]:
        tab.mouse.move(*corner, steps=4)
    tab.mouse.up()
    expect(tab.get_by_text(re.compile(r"^\d+ points, 72 examples$"))).to_be_visible()


@pytest.mark.parametrize("address", ["degradation", "map?projection=pca"])
def test_data_and_figure_can_be_downloaded(tab: Page, analysed: Server, tmp_path: Path, address: str) -> None:
    visit(tab, analysed, address)
    tab.get_by_text("Data and export").first.click()
    with tab.expect_download() as csv:
        tab.get_by_role("button", name="CSV", exact=True).first.click()
    csv.value.save_as(tmp_path / "data.csv")
    header, *rows = (tmp_path / "data.csv").read_text(encoding="utf-8").splitlines()
    assert header.startswith("study,") and len(rows) > 3
    with tab.expect_download() as page:
        tab.get_by_role("button", name="HTML", exact=True).first.click()
    page.value.save_as(tmp_path / "figure.html")
    assert "plotly" in (tmp_path / "figure.html").read_text(encoding="utf-8")[:200_000].casefold()


def test_a_missing_map_is_made_and_shown_without_a_reload(tab: Page, analysed: Server) -> None:
    visit(tab, analysed, "map?projection=pca&level=0.5&method=magnitude&seed=1&layer=1")
    expect(tab.get_by_text("There is no PCA map of layer 1")).to_be_visible()
    tab.get_by_role("button", name="Compute it now").click()
    expect(tab.locator(FIGURE)).to_be_visible(timeout=60_000)
    expect(tab.get_by_text("layer 1, first-token pooling, seed 1")).to_be_visible()


def test_a_finding_opens_its_evidence(tab: Page, analysed: Server) -> None:
    visit(tab, analysed, "diagnose?study=synthetic&method=random&level=0.9&view=findings&split=test")
    main = tab.get_by_test_id("stMain")
    main.get_by_role("link", name="Diagnose →").first.click()  # to another view of the same page
    expect(main.get_by_text("All parts together").or_(main.get_by_text("In every language"))).to_be_visible()
    settle(tab)
    assert {"view=restoration", "method=random", "level=0.9"} <= parameters(tab.url)
    visit(tab, analysed, "diagnose?study=synthetic&method=random&level=0.9&view=findings&split=test")
    main.get_by_role("link", name="Flips →").first.click()
    expect(tab.get_by_role("heading", name="Flips")).to_be_visible()
    settle(tab)
    assert {"method=random", "level=0.9"} <= parameters(tab.url)


def test_a_click_on_an_item_shows_it_in_every_language(tab: Page, analysed: Server) -> None:
    visit(tab, analysed, "flips?study=synthetic&method=random&level=0.9&items=all")
    before = parameters(tab.url)
    grid = tab.get_by_test_id("stDataFrame").first
    box = grid.bounding_box()
    assert box is not None
    tab.mouse.click(box["x"] + 14, box["y"] + 35 * 4)
    settle(tab)
    tab.wait_for_timeout(500)
    assert next(x for x in parameters(tab.url) if x.startswith("item=")) not in before


def test_the_slider_walks_through_sparsity(tab: Page, analysed: Server) -> None:
    visit(tab, analysed, "map?study=synthetic&view=path&method=random&at=0.9")
    tab.get_by_role("slider").press("ArrowLeft")
    expect(tab.get_by_text("50%: the 15 examples that moved furthest")).to_be_visible()
    settle(tab)
    assert "at=0.5" in parameters(tab.url)
