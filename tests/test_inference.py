from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from analysis import inference
from tests import reference


def outcomes(shape=(80,), p=0.7, seed=0):
    return (np.random.default_rng(seed).random(shape) < p).astype(float)


# --- McNemar, corrections, power


@pytest.mark.parametrize("seed", range(6))
def test_mcnemar_is_the_binomial_test_of_discordant_items(seed):
    a, b = outcomes(p=0.8, seed=seed), outcomes(p=0.6, seed=seed + 50)
    first, second = int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())
    expected = scipy.stats.binomtest(first, first + second, 0.5).pvalue
    for left, right in ((a, b), (b, a), (a.astype(bool), b.astype(bool)), (a.astype(np.float16), list(b))):
        assert inference.mcnemar(left, right) == pytest.approx(expected, rel=1e-12)


def test_mcnemar_edges():
    a = np.array([True, False, True, True])
    assert inference.mcnemar(a, a) == 1.0
    assert inference.mcnemar(np.ones(6), np.zeros(6)) == pytest.approx(2 / 64)
    assert inference.mcnemar([1, 0], [0, 1]) == 1.0
    with pytest.raises(ValueError, match="a, b: must be the same items; got 4 and 3"):
        inference.mcnemar(a, a[1:])
    with pytest.raises(ValueError, match=r"b: must be true or false for every item; got 0.5"):
        inference.mcnemar(a, [0.5, 0, 1, 1])
    with pytest.raises(ValueError, match="a: must be finite"):
        inference.mcnemar([1.0, math.nan, 0, 0], a)
    with pytest.raises(ValueError, match="a: must not be empty"):
        inference.mcnemar([], [])


@pytest.mark.parametrize("p", [[0.01, 0.04, 0.03, 0.005], [0.5], [0.02, 0.02, 0.02], [1, 0, 0.3], [0.9, 0.8, 0.7]])
def test_holm(p):
    assert inference.holm(p) == pytest.approx(reference.holm(p))


def test_holm_known_values_and_rules():
    assert inference.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    for wrong, rule in (([0.2, 1.2], "from 0 to 1"), ([-0.1], "from 0 to 1"), ([math.nan], "finite"), ([], "empty")):
        with pytest.raises(ValueError, match=f"p: must .*{rule}"):
            inference.holm(wrong)


def test_median_p():
    assert inference.median_p([0.01, 0.02, 0.5]) == pytest.approx(0.04)
    assert inference.median_p([0.9, 0.8]) == 1.0
    with pytest.raises(ValueError, match="p: must be from 0 to 1"):
        inference.median_p([2.0])


def test_median_p_rejects_no_more_often_than_it_says_for_dependent_seeds():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(4000, 1))
    z = 0.8 * shared + 0.6 * rng.normal(size=(4000, 4))
    p = 2 * scipy.stats.norm.sf(np.abs(z))
    assert np.mean([inference.median_p(row) <= 0.05 for row in p]) <= 0.055


def test_minimum_detectable_drop():
    assert inference.minimum_detectable_drop(500, 0.1) == pytest.approx(2.8016 * math.sqrt(0.1 / 500), rel=1e-4)
    assert inference.minimum_detectable_drop(1, 0) == 0
    for n, discordant, name in ((0, 0.1, "n"), (math.nan, 0.1, "n"), (10, 1.1, "discordant"), (10, math.nan, "disc")):
        with pytest.raises(ValueError, match=f"{name}.*: must be"):
            inference.minimum_detectable_drop(n, discordant)


def test_minimum_detectable_drop_is_found_80_percent_of_the_time():
    n, discordant, rng = 2000, 0.2, np.random.default_rng(1)
    drop = inference.minimum_detectable_drop(n, discordant)
    changed = rng.binomial(n, discordant, size=3000)
    broken = rng.binomial(changed, (1 + drop / discordant) / 2)
    z = (2 * broken - changed) / np.sqrt(changed)
    assert np.mean(np.abs(z) > 1.96) == pytest.approx(0.8, abs=0.03)


# --- bootstrap


def test_paired_bootstrap_of_items_matches_the_normal_interval_and_its_seed():
    a, b = outcomes((400,), 0.8), outcomes((400,), 0.6, 1)
    value, low, high = inference.paired_bootstrap(a, b, seed=0)
    error = (a - b).std() / math.sqrt(400)
    assert value == pytest.approx((a - b).mean())
    assert (low, high) == pytest.approx((value - 1.96 * error, value + 1.96 * error), abs=0.15 * error)
    assert (value, low, high) == inference.paired_bootstrap(a, b, seed=0)
    assert (value, low, high) != inference.paired_bootstrap(a, b, seed=1)
    assert inference.paired_bootstrap(a, a, 0) == (0.0, 0.0, 0.0)
    assert inference.paired_bootstrap(a[None], b[None], seed=0) == (value, low, high)  # one seed: items only


def test_two_level_bootstrap_matches_index_lists():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(4, 25)) + rng.normal(size=(4, 1))
    b = rng.normal(size=(4, 25))
    _, low, high = inference.paired_bootstrap(a, b, seed=0, resamples=4000)
    assert (low, high) == pytest.approx(reference.two_level_bootstrap(a, b, rng, 4000), abs=0.08)
    _, items_low, items_high = inference.paired_bootstrap(a.mean(0), b.mean(0), seed=0)
    assert high - low > 1.3 * (items_high - items_low)


def test_bootstrap_accepts_half_precision_booleans_and_strides():
    a, b = outcomes((3, 100)), outcomes((3, 100), 0.5, 1)
    expected = inference.paired_bootstrap(a, b, 0)
    assert inference.paired_bootstrap(a.astype(np.float16), b.astype(bool), 0) == expected
    wide = np.zeros((6, 200))
    wide[::2, ::2] = a
    assert inference.paired_bootstrap(wide[::2, ::2], np.asfortranarray(b), 0) == expected


def test_bootstrap_in_chunks_covers_all_resamples(monkeypatch):
    a, b = outcomes((50,)), outcomes((50,), 0.5, 1)
    whole = inference.paired_bootstrap(a, b, 0, resamples=500)
    monkeypatch.setattr(inference, "CHUNK", 50 * 33)
    assert len(inference.replicates([a - b], 0, 500)) == 500
    assert inference.paired_bootstrap(a, b, 0, resamples=500) == pytest.approx(whole, abs=0.03)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_bootstrap_rules(wrong):
    a = outcomes((10,))
    broken = a.copy()
    broken[3] = wrong
    with pytest.raises(ValueError, match="a: must be finite"):
        inference.paired_bootstrap(broken, a, 0)
    with pytest.raises(ValueError, match="b: must be finite"):
        inference.paired_bootstrap(a, broken, 0)
    with pytest.raises(ValueError, match=r"a, b: must pair the same seeds and items; got shapes \(10,\) and \(9,\)"):
        inference.paired_bootstrap(a, a[1:], 0)
    with pytest.raises(ValueError, match="a: must be items or seeds × items"):
        inference.paired_bootstrap(a.reshape(1, 1, 10), a, 0)
    with pytest.raises(ValueError, match="a: must not be empty"):
        inference.paired_bootstrap([], [], 0)
    for seed in (-1, 0.5, True, "0", None):
        with pytest.raises(ValueError, match="seed: must be a whole number"):
            inference.paired_bootstrap(a, a, seed)
    with pytest.raises(ValueError, match="resamples: must be at least 1"):
        inference.paired_bootstrap(a, a, 0, resamples=0)


def test_item_interval_covers_95_percent():
    rng, covered = np.random.default_rng(0), 0
    for trial in range(400):
        difference = rng.choice([-1, 0, 1], size=150, p=[0.05, 0.8, 0.15])
        _, low, high = inference.paired_bootstrap(difference, np.zeros(150), trial, resamples=300)
        covered += low <= 0.1 <= high
    assert 0.91 < covered / 400 < 0.98


def test_items_alone_cover_too_little_when_seeds_differ():
    rng, items, both = np.random.default_rng(0), 0, 0
    for trial in range(300):
        drops = 0.05 + 0.016 * rng.normal(size=(5, 1)) + 0.3 * rng.normal(size=200) + 0.2 * rng.normal(size=(5, 200))
        for joined in (False, True):
            a = drops if joined else drops.mean(0)
            _, low, high = inference.paired_bootstrap(a, np.zeros_like(a), trial, resamples=300)
            both += joined and low <= 0.05 <= high
            items += (not joined) and low <= 0.05 <= high
    assert both / 300 > 0.9
    assert items < both


def test_replicates_keep_what_items_do_to_all_languages():
    rng = np.random.default_rng(0)
    hard = rng.normal(size=300)
    sets = [hard + 0.3 * rng.normal(size=(2, 300)) + shift for shift in (0.1, 0.2, 0.4)]
    joint, apart = (inference.replicates(sets, 0, parallel=parallel) for parallel in (True, False))
    assert joint.shape == (inference.RESAMPLES, 3)
    spread = [np.subtract(*np.quantile(values.mean(1), [0.975, 0.025])) for values in (joint, apart)]
    assert spread[0] > 1.4 * spread[1]
    for values, drawn in zip(sets, joint.T, strict=True):
        limits = inference.paired_bootstrap(values, np.zeros((2, 300)), seed=0)[1:]
        assert limits == pytest.approx(np.quantile(drawn, [0.025, 0.975]))


def test_replicates_of_unequal_languages():
    sets = [outcomes((2, 30)), outcomes((2, 50))]
    assert inference.replicates(sets, 0, parallel=False).shape == (inference.RESAMPLES, 2)
    with pytest.raises(ValueError, match="must share seeds, and items if parallel"):
        inference.replicates(sets, 0)
    with pytest.raises(ValueError, match="must share seeds"):
        inference.replicates([sets[0], sets[1][:1]], 0, parallel=False)
    with pytest.raises(ValueError, match=r"values\[1\]: must be finite"):
        inference.replicates([sets[0], sets[1] * np.nan], 0, parallel=False)
    with pytest.raises(ValueError, match="at least one set"):
        inference.replicates([], 0)


def test_difference_in_differences():
    dense, pruned = outcomes((3, 200), 0.9), outcomes((3, 200), 0.5, 1)
    source, source_pruned = outcomes((3, 200), 0.9, 2), outcomes((3, 200), 0.85, 3)
    value, low, high = inference.difference_in_differences(dense, pruned, source, source_pruned, 0)
    assert value == pytest.approx((dense - pruned - source + source_pruned).mean())
    assert low < value < high and low > 0
    assert inference.difference_in_differences(dense, pruned, dense, pruned, 0) == (0, 0, 0)
    with pytest.raises(ValueError, match="pruned_source: must be finite"):
        inference.difference_in_differences(dense, pruned, source, source_pruned * np.nan, 0)
    with pytest.raises(ValueError, match="dense, dense_source: must be the same items"):
        inference.difference_in_differences(dense, pruned, source[:, 1:], source_pruned[:, 1:], 0)


def test_resample_counts():
    counts = inference.resample_counts(40, np.random.default_rng(0), 3000)
    assert counts.shape == (3000, 40) and (counts.sum(1) == 40).all()
    assert counts.mean(0) == pytest.approx(np.ones(40), abs=0.1)
    assert counts.var() == pytest.approx(1 - 1 / 40, rel=0.03)


# --- over languages and methods


def test_languages_differ_finds_a_difference_and_no_other():
    rng = np.random.default_rng(0)
    equal = rng.normal(size=400) + 0.3 * rng.normal(size=(5, 400))
    observed, expected, p = inference.languages_differ(list(equal), seed=0)
    assert p > 0.05 and observed == pytest.approx(equal.mean(1).var(ddof=1)) and expected > 0
    unequal = equal + np.array([0, 0, 0, 0, 0.1])[:, None]
    assert inference.languages_differ(list(unequal), seed=0)[2] < 0.01
    # Without pairing the items the same difference drowns in how hard items are.
    assert inference.languages_differ(list(unequal), seed=0, parallel=False)[2] > 0.05
    assert inference.languages_differ(list(unequal), 0) == inference.languages_differ(list(unequal), 0)


def test_languages_differ_is_level_under_the_null():
    rng = np.random.default_rng(3)
    p = [
        inference.languages_differ(rng.normal(size=30) + rng.normal(size=(4, 30)), seed, permutations=99)[2]
        for seed in range(200)
    ]
    assert np.mean(np.array(p) <= 0.1) == pytest.approx(0.1, abs=0.06)


def test_shuffled_drops():
    drops = np.random.default_rng(0).normal(size=(3, 8))
    shuffled = inference.shuffled_drops(drops, 0, permutations=50)
    assert shuffled.shape == (50, 3)
    assert shuffled.mean(1) == pytest.approx(np.full(50, drops.mean()))
    pooled = inference.shuffled_drops([drops[0], drops[1, :5]], 0, permutations=50, parallel=False)
    assert pooled @ [8, 5] == pytest.approx(np.full(50, drops[0].sum() + drops[1, :5].sum()))
    identical = np.tile(drops[0], (3, 1))
    assert inference.languages_differ(identical, 0)[2] == 1.0
    with pytest.raises(ValueError, match="parallel items must be equally many"):
        inference.shuffled_drops([drops[0], drops[1, :5]], 0)
    with pytest.raises(ValueError, match="need 2 languages"):
        inference.shuffled_drops(drops[:1], 0)


@pytest.mark.parametrize("seed", range(5))
def test_kendall_tau_with_and_without_ties(seed):
    rng = np.random.default_rng(seed)
    for a, b in (rng.normal(size=(2, 9)), rng.integers(3, size=(2, 9))):
        assert inference.kendall_tau(a, b)[0] == pytest.approx(scipy.stats.kendalltau(a, b).statistic)
    assert math.isnan(inference.kendall_tau(np.ones(4), np.arange(4.0))[0])
    with pytest.raises(ValueError, match="at least 2 scores"):
        inference.kendall_tau([1.0], [1.0])


@pytest.mark.parametrize("parallel", [True, False])
def test_ranking_agreement(parallel):
    rng = np.random.default_rng(0)
    quality = np.array([0.9, 0.8, 0.6, 0.3])[:, None, None]
    source = (rng.random((4, 3, 300)) < quality).astype(float)
    target = (rng.random((4, 3, 300)) < quality - 0.1).astype(float)
    assert inference.ranking_agreement(source, target, 0, parallel=parallel) == (1.0, 1.0, 1.0)
    assert inference.ranking_agreement(source, target[::-1], 0, parallel=parallel)[0] == -1.0
    close = (rng.random((4, 3, 300)) < 0.5).astype(float)
    tau, low, high = inference.ranking_agreement(source, close, 0, parallel=parallel)
    assert low <= tau <= high and high - low > 0.5
    with pytest.raises(ValueError, match="same 2 or more methods; got 4 and 3"):
        inference.ranking_agreement(source, target[:3], 0)


def test_ranking_agreement_of_sets_that_are_not_parallel():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(3, 40)), rng.normal(size=(3, 60))
    tau, low, high = inference.ranking_agreement(source, target, 0, parallel=False)
    assert -1 <= low <= tau <= high <= 1
    with pytest.raises(ValueError, match="items if parallel"):
        inference.ranking_agreement(source, target, 0)


def test_rows_name_functions_of_the_module():
    assert all(hasattr(inference, row.name) and row.section == "M§6.1" and row.formula for row in inference.ROWS)
