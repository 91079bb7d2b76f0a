from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from analysis import projection


def states(n=90, d=12, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) + 4 * rng.normal(size=(3, d))[np.arange(n) % 3]


@pytest.fixture(scope="module")
def maps():
    """One UMAP fit (it compiles for some ten seconds), a second with the same seed and one placed state."""
    x = states()
    first = projection.umap_map(x, seed=3, n_neighbors=10)
    dense, placed = projection.umap_reference(x, x + 0.01, seed=3, n_neighbors=10)
    return x, first, dense, placed


@pytest.mark.parametrize("shape", [(90, 12), (30, 200), (9, 2), (2, 9)])
@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_pca_is_the_exact_one(shape, dtype):
    x = (np.random.default_rng(0).normal(size=shape) * np.linspace(3, 0.2, shape[1]) + 5).astype(dtype)
    exact = PCA(2, svd_solver="full").fit_transform(x.astype(np.float64))
    found = projection.pca(x, seed=0)
    assert found.shape == (shape[0], 2)
    assert np.abs(found) == pytest.approx(np.abs(exact), abs=1e-6)
    assert (found == projection.pca(np.asfortranarray(x), seed=0)).all()


def test_pca_edges():
    assert (projection.pca(np.full((4, 3), 0.1), 0) == 0).all()
    with pytest.raises(ValueError, match="x: must have at least 2 rows and 2 columns"):
        projection.pca(np.ones((4, 1)), 0)
    with pytest.raises(ValueError, match="x: must be finite"):
        projection.pca(np.full((4, 3), np.nan), 0)


def test_joint_map_sees_both_states():
    dense, pruned = states(), states() + 7.0
    first, second = projection.joint(lambda x: projection.pca(x, 0), dense, pruned)
    both = projection.pca(np.vstack([dense, pruned]), 0)
    assert (np.vstack([first, second]) == both).all()
    assert np.linalg.norm(first.mean(0) - second.mean(0)) == pytest.approx(7 * np.sqrt(12), rel=0.1)
    with pytest.raises(ValueError, match="got 90 and 89 rows"):
        projection.joint(lambda x: x, dense, pruned[1:])
    with pytest.raises(ValueError, match="same width"):
        projection.joint(lambda x: x, dense, pruned[:, 1:])


def test_umap_is_reproducible_and_keeps_groups(maps):
    x, first, dense, _ = maps
    assert first.shape == (90, 2) and np.isfinite(first).all()
    assert (first == dense).all()
    assert projection.trustworthiness(x, first, k=10) > 0.8
    assert projection.knn_preservation(x, first, k=29) > 0.8
    assert (projection.umap_map(x, seed=4, n_neighbors=10) != first).any()


def test_umap_reference_places_pruned_states_near_their_dense_ones(maps):
    _, _, dense, placed = maps
    moved = np.linalg.norm(placed - dense, axis=1)
    apart = np.linalg.norm(dense - np.roll(dense, 1, axis=0), axis=1)  # the next example is of another group
    assert np.median(moved) < 0.2 * np.median(apart)


def test_umap_rules():
    x = states(10)
    for k in (1, 10):
        with pytest.raises(ValueError, match="n_neighbors: must be from 2 to 9"):
            projection.umap_map(x, 0, n_neighbors=k)
    with pytest.raises(ValueError, match="min_dist: must be from 0 to 1; got 2"):
        projection.umap_map(x, 0, n_neighbors=5, min_dist=2)
    with pytest.raises(ValueError, match="x: must have at least 4 rows"):
        projection.umap_map(x[:3], 0)
    with pytest.raises(ValueError, match="x: rows must not all be equal"):
        projection.umap_map(np.full((30, 4), 0.1), 0)
    with pytest.raises(ValueError, match="pruned: must be finite"):
        projection.umap_reference(x, x * np.nan, 0)
    with pytest.raises(ValueError, match="states: must be 2 or more of the same examples"):
        projection.umap_aligned([x], 0)
    with pytest.raises(ValueError, match="states: must be 2 or more"):
        projection.umap_aligned([x, x[1:]], 0)


@pytest.mark.long
def test_aligned_maps_move_only_what_the_states_move():
    x = states()
    moved = x.copy()
    moved[:10] += 30
    first, same, other = projection.umap_aligned([x, x, moved], seed=0, n_neighbors=10)
    scale = first.std()
    assert np.linalg.norm(same - first, axis=1).mean() < 0.5 * scale
    drift = np.linalg.norm(other - same, axis=1)
    assert drift[:10].mean() > 2 * drift[10:].mean()
    again = projection.umap_aligned([x, x, moved], seed=0, n_neighbors=10)
    assert all((a == b).all() for a, b in zip((first, same, other), again, strict=True))


def nearest(x, i, k=5):
    return set(np.argsort(np.linalg.norm(x - x[i], axis=1))[1 : k + 1])


def test_trustworthiness_and_preservation():
    x = states()
    noise = np.random.default_rng(1).normal(size=(90, 2))
    assert projection.trustworthiness(x, x) == 1.0
    assert projection.trustworthiness(x, noise) == pytest.approx(0.5, abs=0.1)
    assert projection.knn_preservation(x, x.astype(np.float32) * 3, 10) == 1.0
    assert projection.knn_preservation(x, noise, 10) == pytest.approx(10 / 89, abs=0.05)
    overlaps = [len(nearest(x, i) & nearest(noise, i)) for i in range(90)]
    assert projection.knn_preservation(x, noise, 5) == pytest.approx(sum(overlaps) / 450)
    with pytest.raises(ValueError, match="k: must be at least 1 and below half"):
        projection.trustworthiness(x, noise, k=45)
    for k in (0, 90):
        with pytest.raises(ValueError, match="k: must be from 1 to 89"):
            projection.knn_preservation(x, noise, k)
    with pytest.raises(ValueError, match="got 90 and 89 rows"):
        projection.trustworthiness(x, noise[1:])


def test_displacement():
    x = states()
    assert projection.displacement(x, x + 2) == pytest.approx(np.full(90, 2 * np.sqrt(12)))
    with pytest.raises(ValueError, match="same width"):
        projection.displacement(x, x[:, 1:])


def test_rows_name_functions_of_the_module():
    assert all(hasattr(projection, row.name) and row.section == "M§6.5" for row in projection.ROWS)
