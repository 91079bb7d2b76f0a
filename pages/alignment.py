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
SCALED = "z-scored by dense statistics: a few dimensions with large values can make unrelated states look alike."
# Columns that the table of measures calls otherwise.
DEFINED = {"cka": "linear_cka", "top_variance_pruned": "top_variance_share"}
DENSE_STATES = ("dense", "dense_continued")
PRUNED, DENSE = "cell_pruned", "cell_dense"
OTHERS = "all other languages"
DOMINANT = 0.5  # share of the variance in three dimensions above which raw similarities say little
_SEEN = "alignment.seen-now"
Columns = list[Any]


@dataclass(frozen=True)
class States:
    """Which states are compared: of which language, how pooled and scaled."""

    language: str
    pooling: str
    variant: str


def states(columns: Columns, frame: pd.DataFrame, facts: loading.Facts) -> States:
    """The controls for language, pooling and scale, whose choices come from what was measured."""
    with columns[0]:
        language = controls.language(theme.ordered(frame["language"].tolist(), facts.sources))
    with columns[1]:
        pooling = controls.pooling(measured.poolings(frame))
    with columns[2]:
        variant = controls.choose("variant", "States", list(VARIANTS), "raw", VARIANTS.__getitem__, help=SCALED)
    return States(language, pooling, variant)


def similarity(facts: loading.Facts, methods: tuple[str, ...]) -> pd.DataFrame:
    """Every layer beside the same layer of dense, for these methods and the dense states that are controls."""
    return measured.of_levels(facts.study, "similarity", (*DENSE_STATES, *methods))


def outliers(frame: pd.DataFrame, chosen: States) -> None:
    """How much of the variance three dimensions hold at the highest level: where it is much, trust the z-scored states."""
    rows = frame[(frame["role"] == "pruned") & (frame["variant"] == "raw") & (frame["layer"] == frame["layer"].max())]
    rows = rows[(rows["language"] == chosen.language) & (rows["pooling"] == chosen.pooling)]
    rows = rows[rows["sparsity"] == rows["sparsity"].max()]
    if rows.empty:
        return
    pruned, dense = rows["top_variance_pruned"].mean(), rows["top_variance_dense"].mean()
    held = f"{theme.percent(dense)} of the dense and {theme.percent(pruned)} of the pruned variance"
    warn = " Compare the z-scored states: so few dimensions can carry a similarity alone."
    where = f"Last layer at {controls.percent(rows['sparsity'].max())}"
    text = f"{where}: the three largest dimensions hold {held}.{warn if max(pruned, dense) > DOMINANT else ''}"
    st.caption(text, help=show.hint("top_variance_share"))


# -- layer × layer ------------------------------------------------------------------------------------------------


def layers(facts: loading.Facts) -> None:
    """Every pruned layer with every dense one; a cell opens its details."""
    columns = st.columns([3, 2, 3, 3, 2])
    with columns[0]:
        method = controls.method(measured.methods_of(facts))
    with columns[1]:
        level = controls.level(list(facts.levels[method]))
    same = similarity(facts, (method,))
    chosen = states(columns[2:], same, facts)
    outliers(same, chosen)
    kept = {"pooling": chosen.pooling, "variant": chosen.variant}
    frame = loading.level_rows(facts.study, "cka", (method,), (level,), **kept)
    if frame is None or frame.empty:
        st.info("This level has no layer-by-layer similarities with this pooling.")
        return
    left, right = st.columns([3, 2], gap="large")
    with left:
        shown = figures.cka_heatmap(frame, chosen.language, method, level, chosen.pooling, chosen.variant, show.dark())
        event = show.figure(shown, "alignment-layers", select=True, definitions=("linear_cka",))
    with right:
        depth = sorted(frame["layer_pruned"].unique().tolist())
        follow(event, depth)
        cell(frame, same[(same["sparsity"] == level) & (same["role"] == "pruned")], chosen, facts, depth)


def follow(event: Any, depth: list[int]) -> None:
    """Let the controls of the cell stand on the cell that has just been clicked in the figure."""
    points = show.selected(event)
    clicked = [int(value) for value in points[0][:2]] if points else None
    if clicked == st.session_state.get(_SEEN):
        return
    st.session_state[_SEEN] = clicked
    if clicked and set(clicked) <= set(depth):
        st.session_state[link.key(PRUNED)], st.session_state[link.key(DENSE)] = clicked


def cell(frame: pd.DataFrame, same: pd.DataFrame, chosen: States, facts: loading.Facts, depth: list[int]) -> None:
    """One cell for every language and seed, and where both layers are the same all else that is measured."""
    st.markdown("**One cell**")
    st.caption("Click a cell of the figure, or choose its layers.")
    first, second = st.columns(2)
    with first:
        pruned = controls.choose(PRUNED, "Pruned layer", depth, depth[-1])
    with second:
        dense = controls.choose(DENSE, "Dense layer", depth, depth[-1])
    if pruned == dense:
        same_layer(same[same["layer"] == pruned], chosen)
    rows = frame[(frame["layer_pruned"] == pruned) & (frame["layer_dense"] == dense)]
    table = rows.pivot_table(index="language", columns="seed", values="cka", aggfunc="first")
    table = table.reindex(theme.ordered(rows["language"].tolist(), facts.sources))
    table.columns = [f"seed {seed}" for seed in table.columns]
    table.index = pd.Index([theme.language_name(code) for code in table.index], name="language")
    number = st.column_config.NumberColumn(format="%.3f")
    show.table(table.reset_index(), "alignment-cell", column_config=dict.fromkeys(table.columns, number), height=250)


def same_layer(same: pd.DataFrame, chosen: States) -> None:
    """What else is measured between a layer and its dense self, in the chosen language, for the first seed."""
    picked = (same["language"] == chosen.language) & (same["pooling"] == chosen.pooling)
    here = same[picked & (same["variant"] == chosen.variant)].sort_values("seed")
    if here.empty:
        return
    row = here.iloc[0]
    values = {
        f"CKA ({theme.number(row['cka_low'])} to {theme.number(row['cka_high'])})": row["cka"],
        "null, upper bound": row["null_high"],
        "Procrustes distance": row["procrustes"],
        "RSA": row["rsa"],
        "CKA, Gaussian kernel": row.get("rbf_cka", float("nan")),
        "SVCCA": row.get("svcca", float("nan")),
        "PWCCA": row.get("pwcca", float("nan")),
        f"mutual k-NN (chance {theme.number(row['mutual_knn_chance'])})": row["mutual_knn"],
        "top-3 variance, pruned": row["top_variance_pruned"],
        "top-3 variance, dense": row["top_variance_dense"],
    }
    known = {name: value for name, value in values.items() if value == value}
    heading = f"{theme.language_name(chosen.language)}, seed {row['seed']}"
    number = st.column_config.NumberColumn(format="%.3f", width="small")
    table = pd.DataFrame({heading: known.keys(), "value": known.values()})
    st.dataframe(table, hide_index=True, column_config={"value": number}, key="alignment-same-layer")


# -- the other views ----------------------------------------------------------------------------------------------


def depth(facts: loading.Facts) -> None:
    """Every layer with itself, a line per level, with null and ceiling."""
    columns = st.columns([3, 3, 3, 3, 2])
    with columns[0]:
        method = controls.method(measured.methods_of(facts))
    with columns[1]:
        names = list(figures.MEASURES)
        measure = controls.choose("measure", "Similarity", names, "cka", figures.MEASURES.__getitem__)
    frame = similarity(facts, (method,))
    chosen = states(columns[2:], frame, facts)
    outliers(frame, chosen)
    where = (chosen.language, method, chosen.pooling, chosen.variant, measure)
    show.figure(figures.cka_diagonal(frame, *where, show.dark()), "alignment-depth", definitions=(_defined(measure),))


def _defined(column: str) -> str:
    return DEFINED.get(column, column)


def sparsity(facts: loading.Facts) -> None:
    """One layer along sparsity, a line per method."""
    methods = tuple(controls.methods(measured.methods_of(facts)))
    frame = similarity(facts, methods)
    columns = st.columns([3, 3, 2, 1])
    chosen = states(columns[:3], frame, facts)
    with columns[3]:
        layer = controls.layer(sorted(frame["layer"].unique().tolist()))
    where = (chosen.language, layer, chosen.pooling, chosen.variant)
    show.figure(
        figures.cka_along_sparsity(frame, *where, show.dark()), "alignment-sparsity", definitions=("linear_cka",)
    )


def translations(facts: loading.Facts) -> None:
    """Whether translations still lie near each other within one state: what pruning distorts between languages."""
    methods = tuple(controls.methods(measured.methods_of(facts)))
    frame = measured.of_levels(facts.study, "crosslingual", (*DENSE_STATES, *methods))
    if frame.empty:
        st.info("Alignment between languages needs a parallel set: the same ids in every language.")
        return
    columns = st.columns([3, 3, 3, 1])
    with columns[0]:
        names = [OTHERS, *theme.ordered(frame["language"].tolist())]
        language = controls.choose(
            "other", "Language", names, OTHERS, lambda code: code if code == OTHERS else theme.language_name(code)
        )
    with columns[1]:
        kinds = list(between.TRANSLATIONS)
        measure = controls.choose("between", "Measure", kinds, "retrieval", between.TRANSLATIONS.__getitem__)
    with columns[2]:
        pooling = controls.pooling(measured.poolings(frame))
    with columns[3]:
        layer = controls.layer(sorted(frame["layer"].unique().tolist()))
    other = None if language == OTHERS else language
    shown = between.crosslingual_lines(frame, other, measure, layer, pooling, show.dark())
    show.figure(shown, "alignment-translations", definitions=(_defined(measure),))
    with st.columns([1, 3])[0]:
        level = controls.level(facts.all_levels)
    lost = between.loss_bars(frame, level, f"{measure}_loss", layer, pooling, show.dark())
    show.figure(lost, "alignment-loss", definitions=("retrieval_loss",) if measure == "retrieval" else ("linear_cka",))


def drift(facts: loading.Facts) -> None:
    """What kind of displacement pruning made: whether it kept or broke alignment between languages."""
    columns = st.columns([3, 3, 1])
    with columns[0]:
        method = controls.method(measured.methods_of(facts))
    frame = measured.of_levels(facts.study, "drift", (method,))
    if frame.empty:
        st.info("The kind of drift needs a parallel set: the same ids in every language.")
        return
    with columns[1]:
        pooling = controls.pooling(measured.poolings(frame))
    with columns[2]:
        layer = controls.layer(sorted(frame["layer"].unique().tolist()))
    shown = between.drift_bars(frame, method, pooling, layer, show.dark())
    show.figure(shown, "alignment-drift", definitions=tuple(f"drift_{part}" for part in between.PARTS))


DRAW: dict[str, Callable[[loading.Facts], None]] = {
    "layers": layers, "depth": depth, "sparsity": sparsity, "translations": translations, "drift": drift,
}  # fmt: skip


with shell.page("alignment"):
    study = shell.study()
    assert study is not None
    facts = measured.finished(study)
    view = controls.choose("view", "Show", list(VIEWS), "layers", VIEWS.__getitem__, kind="segments", hidden_label=True)
    DRAW[view](facts)
