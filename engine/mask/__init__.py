"""From scores to masks: exact counts, one tie rule, nested masks, floors and ceilings (M§2).

`select` is the whole interface. `measured` and `collapsed` say what came out, `zero_removed` applies masks to
weights. A row of `ALLOCATIONS` is a function from a checked `Problem` to flat masks in the matrices' order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from engine.mask import counts
from engine.mask.allocations import (
    Problem,
    allocate_erk,
    allocate_global,
    allocate_lamp,
    allocate_layerwise,
    allocate_pattern,
    allocate_row,
)
from engine.mask.counts import pattern_of
from engine.mask.ranking import Matrix
from engine.registry import Entry, Registry

if TYPE_CHECKING:
    from torch import BoolTensor, Tensor

__all__ = ["ALLOCATIONS", "collapsed", "measured", "pattern_of", "select", "zero_removed"]

ALLOCATIONS: Registry[Entry] = Registry(
    "allocation",
    (
        Entry(
            name="global",
            title="Global",
            what="One ranking over all matrices: each keeps what its scores earn.",
            section="M§2",
            source="Han et al. 2015, arXiv 1506.02626",
            function=allocate_global,
        ),
        Entry(
            name="layerwise",
            title="Per matrix",
            what="The same fraction of every matrix.",
            section="M§2",
            source="Han et al. 2015, arXiv 1506.02626",
            function=allocate_layerwise,
        ),
        Entry(
            name="row",
            title="Per row",
            what="The same fraction of every output row.",
            section="M§2",
            source="Sun et al. 2024, arXiv 2306.11695",
            function=allocate_row,
        ),
        Entry(
            name="lamp",
            title="LAMP",
            what="One ranking of each score's share of what would be left in its matrix.",
            section="M§2.3",
            source="Lee et al. 2021, arXiv 2010.07611",
            function=allocate_lamp,
            formula=r"w_u^2 \big/ \sum_{v \ge u} w_v^2",
        ),
        Entry(
            name="erk",
            title="ERK",
            what="Density by the sum of a matrix's sides over its size, so that small matrices keep more.",
            section="M§2.4",
            source="Evci et al. 2020, arXiv 1911.11134",
            function=allocate_erk,
            formula=r"\mathrm{density}_l \propto \frac{O + I}{O \cdot I}",
        ),
        *(
            Entry(
                name=pattern,
                title=pattern,
                what=f"Of each {pattern[2]} consecutive inputs keep {pattern[0]}: what sparse tensor cores can run. Any N:M is accepted.",
                section="M§2",
                source="Mishra et al. 2021, arXiv 2104.08378",
                function=allocate_pattern,
            )
            for pattern in ("2:4", "4:8")
        ),
    ),
)


def select(
    scores: Mapping[str, Tensor],
    sparsity: float,
    allocation: str = "global",
    keep: Mapping[str, Tensor] | None = None,
    floors: Mapping[str, float] | None = None,
    ceilings: Mapping[str, float] | None = None,
) -> dict[str, BoolTensor]:
    """Bool masks (True = kept) that remove the lowest scores, exactly as many as M§2 says.

    `sparsity` is the cumulative fraction removed. A ranking group of n weights (the whole model, a matrix, a row or
    M consecutive inputs, by `allocation`) loses `floor(s·n + ½)`, with s read as the decimal that was written.
    Among equal scores the earlier (matrix order, then flat index) is kept.

    scores: one tensor per matrix, O×I where the allocation needs rows (row, erk, N:M), else any shape; any float
        type, device and memory layout. Masks come on the same device and in the same shape.
    allocation: a row of `ALLOCATIONS` or a pattern N:M, whose sparsity must be 1 − N/M and whose M must divide the
        inputs.
    keep: previous masks. What they removed stays removed and counts towards `sparsity`, which must not be lower
        than what they have in any ranking group.
    floors, ceilings: name → the least, the most sparsity of that matrix. The total stays exact: the other matrices
        make up for it. For N:M, which fixes every matrix, they can only be met or not.

    Raises `ValueError`, naming the matrix where there is one, for non-finite scores (negative ones under lamp) and
    for whatever cannot be met.
    """
    problem = _problem(scores, sparsity, allocation, keep, floors or {}, ceilings or {})
    row = ALLOCATIONS["2:4" if pattern_of(allocation) else allocation]
    assert row.function is not None
    flat: list[BoolTensor] = row.function(problem)
    return {name: mask.view(scores[name].shape) for name, mask in zip(scores, flat, strict=True)}  # type: ignore[misc]


def _problem(
    scores: Mapping[str, Tensor],
    sparsity: Any,
    allocation: str,
    keep: Mapping[str, Tensor] | None,
    floors: Mapping[str, float],
    ceilings: Mapping[str, float],
) -> Problem:
    _check_names(scores, keep, floors, ceilings)
    fraction = counts.exact("sparsity", sparsity)
    if pattern := pattern_of(allocation):
        counts.check_pattern(sparsity, *pattern)
    matrices = tuple(_matrix(name, tensor, None if keep is None else keep[name]) for name, tensor in scores.items())
    removed = tuple(matrix.size - matrix.kept() if keep else 0 for matrix in matrices)
    pairs = [counts.bounds(m.name, m.size, floors.get(m.name, 0), ceilings.get(m.name, 1)) for m in matrices]
    for matrix, gone, (_, most) in zip(matrices, removed, pairs, strict=True):
        if gone > most:
            raise ValueError(
                f"ceilings[{matrix.name!r}]: must allow what keep has removed, {gone} of {matrix.size} weights; got {ceilings[matrix.name]}"
            )
    return Problem(
        matrices=matrices,
        shapes=tuple(tuple(tensor.shape) for tensor in scores.values()),
        sparsity=fraction,
        allocation=allocation,
        removed=removed,
        least=tuple(least for least, _ in pairs),
        most=tuple(most for _, most in pairs),
        bounded=bool(floors or ceilings),
    )


def _check_names(
    scores: Mapping[str, Tensor], keep: Mapping[str, Tensor] | None, *by_name: Mapping[str, float]
) -> None:
    if not scores:
        raise ValueError("scores: must hold at least one matrix; got none")
    if keep is not None and set(keep) != set(scores):
        raise ValueError(f"keep: must name the same matrices as scores; differing: {_some(set(keep) ^ set(scores))}")
    for argument, given in zip(("floors", "ceilings"), by_name, strict=True):
        if unknown := set(given) - set(scores):
            raise ValueError(f"{argument}: must name matrices of scores ({_some(scores)}); got {_some(unknown)}")


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _matrix(name: str, scores: Tensor, keep: Tensor | None) -> Matrix:
    if scores.numel() == 0:
        raise ValueError(f"scores[{name!r}]: must not be empty; got shape {tuple(scores.shape)}")
    if scores.is_complex():
        raise ValueError(f"scores[{name!r}]: must be real numbers; got {scores.dtype}")
    flat = _rankable(scores.detach()).reshape(-1)
    return Matrix(name, flat, None if keep is None else _previous(name, keep, scores))


def _rankable(scores: Tensor) -> Tensor:
    """Types that cannot be compared as they are, widened without changing the order: integers and 8-bit floats."""
    if not scores.is_floating_point():
        return scores.double()
    return scores.float() if scores.element_size() == 1 else scores


def _previous(name: str, keep: Tensor, scores: Tensor) -> Tensor:
    import torch

    if keep.dtype != torch.bool or keep.shape != scores.shape:
        raise ValueError(
            f"keep[{name!r}]: must be bool of the scores' shape {tuple(scores.shape)}; got {keep.dtype} of shape {tuple(keep.shape)}"
        )
    return keep.detach().reshape(-1).to(scores.device)


def measured(masks: Mapping[str, Tensor]) -> float:
    """The fraction of all weights that the masks remove: the sparsity there is, beside the one asked for (M§2)."""
    total = sum(mask.numel() for mask in masks.values())
    if total == 0:
        raise ValueError("masks: must hold at least one weight; got none")
    return (total - sum(int(mask.count_nonzero()) for mask in masks.values())) / total


def collapsed(masks: Mapping[str, Tensor]) -> list[str]:
    """Names of the matrices without any weight left, for the caller to warn of (M§2)."""
    return [name for name, mask in masks.items() if not bool(mask.any())]


def zero_removed(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Set removed weights to zero, in place, by multiplication as pruning libraries do.

    On a CPU a bool mask makes torch's product several times slower than reading the weights, so float32 weights go
    through `engine.mask.tiles`.
    """
    import torch

    from engine.mask.tiles import multiply

    if set(weights) != set(masks):
        raise ValueError(
            f"masks: must name the same matrices as weights; differing: {_some(set(weights) ^ set(masks))}"
        )
    with torch.no_grad():
        multiply([weights[name].detach() for name in masks], list(masks.values()))
