"""The kinds of runs: the dense model, the dense model trained on, and an arm of any method (M§4.7).

An arm visits its levels in order. On an iterative path every level goes on from the one before, on an independent one
every level is a training of its own; in both, a cycle is the same loop, and what differs stands in its `Pruning` and its
`Guidance`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from engine.arm import Arm, Dense
from engine.guidance import Guidance
from engine.levels import write_level
from engine.masked import Masked
from engine.model import matrices
from engine.plan import Part, Plan, epochs_of, longest_arm
from engine.pruning import Pruning
from engine.trainer import Hooks, Progress, run_cycle, updates

if TYPE_CHECKING:
    from torch import nn

    from engine.context import Context

KEEP_BYTES = 2 * 10**9  # keep every level's weights while a run stays below this (DESIGN: store sizes)
OWN_DENSE = 0  # the cycle of a dense fine-tuning


def dense(context: Context) -> None:
    """Fine-tune the pretrained checkpoint on the source languages and keep the best by source validation."""
    bench = context.bench
    model = bench.pretrained(context.run.seed)
    epochs = bench.study.train.epochs
    context.total = max(1, updates(len(bench.train), bench.settings({}, epochs)))
    found = context.load()
    masked = Masked(matrices(model))
    if epochs:
        progress = found[1] if found else None
        _cycle(
            context,
            model,
            Pruning(masked),
            Guidance(Part("none", {})),
            OWN_DENSE,
            0.0,
            epochs_of(OWN_DENSE, epochs),
            progress,
            keep_best=True,
        )
    write_level(context, context.run.level(0.0), model, masked, None, updates_done=context.done_before, keep=True)


def dense_continued(context: Context) -> None:
    """Train the dense model on for as many cycles as the longest arm, at sparsity 0."""
    bench = context.bench
    dense_ = Dense.of(context)
    model = dense_.model(context)
    masked = Masked(matrices(model))
    epochs = bench.study.train.retrain_epochs
    cycles = longest_arm(bench.study) if epochs else 1
    per_cycle = updates(len(bench.train), bench.settings({}, epochs))
    context.total = max(1, cycles * per_cycle)
    start, progress = _resume(context, model)
    for number in range(start, cycles + 1):
        _cycle(
            context,
            model,
            Pruning(masked),
            Guidance(Part("none", {})),
            number,
            0.0,
            epochs_of(number, epochs),
            progress,
        )
        progress = None
        total = dense_.updates + number * per_cycle
        level = context.run.level(0.0, f"-u{total}")
        write_level(context, level, model, masked, dense_.reference, updates_done=total, keep=False)
        _boundary(context, model, number + 1)


def method(context: Context) -> None:
    """Visit the values of the arm's axis in order: prune, train, measure."""
    arm = Arm.of(context)
    plan, bench, device = arm.plan, context.bench, context.bench.handle.device
    courses = [plan.course(number, bench.study.train) for number in range(1, len(plan.values) + 1)]
    sizes = [updates(len(bench.train), bench.settings(arm.overrides, len(course))) for course in courses]
    per_level = updates(len(bench.train), bench.settings(arm.overrides, bench.study.train.retrain_epochs))
    context.total = max(1, sum(sizes) + arm.own_dense_updates)
    at, progress = context.load() or (OWN_DENSE if arm.own_dense_updates else 1, None)
    if at == OWN_DENSE:
        _fine_tune(arm, progress)
        at, progress = 1, None
    for number, value in enumerate(plan.values, start=1):
        if number < at:
            continue
        inner = progress if progress is not None and progress.step else None
        boundary = None if inner else progress
        progress = None
        arm.begin(number, boundary)
        context.beat(context.done_before, f"scoring for {plan.folders[number - 1]}", force=True)
        total = sizes[number - 1]
        pruning = arm.pruning(number, value, total, inner is not None)
        guidance = arm.guidance()
        if boundary is not None and plan.path == "iterative":
            guidance.load(boundary.part("guidance", device))
        guidance.cycle_begins(total, value if plan.axis == "levels" else 1.0, arm.target(number, value, total))
        _cycle(context, arm.model, pruning, guidance, number, value, courses[number - 1], inner, arm.overrides)
        guidance.cycle_done()
        arm.check(value)
        keep = value in plan.keep_weights if plan.keep_weights is not None else _room(arm.model, plan, number)
        spent = arm.dense.updates + number * per_level
        level = context.run.level_at(plan.axis, value)
        write_level(context, level, arm.model, arm.masked, arm.dense.reference, spent, keep, arm.dense.sizes)
        _boundary(context, arm.model, number + 1, pruning, guidance)


KINDS: dict[str, Callable[[Context], None]] = {"dense": dense, "dense_continued": dense_continued}


def _fine_tune(arm: Arm, progress: Progress | None) -> None:
    """Fine-tune as the study's dense run does, but under the objective, towards the pretrained weights (M§4.1)."""
    context, course = arm.context, epochs_of(OWN_DENSE, arm.context.bench.study.train.epochs)
    guidance = arm.begin_dense()
    pruning = Pruning(arm.masked)
    _cycle(context, arm.model, pruning, guidance, OWN_DENSE, 0.0, course, progress, arm.overrides, keep_best=True)
    _boundary(context, arm.model, 1)


def _cycle(
    context: Context, model: nn.Module, pruning: Pruning, guidance: Guidance, number: int, value: float, course: Sequence[tuple[int, int]],
    progress: Progress | None = None, overrides: dict[str, Any] | None = None, keep_best: bool = False,
) -> None:  # fmt: skip
    """Train one cycle through the epochs of `course`; `number` 0 is a dense fine-tuning, k the one that ends in level k."""
    bench, run = context.bench, context.run
    settings = bench.settings(overrides or {}, len(course))
    size = updates(len(bench.train), settings)

    hooks = Hooks(
        log=lambda kind, step, **facts: context.log(kind, step, **{"level": value, "cycle": number, **facts}),
        beat=lambda step, _: context.beat(context.done_before + step, f"training at {value:g}"),
        save=lambda state: context.save(state, number),
        score=lambda: bench.score(model, *bench.validation),
    )
    run.say(f"cycle {number}: {size} updates at {value:g}")
    run_cycle(
        model, bench.data.type, bench.train, settings, guidance, pruning, bench.handle, hooks, run.seed, course, progress, keep_best
    )  # fmt: skip
    context.done_before += size


def _boundary(
    context: Context, model: nn.Module, cycle: int, pruning: Pruning | None = None, guidance: Guidance | None = None
) -> None:
    """Checkpoint between cycles: weights and masks, and what an objective gathered; every cycle has a fresh optimiser."""
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    if pruning is not None:
        tensors |= {f"mask/{name}": mask_ for name, mask_ in (pruning.masked.masks_OI() or {}).items()}
    if guidance is not None:
        tensors |= {f"guidance/{name}": value for name, value in guidance.tensors().items()}
    context.save(Progress(0, tensors), cycle)


def _resume(context: Context, model: nn.Module) -> tuple[int, Progress | None]:
    """(cycle to go on with, its progress or None at a cycle's start); puts the checkpoint's weights into the model."""
    found = context.load()
    if found is None:
        return 1, None
    cycle, progress = found
    weights = {k.removeprefix("model/"): v for k, v in progress.tensors.items() if k.startswith("model/")}
    model.load_state_dict(weights)
    return cycle, progress if progress.step else None


def _room(model: nn.Module, plan: Plan, number: int) -> bool:
    """Keep every level's weights while all of them fit the limit, else those of the last level."""
    size = 4 * sum(parameter.numel() for parameter in model.parameters())
    return size * len(plan.values) <= KEEP_BYTES or number == len(plan.values)
