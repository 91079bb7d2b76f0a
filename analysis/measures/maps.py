"""Two-dimensional maps of one level's states beside the dense ones (M§6.5).

PCA costs milliseconds and is made for every level; UMAP takes seconds, its first fit in a process ten more, so by
default it is made for the lowest and the highest level of each method. Both for the first seed and the last layer;
any other map is made on request and stands beside these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import projection
from analysis.measures.states import Snapshot, View, matched
from engine.metrics import unit_rows
from engine.record import RecordError

Floats = NDArray[Any]

PROJECTIONS = ("pca", "umap")
POINTS = 1000  # of both states together: 41 examples of 12 languages; a UMAP fit then takes 2 s
NEIGHBOURS = 10  # of trustworthiness and k-NN preservation


@dataclass(frozen=True)
class Request:
    """Which map: projection, pooling ("" for the task's own), layer (−1 for the last), seed of the fit, largest size."""

    projection: str = "pca"
    pooling: str = ""
    layer: int = -1
    seed: int = 0
    points: int = POINTS

    def name(self) -> str:
        """The variant's part of the file name."""
        layer = "last" if self.layer == -1 else str(self.layer)
        return f"map-{self.projection}-{self.pooling or 'task'}-{layer}"


def make(view: View, request: Request) -> pd.DataFrame:
    """One row per point: language, id, label, state (dense or pruned), x, y and how far the example moved.

    displacement is Euclidean in all dimensions, cosine_distance is free of scale. The same examples stand in every
    language where the set is parallel, at most `points` in all, chosen by `seed`; `shown` of `available` examples
    are on the map. projection, layer, pooling, trustworthiness and knn_preservation are the same in all rows.
    """
    if request.projection not in PROJECTIONS:
        raise ValueError(f"projection: must be one of {', '.join(PROJECTIONS)}; got {request.projection!r}")
    if view.dense is None:
        raise RecordError(f"{view.level.path}: has no dense states to be shown with")
    pooling, layer = place(view.state, request)
    points, available = _points(view.state, view.dense, request, view.parallel)
    dense_ND, pruned_ND = (
        np.concatenate([side.layers(code, pooling, rows[code])[layer] for code in rows]).astype(np.float64)
        for side, rows in ((view.dense, points[1]), (view.state, points[0]))
    )
    dense_N2, pruned_N2 = projection.joint(lambda x: _project(x, request), dense_ND, pruned_ND)
    facts = {
        "projection": request.projection,
        "layer": layer,
        "pooling": pooling,
        "shown": len(dense_ND),
        "available": available,
    }
    facts |= quality(np.vstack([dense_ND, pruned_ND]), np.vstack([dense_N2, pruned_N2]))
    moved = {
        "displacement": projection.displacement(dense_ND, pruned_ND),
        "cosine_distance": _turned(dense_ND, pruned_ND),
    }
    keys = pd.concat([_keys(view.state, code, rows) for code, rows in points[0].items()], ignore_index=True)
    sides = [
        keys.assign(state=name, x=at_N2[:, 0], y=at_N2[:, 1], **moved)
        for name, at_N2 in (("dense", dense_N2), ("pruned", pruned_N2))
    ]
    return pd.concat(sides, ignore_index=True).assign(**facts)


class Where(Protocol):
    """What names a set of states: pooling ("" for the task's own) and layer (−1 for the last)."""

    @property
    def pooling(self) -> str:
        """The pooling."""

    @property
    def layer(self) -> int:
        """The layer."""


def place(state: Snapshot, request: Where) -> tuple[str, int]:
    """The pooling and layer meant by a request; one that the state does not have is refused."""
    pooling = request.pooling or state.poolings[0]
    if pooling not in state.poolings:
        raise ValueError(f"pooling: must be one of {', '.join(state.poolings)}; got {request.pooling!r}")
    if not -1 <= request.layer < state.depth:
        raise ValueError(f"layer: must be from 0 to {state.depth - 1}, or -1 for the last; got {request.layer}")
    return pooling, request.layer % state.depth


def _points(
    state: Snapshot, dense: Snapshot, request: Request, parallel: bool
) -> tuple[tuple[dict[str, NDArray[np.int64]], dict[str, NDArray[np.int64]]], int]:
    # Rows of (state, dense) per language, on the same examples; and how many there are in all.
    codes = [code for code in state.languages if code in dense.keys]
    rows = {code: matched(state.keys[code], dense.keys[code]) for code in codes}
    available = sum(len(first) for first, _ in rows.values())
    each = max(2, request.points // (2 * len(codes)))
    wanted: dict[str, set[Any]] = {}
    for code in codes:
        wanted[code] = (
            wanted[codes[0]] if parallel and wanted else chosen(state.keys[code][rows[code][0]], each, request.seed)
        )
    keep = {
        code: np.array([key in wanted[code] for key in state.keys[code][rows[code][0]]], dtype=bool) for code in codes
    }
    sides = tuple({code: rows[code][side][keep[code]] for code in codes if keep[code].any()} for side in (0, 1))
    return (sides[0], sides[1]), available


def chosen(keys: NDArray[Any], count: int, seed: int) -> set[Any]:
    """`count` of the keys, drawn by `seed`; all where there are no more."""
    ordered = np.sort(keys)  # by key, so that the choice does not depend on the order of rows
    return set(ordered if len(ordered) <= count else np.random.default_rng(seed).choice(ordered, count, replace=False))


def _project(x_ND: Floats, request: Request) -> Floats:
    if request.projection == "pca":
        return projection.pca(x_ND, request.seed)
    return projection.umap_map(x_ND, request.seed, n_neighbors=min(15, len(x_ND) - 1))


def quality(x_ND: Floats, at_N2: Floats) -> dict[str, float]:
    """How far a map can be trusted: trustworthiness and knn_preservation."""
    k = min(NEIGHBOURS, (len(x_ND) - 1) // 2)
    return {
        "trustworthiness": projection.trustworthiness(x_ND, at_N2, k),
        "knn_preservation": projection.knn_preservation(x_ND, at_N2, k),
    }


def _turned(dense_ND: Floats, pruned_ND: Floats) -> Floats:
    if not (dense_ND.any(1).all() and pruned_ND.any(1).all()):
        return np.full(len(dense_ND), np.nan)
    return 1 - (unit_rows("dense", dense_ND) * unit_rows("pruned", pruned_ND)).sum(1)


def _keys(state: Snapshot, code: str, rows: NDArray[np.int64]) -> pd.DataFrame:
    return pd.DataFrame({"language": code, "id": state.keys[code][rows], "label": state.labels[code][rows]})
