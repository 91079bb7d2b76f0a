"""What of a model can be pruned: its repeated blocks and their matrices, found by the table of architectures (M§1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from engine.config import ConfigError
from engine.model.architectures import ARCHITECTURES, Architecture

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Matrix:
    """One prunable weight matrix: its module's full name, block number, kind and orientation."""

    name: str
    module: nn.Module
    layer: int
    kind: str
    transposed: bool = False

    def weight_OI(self) -> Tensor:
        """The weight seen as outputs × inputs (a view)."""
        weight: Tensor = self.module.weight.detach()
        return weight.T if self.transposed else weight

    def orient(self, values: Tensor) -> Tensor:
        """From outputs × inputs to the module's own layout, or back."""
        return values.T if self.transposed else values


def blocks(model: nn.Module) -> list[nn.Module]:
    """The repeated blocks, first to last."""
    return list(_block_list(model)[1])


def _block_list(model: nn.Module) -> tuple[str, Any]:
    """(full name, ModuleList) of the repeated blocks: by the table, else the longest list that holds linear maps."""
    from torch import nn

    base = model.base_model
    prefix = next((name for name, module in model.named_modules() if module is base), "")
    kind = model.config.model_type
    if kind in ARCHITECTURES:
        path = ARCHITECTURES[kind].blocks
        return _join(prefix, path), base.get_submodule(path)
    lists = [
        (name, module)
        for name, module in base.named_modules()
        if isinstance(module, nn.ModuleList) and _linears(module)
    ]
    if not lists:
        raise ConfigError(
            [
                f"model.name: {kind} has no repeated blocks with linear maps; known architectures: {', '.join(ARCHITECTURES)}"
            ]
        )
    name, found = max(lists, key=lambda item: len(item[1]))
    return _join(prefix, name), found


def _linears(module: nn.Module) -> dict[str, nn.Module]:
    from torch import nn

    return {name: inner for name, inner in module.named_modules() if isinstance(inner, nn.Linear)}


def _join(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def matrices(model: nn.Module, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> list[Matrix]:
    """The prunable matrices in a fixed order (block by block); patterns as in file names match the full name.

    Raises ConfigError for a pattern that matches nothing and for a selection that leaves nothing.
    """
    prefix, found = _block_list(model)
    row = ARCHITECTURES.get(model.config.model_type)
    every = [
        matrix
        for number, block in enumerate(found)
        for matrix in _block_matrices(_join(prefix, str(number)), block, number, row)
    ]
    names = [matrix.name for matrix in every]
    for key, patterns in (("include", include), ("exclude", exclude)):
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ConfigError([f"method.{key}: must match a prunable matrix such as {names[0]}; got {pattern!r}"])
    kept = [
        matrix
        for matrix in every
        if (not include or any(fnmatchcase(matrix.name, pattern) for pattern in include))
        and not any(fnmatchcase(matrix.name, pattern) for pattern in exclude)
    ]
    if not kept:
        raise ConfigError(
            [f"method.exclude: must leave a matrix to prune; got include {list(include)}, exclude {list(exclude)}"]
        )
    return kept


def _block_matrices(prefix: str, block: nn.Module, number: int, row: Architecture | None) -> Iterator[Matrix]:
    if row is None:
        for name, module in _linears(block).items():
            yield Matrix(_join(prefix, name), module, number, name)
        return
    for kind, path in row.maps.items():
        yield Matrix(_join(prefix, path), block.get_submodule(path), number, kind, row.transposed)


def neighbours(model: nn.Module, found: Sequence[Matrix]) -> dict[str, tuple[Matrix | None, Matrix | None]]:
    """For each matrix the one that feeds it and the one that it feeds within its block (None: no neighbour)."""
    row = ARCHITECTURES.get(model.config.model_type)
    chains = row.chains if row else ()
    by_place = {(matrix.layer, matrix.kind): matrix for matrix in found}
    pairs: dict[str, tuple[Matrix | None, Matrix | None]] = {}
    for matrix in found:
        before = next((by_place.get((matrix.layer, first)) for first, second in chains if second == matrix.kind), None)
        after = next((by_place.get((matrix.layer, second)) for first, second in chains if first == matrix.kind), None)
        pairs[matrix.name] = (before, after)
    return pairs


def patterns_to_names(patterns: Mapping[str, float] | None, names: Sequence[str], key: str) -> dict[str, float] | None:
    """Spell out floors or ceilings given by pattern; a later pattern wins, one that matches nothing is an error."""
    if not patterns:
        return None
    spelled: dict[str, float] = {}
    for pattern, value in patterns.items():
        hits = [name for name in names if fnmatchcase(name, pattern)]
        if not hits:
            raise ConfigError([f"method.{key}: must match a prunable matrix such as {names[0]}; got {pattern!r}"])
        spelled |= dict.fromkeys(hits, float(value))
    return spelled
