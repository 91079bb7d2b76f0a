"""The local queue: one SQLite file in the store, one worker per device, each run in its own process group.

The queue knows nothing that the run folders do not say better: a run's result is its `status.json`. A dead worker
leaves its runs alive; the next one adopts them. Deleting the queue file loses the order of waiting runs and no result.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.record import TERMINAL, Run, find_run, here

POLL_SECONDS, HANDOVER_SECONDS = 0.5, 5.0
STATES = ("queued", "running", "done", "failed", "cancelled", "lost")
_SCHEMA = """
create table if not exists runs (
  name text primary key, state text not null, position integer not null, pid integer, submitted real, started real, finished real, device text
)"""


@dataclass(frozen=True)
class Row:
    """One queued, running or finished run as the queue sees it."""

    name: str
    state: str
    position: int
    pid: int | None
    submitted: float | None
    started: float | None
    finished: float | None
    device: str | None = None

    @property
    def dense(self) -> str:
        """The dense run that this one starts from."""
        study, _, run = self.name.partition("/")
        return f"{study}/dense-s{run.rpartition('-s')[2]}"


@contextmanager
def connect(store: Path) -> Iterator[sqlite3.Connection]:
    """The store's queue, in write-ahead mode so that readers never wait; committed on success, always closed."""
    store.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(store / "queue.sqlite", timeout=30)
    try:
        connection.execute("pragma journal_mode=wal")
        connection.execute(_SCHEMA)
        with connection:
            yield connection
    finally:
        connection.close()


def rows(store: Path) -> list[Row]:
    """All rows in the order of their turn; none where there is no queue yet."""
    if not (store / "queue.sqlite").exists():
        return []
    with connect(store) as connection:
        return [Row(*row) for row in connection.execute("select * from runs order by position")]


def submit(store: Path, names: list[str]) -> None:
    """Queue runs in the given order; one that waits already keeps its place. The caller leaves out what is running."""
    with connect(store) as connection:
        last = connection.execute("select coalesce(max(position), 0) from runs").fetchone()[0]
        for offset, name in enumerate(names, 1):
            connection.execute(
                "insert into runs values (?, 'queued', ?, null, ?, null, null, null) on conflict(name) do update set "
                "state = 'queued', position = excluded.position, submitted = excluded.submitted, pid = null, finished = null "
                "where state != 'queued'",
                (name, last + offset, time.time()),
            )


def cancel(store: Path, name: str) -> str:
    """Stop a run: a waiting one leaves the queue, a running one gets SIGTERM and writes its own state. Returns the state."""
    run = find_run(store, name)
    row = next((row for row in rows(store) if row.name == name), None)
    if row and row.state == "queued":
        _set(store, name, "cancelled")
        run.finish("cancelled", reason="taken from the queue before it began")
        return "cancelled"
    beat = run.heartbeat()
    if row and row.state == "running" and row.pid:
        _terminate(row.pid, whole_group=True)
        return "stopping"
    if run.state() == "running" and beat and not here(beat):
        run.ask_to_stop()
        return "stopping"
    if run.state() == "running" and beat:
        _terminate(int(beat["pid"]), whole_group=False)
        return "stopping"
    return run.state()


def _terminate(pid: int, whole_group: bool) -> None:
    try:
        if whole_group:
            os.killpg(pid, signal.SIGTERM)
        else:
            os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return


def _set(store: Path, name: str, state: str) -> None:
    with connect(store) as connection:
        connection.execute(
            "update runs set state = ?, pid = null, finished = ? where name = ?", (state, time.time(), name)
        )


def _claim(store: Path, row: Row, device: str) -> bool:
    """Take a queued row for this device; False where another worker was faster."""
    with connect(store) as connection:
        taken = connection.execute(
            "update runs set state = 'running', started = ?, device = ?, pid = null where name = ? and state = 'queued'",
            (time.time(), device, row.name),
        )
        return taken.rowcount == 1


# -- the worker --------------------------------------------------------------------------------------------------


def ensure_worker(store: Path, device: str = "auto") -> None:
    """Start a worker in a session of its own unless one holds the lock; its output goes to `worker.log`."""
    with (store / "worker.log").open("ab") as log:
        subprocess.Popen(
            [sys.executable, "-m", "engine", "worker", "--store", str(store), "--device", device, "--until-idle"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=Path(__file__).parent.parent,
        )


def work(store: Path, device: str = "auto", until_idle: bool = False) -> bool:
    """Run what is queued, one run at a time, until stopped (or idle). False where another worker has this device.

    What an earlier worker left running on this device is waited for and settled first.
    """
    from filelock import FileLock, Timeout

    store.mkdir(parents=True, exist_ok=True)
    lock = FileLock(store / f"worker-{device.replace(':', '-')}.lock")
    try:
        # A worker that just found nothing to do still holds the lock for a moment: do not give up on what came since.
        lock.acquire(timeout=HANDOVER_SECONDS)
    except Timeout:
        return False
    try:
        while True:
            orphans = [row for row in rows(store) if row.state == "running" and row.device == device]
            for row in orphans:
                _adopt(store, row)
            waiting = _next(store)
            if waiting and _claim(store, waiting, device):
                _run(store, waiting, device)
            elif until_idle and not any(other.state == "queued" for other in rows(store)):
                return True
            else:
                time.sleep(POLL_SECONDS)
    finally:
        lock.release()


def _next(store: Path) -> Row | None:
    """The first queued run whose dense run is done; a run whose dense run cannot be done any more fails here."""
    waiting = rows(store)
    states = {row.name: row.state for row in waiting}
    for row in waiting:
        if row.state != "queued":
            continue
        dense = Run(store / row.dense)
        if row.name == row.dense or dense.state() == "done":
            return row
        if states.get(row.dense) not in ("queued", "running") and dense.state() != "running":
            run = Run(store / row.name)
            run.path.mkdir(parents=True, exist_ok=True)
            run.finish("failed", reason=f"{row.dense} is {dense.state()}: resume it first")
            _set(store, row.name, "failed")
    return None


def _run(store: Path, row: Row, device: str) -> None:
    """Run one row in its own process group and note how it ended, then bring the derived measures up to date."""
    run = Run(store / row.name)
    run.path.mkdir(parents=True, exist_ok=True)
    with (run.path / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "engine", "execute", row.name, "--store", str(store), "--device", device],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=Path(__file__).parent.parent,
        )
        with connect(store) as connection:
            connection.execute("update runs set pid = ? where name = ?", (process.pid, row.name))
        process.wait()
    _settle(store, row, process.pid)


def _adopt(store: Path, row: Row) -> None:
    """Wait for a run that an earlier worker started, then note how it ended."""
    run = Run(store / row.name)
    while run.state() == "running":
        time.sleep(POLL_SECONDS)
    _settle(store, row, row.pid)


def _settle(store: Path, row: Row, pid: int | None) -> None:
    """Note how a run ended, unless it was queued again in the meantime."""
    status = Run(store / row.name).status()
    state = status["state"] if status and status["state"] in TERMINAL else "lost"
    with connect(store) as connection:
        connection.execute(
            "update runs set state = ?, finished = ?, pid = null where name = ? and state = 'running' and pid is ?",
            (state, time.time(), row.name, pid),
        )
    if state == "done":
        measure(store, row.name.partition("/")[0])


def measure(store: Path, study: str) -> int:
    """Compute derived measures in a process of their own: engine never imports analysis."""
    command = [sys.executable, "-m", "analysis", "measure", str(store), "--study", study]
    with (store / study / "measure.log").open("ab") as log:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=Path(__file__).parent.parent, check=False
        ).returncode
