"""Monitor: everything that runs or waits, while it happens, whoever started it."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from engine import queue
from pages.ui import controls, curves, jobs, link, live, loading, navigation, notify, shell, show

FAST, SLOW = 2, 5  # seconds between looks: while something runs, and while nothing does
WAITING = 6  # waiting runs of a study that are listed
LISTED = 12  # finished runs shown without opening the table
_SEEN = "monitor.seen"
MEANING = {
    "lost": "The run stopped without saying why: its process is gone. Resume goes on from its checkpoint.",
    "failed": "The run stopped with an error. Put the cause right, then resume: it goes on from its checkpoint.",
    "cancelled": "The run was stopped. Resume goes on from its checkpoint.",
    "starting": "The run loads its model and data.",
    "not begun": "The run folder holds nothing yet.",
    "unreadable": "A file of the run folder is damaged.",
}


def overview(runs: list[live.Live]) -> None:
    """What runs, what waits, and how the others ended."""
    active = [run for run in runs if run.active]
    if not active:
        st.caption(
            "Nothing runs or waits now. Runs started here, or in a terminal on the same store, appear by themselves."
        )
    studies = dict.fromkeys(run.name.partition("/")[0] for run in active)
    for study in studies:
        st.markdown(f"**{show.escape(study)}**")
        mine = [run for run in active if run.name.partition("/")[0] == study]
        for run in mine:
            if run.state != "queued":
                _row(run)
        _waiting([run for run in mine if run.state == "queued"])


def _row(run: live.Live) -> None:
    name, state, bar = st.columns([3, 2, 5], vertical_alignment="center")
    name.markdown(show.escape(run.name.partition("/")[2]))
    with state:
        show.state(run.state)
    bar.progress(run.fraction, text=show.escape(_progress(run)))


def _waiting(runs: list[live.Live]) -> None:
    """The waiting runs of a study with their places in the queue, in one line."""
    if not runs:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        show.state("queued", f"{len(runs)} queued")
        places = [f"{run.position}. {run.name.partition('/')[2]}" for run in runs[:WAITING]]
        more = [f"and {len(runs) - WAITING} more"] if len(runs) > WAITING else []
        st.caption(show.escape(" · ".join(places + more)), width="stretch")


def _progress(run: live.Live) -> str:
    parts = [
        f"{run.step:,} of {run.total:,} updates" if run.total > 1 else "",
        run.phase or run.state,
        f"about {show.duration(run.eta)} left" if run.eta is not None else "",
        f"last sign of life {show.duration(run.beat_age)} ago"
        if run.beat_age is not None and run.beat_age > 10
        else "",
    ]
    return " · ".join(part for part in parts if part)


def others(runs: list[live.Live]) -> None:
    """Runs that have ended, newest first, as a table."""
    ended = [run for run in runs if not run.active]
    if not ended:
        return
    rows = [
        {
            "run": run.name,
            "state": run.state,
            "ended": pd.Timestamp(run.changed, unit="s") if run.changed else None,
            "why": run.reason,
            "open": f"monitor?study={run.name.partition('/')[0]}&run={run.name}",
        }
        for run in ended
    ]
    with st.expander(f"{len(ended)} runs that have ended", expanded=len(ended) <= LISTED):
        st.dataframe(
            pd.DataFrame(rows), hide_index=True,
            column_config={"ended": st.column_config.DatetimeColumn("ended", format="distance"), "why": st.column_config.TextColumn("why", width="medium"),
                           "open": st.column_config.LinkColumn("log and curves", display_text="Open")},
        )  # fmt: skip


def announce(runs: list[live.Live]) -> None:
    """A toast for every run that has ended since the last look; a full rerun when a new run has come."""
    notify.announce({run.name: run.state for run in runs})
    before, now = st.session_state.get(_SEEN), {run.name for run in runs}
    st.session_state[_SEEN] = now
    if before is not None and now != before:
        st.rerun()


# -- one run ------------------------------------------------------------------------------------------------------


def detail(run: live.Live) -> None:
    """One run: its numbers, what can be done with it, its curves and its log."""
    numbers(run)
    if run.state in MEANING:
        st.markdown(MEANING[run.state])
    if run.reason:
        st.text(run.reason)
    buttons(run)
    lines = loading.lines(run.name)
    _curves(run, lines)
    log(run)


def numbers(run: live.Live) -> None:
    """State, updates, time left and the age of the last sign of life."""
    values = {
        "State": run.state if run.position is None else f"{run.state} ({run.position})",
        "Updates": f"{run.step:,} / {run.total:,}" if run.total else "–",
        "Time left": f"≈ {show.duration(run.eta)}" if run.eta is not None else "–",
        "Since last sign of life": show.duration(run.beat_age) if run.beat_age is not None else "–",
    }
    if run.state == "running":
        values |= {"Examples per second": speed(run), "Memory": memory(run)}
    for column, (label, value) in zip(st.columns(len(values)), values.items(), strict=True):
        column.metric(label, value, border=True)


def speed(run: live.Live) -> str:
    """Training throughput, as the last lines of the run say it."""
    rates = [line["examples_per_second"] for line in loading.lines(run.name)[-20:] if line.get("examples_per_second")]
    return f"{rates[-1]:,.0f}" if rates else "–"


def memory(run: live.Live) -> str:
    """Main memory of the run's process, where it runs on this machine."""
    return show.size(run.memory) if run.memory else "–"


def buttons(run: live.Live) -> None:
    """Cancel what runs or waits, resume what ended early, open what is done."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if run.active and shell.action(
            "Cancel this run", f"cancel-{run.name}", help="What it finished stays; it can be resumed."
        ):
            st.toast(f"{show.escape(run.name)}: {queue.cancel(loading.store(), run.name)}")
        if run.state in ("failed", "cancelled", "lost") and shell.action("Resume", f"resume-{run.name}", primary=True):
            _resume(run.name)
        study = run.name.partition("/")[0]
        navigation.link("degradation", "Results of this study", study=study)


def _resume(name: str) -> None:
    code, problems = jobs.call(["engine", "resume", name, "--store", str(loading.store())])
    if code:
        show.problems(problems, "The run cannot be resumed.")
    else:
        st.toast(f"{show.escape(name)} waits for its turn")


def _curves(run: live.Live, lines: list[dict[str, object]]) -> None:
    metric, sources = _scored(run.name)
    charts = {"loss": curves.loss(lines), "score": curves.validation(lines, metric)}
    drawn = {name: chart for name, chart in charts.items() if chart is not None}
    for column, (name, chart) in zip(st.columns(2), drawn.items(), strict=False):
        column.altair_chart(chart, key=f"{name}-curve", alt=f"{name} of {run.name} against updates")
    by_language = curves.languages(lines, metric, sources)
    if by_language is not None:
        st.markdown("Score of each language at the levels finished so far; source languages are drawn heavier.")
        st.altair_chart(by_language, key="language-curve", alt=f"score of each language of {run.name} against sparsity")
    elif not drawn:
        st.caption("No updates have been written yet. Curves appear with the first ones.")
    for event in [line for line in lines if line.get("type") == "event"]:
        st.warning(show.escape(event.get("text", "")))


def _scored(name: str) -> tuple[str, tuple[str, ...]]:
    """What the run's study is scored by, and its source languages."""
    study = name.partition("/")[0]
    found = loading.facts(study) if study in loading.studies() else None
    return (found.metric or "score", found.sources) if found else ("score", ())


def log(run: live.Live) -> None:
    """The last lines of the run's log, and of the worker's where the run has not begun."""
    text = live.log_tail(loading.store() / run.name / "log.txt")
    with st.expander("Log", expanded=run.state in ("failed", "lost", "unreadable")):
        st.code(text or "The run has written nothing yet.", language=None, height=260)
        if not text and (worker := live.log_tail(loading.store() / "worker.log", 20)):
            st.caption("The worker says:")
            st.code(worker, language=None)


def watch(study: str | None, chosen: str | None) -> None:
    """The part that looks again by itself: the overview, and the chosen run (empty: what runs now; None: none)."""
    runs = live.runs(study)
    announce(runs)
    overview(runs)
    found = next((run for run in runs if run.name == chosen or chosen == ""), None)
    if found:
        st.subheader(show.escape(found.name), anchor=False)
        detail(found)
    others(runs)


def pick(runs: list[live.Live]) -> str | None:
    """The run in the address or the control; None where a link asks for one that is not here."""
    names = [run.name for run in runs]
    chosen = controls.choose("run", "Run", ["", *names], "", lambda name: name or "whatever runs now", strict=True)
    return None if "run" in link.current().problems else chosen


with shell.page("monitor"):
    study = shell.study(optional=True)
    found = live.runs(study)
    if not found:
        show.empty("No run has been started in this store yet.", "new-study", "Describe a study and start it")
        shell.stop()
    chosen = pick(found)
    every = FAST if any(run.active for run in found) else SLOW
    st.fragment(watch, run_every=every)(study, chosen)
