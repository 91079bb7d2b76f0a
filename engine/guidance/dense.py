"""Comparisons with a model that stays as it is: its outputs (M§4.2) or its weights (M§4.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from engine.guidance.base import Guidance, Logged
from engine.tasks.batches import thinned

if TYPE_CHECKING:
    from torch import Tensor, nn

    from engine.model import Matrix
    from engine.plan import Part
    from engine.teacher import Seen, Teacher


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
        self._constants: Mapping[str, Tensor] | None = None  # of the reference: found once

    def tensors(self) -> dict[str, Tensor]:
        """The reference, where no other run has it."""
        return {f"reference/{name}": value for name, value in self.reference.items()} if self.own else {}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` gave."""
        if tensors:
            self.reference = {name.partition("/")[2]: value for name, value in tensors.items()}
            self._constants = None

    def add_gradients(self, matrices: list[Matrix], factors_OI: Callable[[], Mapping[str, Tensor]]) -> dict[str, float]:
        """Add λ∇R; log R and `λ‖∇R‖/‖∇task‖`."""
        import torch

        from engine.objectives import alignreg_constants, alignreg_step

        strength = float(self.part.parameters["strength"])
        weights = {matrix.name: matrix.weight_OI() for matrix in matrices}
        grads = {matrix.name: matrix.orient(matrix.module.weight.grad) for matrix in matrices}
        shape = {name: self.part.parameters[name] for name in self.row.options["shape"]}
        if self._constants is None:
            self._constants = alignreg_constants(self.part.name, self.reference, **shape)
        found = alignreg_step(
            self.part.name, self.reference, weights, factors_OI(), grads, strength, self._constants, **shape
        )
        value, norm, task = torch.stack([number.double() for number in found]).tolist()
        return {"penalty": value, "penalty_ratio": strength * norm / max(task, 1e-30)}


def reference_weights(source: nn.Module, matrices: list[Matrix]) -> dict[str, Tensor]:
    """Copies of another model's matrices, outputs × inputs, by the names of `matrices`."""
    return {
        matrix.name: matrix.orient(source.get_submodule(matrix.name).weight.detach()).clone() for matrix in matrices
    }
