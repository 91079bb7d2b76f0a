"""The training loop: one cycle of updates, top to bottom, with a single fenced step.

A cycle is the dense fine-tuning or the retraining after one level (M§4.7). Everything random is reseeded every epoch
from (seed, place, purpose), so that a resumed run repeats the uninterrupted one bit for bit, and all arms draw the
same at the same update: the place is where on the iterative path the epoch stands (`engine.plan.Plan.course`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import processes
from engine.data import Encoded, training_batches
from engine.device import reseed, seed_of
from engine.guidance import Guidance
from engine.masked import Masked
from engine.plan import Part
from engine.pruning import Pruning
from engine.teacher import Seen

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

    def part(self, group: str, device: torch.device) -> dict[str, Tensor]:
        """The tensors of one group, on the device."""
        prefix = f"{group}/"
        return {k.removeprefix(prefix): v.to(device) for k, v in self.tensors.items() if k.startswith(prefix)}


@dataclass(frozen=True)
class Hooks:
    """What the loop calls out to. `log(kind, step, **facts)`, `beat(step, total)`, `save(progress)`, `score()`."""

    log: Callable[..., None]
    beat: Callable[[int, int], None]
    save: Callable[[Progress], None]
    score: Callable[[], float]


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


def run_cycle(
    model: nn.Module, kind: TaskType, train: Encoded, settings: Settings, guidance: Guidance, pruning: Pruning, handle: Accelerator,
    hooks: Hooks, seed: int, course: Sequence[tuple[int, int]], progress: Progress | None = None, keep_best: bool = False,
) -> float:  # fmt: skip
    """Train for one cycle and return the last (or, with `keep_best`, the best) source-validation score.

    `course` gives the place of each of its epochs, from which their batches and their noise are drawn.
    The score before the first update is logged too: right after a mask, that is what pruning alone did (M§6.7).
    With `keep_best` the weights of the best score are put back at the end. Raises RunError on a non-finite loss and
    where memory does not suffice.
    """
    progress = progress or Progress()
    total = updates(len(train), settings)
    optimizer = make_optimizer(model, settings)
    restore(model, optimizer, progress)
    if progress.tensors:
        pruning.load(progress.part("pruning", handle.device))
        guidance.load(progress.part("guidance", handle.device))
    best = {name: value for name, value in progress.tensors.items() if name.startswith("best/")}
    best_score = progress.facts.get("best")
    points = set(np.linspace(0, total, settings.evaluations + 1).round().astype(int).tolist())
    per_epoch, epoch_start = max(1, total // max(1, settings.epochs)), -1
    saved, accumulate, score = time.monotonic(), int(progress.facts.get("accumulate", 1)), float("nan")

    def validate(step: int) -> float:
        with pruning.view():
            found = hooks.score()
        hooks.log("validation", step, cycle_step=step, score=found)
        model.train()
        return found

    if progress.step == 0:
        score = validate(0)
    model.train()
    for step, place, rows in _steps(train, settings.batch_size, seed, course, progress.step):
        if rows is None:
            reseed(seed, *place, "dropout")
            epoch_start = step
            continue
        if step == progress.step != epoch_start and "rng" in progress.tensors:
            _set_generators(progress.tensors)
        started = time.monotonic()
        before = accumulate
        # -- one update ------------------------------------------------------------------------------------------
        facts, accumulate = _step(
            model, kind, train, guidance.training_rows(rows), settings, guidance, pruning, handle, optimizer, step, total, accumulate
        )  # fmt: skip
        guidance.step_done(step + 1, pruning.view)
        if (step + 1) % per_epoch == 0:
            guidance.epoch_done(pruning.view)
        # -- and what is said, kept and saved of it -----------------------------------------------------------------
        if accumulate > before:
            text = f"out of memory: batches of {settings.batch_size} are now added up from {accumulate} parts"
            hooks.log("event", step + 1, text=text)
        hooks.beat(step + 1, total)
        if step % max(1, total // 50) == 0:
            rate = len(rows) / max(1e-9, time.monotonic() - started)
            hooks.log("train", step + 1, cycle_step=step + 1, examples_per_second=round(rate, 1), **facts)
        if step + 1 in points:
            score = validate(step + 1)
            if keep_best and (best_score is None or score > best_score):
                best_score = score
                best = {f"best/{name}": value.detach().clone() for name, value in model.state_dict().items()}
        if time.monotonic() - saved > 60 * settings.checkpoint_minutes:
            hooks.save(snapshot(model, optimizer, guidance, pruning, step + 1, best, best_score, accumulate))
            saved = time.monotonic()
    if keep_best and best:
        model.load_state_dict({name.removeprefix("best/"): value for name, value in best.items()})
        score = float(best_score)  # type: ignore[arg-type]  # there are best weights, so there is a score
    pruning.finish()
    processes.check_same(list(model.parameters()), "weights")
    model.eval()
    return score


def _steps(
    train: Encoded, batch_size: int, seed: int, course: Sequence[tuple[int, int]], done: int
) -> Iterator[tuple[int, tuple[int, int], np.ndarray | None]]:
    """(step, place, rows) of every update that is not done yet; (step, place, None) announces an epoch."""
    lengths, step = train.lengths(), 0
    for place in course:
        batches = training_batches(lengths, batch_size, (seed_of(seed, *place, "order"),))
        if step + len(batches) > done:
            yield step, place, None
        for rows in batches:
            if step >= done:
                yield step, place, rows
            step += 1


def _step(
    model: nn.Module, kind: TaskType, train: Encoded, rows: np.ndarray, settings: Settings, guidance: Guidance, pruning: Pruning,
    handle: Accelerator, optimizer: torch.optim.Optimizer, step: int, total: int, accumulate: int,
) -> tuple[dict[str, float], int]:  # fmt: skip
    """One update. Out of memory halves the micro-batch and keeps the effective size, except for batch-coupled losses."""
    import torch

    while True:
        try:
            with pruning.view(training=True):
                facts = _gradients(model, kind, train, rows, guidance, handle, accumulate)
            break
        except torch.OutOfMemoryError:
            optimizer.zero_grad(set_to_none=True)
            accumulate = _smaller(accumulate, len(rows), guidance, step)
            torch.cuda.empty_cache()
    if not np.isfinite(facts["loss"]):
        raise RunError(
            f"train.learning_rate: the loss must stay finite; got {facts['loss']} at step {step} of the cycle, batch rows {rows.tolist()}"
        )
    facts |= pruning.after_backward()
    facts |= guidance.add_gradients(pruning.masked.matrices, pruning.factors_OI)
    factor = learning_rate(step, total, settings.warmup)
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * factor
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
    pruning.before_step(settings.learning_rate * factor, factor)
    optimizer.step()
    pruning.after_step(step + 1, optimizer)
    optimizer.zero_grad(set_to_none=True)
    return {**facts, "gradient_norm": float(norm), "learning_rate": settings.learning_rate * factor}, accumulate


def _smaller(accumulate: int, rows: int, guidance: Guidance, step: int) -> int:
    """Parts of a batch that did not fit; raises RunError where it must not or cannot be parted further."""
    if accumulate >= rows:
        raise RunError(
            f"task.max_length: must be smaller on this device: step {step} ran out of memory with one example"
        ) from None
    if guidance.batch_coupled:
        raise RunError(
            f"train.batch_size: must be smaller on this device: step {step} ran out of memory with {rows}, and "
            f"{guidance.part.name} compares all rows of a batch, so that it is never halved silently"
        ) from None
    return 2 * accumulate


def _gradients(
    model: nn.Module,
    kind: TaskType,
    train: Encoded,
    rows: np.ndarray,
    guidance: Guidance,
    handle: Accelerator,
    accumulate: int,
) -> dict[str, float]:
    """Backward through the task loss and an output-space objective, over `accumulate` micro-batches."""
    import torch

    sums: dict[str, Tensor] = {}
    for part in np.array_split(rows, min(accumulate, len(rows))):
        seen, share = Seen(kind, *processes.network(model, kind, train, part, handle), part), len(part) / len(rows)
        for name, value in processes.in_step(partial(_learn, seen, guidance, handle, share)).items():
            found = torch.as_tensor(value, device=handle.device).detach().double() * share
            sums[name] = sums[name] + found if name in sums else found
    processes.add_up([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    # Read back at once: a look at every single value would wait for the accelerator each time.
    return dict(zip(sums, torch.stack(list(sums.values())).tolist(), strict=True))


def _learn(seen: Seen, guidance: Guidance, handle: Accelerator, share: float) -> dict[str, Any]:
    """Backward through the loss of one micro-batch; what to log of it."""
    task_loss = seen.kind.loss(seen.logits, seen.batch)
    loss, logged = guidance.loss(task_loss, seen)
    handle.backward(loss * share)
    return {"loss": loss, "task_loss": task_loss, **logged}


def learning_cost(
    model: nn.Module, kind: TaskType, train: Encoded, rows: np.ndarray, settings: Settings, handle: Accelerator
) -> float:
    """Seconds of one plain update on these rows, for estimates; the model's weights do not change (the rate is 0)."""
    still = replace(settings, learning_rate=0.0)
    optimizer = make_optimizer(model, still)
    guidance, pruning = Guidance(Part("none", {})), Pruning(Masked([]))
    model.train()
    started = time.perf_counter()
    _step(model, kind, train, rows, still, guidance, pruning, handle, optimizer, 0, 1, 1)
    return time.perf_counter() - started


# -- checkpoints -------------------------------------------------------------------------------------------------


def snapshot(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    guidance: Guidance,
    pruning: Pruning,
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
    tensors |= {f"pruning/{name}": value for name, value in pruning.tensors().items()}
    tensors |= {f"guidance/{name}": value for name, value in guidance.tensors().items()}
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
