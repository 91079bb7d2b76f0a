"""From scores to the units that stay: heads and neurons ranked globally, separately, with exact counts (M§2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from engine import mask
from engine.criteria.arguments import finite
from engine.mask.counts import exact, removed_count
from engine.structured.units import Group, Key

if TYPE_CHECKING:
    from torch import BoolTensor, Tensor

# Units of a kind that stay in every layer. An `ffn` unit leaves a neuron behind of its own accord.
LEAST = {"head": 1, "neuron": 1, "ffn": 0}


def unit_scores(groups: Sequence[Group], weight_scores: Mapping[str, Tensor]) -> dict[Key, Tensor]:
    """A unit's score by a criterion of single weights: the mean over the weights that it owns (float64) **[chosen]**.

    The mean and not the sum, so that the number does not depend on the head's width; within a kind all units own
    equally many weights and both rank alike. `weight_scores`: matrix name → O×I. Errors name the matrix.
    """
    import torch

    found: dict[Key, Tensor] = {}
    for group in groups:
        total = torch.zeros(group.count, dtype=torch.float64)
        size = 0
        for name, axis, start in group.places():
            if name not in weight_scores:
                raise ValueError(f"weight_scores: must hold every matrix that a unit owns; lacks {name}")
            finite(f"weight_scores[{name!r}]", weight_scores[name])
            sums = weight_scores[name].sum(1 - axis, dtype=torch.float64).cpu()
            total += sums[group.span(start)].view(group.count, group.width).sum(1)
            size += group.width * weight_scores[name].shape[1 - axis]
        found[group.key] = total / size
    return found


def select_units(
    scores: Mapping[Key, Tensor], sparsity: float, keep: Mapping[Key, Tensor] | None = None
) -> tuple[dict[Key, BoolTensor], dict[str, float]]:
    """Bool masks of units (True = kept) per (kind, layer), and the fraction of each kind that went.

    Every kind is one ranking over all layers and loses `floor(s·n + ½)` units; among ties the earlier stays. At least
    one head and one neuron stay in every layer, always the highest there; where that leaves fewer to remove, all of
    these go and `notes` says so. `keep`: previous masks, whose removed units stay removed. Non-finite scores and a
    sparsity below that of `keep` raise `ValueError`.
    """
    masks: dict[Key, BoolTensor] = {}
    reached: dict[str, float] = {}
    for kind, ours in _by_kind(scores).items():
        total, most = _counts(ours, sparsity)
        went = min(total, most)
        names = {f"{kind}s of layer {layer}": (kind, layer) for _, layer in ours}
        bounds: dict[str, Any] = {
            name: Fraction(len(ours[key]) - LEAST[kind], len(ours[key])) for name, key in names.items()
        }
        share: Any = Fraction(went, _size(ours))
        chosen = mask.select(
            {name: ours[key] for name, key in names.items()},
            share,
            keep=None if keep is None else {name: keep[key].bool().to(ours[key].device) for name, key in names.items()},
            ceilings=bounds,
        )
        masks |= {key: chosen[name] for name, key in names.items()}
        reached[kind] = went / _size(ours)
    return {key: masks[key] for key in scores}, reached


def notes(scores: Mapping[Key, Tensor], sparsity: float) -> list[str]:
    """A sentence per kind of which fewer than asked can go, because one unit of it stays in every layer."""
    return [
        f"{most} of {_size(ours)} {kind}s go instead of {total}: one stays in every layer"
        for kind, ours in _by_kind(scores).items()
        for total, most in (_counts(ours, sparsity),)
        if total > most
    ]


def _by_kind(scores: Mapping[Key, Tensor]) -> dict[str, dict[Key, Tensor]]:
    kinds: dict[str, dict[Key, Tensor]] = {}
    for key, values in sorted(scores.items(), key=lambda item: item[0][1]):
        finite(f"scores[{key}]", values)
        kinds.setdefault(key[0], {})[key] = values
    return kinds


def _counts(scores: Mapping[Key, Tensor], sparsity: float) -> tuple[int, int]:
    """Units to remove by M§2, and how many can go at most."""
    most = sum(len(values) - LEAST[kind] for (kind, _), values in scores.items())
    return removed_count(exact("sparsity", sparsity), _size(scores)), most


def _size(scores: Mapping[Key, Tensor]) -> int:
    return sum(len(values) for values in scores.values())
