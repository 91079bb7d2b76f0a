from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from analysis import weights as overlaps
from engine import weights
from tests import reference


def matrices():
    w = np.random.default_rng(0).normal(size=(6, 9))
    big = np.zeros((12, 18))
    big[::2, ::2] = w
    return {
        "plain": w,
        "half": w.astype(np.float16),
        "strided": big[::2, ::2],
        "tied": np.round(w),
        "pruned": w * (np.abs(w) > 0.8),
        "tiny": w * 1e-200,
        "huge": w * 1e200,
    }


CASES = pytest.mark.parametrize("w", matrices().values(), ids=matrices().keys())


@CASES
def test_hoyer_and_kurtosis(w):
    scaled = w.astype(float) / np.abs(w).max()  # both are free of scale; the plain forms overflow
    assert weights.hoyer(w) == pytest.approx(reference.hoyer(scaled), abs=1e-12)
    assert weights.kurtosis(w) == pytest.approx(scipy.stats.kurtosis(scaled.ravel()), abs=1e-9)


def test_hoyer_and_kurtosis_of_known_cases():
    one = np.zeros((4, 5))
    one[2, 3] = -7
    assert weights.hoyer(one) == pytest.approx(1)
    assert weights.hoyer(np.full((4, 5), -0.3)) == pytest.approx(0)
    assert math.isnan(weights.hoyer(np.zeros(4)))
    assert math.isnan(weights.kurtosis(np.full(4, 0.1)))
    gauss = np.random.default_rng(0).normal(size=200_000)
    assert weights.kurtosis(gauss) == pytest.approx(0, abs=0.05)
    assert weights.hoyer(gauss) == pytest.approx(1 - math.sqrt(2 / math.pi), abs=0.01)
    with pytest.raises(ValueError, match="at least 2 entries; got 1"):
        weights.hoyer([[1.0]])


def test_norm_kept_and_unit_cosine_after_the_first_mask():
    w = np.random.default_rng(0).normal(size=(5, 8))
    pruned = w * (np.abs(w) > 0.7)
    pruned[3] = 0
    kept = weights.norm_kept(w, pruned)
    flat = weights.unit_cosine(w.reshape(1, -1), pruned.reshape(1, -1))[0]
    assert flat == pytest.approx(kept)  # M§4.1's identity, before the weights move
    assert kept == pytest.approx(math.sqrt(1 - np.linalg.norm(w - pruned) ** 2 / np.linalg.norm(w) ** 2))
    assert weights.unit_cosine(w, pruned) == pytest.approx(reference.unit_cosine(w, pruned))
    assert weights.unit_cosine(w, pruned)[3] == 0
    zero_row = w.copy()
    zero_row[1] = 0
    assert weights.unit_cosine(zero_row, pruned) == pytest.approx(reference.unit_cosine(zero_row, pruned), nan_ok=True)
    assert math.isnan(weights.norm_kept(np.zeros((2, 2)), np.zeros((2, 2))))
    half = weights.unit_cosine(w.astype(np.float16), pruned.astype(np.float16))
    assert half == pytest.approx(weights.unit_cosine(w, pruned), abs=1e-3)


def test_counts():
    w = np.array([[0.0, 1.0], [0.0, 0.0], [-2.0, 3.0]])
    assert weights.units_left(w) == 2
    assert weights.sparsity(w) == 0.5


@pytest.mark.parametrize("measure", [weights.norm_kept, weights.unit_cosine])
def test_pairs_must_fit(measure):
    w = np.ones((2, 3))
    with pytest.raises(ValueError, match="reference, weight: must have the same shape"):
        measure(w, w.T)
    with pytest.raises(ValueError, match="weight: must be finite"):
        measure(w, w * math.nan)


@pytest.mark.parametrize("measure", [weights.hoyer, weights.kurtosis, weights.sparsity, weights.units_left])
def test_single_arrays_must_be_finite_and_not_empty(measure):
    with pytest.raises(ValueError, match="weight: must be finite; got inf"):
        measure([[1.0, math.inf]])
    with pytest.raises(ValueError, match="weight: must not be empty"):
        measure(np.zeros((0, 3)))


def test_jaccard():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 7, 8)) < 0.4
    assert overlaps.jaccard(a, b) == reference.jaccard(a, b)
    assert overlaps.jaccard(a.astype(np.uint8), b.astype(np.float16)) == reference.jaccard(a, b)
    assert overlaps.jaccard(a, a) == 1
    assert overlaps.jaccard(a, ~a) == 0
    assert math.isnan(overlaps.jaccard(a & False, b & False))
    with pytest.raises(ValueError, match="a: must be a mask"):
        overlaps.jaccard(a * 2.0, b)
    with pytest.raises(ValueError, match="a, b: must have the same shape"):
        overlaps.jaccard(a, b[1:])


def test_jaccard_by_chance_is_what_random_masks_overlap():
    rng, sizes = np.random.default_rng(0), np.array([400, 900])
    kept_a, kept_b = np.array([40, 700]), np.array([100, 500])

    def random_masks(kept):
        return np.concatenate([rng.permutation(np.arange(n) < k) for n, k in zip(sizes, kept, strict=True)])

    found = [overlaps.jaccard(random_masks(kept_a), random_masks(kept_b)) for _ in range(400)]
    by_matrix = overlaps.jaccard_chance(kept_a, kept_b, sizes)
    assert by_matrix == pytest.approx(np.mean(found), abs=0.002)
    assert by_matrix > overlaps.jaccard_chance(kept_a.sum(), kept_b.sum(), sizes.sum()) + 0.01
    assert overlaps.jaccard_chance([5], [5], [5]) == 1
    assert math.isnan(overlaps.jaccard_chance([0], [0], [5]))
    with pytest.raises(ValueError, match="must be from 0 to sizes"):
        overlaps.jaccard_chance([6], [1], [5])
    with pytest.raises(ValueError, match="one count per matrix"):
        overlaps.jaccard_chance([1, 2], [1], [5])


def test_rows_are_unique_and_complete():
    assert len({row.name for row in overlaps.ROWS}) == len(overlaps.ROWS)
    assert all(row.what and row.formula and row.section == "M§6.8" for row in overlaps.ROWS)
