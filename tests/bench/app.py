"""How the app answers on a big store, in a real Chromium: cold and warm pages, first figure, and every change of a view.

    make big-store STORE=/tmp/big && python -m tests.bench.app /tmp/big [PAGE …]

*heading* and *first figure* are seconds of the first visit to the page on a server that has read nothing of the study
yet (but what the pages before it read); *warm* is the same address opened again. A change is a press of a view's
button, another option of a select box or slider, a switch, a tag taken out: each of every view, from the press until
the page stands still. Budgets are of seconds on a quiet machine; processor time and bytes are for comparing versions
on a busy one.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Locator, TimeoutError, sync_playwright
from rich.console import Console
from rich.table import Table

from engine import record
from tests.bench.browse import Cost, Tab, tab
from tests.browser.conftest import CHROMIUM, FLAGS, Server

# Pages and whether they begin with a figure.
PAGES = {
    "degradation": True, "flips": True, "alignment": True, "separability": True, "map": True, "weights": True, "diagnose": False,
    "compare": True, "runs": False, "monitor": False, "present": False,
}  # fmt: skip
BUDGETS = {"heading": 3.0, "figure": 5.0, "warm": 1.0, "p95": 0.5}
NO_RUN = 5000  # milliseconds after which a press has started no run
OPENS = 1500  # and after which a list of options has not opened
TRIES = 5
Act = Callable[[], None]


@dataclass
class Times:
    """What one page cost."""

    page: str
    heading: float = 0.0
    cold: Cost | None = None
    warm: Cost | None = None
    changes: dict[str, Cost] = field(default_factory=dict)


def p95(values: list[float]) -> float:
    """The 95th percentile; of few values the largest."""
    return statistics.quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else sum(values)


# -- what can be changed -------------------------------------------------------------------------------------------


def views(found: Tab) -> Iterator[tuple[str, Act]]:
    """The buttons of the page's views, the one that is open last."""
    buttons = found.page.get_by_test_id("stMain").get_by_test_id("stButtonGroup").first.locator("button")
    names = buttons.all_inner_texts()
    for place in [*range(1, len(names)), 0] if names else []:
        yield names[place], buttons.nth(place).click


def changes(found: Tab) -> Iterator[tuple[str, Act]]:
    """Everything else in the page that can be changed now."""
    main = found.page.get_by_test_id("stMain")
    for box in _each(main.get_by_test_id("stSelectbox")):
        place = _options(found, box)
        if len(place) > 1:
            now = place.index(True)
            yield f"{_label(box)} on", _option(found, box, 0 if now else 1)
            yield f"{_label(box)} back", _option(found, box, now)
    for slider in _each(main.get_by_test_id("stSlider")):
        yield f"{_label(slider)} back", _key(slider.get_by_role("slider").first, "ArrowLeft")
        yield f"{_label(slider)} on", _key(slider.get_by_role("slider").first, "ArrowRight")
    for switch in _each(main.get_by_test_id("stCheckbox")):
        yield f"{_label(switch)} on", switch.locator("label").first.click
        yield f"{_label(switch)} off", switch.locator("label").first.click
    for several in _each(main.get_by_test_id("stMultiSelect")):
        tags = several.locator("[data-baseweb=tag]")
        if tags.count() > 2:
            yield f"{_label(several)} less", _key(several.get_by_role("combobox"), "Backspace")


def _each(found: Locator) -> Iterator[Locator]:
    for place in range(found.count()):
        if found.nth(place).is_visible():
            yield found.nth(place)


def _label(found: Locator) -> str:
    return found.get_by_test_id("stWidgetLabel").first.inner_text().strip() or found.inner_text().strip()


def _key(found: Locator, key: str) -> Act:
    def act() -> None:
        found.press(key)

    return act


def _open(found: Tab, box: Locator) -> Locator:
    """The options of a select box, opened. A page that still scrolls to the box closes it again: then once more."""
    options = found.page.get_by_role("option")
    for _ in range(TRIES):
        box.get_by_role("combobox").click()
        try:
            options.first.wait_for(timeout=OPENS)
            break
        except TimeoutError:
            found.page.keyboard.press("Escape")
    return options


def _options(found: Tab, box: Locator) -> list[bool]:
    """Which of the options in view the box stands on."""
    selected = [one.get_attribute("aria-selected") == "true" for one in _open(found, box).all()]
    found.page.keyboard.press("Escape")
    return selected if any(selected) else []


def _option(found: Tab, box: Locator, place: int) -> Act:
    """Open the box and choose: only the choice is timed."""

    def act() -> None:
        options = _open(found, box)
        found.page.evaluate("() => window.clock.arm()")
        options.nth(min(place, options.count() - 1)).click()

    return act


# -- measuring -----------------------------------------------------------------------------------------------------


def measure(found: Tab, study: str, name: str) -> Times:
    """Everything of one page. A control that stands in several views is measured in the first of them."""
    times = Times(name)
    address = f"{name}?{'studies' if name == 'compare' else 'study'}={study}"
    times.heading, times.cold = found.visit(address, PAGES[name])
    times.warm = found.visit(address, PAGES[name])[1]
    every(found, times, "")
    for view, act in views(found):
        note(times, f"→ {view}", found.cost(act, NO_RUN))
        every(found, times, f"{view}: ")
    return times


def every(found: Tab, times: Times, prefix: str) -> None:
    """Every change that has not been measured yet."""
    done = {name.rpartition(": ")[2] for name in times.changes}
    for label, act in changes(found):
        if label not in done:
            note(times, prefix + label, found.cost(act, NO_RUN))


def note(times: Times, label: str, cost: Cost | None) -> None:
    """Keep what a change cost and say it."""
    if cost:
        times.changes[label] = cost
        print(f"{times.page:14s} {label:45s} {said(cost)}", flush=True)


def said(cost: Cost) -> str:
    """One cost in a line."""
    return f"{cost.wall:6.2f} s  server {1000 * cost.server:5.0f} ms  page {1000 * cost.page:5.0f} ms  {cost.received / 1000:7.1f} kB"


# -- the table -----------------------------------------------------------------------------------------------------


def summary(study: str, every: list[Times]) -> Table:
    """One row per page, and one for all changes."""
    budgets = ", ".join(f"{name} {value:g} s" for name, value in BUDGETS.items())
    table = Table(title=f"{study} (budgets: {budgets})")
    heads = ("page", "heading s", "figure s", "warm s", "changes", "median s", "p95 s", "server ms", "p95", "page ms", "p95", "kB", "most")  # fmt: skip
    for head in heads:
        table.add_column(head, justify="left" if head == "page" else "right")
    for times in every:
        opened = (times.heading, times.cold.wall if times.cold else 0.0, times.warm.wall if times.warm else 0.0)
        table.add_row(times.page, *(f"{value:.2f}" for value in opened), *row(list(times.changes.values())))
    table.add_row("all", "", "", "", *row([cost for times in every for cost in times.changes.values()]))
    return table


def row(costs: list[Cost]) -> list[str]:
    """Count, median and 95th percentile of a page's changes."""
    if not costs:
        return ["0", *[""] * 8]
    cells = [str(len(costs))]
    for name, scale, form in (("wall", 1, ".2f"), ("server", 1000, ".0f"), ("page", 1000, ".0f")):
        values = [scale * getattr(cost, name) for cost in costs]
        cells += [f"{statistics.median(values):{form}}", f"{p95(values):{form}}"]
    received = [cost.received / 1000 for cost in costs]
    return [*cells, f"{statistics.median(received):.0f}", f"{max(received):.0f}"]


def main() -> None:
    """Measure and print, page by page."""
    store = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    names = sys.argv[2:] or list(PAGES)
    if unknown := set(names) - set(PAGES):
        raise SystemExit(f"PAGE: must be of {', '.join(PAGES)}; got {', '.join(sorted(unknown))}")
    study = "big" if "big" in record.studies(store) else record.studies(store)[0]
    server = Server(store, Path(tempfile.mkdtemp()) / "app.log")
    every: list[Times] = []
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            for name in names:
                with tab(browser, server) as found:
                    every.append(measure(found, study, name))
            browser.close()
    finally:
        server.stop()
    Console(width=140).print(summary(study, every))


if __name__ == "__main__":
    main()
