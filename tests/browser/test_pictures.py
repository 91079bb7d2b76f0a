"""The pictures of the README and the guide, taken from the running app: `PRUNOSCOPE_PICTURES=<store>` writes docs/*.png.

Without that variable every view is opened on a synthetic study, so that a picture whose view is gone fails here; with it
they are taken on a store of real runs, such as that of `make demo`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from analysis.measures import compare
from engine import record
from tests.browser.conftest import Server, settle, watched
from tests.conftest import ROOT
from tests.synthetic import Shape, write_store
from tests.test_measures import quiet
from tests.test_pages_analysis import measured

pytestmark = pytest.mark.browser
STORE = os.environ.get("PRUNOSCOPE_PICTURES", "")
SHAPE = Shape(languages=4, seeds=2, items=40, natural=0, probe=24, classes=4, layers=2, width=16, methods=("random", "magnitude", "sdp_cc"), levels=(0.5, 0.9))  # fmt: skip
# Picture -> address and the height that shows what the text speaks of.
PICTURES = {
    "home": ("?", 900),
    "degradation": ("degradation?study={study}&method=magnitude&view=bars", 1340),
    "compare": ("compare?studies={study}&view=scores", 1240),
    "inside": ("compare?studies={study}&view=inside", 1480),
    "present": ("present?study={study}&mode=show&deck=story&slide=2", 800),
    "new-study": ("new-study", 900),
    "runs": ("runs?study={study}", 700),
}


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    store = Path(STORE) if STORE else write_store(tmp_path_factory.mktemp("pictured"), SHAPE)
    if not STORE:
        measured(store)
        assert compare.compare(store, SHAPE.study, say=quiet) == []
    server = Server(store, tmp_path_factory.mktemp("server") / "app.log")
    yield server
    server.stop()


@pytest.mark.parametrize("name", PICTURES)
def test_picture(browser: Browser, pictured: Server, name: str) -> None:
    address, height = PICTURES[name]
    study = record.studies(pictured.store)[0]
    with watched(browser, pictured.url) as page:
        page.set_viewport_size({"width": 1280, "height": height})
        page.goto(f"{pictured.url}/{address.format(study=study)}")
        settle(page)
        if name not in ("home", "new-study", "runs"):
            expect(page.locator("[data-testid=stPlotlyChart] .js-plotly-plot").first).to_be_visible()
        assert page.locator("[data-testid=stAlert]").count() == 0
        expect(page.locator("[data-testid=stSkeleton]")).to_have_count(0)
        page.wait_for_timeout(600)
        if STORE:
            page.screenshot(path=ROOT / "docs" / f"{name}.png")
