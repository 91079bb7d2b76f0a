"""Task scores in pure numpy, from one row of sufficient statistics per item (M§5, M§6.1).

A run folder keeps, for every item, the few numbers that are enough to compute its metric: so a corpus-level score
(macro F1, micro F1, BLEU) can be bootstrapped without reading a prediction again. Every score takes `stats_NK`
(items × statistics, columns as in `STATS`) and optionally `weights_BN`, resample counts: it then returns B scores
at once, by one matrix product instead of B passes. All scores are fractions (BLEU and chrF too, so that a drop
means the same everywhere); they need neither torch nor a network.
"""

from __future__ import annotations

from collections.abc import Callable
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


def _out(values_B: Floats, weights: ArrayLike | None) -> Any:
    return float(values_B[0]) if weights is None else values_B


def _ratio(numerator: Floats, denominator: Floats, empty: float) -> Floats:
    return np.divide(numerator, denominator, out=np.full_like(denominator, empty), where=denominator > 0)


def _mean(stats: ArrayLike, weights: ArrayLike | None, column: int) -> Any:
    stats_NK, weights_BN = _inputs(stats, weights, column + 1)
    return _out(weights_BN @ stats_NK[:, column] / weights_BN.sum(1), weights)


def accuracy(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Fraction of items answered correctly; column 0 is 1 for a correct item. Float, or B values with `weights`."""
    return _mean(stats, weights, 0)


def em(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Exact match of questions: mean of column 3 (1 where a normalised answer equals a reference)."""
    return _mean(stats, weights, 3)


def ndcg(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Mean over queries of the normalised discounted gain; one row per query, column 0 its nDCG in [0, 1]."""
    return _mean(stats, weights, 0)


def rouge_l(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Mean of the items' ROUGE-L F1 (the last of the generation columns)."""
    return _mean(stats, weights, len(GENERATION) - 1)


def _class_totals(stats: ArrayLike, weights: ArrayLike | None) -> tuple[Floats, Floats, Floats]:
    # Counts per resample and class (B×C) of gold, predicted and matched items, by one product with indicators.
    stats_NK, weights_BN = _inputs(stats, weights, 3)
    gold, predicted = stats_NK[:, 1:2], stats_NK[:, 2:3]
    classes = np.unique(stats_NK[:, 1:3])
    indicators = np.hstack([gold == classes, predicted == classes, (gold == classes) & (predicted == classes)])
    gold_BC, predicted_BC, matched_BC = np.split(weights_BN @ indicators.astype(np.float64), 3, axis=1)
    return gold_BC, predicted_BC, matched_BC


def macro_f1(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Mean of the classes' F1 = 2·matched/(predicted + gold), over the classes that occur in gold.

    Columns 1 and 2 are the gold and the predicted class index. A class that is only ever predicted has no recall
    and is left out of the mean (it still costs the gold classes their matches); in a resample the classes that it
    holds count, so that the mean never divides by an absent class.
    """
    gold_BC, predicted_BC, matched_BC = _class_totals(stats, weights)
    present_BC = gold_BC > 0
    f1_BC = _ratio(2 * matched_BC, gold_BC + predicted_BC, 0.0)
    return _out((f1_BC * present_BC).sum(1) / present_BC.sum(1), weights)


def binary_f1(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """F1 of class 1, the second label: `2·matched/(predicted + gold)`; 0 where it is neither gold nor predicted.

    What GLUE reports for QQP and MRPC (paraphrase is class 1), where the classes are unequal and only one is looked for.
    """
    stats_NK, weights_BN = _inputs(stats, weights, 3)
    gold, predicted = stats_NK[:, 1] == 1, stats_NK[:, 2] == 1
    indicators = np.stack([gold & predicted, predicted, gold], axis=1).astype(np.float64)
    matched_B, predicted_B, gold_B = (weights_BN @ indicators).T
    return _out(_ratio(2 * matched_B, predicted_B + gold_B, 0.0), weights)


def matthews(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Matthews correlation for any number of classes (Gorodkin 2004); 0 where a side has one class only.

    `(N·Σ_c m_c − Σ_c p_c g_c) / √((N² − Σ p_c²)(N² − Σ g_c²))` with gold g, predicted p and matched m counts.
    """
    gold_BC, predicted_BC, matched_BC = _class_totals(stats, weights)
    total_B = gold_BC.sum(1)
    covariance_B = total_B * matched_BC.sum(1) - (gold_BC * predicted_BC).sum(1)
    spread_B = (total_B**2 - (gold_BC**2).sum(1)) * (total_B**2 - (predicted_BC**2).sum(1))
    return _out(_ratio(covariance_B, np.sqrt(spread_B), 0.0), weights)


def _micro_f1(stats: ArrayLike, weights: ArrayLike | None, first: int) -> Any:
    stats_NK, weights_BN = _inputs(stats, weights, first + 3)
    matched_B, predicted_B, gold_B = (weights_BN @ stats_NK[:, first : first + 3]).T
    return _out(_ratio(2 * matched_B, predicted_B + gold_B, 0.0), weights)


def f1(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """`2·Σ matched / (Σ predicted + Σ gold)` over columns 0–2; 0 where nothing is gold nor predicted (seqeval).

    Micro F1 of spans for token tasks. For questions every item has one predicted and one gold answer and its
    word-overlap F1 as the match, which makes this the mean over items, as SQuAD defines it.
    """
    return _micro_f1(stats, weights, 0)


def slot_f1(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Micro F1 of the slots of a joint task: as `f1`, over columns 3–5 (columns 0–2 belong to the intent)."""
    return _micro_f1(stats, weights, 3)


def token_accuracy(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Fraction of tokens tagged correctly: Σ column 3 / Σ column 4, so a long sentence counts by its length."""
    stats_NK, weights_BN = _inputs(stats, weights, 5)
    correct_B, tokens_B = (weights_BN @ stats_NK[:, 3:5]).T
    return _out(_ratio(correct_B, tokens_B, np.nan), weights)


def token_macro_f1(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Mean of the tags' F1 over the tags that occur in gold, as `macro_f1` is for classes of items.

    From column 5 on every tag has three counts: gold, predicted and matched words.
    """
    stats_NK, weights_BN = _inputs(stats, weights, 8)
    if (stats_NK.shape[1] - 5) % 3:
        raise ValueError(f"stats: must have 5 + 3·tags columns for this score; got {stats_NK.shape[1]}")
    totals_BT3 = (weights_BN @ stats_NK[:, 5:]).reshape(len(weights_BN), -1, 3)
    gold_BT, predicted_BT, matched_BT = np.moveaxis(totals_BT3, -1, 0)
    f1_BT = _ratio(2 * matched_BT, gold_BT + predicted_BT, 0.0)
    return _out(_ratio((f1_BT * (gold_BT > 0)).sum(1), (gold_BT > 0).sum(1).astype(np.float64), np.nan), weights)


def _weighted_correlation(x_BN: Floats, y_BN: Floats, weights_BN: Floats) -> Floats:
    share_BN = weights_BN / weights_BN.sum(1, keepdims=True)
    x_BN = x_BN - (share_BN * x_BN).sum(1, keepdims=True)
    y_BN = y_BN - (share_BN * y_BN).sum(1, keepdims=True)
    covariance_B, x_B, y_B = ((share_BN * product).sum(1) for product in (x_BN * y_BN, x_BN**2, y_BN**2))
    # A column without spread has no correlation: its centred values are rounding noise, far below this bound.
    return _ratio(covariance_B, np.sqrt(np.where((x_B < 1e-24) | (y_B < 1e-24), 0.0, x_B * y_B)), np.nan)


def _unit(values_N: Floats) -> Floats:
    # Correlations do not see shift or scale; taking both out first keeps them exact for 1e9 + small differences.
    shifted = values_N - values_N[0]
    return np.asarray(shifted / max(float(np.abs(shifted).max()), np.finfo(float).tiny))


def pearson(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Pearson correlation of columns 0 (gold) and 1 (predicted); NaN where either has no spread."""
    stats_NK, weights_BN = _inputs(stats, weights, 2)
    gold, predicted = _unit(stats_NK[:, 0]), _unit(stats_NK[:, 1])
    return _out(_weighted_correlation(gold[None], predicted[None], weights_BN), weights)


def _weighted_ranks(values_N: Floats, weights_BN: Floats) -> Floats:
    # Mid-ranks of a resample without building it: an item's rank is the count below it plus half its tie's count.
    _, tie_N = np.unique(values_N, return_inverse=True)
    counts_BT = weights_BN @ (tie_N[:, None] == np.arange(tie_N.max() + 1)).astype(np.float64)
    return np.asarray((np.cumsum(counts_BT, axis=1) - (counts_BT - 1) / 2)[:, tie_N] / weights_BN.sum(1, keepdims=True))


def spearman(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Spearman correlation (Pearson of mid-ranks, ties averaged) of columns 0 and 1; NaN where either is constant."""
    stats_NK, weights_BN = _inputs(stats, weights, 2)
    gold_BN, predicted_BN = (_weighted_ranks(stats_NK[:, column], weights_BN) for column in (0, 1))
    return _out(_weighted_correlation(gold_BN, predicted_BN, weights_BN), weights)


def bleu(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """Corpus BLEU as a fraction, equal to sacrebleu's default (4-grams, exponential smoothing).

    Columns 0–9: hypothesis length, reference length, matched 1–4-grams, hypothesis 1–4-grams. A precision without
    a match counts 1/(2^k·total) for its k-th occurrence; an order with no n-gram at all, or no match at any
    order, gives 0.
    """
    stats_NK, weights_BN = _inputs(stats, weights, 10)
    totals_BK = weights_BN @ stats_NK[:, :10]
    length_B, reference_B, matched_BO, total_BO = (*totals_BK.T[:2], totals_BK[:, 2:6], totals_BK[:, 6:10])
    missing_BO = matched_BO == 0
    smoothed_BO = np.where(missing_BO, 0.5 ** np.cumsum(missing_BO, axis=1), matched_BO)
    usable_B = (total_BO > 0).all(1) & ~missing_BO.all(1)
    precision_BO = np.where(usable_B[:, None], smoothed_BO / np.maximum(total_BO, 1), 1.0)
    brevity_B = np.minimum(0.0, 1 - reference_B / np.maximum(length_B, 1))
    return _out(usable_B * np.exp(brevity_B + np.log(precision_BO).mean(1)), weights)


def chrf(stats: ArrayLike, weights: ArrayLike | None = None) -> Any:
    """chrF2 as a fraction, equal to sacrebleu's default: character 1–6-grams, recall counts twice (β = 2).

    Columns 10–27: for every order hypothesis, reference and matched n-grams. Precision and recall are averaged
    over the orders that both sides have.
    """
    stats_NK, weights_BN = _inputs(stats, weights, 28)
    totals_BO3 = (weights_BN @ stats_NK[:, 10:28]).reshape(len(weights_BN), 6, 3)
    hypothesis_BO, reference_BO, matched_BO = np.moveaxis(totals_BO3, -1, 0)
    usable_BO = (hypothesis_BO > 0) & (reference_BO > 0)
    orders_B = np.maximum(usable_BO.sum(1), 1)
    precision_B = (_ratio(matched_BO, hypothesis_BO, 0.0) * usable_BO).sum(1) / orders_B
    recall_B = (_ratio(matched_BO, reference_BO, 0.0) * usable_BO).sum(1) / orders_B
    return _out(_ratio(5 * precision_B * recall_B, 4 * precision_B + recall_B, 0.0), weights)


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
