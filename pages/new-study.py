"""New study: describe it in a form or as TOML, see every mistake at once, learn what it costs, start it."""

from __future__ import annotations

import time
from typing import Any

import pandas as pd
import streamlit as st

from pages.ui import (
    controls,
    drafts,
    form,
    jobs,
    link,
    live,
    loading,
    methods_form,
    navigation,
    shell,
    show,
    task_form,
    toml,
)

TEXT, BASE, ORIGIN, SEEN, VERSION = (f"new-study.{name}-now" for name in ("text", "base", "origin", "seen", "version"))
SAVED, STARTED = "new-study.saved-now", "new-study.started-now"
FORM, TOML = "form", "toml"
ADVANCED = {
    "train": ["epochs", "retrain_epochs", "batch_size", "learning_rate", "weight_decay", "warmup", "clip", "evaluations",
              "checkpoint_minutes", "freeze_embeddings"],
    "calibration": ["languages", "examples", "equalise"],
    "probe": ["examples", "languages"],
    "probing": ["tasks"],
    "restoration": ["levels", "items", "seeds"],
}  # fmt: skip
TITLES = {
    "train": "Dense fine-tuning, and retraining after every level",
    "calibration": "Examples that data-driven criteria look at",
    "probe": "Test examples whose activations are kept",
    "probing": "Other tasks that frozen features are probed on, and what is forgotten of pretraining",
    "restoration": "Levels that are taken apart after a run, to see where the damage sits",
}


def load(start: str, mode: str) -> str:
    """The text that the widgets start from; `TEXT` holds what they have made of it since.

    Read anew when another start is chosen. Then, on a change between form and text, and on coming back from another
    page (where Streamlit has forgotten the widgets), all widgets get new keys, so that they start from the text.
    """
    state = st.session_state
    if state.get(ORIGIN) != start:
        state[TEXT], state[ORIGIN] = drafts.read(start), start
        state.pop(SEEN, None)
    seen = (link.current(), mode)
    if state.get(SEEN) is None or state[SEEN][0] is not seen[0] or state[SEEN][1] != mode:
        state[SEEN], state[BASE] = seen, state[TEXT]
        state[VERSION] = state.get(VERSION, 0) + 1
    text: str = state[BASE]
    return text


def settle_saved() -> None:
    """Let the address name the draft that was just saved, so that a reload opens it again."""
    name = st.session_state.pop(SAVED, None)
    if name:
        st.session_state[link.key("start")] = st.session_state[ORIGIN] = f"draft:{name}"


def edit_form(raw: dict[str, Any], key: str) -> dict[str, Any]:
    """The whole study as a form; keys that it does not draw stay as they were."""
    found = {name: value if isinstance(value, dict) else {} for name, value in raw.items() if name != "method"}
    methods = (
        [row for row in raw.get("method", []) if isinstance(row, dict)] if isinstance(raw.get("method"), list) else []
    )
    st.subheader("1 · Study and model", anchor=False)
    study = form.fields("study", found.get("study", {}), key, ["name", "seeds"])
    model = form.fields("model", found.get("model", {}), key, ["name", "head"])
    st.subheader("2 · Task", anchor=False)
    task = task_form.edit(found.get("task", {}), key)
    st.subheader("3 · Methods", anchor=False)
    rows = methods_form.edit(methods, key)
    st.subheader("4 · Training and measuring", anchor=False)
    with st.expander("Settings of training, calibration and what is measured"):
        advanced = {section: _advanced(section, found.get(section, {}), key) for section in ADVANCED}
        st.markdown("**Where it runs**")
        study = form.fields("study", study, key, ["device", "precision", "deterministic"], 3)
    if task == {"name": "bundled-intent"}:
        task = {}
    known = {"study": study, "model": model, "task": task, **advanced}
    return {**known, **{name: value for name, value in found.items() if name not in known}, "method": rows}


def _advanced(section: str, values: dict[str, Any], key: str) -> dict[str, Any]:
    st.markdown(f"**{TITLES[section]}**")
    return form.fields(section, values, key, ADVANCED[section], 3)


def edit_text(text: str, key: str) -> str:
    """The study as text."""
    return st.text_area(
        "Study file", text, height=640, key=f"{key}.toml", help="Any key that a study file may have; see the README."
    )


def preview(text: str) -> None:
    """The file that the form makes."""
    st.subheader("The study file", anchor=False)
    st.code(text, language="toml")


def download(text: str) -> None:
    """A button that hands the file out: it runs on any machine that has this program."""
    name = drafts.name_of(text) or "study"
    st.download_button(
        "Download",
        text,
        f"{name}.toml",
        "application/toml",
        on_click="ignore",
        help="For python -m engine run, here or elsewhere.",
    )


def judge(text: str) -> None:
    """What is wrong with it, or what it costs and the button that starts it."""
    wrong, name = drafts.problems(text), drafts.name_of(text)
    if wrong:
        show.problems(wrong, "Not ready yet:")
    if name in loading.studies():
        st.info(
            f"This store has a study {show.escape(name)} already. Its finished runs are kept; a changed setting is refused."
        )
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        asked = shell.action(
            "Check",
            "check",
            disabled=bool(wrong) or not name,
            help="Loads model and data in a process of its own, times a few steps and estimates what the study costs.",
        )
        start = shell.action(
            "Start",
            "start",
            primary=True,
            disabled=bool(wrong) or not name,
            help="Queues every run; they go on when this page is closed.",
        )
        look = shell.action(
            "Look at the data",
            "look",
            disabled=bool(wrong) or not name,
            help="Reads the data in a process of its own and shows the first rows of every split and language.",
        )
        download(text)
    if look:
        read_data(name, text)
    if asked:
        ask(name, text)
    if start:
        submit(name, text)
    if st.session_state.get(STARTED) == (name, text):
        st.success(f"The runs of {show.escape(name)} are queued.")
        places(name)
        navigation.link("monitor", "Watch them in the Monitor", study=name, run="")
    if name and drafts.preview(name).facts():
        st.fragment(rows, run_every=1 if drafts.preview(name).running() else None)(name, drafts.about(text))
    if name and drafts.check(name).facts():
        st.fragment(answer, run_every=1 if drafts.check(name).running() else None)(name, drafts.about(text))


def places(name: str) -> None:
    """Where the runs of a study stand in the queue."""
    waiting = [run for run in live.runs(name) if run.position is not None]
    if waiting:
        first, last = min(run.position or 0 for run in waiting), max(run.position or 0 for run in waiting)
        st.caption(f"{len(waiting)} runs wait, at places {first} to {last} of the queue.")


def read_data(name: str, text: str) -> None:
    """Save the file and have its data read."""
    file = drafts.save(name, text)
    drafts.preview(name).start(["pages.ui.preview", str(file)], drafts.about(text))
    st.session_state[SAVED] = name
    st.rerun()


def rows(name: str, about: str) -> None:
    """The first rows of every split and language, or what is wrong with the data."""
    job = drafts.preview(name)
    if job.running():
        st.caption("Reading the data …")
        return
    found = job.output()
    if job.facts().get("about") != about:
        st.caption("The data was last read for an earlier version of this file.")
    elif found is None:
        show.problems(job.errors() or ["reading ended without an answer"], "The data:")
    else:
        parts(found)


def parts(found: dict[str, Any]) -> None:
    """What was read, with a choice of split and language."""
    counts = pd.DataFrame(found["parts"]).pivot_table(index="language", columns="split", values="rows", sort=False)
    labels = f"{len(found['labels'])} labels: {', '.join(found['labels'][:12])}" if found["labels"] else ""
    kind = "parallel by id" if found["parallel"] else "not parallel"
    st.markdown(f"**The data is read.** {show.escape('; '.join(part for part in (labels, kind) if part))}")
    counts = counts.map(lambda count: "–" if count != count else f"{count:.0f}")
    st.dataframe(counts, height=min(220, 38 + 35 * len(counts)))
    names = [f"{part['split']} · {part['language']}" for part in found["parts"]]
    chosen = st.selectbox("First rows of", names, key="preview-part")
    head = pd.DataFrame(found["parts"][names.index(chosen)]["examples"])
    st.dataframe(head[sorted(head.columns, key=lambda name: name == "id")], hide_index=True)
    for note in found["notes"]:
        st.caption(show.escape(note))


def ask(name: str, text: str) -> None:
    """Save the file and have it checked."""
    file = drafts.save(name, text)
    drafts.check(name).start(
        ["engine", "check", str(file), "--json", "--store", str(loading.store())], drafts.about(text)
    )
    st.session_state[SAVED] = name
    st.rerun()


def submit(name: str, text: str) -> None:
    """Save the file and queue its runs."""
    with st.spinner("Queueing the runs …"):
        code, lines = jobs.call(["engine", "submit", str(drafts.save(name, text)), "--store", str(loading.store())])
    if code:
        show.problems(lines or ["the command line gave no reason"], "The study was not started.")
        return
    st.session_state[SAVED], st.session_state[STARTED] = name, (name, text)
    st.rerun()


def answer(name: str, about: str) -> None:
    """The answer of the check, or that it is still at work."""
    job = drafts.check(name)
    if job.running():
        st.caption(f"Loading model and data and timing a few steps … {time.time() - job.facts()['started']:.0f} s")
        return
    found = job.output()
    if job.facts().get("about") != about:
        st.caption("The last check was of an earlier version of this file.")
    elif found is None:
        show.problems(job.errors() or ["the check ended without an answer"], "The check found:")
    else:
        costs(found)


def costs(found: dict[str, Any]) -> None:
    """The estimate: runs and updates, time, memory, disk, and the notes of the data."""
    values = {
        "Runs": f"{found['runs']}",
        "Updates": f"{found['updates']:,}",
        "Time here": f"{show.duration(found['seconds'])}",
        "Memory": f"{show.size(found['memory_bytes'])}",
        "Disk": f"{show.size(found['disk_bytes'])}",
        "Prunable": f"{found['prunable'] / found['parameters']:.0%}",
    }
    helps = {
        "Prunable": f"{found['prunable']:,} of {found['parameters']:,} parameters.",
        "Time here": "Training and evaluation on this machine.",
    }
    places = [place for _ in range(3) for place in st.columns(2)]
    for place, (label, value) in zip(places, values.items(), strict=True):
        place.metric(label, value, border=True, help=helps.get(label))
    st.caption("Estimates from a few real steps on this machine, without the measures.")
    for note in found.get("notes", []):
        st.caption(show.escape(note))


with shell.page("new-study"):
    settle_saved()
    left, right = st.columns([3, 2], gap="large")
    with left:
        first, second = st.columns([3, 2], vertical_alignment="bottom")
        with first:
            start = controls.choose("start", "Start from", drafts.starts(), "new", drafts.label, strict=True)
        with second:
            mode = controls.choose(
                "mode", "Edit as", [FORM, TOML], FORM, {FORM: "Form", TOML: "TOML"}.__getitem__, kind="segments"
            )
        text = load(start, mode)
        key = f"new-study.{st.session_state[VERSION]}"
        raw = drafts.raw(text)
        if mode == FORM and raw is not None:
            text = toml.dumps(edit_form(raw, key))
        else:
            if mode == FORM:
                st.warning("This text is no TOML yet, so that the form cannot show it.")
            text = edit_text(text, key)
        st.session_state[TEXT] = text
    with right:
        if mode == FORM:
            preview(text)
        judge(text)
