"""What runs, what waits and how the others ended: the queue's word and the run folders' together, never cached."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from engine import queue, record
from pages.ui import loading

STARTING_SECONDS = 120.0  # a run that the queue has just started loads its libraries before its first sign of life


@dataclass(frozen=True)
class Live:
    """One run as the Monitor sees it: the queue's word and the run folder's together."""

    name: str
    state: str
    position: int | None
    step: int
    total: int
    phase: str
    eta: float | None
    beat_age: float | None
    reason: str
    changed: float
    memory: int = 0

    @property
    def active(self) -> bool:
        """Does it run, or will it?"""
        return self.state in ("running", "starting", "queued")

    @property
    def fraction(self) -> float:
        """How far it is, from 0 to 1."""
        return min(1.0, self.step / self.total) if self.total else 0.0


def runs(study: str | None = None) -> list[Live]:
    """Every run of the store (or of one study), never cached: first what runs, then what waits, then the rest, newest first."""
    where, now = loading.store(), time.time()
    rows = {row.name: row for row in queue.rows(where)}
    waiting = [row.name for row in rows.values() if row.state == "queued"]
    chosen = [study] if study else sorted({*record.studies(where), *(name.partition("/")[0] for name in rows)})
    names = {f"{name}/{run.name}" for name in chosen for run in record.runs(where, name)}
    names |= {name for name in rows if name.partition("/")[0] in chosen}
    found = [_live(record.Run(where / name), rows.get(name), waiting, now) for name in names]
    order = {"running": 0, "starting": 1, "queued": 2}
    return sorted(found, key=lambda run: (order.get(run.state, 3), run.position or 0, -run.changed, run.name))


def _live(run: record.Run, row: queue.Row | None, waiting: list[str], now: float) -> Live:
    name = f"{run.study}/{run.name}"
    try:
        status, beat = run.status() or {}, run.heartbeat() or {}
        if (run.path / "config.json").exists():
            run.config()
        state = _state(run, row, now)
    except (record.RecordError, OSError, ValueError, KeyError, TypeError) as error:
        return Live(name, "unreadable", None, 0, 0, "", None, None, str(error), 0.0)
    age = now - float(beat["time"]) if "time" in beat else None
    eta = beat.get("eta_seconds") if state == "running" else None
    return Live(
        name=name,
        state=state,
        position=waiting.index(name) + 1 if state == "queued" and name in waiting else None,
        step=int(beat.get("step") or 0),
        total=int(beat.get("total") or 0),
        phase=str(beat.get("phase") or "") if state == "running" else "",
        eta=None if eta is None else max(0.0, float(eta) - (age or 0.0)),
        beat_age=age,
        reason=str(status.get("reason") or ""),
        memory=_memory(int(beat.get("pid") or 0)) if state == "running" else 0,
        changed=float(status.get("time") or beat.get("time") or (row.submitted if row and row.submitted else 0.0)),
    )


def _memory(pid: int) -> int:
    """Bytes of main memory of a process of this machine; 0 where there is none to see."""
    import psutil

    try:
        return int(psutil.Process(pid).memory_info().rss) if pid else 0
    except psutil.Error:
        return 0


def _state(run: record.Run, row: queue.Row | None, now: float) -> str:
    """The run folder's word, except where only the queue can know: a run that waits, or has just been started."""
    state = run.state(now)
    if row is None and state == "queued":  # has a configuration, no sign of life, and nobody will start it
        return "lost"
    if row is None or state in (*record.TERMINAL, "running"):
        return _words(state)
    if row.state == "queued":
        return "queued"
    if row.state == "running" and row.started and now - row.started < STARTING_SECONDS:
        return "starting"
    return "lost" if row.state == "running" else _words(state)


def _words(state: str) -> str:
    return "not begun" if state == "missing" else state


def log_tail(path: Path, count: int = 60, most_bytes: int = 64_000) -> str:
    """The last lines of a log file, however long the file is; empty where there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as handle:
        handle.seek(max(0, path.stat().st_size - most_bytes))
        text = handle.read().decode("utf-8", errors="replace")
    return "\n".join(text.splitlines()[-count:])
