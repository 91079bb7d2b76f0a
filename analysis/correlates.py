"""What goes with the drop over languages: rank correlations that say how much one language decides them (M§6.9).

Languages are few, unlike and related: a correlation over them is a description, never a cause. So each comes with a
bootstrap interval over languages and with the range that leaving out any single language gives.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from analysis.text import LEAST, rank_correlation, spearman
from engine.metrics import finite
from engine.registry import Metric

__all__ = ["ROWS", "leave_one_out", "rank_correlation"]


def leave_one_out(x: ArrayLike, y: ArrayLike) -> tuple[float, float, int]:
    """(least, largest Spearman correlation without one language, the language whose absence changes most) (M§6.9).

    x, y: one value per language, 4 or more. The third number is a position in x; −1 where no value is defined.
    """
    x_G, y_G = finite("x", x, 1), finite("y", y, 1)
    if len(x_G) != len(y_G) or len(x_G) < LEAST:
        raise ValueError(f"x, y: must be of the same {LEAST} or more languages; got {len(x_G)} and {len(y_G)}")
    others = [np.delete(np.arange(len(x_G)), place) for place in range(len(x_G))]
    values_G = np.array([float(spearman(x_G[None, rows], y_G[None, rows])[0]) for rows in others])
    whole = float(spearman(x_G[None], y_G[None])[0])
    known_G = np.abs(values_G - whole)
    if np.isnan(known_G).all():
        return float("nan"), float("nan"), -1
    return float(np.nanmin(values_G)), float(np.nanmax(values_G)), int(np.nanargmax(known_G))


# fmt: off
ROWS: tuple[Metric, ...] = (
    Metric("leave_one_out", "Without one language", "The range of the rank correlation when any one language is left out.",
           "M§6.9", "jackknife", "correlation", "neither", -1.0, 1.0, r"[\min_l\rho_{-l},\max_l\rho_{-l}]", "Diagnose"),
)
# fmt: on
