"""A browser with a stopwatch: what one action costs, from the click until the page stands still.

Wall time is what a person waits, and depends on what else the machine does. The rest does not: processor time of the
server and of the page's main thread in the browser, and bytes that the server sent. All four are measured for every
action.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
from playwright.sync_api import Browser, CDPSession, Page, TimeoutError, WebSocket

from tests.browser.conftest import IDLE, SIZE, Server

FIGURE = "[data-testid=stPlotlyChart] .js-plotly-plot .main-svg"
STILL = 200  # milliseconds without a change of the page, after which it stands still
PATIENCE = 30_000
# The clock runs in the page: from the first press of a button or key after `arm` to the last change of its main part.
CLOCK = """
() => {
  const clock = window.clock = {start: null, last: 0, ran: false};
  const state = () => document.querySelector('[data-testid=stApp]')?.getAttribute('data-test-script-state');
  const begin = () => { if (clock.start === null) clock.start = clock.last = performance.now(); };
  const main = target => target.closest?.('[data-testid=stMain]') ?? target.parentElement?.closest('[data-testid=stMain]');
  clock.arm = () => { clock.start = null; clock.ran = false; };
  clock.still = quiet => clock.ran && state() === 'notRunning' && performance.now() - clock.last > quiet;
  for (const kind of ['pointerdown', 'keydown']) window.addEventListener(kind, begin, {capture: true});
  new MutationObserver(found => {
    if (state() === 'running') clock.ran = true;
    if (found.some(one => main(one.target))) clock.last = performance.now();
  }).observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
}
"""


@dataclass(frozen=True)
class Cost:
    """What one action cost: seconds waited, processor seconds of the server and of the page, bytes received."""

    wall: float
    server: float
    page: float
    received: int


@dataclass
class Tab:
    """One browser tab on one server."""

    page: Page
    server: Server
    inside: CDPSession
    received: int = 0

    def listen(self, socket: WebSocket) -> None:
        """Count what the server sends."""

        def count(frame: str | bytes) -> None:
            self.received += len(frame)

        socket.on("framereceived", count)

    def spent(self) -> tuple[float, float]:
        """Processor seconds so far: (server, main thread of the page)."""
        metrics = {one["name"]: one["value"] for one in self.inside.send("Performance.getMetrics")["metrics"]}
        times = psutil.Process(self.server.process.pid).cpu_times()
        return times.user + times.system, metrics["TaskDuration"]

    def visit(self, address: str, figure: bool = True) -> tuple[float, Cost]:
        """Open an address; returns seconds until the heading, and the cost until the first figure (or rest) is there."""
        before, received, started = self.spent(), self.received, time.perf_counter()
        self.page.goto(f"{self.server.url}/{address}")
        self.page.locator("h1").first.wait_for()
        heading = time.perf_counter() - started
        self.page.locator(FIGURE if figure else IDLE).first.wait_for()
        wall = time.perf_counter() - started
        self.rest()
        server, page = (after - then for after, then in zip(self.spent(), before, strict=True))
        return heading, Cost(wall, server, page, self.received - received)

    def rest(self) -> None:
        """Wait until the script has run and the page stands still."""
        self.page.wait_for_function(f"() => window.clock?.still({STILL})", polling=50, timeout=PATIENCE)

    def cost(self, act: Callable[[], None], patience: int = PATIENCE) -> Cost | None:
        """What an action costs; None where it starts no run of the page within `patience` milliseconds."""
        self.page.evaluate("() => window.clock.arm()")
        before, received = self.spent(), self.received
        act()
        try:
            self.page.wait_for_function(f"() => window.clock.still({STILL})", polling=50, timeout=patience)
        except TimeoutError:
            return None
        wall = self.page.evaluate("() => window.clock.last - window.clock.start") / 1000
        server, page = (after - then for after, then in zip(self.spent(), before, strict=True))
        return Cost(wall, server, page, self.received - received)


@contextmanager
def tab(browser: Browser, server: Server) -> Iterator[Tab]:
    """A tab of a new profile."""
    context = browser.new_context(viewport=SIZE)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.add_init_script(f"({CLOCK.strip()})()")
    inside = context.new_cdp_session(page)
    inside.send("Performance.enable", {"timeDomain": "threadTicks"})
    found = Tab(page, server, inside)
    page.on("websocket", found.listen)
    try:
        yield found
    finally:
        context.close()
