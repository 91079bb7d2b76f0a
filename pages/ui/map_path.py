"""The map through sparsity (M§6.5): one layout of dense and every level, a slider, and the way of the furthest movers."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from analysis.figures import maps as figures
from pages.ui import controls, loading, measured, measuring, sentences, show

PROJECTIONS = {"pca": "PCA of all states", "aligned": "AlignedUMAP"}
COLOURS = {"language": "language", "family": "language family", "label": "class", "displacement": "distance moved"}
MOST_TRAILS = 60


def draw(study: str, facts: loading.Facts) -> None:
    """The controls, the slider over levels, the map and its sentences."""
    columns = st.columns(4)
    with columns[0]:
        method = controls.method(measured.methods_of(facts))
    with columns[1]:
        seed = controls.seed(facts.seeds)
    found = loading.level_rows(study, "path", (method,), None, (seed,))
    frame = pd.DataFrame() if found is None else found
    known = [name for name in PROJECTIONS if len(frame) and name in set(frame["projection"])]
    with columns[2]:
        projection = controls.choose(
            "projection", "Projection", list(PROJECTIONS), (known or ["pca"])[0], PROJECTIONS.__getitem__
        )
    if projection not in known:
        queue(study, method, seed, projection)
        return
    with columns[3]:
        colour = controls.choose("colour", "Colour", list(COLOURS), "language", COLOURS.__getitem__)
    rows = frame[frame["projection"] == projection]
    stops = sorted(rows["at"].unique().tolist())
    at = controls.slider(
        "at", "Sparsity", stops, stops[-1], lambda value: "dense" if value == 0 else controls.percent(value)
    )
    with st.columns([1, 3])[0]:
        trails = int(controls.number("trails", "Furthest movers with their way", 0, MOST_TRAILS, figures.TRAILS, 5))
    shown = figures.path_scatter(rows, at, colour, trails, show.dark())
    event = show.figure(
        shown, "map-path", select=True, definitions=("trustworthiness", "knn_preservation", "displacement")
    )
    run = f"{method}-s{seed}" if at > 0 else f"dense-s{seed}"
    sentences.draw(study, run, loading.level_folder(study, run, at), seed, shown.data, sentences.selected(event))


def queue(study: str, method: str, seed: int, projection: str) -> None:
    """In the place of a path that has not been made: the button that has it made."""
    cost = " AlignedUMAP takes about a minute, most of it to compile." if projection == "aligned" else ""
    text = f"There is no {PROJECTIONS[projection]} through the levels of {method}, seed {seed}, yet.{cost} It needs levels that kept activations."
    wish = ("--path", "--run", f"{method}-s{seed}", "--projection", projection)
    measuring.missing(study, text, "path", wish)
