"""Home: what this is, the studies of the store, and where to begin."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import streamlit as st

from pages.ui import drafts, live, loading, navigation, shell, show

NEWEST = 10  # studies with links of their own; more stand in a table
STEPS = (
    (
        "degradation",
        "See who loses what",
        "Each language's score against sparsity, with intervals, controls and the dense line.",
    ),
    ("separability", "See why", "Whether the classes can still be told apart inside the network, layer by layer."),
    ("map", "See where", "The examples of every language before and after, on one map."),
    (
        "new-study",
        "Try your own",
        "Your checkpoint, your files, your levels: checked and estimated before anything runs.",
    ),
)


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
    facts = sorted((loading.facts(name) for name in names), key=lambda found: -found.changed)
    for found in facts[:NEWEST]:
        _study(found, Counter(runs[found.study]))
    if len(facts) > NEWEST:
        _rest(facts, runs)


def _none() -> None:
    show.empty(
        f"The store {loading.store()} holds no study yet. Run `make demo` in a terminal for the bundled example (two minutes), "
        "or describe a study of your own.",
        "new-study",
        "Describe a first study",
    )


def _study(found: loading.Facts, states: Counter[str]) -> None:
    """One study: its name and states, what it holds, and the pages that show it."""
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f"**{show.escape(found.study)}**", width="content")
            for state, count in states.most_common():
                show.state(state, f"{count} {state}")
        st.caption(show.escape(summary(found)))
        if found.broken:
            st.caption(
                f":red[{_count(found.broken, 'run folder')} cannot be read:] {show.escape(', '.join(found.broken))}"
            )
        with st.container(horizontal=True, gap="small"):
            navigation.link("degradation", "Open", study=found.study)
            navigation.link("monitor", "Monitor", study=found.study, run="")
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
    """The first five minutes: four steps, each with its link."""
    st.subheader("The first five minutes", anchor=False)
    for number, (column, (key, title, what)) in enumerate(zip(st.columns(len(STEPS)), STEPS, strict=True), 1):
        with column, st.container(border=True, height="stretch"):
            st.markdown(f"**{number}. {title}**")
            st.caption(what)
            navigation.link(key, navigation.place(key).title)


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
    sparsity()
