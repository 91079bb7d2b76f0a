"""Which rows and columns of which matrices are one head or one FFN neuron, and masks of units ↔ masks of weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from engine.config import ConfigError
from engine.criteria.arguments import shaped
from engine.model import ARCHITECTURES, Architecture, Matrix, blocks, matrices

if TYPE_CHECKING:
    from torch import BoolTensor, Tensor, nn

Key = tuple[str, int]  # (kind, layer)
KINDS = ("head", "neuron")
# What a kind owns: the maps whose rows and the map whose columns, and the unit it starts from.
HEAD_ROWS, HEAD_COLUMNS = ("query", "key", "value", "query_key_value"), ("attention_output",)
FFN_ROWS, FFN_COLUMNS = ("ffn_in",), ("ffn_out",)


@dataclass(frozen=True, slots=True)
class Group:
    """The units of one kind in one layer: `count` units of `width` rows (or columns) each in every place.

    `rows` and `columns` name matrices (O×I) and where unit 0 starts in them; GPT-2's fused query-key-value matrix has
    a head in three places. Kinds: `head`; `neuron`; `ffn`, one unit per layer, which is every neuron but the first
    (Super Tickets prunes whole FFN blocks, and M§2 keeps a neuron in every layer: the first).
    """

    layer: int
    kind: str
    count: int
    width: int
    rows: Mapping[str, tuple[int, ...]]
    columns: Mapping[str, tuple[int, ...]]

    @property
    def key(self) -> Key:
        """(kind, layer), under which masks and scores of the group stand."""
        return self.kind, self.layer

    @property
    def output(self) -> str:
        """The matrix that reads the units' outputs."""
        return next(iter(self.columns))

    def span(self, start: int) -> slice:
        """Rows or columns of all units in the place that starts at `start`."""
        return slice(start, start + self.count * self.width)

    def places(self) -> list[tuple[str, int, int]]:
        """(matrix, axis, start) of every place that the units own: axis 0 for rows, 1 for columns."""
        return [
            (name, axis, start)
            for axis, owned in enumerate((self.rows, self.columns))
            for name, starts in owned.items()
            for start in starts
        ]


def unit_groups(model: nn.Module, found: Sequence[Matrix] | None = None, kinds: Sequence[str] = KINDS) -> list[Group]:
    """Groups of heads and FFN neurons, block by block; also of a compacted model, whose layers differ.

    `found`: the matrices that may be pruned (all by default); a layer whose units they cover only in part is refused,
    as is a model type without a row in the architecture table, whose heads nobody knows.
    """
    row = ARCHITECTURES.get(model.config.model_type)
    if row is None:
        raise ConfigError(
            [f"method.granularity: structured needs an architecture whose heads are known ({', '.join(ARCHITECTURES)}); got {model.config.model_type}"]
        )  # fmt: skip
    by_layer: dict[int, dict[str, Matrix]] = {}
    for matrix in matrices(model) if found is None else found:
        by_layer.setdefault(matrix.layer, {})[matrix.kind] = matrix
    modules = blocks(model)
    groups = [
        _group(kind, layer, modules[layer], row, maps) for layer, maps in sorted(by_layer.items()) for kind in kinds
    ]
    return [group for group in groups if group is not None and group.width]


def _group(kind: str, layer: int, block: nn.Module, row: Architecture, maps: Mapping[str, Matrix]) -> Group | None:
    """The group of one kind in one block; None where its matrices are not among those to prune."""
    rows, columns = (HEAD_ROWS, HEAD_COLUMNS) if kind == "head" else (FFN_ROWS, FFN_COLUMNS)
    wanted = [name for name in (*rows, *columns) if name in row.maps]
    there = [name for name in wanted if name in maps]
    if not there:
        return None
    if there != wanted:
        raise ConfigError(
            [f"method.exclude: must take all or none of {', '.join(wanted)} of a layer, whose {kind}s are one thing; got {', '.join(there)} of layer {layer}"]
        )  # fmt: skip
    output = maps[columns[0]]
    size = output.weight_OI().shape[1]
    first = 1 if kind == "ffn" else 0
    width = _head_size(block, row) if kind == "head" else size - 1 if kind == "ffn" else 1
    count = 1 if kind == "ffn" else size // width
    starts = {
        maps[name].name: tuple(range(first, maps[name].weight_OI().shape[0], size)) for name in rows if name in maps
    }
    return Group(layer, kind, count, width, starts, {output.name: (first,)})


def _head_size(block: nn.Module, row: Architecture) -> int:
    return int(getattr(block.get_submodule(row.heads.module), row.heads.size))


def weight_masks(
    groups: Sequence[Group], masks: Mapping[Key, Tensor], shapes: Mapping[str, Sequence[int]]
) -> dict[str, BoolTensor]:
    """Masks of units → bool masks of weights, O×I, for every matrix of `shapes` (those without a unit keep all).

    `masks`: (kind, layer) → bool, one per unit, True = kept; a group without one keeps all.
    """
    import torch

    found = {name: torch.ones(tuple(shape), dtype=torch.bool) for name, shape in shapes.items()}
    for group in groups:
        if group.key not in masks:
            continue
        shaped(f"masks[{group.key}]", masks[group.key], (group.count,), "one value per unit,")
        keep = masks[group.key].cpu().bool().repeat_interleave(group.width)
        for name, axis, start in group.places():
            part = found[name].narrow(axis, start, len(keep))
            part &= keep[:, None] if axis == 0 else keep
    return found  # type: ignore[return-value]


def unit_masks(groups: Sequence[Group], masks: Mapping[str, Tensor]) -> dict[Key, BoolTensor]:
    """Masks of weights (O×I) → masks of units: a unit is gone when every weight that it owns is."""
    import torch

    found: dict[Key, BoolTensor] = {}
    for group in groups:
        left = torch.zeros(group.count, dtype=torch.bool)
        for name, axis, start in group.places():
            part = masks[name].cpu().narrow(axis, start, group.count * group.width)
            left |= part.any(1 - axis).view(group.count, group.width).any(1)
        found[group.key] = left  # type: ignore[assignment]
    return found


def units_left(groups: Sequence[Group], masks: Mapping[Key, Tensor]) -> pd.DataFrame:
    """Heads and neurons per layer, and how many are left: columns layer, heads, heads_left, neurons, neurons_left."""
    rows: dict[int, dict[str, int]] = {}
    for group in groups:
        left = int(masks[group.key].sum()) if group.key in masks else group.count
        rows.setdefault(group.layer, {"layer": group.layer}).update(
            {f"{group.kind}s": group.count, f"{group.kind}s_left": left}
        )
    return pd.DataFrame(list(rows.values()))
