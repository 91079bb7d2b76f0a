"""The view's state in the address bar: read and checked before the controls are built, written out in full after.

Streamlit can bind a widget to a parameter, but then drops defaults from the address, so that a link changes its
meaning when a default does. Here every control writes its value, defaults included: the address bar is always a
complete link. What a link asks for and this page cannot show is said, never silently replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import streamlit as st

_VIEW, _KEPT = "prunoscope.view", "prunoscope.kept"
_KEPT_VALUE: Any = object()
Decode = Callable[[list[str]], Any]
Valid = Callable[[Any], bool]


@dataclass
class View:
    """One page of one browser tab: what we wrote to its address, what it shows now and what a link got wrong."""

    page: str
    written: dict[str, list[str]] = field(default_factory=dict)
    shown: dict[str, list[str]] = field(default_factory=dict)
    problems: dict[str, tuple[str, Any]] = field(default_factory=dict)

    def drop_settled(self, name: str, value: Any) -> None:
        """Forget a problem as soon as the control stands on another value than the one put in its place."""
        if name in self.problems and self.problems[name][1] != value:
            del self.problems[name]


def begin(page: str) -> View:
    """Start a run of a page; a page that was not open before starts with nothing written."""
    view = st.session_state.get(_VIEW)
    if not isinstance(view, View) or view.page != page:
        view = st.session_state[_VIEW] = View(page)
    view.shown = {}
    return view


def current() -> View:
    """The view that is being drawn."""
    view: View = st.session_state[_VIEW]
    return view


def begun() -> bool:
    """Is a page being drawn, so that there is a view?"""
    return isinstance(st.session_state.get(_VIEW), View)


def key(name: str) -> str:
    """The widget key of a control: its own on every page, because Streamlit forgets widgets of pages left behind."""
    return f"{current().page}.{name}"


def settle(name: str, decode: Decode, valid: Valid, default: Any, instead: Any = _KEPT_VALUE) -> str:
    """Put the value that a control starts from into the session and return the widget's key.

    In this order: what a link, a bookmark or the back button asks for; what stands in the control; what was chosen
    under this name on another page; the default. `decode` raises `ValueError` with the rule for a value it refuses;
    the problem is noted, and the control starts from `instead`, or where that is not given from the kept value or the
    default.
    """
    view, widget = current(), key(name)
    kept = _kept(name, valid, default)
    raw = st.query_params.get_all(name)
    if not raw:
        view.problems.pop(name, None)
    if raw and raw != view.written.get(name):
        view.written[name] = raw
        st.session_state[widget] = _from_link(view, name, raw, decode, kept if instead is _KEPT_VALUE else instead)
    elif not _stands(view, name, widget, valid):
        st.session_state[widget] = kept
    return widget


def _stands(view: View, name: str, widget: str, valid: Valid) -> bool:
    """Can the control keep what it has: a value that may be chosen, or nothing, because what was asked for is not here?"""
    if widget not in st.session_state:
        return False
    value = st.session_state[widget]
    return (value is None and name in view.problems) or valid(value)


def _from_link(view: View, name: str, raw: list[str], decode: Decode, instead: Any) -> Any:
    try:
        value = decode(raw)
    except ValueError as error:
        view.problems[name] = (f"{name} = {', '.join(raw)}: {error}", instead)
        return instead
    view.problems.pop(name, None)
    return value


def _kept(name: str, valid: Valid, default: Any) -> Any:
    kept = st.session_state.get(_KEPT, {})
    return kept[name] if name in kept and valid(kept[name]) else default


def record(name: str, value: Any, encoded: list[str]) -> None:
    """Note what a control shows, for the address, the copied link and the other pages."""
    view = current()
    view.shown[name] = encoded or [""]
    view.drop_settled(name, value)
    st.session_state.setdefault(_KEPT, {})[name] = value


def finish(complete: bool) -> None:
    """Bring the address up to date. A page that ended early keeps what the link says about controls not yet drawn."""
    view = current()
    raw = {name: st.query_params.get_all(name) for name in st.query_params}
    if complete:
        _note_unknown(view, raw)
    wanted = view.shown if complete else {**raw, **view.shown}
    if wanted != raw:
        st.query_params.from_dict(wanted)
    view.written = dict(wanted)


def _note_unknown(view: View, raw: dict[str, list[str]]) -> None:
    for name, values in raw.items():
        if name not in view.shown and name not in view.written:
            view.problems[name] = (f"{name} = {', '.join(values)}: this page has no such setting", None)


def query(shown: dict[str, list[str]]) -> str:
    """The parameters as they stand in an address."""
    return urlencode(shown, doseq=True)


def address() -> str:
    """The complete link to what is shown, as the visitor's browser reaches this server."""
    base = st.context.url or f"/{current().page}"
    shown = query(current().shown)
    return f"{base}?{shown}" if shown else base
