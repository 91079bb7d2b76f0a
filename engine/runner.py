"""One run from its configuration to its folder: dense, dense_continued or a method of a study.

The order of files is the order of trust: a level is there when its `size.json` is, a run when its `status.json` is.
Whatever ends a run early leaves the levels before it, a checkpoint and a clear state.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import recipes
from engine.config import ConfigError, MethodSection, Study
from engine.levels import write_level
from engine.record import Cancelled, Level, RecordError, Run, write_json

if TYPE_CHECKING:
    from torch import Tensor, nn

    from engine.masked import Masked
    from engine.model import Matrix
    from engine.recipes import Plan
    from engine.trainer import Objective, Progress
    from engine.workbench import Workbench

BEAT_SECONDS, ALIVE_SECONDS = 1.0, 10.0
KEEP_BYTES = 2 * 10**9  # keep every level's weights while a run stays below this (DESIGN: store sizes)


@dataclass(frozen=True)
class Job:
    """One run of a study: a control (no plan) or a method."""

    run: Run
    method: MethodSection | None
    plan: Plan | None

    @property
    def name(self) -> str:
        """`<study>/<method>-s<seed>`."""
        return f"{self.run.study}/{self.run.name}"

    @property
    def needs_dense(self) -> bool:
        """Everything but the dense run starts from it."""
        return self.run.method != "dense"


def jobs(study: Study, store: Path) -> list[Job]:
    """All runs of a study in the order of execution: per seed dense, dense_continued, then the methods."""
    folder = store / study.study.name
    found = []
    for seed in study.study.seeds:
        found += [Job(Run(folder / f"{control}-s{seed}"), None, None) for control in recipes.CONTROLS]
        for index, method in enumerate(study.method):
            plan, _ = recipes.resolve(method, f"method[{index}]")
            if plan:
                found.append(Job(Run(folder / f"{method.label}-s{seed}"), method, plan))
    return found


def longest_arm(study: Study) -> int:
    """Levels of the method with most levels: how long `dense_continued` goes on."""
    return max(len(method.levels) for method in study.method)


# -- running ---------------------------------------------------------------------------------------------------

Report = Callable[[str, float, str], None]  # (run, fraction done, what it does now)


def execute(job: Job, bench: Workbench, report: Report = lambda *_: None) -> str:
    """Do one run, or the rest of one, and return its state. Failures end in `status.json` with one sentence."""
    run = job.run
    run.path.mkdir(parents=True, exist_ok=True)
    run.begin(run_config(job, bench))
    status = run.status()
    if status and status["state"] == "done":
        return "done"
    run.reopen()
    context = Context(job, bench, report, _attempt(run))
    try:
        with terminable(), context.alive():
            context.prepare()
            _KINDS.get(run.method, _method)(context)
        context.beat(context.total, "done", force=True)
        run.finish("done", seconds=round(time.monotonic() - context.started, 1))
        (run.path / "checkpoint.safetensors").unlink(missing_ok=True)
    except (Cancelled, KeyboardInterrupt):
        run.say("cancelled")
        run.finish("cancelled", reason="asked to stop")
        raise
    except Exception as error:
        reason = _reason(error)
        run.say(f"failed: {reason}")
        run.finish("failed", reason=reason)
        raise
    return "done"


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == 28:
        return "the disk is full: free some space and resume the run"
    return str(error) or type(error).__name__


def _attempt(run: Run) -> int:
    return 1 + max((int(line.get("attempt", 0)) for line in run.metrics()), default=0)


@contextmanager
def terminable() -> Iterator[None]:
    """Turn SIGTERM into `Cancelled`, so that a cancelled run still writes its state. Only the main thread may."""

    def stop(number: int, frame: object) -> None:
        raise Cancelled

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_config(job: Job, bench: Workbench) -> dict[str, Any]:
    """The resolved configuration of a run: two runs with the same digest give the same results."""
    study = bench.study
    facts: dict[str, Any] = {"study": study.study.name, "method": job.run.method, "seed": job.run.seed, **bench.facts()}
    if job.plan is None or job.method is None:
        levels = longest_arm(study) if job.run.method == "dense_continued" else 0
        return {**facts, "recipe": job.run.method, "levels": [0.0], "cycles": levels}
    overrides = {"train": job.method.train, "calibration": job.method.calibration}
    return {
        **facts,
        "recipe": job.plan.recipe,
        "levels": list(job.plan.levels),
        "plan": job.plan.record(),
        "overrides": overrides,
    }


class Context:
    """The state of one attempt at a run: where it is, and the way to say so. Everything else is passed along."""

    def __init__(self, job: Job, bench: Workbench, report: Report, attempt: int) -> None:
        self.job, self.run, self.bench, self.report, self.attempt = job, job.run, bench, report, attempt
        self.started = time.monotonic()
        self.total, self.done_before, self.phase = 1, 0, "starting"
        self._last_beat = 0.0
        self._facts: dict[str, Any] = {"step": 0, "total": 1, "phase": "starting", "attempt": attempt}
        self._first: tuple[float, int] | None = None

    def prepare(self) -> None:
        """Write what is known before the first update."""
        from engine.device import environment

        write_json(self.run.path / "env.json", environment(self.bench.handle, self.bench.study.study.deterministic))
        if not (self.run.path / "text.parquet").exists():
            from engine.record import write_frame

            write_frame(self.run.path / "text.parquet", self.bench.text_frame())
        self.run.say(f"attempt {self.attempt} on {self.bench.handle.device}")
        for note in self.bench.data.notes:
            self.run.say(note)
        self.beat(0, "starting", force=True)

    def beat(self, step: int, phase: str = "", force: bool = False) -> None:
        """Sign of life, at most once a second: step, total, phase, seconds left."""
        now = time.monotonic()
        self.phase = phase or self.phase
        if not force and now - self._last_beat < BEAT_SECONDS:
            return
        self._last_beat = now
        if not force:
            self._first = self._first or (now, step)
        began, first = self._first or (now, step)
        speed = (step - first) / max(1e-9, now - began)
        eta = (self.total - step) / speed if speed > 0 else None
        self._facts = {
            "step": step,
            "total": self.total,
            "phase": self.phase,
            "eta_seconds": eta,
            "attempt": self.attempt,
        }
        self.run.beat(**self._facts)
        self.report(self.job.name, step / max(1, self.total), self.phase)

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Repeat the last sign of life from a thread: evaluation or a teacher's pass may last longer than a beat is fresh."""
        done = threading.Event()

        def repeat() -> None:
            while not done.wait(ALIVE_SECONDS):
                if time.monotonic() - self._last_beat > ALIVE_SECONDS:
                    self.run.beat(**self._facts)

        thread = threading.Thread(target=repeat, name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def log(self, kind: str, step: int, **facts: Any) -> None:
        """A line of `metrics.jsonl`; `step` counts updates of the whole run."""
        self.run.log(kind, self.done_before + step, self.attempt, **facts)


def _cycle(
    context: Context, model: nn.Module, masked: Masked, objective: Objective, number: int, level: float,
    progress: Progress | None, dense: bool = False,
) -> None:  # fmt: skip
    """Train one cycle with this run's settings; `number` 0 is the dense fine-tuning, k the one after level k."""
    from engine import evaluate
    from engine.trainer import Hooks, run_cycle, updates

    bench, run = context.bench, context.run
    settings = bench.settings(context.job.plan, context.job.method.train if context.job.method else {}, dense)
    size = updates(len(bench.train), settings)

    def score() -> float:
        frame, encoded = bench.validation
        found = evaluate.score(model, bench.data.type, frame, encoded, bench.data.labels, bench.handle)
        model.train()
        return evaluate.value(bench.data.type, found.stats)

    def save(state: Progress) -> None:
        _save(context, state, number, masked)

    hooks = Hooks(
        log=lambda kind, step, **facts: context.log(kind, step, level=level, cycle=number, **facts),
        beat=lambda step, _: context.beat(context.done_before + step, f"training at {level:.0%}"),
        save=save,
        score=score,
    )
    run.say(f"cycle {number}: {size} updates at sparsity {level:g}")
    run_cycle(
        model,
        bench.data.type,
        bench.train,
        settings,
        objective,
        masked,
        bench.handle,
        hooks,
        run.seed,
        number,
        progress,
        keep_best=dense,
    )
    context.done_before += size


def _save(context: Context, state: Progress, cycle: int, masked: Masked | None = None) -> None:
    """Write the live checkpoint: weights, moments, generators, masks and where it stands."""
    import json

    from safetensors.torch import save_file

    from engine.record import atomic

    facts = {"cycle": cycle, "step": state.step, "done_before": context.done_before, **state.facts}
    masks = masked.masks_OI() if masked else None
    state.tensors.update({f"mask/{name}": mask for name, mask in (masks or {}).items()})
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.tensors.items()}
    with atomic(context.run.path / "checkpoint.safetensors") as temporary:
        save_file(tensors, temporary, {"facts": json.dumps(facts)})


def _load(context: Context) -> tuple[int, Progress] | None:
    """The live checkpoint, if there is one: (cycle, progress)."""
    import json

    from safetensors.torch import load_file

    from engine.record import read_metadata
    from engine.trainer import Progress

    path = context.run.path / "checkpoint.safetensors"
    if not path.exists():
        return None
    facts = json.loads(read_metadata(path)["facts"])
    context.done_before = int(facts["done_before"])
    return int(facts["cycle"]), Progress(int(facts["step"]), load_file(path), facts)


def _boundary(context: Context, model: nn.Module, cycle: int) -> None:
    """Checkpoint between cycles: the weights alone, because every cycle has a fresh optimiser."""
    from engine.trainer import Progress

    _save(context, Progress(0, {f"model/{name}": value for name, value in model.state_dict().items()}), cycle)


def _resume(context: Context, model: nn.Module) -> tuple[int, Progress | None]:
    """(cycle to go on with, its progress or None at a cycle's start); puts the checkpoint's weights into the model."""
    found = _load(context)
    if found is None:
        return 1, None
    cycle, progress = found
    weights = {
        name.removeprefix("model/"): value for name, value in progress.tensors.items() if name.startswith("model/")
    }
    model.load_state_dict(weights)
    context.run.say(f"resumed at cycle {cycle}, update {progress.step}")
    return cycle, progress if progress.step else None


def dense_model(context: Context) -> tuple[nn.Module, dict[str, np.ndarray], int]:
    """(model with the dense run's weights, those of its prunable matrices as arrays, updates that it took)."""
    import torch

    from engine.model import matrices

    dense = Run(context.run.path.parent / f"dense-s{context.run.seed}")
    status = dense.status()
    if not status or status["state"] != "done":
        raise RecordError(
            f"{dense.study}/{dense.name}: must be done before {context.run.name} can start; it is {dense.state()}"
        )
    level = dense.level(0.0)
    model = context.bench.pretrained(context.run.seed)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in level.arrays("weights").items()})
    reference = {matrix.name: matrix.weight_OI().float().cpu().numpy().copy() for matrix in matrices(model)}
    return model, reference, int(level.size()["updates"])


def _objective(context: Context, plan: Plan, model: nn.Module, found: list[Matrix]) -> Objective:
    """The plan's objective with the teacher's outputs or the reference weights that it needs. `model` is still dense."""
    from engine.objectives import OBJECTIVES
    from engine.trainer import Objective

    needs = OBJECTIVES[plan.objective.name].needs
    teacher = reference = None
    if needs & {"teacher_logits", "teacher_states"}:
        teacher = context.bench.teacher(context.run.seed, model)
    if "reference" in needs:
        source = (
            model
            if plan.objective.parameters["reference"] == "finetuned"
            else context.bench.pretrained(context.run.seed)
        )
        reference = {
            matrix.name: matrix.orient(source.get_submodule(matrix.name).weight.detach()).clone() for matrix in found
        }
    return Objective(plan.objective, teacher, reference)


def _select(
    context: Context, plan: Plan, model: nn.Module, found: list[Matrix], masked: Masked, level: float
) -> dict[str, Tensor]:
    """Score every matrix and choose what stays at this level, within what the level before left."""
    from engine import mask, stats
    from engine.criteria import CRITERIA, matrix_generator

    row = CRITERIA[plan.criterion.name]
    method, bench = context.job.method, context.bench
    known: dict[str, dict[str, Any]] = {matrix.name: {} for matrix in found}
    if row.needs & (stats.COLLECTED | {"neighbours"}):
        rows = (
            bench.calibration(method.calibration if method else {})
            if row.needs & stats.COLLECTED
            else np.array([], dtype=int)
        )
        known = stats.collect(model, bench.data.type, found, row.needs, bench.train, rows, bench.handle.device)
    if "generator" in row.needs:
        known = {name: {"generator": matrix_generator(context.run.seed, name)} for name in known}
    parameters = plan.criterion.parameters
    scores = {matrix.name: row.function(matrix.weight_OI(), **known[matrix.name], **parameters) for matrix in found}  # type: ignore[misc]
    masks = mask.select(scores, level, plan.allocation, masked.masks_OI(), plan.floors, plan.ceilings)
    for name in mask.collapsed(masks):
        context.run.say(f"layer collapse: {name} has no weight left at {level:g}")
        context.log("event", 0, level=level, text=f"layer collapse: {name}")
    return masks


def _stored_masks(level: Level, found: list[Matrix]) -> dict[str, Tensor]:
    import torch

    masks = level.masks()
    return {matrix.name: matrix.orient(torch.from_numpy(masks[matrix.name])) for matrix in found}


def _room(model: nn.Module, plan: Plan, number: int) -> bool:
    """Keep every level's weights while all of them fit the limit, else those of the last level."""
    size = 4 * sum(parameter.numel() for parameter in model.parameters())
    return size * len(plan.levels) <= KEEP_BYTES or number == len(plan.levels)


# -- the three kinds of run ------------------------------------------------------------------------------------


def _dense(context: Context) -> None:
    """Fine-tune the pretrained checkpoint on the source languages and keep the best by source validation."""
    from engine.masked import Masked
    from engine.model import matrices
    from engine.recipes import Part
    from engine.trainer import Objective, updates

    bench = context.bench
    model = bench.pretrained(context.run.seed)
    settings = bench.settings(None, {}, dense=True)
    context.total = max(1, updates(len(bench.train), settings))
    found = _load(context)
    masked = Masked(matrices(model))
    if settings.epochs:
        _cycle(context, model, masked, Objective(Part("none", {})), 0, 0.0, found[1] if found else None, dense=True)
    write_level(context, context.run.level(0.0), model, masked, None, updates_done=context.done_before, keep=True)


def _dense_continued(context: Context) -> None:
    """Train the dense model on for as many cycles as the longest arm, at sparsity 0."""
    from engine.masked import Masked
    from engine.model import matrices
    from engine.recipes import Part
    from engine.trainer import Objective, updates

    bench = context.bench
    model, reference, spent = dense_model(context)
    masked = Masked(matrices(model))
    cycles = longest_arm(bench.study) if bench.study.train.retrain_epochs else 1
    per_cycle = updates(len(bench.train), bench.settings(None, {}))
    context.total = cycles * per_cycle
    start, progress = _resume(context, model)
    for number in range(start, cycles + 1):
        _cycle(context, model, masked, Objective(Part("none", {})), number, 0.0, progress)
        progress = None
        total = spent + number * per_cycle
        write_level(
            context, context.run.level(0.0, f"-u{total}"), model, masked, reference, updates_done=total, keep=False
        )
        _boundary(context, model, number + 1)


def _method(context: Context) -> None:
    """Visit the levels in order: score, mask, retrain, evaluate."""
    from engine.masked import Masked
    from engine.model import matrices, patterns_to_names
    from engine.trainer import updates

    plan, method, bench = context.job.plan, context.job.method, context.bench
    if plan is None or method is None:
        raise ConfigError([f"RUN: {context.job.name} has no plan in this study"])
    model, reference, spent = dense_model(context)
    found = matrices(model, plan.include, plan.exclude)
    names = [matrix.name for matrix in found]
    plan = replace(
        plan,
        floors=patterns_to_names(plan.floors, names, "floors"),
        ceilings=patterns_to_names(plan.ceilings, names, "ceilings"),
    )
    masked = Masked(found)
    objective = _objective(context, plan, model, found)
    per_cycle = updates(len(bench.train), bench.settings(plan, method.train))
    context.total = max(1, len(plan.levels) * per_cycle)
    start, progress = _resume(context, model)
    if start > 1:
        masked.set(_stored_masks(context.run.level(plan.levels[start - 2]), found))
    for number in range(start, len(plan.levels) + 1):
        level = plan.levels[number - 1]
        context.beat(context.done_before, f"scoring for {level:.0%}", force=True)
        if progress is None:
            masked.set(_select(context, plan, model, found, masked, level))
        else:
            masked.set({matrix.name: progress.tensors[f"mask/{matrix.name}"] for matrix in found})
        _cycle(context, model, masked, objective, number, level, progress)
        progress = None
        keep = level in plan.keep_weights if plan.keep_weights is not None else _room(model, plan, number)
        write_level(
            context,
            context.run.level(level),
            model,
            masked,
            reference,
            updates_done=spent + number * per_cycle,
            keep=keep,
        )
        _boundary(context, model, number + 1)


_KINDS: dict[str, Callable[[Context], None]] = {"dense": _dense, "dense_continued": _dense_continued}
