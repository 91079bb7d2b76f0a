"""How the app answers on a big store, in a real Chromium: cold and warm pages, first figure, and every change of a view.

    make big-store STORE=/tmp/big && python -m tests.bench.app /tmp/big

Seconds, not ratios: the budgets are what a person waits. *heading* and *first figure* are of the first visit to the
page on a server that has read nothing of the study yet; *warm* is the same link opened again; *p95* is over changes of
the view, the level and the method, from the click until the page stands still.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console
from rich.table import Table

from engine import record
from tests.browser.conftest import CHROMIUM, FLAGS, IDLE, Server

PAGES = ("degradation", "flips", "alignment", "separability", "map", "weights", "diagnose")
BUDGETS = {"heading": 3.0, "first figure": 5.0, "warm": 1.0, "p95": 0.5}
FIGURE = "[data-testid=stPlotlyChart] .js-plotly-plot .main-svg"


@dataclass
class Times:
    """Seconds of one page."""

    page: str
    heading: float = 0.0
    figure: float = 0.0
    warm: float = 0.0
    changes: list[float] = field(default_factory=list)

    @property
    def p95(self) -> float:
        """The 95th percentile of the changes, the largest of few."""
        return statistics.quantiles(self.changes, n=20)[-1] if len(self.changes) > 1 else sum(self.changes)


def visit(page: Page, address: str, figure: bool) -> tuple[float, float]:
    """(seconds until the heading, seconds until the first figure or, where there is none, until the page is at rest)."""
    started = time.perf_counter()
    page.goto(address)
    page.locator("h1").first.wait_for()
    heading = time.perf_counter() - started
    page.locator(FIGURE if figure else IDLE).first.wait_for(state="visible")
    return heading, time.perf_counter() - started


def changed(page: Page, act: object) -> float:
    """Seconds from an action until the script has run and rests."""
    page.evaluate(
        """() => { window.ran = false; const app = document.querySelector('[data-testid=stApp]');
        new MutationObserver(() => { if (app.getAttribute('data-test-script-state') === 'running') window.ran = true; })
        .observe(app, {attributes: true}); }"""
    )
    started = time.perf_counter()
    act()  # type: ignore[operator]
    page.wait_for_function(
        "() => window.ran && document.querySelector('[data-testid=stApp]').getAttribute('data-test-script-state') === 'notRunning'"
    )
    return time.perf_counter() - started


def pick(page: Page, label: str, place: int) -> object:
    """Choose the option at `place` of the select box with this label."""

    def act() -> None:
        page.get_by_role("option").nth(place).click()

    page.get_by_role("combobox", name=label, exact=True).first.click()
    page.get_by_role("option").first.wait_for()
    return act


def measure(browser: Browser, server: Server, study: str, name: str) -> Times:
    """All times of one page."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(60_000)
    found, address = Times(name), f"{server.url}/{name}?study={study}"
    with_figure = name != "diagnose"
    found.heading, found.figure = visit(page, address, with_figure)
    page.locator(IDLE).wait_for()
    found.warm = visit(page, address, with_figure)[1]
    page.locator(IDLE).wait_for()
    views = page.get_by_test_id("stButtonGroup").first.locator("button")
    for place in [*range(1, views.count()), 0] if views.count() else []:
        found.changes.append(changed(page, views.nth(place).click))
    # Starting from the last level and the first method, so that every pick is a change.
    for label, places in (("Sparsity", (0, 1, 2, 3)), ("Method", (1, 2, 3, 0))):
        if page.get_by_role("combobox", name=label, exact=True).count():
            found.changes += [changed(page, pick(page, label, place)) for place in places]
    page.context.close()
    return found


def main() -> None:
    """Measure and print."""
    store = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    study = "big" if "big" in record.studies(store) else record.studies(store)[0]
    table = Table(
        title=f"{study}: seconds (budgets: {', '.join(f'{name} {value:g}' for name, value in BUDGETS.items())})"
    )
    for column in ("page", *BUDGETS, "changes"):
        table.add_column(column, justify="right")
    server = Server(store, Path(tempfile.mkdtemp()) / "app.log")
    everything: list[float] = []
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            for name in PAGES:
                times = measure(browser, server, study, name)
                everything += times.changes
                values = (times.heading, times.figure, times.warm, times.p95)
                table.add_row(name, *(f"{value:.2f}" for value in values), str(len(times.changes)))
            browser.close()
    finally:
        server.stop()
    table.add_row("all", "", "", "", f"{statistics.quantiles(everything, n=20)[-1]:.2f}", str(len(everything)))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
