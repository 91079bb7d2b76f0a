from __future__ import annotations

import math

import numpy as np
import pytest

from analysis import separability
from tests import reference

MEASURES = ["r_squared", "fisher_ratio", "class_snr"]
OTHERS = ["silhouette", "nearest_centroid", "linear_probe"]


def labelled(n=36, d=7, classes=3, apart=1.5, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return rng.normal(size=(n, d)) + 1 + apart * rng.normal(size=(classes, d))[labels], labels


def variants():
    x, labels = labelled()
    unequal = np.array([0] * 20 + [1] * 2 + [2] * 14)
    tied = x.copy()
    tied[labels == 1] = tied[1]
    big = np.zeros((72, 14))
    big[::2, ::2] = x
    return {
        "plain": (x, labels),
        "text labels": (x, np.array(["b", "a", "c"])[labels]),
        "unequal": (x, unequal),
        "collapsed class": (tied, labels),
        "half": (x.astype(np.float16), labels),
        "strided": (big[::2, ::2], list(labels)),
        "far from zero": (x + 1e3, labels),
        "wide": labelled(n=12, d=50),
    }


@pytest.mark.parametrize("case", variants().values(), ids=variants().keys())
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("name", MEASURES)
def test_equals_the_plain_definition(name, biased, case):
    x, labels = case
    measure, plain = getattr(separability, name), getattr(reference, name)
    assert measure(x, labels, biased=biased) == pytest.approx(plain(x, labels, biased), rel=1e-7, abs=1e-10)


@pytest.mark.parametrize("name", [*MEASURES, *OTHERS])
def test_bad_arguments_name_the_argument(name):
    x, labels = labelled()
    measure = getattr(separability, name)
    wrong = x.copy()
    wrong[2, 3] = np.nan
    with pytest.raises(ValueError, match=r"x: must be finite; got nan at \(2, 3\)"):
        measure(wrong, labels)
    with pytest.raises(ValueError, match=r"labels: must be one per row of x \(36\); got shape \(35,\)"):
        measure(x, labels[1:])
    with pytest.raises(ValueError, match="labels: must hold at least 2 classes; got 1"):
        measure(x, np.zeros(36))
    with pytest.raises(ValueError, match="labels: must be finite"):
        measure(x, np.where(labels == 1, np.nan, labels))
    with pytest.raises(ValueError, match="x: rows must not all be equal; got 36 equal rows"):
        measure(np.full_like(x, 0.1), labels)
    with pytest.raises(ValueError, match="x: must not be empty"):
        measure(x[:0], labels[:0])


def test_classes_of_one_row():
    x, labels = labelled()
    labels = labels.copy()
    labels[0] = 9
    for measure in (separability.r_squared, separability.class_snr):
        with pytest.raises(ValueError, match="at least 2 rows; got 1 of 9"):
            measure(x, labels)
        assert np.isfinite(measure(x, labels, biased=True))
    assert separability.fisher_ratio(x, labels) == pytest.approx(reference.fisher_ratio(x, labels))
    with pytest.raises(ValueError, match="at least one class must have 2 rows"):
        separability.fisher_ratio(x, np.arange(36))
    with pytest.raises(ValueError, match="at least 5 rows; got 1 of 9"):
        separability.linear_probe(x, labels)


@pytest.mark.parametrize("name", MEASURES)
def test_noise_gives_zero_unbiased_and_the_known_plug_in_values(name):
    measure = getattr(separability, name)
    rng = np.random.default_rng(0)
    few, many = np.arange(200) % 16, np.arange(200) % 60
    plug_in_few, plug_in_many, unbiased = [], [], []
    for _ in range(8):
        x = rng.normal(size=(200, 192))
        plug_in_few.append(measure(x, few, biased=True))
        plug_in_many.append(measure(x, many, biased=True))
        unbiased += [measure(x, few), measure(x, many)]
    assert 0.065 < np.mean(plug_in_few) < 0.095
    assert 0.29 < np.mean(plug_in_many) < 0.46
    assert abs(np.mean(unbiased)) < 0.004


@pytest.mark.parametrize("name", MEASURES)
def test_expectation_does_not_depend_on_the_number_of_examples(name):
    rng, means = np.random.default_rng(1), {}
    centres = 0.8 * rng.normal(size=(6, 40))
    for per_class in (3, 30):
        labels = np.tile(np.arange(6), per_class)
        draws = [centres[labels] + rng.normal(size=(6 * per_class, 40)) for _ in range(900 // per_class)]
        for biased in (False, True):
            means[per_class, biased] = np.mean([getattr(separability, name)(x, labels, biased) for x in draws])
    assert means[3, False] == pytest.approx(means[30, False], rel=0.04)
    assert means[3, True] > 1.2 * means[30, True]


def test_collapsed_classes():
    x = np.repeat(np.array([[0.1, 0.7], [0.3, 0.2], [5.0, 1.0]]), 4, axis=0)
    labels = np.repeat([0, 1, 2], 4)
    assert separability.r_squared(x, labels) == pytest.approx(1.0)
    assert separability.fisher_ratio(x, labels) == math.inf
    assert separability.class_snr(x, labels) == math.inf
    assert math.isnan(separability.class_snr(np.repeat(x[[0, 4, 4]], 4, axis=0), labels))


def test_r_squared_needs_directions():
    x, labels = labelled()
    zero = x.copy()
    zero[4] = 0
    with pytest.raises(ValueError, match=r"x: must have no zero row .* got one at 4"):
        separability.r_squared(zero, labels)
    line = np.arange(1, 37)[:, None] * np.array([[1.0, 2.0, 3.0]])
    with pytest.raises(ValueError, match="must not all point the same way"):
        separability.r_squared(line, labels)


def test_r_squared_ignores_the_length_of_rows_and_keeps_digits_for_a_narrow_cone():
    x, labels = labelled()
    assert separability.r_squared(x * np.arange(1, 37)[:, None], labels) == pytest.approx(
        separability.r_squared(x, labels)
    )
    rng = np.random.default_rng(0)
    cone = np.ones(50) + 1e-6 * (rng.normal(size=(60, 50)) + 2 * rng.normal(size=(3, 50))[np.arange(60) % 3])
    wide = np.ones(50) + 1e-3 * (cone - 1) / 1e-6
    assert separability.r_squared(cone, np.arange(60) % 3) == pytest.approx(
        separability.r_squared(wide, np.arange(60) % 3), abs=2e-3
    )


def test_pruning_snr():
    rng = np.random.default_rng(0)
    dense, change = rng.normal(size=(300, 40)), rng.normal(size=(300, 40))
    assert separability.pruning_snr_db(dense, dense + 0.1 * change) == pytest.approx(20, abs=0.2)
    assert separability.pruning_snr_db(dense + 9, dense + 9 + change) == pytest.approx(0, abs=0.2)
    half = dense.astype(np.float16)[::2]
    assert separability.pruning_snr_db(half, half + change[::2]) == pytest.approx(
        reference.pruning_snr_db(half, half + change[::2])
    )
    assert separability.pruning_snr_db(dense, dense.copy()) == math.inf
    collapsed = np.repeat(dense.mean(0, keepdims=True), 300, axis=0)
    assert separability.pruning_snr_db(dense, collapsed) == pytest.approx(0)


def test_pruning_snr_is_centred_because_unrelated_states_would_score_7_db_raw():
    rng = np.random.default_rng(0)
    dense, unrelated = rng.normal(size=(2, 500, 60)) + 3
    raw = 10 * np.log10((dense**2).sum() / ((dense - unrelated) ** 2).sum())
    assert raw == pytest.approx(7, abs=0.1)
    assert separability.pruning_snr_db(dense, unrelated) == pytest.approx(-3, abs=0.1)


def test_pruning_snr_rules():
    x, _ = labelled()
    with pytest.raises(ValueError, match="dense, pruned: must have the same shape"):
        separability.pruning_snr_db(x, x[1:])
    with pytest.raises(ValueError, match="dense: rows must not all be equal"):
        separability.pruning_snr_db(np.ones((4, 2)), x[:4, :2])
    with pytest.raises(ValueError, match="pruned: must be finite"):
        separability.pruning_snr_db(x, x * np.inf)


@pytest.mark.parametrize("name", OTHERS)
def test_classifiers_tell_signal_from_noise(name):
    measure = getattr(separability, name)
    x, labels = labelled(n=90, d=30, classes=3, apart=2)
    noise = np.random.default_rng(3).normal(size=x.shape)
    chance = 0.0 if name == "silhouette" else 1 / 3
    assert measure(x, labels) > chance + 0.25
    assert measure(noise, labels) == pytest.approx(chance, abs=0.17)
    assert measure(x.astype(np.float16), labels.astype(str)) > chance + 0.25


def test_probe_is_cross_validated_and_seeded():
    x, labels = labelled(n=60, d=200, classes=4, apart=0.25)
    values = {seed: separability.linear_probe(x, labels, seed=seed) for seed in range(3)}
    assert values[0] == separability.linear_probe(x, labels, seed=0)
    assert len(set(values.values())) > 1
    noise = np.random.default_rng(0).normal(size=(60, 200))
    assert separability.linear_probe(noise, labels) < 0.5  # on its own training rows it would be 1
    with pytest.raises(ValueError, match="folds: must be at least 2"):
        separability.linear_probe(x, labels, folds=1)


def test_silhouette_rules_and_value():
    from sklearn.metrics import silhouette_samples

    x, labels = labelled()
    assert separability.silhouette(x, labels) == pytest.approx(silhouette_samples(x, labels).mean())
    with pytest.raises(ValueError, match="fewer classes than rows"):
        separability.silhouette(x, np.arange(36))


def test_shuffled_control():
    x, labels = labelled(n=60)
    mean, low, high = separability.shuffled_control(separability.r_squared, x, labels, seed=0, repeats=40)
    assert low < 0 < high and abs(mean) < 0.05
    assert separability.r_squared(x, labels) > high
    assert (mean, low, high) == separability.shuffled_control(separability.r_squared, x, labels, 0, 40)
    with pytest.raises(ValueError, match="repeats: must be at least 1"):
        separability.shuffled_control(separability.r_squared, x, labels, 0, 0)


def test_rows_name_functions_of_the_module():
    assert all(hasattr(separability, row.name) and row.formula for row in separability.ROWS)
    assert {row.name for row in separability.ROWS} >= {*MEASURES, *OTHERS, "pruning_snr_db"}
