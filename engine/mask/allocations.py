"""How a sparsity is shared out: every allocation turns a checked `Problem` into flat masks (M§2–§2.4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from engine.criteria.arguments import non_negative
from engine.criteria.scores import lamp_transform
from engine.mask import counts
from engine.mask.ranking import Matrix, keep_highest, keep_highest_rows, present

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Problem:
    """A selection whose arguments have been checked.

    `least` and `most` bound how many weights each matrix loses in all (`bounded`: whether any floor or ceiling was
    given), `removed` says how many it has lost already.
    """

    matrices: tuple[Matrix, ...]
    shapes: tuple[tuple[int, ...], ...]
    sparsity: Fraction
    allocation: str
    removed: tuple[int, ...]
    least: tuple[int, ...]
    most: tuple[int, ...]
    bounded: bool

    @property
    def sizes(self) -> list[int]:
        """Weights per matrix."""
        return [matrix.size for matrix in self.matrices]

    @property
    def total(self) -> int:
        """Weights that go in all, when the ranking group is the whole model."""
        return counts.removed_count(self.sparsity, sum(self.sizes))


def refuse_lower(where: str, total: int, removed: int) -> None:
    """Masks are nested: refuse a selection that would bring weights back."""
    if removed > total:
        raise ValueError(
            f"sparsity: must not be below that of keep{where}: {removed} weights are gone, and it removes only {total}"
        )


def allocate_global(problem: Problem) -> list[Tensor]:
    """One ranking over all weights; floors and ceilings fix some of them beforehand."""
    refuse_lower("", problem.total, sum(problem.removed))
    if not problem.bounded:
        return keep_highest(problem.matrices, problem.total - sum(problem.removed))
    return _global_within_bounds(problem)


def _global_within_bounds(problem: Problem) -> list[Tensor]:
    """One ranking over the weights that the bounds leave open.

    A matrix loses its lowest weights up to its floor and keeps its highest from its ceiling on; ranking the rest
    together is optimal, because any exchange that would lower the sum of removed scores breaks a bound.
    """
    least = [max(low, gone) for low, gone in zip(problem.least, problem.removed, strict=True)]
    counts.check_total(problem.total, least, problem.most)
    floored = [
        replace(m, keep=keep_highest([m], low - gone)[0]) if low > gone else m
        for m, low, gone in zip(problem.matrices, least, problem.removed, strict=True)
    ]
    safe = [
        keep_highest([m], high - low)[0] if high < m.size else None
        for m, low, high in zip(floored, least, problem.most, strict=True)
    ]
    open_ = [m if top is None else replace(m, keep=present(m) & ~top) for m, top in zip(floored, safe, strict=True)]
    ranked = keep_highest(open_, problem.total - sum(least))
    return [left if top is None else top | left for top, left in zip(safe, ranked, strict=True)]


def allocate_lamp(problem: Problem) -> list[Tensor]:
    """One ranking of LAMP's shares, taken over the weights still there (M§2.3)."""
    for matrix in problem.matrices:
        matrix.require_finite()
        non_negative(f"scores[{matrix.name!r}]", matrix.scores)
    return allocate_global(replace(problem, matrices=tuple(_lamp(matrix) for matrix in problem.matrices)))


def _lamp(matrix: Matrix) -> Matrix:
    scores = matrix.scores if matrix.keep is None else matrix.scores.masked_fill(~matrix.keep, 0.0)
    return replace(matrix, scores=lamp_transform(scores))


def allocate_layerwise(problem: Problem) -> list[Tensor]:
    """The same fraction of every matrix; bounds shift the others' fraction so that the total stays."""
    return _per_matrix(problem, _uniform(problem, [counts.removed_count(problem.sparsity, n) for n in problem.sizes]))


def _uniform(problem: Problem, wanted: list[int]) -> list[int]:
    """Counts per matrix near `wanted`, within the bounds, adding up to the same total."""
    if all(a <= n <= b for a, n, b in zip(problem.least, wanted, problem.most, strict=True)):
        return wanted
    counts.check_total(sum(wanted), problem.least, problem.most)
    return counts.apportion(sum(wanted), problem.sizes, problem.least, problem.most)


def _per_matrix(problem: Problem, totals: Sequence[int]) -> list[Tensor]:
    for matrix, total, removed in zip(problem.matrices, totals, problem.removed, strict=True):
        refuse_lower(f"[{matrix.name!r}]", total, removed)
    return [
        keep_highest([matrix], total - removed)[0]
        for matrix, total, removed in zip(problem.matrices, totals, problem.removed, strict=True)
    ]


def allocate_erk(problem: Problem) -> list[Tensor]:
    """Erdős–Rényi: density ∝ (O+I)/(O·I), capped at what a matrix still has, the rest shared again (M§2.4)."""
    _two_axes(problem)
    refuse_lower("", problem.total, sum(problem.removed))
    least = [max(low, gone) for low, gone in zip(problem.least, problem.removed, strict=True)]
    counts.check_total(problem.total, least, problem.most)
    fewest = [n - high for n, high in zip(problem.sizes, problem.most, strict=True)]
    largest = [n - low for n, low in zip(problem.sizes, least, strict=True)]
    weights = [sum(shape) for shape in problem.shapes]
    kept = counts.apportion(sum(problem.sizes) - problem.total, weights, fewest, largest)
    return _per_matrix(problem, [n - k for n, k in zip(problem.sizes, kept, strict=True)])


def allocate_row(problem: Problem) -> list[Tensor]:
    """The same fraction of every output row.

    Where a bound shifts a matrix's count, its rows lose equally many, and the last rows one more, so that the total
    stays exact.
    """
    _two_axes(problem)
    wanted = [shape[0] * counts.removed_count(problem.sparsity, shape[1]) for shape in problem.shapes]
    totals = _uniform(problem, wanted)
    return [_rows(m, shape[0], total) for m, shape, total in zip(problem.matrices, problem.shapes, totals, strict=True)]


def _rows(matrix: Matrix, rows: int, total: int) -> Tensor:
    inputs = matrix.size // rows
    fewer, longer = divmod(total, rows)
    return _concatenated(
        _row_part(matrix, slice(first * inputs, last * inputs), inputs, lost)
        for first, last, lost in ((0, rows - longer, fewer), (rows - longer, rows, fewer + 1))
        if last > first
    )


def _row_part(matrix: Matrix, part: slice, width: int, remove: int) -> Tensor:
    """Some rows of a matrix (or groups within rows), each losing `remove` of `width`."""
    matrix.require_finite()
    keep = None if matrix.keep is None else matrix.keep[part].view(-1, width)
    if keep is not None:
        refuse_lower(f"[{matrix.name!r}] in any row or group", remove, width - int(keep.sum(1).min()))
    return keep_highest_rows(matrix.scores[part].view(-1, width), keep, remove).view(-1)


def _concatenated(parts: Iterator[Tensor]) -> Tensor:
    import torch

    return torch.cat(list(parts))


def allocate_pattern(problem: Problem) -> list[Tensor]:
    """N:M: of each M consecutive inputs keep the N highest; the pattern fixes the sparsity of every matrix."""
    _two_axes(problem)
    kept, group = counts.pattern_of(problem.allocation) or (1, 1)
    for matrix, shape in zip(problem.matrices, problem.shapes, strict=True):
        if shape[1] % group:
            raise ValueError(
                f"scores[{matrix.name!r}]: its inputs must be a multiple of {group} for {problem.allocation}; got {shape[1]}"
            )
    _check_pattern_bounds(problem, kept, group)
    return [_row_part(matrix, slice(None), group, group - kept) for matrix in problem.matrices]


def _check_pattern_bounds(problem: Problem, kept: int, group: int) -> None:
    for matrix, least, most in zip(problem.matrices, problem.least, problem.most, strict=True):
        lost = matrix.size // group * (group - kept)
        if not least <= lost <= most:
            which = "floors" if lost < least else "ceilings"
            raise ValueError(
                f"{which}[{matrix.name!r}]: must fit {problem.allocation}, which removes {lost} of {matrix.size} weights; got {least} to {most}"
            )


def _two_axes(problem: Problem) -> None:
    for matrix, shape in zip(problem.matrices, problem.shapes, strict=True):
        if len(shape) != 2:
            raise ValueError(
                f"scores[{matrix.name!r}]: must have 2 axes (outputs × inputs) for allocation {problem.allocation}; got shape {shape}"
            )
