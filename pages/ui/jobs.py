"""Work that pages hand to processes of their own: the app never loads torch and never computes.

`call` waits for a short command. `start` leaves a longer one running in its own session with its output in files, so
that a reload, a closed tab or a restarted server finds it again by its folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import record
from pages.ui import live, loading

ROOT = Path(__file__).parent.parent.parent
_CHILDREN: dict[str, subprocess.Popen[bytes]] = {}  # so that ended processes are reaped and not taken for living ones


def command(arguments: list[str]) -> list[str]:
    """The command line of `python -m …` with this server's Python."""
    return [sys.executable, "-m", *arguments]


def call(arguments: list[str], timeout: float = 120) -> tuple[int, list[str]]:
    """Run a short command; returns its exit code and the lines of its standard error (or that it took too long)."""
    try:
        done = subprocess.run(
            command(arguments),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 1, [f"no answer within {timeout:.0f} s"]
    return done.returncode, [line for line in done.stderr.splitlines() if line.strip()]


@dataclass(frozen=True)
class Job:
    """A command that runs on its own; its folder holds `job.json`, `output.txt` and `errors.txt`."""

    folder: Path

    def start(self, arguments: list[str], about: str) -> None:
        """Start the command; `about` says what it was asked about, so that an old answer is not taken for a new one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "job.json").unlink(missing_ok=True)
        with (self.folder / "output.txt").open("wb") as output, (self.folder / "errors.txt").open("wb") as errors:
            child = subprocess.Popen(
                command(arguments),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        _CHILDREN[str(self.folder)] = child
        record.write_json(self.folder / "job.json", {"pid": child.pid, "about": about, "started": time.time()})

    def facts(self) -> dict[str, Any]:
        """What was started, or nothing."""
        path = self.folder / "job.json"
        return dict(record.read_json(path)) if path.exists() else {}

    def running(self) -> bool:
        """Is the process still at work?"""
        child = _CHILDREN.get(str(self.folder))
        if child is not None:
            return child.poll() is None
        pid = self.facts().get("pid")
        return bool(pid) and _alive(int(pid))

    def output(self) -> Any:
        """What it printed, as JSON; None where it printed no JSON."""
        path = self.folder / "output.txt"
        return loading.as_json(path.read_text(encoding="utf-8", errors="replace")) if path.exists() else None

    def errors(self) -> list[str]:
        """The lines of its standard error."""
        path = self.folder / "errors.txt"
        return [line for line in live.log_tail(path).splitlines() if line.strip()]

    def forget(self) -> None:
        """Take its answer away."""
        (self.folder / "job.json").unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
