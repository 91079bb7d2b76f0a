"""The Run section and Methods in a real browser: cold links, the address, live runs, from the form to the Monitor."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from engine import queue, record
from pages.ui import navigation
from tests.browser.conftest import Serve, Server, Visit, settle, watched

pytestmark = pytest.mark.browser
INSTALLED = [place for place in navigation.PLACES if place.path.exists()]


@pytest.mark.parametrize("place", INSTALLED, ids=lambda place: place.key)
def test_cold_deep_link(browser: Browser, serve: Serve, template: Path, place: navigation.Place) -> None:
    """The first visitor of a fresh server lands on a page other than the first: Streamlit's older router is still on then."""
    server = serve(template)
    with watched(browser, server.url) as page:
        page.goto(f"{server.url}/{place.url}")
        settle(page)
        assert page.locator("h1").inner_text() == place.heading
        assert page.get_by_role("dialog").count() == 0
        links = page.locator("[data-testid=stSidebarNav] a")
        assert [link.strip() for link in links.all_inner_texts()] == [one.title for one in INSTALLED]


def test_pages_lead_to_each_other(visit: Visit) -> None:
    page = visit("monitor")
    page.locator("[data-testid=stSidebarNav] a").filter(has_text="Methods").click()
    page.wait_for_function("() => document.querySelector('h1')?.innerText === 'Methods'")
    settle(page)
    page.wait_for_url("**/methods?kind=all&search=&entry=")


def choose(page: Page, label: str, option: str) -> None:
    """Pick an option of a select box."""
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()
    settle(page)


def test_the_address_is_the_view(visit: Visit, server: Server) -> None:
    page = visit("methods")
    page.wait_for_url("**/methods?kind=all&search=&entry=")
    choose(page, "Table", "Recipes")
    page.wait_for_url("**kind=recipes&search=&entry=")
    page.get_by_role("button", name="Copy link").click()
    copied = page.locator("[data-testid=stPopoverBody] code").inner_text()
    assert copied == f"{server.url}/methods?kind=recipes&search=&entry="
    again = visit(copied.removeprefix(f"{server.url}/"))
    expect(again.get_by_role("combobox", name="Table")).to_have_value("Recipes")


def test_the_back_button_brings_the_view_back(visit: Visit) -> None:
    page = visit("methods?kind=recipes&search=&entry=wanda")
    expect(page.locator("[data-testid=stExpander]")).to_have_count(1)
    choose(page, "Table", "Criteria")
    page.wait_for_url("**kind=criteria**")
    page.go_back()
    settle(page)
    page.wait_for_url("**kind=recipes**")
    expect(page.get_by_role("combobox", name="Table")).to_have_value("Recipes")


def test_a_study_opens_in_the_monitor(visit: Visit) -> None:
    page = visit("")
    page.locator("[data-testid=stMainBlockContainer]").get_by_role("link", name="Monitor").first.click()
    page.wait_for_url("**/monitor?study=**")
    settle(page)
    assert page.locator("h1").inner_text() == "Monitor"


def test_an_unknown_study_is_said(visit: Visit) -> None:
    page = visit("monitor?study=nobody&run=")
    expect(page.locator("[data-testid=stAlert]").first).to_contain_text("there is no such study in this store")
    assert "study=nobody" in page.url


def test_a_run_is_watched_while_it_happens(browser: Browser, serve: Serve, store: Path) -> None:
    run = record.Run(store / "other" / "magnitude-s0")
    run.reopen()
    run.beat(step=40, total=160, phase="training at 90%", eta_seconds=60.0, attempt=2)
    server = serve(store)
    with watched(browser, server.url) as page:
        page.goto(f"{server.url}/monitor?study=other&run=other/magnitude-s0")
        settle(page)
        expect(page.get_by_text("40 / 160")).to_be_visible()
        expect(page.locator("[data-testid=stVegaLiteChart]").first).to_be_visible()
        run.beat(step=120, total=160, phase="training at 90%", eta_seconds=20.0, attempt=2)
        expect(page.get_by_text("120 / 160")).to_be_visible()
        run.finish("done", seconds=9.0)
        expect(page.locator("[data-testid=stToast]")).to_contain_text("magnitude-s0 is done")


TINY = """[study]
name = "from-the-form"
seeds = [0]
device = "cpu"
precision = "fp32"
[model]
name = "{checkpoint}"
[task]
name = "custom"
type = "sequence"
source_languages = ["en"]
languages = ["en", "de"]
train = "{data}/train.{{language}}.tsv"
test = "{data}/test.{{language}}.tsv"
max_length = 32
[train]
epochs = 1
evaluations = 1
[probe]
examples = 12
[[method]]
recipe = "magnitude"
levels = [0.5]
"""


def test_from_the_form_to_the_monitor(
    browser: Browser, serve: Serve, tmp_path: Path, tiny_data: Path, tiny_checkpoint: Path
) -> None:
    store = tmp_path / "store"
    server = serve(store)
    try:
        with watched(browser, server.url) as page:
            page.goto(f"{server.url}/new-study?start=new&mode=toml")
            settle(page)
            page.get_by_role("textbox", name="Study file").fill(TINY.format(checkpoint=tiny_checkpoint, data=tiny_data))
            page.get_by_role("textbox", name="Study file").press("Control+Enter")
            settle(page)
            page.get_by_role("button", name="Check", exact=True).click()
            expect(page.locator("[data-testid=stMetric]").filter(has_text="Runs")).to_contain_text("3")
            assert "start=draft" in page.url
            page.get_by_role("button", name="Start", exact=True).click()
            page.get_by_role("link", name="Watch them in the Monitor").click()
            page.wait_for_url("**/monitor?study=from-the-form**")
            settle(page)
            expect(page.get_by_text("dense_continued-s0").first).to_be_visible()
    finally:
        stop_everything(store)


def stop_everything(store: Path) -> None:
    """Cancel what the test has queued; its worker then ends by itself."""
    for _ in range(120):
        left = [row for row in queue.rows(store) if row.state in ("queued", "running")]
        if not left:
            return
        for row in reversed(left):
            queue.cancel(store, row.name)
        time.sleep(0.5)
    raise AssertionError(f"still running: {queue.rows(store)}")


def test_a_run_that_ends_is_announced_on_another_page(browser: Browser, serve: Serve, store: Path) -> None:
    """The page that is open looks at the queue by itself, every few seconds, and only while something is at work."""
    name = "synthetic/random-s1"
    (store / name).mkdir()
    queue.submit(store, [name])
    server = serve(store)
    with watched(browser, server.url) as page:
        page.goto(f"{server.url}/methods?kind=languages")
        settle(page)
        expect(page.get_by_text("1 run at work or waiting")).to_be_visible()
        assert queue.cancel(store, name) == "cancelled"
        expect(page.locator("[data-testid=stToast]")).to_contain_text("random-s1 is cancelled")
        expect(page.get_by_text("1 run at work or waiting")).to_have_count(0)
