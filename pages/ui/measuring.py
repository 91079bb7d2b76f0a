"""What has not been measured yet: the button that has it computed, and the page that waits for it.

Measures are computed by `python -m analysis measure` in a process of its own, as after every run; never here.
"""

from __future__ import annotations

import streamlit as st

from engine import record
from pages.ui import jobs, live, loading, shell, show

EVERY = 2  # seconds between looks at a process that measures
_WATCHED = "measuring.watched"


def job(study: str) -> jobs.Job:
    """The process that measures a study; one at a time, because it takes the study's lock."""
    return jobs.Job(loading.store() / ".jobs" / f"measure-{study}")


def missing(
    study: str,
    text: str,
    key: str,
    arguments: tuple[str, ...] = (),
    command: str = "measure",
    whole: tuple[str, ...] = (),
) -> None:
    """Say what is not there, with a button that has it computed: `arguments` narrow what `measure` (or `command`) does.

    `whole`: another command altogether, such as a restoration, which the engine does.

    While it is being computed the last line of its output stands here, and the page is drawn anew when it is done.
    """
    with st.container(border=True):
        st.markdown(show.escape(text))
        if job(study).running():
            st.session_state[_WATCHED] = study
            st.fragment(_wait, run_every=EVERY)(study)
            return
        if shell.action(
            "Compute it now", f"measure-{key}", help="In a process of its own; it goes on when this page is closed."
        ):
            asked = list(whole) or ["analysis", command, str(loading.store()), "--study", study, *arguments]
            job(study).start(asked, record.digest(asked))
            st.rerun()
        if job(study).facts() and job(study).errors():
            show.problems(job(study).errors(), "The last computation said:")


def _wait(study: str) -> None:
    if job(study).running():
        last = live.log_tail(job(study).folder / "output.txt", 1)
        st.caption(show.escape(f"Computing … {last}"))
    elif st.session_state.pop(_WATCHED, None) == study:
        st.rerun()
