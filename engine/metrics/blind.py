"""What guessing and the best constant answer score on a classification, in closed form (M§5, M§6.1).

A score without them says little: accuracy .84 is nothing where one class has 84% of the items, and an F1 of .54 is what
always saying "paraphrase" earns on QQP. `share_C` is each class's share of the gold answers. `chance` is the score
that uniform guessing has in expectation of its counts, `majority` that of the best answer given always.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import pandas as pd

Shares = NDArray[np.float64]


def _accuracy(share_C: Shares) -> tuple[float, float]:
    return 1 / len(share_C), float(share_C.max())


def _macro_f1(share_C: Shares) -> tuple[float, float]:
    # F1 of a class guessed with probability q: 2·share·q/(share + q).
    present_C, guess = share_C[share_C > 0], 1 / len(share_C)
    most = float(present_C.max())
    return float(np.mean(2 * present_C * guess / (present_C + guess))), 2 * most / (1 + most) / len(present_C)


def _binary_f1(share_C: Shares) -> tuple[float, float]:
    positive, guess = float(share_C[1]) if len(share_C) > 1 else 0.0, 1 / len(share_C)
    return 2 * positive * guess / (positive + guess), 2 * positive / (1 + positive)


def _matthews(share_C: Shares) -> tuple[float, float]:
    return 0.0, 0.0


BLIND: dict[str, Callable[[Shares], tuple[float, float]]] = {
    "accuracy": _accuracy,
    "macro_f1": _macro_f1,
    "binary_f1": _binary_f1,
    "matthews": _matthews,
}


def majority(metric: str, gold_N: ArrayLike) -> float | None:
    """What the best constant answer scores against gold class indices; None where classes do not decide it."""
    return (
        BLIND[metric](np.bincount(np.asarray(gold_N, dtype=np.int64)) / np.size(gold_N))[1] if metric in BLIND else None
    )


def baselines(metric: str, gold: pd.Series, labels: Sequence[str]) -> dict[str, float]:
    """`chance` and `majority` of a score of classes; `labels`: all answers that there are, in order."""
    share_C = gold.value_counts(normalize=True).reindex(list(labels), fill_value=0.0).to_numpy(dtype=np.float64)
    chance, majority = BLIND[metric](share_C)
    return {"chance": chance, "majority": majority}
