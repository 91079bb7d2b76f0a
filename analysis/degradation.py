"""What pruning costs, language by language: drops, retention, worst cases, the last safe sparsity (M§6.1).

Scores are fractions. A drop is dense − pruned, so a gain is a negative drop and stays one. Functions broadcast:
arrays of languages or levels go in whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.metrics import finite
from engine.registry import Direction, Metric

Floats = NDArray[np.float64]


def drop(dense: ArrayLike, pruned: ArrayLike) -> Floats:
    """`dense − pruned`, elementwise (M§6.1); the same against `dense_continued` in the place of dense."""
    return finite("dense", dense) - finite("pruned", pruned)


def _quotient(numerator: Floats, denominator: Floats) -> Floats:
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator != 0)


def relative_drop(dense: ArrayLike, pruned: ArrayLike) -> Floats:
    """`(dense − pruned)/dense` (M§6.1); NaN where dense is 0."""
    return _quotient(drop(dense, pruned), finite("dense", dense))


def retention(dense: ArrayLike, pruned: ArrayLike) -> Floats:
    """`pruned/dense` (M§6.1); NaN where dense is 0. Flatters languages near chance: see `normalised_retention`."""
    return _quotient(finite("pruned", pruned), finite("dense", dense))


def normalised_retention(
    dense: ArrayLike, pruned: ArrayLike, chance: ArrayLike, low: ArrayLike, high: ArrayLike
) -> Floats:
    """`(pruned − chance)/(dense − chance)`: 1 keeps everything, 0 is guessing (M§6.1).

    NaN (a blank) where dense's interval [low, high] contains chance: nothing was there to keep, and the quotient
    of two noises would be shown as a result. `chance` is the majority rate.
    """
    low_, high_, chance_ = finite("low", low), finite("high", high), finite("chance", chance)
    if np.any(low_ > high_):
        raise ValueError(f"low, high: low must not be above high; got {low_} and {high_}")
    value = _quotient(finite("pruned", pruned) - chance_, finite("dense", dense) - chance_)
    return np.where((low_ <= chance_) & (chance_ <= high_), np.nan, value)


def spread(drops: ArrayLike) -> dict[str, float]:
    """Over languages: `worst` (largest drop), `std` (sample standard deviation) and `range` (max − min) (M§6.1).

    All three are above what they estimate even for equal drops, the range most, and the more so the fewer the
    items: show them with `equal_spread`.
    """
    drops_G = finite("drops", drops, 1)
    if len(drops_G) < 2:
        raise ValueError(f"drops: must be of at least 2 languages; got {len(drops_G)}")
    return {
        "worst": float(drops_G.max()),
        "std": float(drops_G.std(ddof=1)),
        "range": float(np.ptp(drops_G)),
    }


def equal_spread(shuffled: ArrayLike) -> dict[str, float]:
    """What `spread` would show if all languages dropped alike: its mean over shuffled drops (M§6.1).

    `shuffled`: permutations × languages, from `analysis.inference.shuffled_drops`.
    """
    shuffled_PG = finite("shuffled", shuffled, 2)
    rows = [spread(drops_G) for drops_G in shuffled_PG]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def last_safe_sparsity(levels: ArrayLike, uppers: ArrayLike, tolerance: float = 0.02) -> float:
    """The largest level such that there and at every smaller level the drop's upper bound is below `tolerance`.

    The upper bound, not the drop: a small test set cannot declare a language safe. Levels in any order, each once,
    from 0 to 1. 0.0 where already the smallest level is not safe: only the dense model is (M§6.1).
    """
    level_S, upper_S = finite("levels", levels, 1), finite("uppers", uppers, 1)
    if len(level_S) != len(upper_S):
        raise ValueError(f"levels, uppers: must be equally many; got {len(level_S)} and {len(upper_S)}")
    if level_S.min() < 0 or level_S.max() > 1 or len(np.unique(level_S)) < len(level_S):
        raise ValueError(f"levels: must be different fractions from 0 to 1; got {level_S.tolist()}")
    if not np.isfinite(tolerance):
        raise ValueError(f"tolerance: must be a number; got {tolerance}")
    order = np.argsort(level_S)
    safe = int(np.cumprod(upper_S[order] < tolerance).sum())
    return float(level_S[order][safe - 1]) if safe else 0.0


def pareto(points: ArrayLike, directions: Sequence[Direction] = ("lower", "higher", "higher")) -> NDArray[np.bool_]:
    """Which points no other dominates: at least as good on every axis and better on one (M§6.1).

    `points`: P × axes, by default (non-zeros, mean, worst language). Equal points stay together.
    """
    points_PK = finite("points", points, 2)
    if len(directions) != points_PK.shape[1] or not set(directions) <= {"lower", "higher"}:
        raise ValueError(
            f"directions: must be lower or higher for each of the {points_PK.shape[1]} axes; got {tuple(directions)}"
        )
    cost_PK = points_PK * [1.0 if direction == "lower" else -1.0 for direction in directions]
    no_worse_PP = (cost_PK[:, None] <= cost_PK).all(2)
    better_PP = (cost_PK[:, None] < cost_PK).any(2)
    return np.asarray(~np.any(no_worse_PP & better_PP, axis=0))


# fmt: off
def _row(name: str, title: str, what: str, formula: str, direction: Direction, unit: str = "fraction",
         low: float | None = None, high: float | None = None, source: str = "standard") -> Metric:
    return Metric(name, title, what, "M§6.1", source, unit, direction, low, high, formula, "Degradation")


ROWS: tuple[Metric, ...] = (
    _row("drop", "Drop", "What pruning costs: the dense score less the pruned one; a gain is negative.",
         r"d-p", "lower", "fraction", -2.0, 2.0),
    _row("relative_drop", "Relative drop", "The drop as a share of the dense score.", r"\frac{d-p}{d}", "lower"),
    _row("retention", "Retention", "The share of the dense score that is left.", r"\frac{p}{d}", "higher"),
    _row("normalised_retention", "Retention above chance", "The share of what the dense model knew above guessing.",
         r"\frac{p-c}{d-c}", "higher"),
    _row("worst", "Worst language", "The largest drop of any language.", r"\max_l \Delta_l", "lower"),
    _row("std", "Spread over languages", "The standard deviation of the drop over languages; above 0 by chance alone.",
         r"\sqrt{\frac{1}{G-1}\sum_l(\Delta_l-\bar\Delta)^2}", "lower", "fraction", 0.0),
    _row("range", "Range over languages", "The largest less the smallest drop; the most inflated by chance.",
         r"\max_l\Delta_l-\min_l\Delta_l", "lower", "fraction", 0.0),
    _row("last_safe_sparsity", "Last safe sparsity", "The largest level up to which the drop is surely below tolerance.",
         r"\max\{s: \forall s'\le s,\ \mathrm{high}(\Delta_{s'})<\epsilon\}", "higher", "fraction", 0.0, 1.0),
    _row("beyond_random", "Better than random pruning", "What a method keeps that random pruning at the same sparsity loses.",
         r"\bar p_{\mathrm{method}}-\bar p_{\mathrm{random}}", "higher", "fraction", -1.0, 1.0),
    _row("pareto", "Not dominated", "No other level is at least as small, as good on average and as good in the worst language.",
         r"\neg\exists q: q\preceq p", "neither", ""),
)
# fmt: on
