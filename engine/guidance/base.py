"""What the training loop calls of an objective that compares with nothing; the others build on it (M§4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from engine.objectives import OBJECTIVES

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from engine.model import Matrix
    from engine.plan import Part
    from engine.teacher import Seen

Logged = Mapping[str, Any]
View = Callable[[], AbstractContextManager[None]]


class Guidance:
    """An objective that compares with nothing: the task loss alone; the others build on it."""

    def __init__(self, part: Part) -> None:
        self.part, self.row = part, OBJECTIVES[part.name]

    @property
    def batch_coupled(self) -> bool:
        """Does the loss depend on which examples share a batch, so that one must not be split?"""
        return bool(self.row.options.get("batch_coupled"))

    def training_rows(self, rows: np.ndarray) -> np.ndarray:
        """The rows of a batch that train."""
        return rows

    def loss(self, task_loss: Tensor, seen: Seen) -> tuple[Tensor, Logged]:
        """The whole loss of a micro-batch, and what to log of it."""
        return task_loss, {}

    def add_gradients(self, matrices: list[Matrix], factors_OI: Callable[[], Mapping[str, Tensor]]) -> dict[str, float]:
        """Add an objective in the weights to their (already masked) gradients; `factors_OI` gives the masks."""
        return {}

    def step_done(self, done: int, view: View) -> None:
        """`done` updates of the cycle are made; inside `view()` the network is as its masks leave it."""

    def epoch_done(self, view: View) -> None:
        """An epoch is over."""

    def cycle_begins(self, total: int, level: float, target: Callable[[int], float]) -> None:
        """A cycle of `total` updates follows, whose sparsity after an update is `target`."""

    def cycle_done(self) -> None:
        """A cycle is over and its weights are final."""

    def tensors(self) -> dict[str, Tensor]:
        """What a resumed run needs and cannot compute again."""
        return {}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` gave."""
