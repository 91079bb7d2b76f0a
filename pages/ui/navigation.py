"""The list of pages and the one way to reach them.

Streamlit takes a folder called `pages/` for its older kind of multi-page app until `st.navigation` has run once in
the server, so that the first visitor of a fresh server may land in a page's file without `app.py`. `guard`, which
every page calls first, notices that and routes as `app.py` would have. A page's file is called like its address,
`new-study.py`, because the older router goes by file names and puts a dialog over a page that it does not find.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import streamlit as st

NAME = "Prunoscope"
FOLDER = Path(__file__).parent.parent


@dataclass(frozen=True)
class Place:
    """One page: its section, its address (which is also its file's name), its title and one sentence."""

    section: str
    key: str
    title: str
    what: str

    @property
    def heading(self) -> str:
        """What stands over the page."""
        return self.title if self.url else NAME

    @property
    def path(self) -> Path:
        """The page's file."""
        return FOLDER / f"{self.key}.py"

    @property
    def url(self) -> str:
        """The path in the address bar; the first page answers at the root."""
        return "" if self.key == "home" else self.key


PLACES = (
    Place("Run", "home", "Home", "Studies in this store, and where to begin."),
    Place("Run", "new-study", "New study", "Describe a study, check what it costs, and start it."),
    Place("Run", "monitor", "Monitor", "What runs and what waits, while it happens."),
    Place("Run", "runs", "Runs", "Every run of this store: name, tag, archive, delete, take out and bring in."),
    Place("Languages", "degradation", "Degradation", "What each language loses at each sparsity."),
    Place("Languages", "flips", "Flips", "Which inputs broke, in which language."),
    Place("Languages", "compare", "Compare", "Methods of one study or of several against each other."),
    Place("Representations", "alignment", "Alignment", "How far the pruned states moved from the dense ones."),
    Place("Representations", "separability", "Separability & SNR", "How well the classes can still be told apart."),
    Place("Representations", "map", "Map", "Where the examples of each language lie, before and after."),
    Place("Inside", "weights", "Weights", "Which blocks and matrices lost what."),
    Place("Inside", "diagnose", "Diagnose", "Why a language degraded, where, and whether it is real."),
    Place("Share", "present", "Present", "One figure per screen, walked through with the arrow keys."),
    Place("Share", "methods", "Methods", "What every method and every number here means."),
)
_ROUTED: ContextVar[bool] = ContextVar("routed", default=False)


def place(key: str) -> Place:
    """The page with this address; raises `ValueError` with the choices."""
    for found in PLACES:
        if found.key == key:
            return found
    raise ValueError(f"page: must be one of {', '.join(found.key for found in PLACES)}; got {key!r}")


def page(key: str) -> st.Page:
    """The page as Streamlit's own object, for `st.page_link` and `st.switch_page`."""
    found = place(key)
    return st.Page(found.path, title=found.title, url_path=found.url, default=not found.url)


def _menu() -> dict[str, list[st.Page]]:
    menu: dict[str, list[st.Page]] = {}
    for found in PLACES:
        if found.path.exists():
            menu.setdefault(found.section, []).append(page(found.key))
    return menu


def bare(key: str = "") -> bool:
    """Does the address ask for a page without menu and controls? Presenting does. `key`: the page, where it is known."""
    key = key or urlsplit(st.context.url or "").path.rstrip("/").rpartition("/")[2]
    return key == "present" and st.query_params.get("mode") == "show"


def _navigate() -> st.Page:
    return st.navigation(_menu(), expanded=True, position="hidden" if bare() else "sidebar")


def route() -> None:
    """Show the menu and run the page that the address names."""
    _run(_navigate())


def _run(chosen: st.Page) -> None:
    token = _ROUTED.set(True)
    try:
        chosen.run()
    finally:
        _ROUTED.reset(token)


def guard(key: str) -> None:
    """Make sure that the page runs under the router; returns where it does, else routes and stops this run.

    A page file that is itself the main script (as in a test) is drawn as it is, with the menu around it.
    """
    if _ROUTED.get():
        return
    chosen = _navigate()
    if chosen.url_path == place(key).url:
        _run(chosen)
        st.stop()


def link(key: str, label: str, **query: str | list[str]) -> None:
    """A link to a page with its parameters; nothing where that page is not installed."""
    if place(key).path.exists():
        st.page_link(page(key), label=f"{label} →", query_params=query)
