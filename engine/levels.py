"""A finished level → its folder: predictions, activations, weights, sizes. `size.json` comes last (M§6, run folder)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from engine import evaluate, extract, processes
from engine.masked import Masked
from engine.model import ARCHITECTURES, matrices
from engine.probing import means, probing_items
from engine.record import Level
from engine.size import compacted, latency_ms, size
from engine.structured import shape_of, unit_groups
from engine.weights import heads, summary

if TYPE_CHECKING:
    from torch import nn

    from engine.context import Context


def write_level(
    context: Context,
    level: Level,
    model: nn.Module,
    masked: Masked,
    reference: dict[str, np.ndarray] | None,
    updates_done: int,
    keep: bool,
    dense: dict[str, Any] | None = None,
) -> None:
    """Everything that is measured on a finished level; `size.json` last.

    `reference` and `dense` are the dense model's matrices and sizes, which cosines and sparsities refer to.
    """
    bench = context.bench
    context.beat(context.done_before, f"evaluating {level.path.name}", force=True)
    arrays = masked.arrays()
    removed = sum(int(array.size - array.sum()) for array in arrays.values())
    facts = size(model, matrices(model), removed, dense)
    facts |= {"updates": updates_done, "requested_sparsity": level.sparsity if level.asked else None}
    frame, encoded = bench.test
    scored = evaluate.score(model, bench.data.type, frame, encoded, bench.data.labels, bench.handle)
    rows, details = evaluate.predictions(scored, frame)
    level.write_frame("predictions", rows)
    level.write_frame("details", details)
    _log_scores(context, level.sparsity if level.asked else facts["sparsity_prunable"], rows)
    _write_activations(context, level, model)
    if bench.study.probing.tasks:
        _write_probing(context, level, model, first=reference is None)
    if arrays:
        level.write_masks(arrays)
    _write_weights(level, model, masked, reference)
    if keep:
        level.write_arrays(
            "weights", {name: value.detach().cpu().numpy() for name, value in model.state_dict().items()}
        )
    if processes.main():  # alone, so that nothing else is timed
        facts["latency_ms_batch32"] = latency_ms(model, encoded, bench.handle)
        facts |= _smaller(context, model, facts, dense)
    facts |= {
        "bytes_weights": level_bytes(level, "weights.safetensors"),
        "bytes_masks": level_bytes(level, "masks.safetensors"),
    }
    level.write_size(facts)
    context.run.say(f"level {level.path.name}: measured sparsity {facts['sparsity_prunable']:.4f}")


def _write_probing(context: Context, level: Level, model: nn.Module, first: bool) -> None:
    """What the encoder is still good for (M§6.10); beside the dense model's, what the checkpoint was good for."""
    bench = context.bench
    if first:
        level.write_frame("probing_pretrained", probing_items(bench, bench.pretrained(context.run.seed)))
    items = probing_items(bench, model)
    level.write_frame("probing_items", items)
    level.write_frame("probing", means(items))


def _write_weights(level: Level, model: nn.Module, masked: Masked, reference: dict[str, np.ndarray] | None) -> None:
    """What pruning did to each matrix it could reach, and to each attention head where the architecture's are known."""
    weights = {matrix.name: (matrix, matrix.weight_OI().float().cpu().numpy()) for matrix in matrices(model)}
    reached = {matrix.name: weights[matrix.name] for matrix in masked.matrices}
    level.write_frame("weights", summary(reached, reference))
    if model.config.model_type in ARCHITECTURES:
        level.write_frame("heads", heads(unit_groups(model, kinds=("head",)), weights, reference))


def _smaller(context: Context, model: nn.Module, facts: dict[str, Any], dense: dict[str, Any] | None) -> dict[str, Any]:
    """The shape of a student, which its weights need to be loaded; size and speed of a structured level cut down."""
    plan, bench = context.job.plan, context.bench
    if dense and facts["prunable_parameters"] < dense["prunable_parameters"]:
        return {"shape": shape_of(model)}
    if plan is None or not plan.kinds:
        return {}
    return compacted(model, matrices(model), bench.test[1], bench.handle)


def level_bytes(level: Level, name: str) -> int:
    """Bytes of a file of a level, 0 where it is not kept."""
    return (level.path / name).stat().st_size if level.has(name) else 0


def _log_scores(context: Context, sparsity: float, rows: pd.DataFrame) -> None:
    """One line per language and split, for the live curves."""
    for (split, language), group in rows.groupby(["split", "language"], sort=False):
        context.log(
            "evaluation",
            0,
            level=sparsity,
            split=split,
            language=language,
            value=evaluate.value(context.bench.data.type, group["stats"]),
            n=len(group),
        )


def _write_activations(context: Context, level: Level, model: nn.Module) -> None:
    bench = context.bench
    frame, encoded = bench.probe
    poolings = tuple(dict.fromkeys(("mean", bench.data.type.pooling)))
    found, cut = extract.activations(model, bench.data.type, encoded, poolings, bench.handle)
    if cut:
        context.run.say(f"{cut} activations of level {level.path.name} were cut at the half-precision limit")
    level.write_frame("probe", frame)
    level.write_arrays("activations", extract.by_language(found, frame))
