"""The runs of a study as tasks of a Ray cluster: one task per run, the dense run of a seed before those that start from it.

Store, study and program lie on a file system that all machines share, under the same path; what a task does is what a
local worker does, and the run folder is all that comes back. A task whose worker or machine died is started again, and
goes on from the run's checkpoint. A run that failed by itself is not: it would fail again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config import ConfigError
from engine.record import Cancelled, RecordError, Run

if TYPE_CHECKING:
    from engine.config import Study
    from engine.progress import Display
    from engine.runner import Job

RETRIES = 3  # of a run whose worker or machine died
POLL_SECONDS, STOP_SECONDS = 1.0, 60.0
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Task:
    """One run as the cluster sees it: its name, the run that it waits for, and what it takes of a machine."""

    name: str
    after: str | None
    takes: Mapping[str, float]


def tasks(jobs: Sequence[Job], takes: Mapping[str, float]) -> list[Task]:
    """A task for every run that is not done, each dense run before those that start from it."""
    left = {job.name: job for job in jobs if job.run.state() != "done"}
    found = []
    for name, job in left.items():
        dense = f"{job.run.study}/dense-s{job.run.seed}"
        found.append(Task(name, dense if job.needs_dense and dense in left else None, takes))
    return sorted(found, key=lambda task: task.after is not None)  # stable: dense runs first, the others in their order


def resources(device: str, gpus: float) -> tuple[str, dict[str, float]]:
    """(the device of every run, what a run takes): a GPU each, else a processor core each.

    `gpus`: those of the whole cluster. Which one a run gets is the cluster's choice, so a study must not number it.
    """
    if ":" in device:
        raise ConfigError([f"study.device: must be auto, cpu or cuda on a cluster, which assigns GPUs; got {device!r}"])
    if device == "cuda" and not gpus:
        raise ConfigError(["study.device: must be auto or cpu on this cluster, which has no GPU; got 'cuda'"])
    if device == "cpu" or not gpus:
        return "cpu", {"num_cpus": 1, "num_gpus": 0}
    return "cuda", {"num_cpus": 1, "num_gpus": 1}


def connect() -> Any:
    """The module `ray`, connected to the cluster at `$RAY_ADDRESS`, else to the one that runs on this machine."""
    try:
        import ray
    except ImportError:
        raise ConfigError(
            ["executor: ray needs the package of that name: pip install -r requirements-cluster.txt"]
        ) from None
    if not ray.is_initialized():
        address = os.environ.get("RAY_ADDRESS") or "auto"
        try:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(
                [
                    f"executor: ray must find a running cluster at {address!r}; {error}: start one with `ray start --head` "
                    "or set RAY_ADDRESS (for one machine alone, local does)"
                ]
            ) from None
    return ray


# -- on a machine of the cluster -----------------------------------------------------------------------------------


def perform(store: str, name: str, device: str, before: str = "done") -> str:
    """Do one run, or the rest of one, and return its state; `before` is that of the run it waited for.

    Nothing is raised that `status.json` says: the cluster would take it for a reason to try again.
    """
    from engine.runner import execute_stored

    run = Run(Path(store) / name)
    if not (run.path.parent / "study.toml").is_file():
        raise RecordError(f"store: must be on a file system that all machines share; {store} is not on this one")
    if status := run.status():
        return str(status["state"])  # an earlier try ended it, or somebody cancelled it
    if run.stop_asked():
        run.finish("cancelled", reason="asked to stop before it began")
    elif before != "done":
        run.finish("failed", reason=f"{run.study}/dense-s{run.seed} is {before}: resume it first")
    else:
        try:
            return execute_stored(Path(store), name, device)
        except (Cancelled, KeyboardInterrupt):
            pass
        except Exception:
            if run.status() is None:
                raise
    return str((run.status() or {"state": "lost"})["state"])


# -- where the study was started -----------------------------------------------------------------------------------


def run_all(ray: Any, jobs: Sequence[Job], store: Path, study: Study, display: Display) -> list[str]:
    """Submit all runs that are not done and wait for them; one line per run that did not end well.

    Stopped from the keyboard or by a signal, it stops every task, and the runs say that they were cancelled.
    """
    from engine.runner import terminable

    device, takes = resources(study.study.device, ray.cluster_resources().get("GPU", 0))
    runs = {job.name: job.run for job in jobs}
    waiting = tasks(jobs, takes)
    for name in runs.keys() - {task.name for task in waiting}:
        display.end(name, "done")
    for task in waiting:
        runs[task.name].path.mkdir(parents=True, exist_ok=True)
        runs[task.name].reopen()
    pending = submit(ray, waiting, store, device)
    try:
        with terminable():
            return _watch(ray, pending, runs, display)
    except (KeyboardInterrupt, Cancelled):
        stop(ray, pending, runs)
        raise


def submit(ray: Any, waiting: Sequence[Task], store: Path, device: str) -> dict[str, Any]:
    """Hand the tasks to the cluster, each with the result of the one it waits for; name → the promise of its state."""
    environment = {key: value for key, value in os.environ.items() if key.startswith("HF_")}
    environment["PYTHONPATH"] = str(ROOT)
    found: dict[str, Any] = {}
    for task in waiting:
        # A worker process does one task: the next starts with an empty GPU and generators of its own.
        remote = ray.remote(max_retries=RETRIES, max_calls=1, runtime_env={"env_vars": environment}, **task.takes)(
            perform
        )
        before = "done" if task.after is None else found[task.after]
        found[task.name] = remote.options(name=task.name).remote(str(store), task.name, device, before)
    return found


def _watch(ray: Any, pending: Mapping[str, Any], runs: Mapping[str, Run], display: Display) -> list[str]:
    """Show how far the runs are until all have ended; one line per run that did not end well."""
    names = {promise: name for name, promise in pending.items()}
    started, left, failed = time.time(), list(names), []
    while left:
        ended, left = ray.wait(left, num_returns=1, timeout=POLL_SECONDS)
        for promise in left:
            _show(runs[names[promise]], names[promise], started, display)
        for promise in ended:
            name = names[promise]
            state, reason = _ended(ray, promise, runs[name])
            display.end(name, state)
            failed += [] if state == "done" else [f"{name}: {reason}"]
    return failed


def _show(run: Run, name: str, started: float, display: Display) -> None:
    """A run that has begun since."""
    beat = run.heartbeat()
    if beat and float(beat["time"]) >= started:
        display.show(name, int(beat["step"]) / max(1, int(beat["total"])), str(beat["phase"]))


def _ended(ray: Any, promise: Any, run: Run) -> tuple[str, str]:
    """(state, reason) of a task that is over; one that the cluster gave up is marked as failed."""
    try:
        state = ray.get(promise)
    except Exception as error:
        state, lines = "failed", str(error).strip().splitlines() or [type(error).__name__]
        if run.status() is None:
            run.finish(state, reason=lines[-1].strip())
    status = run.status() or {"state": state}
    return str(status["state"]), str(status.get("reason", status["state"]))


def stop(ray: Any, pending: Mapping[str, Any], runs: Mapping[str, Run]) -> None:
    """Stop every task that is not over and wait until it has said so; one that never began is marked here."""
    promises = list(pending.values())
    _, left = ray.wait(promises, num_returns=len(promises), timeout=0)
    names = {promise: name for name, promise in pending.items()}
    for promise in left:
        runs[names[promise]].ask_to_stop()
        ray.cancel(promise)
    ray.wait(promises, num_returns=len(promises), timeout=STOP_SECONDS)
    for promise in left:
        run = runs[names[promise]]
        if run.status() is None:
            run.finish("cancelled", reason="asked to stop")
