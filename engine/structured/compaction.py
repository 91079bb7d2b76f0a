"""A model without the units that masks removed: smaller dense matrices, the same logits (M§2).

transformers 5 has neither `prune_heads` nor a working head mask, so the matrices are cut here and the attention
modules told their new numbers by the architecture table. Layers may differ in heads and neurons.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.model import ARCHITECTURES, blocks, matrices
from engine.structured.units import Group, Key, unit_groups

if TYPE_CHECKING:
    from torch import Tensor, nn

PLACED = ("layer_idx", "scaling")  # what a block's modules know about their place in the model


def compact(model: nn.Module, masks: Mapping[Key, Tensor]) -> nn.Module:
    """A physically smaller deep copy without the units that `masks` removes, in the model's own mode.

    Its logits equal those of the model with `weight_masks(…)` applied, to float32's rounding, whether or not the
    masks were applied before. `masks`: (kind, layer) → bool per unit; what is not named stays. Something of every
    kind must stay in every layer.
    """
    return cut(copy.deepcopy(model), masks)


def shape_of(model: nn.Module) -> dict[str, Any]:
    """What the stock configuration cannot say about a compacted or shrunken model; plain values, for JSON."""
    groups = unit_groups(model)
    return {
        "architecture": model.config.model_type,
        "class": type(model).__name__,
        "blocks": dense_blocks(model),
        **{f"{kind}s": [group.count for group in groups if group.kind == kind] for kind in ("head", "neuron")},
    }


def dense_blocks(model: nn.Module) -> list[int]:
    """For every block the number of the dense model's block that it came from."""
    return list(getattr(model.config, "dense_blocks", range(len(blocks(model)))))


def reshape(model: nn.Module, shape: Mapping[str, Any]) -> nn.Module:
    """A copy of the dense model cut to what `shape_of` said, ready for the state dict of the model it described.

    The weights are whatever stood first in the dense model: they are meant to be overwritten.
    """
    return fit(keep_blocks(copy.deepcopy(model), shape["blocks"]), shape)


def fit(model: nn.Module, shape: Mapping[str, Any]) -> nn.Module:
    """Cut a model that has the right blocks, in place, to so many heads and neurons per block."""
    import torch

    masks = {
        group.key: torch.arange(group.count) < shape[f"{group.kind}s"][group.layer] for group in unit_groups(model)
    }
    return cut(model, masks)


def keep_blocks(model: nn.Module, kept: Sequence[int]) -> nn.Module:
    """Drop all but these blocks, in place; each takes its new place's number and scaling, and the configuration follows.

    The configuration also remembers where the blocks came from (`dense_blocks`).
    """
    from torch import nn

    every, origin = blocks(model), dense_blocks(model)
    placed = [_placed(every[place]) for place in range(len(kept))]
    for number, place in zip(kept, placed, strict=True):
        for module, values in zip(every[number].modules(), place, strict=True):
            module.__dict__.update(values)
    *parents, last = ARCHITECTURES[model.config.model_type].blocks.split(".")
    setattr(model.base_model.get_submodule(".".join(parents)), last, nn.ModuleList([every[number] for number in kept]))
    configs = {id(module.config): module.config for module in model.modules() if hasattr(module, "config")}
    for config in configs.values():
        config.num_hidden_layers = len(kept)
        config.dense_blocks = [origin[number] for number in kept]
    return model


def _placed(block: nn.Module) -> list[dict[str, Any]]:
    return [{name: module.__dict__[name] for name in PLACED if name in module.__dict__} for module in block.modules()]


def cut(model: nn.Module, masks: Mapping[Key, Tensor]) -> nn.Module:
    """Remove units in place."""
    groups = _checked(unit_groups(model, kinds=list(dict.fromkeys(kind for kind, _ in masks))), masks)
    keep = {matrix.name: _everything(matrix.weight_OI()) for matrix in matrices(model)}
    for group in groups:
        units = masks[group.key].cpu().bool().repeat_interleave(group.width)
        for name, axis, start in group.places():
            keep[name][axis][group.span(start)] &= units
    for matrix in matrices(model):
        _cut_linear(matrix.module, *keep[matrix.name], transposed=matrix.transposed)
    for group in groups:
        if group.kind == "head":
            _tell_heads(model, group, masks[group.key].cpu().bool())
    return model


def _checked(groups: Sequence[Group], masks: Mapping[Key, Tensor]) -> list[Group]:
    by_key = {group.key: group for group in groups}
    for key, units in masks.items():
        if key not in by_key:
            raise ValueError(f"masks: must be of units that the model has; got {key}")
        if tuple(units.shape) != (by_key[key].count,):
            raise ValueError(
                f"masks[{key}]: must have one value for each of {by_key[key].count} units; got {tuple(units.shape)}"
            )
        if key[0] != "ffn" and not units.any():
            raise ValueError(f"masks[{key}]: must keep a unit in every layer; got none")
    return [by_key[key] for key in masks]


def _everything(weight_OI: Tensor) -> tuple[Tensor, Tensor]:
    import torch

    outputs, inputs = weight_OI.shape
    return torch.ones(outputs, dtype=torch.bool), torch.ones(inputs, dtype=torch.bool)


def _cut_linear(module: nn.Module, rows: Tensor, columns: Tensor, transposed: bool = False) -> None:
    """Keep these outputs and inputs of a linear map (Conv1D: `transposed`), its bias and its own two numbers."""
    from torch import nn

    if rows.all() and columns.all():
        return
    first, second = (columns, rows) if transposed else (rows, columns)
    weight = module.weight
    rows_there, device = rows.to(weight.device), weight.device
    kept = weight.detach()[first.to(device)][:, second.to(device)].contiguous()
    module.weight = nn.Parameter(kept, requires_grad=weight.requires_grad)
    if module.bias is not None:
        module.bias = nn.Parameter(module.bias.detach()[rows_there].clone(), requires_grad=module.bias.requires_grad)
    for name, size in zip(
        ("nf", "nx") if transposed else ("out_features", "in_features"), (rows, columns), strict=True
    ):
        setattr(module, name, int(size.sum()))


def _tell_heads(model: nn.Module, group: Group, units: Tensor) -> None:
    """Cut what else has rows of heads, and set the attributes that count them."""
    heads = ARCHITECTURES[model.config.model_type].heads
    block = blocks(model)[group.layer]
    modules = dict(block.named_modules())
    for path in heads.further:
        if path in modules:
            _, inputs = _everything(modules[path].weight)
            _cut_linear(modules[path], units.repeat_interleave(group.width), inputs)
    left = int(units.sum())
    for name in heads.counts:
        setattr(modules[heads.module], name, left)
    for name in heads.widths:
        setattr(modules[heads.module], name, left * group.width)
