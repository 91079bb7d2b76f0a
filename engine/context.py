"""One attempt at a run: where it stands, how it says so, and its live checkpoint.

Everything else is passed along as arguments; this is the one thing that every part of a run shares.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from engine import processes
from engine.record import Cancelled, atomic, read_metadata

if TYPE_CHECKING:
    from engine.runner import Job
    from engine.trainer import Progress
    from engine.workbench import Workbench

BEAT_SECONDS, ALIVE_SECONDS = 1.0, 10.0
Report = Callable[[str, float, str], None]  # (run, fraction done, what it does now)


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

        self.run.write_json("env", environment(self.bench.handle, self.bench.study.study.deterministic))
        if processes.main() and not (self.run.path / "text.parquet").exists():
            self.run.write_frame("text", self.bench.text_frame())
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
        if self.run.stop_asked():
            raise Cancelled
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

    # -- the live checkpoint ---------------------------------------------------------------------------------------

    @property
    def _checkpoint(self) -> Any:
        return self.run.path / "checkpoint.safetensors"

    def save(self, state: Progress, cycle: int) -> None:
        """Write weights, moments, generators, masks and where the run stands, atomically."""
        from safetensors.torch import save_file

        if not processes.main():
            return
        facts = {"cycle": cycle, "step": state.step, "done_before": self.done_before, **state.facts}
        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.tensors.items()}
        with atomic(self._checkpoint) as temporary:
            save_file(tensors, temporary, {"facts": json.dumps(facts)})

    def forget(self) -> None:
        """The run is done and needs no checkpoint any more."""
        if processes.main():
            self._checkpoint.unlink(missing_ok=True)

    def load(self) -> tuple[int, Progress] | None:
        """(cycle to go on with, its progress), or None without a checkpoint; step 0 is the start of that cycle."""
        from safetensors.torch import load_file

        from engine.trainer import Progress

        if not self._checkpoint.exists():
            return None
        facts = json.loads(read_metadata(self._checkpoint)["facts"])
        self.done_before = int(facts["done_before"])
        cycle, step = int(facts["cycle"]), int(facts["step"])
        self.run.say(f"resumed at cycle {cycle}, update {step}")
        return cycle, Progress(step, load_file(self._checkpoint), facts)
