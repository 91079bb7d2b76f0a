"""All runs of a study in this process, one after the other, with bars on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.commands import fail, quiet
from engine.commands.kept import keep, refuse_another

if TYPE_CHECKING:
    from engine.config import Study
    from engine.runner import Job


def foreground(study: Study, text: str, where: Path, resume: bool, measure: bool, restore: bool = False) -> None:
    """Do all runs of a study in this process, then measure; `text` is kept as the study's file."""
    from engine import queue, runner

    jobs = runner.jobs(study, where)
    _refuse_interrupted(jobs, resume)
    refuse_another(study, where)
    quiet()
    from engine.workbench import Workbench

    bench = Workbench.open(study)
    bench.verify([job.plan for job in jobs if job.plan and job.run.seed == study.study.seeds[0]])
    for job in jobs:
        if (job.run.path / "config.json").exists():
            job.run.begin(runner.run_config(job, bench))
    keep(text, where / study.study.name, study.base)
    failed = _run_all(jobs, bench)
    failed += _restore_all(jobs, bench, restore)
    if measure and queue.measure(where, study.study.name):
        failed.append(f"measures of {study.study.name} failed: see {where / study.study.name / 'measure.log'}")
    if failed:
        raise fail(failed, 1)


def _refuse_interrupted(jobs: list[Job], resume: bool) -> None:
    from engine.config import ConfigError

    states = {job.name: job.run.state() for job in jobs}
    if running := [name for name, state in states.items() if state == "running"]:
        raise ConfigError([f"{name}: is running in another process: wait for it or cancel it" for name in running])
    begun = [name for name, state in states.items() if state in ("lost", "failed", "cancelled", "queued")]
    if begun and not resume:
        raise ConfigError([f"{name}: was interrupted ({states[name]}): add --resume to go on" for name in begun])


def _run_all(jobs: list[Job], bench: Any) -> list[str]:
    """Run every job with a bar each second; returns one line per failed run. A failed dense run stops its methods."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from engine import runner

    failed: list[str] = []
    console = Console()
    for note in bench.data.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[phase]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        whole = bar.add_task("all runs", total=len(jobs), phase="")
        for number, job in enumerate(jobs):
            task = bar.add_task(job.name, total=1.0, phase="waiting")

            def report(name: str, fraction: float, phase: str, task: Any = task) -> None:
                bar.update(task, completed=fraction, phase=phase)

            try:
                runner.execute(job, bench, report)
            except Exception as error:
                failed.append(f"{job.name}: {error}")
            bar.remove_task(task)
            bar.update(whole, completed=number + 1, phase=f"{number + 1} of {len(jobs)}")
            if not console.is_terminal:
                print(f"{number + 1}/{len(jobs)} {job.name}: {job.run.state()}", flush=True)
    return failed


def _restore_all(jobs: list[Job], bench: Any, flag: bool) -> list[str]:
    """Causal restoration as the study asks for it, or of the last levels by `flag`; returns a line per failure.

    A run has done it before it ended, and what is stored is not computed again: this is for studies that were run
    before they asked for it.
    """
    asked = bench.study.restoration
    if flag and asked.levels == "none":
        asked = asked.model_copy(update={"levels": "last"})
    if asked.levels == "none":
        return []
    from engine import restore as restoration

    failed = []
    for job in jobs:
        if job.run.state() != "done":
            continue
        for level in restoration.due(job.run, asked, bench.study.study.seeds):
            try:
                restoration.restore(job.run, level.path.name, bench, asked.items)
                print(f"{job.name}: restored part by part at {level.sparsity:.4g}", flush=True)
            except Exception as error:
                failed.append(f"{job.name}: restoration: {error}")
    return failed
