"""A word when a run ends, on whichever page somebody is, and how many are still at work."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import streamlit as st

from engine import queue
from pages.ui import loading, navigation, show

EVERY = 15  # seconds between looks while something runs; none while nothing does
AT_WORK = ("queued", "starting", "running")
ENDED = {"done": "✅", "failed": "⚠️", "cancelled": "⚠️", "lost": "⚠️"}
_STATES = "notify.states"


def announce(states: Mapping[str, str]) -> None:
    """A toast for every run that was at work at the last look of this browser tab and has ended since."""
    before: dict[str, str] = st.session_state.get(_STATES, {})
    for name, state in states.items():
        if before.get(name) in AT_WORK and state in ENDED:
            st.toast(f"{show.escape(name)} is {state}", icon=ENDED[state], duration="long")
    st.session_state[_STATES] = {**before, **states}


def states() -> dict[str, str]:
    """The queue's word on every run: one short query. A queue that cannot be read says nothing here, Monitor says why."""
    try:
        return {row.name: row.state for row in queue.rows(loading.store())}
    except (sqlite3.Error, OSError):
        return {}


def watch() -> None:
    """In the sidebar: what is at work, looked at again by itself while there is something."""
    busy = any(state in AT_WORK for state in states().values())
    st.fragment(_look, run_every=EVERY if busy else None)()


def _look() -> None:
    found = states()
    announce(found)
    busy = sum(state in AT_WORK for state in found.values())
    if busy:
        navigation.link("monitor", f"{busy} {'run' if busy == 1 else 'runs'} at work or waiting", study="", run="")
