"""analysis.flips, the controls of analysis.inference, analysis.correlates and analysis.restoration against slow references."""

from __future__ import annotations

import numpy as np
import pytest

from analysis import correlates, flips, inference, restoration, similarity
from tests import reference


def answers(shape: tuple[int, ...], classes: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(classes, size=shape)


def test_outcomes() -> None:
    dense, pruned = answers((60,), 2, 1), answers((60,), 2, 2)
    found = flips.outcomes(dense, pruned)
    assert found.tolist() == reference.outcomes(dense, pruned)
    drop = (found == flips.BROKEN).mean() - (found == flips.REPAIRED).mean()
    assert drop == pytest.approx(dense.mean() - pruned.mean())
    assert flips.outcomes(dense.reshape(3, 20), pruned.reshape(3, 20)).shape == (3, 20)


def test_in_one_language() -> None:
    broken = np.array([[1, 1, 0, 0], [1, 0, 0, 1], [1, 0, 0, 0]])
    assert flips.in_one_language(broken).tolist() == [
        [False, True, False, False],
        [False, False, False, True],
        [False] * 4,
    ]


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_modal_answers_and_identified_items(seeds: int) -> None:
    dense, pruned = answers((seeds, 80), 3, 1), answers((seeds, 80), 3, 2)
    assert flips.modal(dense).tolist() == reference.modal(dense.tolist())
    assert flips.identified(dense, pruned).tolist() == reference.identified(dense.tolist(), pruned.tolist())
    assert not flips.identified(dense, dense).any()


def test_a_tie_is_no_mode() -> None:
    assert flips.modal([[0, 1], [1, 1]]).tolist() == [flips.NO_MODE, 1]
    assert not flips.identified([[0], [0]], [[0], [1]]).any()


def test_confusion() -> None:
    gold, predicted = answers((90,), 5, 3), answers((90,), 5, 4)
    assert flips.confusion(gold, predicted, 5).tolist() == reference.confusion(gold, predicted, 5)


@pytest.mark.parametrize("bins", [1, 3, 10])
def test_equal_mass_never_splits_equal_values(bins: int) -> None:
    values = np.round(np.random.default_rng(5).normal(size=70), 1)
    found = flips.equal_mass(values, bins)
    assert found.tolist() == [bins * int((values < value).sum()) // 70 for value in values]
    assert all(len(set(found[values == value])) == 1 for value in values)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: flips.outcomes([0.5], [1]), "dense: must be true or false"),
        (lambda: flips.outcomes([1], [1, 0]), "dense, pruned: must be the same items"),
        (lambda: flips.in_one_language([1, 0]), "broken: must be 2 or more languages"),
        (lambda: flips.modal([[0.5]]), "answers: must be class indices"),
        (lambda: flips.identified([[1]], [[1]]), "need 2 or more seeds each; got 1 and 1"),
        (lambda: flips.identified([[1], [1]], [[1, 0], [1, 0]]), "must be the same items"),
        (lambda: flips.confusion([0, 3], [0, 1], 3), "classes: must be above every class index; got 3"),
        (lambda: flips.equal_mass([1.0], 0), "bins: must be a whole number"),
        (lambda: flips.equal_mass([np.nan], 2), "values"),
        (lambda: inference.shuffled_labels([0, 1], [0], [1]), "gold, dense, pruned: must be the same 2 or more items"),
        (lambda: inference.rerun_noise([[1, 0]]), "scores: must be of 2 or more seeds; got 1"),
        (lambda: correlates.leave_one_out([1, 2, 3], [1, 2, 3]), "x, y: must be of the same 4 or more languages"),
        (lambda: restoration.effect([1], [1], [1], "both"), "direction: must be one of restore, prune_only; got 'both'"),  # type: ignore[arg-type]
        (lambda: restoration.effect([1], [1, 2], [1], "restore"), "must be the same items"),
        (lambda: restoration.interaction_gap(np.nan, [1]), "total: must be a number"),
    ],
)  # fmt: skip
def test_bad_arguments(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


# -- controls ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [1, 2])
def test_shuffled_labels_against_every_permutation(seeds: int) -> None:
    gold, dense, pruned = answers((7,), 3, 1), answers((seeds, 7), 3, 2), answers((seeds, 7), 3, 3)
    mean, variance = reference.shuffled_labels(gold.tolist(), dense.tolist(), pruned.tolist())
    found = inference.shuffled_labels(gold, dense, pruned)
    assert found[0] == pytest.approx(mean)
    assert (found[2] - found[1]) / (2 * 1.959963984540054) == pytest.approx(np.sqrt(variance))


def test_shuffled_labels_take_the_drop_away() -> None:
    gold = answers((400,), 8, 1)
    pruned = np.where(np.random.default_rng(2).random(400) < 0.5, gold, answers((400,), 8, 3))
    drop = (gold == gold).mean() - (pruned == gold).mean()
    mean, low, high = inference.shuffled_labels(gold, gold, pruned)
    assert drop > 0.3 and abs(mean) < 0.02 and low < 0 < high < drop
    assert inference.shuffled_labels(gold, gold, gold) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("seeds", [2, 4])
def test_rerun_noise(seeds: int) -> None:
    scores = answers((seeds, 50), 2, 6)
    assert inference.rerun_noise(scores) == pytest.approx(reference.rerun_noise(scores.tolist()))


# -- correlates and restoration ------------------------------------------------------------------------------------


def test_leave_one_out() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=9), np.round(rng.normal(size=9), 0)
    low, high, decisive = correlates.leave_one_out(x, y)
    assert (low, high) == pytest.approx(reference.leave_one_out(x.tolist(), y.tolist()))
    without = reference.spearman(np.delete(x, decisive), np.delete(y, decisive))
    assert abs(without - reference.spearman(x, y)) == pytest.approx(
        max(high - reference.spearman(x, y), reference.spearman(x, y) - low)
    )


def test_one_language_can_decide_a_correlation() -> None:
    low, high, decisive = correlates.leave_one_out([0, 0, 0, 0, 9], [1, 1, 1, 1, 9])
    assert np.isnan([low, high]).sum() < 2 and decisive >= -1
    x, y = [1.0, 2, 3, 4, 10], [4.0, 3, 2, 1, 10]
    low, high, decisive = correlates.leave_one_out(x, y)
    assert low == -1 and decisive == 4


def test_effects_and_gap() -> None:
    dense, pruned, changed = np.array([3.0, 2.0]), np.array([1.0, 1.0]), np.array([2.0, 0.5])
    assert restoration.effect(dense, pruned, changed, "restore").tolist() == [1.0, -0.5]
    assert restoration.effect(dense, pruned, changed, "prune_only").tolist() == [1.0, 1.5]
    assert restoration.interaction_gap(1.5, [1.0, 0.25]) == 0.25


def test_retrieval_hits_are_the_parts_of_retrieval() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(30, 6))
    y = x + rng.normal(size=x.shape)
    hits = similarity.retrieval_hits(x, y)
    assert set(hits) <= {0.0, 0.5, 1.0} and hits.mean() == pytest.approx(reference.retrieval(x, y))
    assert np.isnan(similarity.retrieval_hits(x, np.ones_like(x))).all()
