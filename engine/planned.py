"""What a study will cost where its model and data cannot be read: arithmetic on published sizes, for one GPU.

`python -m engine check` falls back on it for the ready studies, so that somebody without the hub sees what they ask
for. It knows the models and sets that these name; of anything else it says so.
"""

from __future__ import annotations

from typing import NamedTuple

from engine.checks import languages_of
from engine.config import ConfigError, Study
from engine.plan import longest_arm, plans
from engine.tasks import TASKS
from engine.tasks.sizes import SIZES

# Two assumptions about one current GPU in bf16, not measurements: operations per second on batches of this size, and
# seconds that an update takes whatever its batch (kernel launches of twelve blocks and the optimiser's pass).
FLOPS, UPDATE = 5e13, 0.04
PASS, STEP = 2, 6  # operations per weight and token of a forward pass, and with its backward pass
ROW_BYTES, STATE_BYTES = 120, 2
POOLINGS = 2
MAPS = 6  # kinds of prunable maps per block


class Shape(NamedTuple):
    """Blocks, width, parameters, prunable parameters, and weights that every token is multiplied with."""

    layers: int
    width: int
    parameters: int
    prunable: int
    active: int


BASE = 84_934_656  # twelve blocks of width 768: the prunable weights of all three
SHAPES = {
    "FacebookAI/xlm-roberta-base": Shape(12, 768, 278_000_000, BASE, BASE),
    "google-bert/bert-base-uncased": Shape(12, 768, 109_500_000, BASE, BASE),
    "openai-community/gpt2": Shape(12, 768, 124_400_000, BASE, BASE + 50_257 * 768),
}


class Planned(NamedTuple):
    """The cost of a study, from published sizes."""

    runs: int
    updates: int
    seconds: float
    memory_bytes: int
    disk_bytes: int
    parameters: int
    prunable: int


def unreachable(error: ConfigError) -> bool:
    """Do all problems say that something could not be fetched (and none that the study is wrong)?"""
    return all("on an offline machine" in line for line in error.problems)


def planned(study: Study) -> Planned | None:
    """The cost of a study whose set and model are known by name, else None."""
    shape, size = SHAPES.get(study.model.name), SIZES.get(study.task.name)
    if shape is None or size is None:
        return None
    train, task, found = study.train, study.task, plans(study)
    examples, rows = _capped(study, "train", size.train), _capped(study, "test", size.test)
    tokens = min(size.tokens, task.max_length)
    languages = len(languages_of(task)[1] or TASKS[task.name].languages)
    epochs = train.epochs + longest_arm(study) * train.retrain_epochs
    epochs += sum(plan.epochs(number, train) for _, plan in found for number in range(1, len(plan.values) + 1))
    seeds, levels = len(study.study.seeds), 1 + longest_arm(study) + sum(len(plan.values) for _, plan in found)
    updates = epochs * -(-examples // train.batch_size)
    passes = levels * (rows + 3 * study.probe.examples) * languages
    passes += _restored(study, shape, rows) * languages / seeds
    work = shape.active * tokens * (STEP * epochs * examples + PASS * passes)
    batch = train.batch_size * tokens * shape.width * 34 * shape.layers * 4
    states = study.probe.examples * languages * (shape.layers + 1) * shape.width * STATE_BYTES * POOLINGS
    stored = levels * (states + shape.prunable // 8 + rows * languages * ROW_BYTES)
    weights = 4 * shape.parameters * (1 + len(found))
    return Planned(
        runs=(2 + len(found)) * seeds,
        updates=updates * seeds,
        seconds=seeds * (work / FLOPS + updates * UPDATE),
        memory_bytes=20 * shape.parameters + batch,
        disk_bytes=(stored + weights) * seeds,
        parameters=shape.parameters,
        prunable=shape.prunable,
    )


def _restored(study: Study, shape: Shape, rows: int) -> int:
    """Examples per language that the restorations of all seeds evaluate; of models this large one level keeps its weights."""
    asked = study.restoration
    if asked.levels == "none":
        return 0
    kept = [
        1 if plan.keep_weights is None else len(plan.keep_weights) for _, plan in plans(study) if plan.axis != "sizes"
    ]
    levels = sum(kept) if asked.levels == "all" else sum(min(1, count) for count in kept)
    seeds = len(study.study.seeds) if asked.seeds == "all" else 1
    return levels * seeds * (2 + 2 * (shape.layers + 1 + MAPS + 1)) * min(rows, asked.items)


def _capped(study: Study, split: str, count: int) -> int:
    limit = study.task.limits.get(split)  # type: ignore[call-overload]
    return min(count, limit) if limit else count
