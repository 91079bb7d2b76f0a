from __future__ import annotations

import math

import numpy as np
import pytest

from analysis import degradation, inference
from tests import reference


def test_drop_and_its_relatives():
    dense, pruned = np.array([0.8, 0.5, 0.0]), np.array([0.6, 0.55, 0.1])
    assert degradation.drop(dense, pruned) == pytest.approx([0.2, -0.05, -0.1])
    assert degradation.relative_drop(dense, pruned) == pytest.approx([0.25, -0.1, math.nan], nan_ok=True)
    assert degradation.retention(dense, pruned) == pytest.approx([0.75, 1.1, math.nan], nan_ok=True)
    assert float(degradation.relative_drop(0.8, 0.6)) == pytest.approx(0.25)
    assert degradation.retention(0.5, [0.5, 0.25]) == pytest.approx([1.0, 0.5])
    assert degradation.drop(dense.astype(np.float16), pruned).dtype == np.float64


@pytest.mark.parametrize("measure", [degradation.drop, degradation.relative_drop, degradation.retention])
def test_scores_must_be_numbers(measure):
    with pytest.raises(ValueError, match="pruned: must be finite"):
        measure([0.5, 0.5], [0.5, math.nan])
    with pytest.raises(ValueError, match="dense: must hold real numbers"):
        measure(["a"], [0.5])


def test_normalised_retention_is_blank_where_dense_may_be_chance():
    value = degradation.normalised_retention(
        dense=[0.8, 0.35, 0.2], pruned=[0.6, 0.3, 0.25], chance=0.3, low=[0.75, 0.28, 0.15], high=[0.85, 0.42, 0.25]
    )
    assert value == pytest.approx([0.6, math.nan, 0.5], nan_ok=True)
    assert math.isnan(degradation.normalised_retention(0.3, 0.3, 0.3, 0.3, 0.3))
    with pytest.raises(ValueError, match="low must not be above high"):
        degradation.normalised_retention(0.8, 0.6, 0.3, 0.9, 0.7)


def test_spread_is_shown_with_what_equal_drops_would_give():
    rng = np.random.default_rng(0)
    drops = 0.1 + 0.4 * rng.normal(size=(6, 200))
    observed = degradation.spread(drops.mean(1))
    assert observed["worst"] == drops.mean(1).max()
    assert observed["range"] == pytest.approx(np.ptp(drops.mean(1)))
    assert observed["std"] == pytest.approx(np.std(drops.mean(1), ddof=1))
    equal = degradation.equal_spread(inference.shuffled_drops(drops, 0))
    assert equal["std"] == pytest.approx(0.4 / math.sqrt(200), rel=0.15)
    assert equal["range"] == pytest.approx(2.53 * 0.4 / math.sqrt(200), rel=0.15)  # expected range of 6 normals
    assert equal["worst"] > 0.1
    with pytest.raises(ValueError, match="at least 2 languages; got 1"):
        degradation.spread([0.1])


@pytest.mark.parametrize("seed", range(8))
def test_last_safe_sparsity_equals_the_definition(seed):
    rng = np.random.default_rng(seed)
    levels, uppers = rng.permutation(np.linspace(0.1, 0.9, 9)), 0.04 * rng.random(9) ** 2
    for tolerance in (0.005, 0.02, 0.05):
        expected = reference.last_safe_sparsity(levels, uppers, tolerance)
        assert degradation.last_safe_sparsity(levels, uppers, tolerance) == pytest.approx(expected)


def test_last_safe_sparsity_stops_at_the_first_unsafe_level():
    assert degradation.last_safe_sparsity([0.3, 0.5, 0.7], [0.01, 0.03, 0.01]) == 0.3
    assert degradation.last_safe_sparsity([0.7, 0.3, 0.5], [0.01, 0.01, 0.019]) == 0.7
    assert degradation.last_safe_sparsity([0.3], [0.02]) == 0.0  # not below
    for levels, uppers, rule in (
        ([0.3, 0.3], [0, 0], "different fractions"),
        ([0.3, 1.2], [0, 0], "different fractions"),
        ([0.3], [math.nan], "uppers: must be finite"),
        ([0.3], [0, 0], "equally many; got 1 and 2"),
        ([], [], "empty"),
    ):
        with pytest.raises(ValueError, match=rule):
            degradation.last_safe_sparsity(levels, uppers)
    with pytest.raises(ValueError, match="tolerance: must be a number"):
        degradation.last_safe_sparsity([0.3], [0], math.nan)


@pytest.mark.parametrize("seed", range(4))
def test_pareto_equals_the_definition(seed):
    points = np.random.default_rng(seed).integers(5, size=(30, 3)).astype(float)  # many ties
    assert degradation.pareto(points).tolist() == reference.pareto(points)


def test_pareto_axes():
    points = [[10, 0.8, 0.6], [10, 0.8, 0.6], [5, 0.7, 0.5], [10, 0.7, 0.6], [4, 0.1, 0.1]]
    assert degradation.pareto(points).tolist() == [True, True, True, False, True]
    assert degradation.pareto([[1, 2], [2, 1], [2, 2]], ("higher", "higher")).tolist() == [False, False, True]
    with pytest.raises(ValueError, match="directions: must be lower or higher for each of the 2 axes"):
        degradation.pareto([[1, 2]])
    with pytest.raises(ValueError, match="points: must be finite"):
        degradation.pareto([[1, 2, math.nan]])


def test_rows_are_unique_and_complete():
    assert len({row.name for row in degradation.ROWS}) == len(degradation.ROWS)
    assert all(row.what and row.formula and row.section == "M§6.1" for row in degradation.ROWS)
