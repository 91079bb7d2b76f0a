"""Home: what this is, the studies of the store, and where to begin."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd
import streamlit as st

from pages.ui import claims, controls, drafts, keeping, live, loading, navigation, shell, show, tour

COLUMNS = 4
NEWEST = 10  # studies with links of their own; more stand in a table


def intro() -> None:
    """Two sentences on what this is."""
    st.markdown(
        "**Prunoscope** prunes multilingual transformers and shows, language by language, what that did: "
        "which language breaks first, at which sparsity, and where in the network. "
        "Every number comes from files in the store, with its interval, its control and its definition."
    )


def studies() -> None:
    """The studies of the store, newest first."""
    names = loading.studies()
    st.subheader("Studies in this store", anchor=False)
    if not names:
        _none()
        return
    runs: dict[str, list[str]] = {name: [] for name in names}
    for run in live.runs():
        runs.setdefault(run.name.partition("/")[0], []).append(run.state)
    labels = {name: keeping.labels(name) for name in names}
    hidden = [name for name in names if labels[name].get("archived")]
    if hidden and controls.toggle("archived", f"Show {len(hidden)} archived"):
        hidden = []
    shown = [loading.facts(name) for name in names if name not in hidden]
    facts = sorted(shown, key=lambda found: -found.changed)
    for found in facts[:NEWEST]:
        _study(found, Counter(runs[found.study]), labels[found.study])
    if len(facts) > NEWEST:
        _rest(facts, runs)


def _none() -> None:
    show.empty(
        f"The store {loading.store()} holds no study yet. Run `make demo` in a terminal for the bundled example (two minutes), "
        "or describe a study of your own.",
        "new-study",
        "Describe a first study",
    )


def _study(found: loading.Facts, states: Counter[str], label: dict[str, Any]) -> None:
    """One study: its name and states, what it holds, and the pages that show it."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            title = label.get("title")
            st.markdown(f"**{show.escape(title or found.study)}**", width="content")
            for state, count in states.most_common():
                show.state(state, f"{count} {state}")
            for tag in label.get("tags") or []:
                st.badge(show.escape(tag), color="gray")
        if title:
            st.caption(show.escape(found.study))
        if label.get("note"):
            st.text(label["note"])
        st.caption(show.escape(summary(found)))
        if found.broken:
            st.caption(
                f":red[{_count(found.broken, 'run folder')} cannot be read:] {show.escape(', '.join(found.broken))}"
            )
        with st.container(horizontal=True, gap="small"):
            navigation.link("degradation", "Open", study=found.study)
            navigation.link("compare", "Compare", studies=found.study)
            navigation.link("present", "Present", study=found.study)
            navigation.link("monitor", "Monitor", study=found.study, run="")
            navigation.link("runs", "Name, tag, delete", study=found.study)
            if f"study:{found.study}" in drafts.starts():
                navigation.link("new-study", "Use as a template", start=f"study:{found.study}")


def summary(found: loading.Facts) -> str:
    """What a study holds, in one line."""
    levels = found.all_levels
    reach = f"sparsity {', '.join(f'{100 * level:.4g}%' for level in levels)}" if levels else "no pruned level yet"
    parts = [
        f"{found.model} on {found.task}" if found.model else "",
        f"{_count(found.pruned, 'method')} ({', '.join(found.pruned)})" if found.pruned else "",
        reach,
        _count(found.seeds, "seed"),
        _count(found.languages, "language"),
        f"changed {show.ago(found.changed)}" if found.changed else "",
    ]
    return " · ".join(part for part in parts if part)


def _count(things: object, word: str) -> str:
    number = len(things)  # type: ignore[arg-type]
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _rest(facts: list[loading.Facts], runs: dict[str, list[str]]) -> None:
    rows = [
        {
            "study": found.study,
            "states": ", ".join(f"{count} {state}" for state, count in Counter(runs[found.study]).most_common()),
            "methods": ", ".join(found.pruned),
            "seeds": len(found.seeds),
            "languages": len(found.languages),
            "changed": pd.Timestamp(found.changed, unit="s"),
            "open": f"degradation?study={found.study}",
        }
        for found in facts
    ]
    with st.expander(f"All {len(facts)} studies"):
        st.dataframe(
            pd.DataFrame(rows),
            hide_index=True,
            column_config={"open": st.column_config.LinkColumn("open", display_text="Open")},
        )


def first_steps() -> None:
    """The first five minutes: the stops of the guided tour, on the newest study that has something to show."""
    st.subheader("The first five minutes", anchor=False)
    study = ready()
    if study:
        tour.link_to(1, f"Take the tour of {study}", study)
    for number, step in enumerate(tour.STEPS, 1):
        if number % COLUMNS == 1:
            columns = st.columns(COLUMNS)
        with columns[(number - 1) % COLUMNS], st.container(border=True, height="stretch"):
            st.markdown(f"**{number}. {show.escape(step.title)}**")
            tour.link_to(number, navigation.place(step.page).title, study)


def ready() -> str:
    """The newest study with a pruned level; empty where there is none."""
    found = [facts for facts in map(loading.facts, loading.studies()) if facts.all_levels]
    return max(found, key=lambda facts: facts.changed).study if found else ""


def sparsity() -> None:
    """What a sparsity is a fraction of."""
    with st.expander("What does “90% sparse” mean here?"):
        st.markdown(
            "A sparsity is a fraction *of something*, and papers differ in what they divide by:\n\n"
            "- **of the prunable weights**: the linear maps inside the blocks. Levels, axes and tables here use this one.\n"
            "- **of the encoder**: blocks with their biases and norms, without embeddings.\n"
            "- **of the whole model**: a multilingual vocabulary can hold two thirds of all parameters, and embeddings are not pruned, "
            "so that 90% of the prunable weights may be 30% of the model.\n\n"
            "Every level's `size.json` holds all three, measured. Zeros alone neither shrink a dense file nor speed up a dense kernel."
        )


with shell.page("home"):
    intro()
    studies()
    first_steps()
    claims.board()
    sparsity()
