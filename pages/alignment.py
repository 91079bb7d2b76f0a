"""Alignment (M§6.4): how far the pruned states moved from the dense ones, and the languages from each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from analysis import theme
from analysis.figures import alignment as figures
from analysis.figures import languages as between
from pages.ui import controls, link, loading, measured, shell, show

VIEWS = {
    "layers": "Layer × layer",
    "depth": "By depth",
    "sparsity": "By sparsity",
    "translations": "Between languages",
    "drift": "Kind of drift",
}
VARIANTS = {"raw": "raw", "zscored": "z-scored"}
DEFINED = {
    "cka": "linear_cka",
    "top_variance_pruned": "top_variance_share",
}  # columns that the table of measures calls otherwise
CONTROLS = ("dense", "dense_continued")
PRUNED, DENSE = "cell_pruned", "cell_dense"
_SEEN = "alignment.seen-now"
OTHERS = "all other languages"


@dataclass(frozen=True)
class Choice:
    """What the controls at the top ask for."""

    study: str
    method: str
    level: float
    language: str
    pooling: str
    variant: str


def choose(study: str, facts: loading.Facts) -> Choice:
    """Method, level, language, pooling, and whether states are scaled."""
    columns = st.columns([3, 2, 3, 3, 3])
    with columns[0]:
        method = controls.method(measured.methods_of(facts))
    with columns[1]:
        level = controls.level(list(facts.levels[method]))
    known = measured.of_levels(study, "similarity", (*CONTROLS, method))
    with columns[2]:
        language = controls.language(theme.ordered(known["language"].tolist(), facts.sources))
    with columns[3]:
        pooling = controls.pooling(known["pooling"].unique().tolist())
    with columns[4]:
        variant = controls.choose("variant", "States", list(VARIANTS), "raw", VARIANTS.__getitem__, kind="segments",
                                  help="z-scored by dense statistics: a few dimensions with large values can make unrelated states look alike.")  # fmt: skip
    return Choice(study, method, level, language, pooling, variant)


def similarity(choice: Choice, methods: tuple[str, ...]) -> pd.DataFrame:
    """Every layer beside the same layer of dense, for these methods and the dense states that are controls."""
    return measured.of_levels(
        choice.study, "similarity", (*CONTROLS, *methods), language=choice.language, pooling=choice.pooling
    )


def outliers(choice: Choice) -> None:
    """How much of the variance three dimensions hold: where it is much, raw similarities say little."""
    frame = similarity(choice, (choice.method,))
    rows = frame[(frame["role"] == "pruned") & (frame["sparsity"] == choice.level) & (frame["variant"] == "raw")]
    last = rows[rows["layer"] == rows["layer"].max()]
    if last.empty:
        return
    pruned, dense = last["top_variance_pruned"].mean(), last["top_variance_dense"].mean()
    advice = (
        " Compare the z-scored states: so few dimensions can carry a similarity alone."
        if max(pruned, dense) > 0.5
        else ""
    )
    held = f"{theme.percent(dense)} of the variance of the dense and {theme.percent(pruned)} of the pruned states"
    st.caption(f"Last layer: the three largest dimensions hold {held}.{advice}", help=show.hint("top_variance_share"))


# -- layer × layer ------------------------------------------------------------------------------------------------


def layers(choice: Choice, facts: loading.Facts) -> None:
    """Every pruned layer with every dense one; a cell opens its details."""
    frame = loading.level_rows(
        choice.study, "cka", (choice.method,), (choice.level,), pooling=choice.pooling, variant=choice.variant
    )
    if frame is None or frame.empty:
        st.info("This level has no layer-by-layer similarities yet.")
        return
    left, right = st.columns([3, 2], gap="large")
    with left:
        shown = figures.cka_heatmap(
            frame, choice.language, choice.method, choice.level, choice.pooling, choice.variant, show.dark()
        )
        event = show.figure(shown, "alignment-layers", select=True, definitions=("linear_cka",))
    with right:
        depth = sorted(frame["layer_pruned"].unique().tolist())
        follow(event, depth)
        cell(choice, facts, frame, depth)


def follow(event: Any, depth: list[int]) -> None:
    """Let the controls of the cell stand on the cell that has just been clicked in the figure."""
    points = show.selected(event)
    clicked = [int(value) for value in points[0][:2]] if points else None
    if clicked == st.session_state.get(_SEEN):
        return
    st.session_state[_SEEN] = clicked
    if clicked and set(clicked) <= set(depth):
        st.session_state[link.key(PRUNED)], st.session_state[link.key(DENSE)] = clicked


def cell(choice: Choice, facts: loading.Facts, frame: pd.DataFrame, depth: list[int]) -> None:
    """One cell of the matrix for every language and seed, and on the diagonal everything else that is measured."""
    st.markdown("**One cell**")
    st.caption("Click a cell of the figure, or choose its layers.")
    first, second = st.columns(2)
    with first:
        pruned = controls.choose(PRUNED, "Pruned layer", depth, depth[-1])
    with second:
        dense = controls.choose(DENSE, "Dense layer", depth, depth[-1])
    rows = frame[(frame["layer_pruned"] == pruned) & (frame["layer_dense"] == dense)]
    table = rows.pivot_table(index="language", columns="seed", values="cka", aggfunc="first").reindex(
        theme.ordered(rows["language"].tolist(), facts.sources)
    )
    table.columns = [f"seed {seed}" for seed in table.columns]
    table.index = pd.Index([theme.language_name(code) for code in table.index], name="language")
    number = st.column_config.NumberColumn(format="%.3f")
    if pruned == dense:
        same_layer(choice, int(pruned))
    show.table(table.reset_index(), "alignment-cell", column_config=dict.fromkeys(table.columns, number), height=250)


def same_layer(choice: Choice, layer: int) -> None:
    """What else is measured between a layer and its dense self, in the chosen language."""
    frame = similarity(choice, (choice.method,))
    here = frame[
        (frame["role"] == "pruned")
        & (frame["sparsity"] == choice.level)
        & (frame["variant"] == choice.variant)
        & (frame["layer"] == layer)
    ]
    if here.empty:
        return
    row = here.sort_values("seed").iloc[0]
    values = {
        f"CKA ({theme.number(row['cka_low'])} to {theme.number(row['cka_high'])})": row["cka"],
        "null, upper bound": row["null_high"],
        "Procrustes distance": row["procrustes"],
        "RSA": row["rsa"],
        f"mutual k-NN (chance {theme.number(row['mutual_knn_chance'])})": row["mutual_knn"],
        "top-3 variance, pruned": row["top_variance_pruned"],
        "top-3 variance, dense": row["top_variance_dense"],
    }
    known = {name: value for name, value in values.items() if value == value}
    st.dataframe(
        pd.DataFrame({f"{theme.language_name(choice.language)}, seed {row['seed']}": known.keys(), "value": known.values()}), hide_index=True,
        column_config={"value": st.column_config.NumberColumn(format="%.3f", width="small")}, key="alignment-same-layer",
    )  # fmt: skip


# -- the other views ----------------------------------------------------------------------------------------------


def depth(choice: Choice, facts: loading.Facts) -> None:
    """Every layer with itself, a line per level, with null and ceiling."""
    measure = controls.choose("measure", "Similarity", list(figures.MEASURES), "cka", figures.MEASURES.__getitem__)
    frame = similarity(choice, (choice.method,))
    shown = figures.cka_diagonal(
        frame, choice.language, choice.method, choice.pooling, choice.variant, measure, show.dark()
    )
    show.figure(shown, "alignment-depth", definitions=(DEFINED.get(measure, measure),))


def sparsity(choice: Choice, facts: loading.Facts) -> None:
    """One layer along sparsity, a line per method."""
    first, second = st.columns([4, 1])
    with first:
        methods = tuple(controls.methods(measured.methods_of(facts)))
    frame = similarity(choice, methods)
    with second:
        layer = controls.layer(sorted(frame["layer"].unique().tolist()))
    shown = figures.cka_along_sparsity(frame, choice.language, layer, choice.pooling, choice.variant, show.dark())
    show.figure(shown, "alignment-sparsity", definitions=("linear_cka",))


def translations(choice: Choice, facts: loading.Facts) -> None:
    """Whether translations still lie near each other within one state, the measure of what pruning distorts between languages."""
    first, second, third, fourth = st.columns([4, 2, 2, 1])
    with first:
        methods = tuple(controls.methods(measured.methods_of(facts)))
    frame = measured.of_levels(choice.study, "crosslingual", (*CONTROLS, *methods), pooling=choice.pooling)
    if frame.empty:
        st.info("Alignment between languages needs a parallel set: the same ids in every language.")
        return
    with second:
        codes = theme.ordered(frame["language"].tolist())
        name = controls.choose(
            "other",
            "Language",
            [OTHERS, *codes],
            OTHERS,
            lambda code: code if code == OTHERS else theme.language_name(code),
        )
    with third:
        measure = controls.choose(
            "between", "Measure", list(between.TRANSLATIONS), "retrieval", between.TRANSLATIONS.__getitem__
        )
    with fourth:
        layer = controls.layer(sorted(frame["layer"].unique().tolist()))
    shown = between.crosslingual_lines(
        frame, None if name == OTHERS else name, measure, layer, choice.pooling, show.dark()
    )
    show.figure(shown, "alignment-translations", definitions=(DEFINED.get(measure, measure),))


def drift(choice: Choice, facts: loading.Facts) -> None:
    """What kind of displacement pruning made: kept or broken alignment between languages."""
    frame = measured.of_levels(choice.study, "drift", (choice.method,), pooling=choice.pooling)
    if frame.empty:
        st.info("The kind of drift needs a parallel set: the same ids in every language.")
        return
    layer = controls.layer(sorted(frame["layer"].unique().tolist()))
    shown = between.drift_bars(frame, choice.method, choice.pooling, layer, show.dark())
    show.figure(shown, "alignment-drift", definitions=tuple(f"drift_{part}" for part in between.PARTS))


DRAW: dict[str, Callable[[Choice, loading.Facts], None]] = {
    "layers": layers, "depth": depth, "sparsity": sparsity, "translations": translations, "drift": drift,
}  # fmt: skip


with shell.page("alignment"):
    study = shell.study()
    assert study is not None
    facts = measured.finished(study)
    choice = choose(study, facts)
    outliers(choice)
    view = controls.choose("view", "Show", list(VIEWS), "layers", VIEWS.__getitem__, kind="segments", hidden_label=True)
    DRAW[view](choice, facts)
