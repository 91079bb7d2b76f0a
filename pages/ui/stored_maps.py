"""Maps in a store: which one is asked for, the rows of one that has been made, the button that has another made (M§6.5)."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.figures.base import pooled
from pages.ui import controls, loading, measuring

PROJECTIONS = {"umap": "UMAP", "pca": "PCA"}
COLOURS = {
    "label": "class", "language": "language", "family": "language family", "displacement": "distance moved",
    "cosine_distance": "cosine distance moved",
}  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """Which map."""

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


def made(study: str, run: str, folder: str) -> str:
    """The projection to begin with: the first that has been made for this level."""
    found = loading.level_maps(study, run, folder)
    known = set(found["projection"]) if len(found) else set()
    return next((name for name in PROJECTIONS if name in known), next(iter(PROJECTIONS)))


def find(choice: Wanted) -> pd.DataFrame:
    """The rows of the map asked for; empty where it has not been made."""
    found = loading.level_maps(choice.study, choice.run, choice.folder)
    if found.empty:
        return found
    return found[
        (found["projection"] == choice.projection)
        & (found["pooling"] == choice.pooling)
        & (found["layer"] == choice.layer)
    ]


def queue(choice: Wanted, poolings: tuple[str, ...], depth: int, key: str = "map") -> None:
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
    name = f"{PROJECTIONS[choice.projection]} map of layer {choice.layer} ({pooled(choice.pooling)}) for {state}"
    cost = " A first UMAP takes about 20 seconds." if choice.projection == "umap" else ""
    measuring.missing(
        choice.study, f"There is no {name} yet.{cost}", key, (*wish, *(["--pooling", pooling] if pooling else []))
    )
