"""What an objective compares the network with while it trains: a teacher, reference weights, banks of representations.

An objective is a pure function and a row (`engine.objectives`); what it needs is collected and kept here. `build`
goes by the row's `needs`, the training loop calls the same few methods of whatever comes out (M§4).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import processes
from engine.data import Encoded, evaluation_batches
from engine.device import dropout_off
from engine.model import Matrix
from engine.objectives import OBJECTIVES
from engine.plan import Part
from engine.tasks.batches import Blocks, Rows, first_rows, one_each, pool, thinned

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn

    from engine.tasks.types import TaskType

HELD_OUT, HELD_OUT_MOST = 0.05, 256  # of the training examples, to choose a self-regularising teacher on
MOST_BYTES = 2 * 2**30  # of a teacher's outputs that are kept
REFRESHES = 10  # of that teacher along an independent path (M§4.3)


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
    """Outputs of a frozen model for every training example.

    They are computed once in eval mode, because the teacher does not change and sees no dropout; a live teacher would
    cost a third of every step. Only where they would not fit (`MOST_BYTES`) does the model run along.
    """

    def __init__(
        self, kind: TaskType, logits: Blocks | None, states: Blocks | None, live: Callable[[Any], Seen] | None = None
    ) -> None:
        self.kind, self._logits, self._states, self._live = kind, logits, states, live
        self._last: tuple[int, Seen] | None = None

    @classmethod
    def of(cls, model: nn.Module, encoded: Encoded, kind: TaskType, handle: Accelerator) -> Teacher:
        """Run the model over all examples once, or keep it where its outputs are too large to keep."""
        if len(encoded) == 0:
            raise ValueError("train: must have at least one example for the teacher; got none")
        see = _seer(model, encoded, kind, handle)
        if _bytes(see(np.arange(1)), encoded) > MOST_BYTES:
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
        if self._last is None or self._last[0] != id(student):
            self._last = (id(student), self._live(student.items))
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


class Distilled(Guidance):
    """Compares outputs with the dense model's (self-distilled pruning, M§4.2)."""

    def __init__(self, part: Part, teacher: Teacher) -> None:
        super().__init__(part)
        self.teacher = teacher

    def loss(self, task_loss: Tensor, seen: Seen) -> tuple[Tensor, Logged]:
        """As the row's function says; of many states a batch brings at most as many as the type allows."""
        assert self.row.function is not None
        needs, most = self.row.needs, seen.kind.most_states
        logits = (seen.compared().values, self.teacher.logits(seen)) if "teacher_logits" in needs else (None, None)
        states_: tuple[Any, Any] = (None, None)
        if "teacher_states" in needs:
            states_ = (thinned(seen.states().values, most), thinned(self.teacher.states(seen), most))
        found: tuple[Tensor, Logged] = self.row.function(
            task_loss, logits[0], states_[0], logits[1], states_[1], **self.part.parameters
        )
        return found


class Anchored(Guidance):
    """Pulls weights towards reference weights, by closed-form gradients (AlignReg, M§4.1).

    `own`: the reference is a dense model that this run alone has, which a checkpoint therefore holds.
    """

    def __init__(self, part: Part, reference_OI: Mapping[str, Tensor], own: bool = False) -> None:
        super().__init__(part)
        self.reference, self.own = reference_OI, own

    def tensors(self) -> dict[str, Tensor]:
        """The reference, where no other run has it."""
        return {f"reference/{name}": value for name, value in self.reference.items()} if self.own else {}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` gave."""
        if tensors:
            self.reference = {name.partition("/")[2]: value for name, value in tensors.items()}

    def add_gradients(self, matrices: list[Matrix], factors_OI: Callable[[], Mapping[str, Tensor]]) -> dict[str, float]:
        """Add λ∇R; log R and `λ‖∇R‖/‖∇task‖`."""
        import torch

        from engine.objectives import alignreg_step

        strength = float(self.part.parameters["strength"])
        weights = {matrix.name: matrix.weight_OI() for matrix in matrices}
        grads = {matrix.name: matrix.orient(matrix.module.weight.grad) for matrix in matrices}
        task_norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(grads.values()))))
        shape = {name: self.part.parameters[name] for name in self.row.options["shape"]}
        found = alignreg_step(self.part.name, self.reference, weights, factors_OI(), grads, strength, **shape)
        value, norm, task = torch.stack([number.double() for number in (*found, task_norm)]).tolist()
        return {"penalty": value, "penalty_ratio": strength * norm / max(task, 1e-30)}


class SelfRegularised(Guidance):
    """Learns from the network's own latest checkpoint of increasing sparsity (PINS, M§4.3).

    Candidates are scored on a slice held out of train, never on the reported sets; the best since the last refresh
    becomes the teacher: when a cycle ends on an iterative path, after every tenth of the sparsity on an independent
    one. There is none at first, and the task loss alone counts until then.
    """

    def __init__(self, part: Part, model: nn.Module, train: Encoded, kind: TaskType, handle: Accelerator, order: np.ndarray,
                 score: Callable[[np.ndarray], float], iterative: bool) -> None:  # fmt: skip
        super().__init__(part)
        self.model, self.train, self.kind, self.handle = model, train, kind, handle
        self.held = np.sort(order[: max(1, min(HELD_OUT_MOST, round(HELD_OUT * len(order))))])
        self._is_held = np.zeros(len(train), dtype=bool)
        self._is_held[self.held] = True
        self.score, self.iterative = score, iterative
        self.teacher: Teacher | None = None
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
            return task_loss, {}
        assert self.row.function is not None
        labels = seen.kind.row_labels(seen.batch)
        value = self.row.function(seen.compared().values, self.teacher.logits(seen), labels, **self.part.parameters)
        return value, {"self_regularised": value.detach()}

    def cycle_begins(self, total: int, level: float, target: Callable[[int], float]) -> None:
        """Place candidates and refreshes: by equal steps of the sparsity, or at the end of the cycle."""
        if self.iterative:
            self.refreshes = set()
            # Not those of a phase without its mask: the teacher is a checkpoint of the sparsity that the cycle has reached.
            points = np.linspace(0, total, 5).round().astype(int)[1:].tolist() if total else []
            self.candidates = {done for done in points if target(done) >= target(0)}
            return
        if total == 0:
            self.candidates = self.refreshes = set()
            return
        self.teacher, self.best, self.best_score = None, {}, -np.inf
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
        if not self.best:
            return
        self._teach(self.best)
        self.best, self.best_score = {}, -np.inf

    def _teach(self, weights: Mapping[str, Tensor]) -> None:
        """Make a teacher of a checkpoint: a copy of the network, because its outputs may be too large to keep."""
        self.weights = dict(weights)
        model = copy.deepcopy(self.model)
        model.load_state_dict(self.weights)
        self.teacher = Teacher.of(model, self.train, self.kind, self.handle)

    def tensors(self) -> dict[str, Tensor]:
        """The teacher's weights and the best candidate since."""
        import torch

        found = {f"best/{name}": value for name, value in self.best.items()}
        found["best_score"] = torch.tensor(self.best_score, dtype=torch.float64)
        return found if self.teacher is None else {**found, **{f"teacher/{k}": v for k, v in self.weights.items()}}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` gave."""
        kept = {
            group: {k.partition("/")[2]: v for k, v in tensors.items() if k.startswith(f"{group}/")}
            for group in ("best", "teacher")
        }
        self.best, self.best_score = kept["best"], float(tensors["best_score"])
        if kept["teacher"]:
            self._teach(kept["teacher"])


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


def reference_weights(source: nn.Module, matrices: list[Matrix]) -> dict[str, Tensor]:
    """Copies of another model's matrices, outputs × inputs, by the names of `matrices`."""
    return {
        matrix.name: matrix.orient(source.get_submodule(matrix.name).weight.detach()).clone() for matrix in matrices
    }
