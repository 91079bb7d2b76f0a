"""A run folder as the processes see it that do not write it (`engine.processes`): they read, and writing does nothing.

They go through the same code as the main process, because what is measured is computed by all of them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.record import Level, Run

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class Mirror(Run):
    """A run that another process writes."""

    def begin(self, config: Mapping[str, Any]) -> None:
        """The main process writes it, or refuses."""

    def finish(self, state: str, **facts: Any) -> None:
        """The main process says how a run ended."""

    def reopen(self) -> None:
        """The main process opens it."""

    def beat(self, **facts: Any) -> None:
        """One heart beats for all."""

    def stop_asked(self) -> bool:
        """The main process stops for all."""
        return False

    def log(self, kind: str, step: int, attempt: int, **facts: Any) -> None:
        """The main process logs."""

    def say(self, text: str) -> None:
        """The main process says it."""

    def write_json(self, name: str, value: Any) -> None:
        """The main process writes it."""

    def write_frame(self, name: str, frame: pd.DataFrame) -> None:
        """The main process writes it."""

    def level(self, sparsity: float, suffix: str = "") -> Level:
        """A level that another process writes."""
        return MirrorLevel(super().level(sparsity, suffix).path)

    def level_at(self, axis: str, value: float) -> Level:
        """A level that another process writes."""
        return MirrorLevel(super().level_at(axis, value).path)


@dataclass(frozen=True)
class MirrorLevel(Level):
    """A level that another process writes."""

    def write_frame(self, name: str, frame: pd.DataFrame) -> None:
        """The main process writes it."""

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray], **metadata: str) -> None:
        """The main process writes it."""

    def write_masks(self, masks: Mapping[str, np.ndarray]) -> None:
        """The main process writes it."""

    def write_size(self, facts: Mapping[str, Any]) -> None:
        """The main process writes it."""
