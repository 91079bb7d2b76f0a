"""Collects what criteria need to know about weights: gradients and input norms on calibration text (M§3).

Accumulators are float32 and see float32 passes; padding is left out; the model is in eval mode, and hooks and gradients
are gone afterwards. Only what a criterion says it needs is collected.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from engine import processes
from engine.device import dropout_off
from engine.model import Matrix, neighbours
from engine.model import matrices as every_matrix

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from engine.data import Encoded
    from engine.registry import Entry
    from engine.structured.units import Group
    from engine.tasks.types import TaskType

Key = tuple[str, int]  # (kind, layer) of a group of units

GRADIENTS = frozenset({"grad", "grad_sq"})
COLLECTED = GRADIENTS | {"input_norm"}
BATCH = 16


def calibration_rows(
    frame: pd.DataFrame, lengths: np.ndarray, order: np.ndarray, examples: int, equalise: str
) -> np.ndarray:
    """Rows of `frame` (with a `language` column) to calibrate on, the same share for every language.

    `examples` gives each language as many examples; `tokens` as many tokens: the budget is the mean length times
    its share of examples, because equal sentence counts would favour languages that need more tokens per word.
    `order` is the order in which rows are taken.
    """
    codes = list(dict.fromkeys(frame["language"]))
    share = max(1, round(examples / len(codes)))
    means = [lengths[(frame["language"] == code).to_numpy()].mean() for code in codes]
    budget = share * float(np.mean(means))
    chosen: list[np.ndarray] = []
    for code in codes:
        rows = order[(frame["language"].to_numpy() == code)[order]]
        count = (
            share if equalise == "examples" else int(np.searchsorted(np.cumsum(lengths[rows]), budget, side="right"))
        )
        chosen.append(rows[: max(1, count)])
    return np.concatenate(chosen)


def collect(
    model: nn.Module,
    kind: TaskType,
    matrices: Sequence[Matrix],
    needs: frozenset[str],
    encoded: Encoded,
    rows: np.ndarray,
    device: torch.device,
) -> dict[str, dict[str, Any]]:
    """Statistics per matrix name, seen as outputs × inputs: `grad` (sum over batches), `grad_sq` (mean over batches of the
    squared batch gradient), `input_norm` (L2 norm of every input over non-padding tokens), `neighbours` (see `engine.criteria`)."""
    found: dict[str, dict[str, Any]] = {matrix.name: {} for matrix in matrices}
    if "neighbours" in needs:
        for name, (before, after) in neighbours(model, every_matrix(model)).items():
            if name not in found:
                continue
            found[name]["neighbours"] = (before and before.weight_OI(), after and after.weight_OI())
    if needs & COLLECTED:
        _passes(model, kind, matrices, needs, encoded, rows, device, found)
    return found


def _passes(
    model: nn.Module, kind: TaskType, matrices: Sequence[Matrix], needs: frozenset[str], encoded: Encoded, rows: np.ndarray,
    device: torch.device, found: dict[str, dict[str, Any]],
) -> None:  # fmt: skip
    import torch

    for matrix in matrices:
        weight = matrix.weight_OI().detach()
        shapes = {"grad": weight, "grad_sq": weight, "input_norm": weight[0]}
        found[matrix.name] |= {
            key: torch.zeros_like(shapes[key], dtype=torch.float32) for key in sorted(needs & COLLECTED)
        }
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]

    def own() -> None:
        with (
            dropout_off(model),
            _input_squares(matrices, found, "input_norm" in needs) as mask,
            torch.set_grad_enabled(bool(needs & GRADIENTS)),
        ):
            for part in processes.dealt(batches):
                batch = encoded.batch(part, device)
                mask.append(batch["attention_mask"])
                logits = kind.logits(model, batch)
                if needs & GRADIENTS:
                    model.zero_grad(set_to_none=True)
                    kind.loss(logits, batch).backward()
                    _add_gradients(matrices, needs, found, len(batches))
        model.zero_grad(set_to_none=True)

    processes.in_step(own)
    processes.add_up([found[matrix.name][key] for matrix in matrices for key in sorted(needs & COLLECTED)])
    for facts in found.values():
        if "input_norm" in facts:
            facts["input_norm"] = facts["input_norm"].sqrt()


def _add_gradients(
    matrices: Sequence[Matrix], needs: frozenset[str], found: dict[str, dict[str, Any]], batches: int
) -> None:
    for matrix in matrices:
        grad = matrix.orient(matrix.module.weight.grad).float()
        if "grad" in needs:
            found[matrix.name]["grad"] += grad
        if "grad_sq" in needs:
            found[matrix.name]["grad_sq"] += grad**2 / batches


@contextmanager
def _input_squares(
    matrices: Sequence[Matrix], found: dict[str, dict[str, Any]], wanted: bool
) -> Iterator[list[Tensor]]:
    """Add up squared inputs of every matrix over real tokens, as `input_norm`; the caller appends each batch's attention mask."""
    current: list[Tensor] = []

    def hook(name: str) -> Any:
        def add(module: nn.Module, args: tuple[Any, ...]) -> None:
            hidden = args[0].detach().float()
            real = current[-1].to(hidden.dtype)
            tokens = hidden.reshape(-1, hidden.shape[-1])
            if real.numel() == len(tokens):
                tokens = tokens * real.reshape(-1, 1)
            found[name]["input_norm"] += (tokens**2).sum(0)

        return add

    handles = [matrix.module.register_forward_pre_hook(hook(matrix.name)) for matrix in matrices] if wanted else []
    try:
        yield current
    finally:
        for handle in handles:
            handle.remove()


# -- units: heads and FFN neurons ------------------------------------------------------------------------------------


def unit_scores(
    model: nn.Module, kind: TaskType, groups: Sequence[Group], criterion: Entry, encoded: Encoded, rows: np.ndarray,
    device: torch.device,
) -> dict[Key, Tensor]:  # fmt: skip
    """Scores of heads, neurons or FFN blocks, per (kind, layer), by a criterion of granularity "structured" (M§3).

    What the criterion needs: `mask_grad`, the gradient of each batch's mean loss in a mask variable ξ = 1 on every
    unit's output (which is Σ_t ⟨∂L/∂o_t, o_t⟩), one row per batch; or `unit_outputs`, outputs, gradients and which
    tokens are real, batch by batch, scores being added up. The latter's losses are summed over examples, so that
    batches of any size add up to the same. Dropout is off and padding left out; no parameter's gradient is touched.
    """
    import torch

    batches = list(enumerate(rows[start : start + BATCH] for start in range(0, len(rows), BATCH)))
    found = {group.key: torch.zeros(len(batches), group.count, device=device) for group in groups}
    by_batch = "mask_grad" in criterion.needs
    function = criterion.function
    assert function is not None

    def own() -> None:
        with dropout_off(model), torch.enable_grad(), _unit_outputs(model, groups) as seen:
            for number, part in processes.dealt(batches):
                batch = encoded.batch(part, device)
                loss = kind.loss(kind.logits(model, batch), batch)
                names = list(seen)
                scale = 1 if by_batch else len(batch["counts"])
                grads = dict(zip(names, torch.autograd.grad(loss * scale, [seen[name] for name in names]), strict=True))
                valid = batch["attention_mask"].bool().reshape(-1)
                for group in groups:
                    outputs, gradients = (_by_unit(values[group.output], group) for values in (seen, grads))
                    collect = _mask_grad if by_batch else function
                    found[group.key][number] = collect(outputs, gradients, valid)
                seen.clear()

    processes.in_step(own)
    processes.add_up(list(found.values()))
    return {key: function(parts) if by_batch else sum(parts) for key, parts in found.items()}  # type: ignore[misc]


def _by_unit(hidden: Tensor, group: Group) -> Tensor:
    """What a group's units put out: B×T×inputs of the projection that reads them → tokens × units × width, float32."""
    start = group.columns[group.output][0]
    part = hidden.detach()[..., group.span(start)].float()
    return part.reshape(-1, group.count, group.width)


def _mask_grad(outputs: Tensor, grads: Tensor, valid: Tensor) -> Tensor:
    return (outputs * grads)[valid].sum((0, 2))


@contextmanager
def _unit_outputs(model: nn.Module, groups: Sequence[Group]) -> Iterator[dict[str, Tensor]]:
    """The inputs of the projections that read the units, by name, of the forward pass since the last `clear`."""
    seen: dict[str, Tensor] = {}

    def hook(name: str) -> Any:
        def take(module: nn.Module, args: tuple[Any, ...]) -> None:
            if name in seen:
                raise ValueError(
                    f"model: must read each unit once per pass; {name} ran twice (chunk_size_feed_forward)"
                )
            # A frozen model's states ask for no gradient of their own; from the first unit on they do.
            seen[name] = args[0] if args[0].requires_grad else args[0].requires_grad_()

        return take

    names = dict.fromkeys(group.output for group in groups)
    handles = [model.get_submodule(name).register_forward_pre_hook(hook(name)) for name in names]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
