"""Effects with their intervals, and what an interval says of a direction (M§7)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis import inference

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
    """The p value of an effect by its interval (`analysis.inference.interval_p`), with the degrees of freedom of Student's."""
    return inference.interval_p(*found[:3], found.degrees if isinstance(found, Student) else np.inf)


def verdict(low: float, high: float) -> str:
    """What a 95% interval says about a direction (M§7)."""
    if low > 0:
        return "holds"
    return "does not hold" if high < 0 else "undecided"
