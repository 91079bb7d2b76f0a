"""Map (M§6.5): where the examples of each language lie, before and after pruning."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from analysis import theme
from analysis.figures import maps as figures
from pages.ui import controls, loading, map_path, measured, sentences, shell, show, stored_maps
from pages.ui.stored_maps import COLOURS, PROJECTIONS, Wanted

STATES = {"both": ("dense", "pruned"), "pruned": ("pruned",), "dense": ("dense",)}
Columns = list[Any]
STATE_NAMES = {"both": "both", "pruned": "pruned only", "dense": "dense only"}


def choose(study: str, facts: loading.Facts, first: Columns, second: Columns) -> tuple[Wanted, tuple[str, ...], int]:
    """The map asked for, with the poolings and the number of layers that its level kept."""
    with first[0]:
        method = controls.method(measured.methods_of(facts))
    with first[1]:
        level = controls.level(list(facts.levels[method]))
    with second[0]:
        seed = controls.seed(facts.seeds)
    run = f"{method}-s{seed}"
    folder = loading.level_folder(study, run, level)
    poolings, depth = loading.kept_states(study, run, folder)
    if not poolings:
        text = f"{method}, seed {seed}, kept no activations at {controls.percent(level)}: a map is drawn from them."
        show.empty(f"{text} A run keeps those of its probe examples.", "monitor", "See its run", study=study, run="")
        shell.stop()
    with first[2]:
        start = stored_maps.made(study, run, folder)
        projection = controls.choose("projection", "Projection", list(PROJECTIONS), start, PROJECTIONS.__getitem__)
    with first[3]:
        pooling = controls.pooling(poolings)
    with second[1]:
        layer = controls.layer(list(range(depth)))
    return Wanted(study, method, seed, level, projection, pooling, layer), poolings, depth


def draw(choice: Wanted, rows: pd.DataFrame, columns: Columns) -> None:
    """The map, its quality, and what was selected on it."""
    with columns[0]:
        colour = controls.choose("colour", "Colour", list(COLOURS), "label", COLOURS.__getitem__)
    with columns[1]:
        states = controls.choose("states", "States", list(STATES), "both", STATE_NAMES.__getitem__)
    with columns[2]:
        chosen = controls.languages(theme.ordered(rows["language"].tolist(), loading.facts(choice.study).sources))
    rows = rows[rows["language"].isin(chosen)]
    event = show.figure(figures.map_scatter(rows, colour, STATES[states], show.dark()), "map", select=True,
                        definitions=("trustworthiness", "knn_preservation", "displacement"))  # fmt: skip
    sentences.draw(choice.study, choice.run, choice.folder, choice.seed, rows, sentences.selected(event))


def one_level(study: str, facts: loading.Facts) -> None:
    """Dense and pruned states of one level."""
    first, second = st.columns(4), st.columns([3, 3, 5, 4, 10])
    choice, poolings, depth = choose(study, facts, first, second[:2])
    rows = stored_maps.find(choice)
    if rows.empty:
        stored_maps.queue(choice, poolings, depth)
    else:
        draw(choice, rows, second[2:])


VIEWS = {"level": "One level", "path": "Through sparsity"}

with shell.page("map"):
    study = shell.study()
    assert study is not None
    facts = measured.finished(study)
    view = controls.choose("view", "Show", list(VIEWS), "level", VIEWS.__getitem__, kind="segments", hidden_label=True)
    (one_level if view == "level" else map_path.draw)(study, facts)
