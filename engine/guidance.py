"""What an objective compares the network with while it trains: a teacher, reference weights, banks of representations.

An objective is a pure function and a row (`engine.objectives`); what it needs is collected and kept here. `build`
goes by the row's `needs`, the training loop calls the same few methods of whatever comes out (M§4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.data import Encoded
from engine.model import Matrix, inputs, pool, states
from engine.objectives import OBJECTIVES
from engine.plan import Part

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor, nn

    from engine.tasks.types import TaskType

HELD_OUT, HELD_OUT_MOST = 0.05, 256  # of the training examples, to choose a self-regularising teacher on
REFRESHES = 10  # of that teacher along an independent path (M§4.3)


class Teacher:
    """Outputs of a frozen model for every training example: logits and pooled last states.

    They are computed once in eval mode, because the teacher does not change and sees no dropout; a live teacher would
    cost a third of every step.
    """

    def __init__(self, logits: Tensor, states: Tensor) -> None:
        self.logits, self.states = logits, states

    @classmethod
    def of(cls, model: nn.Module, encoded: Encoded, kind: TaskType, handle: Accelerator) -> Teacher:
        """Run the model over all examples once."""
        import torch

        from engine.data import evaluation_batches

        if len(encoded) == 0:
            raise ValueError("train: must have at least one example for the teacher; got none")
        logits = states_ = None
        training = model.training
        model.eval()
        with torch.no_grad(), handle.autocast(), states(model, last_only=True) as collected:
            for rows in evaluation_batches(encoded.lengths()):
                batch = encoded.batch(rows, handle.device)
                out = model(**inputs(batch)).logits.float()
                pooled = pool(collected[-1], batch["attention_mask"], kind.pooling).float()
                if logits is None or states_ is None:
                    logits = torch.empty(len(encoded), *out.shape[1:], device=handle.device)
                    states_ = torch.empty(len(encoded), pooled.shape[1], device=handle.device)
                logits[rows], states_[rows] = out, pooled
        model.train(training)
        assert logits is not None and states_ is not None
        return cls(logits, states_)


@dataclass(frozen=True)
class Batch:
    """One micro-batch as an objective sees it: the network's logits and pooled states, rows of train, targets."""

    logits: Tensor
    states: Tensor | None
    rows: np.ndarray
    targets: Tensor


Logged = Mapping[str, Any]


class Guidance:
    """An objective that compares with nothing: the task loss alone; the others build on it."""

    needs_states = False

    def __init__(self, part: Part) -> None:
        self.part, self.row = part, OBJECTIVES[part.name]

    @property
    def batch_coupled(self) -> bool:
        """Does the loss depend on which examples share a batch, so that one must not be split?"""
        return bool(self.row.options.get("batch_coupled"))

    def training_rows(self, rows: np.ndarray) -> np.ndarray:
        """The rows of a batch that train."""
        return rows

    def loss(self, task_loss: Tensor, batch: Batch) -> tuple[Tensor, Logged]:
        """The whole loss of a micro-batch, and what to log of it."""
        return task_loss, {}

    def add_gradients(self, matrices: list[Matrix], factors_OI: Callable[[], Mapping[str, Tensor]]) -> dict[str, float]:
        """Add an objective in the weights to their (already masked) gradients; `factors_OI` gives the masks."""
        return {}

    def step_done(self, done: int) -> None:
        """`done` updates of the cycle are made, outside of any view."""

    def epoch_done(self) -> None:
        """An epoch is over; the network is in view."""

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
        self.needs_states = "teacher_states" in self.row.needs

    def loss(self, task_loss: Tensor, batch: Batch) -> tuple[Tensor, Logged]:
        """As the row's function says."""
        assert self.row.function is not None
        states_ = None if batch.states is None else batch.states.float()
        found: tuple[Tensor, Logged] = self.row.function(
            task_loss, batch.logits.float(), states_, self.teacher.logits[batch.rows], self.teacher.states[batch.rows],
            **self.part.parameters,
        )  # fmt: skip
        return found


class Anchored(Guidance):
    """Pulls weights towards reference weights, by closed-form gradients (AlignReg, M§4.1)."""

    def __init__(self, part: Part, reference_OI: Mapping[str, Tensor]) -> None:
        super().__init__(part)
        self.reference = reference_OI

    def add_gradients(self, matrices: list[Matrix], factors_OI: Callable[[], Mapping[str, Tensor]]) -> dict[str, float]:
        """Add λ∇R; log R and `λ‖∇R‖/‖∇task‖`."""
        import torch

        from engine.objectives import alignreg_step

        strength = float(self.part.parameters["strength"])
        weights = {matrix.name: matrix.weight_OI() for matrix in matrices}
        grads = {matrix.name: matrix.orient(matrix.module.weight.grad) for matrix in matrices}
        task_norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(grads.values()))))
        shape = {name: self.part.parameters[name] for name in self.row.options["shape"]}
        value, norm = alignreg_step(self.part.name, self.reference, weights, factors_OI(), grads, strength, **shape)
        return {"penalty": float(value), "penalty_ratio": strength * float(norm) / max(float(task_norm), 1e-30)}


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
        self.logits: Tensor | None = None
        self.best: dict[str, Tensor] = {}
        self.best_score = -np.inf
        self.candidates: set[int] = set()
        self.refreshes: set[int] = set()

    def training_rows(self, rows: np.ndarray) -> np.ndarray:
        """Without the held-out slice; the number and the order of the updates stay those of every other arm."""
        left = rows[~self._is_held[rows]]
        return left if len(left) else rows

    def loss(self, task_loss: Tensor, batch: Batch) -> tuple[Tensor, Logged]:
        """`self_regularised` once there is a teacher."""
        if self.logits is None:
            return task_loss, {}
        assert self.row.function is not None
        value = self.row.function(batch.logits.float(), self.logits[batch.rows], batch.targets, **self.part.parameters)
        return value, {"self_regularised": value.detach()}

    def cycle_begins(self, total: int, level: float, target: Callable[[int], float]) -> None:
        """Place candidates and refreshes: by equal steps of the sparsity, or at the end of the cycle."""
        if self.iterative:
            self.refreshes = set()
            self.candidates = set(np.linspace(0, total, 5).round().astype(int)[1:].tolist())
            return
        self.logits, self.best, self.best_score = None, {}, -np.inf
        shares = np.array([target(done) for done in range(1, total + 1)])
        marks = [int(np.argmax(shares >= level * part / REFRESHES)) + 1 for part in range(1, REFRESHES + 1)]
        self.refreshes = {mark for mark in marks if shares[mark - 1] > 0}
        starts = [1, *sorted(self.refreshes)]
        middle = {(first + last) // 2 for first, last in pairwise(starts)}
        self.candidates = {done for done in middle | self.refreshes if done >= 1}

    def step_done(self, done: int) -> None:
        """Score a candidate where one is due, and refresh the teacher where that is."""
        if done in self.candidates:
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
        now = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.best)
        self.logits = Teacher.of(self.model, self.train, self.kind, self.handle).logits
        self.model.load_state_dict(now)
        self.best, self.best_score = {}, -np.inf

    def tensors(self) -> dict[str, Tensor]:
        """The teacher's outputs and the best candidate since."""
        import torch

        found = {f"best/{name}": value for name, value in self.best.items()}
        found["best_score"] = torch.tensor(self.best_score, dtype=torch.float64)
        return found if self.logits is None else {**found, "logits": self.logits}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` gave."""
        self.logits = tensors.get("logits")
        self.best = {key.partition("/")[2]: value for key, value in tensors.items() if key.startswith("best/")}
        self.best_score = float(tensors["best_score"])


class Contrasted(Guidance):
    """Contrasts every example with banks of the pretrained, the earlier and the fine-tuned model (CAP, M§4.4).

    Banks hold one row per training example and model, encoded in eval mode and kept in half precision. Snapshots
    of earlier sparsities are added when a level is done on an iterative path, after every epoch on an
    independent one; the oldest goes when there are too many.
    """

    needs_states = True

    def __init__(self, part: Part, model: nn.Module, train: Encoded, kind: TaskType, handle: Accelerator, teacher: Teacher,
                 pretrained: Callable[[], Teacher], iterative: bool) -> None:  # fmt: skip
        super().__init__(part)
        self.model, self.train, self.kind, self.handle, self.teacher = model, train, kind, handle, teacher
        self.iterative = iterative
        self.banks: dict[str, Tensor] = {}
        self.snapshots: list[Tensor] = []
        if part.parameters["pretrained"]:
            self.banks["pretrained"] = _stored(pretrained().states)[:, None]
        if part.parameters["finetuned"]:
            self.banks["finetuned"] = _stored(teacher.states)[:, None]
        self.labels: Tensor | None = None

    def loss(self, task_loss: Tensor, batch: Batch) -> tuple[Tensor, Logged]:
        """The row's function on all banks there are."""
        import torch

        assert self.row.function is not None and batch.states is not None
        device = batch.states.device
        if self.labels is None:
            self.labels = torch.from_numpy(np.asarray(self.train.targets)).to(device)
        banks = {**self.banks, **({"snapshots": torch.stack(self.snapshots, 1)} if self.snapshots else {})}
        rows = torch.from_numpy(np.asarray(batch.rows, dtype=np.int64)).to(device)
        others = {name: self._others(batch.rows, bank.shape[1]).to(device) for name, bank in banks.items()}
        found: tuple[Tensor, Logged] = self.row.function(
            task_loss, batch.logits.float(), batch.states.float(), self.teacher.logits[batch.rows], banks, rows, others, self.labels,
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

    def epoch_done(self) -> None:
        """A snapshot of an independent training."""
        if not self.iterative:
            self._snapshot()

    def cycle_begins(self, total: int, level: float, target: Callable[[int], float]) -> None:
        """An independent training begins without snapshots."""
        if not self.iterative:
            self.snapshots = []

    def cycle_done(self) -> None:
        """A snapshot of this level, for the levels after it."""
        if self.iterative:
            self._snapshot()

    def _snapshot(self) -> None:
        if self.part.parameters["snapshots"]:
            self.snapshots.append(_stored(Teacher.of(self.model, self.train, self.kind, self.handle).states))
            self.snapshots = self.snapshots[-int(self.part.parameters["most_snapshots"]) :]

    def tensors(self) -> dict[str, Tensor]:
        """The snapshots; the other banks are computed again."""
        return {f"snapshot/{index}": value for index, value in enumerate(self.snapshots)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` gave."""
        self.snapshots = [tensors[f"snapshot/{index}"] for index in range(len(tensors))]


def _stored(states_ND: Tensor) -> Tensor:
    """Unit length, in half precision: what a bank holds."""
    from torch.nn import functional

    return functional.normalize(states_ND, dim=1).half()


def reference_weights(source: nn.Module, matrices: list[Matrix]) -> dict[str, Tensor]:
    """Copies of another model's matrices, outputs × inputs, by the names of `matrices`."""
    return {
        matrix.name: matrix.orient(source.get_submodule(matrix.name).weight.detach()).clone() for matrix in matrices
    }
