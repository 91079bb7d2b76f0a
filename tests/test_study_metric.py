"""The study's own metric on resampled items: drops, intervals and tests where a score is no mean of item scores (M§6.1)."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from analysis import inference
from analysis.items import Items, State, item_parts, metric_values
from analysis.measures import blocks, drops, significance
from engine import metrics
from engine.tasks import overlap, words
from tests import reference

SEEDS, ITEMS = 2, 18
WORDS = ["the", "a", "small", "big", "red", "house", "tree", "near", "far", "river", "runs", "is", "was", "blue", "old"]
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
Made = tuple[
    list[Any], np.ndarray
]  # items as an independent scorer takes them, and their statistics as in a run folder


def generated(chooser: random.Random, harm: float) -> Made:
    items = []
    for number in range(ITEMS):
        text = random.Random(number).choices(WORDS, k=6 + number % 5)
        output = [word if chooser.random() > harm else chooser.choice(WORDS) for word in text]
        items.append((" ".join(output), [" ".join(text), " ".join(reversed(text))][: 1 + number % 2]))
    return items, np.array([overlap.counts(*item) for item in items])


def tagged(chooser: random.Random, harm: float) -> Made:
    items, stats = [], []
    for number in range(ITEMS):
        gold = random.Random(number).choices(TAGS, k=3 + number % 6)
        found = [tag if chooser.random() > harm else chooser.choice(TAGS) for tag in gold]
        place = np.array([TAGS.index(tag) for tag in gold]), np.array([TAGS.index(tag) for tag in found])
        counts = [np.bincount(part, minlength=len(TAGS)) for part in (*place, place[0][place[0] == place[1]])]
        stats.append(
            [*words.span_counts(gold, found), (place[0] == place[1]).sum(), len(gold), *np.stack(counts, 1).ravel()]
        )
        items.append((gold, found))
    return items, np.array(stats, dtype=float)


def classified(chooser: random.Random, harm: float) -> Made:
    items = [(n % 4, n % 4 if chooser.random() > harm else chooser.randrange(5)) for n in range(ITEMS)]
    return items, np.array([[gold == found, gold, found] for gold, found in items], dtype=float)


def valued(chooser: random.Random, harm: float) -> Made:
    items = [(n % 6 / 2, round(2 * (n % 6 / 2) + chooser.gauss(0, 0.3 + 2 * harm), 1)) for n in range(ITEMS)]
    return items, np.array(items)


def scored(chooser: random.Random, harm: float) -> Made:
    items = [round(chooser.random() * (1 - harm), 3) for _ in range(ITEMS)]
    return items, np.array(items)[:, None]


CASES: dict[str, tuple[Callable[[random.Random, float], Made], Callable[[list[Any]], float]]] = {
    "bleu": (generated, reference.corpus_bleu),
    "chrf": (generated, reference.corpus_chrf),
    "f1": (tagged, reference.entity_f1),
    "token_accuracy": (tagged, reference.word_accuracy),
    "token_macro_f1": (tagged, reference.word_macro_f1),
    "macro_f1": (classified, reference.class_macro_f1),
    "matthews": (classified, reference.class_matthews),
    "pearson": (valued, reference.correlation),
    "spearman": (valued, reference.rank_correlation),
    "ndcg": (scored, reference.mean_score),
}


def stacked(metric: str, harm: float, language: str = "en") -> tuple[list[list[Any]], np.ndarray]:
    """The items of every seed, and what a state keeps of their statistics: seeds × items × columns."""
    made = [CASES[metric][0](random.Random(f"{metric}{harm}{language}{seed}"), harm) for seed in range(SEEDS)]
    columns = metrics.STATISTICS[metric].columns
    return [items for items, _ in made], np.stack([stats[:, columns] for _, stats in made])


@pytest.mark.parametrize("metric", CASES)
def test_resampled_values_are_those_of_independent_scorers(metric: str) -> None:
    score, resamples = CASES[metric][1], 12
    states = {harm: stacked(metric, harm) for harm in (0.1, 0.6)}
    found = blocks.crossed(
        {"en": np.stack([stats for _, stats in states.values()])},
        aligned=True,
        seed=3,
        resamples=resamples,
        metric=metric,
    )["en"]
    rng = inference.generator(3)
    seed_BS = inference.resample_counts(SEEDS, rng, resamples)
    item_BN = inference.resample_counts(ITEMS, rng, resamples)
    for place, (seeds, stats_SNK) in enumerate(states.values()):
        expected = [reference.on_resample(score, seeds, u, v) for u, v in zip(seed_BS, item_BN, strict=True)]
        np.testing.assert_allclose(found[:, place], expected, atol=1e-9)
        np.testing.assert_allclose(metric_values(metric, stats_SNK), [score(items) for items in seeds], atol=1e-9)


@pytest.mark.parametrize("metric", CASES)
def test_parts_of_items_are_those_of_the_jackknife_and_average_to_the_metric(metric: str) -> None:
    seeds, stats_SNK = stacked(metric, 0.4)
    found_SN = item_parts(metric, stats_SNK)
    for row, items in zip(found_SN, seeds, strict=True):
        np.testing.assert_allclose(row, reference.jackknife_parts(CASES[metric][1], items), atol=1e-7)
    np.testing.assert_allclose(found_SN.mean(1), metric_values(metric, stats_SNK), atol=1e-12)


def test_of_a_mean_the_parts_are_the_items_scores() -> None:
    scores = np.random.default_rng(0).random((3, 50, 1))
    np.testing.assert_allclose(item_parts("accuracy", scores), scores[..., 0], atol=1e-12)
    one = item_parts("accuracy", scores[:, :1])
    np.testing.assert_allclose(one, scores[:, :1, 0])


def test_a_constant_prediction_correlates_by_nothing_and_its_drop_is_whole() -> None:
    gold = np.arange(20.0)
    stats = np.stack([np.stack([gold, gold], 1), np.stack([gold, np.full(20, 0.1)], 1)])
    for metric in ("pearson", "spearman"):
        assert metric_values(metric, stats).tolist() == pytest.approx([1.0, 0.0])
        assert np.isfinite(blocks.crossed({"en": stats[:, None]}, True, resamples=50, metric=metric)["en"]).all()


# -- the tables ----------------------------------------------------------------------------------------------------


def state(metric: str, method: str, harm: float, languages: tuple[str, ...]) -> State:
    stats = {code: stacked(metric, harm, code)[1] for code in languages}
    rng = np.random.default_rng(7)
    # Of single items, not the metric: whether the class is right, or any number.
    right = metrics.ITEM_SCORES[metric].correct
    score = {
        code: (of_K[..., 0] == of_K[..., 1]).astype(float) if right else rng.random((SEEDS, ITEMS))
        for code, of_K in stats.items()
    }
    sparsity = 0.0 if method == "dense" else 0.6
    return State(method, method, sparsity, sparsity, 1, (0, 1), metric, score, score, stats)


def study(metric: str) -> Items:
    languages, ids = ("en", "de", "fr"), np.array([f"i{number}" for number in range(ITEMS)], dtype=object)
    return Items(
        "made", "test", metric, ("en",), languages, True, dict.fromkeys(languages, ids), dict.fromkeys(languages, 0.05),
        state(metric, "dense", 0.05, languages), {}, {("a", 0.6): state(metric, "a", 0.6, languages), ("b", 0.6): state(metric, "b", 0.3, languages)},
    )  # fmt: skip


@pytest.mark.parametrize("metric", ["bleu", "f1", "pearson", "matthews", "spearman"])
def test_every_table_is_of_the_metric(metric: str) -> None:
    items, score = study(metric), CASES[metric][1]
    found = drops.frames(*drops.resampled([items]))
    degraded = found["degradation"]
    assert set(degraded["metric"]) == {metric}

    def value(harm: float, code: str) -> float:
        return float(np.mean([score(one) for one in stacked(metric, harm, code)[0]]))

    expected = {code: value(0.05, code) - value(0.6, code) for code in items.languages}
    rows = degraded[degraded["method"] == "a"].set_index("language")
    for code, drop in expected.items():
        row = rows.loc[code]
        assert row["drop"] == pytest.approx(drop) and row["dense"] == pytest.approx(value(0.05, code))
        assert row["drop_low"] <= row["drop"] <= row["drop_high"] and row["drop_low"] < row["drop_high"]
        assert row["per_seed_drop"] == pytest.approx(
            [
                score(one) - score(other)
                for one, other in zip(stacked(metric, 0.05, code)[0], stacked(metric, 0.6, code)[0], strict=True)
            ]
        )
        assert row["normalised_retention"] == pytest.approx((value(0.6, code) - 0.05) / (value(0.05, code) - 0.05))
        assert row["did"] == pytest.approx(drop - expected["en"]) or code == "en"
    spread = found["spread"].set_index("method").loc["a"]
    zero_shot = [expected["de"], expected["fr"]]
    assert spread["drop"] == pytest.approx(np.mean(zero_shot)) and spread["worst"] == pytest.approx(max(zero_shot))
    assert spread["range"] == pytest.approx(np.ptp(zero_shot)) and spread["source_drop"] == pytest.approx(
        expected["en"]
    )
    assert 0 < spread["p_differ"] <= 1 and len(found["ranking"]) == 2


# -- tests of single items --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_sign_flips_are_near_all_patterns(seed: int) -> None:
    differences = np.random.default_rng(seed).normal(0.2 * seed, 1, 12)
    exact = reference.sign_flips_exact(differences.tolist())
    found = inference.sign_flips(differences, 0)
    assert found.shape == (1,) and found[0] == pytest.approx(exact, abs=0.03)


def test_sign_flips_have_no_floor_and_say_nothing_of_nothing() -> None:
    found = inference.sign_flips(np.stack([np.zeros(100), np.full(100, 0.01), np.full(100, 1e-14)]), 0)
    assert found[0] == 1 and found[2] == 1
    assert found[1] == pytest.approx(2 * np.exp(-50)) and found[1] < 1 / inference.FLIPS
    with pytest.raises(ValueError, match="flips: must be at least 1; got 0"):
        inference.sign_flips([1.0, 2.0], 0, flips=0)
    with pytest.raises(ValueError, match="differences: must be finite"):
        inference.sign_flips([1.0, np.nan], 0)


def entities(rng: np.random.Generator, items: int, right: float) -> np.ndarray:
    gold = rng.integers(0, 4, items)
    matched = rng.binomial(gold, right)
    return np.stack([matched, matched + rng.poisson(0.5, items), gold], 1).astype(float)


def ngrams(rng: np.random.Generator, items: int, right: float) -> np.ndarray:
    length = rng.integers(6, 15, items)
    total = np.stack([length - order for order in range(4)], 1)
    matched = np.minimum.accumulate(rng.binomial(total, [right, right**2, right**3, right**4]), axis=1)
    return np.concatenate([length[:, None], np.full((items, 1), 10), matched, total], 1).astype(float)


def values(rng: np.random.Generator, items: int, right: float, scale: float) -> np.ndarray:
    gold = rng.normal(size=items)
    return np.stack([gold, scale * (right * gold + np.sqrt(1 - right**2) * rng.normal(size=items))], 1)


def classes(rng: np.random.Generator, items: int, right: float, scale: float) -> np.ndarray:
    gold = rng.random(items) < 0.3
    return np.stack([gold, np.where(rng.random(items) < right, gold, ~gold)], 1).astype(float)


MODELS: dict[str, Callable[[np.random.Generator, int, float, float], np.ndarray]] = {
    "f1": lambda rng, items, right, scale: entities(rng, items, right),
    "bleu": lambda rng, items, right, scale: ngrams(rng, items, right),
    "pearson": values,
    "spearman": values,
    "macro_f1": classes,
    "binary_f1": classes,
    "matthews": classes,
}


@pytest.mark.parametrize("metric", MODELS)
def test_type_one_errors_are_as_often_as_they_may_be(metric: str) -> None:
    rng, rounds, items = np.random.default_rng(0), 300, 60
    p = []
    for _ in range(rounds):
        # Equally good models that share no item's luck; the second one answers on another scale.
        sides = np.stack([MODELS[metric](rng, items, 0.7, scale) for scale in (1.0, 0.2)])
        parts = item_parts(metric, sides)
        p.append(float(inference.sign_flips(parts[0] - parts[1], 0)[0]))
    share = float(np.mean(np.array(p) < 0.05))
    assert share <= 0.05 + 2.6 * np.sqrt(0.05 * 0.95 / rounds) and share > 0.01, share
    assert float(np.mean(np.array(p) < 0.5)) == pytest.approx(0.5, abs=0.09)


@pytest.mark.parametrize("metric", MODELS)
def test_a_real_loss_is_seen(metric: str) -> None:
    rng = np.random.default_rng(1)
    sides = np.stack([MODELS[metric](rng, 200, right, 1.0) for right in (0.8, 0.4)])
    parts = item_parts(metric, sides)
    assert inference.sign_flips(parts[0] - parts[1], 0)[0] < 0.001


def test_items_that_are_right_or_wrong_keep_mcnemar_and_others_do_not() -> None:
    rng = np.random.default_rng(2)
    right = (rng.random((2, SEEDS, 80)) < np.array([0.8, 0.6])[:, None, None]).astype(float)
    sides = [
        State("m", "m", 0.5, 0.5, 1, (0, 1), "accuracy", {"en": one}, {"en": one}, {"en": one[..., None]})
        for one in right
    ]
    row = significance.tests(*sides, "en")
    assert row["p"] == pytest.approx(
        inference.median_p([inference.mcnemar(*pair) for pair in zip(*right, strict=True)])
    )
    assert row["discordant"] == pytest.approx((right[0] != right[1]).mean())
    assert row["minimum_detectable"] == pytest.approx(inference.minimum_detectable_drop(80, row["discordant"]))
    graded = [
        State("m", "m", 0.5, 0.5, 1, (0, 1), "ndcg", {"en": one}, {"en": one}, {"en": one[..., None]}) for one in right
    ]
    other = significance.tests(*graded, "en")  # 0 or 1 by accident: the metric says that they need not be
    assert other["p"] == pytest.approx(inference.median_p(inference.sign_flips(right[0] - right[1], significance.SEED)))
    assert np.isnan(other["discordant"]) and other["minimum_detectable"] == pytest.approx(row["minimum_detectable"])


def test_a_loss_of_f1_without_a_loss_of_right_items_is_seen() -> None:
    gold = np.arange(120) % 6 == 0
    once = np.stack([gold & (np.arange(120) % 12 == 0), gold & False])  # half of the rare class found, and none
    once[0] |= np.isin(np.arange(120), np.flatnonzero(~gold)[:10])  # paid for with as many false alarms
    assert (once == gold).sum(1).tolist() == [100, 100]
    stats = np.stack([np.stack([found == gold, gold, found], axis=1) for found in once]).astype(float)[:, None]
    sides = [
        State("m", "m", 0.5, 0.5, 1, (0,), "binary_f1", {"en": one[..., 0]}, {"en": one[..., 0]}, {"en": one[..., 1:]})
        for one in stats
    ]
    row = significance.tests(*sides, "en")
    assert inference.mcnemar(stats[0, 0, :, 0], stats[1, 0, :, 0]) == 1.0 and row["p"] < 0.05
    assert row["discordant"] == pytest.approx(20 / 120)
