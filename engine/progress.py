"""What a terminal shows of a study that runs: a bar for the study, one for every run that is on its way, a line at its end."""

from __future__ import annotations

from types import TracebackType
from typing import Any


class Display:
    """Bars on a terminal, lines where there is none (a log file, a pipe); nothing when `quiet`."""

    def __init__(self, total: int, quiet: bool = False) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self.total, self.quiet, self.console = total, quiet, Console(quiet=quiet)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[phase]}", markup=False),
            TimeElapsedColumn(),
        )
        self._bars = Progress(*columns, console=self.console)
        self._tasks: dict[str, Any] = {}
        self._ended = 0

    def __enter__(self) -> Display:
        self._bars.start()
        self._whole = self._bars.add_task("all runs", total=self.total, phase="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def note(self, text: str) -> None:
        """Something to know before the runs begin."""
        self.console.print(f"note: {text}", markup=False, highlight=False)

    def show(self, name: str, fraction: float, phase: str) -> None:
        """A run is on its way."""
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=1.0, phase=phase)
        self._bars.update(self._tasks[name], completed=fraction, phase=phase)

    def end(self, name: str, state: str) -> None:
        """A run has ended in this state."""
        self._ended += 1
        if name in self._tasks:
            self._bars.remove_task(self._tasks.pop(name))
        self._bars.update(self._whole, completed=self._ended, phase=f"{self._ended} of {self.total}")
        if not self.console.is_terminal and not self.quiet:
            print(f"{self._ended}/{self.total} {name}: {state}", flush=True)
