"""Task scores in pure numpy, from one row of sufficient statistics per item (M§5, M§6.1).

A run folder keeps, for every item, the few numbers that are enough to compute its metric: so a corpus-level score
(macro F1, micro F1, BLEU) can be bootstrapped without reading a prediction again. Every score takes `stats_NK`
(items × statistics, columns as in `STATS`) and optionally `weights_BN`, resample counts: it then returns B scores
at once, by one matrix product instead of B passes. All scores are fractions (BLEU and chrF too, so that a drop
means the same everywhere); they need neither torch nor a network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.registry import Metric, Registry

Floats = NDArray[np.float64]
Score = Callable[..., Any]


def finite(name: str, values: ArrayLike, ndim: int | None = None) -> Floats:
    """Return `values` as a float64 array, or raise ValueError naming the argument, the rule and the value.

    Half precision is widened on purpose: squares of float16 activations overflow. Rules: numbers (no text, no
    complex), `ndim` axes, not empty, neither NaN nor infinite.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name}: must hold real numbers; got {array.dtype} values")
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name}: must have {ndim} axes; got shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name}: must not be empty; got shape {array.shape}")
    wrong = ~np.isfinite(array)
    if wrong.any():
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(f"{name}: must be finite; got {array[first]} at {first} ({wrong.sum()} such values)")
    return array.astype(np.float64, copy=False)


def same_rows(x: ArrayLike, y: ArrayLike, least: int = 2) -> tuple[Floats, Floats]:
    """Check two sets of representations and return them in float64: two axes, equal length, at least `least` rows."""
    x_ND, y_ND = finite("x", x, 2), finite("y", y, 2)
    if len(x_ND) != len(y_ND):
        raise ValueError(f"x, y: must have the same examples as rows; got {len(x_ND)} and {len(y_ND)} rows")
    if len(x_ND) < least:
        raise ValueError(f"x, y: must have at least {least} rows; got {len(x_ND)}")
    return x_ND, y_ND


def same_width(x_ND: Floats, y_ND: Floats) -> None:
    """Raise ValueError unless the sets have the same columns."""
    if x_ND.shape[1] != y_ND.shape[1]:
        raise ValueError(f"x, y: must have the same width; got {x_ND.shape[1]} and {y_ND.shape[1]} columns")


def unit_rows(name: str, x_ND: Floats) -> Floats:
    """Scale rows to length 1; ValueError for a zero row, which has no direction and so no cosine."""
    largest_N1 = np.abs(x_ND).max(1, keepdims=True)
    if not largest_N1.all():
        raise ValueError(f"{name}: must have no zero row (it has no cosine); got one at {int(np.argmin(largest_N1))}")
    scaled_ND = x_ND / largest_N1
    return np.asarray(scaled_ND / np.linalg.norm(scaled_ND, axis=1, keepdims=True))


# Columns of `stats` by task type. A question's item counts as one predicted and one gold answer with its
# word-overlap F1 as the match, so that the ratio of `f1` is the mean over items; BLEU's ten and chrF's eighteen
# counts stand in sacrebleu's order. After a token task's columns follow gold, predicted and matched words of every tag.
CLASSES = ("correct", "gold", "predicted")
SPANS = ("matched spans", "predicted spans", "gold spans")
GENERATION = (
    "hypothesis length",
    "reference length",
    *(f"{kind} {n}-grams" for kind in ("matched", "hypothesis") for n in range(1, 5)),
    *(f"{kind} character {n}-grams" for n in range(1, 7) for kind in ("hypothesis", "reference", "matched")),
    "rouge_l",
)
STATS: dict[str, tuple[str, ...]] = {
    "sequence": CLASSES,
    "pair": CLASSES,
    "choice": CLASSES,
    "regression": ("gold", "predicted"),
    "token": (*SPANS, "correct tokens", "tokens"),
    "joint": (*CLASSES, *SPANS),
    "qa": ("answer f1", "predicted answers (1)", "gold answers (1)", "exact match"),
    "ranking": ("query ndcg",),
    "generation": GENERATION,
}

# Which scores every task of a type has; the first is its usual headline.
SCORES: dict[str, tuple[str, ...]] = {
    "sequence": ("accuracy", "macro_f1", "matthews"),
    "pair": ("accuracy", "macro_f1", "matthews"),
    "choice": ("accuracy",),
    "regression": ("pearson", "spearman"),
    "token": ("f1", "token_accuracy", "token_macro_f1"),
    "joint": ("accuracy", "macro_f1", "slot_f1"),
    "qa": ("f1", "em"),
    "ranking": ("ndcg",),
    "generation": ("bleu", "chrf", "rouge_l"),
}
# Scores that only make sense where a row of the tasks table asks for them (F1 of one class: which one?).
ASKED: dict[str, tuple[str, ...]] = {"sequence": ("binary_f1",), "pair": ("binary_f1",)}


def scores_of(kind: str, headline: str) -> tuple[str, ...]:
    """The scores that predictions of a task type hold, the task's own headline first."""
    return tuple(dict.fromkeys((headline, *SCORES.get(kind, ()))))


def _inputs(stats: ArrayLike, weights: ArrayLike | None, columns: int) -> tuple[Floats, Floats]:
    stats_NK = finite("stats", stats, 2)
    if stats_NK.shape[1] < columns:
        raise ValueError(f"stats: must have at least {columns} columns for this score; got {stats_NK.shape[1]}")
    if weights is None:
        return stats_NK, np.ones((1, len(stats_NK)))
    weights_BN = finite("weights", weights, 2)
    if weights_BN.shape[1] != len(stats_NK) or weights_BN.min() < 0 or not weights_BN.sum(1).all():
        raise ValueError(
            f"weights: must be resamples × {len(stats_NK)} items, not negative, each row with an item; "
            f"got shape {weights_BN.shape}, least value {weights_BN.min():g}"
        )
    return stats_NK, weights_BN


def _ratio(numerator: Floats, denominator: Floats, empty: float) -> Floats:
    return np.divide(numerator, denominator, out=np.full_like(denominator, empty), where=denominator > 0)


# -- how a score comes from its items --------------------------------------------------------------------------------

WIDE = 4_000_000  # numbers of a product held at once (32 MB)


@dataclass(frozen=True)
class Sums:
    """A score that sees its items through sums alone: any number of resamples of any number of models is one product.

    `columns` of the statistics are read (at least `least` must be there). `parts` makes of them, …×N×K, what is
    summed, …×N×J; `value` makes scores of the sums, …×J, and the number of items.
    """

    columns: slice
    least: int
    parts: Callable[[Floats], Floats]
    value: Callable[[Floats, Floats], Floats]

    def resampled(self, picked_XNK: Floats, weights_BN: Floats) -> Floats:
        """Scores `B × X` of X models on B resamples, from `columns` of their statistics and resample counts."""
        models, items = picked_XNK.shape[:2]
        counts_B1, found_BX = weights_BN.sum(1)[:, None], np.empty((len(weights_BN), models))
        width = self.parts(picked_XNK[:1]).shape[-1]
        step = max(1, WIDE // (width * max(items, len(weights_BN))))
        for start in range(0, models, step):
            parts_XNJ = self.parts(picked_XNK[start : start + step])
            totals = weights_BN @ np.swapaxes(parts_XNJ, 0, 1).reshape(items, -1)
            totals_BXJ = totals.reshape(len(weights_BN), len(parts_XNJ), -1)
            found_BX[:, start : start + step] = self.value(totals_BXJ, counts_B1)
        return found_BX

    def without(self, picked_XNK: Floats) -> Floats:
        """Scores `X × N` of X models without each item in turn; 2 items or more."""
        rest = np.array(float(picked_XNK.shape[1] - 1))
        parts = (self.parts(picked_NK) for picked_NK in picked_XNK)
        return np.stack([self.value(parts_NJ.sum(0) - parts_NJ, rest) for parts_NJ in parts])


@dataclass(frozen=True)
class Weighted:
    """A score that needs all items of a resample at once (ranks): `function(N×K, B×N) → B`, model after model."""

    columns: slice
    least: int
    function: Callable[[Floats, Floats], Floats]

    def resampled(self, picked_XNK: Floats, weights_BN: Floats) -> Floats:
        """Scores `B × X` of X models on B resamples, from `columns` of their statistics and resample counts."""
        step = max(1, WIDE // (4 * weights_BN.shape[1]))
        chunks = [weights_BN[start : start + step] for start in range(0, len(weights_BN), step)]
        return np.stack(
            [np.concatenate([self.function(picked_NK, chunk) for chunk in chunks]) for picked_NK in picked_XNK], axis=1
        )

    def without(self, picked_XNK: Floats) -> Floats:
        """Scores `X × N` of X models without each item in turn; 2 items or more."""
        items = picked_XNK.shape[1]
        step = max(1, WIDE // (4 * items))
        rows = [np.arange(start, min(items, start + step)) for start in range(0, items, step)]
        return np.concatenate(
            [self.resampled(picked_XNK, (np.arange(items) != part[:, None]).astype(np.float64)) for part in rows]
        ).T


def _score(how: Sums | Weighted, stats: ArrayLike, weights: ArrayLike | None) -> Any:
    """A float, or B values with `weights`: what every score below returns."""
    stats_NK, weights_BN = _inputs(stats, weights, how.least)
    values_B = how.resampled(stats_NK[None, :, how.columns], weights_BN)[:, 0]
    return float(values_B[0]) if weights is None else values_B


def _mean_of(column: int) -> Sums:
    return Sums(slice(column, column + 1), column + 1, _as_they_are, lambda totals, n: totals[..., 0] / n)


def _as_they_are(picked: Floats) -> Floats:
    return picked


# -- the scores --------------------------------------------------------------------------------------------------------


def accuracy(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Fraction of items answered correctly; column 0 is 1 for a correct item. Float, or B values with `weights`."""
    return _score(STATISTICS["accuracy"], stats, weights)


def em(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Exact match of questions: mean of column 3 (1 where a normalised answer equals a reference)."""
    return _score(STATISTICS["em"], stats, weights)


def ndcg(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Mean over queries of the normalised discounted gain; one row per query, column 0 its nDCG in [0, 1]."""
    return _score(STATISTICS["ndcg"], stats, weights)


def rouge_l(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Mean of the items' ROUGE-L F1 (the last of the generation columns)."""
    return _score(STATISTICS["rouge_l"], stats, weights)


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
    return _score(STATISTICS["macro_f1"], stats, weights)


def _macro_f1(totals: Floats, n: Floats) -> Floats:
    gold, predicted, matched = np.split(totals, 3, axis=-1)
    f1_C = _ratio(2 * matched, gold + predicted, 0.0)
    return np.asarray((f1_C * (gold > 0)).sum(-1) / (gold > 0).sum(-1))


def binary_f1(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """F1 of class 1, the second label: `2·matched/(predicted + gold)`; 0 where it is neither gold nor predicted.

    What GLUE reports for QQP and MRPC (paraphrase is class 1), where the classes are unequal and only one is looked for.
    """
    return _score(STATISTICS["binary_f1"], stats, weights)


def _positives(picked: Floats) -> Floats:
    gold, predicted = np.moveaxis(picked == 1, -1, 0)
    return np.stack([gold & predicted, predicted, gold], axis=-1).astype(np.float64)


def matthews(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Matthews correlation for any number of classes (Gorodkin 2004); 0 where a side has one class only.

    `(N·Σ_c m_c − Σ_c p_c g_c) / √((N² − Σ p_c²)(N² − Σ g_c²))` with gold g, predicted p and matched m counts.
    """
    return _score(STATISTICS["matthews"], stats, weights)


def _matthews(totals: Floats, n: Floats) -> Floats:
    gold, predicted, matched = np.split(totals, 3, axis=-1)
    count = gold.sum(-1)
    covariance = count * matched.sum(-1) - (gold * predicted).sum(-1)
    spread = (count**2 - (gold**2).sum(-1)) * (count**2 - (predicted**2).sum(-1))
    return _ratio(covariance, np.sqrt(spread), 0.0)


def f1(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """`2·Σ matched / (Σ predicted + Σ gold)` over columns 0–2; 0 where nothing is gold nor predicted (seqeval).

    Micro F1 of spans for token tasks. For questions every item has one predicted and one gold answer and its
    word-overlap F1 as the match, which makes this the mean over items, as SQuAD defines it.
    """
    return _score(STATISTICS["f1"], stats, weights)


def _micro_f1(totals: Floats, n: Floats) -> Floats:
    matched, predicted, gold = np.moveaxis(totals, -1, 0)
    return _ratio(2 * matched, predicted + gold, 0.0)


def slot_f1(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Micro F1 of the slots of a joint task: as `f1`, over columns 3–5 (columns 0–2 belong to the intent)."""
    return _score(STATISTICS["slot_f1"], stats, weights)


def token_accuracy(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Fraction of tokens tagged correctly: Σ column 3 / Σ column 4, so a long sentence counts by its length."""
    return _score(STATISTICS["token_accuracy"], stats, weights)


def token_macro_f1(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Mean of the tags' F1 over the tags that occur in gold, as `macro_f1` is for classes of items.

    From column 5 on every tag has three counts: gold, predicted and matched words.
    """
    return _score(STATISTICS["token_macro_f1"], stats, weights)


def _whole_tags(picked: Floats) -> Floats:
    if picked.shape[-1] % 3:
        raise ValueError(f"stats: must have 5 + 3·tags columns for this score; got {5 + picked.shape[-1]}")
    return picked


def _tags_f1(totals: Floats, n: Floats) -> Floats:
    gold, predicted, matched = np.moveaxis(totals.reshape(*totals.shape[:-1], -1, 3), -1, 0)
    f1_T = _ratio(2 * matched, gold + predicted, 0.0)
    return _ratio((f1_T * (gold > 0)).sum(-1), (gold > 0).sum(-1).astype(np.float64), np.nan)


def pearson(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Pearson correlation of columns 0 (gold) and 1 (predicted); NaN where either has no spread."""
    return _score(STATISTICS["pearson"], stats, weights)


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
    return _ratio(xy - x * y, np.sqrt(np.where(none, 0.0, x_spread * y_spread)), np.nan)


def spearman(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Spearman correlation (Pearson of mid-ranks, ties averaged) of columns 0 and 1; NaN where either is constant.

    Ranks are those inside each resample: with the ranks of the full set, which know items that a resample lacks,
    intervals would be those of another, easier quantity.
    """
    return _score(STATISTICS["spearman"], stats, weights)


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
    return _ratio(covariance_B, np.sqrt(x_B * y_B), np.nan)


def bleu(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Corpus BLEU as a fraction, equal to sacrebleu's default (4-grams, exponential smoothing).

    Columns 0–9: hypothesis length, reference length, matched 1–4-grams, hypothesis 1–4-grams. A precision without
    a match counts 1/(2^k·total) for its k-th occurrence; an order with no n-gram at all, or no match at any
    order, gives 0.
    """
    return _score(STATISTICS["bleu"], stats, weights)


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
    return _score(STATISTICS["chrf"], stats, weights)


def _chrf(totals: Floats, n: Floats) -> Floats:
    hypothesis, reference, matched = np.moveaxis(totals.reshape(*totals.shape[:-1], 6, 3), -1, 0)
    usable = (hypothesis > 0) & (reference > 0)
    orders = np.maximum(usable.sum(-1), 1)
    precision = (_ratio(matched, hypothesis, 0.0) * usable).sum(-1) / orders
    recall = (_ratio(matched, reference, 0.0) * usable).sum(-1) / orders
    return _ratio(5 * precision * recall, 4 * precision + recall, 0.0)


STATISTICS: dict[str, Sums | Weighted] = {
    "accuracy": _mean_of(0),
    "macro_f1": Sums(slice(1, 3), 3, _class_indicators, _macro_f1),
    "binary_f1": Sums(slice(1, 3), 3, _positives, _micro_f1),
    "matthews": Sums(slice(1, 3), 3, _class_indicators, _matthews),
    "f1": Sums(slice(0, 3), 3, _as_they_are, _micro_f1),
    "slot_f1": Sums(slice(3, 6), 6, _as_they_are, _micro_f1),
    "token_accuracy": Sums(slice(3, 5), 5, _as_they_are, lambda totals, n: _ratio(totals[..., 0], totals[..., 1], np.nan)),
    "token_macro_f1": Sums(slice(5, None), 8, _whole_tags, _tags_f1),
    "em": _mean_of(3),
    "ndcg": _mean_of(0),
    "pearson": Sums(slice(0, 2), 2, _moments, _pearson),
    "spearman": Weighted(slice(0, 2), 2, _spearman),
    "bleu": Sums(slice(0, 10), 10, _as_they_are, _bleu),
    "chrf": Sums(slice(10, 28), 28, _as_they_are, _chrf),
    "rouge_l": _mean_of(len(GENERATION) - 1),
}  # fmt: skip


@dataclass(frozen=True)
class ItemScore:
    """What the `score` of one item is in a study with this headline.

    `whole`: an item can be wholly right (score 1), so that it can break and be repaired. `correct`: the score is 0 or 1
    by definition, so that McNemar's test applies. `mean`: the headline is the mean of these scores. `constant`: what the best constant answer scores, from the gold
    classes of the items; None where that is known from the data alone (a run's `baselines`).
    """

    title: str
    whole: bool = True
    correct: bool = False
    mean: bool = False
    constant: Callable[[Floats], float] | None = None


def _majority(gold_N: Floats) -> float:
    return float(np.unique(gold_N, return_counts=True)[1].max() / len(gold_N))


def _constant_macro_f1(gold_N: Floats) -> float:
    # One class has recall 1 and its share as precision, the others have nothing.
    share = _majority(gold_N)
    return 2 * share / (1 + share) / len(np.unique(gold_N))


def _constant_binary_f1(gold_N: Floats) -> float:
    # Always the positive class: recall 1, and its share as precision.
    share = float((gold_N == 1).mean())
    return 2 * share / (1 + share)


_ERROR = ItemScore("Absolute error, negative", whole=False)
ITEM_SCORES: dict[str, ItemScore] = {
    "accuracy": ItemScore("Correct", correct=True, mean=True, constant=_majority),
    "macro_f1": ItemScore("Correct", correct=True, constant=_constant_macro_f1),
    "binary_f1": ItemScore("Correct", correct=True, constant=_constant_binary_f1),
    "matthews": ItemScore("Correct", correct=True, constant=lambda gold_N: 0.0),
    "f1": ItemScore("F1 of the item"),
    "slot_f1": ItemScore("Correct intent"),
    "token_accuracy": ItemScore("Token accuracy of the item"),
    "token_macro_f1": ItemScore("Token accuracy of the item"),
    "em": ItemScore("F1 of the item"),
    "ndcg": ItemScore("nDCG of the query", mean=True),
    "pearson": _ERROR,
    "spearman": _ERROR,
    **dict.fromkeys(("bleu", "chrf", "rouge_l"), ItemScore("BLEU of the item", whole=False)),
}


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


def _row(
    name: str, title: str, what: str, source: str, formula: str, low: float = 0.0, unit: str = "fraction"
) -> Metric:
    return Metric(name, title, what, "M§5", source, unit, "higher", low, 1.0, formula, "Degradation")


# fmt: off
METRICS: Registry[Metric] = Registry(
    "metric",
    (
        _row("accuracy", "Accuracy", "The fraction of items whose predicted class is the gold class.", "standard",
             r"\frac{1}{N}\sum_i [\hat y_i = y_i]"),
        _row("macro_f1", "Macro F1", "The mean over the gold classes of their F1, so that rare classes count as much "
             "as common ones.", "van Rijsbergen 1979",
             r"\frac{1}{C}\sum_c \frac{2\,\mathrm{TP}_c}{2\,\mathrm{TP}_c+\mathrm{FP}_c+\mathrm{FN}_c}"),
        _row("binary_f1", "F1 of the positive class", "The F1 of the second label, where only that one is looked for: "
             "what is reported for QQP and MRPC.", "van Rijsbergen 1979; Wang et al. 2018, arXiv 1804.07461",
             r"\frac{2\,\mathrm{TP}_1}{2\,\mathrm{TP}_1+\mathrm{FP}_1+\mathrm{FN}_1}"),
        _row("matthews", "Matthews correlation", "The correlation of predicted and gold classes; 0 for guessing, "
             "whatever the class shares.", "Matthews 1975; Gorodkin 2004",
             r"\frac{N\sum_c m_c-\sum_c p_c g_c}{\sqrt{(N^2-\sum_c p_c^2)(N^2-\sum_c g_c^2)}}", -1.0, "correlation"),
        _row("f1", "F1", "Entities: the micro F1 of whole spans over the set. Questions: the mean word overlap of "
             "predicted and gold answers.", "Tjong Kim Sang & De Meulder 2003 (seqeval); Rajpurkar et al. 2016",
             r"\frac{2\sum_i \mathrm{TP}_i}{\sum_i \mathrm{predicted}_i+\sum_i \mathrm{gold}_i}"),
        _row("slot_f1", "Slot F1", "The micro F1 of whole slots over the set, in tasks that also name the intent.",
             "Tjong Kim Sang & De Meulder 2003 (seqeval)",
             r"\frac{2\sum_i \mathrm{TP}_i}{\sum_i \mathrm{predicted}_i+\sum_i \mathrm{gold}_i}"),
        _row("token_accuracy", "Token accuracy", "The fraction of tokens with the right tag.", "standard",
             r"\frac{\sum_i \mathrm{correct}_i}{\sum_i T_i}"),
        _row("token_macro_f1", "Macro F1 of tags", "The mean over the tags of their words' F1, so that rare tags count as "
             "much as common ones.", "van Rijsbergen 1979",
             r"\frac{1}{C}\sum_c \frac{2\,\mathrm{TP}_c}{2\,\mathrm{TP}_c+\mathrm{FP}_c+\mathrm{FN}_c}"),
        _row("em", "Exact match", "The fraction of questions whose normalised answer equals a reference answer.",
             "Rajpurkar et al. 2016", r"\frac{1}{N}\sum_i [\hat a_i \in A_i]"),
        _row("ndcg", "nDCG", "The discounted gain of the predicted order over that of the best order, mean over "
             "queries.", "Järvelin & Kekäläinen 2002", r"\frac{1}{Q}\sum_q \frac{\mathrm{DCG}_q}{\mathrm{IDCG}_q}"),
        _row("pearson", "Pearson correlation", "The linear correlation of predicted and gold values.", "Pearson 1895",
             r"\frac{\sum_i(\hat y_i-\bar{\hat y})(y_i-\bar y)}"
             r"{\sqrt{\sum_i(\hat y_i-\bar{\hat y})^2\sum_i(y_i-\bar y)^2}}", -1.0, "correlation"),
        _row("spearman", "Spearman correlation", "The correlation of the ranks of predicted and gold values.",
             "Spearman 1904", r"\mathrm{pearson}(\mathrm{rank}\,\hat y, \mathrm{rank}\,y)", -1.0, "correlation"),
        _row("bleu", "BLEU", "The geometric mean of the 1- to 4-gram precisions of the set, with a penalty for short "
             "output.", "Papineni et al. 2002; sacrebleu (Post 2018)",
             r"\min(1, e^{1-r/h})\,\exp\left(\tfrac14\sum_{n=1}^4\log p_n\right)"),
        _row("chrf", "chrF2", "The F score of character 1- to 6-grams in which recall counts twice: fairer to "
             "languages with many word forms.", "Popović 2015; sacrebleu (Post 2018)", r"\frac{5PR}{4P+R}"),
        _row("rouge_l", "ROUGE-L", "The mean F1 of the longest common subsequence of output and reference.",
             "Lin 2004", r"\frac{1}{N}\sum_i \frac{2P_iR_i}{P_i+R_i}"),
    ),
)
# fmt: on
