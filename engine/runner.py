"""One run from its configuration to its folder: dense, dense_continued or a method of a study.

The order of files is the order of trust: a level is there when its `size.json` is, a run when its `status.json` is.
Whatever ends a run early leaves the levels before it, a checkpoint and a clear state.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import processes
from engine.config import MethodSection, Study, parse
from engine.context import Context, Report
from engine.mirror import Mirror
from engine.plan import Plan, longest_arm, plans
from engine.recipes import CONTROLS
from engine.record import Cancelled, RecordError, Run, find_run, read_json, studies

if TYPE_CHECKING:
    from engine.workbench import Workbench


PATIENCE = 2.0  # seconds in which the word to stop may follow the end of another process


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
        found += [Job(Run(folder / f"{control}-s{seed}"), None, None) for control in CONTROLS]
        found += [Job(Run(folder / f"{method.label}-s{seed}"), method, plan) for method, plan in plans(study)]
    return found


def watched(jobs: list[Job]) -> list[Job]:
    """The jobs as this process does them: of several processes only the main one writes."""
    return jobs if processes.main() else [replace(job, run=Mirror(job.run.path)) for job in jobs]


def on_device(study: Study, device: str) -> Study:
    """The study on another device than its file says."""
    return study.model_copy(update={"study": study.study.model_copy(update={"device": device})})


def stored_study(store: Path, name: str) -> Study:
    """A study from its copy in the store; an unknown name lists the choices."""
    folder = store / name
    if not (folder / "study.toml").is_file():
        raise RecordError(
            f"study: must be one of {', '.join(studies(store)) or 'none: the store is empty'}; got {name!r}"
        )
    base = Path(read_json(folder / "study.json")["base"])
    return parse((folder / "study.toml").read_text(encoding="utf-8"), base, f"{name}/study.toml")


# -- running ---------------------------------------------------------------------------------------------------


def execute(job: Job, bench: Workbench, report: Report = lambda *_: None) -> str:
    """Do one run, or the rest of one, and return its state. Failures end in `status.json` with one sentence."""
    processes.wait()  # what this run reads of the one before, the main process has written
    run = job.run
    run.begin(run_config(job, bench))
    status = run.status()
    if status and status["state"] == "done":
        return "done"
    run.reopen()
    context = Context(job, bench, report, _attempt(run))
    with terminable():
        try:
            _attempted(context)
        except (Cancelled, KeyboardInterrupt):
            run.say("cancelled")
            run.finish("cancelled", reason="asked to stop")
            raise
    return "done"


def _attempted(context: Context) -> None:
    """Do a run's work and write how it ended, unless it was stopped.

    That is decided outside: where several processes are stopped together, the first that ends breaks the others'
    exchange, and the word to stop arrives while such a failure is being written.
    """
    job, run = context.job, context.run
    try:
        with context.alive():
            context.prepare()
            _kind(job)(context)
            _take_apart(context)
        context.beat(context.total, "done", force=True)
        run.finish("done", seconds=round(time.monotonic() - context.started, 1))
        context.forget()
    except Exception as error:
        if not in_step(error):
            time.sleep(PATIENCE)
        reason = _reason(error)
        run.say(f"failed: {reason}")
        run.finish("failed", reason=reason)
        raise


def in_step(error: Exception) -> bool:
    """Did a run fail so that the next can begin? Of several processes all must have failed at the same place."""
    from engine.trainer import RunError

    return processes.count() == 1 or isinstance(error, (RunError, processes.ProcessError))


def execute_stored(store: Path, name: str, device: str = "auto", prepare: Callable[[], None] = lambda: None) -> str:
    """Do one run of a stored study in this process: what a worker and a task of a cluster do.

    `device`: the worker's; auto takes the study's. `prepare` is called before anything heavy is imported.
    Whatever ends the run before it has begun is written into its folder, too.
    """
    run = find_run(store, name)
    with terminable():
        try:
            study = stored_study(store, run.study)
            study = study if device == "auto" else on_device(study, device)
            job = next((job for job in jobs(study, store) if job.name == name), None)
            if job is None:
                raise RecordError(f"RUN: must be a run of the study {study.study.name}; got {name!r}")
            run.beat(step=0, total=1, phase="loading", attempt=0)
            prepare()
            from engine.workbench import Workbench

            return execute(job, Workbench.open(study))
        except (Cancelled, KeyboardInterrupt):
            if run.status() is None:
                run.finish("cancelled", reason="asked to stop before it began")
            raise
        except Exception as error:
            if run.status() is None:
                run.finish("failed", reason=str(error))
            raise


def _kind(job: Job) -> Callable[[Context], None]:
    """What to do for this run: a control, a model pruned elsewhere, or an arm."""
    from engine import arms, imported  # here, because they load torch, and listing a study's jobs must not

    usual = imported.arm if job.plan and job.plan.checkpoint else arms.method
    return arms.KINDS.get(job.run.method, usual)


def _take_apart(context: Context) -> None:
    """Restore the levels that the study asks for part by part (M§6.6), before the run is done: cancelled, it goes on here."""
    study, run = context.bench.study, context.run
    if study.restoration.levels == "none" or run.method in CONTROLS:
        return
    from engine import restore

    processes.wait()  # the main process has written the last level
    levels = restore.due(run, study.restoration, study.study.seeds)
    for level in levels:
        name = level.path.name

        def report(done: int, of: int, what: str, name: str = name) -> None:
            context.beat(context.total, f"restoring {name}, {done} of {of}: {what}", force=True)

        restore.restore(run, name, context.bench, study.restoration.items, report)
        run.say(f"level {name}: restored part by part, {study.restoration.items} items per language")
    if not levels and (study.restoration.seeds == "all" or run.seed == min(study.study.seeds)):
        run.say("nothing to restore: no level of this run keeps weights of the dense model's shape")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == 28:
        return "the disk is full: free some space and resume the run"
    if isinstance(error, RuntimeError) and not in_step(error):
        return f"this process failed, or another one ended and says why: {error}"
    return str(error) or type(error).__name__


def _attempt(run: Run) -> int:
    return 1 + max((int(line.get("attempt", 0)) for line in run.metrics()), default=0)


@contextmanager
def terminable() -> Iterator[None]:
    """Turn SIGTERM into `Cancelled`, so that a cancelled run still writes its state. Only the main thread may.

    The first word to stop counts, SIGTERM or the keyboard's: a launcher sends one after the other, and the second must not
    interrupt what is said about the first.
    """
    asked = []

    def stop(number: int, frame: object) -> None:
        if not asked:
            asked.append(number)
            raise Cancelled if number == signal.SIGTERM else KeyboardInterrupt

    # A shell's background job ignores the keyboard, and goes on doing so.
    heard = [number for number in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(number) != signal.SIG_IGN]
    try:
        before = {number: signal.signal(number, stop) for number in heard}
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_config(job: Job, bench: Workbench) -> dict[str, Any]:
    """The resolved configuration of a run: two runs with the same digest give the same results."""
    study = bench.study
    facts: dict[str, Any] = {"study": study.study.name, "method": job.run.method, "seed": job.run.seed, **bench.facts()}
    if job.plan is None or job.method is None:
        levels = longest_arm(study) if job.run.method == "dense_continued" else 0
        return {**facts, "recipe": job.run.method, "levels": [0.0], "cycles": levels}
    overrides = {"train": job.method.train, "calibration": job.method.calibration}
    if job.plan.checkpoint:
        facts["checkpoint_digest"] = bench.digest_of(job.plan.checkpoint)
    return {
        **facts,
        "recipe": job.plan.recipe,
        "levels": list(job.plan.levels),
        "folders": list(job.plan.folders),
        "plan": job.plan.record(),
        "overrides": overrides,
    }
