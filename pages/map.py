"""Map (M§6.5): where the examples of each language lie, before and after pruning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from analysis import theme
from analysis.figures import maps as figures
from pages.ui import controls, loading, map_path, measured, measuring, sentences, shell, show

PROJECTIONS = {"umap": "UMAP", "pca": "PCA"}
COLOURS = {
    "label": "class", "language": "language", "family": "language family", "displacement": "distance moved",
    "cosine_distance": "cosine distance moved",
}  # fmt: skip
STATES = {"both": ("dense", "pruned"), "pruned": ("pruned",), "dense": ("dense",)}
Columns = list[Any]
STATE_NAMES = {"both": "both", "pruned": "pruned only", "dense": "dense only"}


@dataclass(frozen=True)
class Choice:
    """Which map, and how it is coloured."""

    study: str
    method: str
    seed: int
    level: float
    projection: str
    pooling: str
    layer: int

    @property
    def run(self) -> str:
        """The run folder."""
        return f"{self.method}-s{self.seed}"

    @property
    def folder(self) -> str:
        """The level's folder."""
        return loading.level_folder(self.study, self.run, self.level)


def choose(study: str, facts: loading.Facts, first: Columns, second: Columns) -> tuple[Choice, tuple[str, ...], int]:
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
        start = made(study, run, folder)
        projection = controls.choose("projection", "Projection", list(PROJECTIONS), start, PROJECTIONS.__getitem__)
    with first[3]:
        pooling = controls.pooling(poolings)
    with second[1]:
        layer = controls.layer(list(range(depth)))
    return Choice(study, method, seed, level, projection, pooling, layer), poolings, depth


def made(study: str, run: str, folder: str) -> str:
    """The projection to begin with: the first that has been made for this level."""
    found = loading.level_maps(study, run, folder)
    known = set(found["projection"]) if len(found) else set()
    return next((name for name in PROJECTIONS if name in known), next(iter(PROJECTIONS)))


def find(choice: Choice) -> pd.DataFrame:
    """The rows of the map asked for; empty where it has not been made."""
    found = loading.level_maps(choice.study, choice.run, choice.folder)
    if found.empty:
        return found
    return found[
        (found["projection"] == choice.projection)
        & (found["pooling"] == choice.pooling)
        & (found["layer"] == choice.layer)
    ]


def queue(choice: Choice, poolings: tuple[str, ...], depth: int) -> None:
    """In the place of a map that has not been made: the button that has it made."""
    layer = (
        -1 if choice.layer == depth - 1 else choice.layer
    )  # the names of the default maps, so that they are made once
    pooling = "" if choice.pooling == poolings[0] else choice.pooling
    wish = [
        "--only",
        "map",
        "--run",
        choice.run,
        "--level",
        controls.number_text(choice.level),
        "--projection",
        choice.projection,
        "--layer",
        str(layer),
    ]
    state = f"{choice.method} at {controls.percent(choice.level)}, seed {choice.seed}"
    name = f"{PROJECTIONS[choice.projection]} map of layer {choice.layer} ({choice.pooling} pooling) for {state}"
    cost = " A first UMAP takes about 20 seconds." if choice.projection == "umap" else ""
    measuring.missing(
        choice.study, f"There is no {name} yet.{cost}", "map", (*wish, *(["--pooling", pooling] if pooling else []))
    )


def draw(choice: Choice, rows: pd.DataFrame, columns: Columns) -> None:
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
    rows = find(choice)
    if rows.empty:
        queue(choice, poolings, depth)
    else:
        draw(choice, rows, second[2:])


VIEWS = {"level": "One level", "path": "Through sparsity"}

with shell.page("map"):
    study = shell.study()
    assert study is not None
    facts = measured.finished(study)
    view = controls.choose("view", "Show", list(VIEWS), "level", VIEWS.__getitem__, kind="segments", hidden_label=True)
    (one_level if view == "level" else map_path.draw)(study, facts)
