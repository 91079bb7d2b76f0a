"""Commands about the queue and the state of runs."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from engine import record
from engine.commands import Debug, RunName, Store, StudyFile, app, guarded
from engine.commands.kept import keep_file, refuse_another, stored


@app.command()
@guarded
def submit(
    study_file: StudyFile,
    store: Store = None,
    worker: Annotated[bool, typer.Option(help="Start a worker if none runs.")] = True,
    debug: Debug = False,
) -> None:
    """Queue a study's runs; finished ones are left out."""
    from engine import config, queue, runner

    study = config.load(study_file)
    where = record.store_path(store)
    refuse_another(study, where)
    waiting = [job for job in runner.jobs(study, where) if job.run.state() not in ("done", "running")]
    keep_file(study_file, where / study.study.name, study.base)
    for job in waiting:
        job.run.path.mkdir(parents=True, exist_ok=True)
        job.run.reopen()
    queue.submit(where, [job.name for job in waiting])
    print(f"{len(waiting)} runs queued")
    if worker:
        queue.ensure_worker(where, study.study.device)


@app.command()
@guarded
def worker(
    store: Store = None,
    device: Annotated[str, typer.Option(help="One worker per device.")] = "auto",
    until_idle: Annotated[bool, typer.Option("--until-idle", help="Stop when nothing waits.")] = False,
    debug: Debug = False,
) -> None:
    """Run what is queued, one run at a time."""
    from engine import queue

    if not queue.work(record.store_path(store), device, until_idle):
        print(f"another worker holds {device}")


@app.command("list")
@guarded
def list_runs(
    store: Store = None, as_json: Annotated[bool, typer.Option("--json")] = False, debug: Debug = False
) -> None:
    """List all runs of the store with their state."""
    where = record.store_path(store)
    found = [
        (f"{study}/{run.name}", _state(run)) for study in record.studies(where) for run in record.runs(where, study)
    ]
    if as_json:
        print(json.dumps([{"run": name, "state": state} for name, state in found], indent=1))
        return
    for name, state in found:
        print(f"{state:10} {name}")


def _state(run: record.Run) -> str:
    """A run's state; one whose files cannot be read is named on stderr and hides no other."""
    try:
        return run.state()
    except record.RecordError as error:
        print(error, file=sys.stderr)
        return "broken"


@app.command()
@guarded
def cancel(name: RunName, store: Store = None, debug: Debug = False) -> None:
    """Stop a run; what it finished stays, and `resume` goes on."""
    from engine import queue

    print(queue.cancel(record.store_path(store), name))


@app.command()
@guarded
def resume(name: RunName, store: Store = None, debug: Debug = False) -> None:
    """Queue a lost, failed or cancelled run again; it goes on from its checkpoint."""
    from engine import queue

    where = record.store_path(store)
    run = record.find_run(where, name)
    if (state := run.state()) in ("done", "running"):
        raise record.RecordError(f"RUN: must be lost, failed, cancelled or queued; {name} is {state}")
    run.reopen()
    queue.submit(where, [name])
    queue.ensure_worker(where, stored(where, run.study).study.device)
    print("queued")
