"""Task scores in pure numpy, from one row of sufficient statistics per item (M§5, M§6.1).

A run folder keeps, for every item, the few numbers that are enough to compute its metric: so a corpus-level score
(macro F1, micro F1, BLEU) can be bootstrapped without reading a prediction again. Every score takes `stats_NK`
(items × statistics, columns as in `STATS`) and optionally `weights_BN`, resample counts: it then returns B scores
at once, by one matrix product instead of B passes. All scores are fractions (BLEU and chrF too, so that a drop
means the same everywhere); they need neither torch nor a network.
"""

from engine.metrics.arguments import finite, same_rows, same_width, unit_rows
from engine.metrics.blind import BLIND, majority
from engine.metrics.columns import ASKED, CLASSES, GENERATION, SCORES, STATS, scores_of
from engine.metrics.items import ITEM_SCORES
from engine.metrics.scores import (
    FUNCTIONS,
    STATISTICS,
    Score,
    accuracy,
    binary_f1,
    bleu,
    chrf,
    em,
    f1,
    macro_f1,
    matthews,
    ndcg,
    pearson,
    rouge_l,
    slot_f1,
    spearman,
    token_accuracy,
    token_macro_f1,
)
from engine.metrics.table import METRICS

__all__ = [
    "ASKED", "BLIND", "CLASSES", "FUNCTIONS", "GENERATION", "ITEM_SCORES", "METRICS", "SCORES", "STATISTICS", "STATS", "Score", "accuracy",
    "binary_f1", "bleu", "chrf", "em", "f1", "finite", "macro_f1", "majority", "matthews", "ndcg", "pearson", "rouge_l", "same_rows",
    "same_width", "scores_of", "slot_f1", "spearman", "token_accuracy", "token_macro_f1", "unit_rows",
]  # fmt: skip
