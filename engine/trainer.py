"""The training loop: one cycle of updates, top to bottom, with a single fenced step.

A cycle is the dense fine-tuning or the retraining after one level (M§4.7). Everything random is reseeded every epoch
from (seed, cycle, epoch, purpose), so that a resumed run repeats the uninterrupted one bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.data import Encoded, training_batches
from engine.device import reseed, seed_of
from engine.masked import Masked
from engine.model import states
from engine.objectives import OBJECTIVES
from engine.recipes import Part
from engine.tasks.batches import Blocks, one_each, thinned

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from torch import Tensor, nn

    from engine.tasks.types import TaskType

VALIDATION_CAP = 500


class RunError(RuntimeError):
    """A run that cannot go on, with the step and the setting to change."""


@dataclass(frozen=True)
class Settings:
    """What one cycle trains with: plain values, no configuration objects."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup: float
    clip: float
    evaluations: int
    checkpoint_minutes: float


@dataclass
class Progress:
    """Where a cycle stands, as a checkpoint holds it: updates done, optimiser moments, generators, best weights."""

    step: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Hooks:
    """What the loop calls out to. `log(kind, step, **facts)`, `beat(step, total)`, `save(progress)`, `score()`."""

    log: Callable[..., None]
    beat: Callable[[int, int], None]
    save: Callable[[Progress], None]
    score: Callable[[], float]


class Teacher:
    """Outputs of the frozen dense model for every training example: logits and pooled last states.

    They are computed once in eval mode, because the teacher never changes and sees no dropout; a live teacher would
    cost a third of every step.
    """

    def __init__(self, logits: Blocks, states: Blocks) -> None:
        self.logits, self.states = logits, states

    @classmethod
    def of(cls, model: nn.Module, encoded: Encoded, kind: TaskType, handle: Accelerator) -> Teacher:
        """Run the model over all examples once."""
        import torch

        from engine.data import evaluation_batches

        if not len(encoded):
            raise RunError("train: must have at least one example for the teacher; got none")
        logits, states_ = [], []
        batches = evaluation_batches(encoded.lengths(), rows=encoded.counts)
        model.eval()
        with torch.no_grad(), handle.autocast(), states(model, last_only=True) as collected:
            for items in batches:
                batch = encoded.batch(items, handle.device)
                found = kind.logits(model, batch).float()
                logits.append(kind.rows(found, batch) or one_each(found, batch))
                pooled = kind.representation(collected[-1], batch)
                states_.append(pooled._replace(values=pooled.values.float()))
        order = np.concatenate(batches)
        return cls(Blocks.of(logits, order), Blocks.of(states_, order))


def learning_rate(step: int, total: int, warmup: float) -> float:
    """Factor of the peak learning rate at update `step` of `total`: linear rise over `warmup`, linear fall to 0."""
    rise = max(1, round(warmup * total))
    if step < rise:
        return (step + 1) / rise
    return max(0.0, (total - step) / max(1, total - rise))


def updates(examples: int, settings: Settings) -> int:
    """Updates of one cycle."""
    return settings.epochs * -(-examples // settings.batch_size)


def make_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """AdamW without decay on biases and norms (one-dimensional parameters)."""
    import torch

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)


@dataclass(frozen=True)
class Objective:
    """An objective ready for use: its row's part, the teacher it compares with, the reference weights it pulls to."""

    part: Part
    teacher: Teacher | None = None
    reference: Mapping[str, Tensor] | None = None


def run_cycle(
    model: nn.Module, kind: TaskType, train: Encoded, settings: Settings, objective: Objective, masked: Masked, handle: Accelerator,
    hooks: Hooks, seed: int, cycle: int, progress: Progress | None = None, keep_best: bool = False,
) -> float:  # fmt: skip
    """Train for one cycle and return the last (or, with `keep_best`, the best) source-validation score.

    The score before the first update is logged too: right after a mask, that is what pruning alone did (M§6.7).
    With `keep_best` the weights of the best score are put back at the end. Raises RunError on a non-finite loss and
    where memory does not suffice.
    """
    progress = progress or Progress()
    total = updates(len(train), settings)
    optimizer = make_optimizer(model, settings)
    restore(model, optimizer, progress)
    best = {name: value for name, value in progress.tensors.items() if name.startswith("best/")}
    best_score = progress.facts.get("best")
    points = set(np.linspace(0, total, settings.evaluations + 1).round().astype(int).tolist())
    epoch_start = -1
    saved, accumulate, score = time.monotonic(), int(progress.facts.get("accumulate", 1)), float("nan")
    if progress.step == 0:
        score = hooks.score()
        hooks.log("validation", 0, cycle_step=0, score=score)
    model.train()
    for step, epoch, rows in _steps(train, settings, seed, cycle, progress.step):
        if rows is None:
            reseed(seed, cycle, epoch, "dropout")
            epoch_start = step
            continue
        if step == progress.step != epoch_start and "rng" in progress.tensors:
            _set_generators(progress.tensors)
        started = time.monotonic()
        before = accumulate
        facts, accumulate = _step(
            model, kind, train, rows, settings, objective, masked, handle, optimizer, step, total, accumulate
        )
        if accumulate > before:
            hooks.log(
                "event",
                step + 1,
                text=f"out of memory: batches of {settings.batch_size} are now added up from {accumulate} parts",
            )
        hooks.beat(step + 1, total)
        if step % max(1, total // 50) == 0:
            rate = len(rows) / max(1e-9, time.monotonic() - started)
            hooks.log("train", step + 1, cycle_step=step + 1, examples_per_second=round(rate, 1), **facts)
        if step + 1 in points:
            score = hooks.score()
            hooks.log("validation", step + 1, cycle_step=step + 1, score=score)
            if keep_best and (best_score is None or score > best_score):
                best_score = score
                best = {f"best/{name}": value.detach().clone() for name, value in model.state_dict().items()}
        if time.monotonic() - saved > 60 * settings.checkpoint_minutes:
            hooks.save(snapshot(model, optimizer, step + 1, best, best_score, accumulate))
            saved = time.monotonic()
    if keep_best and best:
        model.load_state_dict({name.removeprefix("best/"): value for name, value in best.items()})
        score = float(best_score)  # type: ignore[arg-type]  # there are best weights, so there is a score
    model.eval()
    return score


def _steps(
    train: Encoded, settings: Settings, seed: int, cycle: int, done: int
) -> Iterator[tuple[int, int, np.ndarray | None]]:
    """(step, epoch, rows) of every update that is not done yet; (step, epoch, None) announces an epoch."""
    lengths, step = train.lengths(), 0
    for epoch in range(settings.epochs):
        batches = training_batches(lengths, settings.batch_size, (seed_of(seed, cycle, epoch, "order"),))
        if step + len(batches) > done:
            yield step, epoch, None
        for rows in batches:
            if step >= done:
                yield step, epoch, rows
            step += 1


def _step(
    model: nn.Module, kind: TaskType, train: Encoded, rows: np.ndarray, settings: Settings, objective: Objective, masked: Masked,
    handle: Accelerator, optimizer: torch.optim.Optimizer, step: int, total: int, accumulate: int,
) -> tuple[dict[str, float], int]:  # fmt: skip
    """One update. Out of memory halves the micro-batch and keeps the effective size, except for batch-coupled losses."""
    import torch

    while True:
        try:
            facts = _gradients(model, kind, train, rows, objective, handle, accumulate)
            break
        except torch.OutOfMemoryError:
            optimizer.zero_grad(set_to_none=True)
            if accumulate >= len(rows):
                raise RunError(
                    f"task.max_length: must be smaller on this device: step {step} ran out of memory with one example"
                ) from None
            if OBJECTIVES[objective.part.name].options.get("batch_coupled"):
                raise RunError(
                    f"train.batch_size: must be smaller on this device: step {step} ran out of memory with {len(rows)}, and "
                    f"{objective.part.name} compares all rows of a batch, so that it is never halved silently"
                ) from None
            torch.cuda.empty_cache()
            accumulate *= 2
    if not np.isfinite(facts["loss"]):
        raise RunError(
            f"train.learning_rate: the loss must stay finite; got {facts['loss']} at step {step} of the cycle, batch rows {rows.tolist()}"
        )
    masked.mask_gradients()
    facts |= _add_weight_gradients(objective, masked)
    factor = learning_rate(step, total, settings.warmup)
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * factor
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {**facts, "gradient_norm": float(norm), "learning_rate": settings.learning_rate * factor}, accumulate


def _gradients(
    model: nn.Module,
    kind: TaskType,
    train: Encoded,
    rows: np.ndarray,
    objective: Objective,
    handle: Accelerator,
    accumulate: int,
) -> dict[str, float]:
    """Backward through the task loss and an output-space objective, over `accumulate` micro-batches."""
    row = OBJECTIVES[objective.part.name]
    needs_states = "teacher_states" in row.needs
    facts: dict[str, float] = {}
    for part in np.array_split(rows, min(accumulate, len(rows))):
        batch = train.batch(part, handle.device)
        with states(model, last_only=True) as collected, handle.autocast():
            logits = kind.logits(model, batch)
            pooled = kind.representation(collected[-1], batch).values if needs_states else None
        loss = task_loss = kind.loss(logits, batch)
        logs: Mapping[str, Any] = {}
        if objective.teacher is not None and row.function is not None:
            teacher = objective.teacher
            compared = (kind.rows(logits, batch) or one_each(logits, batch)).values.float()
            loss, logs = row.function(
                task_loss,
                compared,
                None if pooled is None else thinned(pooled.float(), kind.most_states),
                teacher.logits.take(part, compared.shape[1]),
                thinned(teacher.states.take(part), kind.most_states),
                **objective.part.parameters,
            )
        share = len(part) / len(rows)
        handle.backward(loss * share)
        for name, value in {"loss": loss, "task_loss": task_loss, **logs}.items():
            facts[name] = facts.get(name, 0.0) + float(value.detach() if hasattr(value, "detach") else value) * share
    return facts


def _add_weight_gradients(objective: Objective, masked: Masked) -> dict[str, float]:
    """Add λ∇R of a weight-space objective to the (already masked) gradients; nothing for other objectives (M§4.1)."""
    import torch

    if objective.reference is None:
        return {}
    from engine.objectives import alignreg_step

    part, shape = objective.part, OBJECTIVES[objective.part.name].options["shape"]
    strength = float(part.parameters["strength"])
    weights = {matrix.name: matrix.weight_OI() for matrix in masked.matrices}
    grads = {matrix.name: matrix.orient(matrix.module.weight.grad) for matrix in masked.matrices}
    task_norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(grads.values()))))
    parameters = {name: part.parameters[name] for name in shape}
    value, norm = alignreg_step(
        part.name, objective.reference, weights, masked.factors_OI(), grads, strength, **parameters
    )
    return {"penalty": float(value), "penalty_ratio": strength * float(norm) / max(float(task_norm), 1e-30)}


def learning_cost(
    model: nn.Module, kind: TaskType, train: Encoded, rows: np.ndarray, settings: Settings, handle: Accelerator
) -> float:
    """Seconds of one plain update on these rows, for estimates; the model's weights do not change (the rate is 0)."""
    started = time.perf_counter()
    optimizer = make_optimizer(model, replace(settings, learning_rate=0.0))
    model.train()
    _step(
        model,
        kind,
        train,
        rows,
        replace(settings, learning_rate=0.0),
        Objective(Part("none", {})),
        Masked([]),
        handle,
        optimizer,
        0,
        1,
        1,
    )
    return time.perf_counter() - started


# -- checkpoints -------------------------------------------------------------------------------------------------


def snapshot(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    best: Mapping[str, Tensor],
    best_score: float | None,
    accumulate: int,
) -> Progress:
    """Everything that the rest of the cycle depends on."""
    import torch

    tensors: dict[str, Tensor] = {f"model/{name}": value for name, value in model.state_dict().items()}
    for index, parameter in enumerate(_parameters(optimizer)):
        tensors |= {f"optimizer/{index}/{key}": value for key, value in optimizer.state.get(parameter, {}).items()}
    tensors |= dict(best)
    tensors["rng"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng_cuda"] = torch.cuda.get_rng_state()
    return Progress(step, tensors, {"best": best_score, "accumulate": accumulate})


def restore(model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Put model and optimiser back to a snapshot; an empty one changes nothing."""
    if not progress.tensors:
        return
    model.load_state_dict({name[6:]: value for name, value in progress.tensors.items() if name.startswith("model/")})
    for index, parameter in enumerate(_parameters(optimizer)):
        prefix = f"optimizer/{index}/"
        found = {name[len(prefix) :]: value for name, value in progress.tensors.items() if name.startswith(prefix)}
        if found:
            optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in found.items()}


def _parameters(optimizer: torch.optim.Optimizer) -> list[Any]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _set_generators(tensors: Mapping[str, Tensor]) -> None:
    import torch

    torch.set_rng_state(tensors["rng"].cpu())
    if "rng_cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng_cuda"].cpu())
