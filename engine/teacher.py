"""What a frozen model makes of the training examples: a teacher's outputs, and banks of representations (M§4).

They are computed once where they fit, and by the model running along where they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import processes
from engine.data import Encoded, evaluation_batches
from engine.device import dropout_off
from engine.tasks.batches import Blocks, Rows, first_rows, one_each, pool

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn

    from engine.tasks.types import TaskType

MOST_BYTES = 2 * 2**30  # of a teacher's outputs that are kept


@dataclass(frozen=True)
class Seen:
    """One micro-batch as an objective sees it: what the network made of some items of train."""

    kind: TaskType
    logits: Tensor
    hidden: Tensor
    batch: Mapping[str, Tensor]
    items: np.ndarray

    def compared(self) -> Rows:
        """Rows × classes that a distillation compares, in float32."""
        found = self.kind.rows(self.logits, self.batch) or one_each(self.logits, self.batch)
        return found._replace(values=found.values.float())

    def states(self) -> Rows:
        """`z` of M§4 in float32, every row of it."""
        found = self.kind.representation(self.hidden, self.batch)
        return found._replace(values=found.values.float())

    def item_states(self) -> Tensor:
        """One state per item: `z` itself, or the mean over tokens for types whose `z` is one row per token."""
        if self.kind.most_states is None:
            return self.states().values
        pooled = pool(self.hidden, self.batch["attention_mask"], "mean")
        return pooled[first_rows(self.batch)].float()


class Teacher:
    """Outputs of a frozen model for the training examples.

    They are computed once in eval mode, because the teacher does not change and sees no dropout; a live teacher would
    cost a third of every step. The model runs along only where its outputs would not fit (`MOST_BYTES`), or where
    another takes its place before every example has been asked for once.
    """

    def __init__(
        self, kind: TaskType, logits: Blocks | None, states: Blocks | None, live: Callable[[Any], Seen] | None = None
    ) -> None:
        self.kind, self._logits, self._states, self._live = kind, logits, states, live
        self._last: tuple[np.ndarray, Seen] | None = None

    @classmethod
    def of(
        cls, model: nn.Module, encoded: Encoded, kind: TaskType, handle: Accelerator, uses: int | None = None
    ) -> Teacher:
        """Run the model over all examples once, or keep it: `uses` is how many will be asked for (None: every one, often)."""
        if len(encoded) == 0:
            raise ValueError("train: must have at least one example for the teacher; got none")
        see = _seer(model, encoded, kind, handle)
        if (uses is not None and uses < len(encoded)) or _bytes(see(np.arange(1)), encoded) > MOST_BYTES:
            return cls(kind, None, None, see)
        seen = [(found.compared(), found.states()) for found in _all_seen(see, encoded)]
        order = np.concatenate(evaluation_batches(encoded.lengths(), rows=encoded.counts))
        return cls(kind, Blocks.of([a for a, _ in seen], order), Blocks.of([b for _, b in seen], order))

    def logits(self, student: Seen) -> Tensor:
        """The teacher's rows for those of the student, as wide as these."""
        width = student.compared().values.shape[1]
        return (
            self._look(student).compared().values if self._logits is None else self._logits.take(student.items, width)
        )

    def states(self, student: Seen) -> Tensor:
        """The teacher's states for those of the student."""
        return self._look(student).states().values if self._states is None else self._states.take(student.items)

    def _look(self, student: Seen) -> Seen:
        assert self._live is not None
        # Known by its items, which are held: the number of an object that is gone may be given to the next.
        if self._last is None or self._last[0] is not student.items:
            self._last = (student.items, self._live(student.items))
        return self._last[1]


def _seer(model: nn.Module, encoded: Encoded, kind: TaskType, handle: Accelerator) -> Callable[[Any], Seen]:
    """Items of train → what the model makes of them, in eval mode and without gradient."""
    import torch

    def see(items: np.ndarray) -> Seen:
        with torch.no_grad(), dropout_off(model):
            return Seen(kind, *processes.network(model, kind, encoded, items, handle), items)

    return see


def _all_seen(see: Callable[[Any], Seen], encoded: Encoded) -> Iterator[Seen]:
    return (see(items) for items in evaluation_batches(encoded.lengths(), rows=encoded.counts))


def _bytes(one: Seen, encoded: Encoded) -> int:
    """Bytes of all outputs, from those of one item and the lengths of all."""
    tokens = float(encoded.row_lengths().sum()) / max(1, int(one.batch["attention_mask"].sum()))
    rows = [found.values.numel() for found in (one.compared(), one.states())]
    per_token = any(found.values.shape[0] > 1 for found in (one.compared(), one.states()))
    return int(4 * sum(rows) * (tokens if per_token else len(encoded)))


def item_bank(model: nn.Module, encoded: Encoded, kind: TaskType, handle: Accelerator) -> Tensor:
    """One state of unit length per training example, N×D in half precision: what a bank holds (M§4.4)."""
    import torch
    from torch.nn import functional

    found = [seen.item_states() for seen in _all_seen(_seer(model, encoded, kind, handle), encoded)]
    order = np.concatenate(evaluation_batches(encoded.lengths(), rows=encoded.counts))
    states_ND = torch.cat(found)[torch.from_numpy(np.argsort(order, kind="stable")).to(found[0].device)]
    return functional.normalize(states_ND, dim=1).half()
