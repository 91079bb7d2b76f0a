"""A real server and a real Chromium. Every page is watched: an error anywhere, or a request to anywhere else, fails its test."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.conftest import ROOT
from tests.synthetic import Shape, World, write_run, write_store

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync"]  # fmt: skip
IDLE = "[data-testid=stApp][data-test-script-state=notRunning]"
PATIENCE = 60_000  # milliseconds; a busy machine is slow, not wrong
SIZE = {"width": 1280, "height": 900}
# On a deep link Streamlit's own script first looks for its server below the page's path, and is told that it is not there.
PROBES = re.compile(r"/[a-z-]+/_stcore/(health|host-config)$")
SHAPE = Shape(
    languages=4, seeds=1, items=40, natural=0, probe=16, classes=4, methods=("random", "magnitude"), levels=(0.5, 0.9)
)
Serve = Callable[[Path], "Server"]
Visit = Callable[[str], Page]


class Server:
    """A Streamlit server of its own, with its output in a file, because an unread pipe would stop it."""

    def __init__(self, store: Path, log: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url, self.store, self.log = f"http://127.0.0.1:{self.port}", store, log
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(self.port)]
        environment = {**os.environ, "PRUNOSCOPE_STORE": str(store)}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
            )
        self._wait()

    def _wait(self) -> None:
        for _ in range(600):
            if self.process.poll() is not None:
                break
            try:
                with urlopen(f"{self.url}/_stcore/health", timeout=1):
                    return
            except (URLError, OSError):
                time.sleep(0.1)
        raise RuntimeError(f"the server did not start:\n{self.log.read_text()}")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium with an empty profile; without it the test is skipped, and under CI it fails."""
    if not Path(CHROMIUM).exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no {CHROMIUM}: run `make chromium`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one finished study, and one with a failed run; copied by whoever changes it."""
    store = write_store(tmp_path_factory.mktemp("template"), SHAPE)
    other = World(Shape(**{**vars(SHAPE), "study": "other", "activations": False}))
    write_run(store, other, "dense", 0)
    write_run(store, other, "magnitude", 0, state="failed", levels=1)
    return store


@pytest.fixture(scope="session")
def server(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that only look."""
    server = Server(template, tmp_path_factory.mktemp("server") / "app.log")
    yield server
    server.stop()


@pytest.fixture()
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a fresh server on a store."""
    servers: list[Server] = []

    def start(store: Path) -> Server:
        servers.append(Server(store, tmp_path / f"app-{len(servers)}.log"))
        return servers[-1]

    yield start
    for started in servers:
        started.stop()


@pytest.fixture()
def store(template: Path, tmp_path: Path) -> Path:
    """A copy of the store that the test may change."""
    return Path(shutil.copytree(template, tmp_path / "store"))


@contextmanager
def watched(browser: Browser, origin: str) -> Iterator[Page]:
    """A tab of a new browser profile; leaving it fails where anything went wrong in it."""
    wrong: list[str] = []
    context = browser.new_context(viewport=SIZE)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)

    def console(message: ConsoleMessage) -> None:
        if message.type == "error" and not PROBES.search(urlsplit(message.location["url"]).path):
            wrong.append(f"console: {message.text} ({message.location['url']})")

    def request(asked: Request) -> None:
        if not asked.url.startswith((origin, origin.replace("http", "ws", 1), "data:", "blob:")):
            wrong.append(f"request to {asked.url}")

    page.on("console", console)
    page.on("pageerror", lambda error: wrong.append(f"page: {error}"))
    page.on("request", request)
    try:
        yield page
        wrong += [f"exception: {text}" for text in page.locator("[data-testid=stException]").all_inner_texts()]
    finally:
        context.close()
    assert not wrong, "\n".join(wrong)


def settle(page: Page) -> None:
    """Wait until the page is drawn and its script at rest."""
    page.wait_for_selector("h1")
    page.wait_for_selector(IDLE)
    page.wait_for_function(
        f"() => new Promise(done => setTimeout(() => done(!!document.querySelector('{IDLE}')), 150))"
    )


@pytest.fixture()
def visit(browser: Browser, server: Server) -> Iterator[Visit]:
    """Open an address of the shared server in a new profile."""
    open_tabs = []

    def go(address: str) -> Page:
        tab = watched(browser, server.url)
        page = tab.__enter__()
        open_tabs.append(tab)
        page.goto(f"{server.url}/{address}")
        settle(page)
        return page

    yield go
    for tab in open_tabs:
        tab.__exit__(None, None, None)
