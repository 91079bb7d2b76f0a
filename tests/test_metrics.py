from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import sklearn.metrics

from engine import metrics
from engine.metrics.blind import BLIND, baselines
from engine.registry import table

HYPOTHESES = [
    "the cat sat on the mat today",
    "play some loud music in the kitchen",
    "wake me up at seven",
    "is it raining",
    "a completely different sentence with many words in it",
    "yes",
]
REFERENCES = [
    "the cat is sitting on the mat today",
    "play loud music in the kitchen please",
    "wake me at seven tomorrow",
    "will it rain",
    "nothing here matches at all",
    "yes please",
]


def classification(n=200, classes=5, right=0.6, seed=0):
    rng = np.random.default_rng(seed)
    gold = rng.integers(classes, size=n)
    predicted = np.where(rng.random(n) < right, gold, rng.integers(classes + 1, size=n))  # one class is never gold
    return np.stack([gold == predicted, gold, predicted], axis=1).astype(float)


def spans(n=120, seed=0):
    rng = np.random.default_rng(seed)
    gold, predicted = rng.integers(4, size=(2, n))
    matched = np.minimum(np.minimum(gold, predicted), rng.integers(4, size=n))
    tokens = rng.integers(3, 9, size=n)
    tags = rng.integers(3, size=(n, 12))  # of four tags: gold, predicted and matched words
    tags[:, 2::3] = np.minimum(tags[:, 0::3], tags[:, 1::3])
    return np.hstack([np.stack([matched, predicted, gold, rng.integers(3, size=n), tokens], axis=1), tags]).astype(
        float
    )


def generation():
    from rouge_score import rouge_scorer
    from sacrebleu.metrics import BLEU, CHRF

    bleu, chrf, rouge = BLEU(), CHRF(), rouge_scorer.RougeScorer(["rougeL"])
    references = [REFERENCES]
    bleu_rows = bleu._extract_corpus_statistics(HYPOTHESES, references)
    chrf_rows = chrf._extract_corpus_statistics(HYPOTHESES, references)
    rouge_rows = [[rouge.score(r, h)["rougeL"].fmeasure] for h, r in zip(HYPOTHESES, REFERENCES, strict=True)]
    return np.hstack([bleu_rows, chrf_rows, rouge_rows]).astype(float)


def stats_of(kind):
    rng = np.random.default_rng(1)
    if kind in ("sequence", "pair", "choice"):
        return classification()
    return {
        "regression": lambda: np.round(rng.normal(size=(90, 2)) + rng.normal(size=(90, 1)), 1),
        "token": spans,
        "joint": lambda: np.hstack([classification(120), spans()[:, :3]]),
        "qa": lambda: np.stack([rng.random(80), np.ones(80), np.ones(80), rng.integers(2, size=80)], axis=1),
        "ranking": lambda: rng.random((40, 1)),
        "generation": generation,
    }[kind]()


ALL = [(kind, name) for kind, names in metrics.SCORES.items() for name in (*names, *metrics.ASKED.get(kind, ()))]


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_resample_counts_equal_repeated_rows(kind, name):
    stats, score, rng = stats_of(kind), metrics.FUNCTIONS[name], np.random.default_rng(0)
    counts = np.stack([np.bincount(rng.integers(len(stats), size=len(stats)), minlength=len(stats)) for _ in range(20)])
    values = score(stats, counts)
    assert values.shape == (20,)
    repeated = [score(np.repeat(stats, row, axis=0)) for row in counts]
    assert values == pytest.approx(repeated, abs=1e-12, nan_ok=True)
    assert score(stats, np.ones((1, len(stats))))[0] == pytest.approx(score(stats))
    assert isinstance(score(stats), float)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_bounds_columns_and_precision(kind, name):
    stats, row = stats_of(kind), metrics.METRICS[name]
    assert stats[:, : len(metrics.STATS[kind])].shape[1] == len(metrics.STATS[kind])
    assert kind == "token" or stats.shape[1] == len(metrics.STATS[kind])
    assert row.low <= metrics.FUNCTIONS[name](stats) <= row.high
    wide = np.zeros((2 * len(stats), 2 * stats.shape[1]), dtype=np.float16)
    wide[::2, ::2] = stats
    tolerance = {"rel": 1e-2} if kind in ("regression", "qa", "ranking", "generation") else {"rel": 1e-12}
    assert metrics.FUNCTIONS[name](wide[::2, ::2]) == pytest.approx(metrics.FUNCTIONS[name](stats), **tolerance)


@pytest.mark.parametrize("name", metrics.FUNCTIONS)
def test_bad_arguments_name_the_argument(name):
    score = metrics.FUNCTIONS[name]
    good = np.ones((4, 29))
    broken = good.copy()
    broken[2, 0] = math.nan
    with pytest.raises(ValueError, match=r"stats: must be finite; got nan at \(2, 0\)"):
        score(broken)
    with pytest.raises(ValueError, match="stats: must have 2 axes"):
        score([1.0, 0.0])
    with pytest.raises(ValueError, match="stats: must not be empty"):
        score(np.zeros((0, 3)))
    for wrong in (np.ones((3, 5)), -np.ones((3, 4)), np.zeros((3, 4))):
        with pytest.raises(ValueError, match="weights: must be resamples × 4 items"):
            score(good, wrong)
    if name == "token_macro_f1":
        with pytest.raises(ValueError, match=r"stats: must have 5 \+ 3·tags columns for this score; got 12"):
            score(np.ones((4, 12)))
    if name not in ("accuracy", "ndcg"):
        with pytest.raises(ValueError, match=r"stats: must have at least .* columns for this score; got 1"):
            score(np.ones((4, 1)))


@pytest.mark.parametrize("seed", range(4))
def test_classification_scores_equal_scikit_learn(seed):
    stats = classification(seed=seed)
    gold, predicted = stats[:, 1], stats[:, 2]
    assert metrics.accuracy(stats) == sklearn.metrics.accuracy_score(gold, predicted)
    expected = sklearn.metrics.f1_score(gold, predicted, labels=np.unique(gold), average="macro", zero_division=0)
    assert metrics.macro_f1(stats) == pytest.approx(expected)
    assert metrics.matthews(stats) == pytest.approx(sklearn.metrics.matthews_corrcoef(gold, predicted))
    expected = sklearn.metrics.f1_score(gold == 1, predicted == 1)
    assert metrics.binary_f1(stats) == pytest.approx(expected) and 0 < expected < 1


@pytest.mark.parametrize("metric", BLIND)
@pytest.mark.parametrize("counts", [(30, 10), (10, 30), (5, 0, 20, 7)])
def test_baselines_are_what_such_answers_score(metric, counts):
    """Guessing: every item answered by every class with weight 1/C. Always the same: the best of all constants."""
    classes, names = len(counts), [f"c{number}" for number in range(len(counts))]
    gold = np.repeat(np.arange(classes), counts)
    if metric == "binary_f1":
        constants = [1]
    else:
        constants = range(classes)
    score = metrics.FUNCTIONS[metric]
    rows = [[[one == answer, one, answer] for one in gold] for answer in range(classes)]
    everything = np.array(rows, dtype=float).reshape(-1, 3)
    chance = score(everything, np.full((1, len(everything)), 1 / classes))[0]
    majority = max(score(np.array(rows[answer], dtype=float)) for answer in constants)
    found = baselines(metric, pd.Series(gold).map(names.__getitem__), names)
    assert found == {"chance": pytest.approx(chance), "majority": pytest.approx(majority)}


def test_classification_edges():
    one_class = np.array([[1, 2, 2], [1, 2, 2]])
    assert metrics.macro_f1(one_class) == 1 and metrics.accuracy(one_class) == 1 and metrics.matthews(one_class) == 0
    wrong = np.array([[0, 0, 1], [0, 1, 0]])
    assert metrics.macro_f1(wrong) == 0 and metrics.matthews(wrong) == -1
    unparsed = np.array([[0, 0, -1], [1, 1, 1]])
    assert metrics.macro_f1(unparsed) == 0.5


def test_span_scores():
    stats = spans()
    matched, predicted, gold = stats[:, :3].sum(0)
    precision, recall = matched / predicted, matched / gold
    assert metrics.f1(stats) == pytest.approx(2 * precision * recall / (precision + recall))
    assert metrics.slot_f1(np.hstack([classification(120), stats])) == pytest.approx(metrics.f1(stats))
    assert metrics.token_accuracy(stats) == pytest.approx(stats[:, 3].sum() / stats[:, 4].sum())
    assert metrics.f1(np.zeros((3, 3))) == 0


def test_span_f1_equals_seqeval():
    from seqeval.metrics import f1_score
    from seqeval.metrics.sequence_labeling import get_entities

    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-ORG", "O"], ["O", "O"]]
    predicted = [["B-PER", "I-PER", "O", "B-ORG"], ["B-ORG", "I-ORG", "O"], ["O", "B-LOC"]]
    pairs = [(set(get_entities(g)), set(get_entities(p))) for g, p in zip(gold, predicted, strict=True)]
    stats = np.array([[len(g & p), len(p), len(g)] for g, p in pairs])
    assert metrics.f1(stats) == pytest.approx(f1_score(gold, predicted))


def test_question_f1_is_the_mean_over_items():
    stats = stats_of("qa")
    assert metrics.f1(stats) == pytest.approx(stats[:, 0].mean())
    assert metrics.em(stats) == pytest.approx(stats[:, 3].mean())


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_correlations(shift):
    stats = stats_of("regression") + shift
    assert metrics.pearson(stats) == pytest.approx(scipy.stats.pearsonr(*stats.T).statistic, abs=1e-9)
    assert metrics.spearman(stats) == pytest.approx(scipy.stats.spearmanr(*stats.T).statistic)
    constant = np.stack([np.full(9, 0.1), np.arange(9.0)], axis=1)
    assert math.isnan(metrics.pearson(constant)) and math.isnan(metrics.spearman(constant))


def test_generation_scores_equal_sacrebleu():
    from sacrebleu.metrics import BLEU, CHRF

    stats = generation()
    for rows in (slice(None), slice(0, 2), slice(2, 4), slice(4, 5), slice(5, 6), slice(3, 6)):
        hypotheses, references = HYPOTHESES[rows], [REFERENCES[rows]]
        assert 100 * metrics.bleu(stats[rows]) == pytest.approx(BLEU().corpus_score(hypotheses, references).score)
        assert 100 * metrics.chrf(stats[rows]) == pytest.approx(CHRF().corpus_score(hypotheses, references).score)
    assert metrics.rouge_l(stats) == pytest.approx(stats[:, -1].mean())
    assert metrics.bleu(np.zeros((2, 10))) == 0 and metrics.chrf(np.zeros((2, 28))) == 0


def test_tables_agree():
    assert set(metrics.METRICS) == set(metrics.FUNCTIONS) == set(metrics.STATISTICS) == set(metrics.ITEM_SCORES)
    assert {name for _, name in ALL} == set(metrics.FUNCTIONS)
    assert metrics.scores_of("pair", "binary_f1") == ("binary_f1", "accuracy", "macro_f1", "matthews")
    assert metrics.scores_of("regression", "pearson") == ("pearson", "spearman")
    assert set(metrics.SCORES) == set(metrics.STATS)
    assert table("scores") is metrics.METRICS
    for row in metrics.METRICS.values():
        assert row.what and row.formula and row.source and row.unit and row.section.startswith("M§")
        assert row.low is not None and row.high == 1.0


@pytest.mark.parametrize("name", metrics.BLIND)
def test_what_a_constant_answer_scores(name):
    gold = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 3.0])
    constants = [np.stack([gold == answer, gold, np.full(10, answer)], 1) for answer in range(4)]
    best = max(metrics.FUNCTIONS[name](stats) for stats in constants)
    assert metrics.majority(name, gold) == pytest.approx(best)


def test_finite_widens_and_names_what_is_wrong():
    assert metrics.finite("x", np.float16(60000)) ** 2 == np.float64(np.float16(60000)) ** 2  # infinite in float16
    assert metrics.finite("x", [True, False]).tolist() == [1.0, 0.0]
    for wrong in (["a"], [1j], [None]):
        with pytest.raises(ValueError, match="x: must hold real numbers"):
            metrics.finite("x", wrong)


def test_import_loads_no_torch():
    code = "import sys, engine.metrics; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_tags_without_spans_have_no_entity_f1() -> None:
    from engine.metrics import scores_of

    assert scores_of("token", "token_accuracy") == ("token_accuracy", "token_macro_f1")
    assert scores_of("token", "f1") == ("f1", "token_accuracy", "token_macro_f1")
