"""How fast a network recovers after a pruning step: numbers from one cycle's validation scores (M§6.7).

`updates` and `scores` are the points of one cycle: source-language validation scores, the first of them at update 0,
right after the mask and before any retraining. Between points the score is taken to be linear: a cycle has few of
them (nine by default), and the number of the nearest point would be as coarse as an eighth of the cycle.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from engine.metrics import finite
from engine.registry import Direction, Metric

Floats = NDArray[np.float64]

NEAR = 0.99  # of the cycle's best score: "recovered"


def _cycle(updates: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    updates_P, scores_P = finite("updates", updates, 1), finite("scores", scores, 1)
    if len(updates_P) != len(scores_P):
        raise ValueError(f"updates, scores: must be equally many; got {len(updates_P)} and {len(scores_P)}")
    if updates_P[0] != 0 or (np.diff(updates_P) <= 0).any():
        raise ValueError(f"updates: must start at 0, right after the mask, and rise; got {updates_P.tolist()}")
    return updates_P, scores_P


def after_mask(updates: ArrayLike, scores: ArrayLike) -> float:
    """The score at update 0: what the mask alone did, before any retraining (M§6.7)."""
    return float(_cycle(updates, scores)[1][0])


def updates_to_recover(updates: ArrayLike, scores: ArrayLike, share: float = NEAR) -> float:
    """Updates until the score first reaches `share` of the cycle's best (M§6.7), linear between points.

    0 where the mask did no harm. NaN where the best score is not above 0: a share of it then says nothing.
    """
    updates_P, scores_P = _cycle(updates, scores)
    if not 0 < share <= 1:
        raise ValueError(f"share: must be above 0 and at most 1; got {share}")
    goal = share * float(scores_P.max())
    if goal <= 0:
        return float("nan")
    first = int(np.argmax(scores_P >= goal))
    if first == 0:
        return 0.0
    low, high = scores_P[first - 1], scores_P[first]
    return float(updates_P[first - 1] + (updates_P[first] - updates_P[first - 1]) * (goal - low) / (high - low))


def score_after(updates: ArrayLike, scores: ArrayLike, share: float) -> float:
    """The score when `share` of the cycle's updates are done (M§6.7), linear between points."""
    updates_P, scores_P = _cycle(updates, scores)
    if not 0 <= share <= 1:
        raise ValueError(f"share: must be from 0 to 1; got {share}")
    return float(np.interp(share * updates_P[-1], updates_P, scores_P))


COLUMNS = ("after_mask", "best", "updates_to_recover", "recovered_share", "after_10", "after_25", "after_50", "updates")


def recovery(lines: pd.DataFrame) -> pd.DataFrame:
    """One row per cycle of `analysis.tables.recovery_lines`: its keys and `COLUMNS`.

    `recovered_share` is `updates_to_recover` as a share of the cycle. Cycle 0, the dense fine-tuning, is left out:
    no mask precedes it. So is a cycle whose first point is missing or that has no point after it.
    """
    keys = ["study", "run", "method", "recipe", "seed", "sparsity", "cycle"]
    rows = []
    for place, points in lines[lines["cycle"] > 0].groupby(keys, sort=False):
        points = points.dropna(subset="score").sort_values("cycle_step")
        if len(points) > 1 and points["cycle_step"].iloc[0] == 0:
            rows.append({**dict(zip(keys, place, strict=True)), **_row(points["cycle_step"], points["score"])})
    return pd.DataFrame(rows, columns=[*keys, *COLUMNS])


def _row(updates: ArrayLike, scores: ArrayLike) -> dict[str, float]:
    updates_P, scores_P = _cycle(updates, scores)
    recovered, total = updates_to_recover(updates_P, scores_P), float(updates_P[-1])
    after = {f"after_{percent}": score_after(updates_P, scores_P, percent / 100) for percent in (10, 25, 50)}
    first = {"after_mask": float(scores_P[0]), "best": float(scores_P.max()), "updates_to_recover": recovered}
    return {**first, "recovered_share": recovered / total, **after, "updates": total}


# fmt: off
def _metric(name: str, title: str, what: str, unit: str, direction: Direction, formula: str) -> Metric:
    return Metric(name, title, what, "M§6.7", "M§6.7", unit, direction, 0.0, None, formula, "Diagnose")


ROWS: tuple[Metric, ...] = (
    _metric("after_mask", "Score after the mask", "The source-validation score before any retraining: what the mask alone did.",
            "fraction", "higher", r"a(0)"),
    _metric("updates_to_recover", "Updates to recover", "Updates after the mask until 99% of the cycle's best score.",
            "updates", "lower", r"\min\{t: a(t)\ge .99\max_u a(u)\}"),
    _metric("after_10", "Score after 10%", "The source-validation score after a tenth of the cycle's updates.",
            "fraction", "higher", r"a(.1\,T)"),
    _metric("after_25", "Score after 25%", "The source-validation score after a quarter of the cycle's updates.",
            "fraction", "higher", r"a(.25\,T)"),
    _metric("after_50", "Score after 50%", "The source-validation score after half of the cycle's updates.",
            "fraction", "higher", r"a(.5\,T)"),
)
# fmt: on
