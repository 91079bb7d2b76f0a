"""The scores: every one a function of `stats_NK`, with `weights_BN` of B resamples at once (M§5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from engine.metrics.arguments import Floats
from engine.metrics.columns import GENERATION
from engine.metrics.resampling import Sums, Weighted, ratio, score

Score = Callable[..., Any]


def _mean_of(column: int) -> Sums:
    return Sums(slice(column, column + 1), column + 1, _as_they_are, lambda totals, n: totals[..., 0] / n)


def _as_they_are(picked: Floats) -> Floats:
    return picked


def accuracy(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Fraction of items answered correctly; column 0 is 1 for a correct item. Float, or B values with `weights`."""
    return score(STATISTICS["accuracy"], stats, weights)


def em(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Exact match of questions: mean of column 3 (1 where a normalised answer equals a reference)."""
    return score(STATISTICS["em"], stats, weights)


def ndcg(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Mean over queries of the normalised discounted gain; one row per query, column 0 its nDCG in [0, 1]."""
    return score(STATISTICS["ndcg"], stats, weights)


def rouge_l(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Mean of the items' ROUGE-L F1 (the last of the generation columns)."""
    return score(STATISTICS["rouge_l"], stats, weights)


def _class_indicators(picked: Floats) -> Floats:
    # Of every class: is it gold, is it predicted, is it both? Their sums are the counts that class scores need.
    gold, predicted = picked[..., :1], picked[..., 1:2]
    classes = np.unique(picked)
    parts = (gold == classes, predicted == classes, (gold == classes) & (predicted == classes))
    return np.concatenate(parts, axis=-1).astype(np.float64)


def macro_f1(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Mean of the classes' F1 = 2·matched/(predicted + gold), over the classes that occur in gold.

    Columns 1 and 2 are the gold and the predicted class index. A class that is only ever predicted has no recall
    and is left out of the mean (it still costs the gold classes their matches); in a resample the classes that it
    holds count, so that the mean never divides by an absent class.
    """
    return score(STATISTICS["macro_f1"], stats, weights)


def _macro_f1(totals: Floats, n: Floats) -> Floats:
    gold, predicted, matched = np.split(totals, 3, axis=-1)
    f1_C = ratio(2 * matched, gold + predicted, 0.0)
    return np.asarray((f1_C * (gold > 0)).sum(-1) / (gold > 0).sum(-1))


def binary_f1(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """F1 of class 1, the second label: `2·matched/(predicted + gold)`; 0 where it is neither gold nor predicted.

    What GLUE reports for QQP and MRPC (paraphrase is class 1), where the classes are unequal and only one is looked for.
    """
    return score(STATISTICS["binary_f1"], stats, weights)


def _positives(picked: Floats) -> Floats:
    gold, predicted = np.moveaxis(picked == 1, -1, 0)
    return np.stack([gold & predicted, predicted, gold], axis=-1).astype(np.float64)


def matthews(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Matthews correlation for any number of classes (Gorodkin 2004); 0 where a side has one class only.

    `(N·Σ_c m_c − Σ_c p_c g_c) / √((N² − Σ p_c²)(N² − Σ g_c²))` with gold g, predicted p and matched m counts.
    """
    return score(STATISTICS["matthews"], stats, weights)


def _matthews(totals: Floats, n: Floats) -> Floats:
    gold, predicted, matched = np.split(totals, 3, axis=-1)
    count = gold.sum(-1)
    covariance = count * matched.sum(-1) - (gold * predicted).sum(-1)
    spread = (count**2 - (gold**2).sum(-1)) * (count**2 - (predicted**2).sum(-1))
    return ratio(covariance, np.sqrt(spread), 0.0)


def f1(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """`2·Σ matched / (Σ predicted + Σ gold)` over columns 0–2; 0 where nothing is gold nor predicted (seqeval).

    Micro F1 of spans for token tasks. For questions every item has one predicted and one gold answer and its
    word-overlap F1 as the match, which makes this the mean over items, as SQuAD defines it.
    """
    return score(STATISTICS["f1"], stats, weights)


def _micro_f1(totals: Floats, n: Floats) -> Floats:
    matched, predicted, gold = np.moveaxis(totals, -1, 0)
    return ratio(2 * matched, predicted + gold, 0.0)


def slot_f1(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Micro F1 of the slots of a joint task: as `f1`, over columns 3–5 (columns 0–2 belong to the intent)."""
    return score(STATISTICS["slot_f1"], stats, weights)


def token_accuracy(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Fraction of tokens tagged correctly: Σ column 3 / Σ column 4, so a long sentence counts by its length."""
    return score(STATISTICS["token_accuracy"], stats, weights)


def token_macro_f1(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Mean of the tags' F1 over the tags that occur in gold, as `macro_f1` is for classes of items.

    From column 5 on every tag has three counts: gold, predicted and matched words.
    """
    return score(STATISTICS["token_macro_f1"], stats, weights)


def _whole_tags(picked: Floats) -> Floats:
    if picked.shape[-1] % 3:
        raise ValueError(f"stats: must have 5 + 3·tags columns for this score; got {5 + picked.shape[-1]}")
    return picked


def _tags_f1(totals: Floats, n: Floats) -> Floats:
    gold, predicted, matched = np.moveaxis(totals.reshape(*totals.shape[:-1], -1, 3), -1, 0)
    f1_T = ratio(2 * matched, gold + predicted, 0.0)
    return ratio((f1_T * (gold > 0)).sum(-1), (gold > 0).sum(-1).astype(np.float64), np.nan)


def pearson(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Pearson correlation of columns 0 (gold) and 1 (predicted); NaN where either has no spread."""
    return score(STATISTICS["pearson"], stats, weights)


def _moments(picked: Floats) -> Floats:
    # Correlations do not see shift or scale: both are taken out first, so that sums of squares lose no digits.
    shifted = picked - picked[..., :1, :]
    scaled = shifted / np.maximum(np.abs(shifted).max(-2, keepdims=True), np.finfo(float).tiny)
    x, y = np.moveaxis(scaled - scaled.mean(-2, keepdims=True), -1, 0)
    return np.stack([x, y, x * x, y * y, x * y], axis=-1)


NO_SPREAD = 1e-12  # of the mean square: what rounding leaves of a variance that is 0


def _pearson(totals: Floats, n: Floats) -> Floats:
    x, y, xx, yy, xy = np.moveaxis(totals / np.asarray(n)[..., None], -1, 0)
    x_spread, y_spread = xx - x * x, yy - y * y
    none = (x_spread <= NO_SPREAD * xx) | (y_spread <= NO_SPREAD * yy)
    return ratio(xy - x * y, np.sqrt(np.where(none, 0.0, x_spread * y_spread)), np.nan)


def spearman(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Spearman correlation (Pearson of mid-ranks, ties averaged) of columns 0 and 1; NaN where either is constant.

    Ranks are those inside each resample: with the ranks of the full set, which know items that a resample lacks,
    intervals would be those of another, easier quantity.
    """
    return score(STATISTICS["spearman"], stats, weights)


def _weighted_ranks(values_N: Floats, weights_BN: Floats) -> Floats:
    # Mid-ranks of a resample without building it: an item's rank is the count below it plus half its tie's count.
    order = np.argsort(values_N, kind="stable")
    first = np.concatenate([[True], np.diff(values_N[order]) > 0])
    counts_BT = np.add.reduceat(weights_BN[:, order], np.flatnonzero(first), axis=1)
    tie_N = np.empty(len(order), dtype=np.int64)
    tie_N[order] = np.cumsum(first) - 1
    return np.asarray((np.cumsum(counts_BT, axis=1) - (counts_BT - 1) / 2)[:, tie_N])


def _spearman(picked_NK: Floats, weights_BN: Floats) -> Floats:
    n_B1 = weights_BN.sum(1, keepdims=True)
    x_BN, y_BN = (_weighted_ranks(picked_NK[:, column], weights_BN) - (n_B1 + 1) / 2 for column in (0, 1))
    covariance_B, x_B, y_B = (
        np.einsum("bn,bn,bn->b", weights_BN, a_BN, b_BN) for a_BN, b_BN in ((x_BN, y_BN), (x_BN, x_BN), (y_BN, y_BN))
    )
    return ratio(covariance_B, np.sqrt(x_B * y_B), np.nan)


def bleu(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Corpus BLEU as a fraction, equal to sacrebleu's default (4-grams, exponential smoothing).

    Columns 0–9: hypothesis length, reference length, matched 1–4-grams, hypothesis 1–4-grams. A precision without
    a match counts 1/(2^k·total) for its k-th occurrence; an order with no n-gram at all, or no match at any
    order, gives 0.
    """
    return score(STATISTICS["bleu"], stats, weights)


def _bleu(totals: Floats, n: Floats) -> Floats:
    length, reference, matched_O, total_O = totals[..., 0], totals[..., 1], totals[..., 2:6], totals[..., 6:10]
    missing_O = matched_O == 0
    smoothed_O = np.where(missing_O, 0.5 ** np.cumsum(missing_O, axis=-1), matched_O)
    usable = (total_O > 0).all(-1) & ~missing_O.all(-1)
    precision_O = np.where(usable[..., None], smoothed_O / np.maximum(total_O, 1), 1.0)
    brevity = np.minimum(0.0, 1 - reference / np.maximum(length, 1))
    return np.asarray(usable * np.exp(brevity + np.log(precision_O).mean(-1)))


def chrf(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """chrF2 as a fraction, equal to sacrebleu's default: character 1–6-grams, recall counts twice (β = 2).

    Columns 10–27: for every order hypothesis, reference and matched n-grams. Precision and recall are averaged
    over the orders that both sides have.
    """
    return score(STATISTICS["chrf"], stats, weights)


def _chrf(totals: Floats, n: Floats) -> Floats:
    hypothesis, reference, matched = np.moveaxis(totals.reshape(*totals.shape[:-1], 6, 3), -1, 0)
    usable = (hypothesis > 0) & (reference > 0)
    orders = np.maximum(usable.sum(-1), 1)
    precision = (ratio(matched, hypothesis, 0.0) * usable).sum(-1) / orders
    recall = (ratio(matched, reference, 0.0) * usable).sum(-1) / orders
    return ratio(5 * precision * recall, 4 * precision + recall, 0.0)


STATISTICS: dict[str, Sums | Weighted] = {
    "accuracy": _mean_of(0),
    "macro_f1": Sums(slice(1, 3), 3, _class_indicators, _macro_f1),
    "binary_f1": Sums(slice(1, 3), 3, _positives, _micro_f1),
    "matthews": Sums(slice(1, 3), 3, _class_indicators, _matthews),
    "f1": Sums(slice(0, 3), 3, _as_they_are, _micro_f1),
    "slot_f1": Sums(slice(3, 6), 6, _as_they_are, _micro_f1),
    "token_accuracy": Sums(slice(3, 5), 5, _as_they_are, lambda totals, n: ratio(totals[..., 0], totals[..., 1], np.nan)),
    "token_macro_f1": Sums(slice(5, None), 8, _whole_tags, _tags_f1),
    "em": _mean_of(3),
    "ndcg": _mean_of(0),
    "pearson": Sums(slice(0, 2), 2, _moments, _pearson),
    "spearman": Weighted(slice(0, 2), 2, _spearman),
    "bleu": Sums(slice(0, 10), 10, _as_they_are, _bleu),
    "chrf": Sums(slice(10, 28), 28, _as_they_are, _chrf),
    "rouge_l": _mean_of(len(GENERATION) - 1),
}  # fmt: skip


FUNCTIONS: dict[str, Score] = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "binary_f1": binary_f1,
    "matthews": matthews,
    "f1": f1,
    "slot_f1": slot_f1,
    "token_accuracy": token_accuracy,
    "token_macro_f1": token_macro_f1,
    "em": em,
    "ndcg": ndcg,
    "pearson": pearson,
    "spearman": spearman,
    "bleu": bleu,
    "chrf": chrf,
    "rouge_l": rouge_l,
}
