"""A smaller student cut from a dense model: fewer blocks, then fewer heads and neurons in each (M§4.5)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from engine.criteria.arguments import number
from engine.model import matrices
from engine.structured.compaction import cut, keep_blocks
from engine.structured.selection import unit_scores
from engine.structured.units import Group, unit_groups

if TYPE_CHECKING:
    from torch import BoolTensor, Tensor, nn

CLOSE = 0.02  # how far the size reached may be from the one asked, relative to it


def shrink(model: nn.Module, size: float) -> nn.Module:
    """A student with the fraction `size` of the prunable parameters, reached within 2%, as a smaller deep copy.

    Every k-th block stays, with the largest k that still leaves enough, then each loses its heads and FFN neurons of
    smallest L2 norm, equally many in every block (neurons up to one). `dense_blocks(student)` says which dense block
    each comes from, `shape_of(student)` everything. Raises `ValueError` where no cut comes within 2%.
    """
    shape = student_shape(model, size)
    small = keep_blocks(copy.deepcopy(model), shape["blocks"])
    groups = unit_groups(small)
    scores = unit_scores(groups, {matrix.name: matrix.weight_OI().float().square() for matrix in matrices(small)})
    return cut(
        small, {group.key: _largest(scores[group.key], shape[f"{group.kind}s"][group.layer]) for group in groups}
    )


def student_shape(model: nn.Module, size: float) -> dict[str, Any]:
    """The blocks that `shrink` keeps, and how many heads and neurons each of them keeps.

    With H heads of a weights and N neurons of b weights per block, h is the number nearest to its share, neurons make
    up the rest exactly, and the blocks share them as evenly as whole numbers allow.
    """
    number("size", size, 0, 1, open_low=True)
    groups = unit_groups(model)
    heads, neurons = (_alike([group for group in groups if group.kind == kind], kind) for kind in ("head", "neuron"))
    head, neuron = (_weights(model, group) for group in (heads, neurons))
    layers = 1 + groups[-1].layer
    total = layers * (heads.count * head + neurons.count * neuron)
    target = Fraction(str(size)) * total
    step = max(k for k in range(1, layers + 1) if -(-layers // k) >= Fraction(str(size)) * layers)
    kept = -(-layers // step)
    step = min(k for k in range(1, layers + 1) if -(-layers // k) == kept)
    h, left = _split(target, kept, heads.count, neurons.count, head, neuron)
    reached = Fraction(kept * h * head + left * neuron, total)
    if abs(reached - Fraction(str(size))) > Fraction(str(CLOSE)) * Fraction(str(size)):
        raise ValueError(
            f"size: must be reached within {CLOSE:.0%} by dropping blocks, heads and neurons of this model; the nearest to {size:g} is {float(reached):.4f}"
        )
    each, more = divmod(left, kept)
    return {
        "blocks": list(range(0, layers, step)),
        "heads": [h] * kept,
        "neurons": [each + (place < more) for place in range(kept)],
    }


def _split(target: Fraction, kept: int, heads: int, neurons: int, head: int, neuron: int) -> tuple[int, int]:
    """Heads per block and neurons in all: the split nearest to the target, then to equal shares of both."""
    share = target / (kept * (heads * head + neurons * neuron))

    def plan(h: int) -> tuple[Fraction, Fraction, int, int]:
        left = round((target - kept * h * head) / neuron)
        left = min(max(left, kept), kept * neurons)
        miss = abs(kept * h * head + left * neuron - target)
        return max(Fraction(0), miss - Fraction(neuron, 2)), abs(Fraction(h, heads) - share), h, left

    return min(plan(h) for h in range(1, heads + 1))[2:]


def _alike(groups: Sequence[Group], kind: str) -> Group:
    if len({(group.count, group.width) for group in groups}) != 1:
        raise ValueError(
            f"model: must have equally many {kind}s in every block to shrink it; got {[group.count for group in groups]}"
        )
    return groups[0]


def _weights(model: nn.Module, group: Group) -> int:
    """Prunable weights of one unit."""
    by_name = {matrix.name: matrix.weight_OI().shape for matrix in matrices(model)}
    return sum(group.width * by_name[name][1 - axis] for name, axis, _ in group.places())


def _largest(scores: Tensor, count: int) -> BoolTensor:
    """Mask of the `count` highest scores, the earlier among equals."""
    import torch

    keep = torch.zeros(len(scores), dtype=torch.bool)
    keep[scores.sort(descending=True, stable=True).indices[:count]] = True
    return keep  # type: ignore[return-value]
