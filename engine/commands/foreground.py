"""All runs of a study, one after the other in this process or as tasks of a cluster, with bars on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.commands import fail, quiet
from engine.commands.kept import keep, refuse_another

if TYPE_CHECKING:
    from engine.config import Study
    from engine.progress import Display
    from engine.runner import Job


def foreground(
    study: Study, text: str, where: Path, resume: bool, measure: bool, restore: bool = False, on_cluster: bool = False
) -> None:
    """Do all runs of a study in this process, or watch a cluster do them, then measure; `text` is kept as the study's file.

    Of several processes (`engine.processes`) each comes through here, and the main one says and writes.
    """
    from engine import cluster, processes, queue, runner

    jobs = runner.jobs(study, where)
    ray = cluster.connect() if on_cluster else None
    _refuse_interrupted(jobs, resume)
    refuse_another(study, where)
    quiet()
    from engine.progress import Display
    from engine.workbench import Workbench

    # What the cluster's machines compute with need not be here.
    bench = Workbench.open(study, several=True) if ray is None else Workbench.open(runner.on_device(study, "cpu"))
    bench.verify([job.plan for job in jobs if job.plan and job.run.seed == study.study.seeds[0]])
    jobs = runner.watched(jobs)
    for job in jobs:
        if ray is None and (job.run.path / "config.json").exists():
            job.run.begin(runner.run_config(job, bench))
    if processes.main():
        keep(text, where / study.study.name, study.base)
    with Display(len(jobs), quiet=not processes.main()) as display:
        for note in bench.data.notes:
            display.note(note)
        failed = _run_all(jobs, bench, display) if ray is None else cluster.run_all(ray, jobs, where, study, display)
    if processes.count() == 1 or not failed:
        failed += _restore_all(jobs, bench, restore)
    if measure and processes.main() and queue.measure(where, study.study.name):
        failed.append(f"measures of {study.study.name} failed: see {where / study.study.name / 'measure.log'}")
    if failed:
        raise fail(failed, 1)
    processes.leave()


def _refuse_interrupted(jobs: list[Job], resume: bool) -> None:
    from engine.config import ConfigError

    states = {job.name: job.run.state() for job in jobs}
    if running := [name for name, state in states.items() if state == "running"]:
        raise ConfigError([f"{name}: is running in another process: wait for it or cancel it" for name in running])
    begun = [name for name, state in states.items() if state in ("lost", "failed", "cancelled", "queued")]
    if begun and not resume:
        raise ConfigError([f"{name}: was interrupted ({states[name]}): add --resume to go on" for name in begun])


def _run_all(jobs: list[Job], bench: Any, display: Display) -> list[str]:
    """Run every job; returns one line per failed run. A failed dense run stops its methods."""
    from engine import runner

    failed: list[str] = []
    for job in jobs:
        display.show(job.name, 0.0, "waiting")
        try:
            runner.execute(job, bench, display.show)
        except Exception as error:
            failed.append(f"{job.name}: {error}")
            if not runner.in_step(error):
                break  # the processes are not at one place any more: nothing can be done together
        display.end(job.name, job.run.state())
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
    from engine import processes
    from engine import restore as restoration

    processes.wait()  # the main process has written the last run
    failed = []
    for job in jobs:
        if job.run.state() != "done":
            continue
        for level in restoration.due(job.run, asked, bench.study.study.seeds):
            try:
                restoration.restore(job.run, level.path.name, bench, asked.items)
                if processes.main():
                    print(f"{job.name}: restored part by part at {level.sparsity:.4g}", flush=True)
            except Exception as error:
                failed.append(f"{job.name}: restoration: {error}")
                if processes.count() > 1:
                    return failed
    return failed
