"""What the `score` of a single item is, which flips and slices are about."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ItemScore:
    """What the `score` of one item is in a study with this headline.

    `whole`: an item can be wholly right (score 1), so that it can break and be repaired. `correct`: the score is 0 or 1
    by definition. `mean`: the headline is the mean of these scores.
    """

    title: str
    whole: bool = True
    correct: bool = False
    mean: bool = False

    @property
    def exact(self) -> bool:
        """Whether McNemar's test of the items is a test of the headline: it is the share of right ones (accuracy).

        A model that gives every item the commoner answer may lose nothing of it, and all of its F1.
        """
        return self.correct and self.mean


_ERROR = ItemScore("Absolute error, negative", whole=False)
ITEM_SCORES: dict[str, ItemScore] = {
    "accuracy": ItemScore("Correct", correct=True, mean=True),
    "macro_f1": ItemScore("Correct", correct=True),
    "binary_f1": ItemScore("Correct", correct=True),
    "matthews": ItemScore("Correct", correct=True),
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
