"""Effects with their intervals, and what an interval says of a direction (M§7)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Interval = tuple[float, float, float]

VERDICTS = ("holds", "does not hold", "undecided")


class Student(NamedTuple):
    """An interval by Student's t, with its degrees of freedom: far fewer than a bootstrap's, so that the tails are fat."""

    effect: float
    low: float
    high: float
    degrees: int


def student(values: Floats) -> Student:
    """Mean with its 95% interval by Student's t; the limits are infinite with fewer than two values."""
    degrees = len(values) - 1
    if degrees < 0:
        return Student(float("nan"), float("nan"), float("nan"), 0)
    if degrees == 0:
        return Student(float(values[0]), -np.inf, np.inf, 0)
    half = float(stats.t.ppf(0.975, degrees)) * float(np.std(values, ddof=1)) / np.sqrt(len(values))
    return Student(float(np.mean(values)), float(np.mean(values)) - half, float(np.mean(values)) + half, degrees)


def interval_p(found: Interval | Student) -> float:
    """The two-sided p value that a 95% interval implies (Altman & Bland 2011, BMJ 343:d2304).

    `2·P(T > t₉₇₅·|effect| / half)` with the half of the interval that faces 0, so that p < .05 exactly where the interval
    excludes 0; T is normal, or Student's t with the interval's degrees of freedom. A bootstrap's own p value ends at two
    over its resamples, too coarse to be corrected for thirty directions.
    """
    effect, low, high = found[:3]
    half = effect - low if effect > 0 else high - effect
    if not np.isfinite(half):
        return 1.0
    if half <= 0:
        return 1.0 if effect == 0 else 0.0
    shape = stats.t(found.degrees) if isinstance(found, Student) else stats.norm
    return float(2 * shape.sf(shape.ppf(0.975) * abs(effect) / half))


def verdict(low: float, high: float) -> str:
    """What a 95% interval says about a direction (M§7)."""
    if low > 0:
        return "holds"
    return "does not hold" if high < 0 else "undecided"
