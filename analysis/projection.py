"""Two-dimensional maps of representations, and how far to trust them (M§6.5).

PCA is the fast default; UMAP runs offline (its first fit in a process compiles for about 10 s). `x` is N×D, a map
is N×2. Every map is drawn by a seed and reproducible, and is to be shown with its `trustworthiness` and
`knn_preservation`; `displacement` colours points by what moved in all D dimensions, not in two.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.metrics import finite, same_rows, same_width
from engine.registry import Metric

Floats = NDArray[np.float64]
Projection = Callable[[Floats], Floats]


def pca(x: ArrayLike, seed: int) -> Floats:
    """Coordinates on the two principal axes, N×2 (scikit-learn, Lanczos solver started by `seed`; M§6.5).

    Lanczos because only two of D axes are needed: exact, and several times faster than all of them. The randomised
    solver is not an option: where the spectrum decays slowly, as it does for hidden states, its axes are far off.
    The sign of each axis is fixed by its largest loading. Needs 2 rows and 2 columns; equal rows fall on one point.
    """
    from sklearn.decomposition import PCA

    x_ND = finite("x", x, 2)
    if min(x_ND.shape) < 2:
        raise ValueError(f"x: must have at least 2 rows and 2 columns; got shape {x_ND.shape}")
    if (x_ND == x_ND[0]).all():
        return np.zeros((len(x_ND), 2))
    solver = PCA(n_components=2, svd_solver="arpack" if min(x_ND.shape) > 2 else "full", random_state=seed)
    return np.asarray(solver.fit_transform(np.ascontiguousarray(x_ND)), dtype=np.float64)


def umap_map(x: ArrayLike, seed: int, n_neighbors: int = 15, min_dist: float = 0.1) -> Floats:
    """UMAP coordinates, N×2 (McInnes et al. 2018, umap-learn; M§6.5).

    `init="pca"` and one thread: with the spectral default the same seed gives different maps. `n_neighbors` from 2
    to N−1 (small: local detail), `min_dist` from 0 to 1 (small: tight groups). Needs 4 rows.
    """
    x_ND = finite("x", x, 2)
    return np.asarray(_umap(x_ND, seed, n_neighbors, min_dist).embedding_, dtype=np.float64)


def _umap(x_ND: Floats, seed: int, n_neighbors: int, min_dist: float) -> Any:
    _check_umap(x_ND, n_neighbors, min_dist)
    settings = {"init": "pca", "random_state": seed, "transform_seed": seed, "n_jobs": 1}
    return _library("umap").UMAP(n_neighbors=n_neighbors, min_dist=min_dist, **settings).fit(x_ND.astype(np.float32))


def _library(name: str) -> Any:
    # Loaded when used (seconds), without its notice that TensorFlow, which nothing here needs, is missing.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)
        return import_module(name)


def _check_umap(x_ND: Floats, n_neighbors: int, min_dist: float) -> None:
    if min(x_ND.shape) < 2 or len(x_ND) < 4:
        raise ValueError(f"x: must have at least 4 rows and 2 columns; got shape {x_ND.shape}")
    if (x_ND == x_ND[0]).all():
        raise ValueError(f"x: rows must not all be equal; got {len(x_ND)} equal rows")
    if not 2 <= n_neighbors <= len(x_ND) - 1:
        raise ValueError(f"n_neighbors: must be from 2 to {len(x_ND) - 1} (the rows less one); got {n_neighbors}")
    if not 0 <= min_dist <= 1:
        raise ValueError(f"min_dist: must be from 0 to 1; got {min_dist}")


def joint(project: Projection, dense: ArrayLike, pruned: ArrayLike) -> tuple[Floats, Floats]:
    """One map of two states of the same examples: `project` sees both stacked, so distances between them count.

    `project` is N×D → N×2, for instance `lambda x: pca(x, seed)`.
    """
    dense_ND, pruned_ND = same_rows(dense, pruned)
    same_width(dense_ND, pruned_ND)
    both = project(np.vstack([dense_ND, pruned_ND]))
    return both[: len(dense_ND)], both[len(dense_ND) :]


def umap_reference(
    dense: ArrayLike, pruned: ArrayLike, seed: int, n_neighbors: int = 15, min_dist: float = 0.1
) -> tuple[Floats, Floats]:
    """UMAP fitted on the dense state, pruned states placed into it: the dense map is the same at every level (M§6.5)."""
    dense_ND, pruned_ND = finite("dense", dense, 2), finite("pruned", pruned, 2)
    same_width(dense_ND, pruned_ND)
    fitted = _umap(dense_ND, seed, n_neighbors, min_dist)
    placed = fitted.transform(pruned_ND.astype(np.float32))
    return np.asarray(fitted.embedding_, dtype=np.float64), np.asarray(placed, dtype=np.float64)


def umap_aligned(states: Sequence[ArrayLike], seed: int, n_neighbors: int = 15, min_dist: float = 0.1) -> list[Floats]:
    """One map per state (dense, then every level) in which examples move as little as their state allows (M§6.5).

    AlignedUMAP of umap-learn: neighbouring levels are tied example by example, so a path between maps is a change
    of the states and not a new layout. All states hold the same examples. Slow: it compiles for half a minute.
    """
    arrays = [finite(f"states[{i}]", state, 2) for i, state in enumerate(states)]
    if len(arrays) < 2 or len({len(array) for array in arrays}) > 1:
        raise ValueError(f"states: must be 2 or more of the same examples; got {[array.shape for array in arrays]}")
    _check_umap(arrays[0], n_neighbors, min_dist)
    relations = [{i: i for i in range(len(arrays[0]))}] * (len(arrays) - 1)
    settings = {"n_neighbors": n_neighbors, "min_dist": min_dist, "random_state": seed, "transform_seed": seed}
    model = _library("umap.aligned_umap").AlignedUMAP(**settings)
    with warnings.catch_warnings():
        # It hands its own maps no thread count and starts from spectral layouts, and warns of both.
        warnings.filterwarnings("ignore", message="n_jobs value|Graph is not fully connected")
        model.fit([array.astype(np.float32) for array in arrays], relations=relations)
    return [np.asarray(embedding, dtype=np.float64) for embedding in model.embeddings_]


def displacement(dense: ArrayLike, pruned: ArrayLike) -> Floats:
    """How far every example moved in all D dimensions, N values: what the colour of a map's point may show (M§6.5)."""
    dense_ND, pruned_ND = same_rows(dense, pruned, 1)
    same_width(dense_ND, pruned_ND)
    return np.asarray(np.linalg.norm(dense_ND - pruned_ND, axis=1))


def trustworthiness(x: ArrayLike, embedding: ArrayLike, k: int = 10) -> float:
    """1 where the map invents no neighbours (Venna & Kaski 2001, scikit-learn; M§6.5); k below N/2.

    `1 − 2/(Nk(2N−3k−1)) Σ_i Σ_{j ∈ map's k nearest, not x's} (rank_x(i,j) − k)`.
    """
    from sklearn.manifold import trustworthiness as measured

    x_ND, map_N2 = same_rows(x, embedding)
    if not 1 <= k < len(x_ND) / 2:
        raise ValueError(f"k: must be at least 1 and below half of the {len(x_ND)} rows; got {k}")
    return float(measured(x_ND, map_N2, n_neighbors=k))


def knn_preservation(x: ArrayLike, y: ArrayLike, k: int = 10) -> float:
    """Mean share of every point's k nearest neighbours (Euclidean, itself excluded) that are so in both (M§6.5).

    k/(N−1) by chance; 1 ≤ k ≤ N−1. Unlike trustworthiness it also counts neighbours that the map tore apart.
    """
    from sklearn.neighbors import NearestNeighbors

    x_ND, y_ND = same_rows(x, y)
    if not 1 <= k <= len(x_ND) - 1:
        raise ValueError(f"k: must be from 1 to {len(x_ND) - 1} (the rows less one); got {k}")
    graphs = [NearestNeighbors(n_neighbors=k).fit(values).kneighbors_graph() for values in (x_ND, y_ND)]
    return float(graphs[0].multiply(graphs[1]).sum() / (k * len(x_ND)))


# fmt: off
ROWS: tuple[Metric, ...] = (
    Metric("trustworthiness", "Trustworthiness", "Whether points that are near on the map are near in the states.", "M§6.5",
           "Venna & Kaski 2001", "score", "higher", 0.0, 1.0,
           r"1-\frac{2}{Nk(2N-3k-1)}\sum_i\sum_{j\in U_k(i)}(r(i,j)-k)", "Map"),
    Metric("knn_preservation", "Neighbours kept", "The share of nearest neighbours that the map keeps.", "M§6.5", "standard",
           "fraction", "higher", 0.0, 1.0, r"\frac{1}{Nk}\sum_i|N^X_k(i)\cap N^Y_k(i)|", "Map"),
    Metric("displacement", "Displacement", "How far an example moved in all dimensions.", "M§6.5", "standard", "distance",
           "lower", 0.0, None, r"\|z_{\mathrm{dense},i}-z_{\mathrm{pruned},i}\|", "Map"),
)
# fmt: on
