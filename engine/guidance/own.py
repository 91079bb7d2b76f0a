"""Comparison with the network's own latest checkpoint of increasing sparsity (PINS, M§4.3)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from engine.guidance.base import Guidance, Logged, View
from engine.teacher import Teacher

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn

    from engine.data import Encoded
    from engine.plan import Part
    from engine.tasks.types import TaskType
    from engine.teacher import Seen

HELD_OUT, HELD_OUT_MOST = 0.05, 256  # of the training examples, to choose the teacher on
REFRESHES = 10  # of the teacher along an independent path (M§4.3)


class SelfRegularised(Guidance):
    """Learns from the network's own latest checkpoint of increasing sparsity (PINS, M§4.3).

    Candidates are scored on a slice held out of train, never on the reported sets; the best since the last refresh
    becomes the teacher: when a cycle ends on an iterative path, after every tenth of the sparsity on an independent
    one. There is none at first, and the task loss alone counts until then.
    """

    def __init__(self, part: Part, model: nn.Module, train: Encoded, kind: TaskType, handle: Accelerator, order: np.ndarray,
                 batch_size: int, score: Callable[[np.ndarray], float], iterative: bool) -> None:  # fmt: skip
        super().__init__(part)
        self.model, self.train, self.kind, self.handle = model, train, kind, handle
        self.held = np.sort(order[: max(1, min(HELD_OUT_MOST, round(HELD_OUT * len(order))))])
        self._is_held = np.zeros(len(train), dtype=bool)
        self._is_held[self.held] = True
        self.score, self.iterative = score, iterative
        self.teacher: Teacher | None = None  # made of `weights` when it is first asked
        self.batch_size, self.done, self.total, self.taught = batch_size, 0, 0, 0
        self.best: dict[str, Tensor] = {}
        self.weights: dict[str, Tensor] = {}
        self.best_score = -np.inf
        self.candidates: set[int] = set()
        self.refreshes: set[int] = set()

    def training_rows(self, rows: np.ndarray) -> np.ndarray:
        """Without the held-out slice; the number and the order of the updates stay those of every other arm."""
        left = rows[~self._is_held[rows]]
        if len(left) or self._is_held.all():
            return left if len(left) else rows
        free = np.flatnonzero(~self._is_held)  # a batch held out as a whole trains on others: none is ever trained on
        return free[rows % len(free)]

    def loss(self, task_loss: Tensor, seen: Seen) -> tuple[Tensor, Logged]:
        """`self_regularised` once there is a teacher."""
        if self.teacher is None:
            if not self.weights:
                return task_loss, {}
            self.teacher = self._teach()
        assert self.row.function is not None
        labels = seen.kind.row_labels(seen.batch)
        value = self.row.function(seen.compared().values, self.teacher.logits(seen), labels, **self.part.parameters)
        return value, {"self_regularised": value.detach()}

    def cycle_begins(self, total: int, level: float, target: Callable[[int], float]) -> None:
        """Place candidates and refreshes: by equal steps of the sparsity, or at the end of the cycle."""
        self.total, self.done, self.taught = total, 0, 0
        if self.iterative:
            self.refreshes = set()
            # Not those of a phase without its mask: the teacher is a checkpoint of the sparsity that the cycle has reached.
            points = np.linspace(0, total, 5).round().astype(int)[1:].tolist() if total else []
            self.candidates = {done for done in points if target(done) >= target(0)}
            return
        self.teacher, self.weights, self.best, self.best_score = None, {}, {}, -np.inf
        shares = np.array([target(done) for done in range(1, total + 1)])
        # A hair less: level · 10 / 10 may lie above the level, which the schedule reaches and never passes.
        wanted = [level * part / REFRESHES - 1e-9 for part in range(1, REFRESHES + 1)]
        marks = [int(np.argmax(shares >= share)) + 1 for share in wanted]
        self.refreshes = {mark for mark in marks if shares[mark - 1] > 0}
        starts = [1, *sorted(self.refreshes)]
        middle = {(first + last) // 2 for first, last in pairwise(starts)}
        self.candidates = {done for done in middle | self.refreshes if done >= 1}

    def step_done(self, done: int, view: View) -> None:
        """Score a candidate where one is due, and refresh the teacher where that is."""
        self.done = done
        if done in self.candidates:
            with view():
                self._consider()
        if done in self.refreshes:
            self._refresh()

    def cycle_done(self) -> None:
        """On an iterative path the next level learns from this one's best."""
        if self.iterative:
            self._refresh()

    def _consider(self) -> None:
        found = self.score(self.held)
        if found > self.best_score:
            self.best_score = found
            self.best = {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    def _refresh(self) -> None:
        """The best candidate is the next teacher, which is not made before a step asks for it: none may follow."""
        if not self.best:
            return
        self.weights, self.teacher, self.taught = self.best, None, self.done
        self.best, self.best_score = {}, -np.inf

    def _teach(self) -> Teacher:
        """Make the teacher: a copy of the network, because it may have to run along."""
        model = copy.deepcopy(self.model)
        model.load_state_dict(self.weights)
        self.weights = model.state_dict()
        # Counted from where it took its place, so that a resumed run makes it in the same way.
        until = min((mark for mark in self.refreshes if mark > self.taught), default=self.total)
        return Teacher.of(model, self.train, self.kind, self.handle, (until - self.taught) * self.batch_size)

    def tensors(self) -> dict[str, Tensor]:
        """The teacher's weights, the update at which it took its place, and the best candidate since."""
        import torch

        found = {f"best/{name}": value for name, value in self.best.items()}
        found["best_score"] = torch.tensor(self.best_score, dtype=torch.float64)
        found["taught"] = torch.tensor(self.taught)
        return {**found, **{f"teacher/{name}": value for name, value in self.weights.items()}}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` gave."""
        kept = {
            group: {k.partition("/")[2]: v for k, v in tensors.items() if k.startswith(f"{group}/")}
            for group in ("best", "teacher")
        }
        self.best, self.best_score = kept["best"], float(tensors["best_score"])
        self.weights, self.teacher, self.taught = kept["teacher"], None, int(tensors["taught"])
