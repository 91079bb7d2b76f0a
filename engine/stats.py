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

from engine.device import dropout_off
from engine.model import Matrix, neighbours
from engine.model import matrices as every_matrix

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from engine.data import Encoded
    from engine.tasks.types import TaskType

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

    squares: dict[str, Tensor] = {}
    batches = [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    with (
        dropout_off(model),
        _input_squares(matrices, squares, "input_norm" in needs) as mask,
        torch.set_grad_enabled(bool(needs & GRADIENTS)),
    ):
        for part in batches:
            batch = encoded.batch(part, device)
            mask.append(batch["attention_mask"])
            logits = kind.logits(model, batch)
            if needs & GRADIENTS:
                model.zero_grad(set_to_none=True)
                kind.loss(logits, batch).backward()
                _add_gradients(matrices, needs, found, len(batches))
    model.zero_grad(set_to_none=True)
    for name, total in squares.items():
        found[name]["input_norm"] = total.sqrt()


def _add_gradients(
    matrices: Sequence[Matrix], needs: frozenset[str], found: dict[str, dict[str, Any]], batches: int
) -> None:
    for matrix in matrices:
        grad = matrix.orient(matrix.module.weight.grad).float()
        if "grad" in needs:
            found[matrix.name]["grad"] = found[matrix.name].get("grad", 0) + grad
        if "grad_sq" in needs:
            found[matrix.name]["grad_sq"] = found[matrix.name].get("grad_sq", 0) + grad**2 / batches


@contextmanager
def _input_squares(matrices: Sequence[Matrix], squares: dict[str, Tensor], wanted: bool) -> Iterator[list[Tensor]]:
    """Add up squared inputs of every matrix over real tokens; the caller appends each batch's attention mask."""
    current: list[Tensor] = []

    def hook(name: str) -> Any:
        def add(module: nn.Module, args: tuple[Any, ...]) -> None:
            hidden = args[0].detach().float()
            real = current[-1].to(hidden.dtype)
            tokens = hidden.reshape(-1, hidden.shape[-1])
            if real.numel() == len(tokens):
                tokens = tokens * real.reshape(-1, 1)
            squares[name] = squares.get(name, 0) + (tokens**2).sum(0)

        return add

    handles = [matrix.module.register_forward_pre_hook(hook(matrix.name)) for matrix in matrices] if wanted else []
    try:
        yield current
    finally:
        for handle in handles:
            handle.remove()
