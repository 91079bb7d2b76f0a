"""What a study will cost: updates, hours, memory and disk, from its sizes and a short measurement on this machine.

The measurement times a few real training steps and one evaluation batch of the real model on the real data, because
arithmetic alone is wrong by factors on processors that differ in their matrix units. Memory and disk are counted.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.arms import KEEP_BYTES
from engine.config import Study
from engine.model import blocks, inputs, matrices
from engine.plan import Plan, longest_arm, plans
from engine.restore import chosen, mixtures
from engine.runner import jobs
from engine.trainer import learning_cost, updates
from engine.workbench import Workbench

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

STEPS = 3
ROW_BYTES = 120  # one prediction with its details, compressed, seen on the bundled study


@dataclass(frozen=True)
class Estimate:
    """The cost of a study. Seconds cover training and evaluation, not the derived measures."""

    runs: int
    updates: int
    seconds: float
    memory_bytes: int
    disk_bytes: int
    parameters: int
    prunable: int
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """As JSON-like values."""
        return asdict(self)


def estimate(study: Study, store: Path) -> Estimate:
    """Measure and count; raises ConfigError where the study's data or model cannot be loaded."""
    bench = Workbench.open(study)
    bench.verify([job.plan for job in jobs(study, store) if job.plan and job.run.seed == study.study.seeds[0]])
    model = bench.pretrained(study.study.seeds[0])
    step, item = _measure(model, bench)
    total, evaluations = _work(study, bench, store)
    test_rows = len(bench.test[1])
    parameters = sum(parameter.numel() for parameter in model.parameters())
    prunable = sum(matrix.module.weight.numel() for matrix in matrices(model))
    probe_rows = len(bench.probe[1])
    restored = _restored(study, bench, model, parameters)
    seconds = total * step + (evaluations * (test_rows + 3 * probe_rows) + restored) * item
    notes = (f"restoration takes about {restored * item / 60:.1f} min of this",) if restored else ()
    return Estimate(
        runs=len(jobs(study, store)),
        updates=total,
        seconds=seconds,
        memory_bytes=_memory(model, bench, parameters),
        disk_bytes=_disk(study, model, bench, parameters, prunable, evaluations, test_rows, probe_rows),
        parameters=parameters,
        prunable=prunable,
        notes=(*bench.data.notes, *notes),
    )


def _measure(model: nn.Module, bench: Workbench) -> tuple[float, float]:
    """(seconds per update, seconds per evaluated example), medians over a few after one to warm up."""
    import torch

    settings = bench.settings({}, 1)
    generator = np.random.default_rng(0)
    count = min(settings.batch_size, len(bench.train))
    times = []
    for _ in range(STEPS + 1):
        rows = generator.choice(len(bench.train), count, replace=False)
        times.append(learning_cost(model, bench.data.type, bench.train, rows, settings, bench.handle))
    rows = generator.choice(len(bench.test[1]), min(256, len(bench.test[1])), replace=False)
    started = time.perf_counter()
    with torch.no_grad(), bench.handle.autocast():
        model.eval()(**inputs(bench.test[1].batch(rows, bench.handle.device)))
    return float(np.median(times[1:])), (time.perf_counter() - started) / len(rows)


def _work(study: Study, bench: Workbench, store: Path) -> tuple[int, int]:
    """(updates, evaluated levels) of all runs."""
    train, examples = study.train, len(bench.train)
    epochs = train.epochs + longest_arm(study) * train.retrain_epochs
    levels = 1 + longest_arm(study)
    for _, plan in plans(study):
        epochs += sum(plan.epochs(number, train) for number in range(1, len(plan.values) + 1))
        epochs += train.epochs if plan.objective.parameters.get("before_mask") else 0
        levels += len(plan.values)
    total = updates(examples, bench.settings({}, epochs))
    return total * len(study.study.seeds), levels * len(study.study.seeds)


def _restored(study: Study, bench: Workbench, model: nn.Module, parameters: int) -> int:
    """Examples that the restorations of all runs evaluate (M§6.6)."""
    asked = study.restoration
    if asked.levels == "none":
        return 0
    kept = [_kept_levels(plan, parameters) for _, plan in plans(study) if plan.axis != "sizes"]
    levels = sum(kept) if asked.levels == "all" else sum(min(1, count) for count in kept)
    seeds = len(study.study.seeds) if asked.seeds == "all" else 1
    return levels * seeds * mixtures(model) * len(chosen(bench.test[0], bench.data.parallel, asked.items))


def _memory(model: nn.Module, bench: Workbench, parameters: int) -> int:
    """Weights, gradients and two moments in float32, one mask copy, and the activations of one training batch."""
    config = model.config
    tokens = bench.study.train.batch_size * float(np.percentile(bench.train.lengths(), 90))
    activations = tokens * config.hidden_size * 34 * len(blocks(model)) * 4
    return int(4 * parameters * 5 + activations)


def _disk(
    study: Study,
    model: nn.Module,
    bench: Workbench,
    parameters: int,
    prunable: int,
    levels: int,
    test_rows: int,
    probe_rows: int,
) -> int:
    """Bytes of all run folders: weights that are kept, masks, activations in half precision, rows."""
    states = probe_rows * (len(blocks(model)) + 1) * model.config.hidden_size * 2 * 2
    kept = sum(_kept_levels(plan, parameters) for _, plan in plans(study)) + 1
    weights = 4 * parameters * kept * len(study.study.seeds)
    return int(levels * (states + prunable / 8 + test_rows * ROW_BYTES) + weights + 16 * parameters)


def _kept_levels(plan: Plan, parameters: int) -> int:
    if plan.keep_weights is not None:
        return len(plan.keep_weights)
    return len(plan.values) if 4 * parameters * len(plan.values) <= KEEP_BYTES else 1
