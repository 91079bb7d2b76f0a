"""Which weights stay when a number of them goes: one ranking over several matrices, exact, with a fixed tie rule.

The order is by score, and among equal scores the earlier weight (matrix order, then flat index) ranks higher and
is kept. Every way through this module finds the threshold value first and then resolves its ties by position, so
the result never depends on how a sorting routine orders equal keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.criteria.arguments import finite

if TYPE_CHECKING:
    from torch import Tensor

SMALL = 1 << 19  # below this many scores the plain way costs less than sampling
SAMPLE = 1 << 18  # scores looked at to bracket the threshold
NARROW = 16  # rows up to this long are ranked by comparing all pairs
SPREAD = 4.0  # half-width of the bracket in standard deviations of the sample's rank: misses 1 time in 16,000


@dataclass(frozen=True, slots=True)
class Matrix:
    """Flat scores of one matrix and, where it has been pruned before, what it still has."""

    name: str
    scores: Tensor
    keep: Tensor | None = None

    @property
    def size(self) -> int:
        """Weights, removed ones included."""
        return self.scores.numel()

    def kept(self) -> int:
        """Weights that are still there."""
        if self.keep is None:
            return self.size
        on_cpu = self.keep.device.type == "cpu"
        return int(np.count_nonzero(self.keep.numpy()) if on_cpu else self.keep.count_nonzero())

    def require_finite(self) -> None:
        """Refuse NaN and infinite scores, naming the matrix."""
        finite(f"scores[{self.name!r}]", self.scores)


def keep_highest(matrices: Sequence[Matrix], remove: int) -> list[Tensor]:
    """Flat bool masks of the weights left when the `remove` lowest of those still there go.

    Non-finite scores raise `ValueError` naming the matrix.
    """
    if sum(matrix.size for matrix in matrices) < SMALL:
        return keep_highest_plain(matrices, remove)
    if all(matrix.scores.device.type == "cpu" for matrix in matrices):
        from engine.mask.tiles import keep_highest_tiled

        masks = keep_highest_tiled(matrices, remove)
        return keep_highest_plain(matrices, remove) if masks is None else masks
    return keep_highest_plain(matrices, remove, sampled_threshold)


Finder = Callable[["Tensor", int], "Tensor"]


def sorted_threshold(values: Tensor, remove: int) -> Tensor:
    """The `remove`-th lowest value (counted from 1), by sorting."""
    return values.sort().values[remove - 1]


def sampled_threshold(values: Tensor, remove: int) -> Tensor:
    """The `remove`-th lowest value, by ranking only what a sample says lies near it.

    On a GPU a few passes over memory cost far less than sorting tens of millions of keys. The counts on either
    side of the bracket prove the answer; where they show that the threshold lies elsewhere, everything is sorted.
    """
    low, high = bracket(values[:: stride(values.numel())].sort().values, remove / values.numel())
    inside = (values >= low) & (values <= high)
    rank = remove - int((values < low).count_nonzero())
    near = values[inside]
    return near.sort().values[rank - 1] if 1 <= rank <= near.numel() else sorted_threshold(values, remove)


def stride(size: int) -> int:
    """Step of the sample, prime to 6: matrix widths are multiples of 2 and 3, and a shared factor would sample few columns."""
    step = max(1, size // SAMPLE)
    while step % 2 == 0 or step % 3 == 0:
        step += 1
    return step


def bracket(ordered: Tensor | NDArray[np.floating[Any]], fraction: float) -> tuple[float, float]:
    """Values of the ordered sample between which the score at rank `fraction` (0 to 1) very likely lies."""
    count = len(ordered)
    spread = SPREAD * (count * fraction * (1 - fraction)) ** 0.5 + 2
    low, high = int(fraction * count - spread), int(fraction * count + spread) + 1
    return float(ordered[low]) if low >= 0 else -float("inf"), float(ordered[high]) if high < count else float("inf")


def keep_highest_plain(matrices: Sequence[Matrix], remove: int, threshold: Finder = sorted_threshold) -> list[Tensor]:
    """`keep_highest` on one concatenated vector: the plain way, for few scores, for GPUs and where sampling missed."""
    import torch

    for matrix in matrices:
        matrix.require_finite()
    device = matrices[0].scores.device
    flat = torch.cat([matrix.scores.to(device) for matrix in matrices])
    keep = torch.cat([present(matrix).to(device) for matrix in matrices])
    mask = _above(flat, keep, remove, threshold)
    parts = mask.split([matrix.size for matrix in matrices])
    # Cloned: masks must not share one storage, or changing or saving one would touch all.
    return [part.to(matrix.scores.device, copy=True) for part, matrix in zip(parts, matrices, strict=True)]


def present(matrix: Matrix) -> Tensor:
    """Flat bool: what the matrix still has, all of it where it was never pruned."""
    import torch

    return torch.ones_like(matrix.scores, dtype=torch.bool) if matrix.keep is None else matrix.keep


def _above(flat: Tensor, keep: Tensor, remove: int, threshold: Finder) -> Tensor:
    """The mask on one vector: everything above the threshold, and of the ties with it the earliest that still fit."""
    candidates = flat[keep]
    if remove == 0:
        return keep
    value = threshold(candidates, remove)
    mask = (flat > value) & keep
    ties = ((flat == value) & keep).nonzero().squeeze(1)
    mask[ties[: candidates.numel() - remove - int(mask.count_nonzero())]] = True
    return mask


def keep_highest_rows(scores: Tensor, keep: Tensor | None, remove: int) -> Tensor:
    """Bool mask of a matrix whose every row loses its `remove` lowest scores, removed ones counted first.

    `scores`: R×C, finite; `keep`: R×C of what is still there, at most `remove` missing per row.
    """
    import torch

    if remove == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    # Finite scores are above -inf, so what is gone already is removed first and costs no second ranking.
    lowered = scores if keep is None else scores.masked_fill(~keep, -float("inf"))
    if scores.shape[1] <= NARROW:
        return torch.cat([_by_duels(part, remove) for part in lowered.split(1 << 16)])
    return _by_value(lowered, remove)


def _by_value(scores: Tensor, remove: int) -> Tensor:
    """Rows by their `remove`-th lowest value; ties are looked at only in the rows where some of them stay."""
    value = scores.kthvalue(remove, dim=1, keepdim=True).values
    mask = scores > value
    spare = scores.shape[1] - remove - mask.sum(1, keepdim=True)
    tied = spare.squeeze(1).nonzero().squeeze(1)
    ties = scores[tied] == value[tied]
    mask[tied] |= ties & (ties.cumsum(1) <= spare[tied])
    return mask


def _by_duels(scores: Tensor, remove: int) -> Tensor:
    """Short rows (N:M groups) by counting how many of the row rank above each: no call per row, unlike selection."""
    import torch

    columns = scores.t().contiguous()
    better = torch.zeros(columns.shape, dtype=torch.uint8, device=scores.device)
    for j in range(1, len(columns)):
        lost = columns[:j] >= columns[j]
        better[j] += lost.sum(0, dtype=torch.uint8)
        better[:j] += ~lost
    return (better < len(columns) - remove).t()
