"""Contrast with banks of stored representations (CAP, M§4.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from engine.guidance.base import Guidance, Logged, View
from engine.teacher import item_bank

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn

    from engine.data import Encoded
    from engine.plan import Part
    from engine.tasks.types import TaskType
    from engine.teacher import Seen, Teacher


class Contrasted(Guidance):
    """Contrasts every example with banks of the pretrained, the earlier and the fine-tuned model (CAP, M§4.4).

    Banks hold one row per training example and model, encoded in eval mode and kept in half precision. Snapshots
    of earlier sparsities are added when a level is done on an iterative path, after every epoch on an
    independent one; the oldest goes when there are too many.
    """

    def __init__(self, part: Part, model: nn.Module, train: Encoded, kind: TaskType, handle: Accelerator, teacher: Teacher,
                 banks: Mapping[str, Tensor], labels: np.ndarray, iterative: bool) -> None:  # fmt: skip
        super().__init__(part)
        self.model, self.train, self.kind, self.handle, self.teacher = model, train, kind, handle, teacher
        self.iterative = iterative
        self.banks = {name: bank[:, None] for name, bank in banks.items()}
        self.snapshots: Tensor | None = None  # N×s×D: put together once, because a step must not copy gigabytes
        self.done = self.total = 0
        self.classes = labels
        self.labels: Tensor | None = None

    def loss(self, task_loss: Tensor, seen: Seen) -> tuple[Tensor, Logged]:
        """The row's function on all banks there are."""
        import torch

        assert self.row.function is not None
        states_ = seen.item_states()
        if self.labels is None:
            self.labels = torch.from_numpy(self.classes).to(states_.device)
        banks = {**self.banks, **({} if self.snapshots is None else {"snapshots": self.snapshots})}
        rows = torch.from_numpy(np.asarray(seen.items, dtype=np.int64)).to(states_.device)
        others = {name: self._others(seen.items, bank.shape[1]).to(states_.device) for name, bank in banks.items()}
        found: tuple[Tensor, Logged] = self.row.function(
            task_loss, seen.compared().values, states_, self.teacher.logits(seen), banks, rows, others, self.labels,
            **self.part.parameters,
        )  # fmt: skip
        return found

    def _others(self, rows: np.ndarray, per_example: int) -> Tensor:
        """Random other examples, as many as the number of negatives allows or as there are."""
        import torch

        # Seeded from torch's generator, which the loop reseeds every epoch and a checkpoint restores.
        generator = np.random.default_rng(int(torch.randint(2**62, (1,))))
        wanted = int(self.part.parameters["negatives"]) // per_example + len(rows)
        drawn = generator.choice(len(self.train), min(wanted, len(self.train)), replace=False)
        drawn = drawn[~np.isin(drawn, rows)][: int(self.part.parameters["negatives"]) // per_example]
        return torch.from_numpy(drawn.astype(np.int64))

    def step_done(self, done: int, view: View) -> None:
        """Remember where the cycle stands."""
        self.done = done

    def epoch_done(self, view: View) -> None:
        """A snapshot of an independent training, where an epoch follows that learns from it."""
        if not self.iterative and self.done < self.total:
            with view():
                self._snapshot()

    def cycle_begins(self, total: int, level: float, target: Callable[[int], float]) -> None:
        """An independent training begins without snapshots."""
        self.total = total
        if not self.iterative:
            self.snapshots = None

    def cycle_done(self) -> None:
        """A snapshot of this level, for the levels after it."""
        if self.iterative:
            self._snapshot()

    def _snapshot(self) -> None:
        if self.part.parameters["snapshots"]:
            import torch

            latest = item_bank(self.model, self.train, self.kind, self.handle)[:, None]
            kept = int(self.part.parameters["most_snapshots"]) - 1
            older = [] if self.snapshots is None or not kept else [self.snapshots[:, -kept:]]
            self.snapshots = torch.cat([*older, latest], 1)

    def tensors(self) -> dict[str, Tensor]:
        """The snapshots; the other banks are computed again."""
        return {} if self.snapshots is None else {"snapshots": self.snapshots}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` gave."""
        self.snapshots = tensors.get("snapshots")
