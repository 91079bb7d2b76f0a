"""Formulas of M§6 against their slow versions, where the module's own tests knew only special cases."""

from __future__ import annotations

import numpy as np
import pytest

from analysis import calibration, degradation, inference, projection, recovery, restoration, text, weights
from analysis.measures.classes import leave_one_out_centroid
from tests import reference

SEEDS = pytest.mark.parametrize("seed", range(4))


def draw(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@SEEDS
def test_drops_and_retention(seed: int) -> None:
    dense, pruned, chance = draw(seed).uniform(0.1, 1, 3)
    wanted = reference.drops(dense, pruned, chance)
    found = [measure(dense, pruned) for measure in (degradation.drop, degradation.relative_drop, degradation.retention)]
    outside = (chance + 1e-6, 1.1) if dense > chance else (0.0, chance - 1e-6)
    found.append(degradation.normalised_retention(dense, pruned, chance, *outside))
    assert [float(value) for value in found] == pytest.approx(wanted)


@SEEDS
def test_mcnemar_counts_every_outcome(seed: int) -> None:
    a, b = draw(seed).random((2, 40)) < np.array([[0.7], [0.5]])
    assert inference.mcnemar(a, b) == pytest.approx(reference.mcnemar(a, b))


@SEEDS
def test_kendall(seed: int) -> None:
    a, b = draw(seed).integers(0, 5, (2, 9)).astype(float)
    assert inference.kendall_tau(a, b)[0] == pytest.approx(reference.kendall_tau(a, b))


def test_whether_languages_differ_against_every_shuffle() -> None:
    drops = draw(2).integers(-1, 2, (3, 4)).astype(float)
    observed, mean, p = inference.languages_differ(list(drops), 0, permutations=6000)
    every = reference.every_shuffle(drops.tolist())
    assert mean == pytest.approx(np.mean(every), rel=0.05)
    assert p == pytest.approx(np.mean([value >= observed - 1e-12 for value in every]), abs=0.02)


@SEEDS
@pytest.mark.parametrize("k", [1, 4])
def test_maps_are_judged_by_ranks(seed: int, k: int) -> None:
    x = draw(seed).normal(size=(16, 5))
    flat = x[:, :2] + 0.3 * draw(seed + 9).normal(size=(16, 2))
    assert projection.knn_preservation(x, flat, k) == pytest.approx(reference.knn_preservation(x, flat, k))
    assert projection.trustworthiness(x, flat, k) == pytest.approx(reference.trustworthiness(x, flat, k))
    assert projection.displacement(x, 2 * x) == pytest.approx([np.sqrt(sum(v * v for v in row)) for row in x])


@SEEDS
def test_nearest_centroid_leaves_each_example_out(seed: int) -> None:
    labels = np.arange(21) % 3
    x = draw(seed).normal(size=(21, 4)) + labels[:, None]
    assert leave_one_out_centroid(x, labels) == pytest.approx(reference.leave_one_out_centroid(x, labels.tolist()))


@SEEDS
def test_recovery_along_straight_lines(seed: int) -> None:
    scores = np.sort(draw(seed).random(6)) if seed % 2 else draw(seed).random(6)
    updates = np.cumsum([0, 3, 5, 2, 7, 4])
    found = recovery.updates_to_recover(updates, scores)
    assert found == pytest.approx(reference.updates_to_recover(updates, scores), abs=1e-3)


@SEEDS
def test_overlap_by_chance(seed: int) -> None:
    sizes = draw(seed).integers(5, 50, 4)
    a, b = (draw(seed + more).integers(1, sizes) for more in (1, 2))
    assert weights.jaccard_chance(a, b, sizes) == pytest.approx(reference.jaccard_chance(a, b, sizes))


@SEEDS
def test_what_a_part_carries(seed: int) -> None:
    dense, pruned, restored, alone = draw(seed).normal(size=(4, 12))
    back, cost, total = reference.restoration(dense, pruned, restored, alone)
    assert restoration.effect(dense, pruned, restored, "restore").mean() == pytest.approx(back)
    assert restoration.effect(dense, pruned, alone, "prune_only").mean() == pytest.approx(cost)
    assert restoration.interaction_gap(total, [back, 0.5]) == pytest.approx(total - back - 0.5)


@SEEDS
def test_overconfidence_and_fertility(seed: int) -> None:
    probabilities = draw(seed).dirichlet(np.ones(4), 30)
    labels = draw(seed).integers(0, 4, 30)
    found = calibration.overconfidence(probabilities, labels)
    assert found == pytest.approx(reference.overconfidence(probabilities, labels.tolist()))
    counts = draw(seed).integers(1, 20, (9, 2))
    assert text.fertility(counts[:, 0], counts[:, 1]) == pytest.approx(reference.fertility(counts.tolist()))
