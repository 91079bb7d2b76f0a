"""One map of dense and every level of a run together: the way that examples go as sparsity grows (M§6.5).

PCA of all states together costs milliseconds and is made for the first seed of every method. AlignedUMAP, which ties
neighbouring levels example by example, compiles for half a minute: it is made on request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import projection
from analysis.measures import maps
from analysis.measures.states import Snapshot
from engine.metrics import unit_rows
from engine.record import RecordError

Floats = NDArray[Any]
PROJECTIONS = ("pca", "aligned")
POINTS = 480  # examples on the map: 40 of 12 languages, each once per level


@dataclass(frozen=True)
class Request:
    """Which path: projection, pooling ("" for the task's own), layer (−1 for the last), seed of the fit, most examples."""

    projection: str = "pca"
    pooling: str = ""
    layer: int = -1
    seed: int = 0
    points: int = POINTS

    def name(self) -> str:
        """The variant's part of the file name."""
        layer = "last" if self.layer == -1 else str(self.layer)
        return f"path-{self.projection}-{self.pooling or 'task'}-{layer}"


def make(dense: Snapshot, levels: dict[float, Snapshot], request: Request, parallel: bool) -> pd.DataFrame:
    """One row per example and state: language, id, label, at (the state's sparsity, 0 for dense), x, y, displacement.

    displacement and cosine_distance are from the dense state, in all dimensions; trustworthiness and knn_preservation
    belong to the state. Only examples that every state has.
    """
    if request.projection not in PROJECTIONS:
        raise ValueError(f"projection: must be one of {', '.join(PROJECTIONS)}; got {request.projection!r}")
    states = {0.0: dense, **dict(sorted(levels.items()))}
    pooling, layer = maps.place(dense, request)
    chosen = _chosen(list(states.values()), request, parallel)
    if not chosen:
        raise RecordError("probe: the levels of the run must have examples in common; these have none")
    arrays = [_states(state, chosen, pooling, layer) for state in states.values()]
    if request.projection == "pca":
        flat = projection.pca(np.vstack(arrays), request.seed)
        placed = np.split(flat, len(arrays))
    else:
        placed = projection.umap_aligned(arrays, request.seed, n_neighbors=min(15, len(arrays[0]) - 1))
    names = [(code, key, dense.labels[code][row]) for code, rows in chosen.items() for key, row in rows]
    keys = pd.DataFrame(names, columns=["language", "id", "label"])
    facts = {"projection": request.projection, "layer": layer, "pooling": pooling, "examples": len(keys)}
    frames = [
        keys.assign(at=at, x=xy[:, 0], y=xy[:, 1], **_moved(arrays[0], array), **maps.quality(array, xy), **facts)
        for at, array, xy in zip(states, arrays, placed, strict=True)
    ]
    return pd.concat(frames, ignore_index=True)


def _chosen(states: list[Snapshot], request: Request, parallel: bool) -> dict[str, list[tuple[Any, int]]]:
    """Per language (key, row in the dense state) of the examples on the map, the same ones where the set is parallel."""
    codes = [code for code in states[0].languages if all(code in state.keys for state in states)]
    each = max(2, request.points // max(1, len(codes)))
    found: dict[str, list[tuple[Any, int]]] = {}
    wanted: set[Any] = set()
    for code in codes:
        shared = set.intersection(*(set(state.keys[code]) for state in states))
        if not wanted or not parallel:
            wanted = maps.chosen(np.array(sorted(shared), dtype=object), each, request.seed)
        rows = [(key, row) for row, key in enumerate(states[0].keys[code]) if key in wanted and key in shared]
        if rows:
            found[code] = rows
    return found


def _states(state: Snapshot, chosen: dict[str, list[tuple[Any, int]]], pooling: str, layer: int) -> Floats:
    parts = []
    for code, rows in chosen.items():
        places = pd.Index(state.keys[code]).get_indexer([key for key, _ in rows])
        parts.append(state.layers(code, pooling, places)[layer])
    return np.concatenate(parts).astype(np.float64)


def _moved(dense_ND: Floats, state_ND: Floats) -> dict[str, Floats]:
    turned = np.full(len(dense_ND), np.nan)
    if dense_ND.any(1).all() and state_ND.any(1).all():
        turned = 1 - (unit_rows("dense", dense_ND) * unit_rows("state", state_ND)).sum(1)
    return {"displacement": projection.displacement(dense_ND, state_ND), "cosine_distance": turned}
