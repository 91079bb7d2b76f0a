"""How a score comes from its items' statistics, for any number of resamples at once (M§6.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from engine.metrics.arguments import Floats, finite

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


def score(how: Sums | Weighted, stats: ArrayLike, weights: ArrayLike | None) -> Any:
    """A float, or B values with `weights`: what every score below returns."""
    stats_NK, weights_BN = inputs(stats, weights, how.least)
    values_B = how.resampled(stats_NK[None, :, how.columns], weights_BN)[:, 0]
    return float(values_B[0]) if weights is None else values_B


def inputs(stats: ArrayLike, weights: ArrayLike | None, columns: int) -> tuple[Floats, Floats]:
    """Checked statistics and resample counts; without weights one resample, the set itself."""
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


def ratio(numerator: Floats, denominator: Floats, empty: float) -> Floats:
    """Numerator over denominator, `empty` where that is 0."""
    return np.divide(numerator, denominator, out=np.full_like(denominator, empty), where=denominator > 0)
