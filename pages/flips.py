"""Flips (M§6.9): which items pruning broke or repaired, in which languages, and what kind of items they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from analysis import theme
from analysis.figures import flips as figures
from pages.ui import controls, flip_tables, loading, measured, shell, show

VIEWS = {
    "atlas": "Item by item",
    "languages": "By language",
    "slices": "By kind of item",
    "confusion": "Confusions",
    "exemplars": "Identified items",
}
STATES = {"change": "pruned less dense", "dense": "dense", "pruned": "pruned"}
ALL = "all"
CHANGES = ("atlas", "languages")  # views of items that broke or were repaired
ANSWERS = {"confusion": False, "exemplars": True}  # views of items' classes; whether they ask for nothing beside them


@dataclass(frozen=True)
class Choice:
    """What the controls at the top ask for."""

    study: str
    method: str
    level: float
    split: str

    def at(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of this method, level and split."""
        mine = (frame["method"] == self.method) & (frame["sparsity"] == self.level) & (frame["split"] == self.split)
        return frame[mine]


def choose(study: str, facts: loading.Facts) -> Choice:
    """The controls at the top."""
    columns = st.columns(4)
    with columns[0]:
        method = controls.method(measured.methods_of(facts))
    with columns[1]:
        level = controls.level(list(facts.levels[method]))
    with columns[2]:
        split = controls.split(facts.splits)
    return Choice(study, method, level, split)


def atlas(choice: Choice, facts: loading.Facts) -> None:
    """Parallel items as rows, languages as columns."""
    first = st.columns([1, 2, 3])
    with first[0]:
        seed = controls.seed(facts.seeds)
    frame = loading.level_rows(choice.study, "flips", (choice.method,), (choice.level,), (seed,), split=choice.split)
    if frame is None or frame.empty:
        measured.unmeasured(choice.study, "flips")
        return
    codes = theme.ordered(frame["language"].tolist(), facts.sources)
    with first[1]:
        wanted = controls.choose("items", "Items", list(flip_tables.FILTERS), "broken", flip_tables.FILTERS.__getitem__)
    with first[2]:
        languages = controls.languages(codes)
    if not languages:
        st.info("Choose at least one language.")
        return
    if not facts.parallel:
        st.info("This set is not parallel: an item is of one language, so that no row has more than one mark.")
    rows = flip_tables.filtered(frame[frame["language"].isin(languages)], wanted)
    if rows.empty:
        st.info("No item is like that here.")
        return
    left, right = st.columns([2, 3], gap="large")
    with left:
        show.figure(figures.atlas(rows, languages, show.dark()), "flips-atlas", definitions=("broken", "broken_here"))
    run = f"{choice.method}-s{seed}"
    folder = loading.level_folder(choice.study, run, choice.level)
    texts = loading.details(choice.study, run, folder, choice.split)
    with right:
        chosen = flip_tables.items(rows, languages, texts)
        flip_tables.item(frame, chosen, codes, texts)


def languages(choice: Choice, facts: loading.Facts) -> None:
    """Broken and repaired per language, and how much of it rerunning does too."""
    counts = measured.of_study(choice.study, "flip_counts")
    shown = figures.flip_bars(counts, choice.method, choice.level, choice.split, show.dark())
    show.figure(shown, "flips-languages", definitions=("broken", "repaired", "broken_here", "pie"))
    flip_tables.counts(choice.at(counts))


def slices(choice: Choice, facts: loading.Facts) -> None:
    """The drop by length, by fertility and by label."""
    frame = measured.of_study(choice.study, "flip_slices")
    columns = st.columns([1, 1, 2])
    with columns[0]:
        kinds = [kind for kind in figures.KINDS if kind in set(frame["kind"])]
        kind = controls.choose("kind", "By", kinds or ["length"], format=figures.KINDS.__getitem__)
    with columns[1]:
        language = controls.language(theme.ordered(facts.languages, facts.sources))
    where = (choice.method, choice.level, kind, language, choice.split)
    show.figure(figures.slice_dots(frame, *where, show.dark()), "flips-slices", definitions=("drop",))


def confusion(choice: Choice, facts: loading.Facts) -> None:
    """Which class was answered with which."""
    frame = loading.level_rows(choice.study, "confusion", (choice.method,), (choice.level,))
    if frame is None or frame.empty:
        measured.unmeasured(choice.study, "confusion")
        return
    columns = st.columns([1, 2, 1])
    with columns[0]:
        language = controls.language(theme.ordered(facts.languages, facts.sources))
    with columns[1]:
        state = controls.choose("state", "State", list(STATES), "change", STATES.__getitem__, kind="segments")
    with columns[2]:
        seeds = [ALL, *map(str, sorted(frame["seed"].unique().tolist()))]
        seed = controls.choose(
            "seeds", "Seeds", seeds, format=lambda name: "mean of all" if name == ALL else f"seed {name}"
        )
    rows = frame if seed == ALL else frame[frame["seed"] == int(seed)]
    shown = figures.confusion_heatmap(rows, language, choice.split, state, show.dark())
    show.figure(shown, "flips-confusion", definitions=("confusion",))


def exemplars(choice: Choice, facts: loading.Facts) -> None:
    """Items whose most frequent answer over seeds changed."""
    if len(facts.seeds) < 2:
        st.info("Identified items need two seeds or more: with one, a flip may be nothing but a rerun's noise.")
        return
    frame = loading.measure(choice.study, "exemplars")
    rows = choice.at(frame) if frame is not None else pd.DataFrame()
    if rows.empty:
        st.info("No item's most frequent answer over seeds changed at this level.")
        show.definition("pie")
        return
    run = f"{choice.method}-s{facts.seeds[0]}"
    folder = loading.level_folder(choice.study, run, choice.level)
    flip_tables.exemplars(rows, loading.details(choice.study, run, folder, choice.split))


DRAW: dict[str, Callable[[Choice, loading.Facts], None]] = {
    "atlas": atlas, "languages": languages, "slices": slices, "confusion": confusion, "exemplars": exemplars,
}  # fmt: skip


with shell.page("flips"):
    study = shell.study()
    assert study is not None
    facts = measured.finished(study)
    choice = choose(study, facts)
    view = controls.choose("view", "Show", list(VIEWS), "atlas", VIEWS.__getitem__, kind="segments", hidden_label=True)
    if view in CHANGES and not measured.breaks(facts):
        st.info(
            f"Items of this study are only better or worse, never right or wrong, so that none can break: its score is "
            f"{show.escape(show.title(facts.metric))}. “By kind of item” shows which items it drops on."
        )
    elif view in ANSWERS and not measured.classes(facts, ANSWERS[view]):
        st.info("This needs a task whose every item has one class for an answer.")
    else:
        if view in CHANGES and (what := measured.right_where(facts)):
            st.caption(what)
        DRAW[view](choice, facts)
