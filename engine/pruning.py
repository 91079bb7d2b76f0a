"""What happens to the masks inside one training cycle: nothing, or new ones as the training goes (M§2.1, §2.2).

The training loop calls the same few methods of whichever it is given: `view` around forward passes, then in the
order of a step `after_backward`, `before_step`, `after_step`, and `finish` at the end. A criterion says in its row when
it wants to see weights and gradients and which masking its scores ask for; nothing here knows a criterion's name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from engine.masked import Masked
from engine.registry import Entry

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    Masks = Mapping[str, Tensor]

# Scores and a level to masks, given the previous ones where they are nested: Choose(scores or None, level, keep).
Choose = Callable[["Mapping[str, Tensor] | None", float, "Masks | None"], "Mapping[str, Tensor]"]


JUMP_RENEWALS = 20  # of scores that let weights come back, after a jump


class Pruning:
    """A cycle whose masks stay as they are, or that has none; the others build on it."""

    def __init__(self, masked: Masked) -> None:
        self.masked = masked

    @contextmanager
    def view(self, training: bool = False) -> Iterator[None]:
        """Inside, the network's weights are what it computes with."""
        yield

    def after_backward(self) -> dict[str, float]:
        """See the gradients as they come, then leave those of the weights that train; facts for the log."""
        self.masked.mask_gradients()
        return {}

    def before_step(self, rate: float, factor: float) -> None:
        """See the clipped gradients; `rate` is the step's learning rate, `factor` its share of the peak."""

    def after_step(self, done: int, optimizer: torch.optim.Optimizer) -> None:
        """`done` updates of the cycle are made; the gradients are still there."""

    def finish(self) -> None:
        """The cycle is over: leave the weights that the masks keep, and zeros."""

    def factors_OI(self) -> Mapping[str, Tensor]:
        """What multiplies every matrix in the forward pass."""
        return self.masked.factors_OI()

    def tensors(self) -> dict[str, Tensor]:
        """Masks and whatever else a resumed cycle needs."""
        return {f"mask/{name}": mask for name, mask in (self.masked.masks_OI() or {}).items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` gave."""
        masks = _part(tensors, "mask")
        if masks:
            self.masked.set(masks, zero=False)
        else:
            self.masked.lift()


def _part(tensors: Mapping[str, Tensor], group: str) -> dict[str, Tensor]:
    return {key.partition("/")[2]: value for key, value in tensors.items() if key.startswith(f"{group}/")}


def renewal_points(parameters: Mapping[str, Any], total: int, regrows: bool) -> list[int]:
    """Updates after which the mask is chosen anew, in order, for a schedule with these parameters (M§2.2).

    Evenly over the ramp and exactly at its end, and on to the end of the run for scores that let weights come back.
    A schedule without a ramp jumps right after its warm-up.
    """
    before, ramp = float(parameters.get("warmup", 0.0)) * total, "cooldown" in parameters
    # A ramp is over, and a jump is made, at the first whole update past its time.
    warm = round(before) if ramp else min(total, math.ceil(before - 1e-9))
    last = min(total, math.ceil((1 - float(parameters["cooldown"])) * total - 1e-9)) if ramp else warm
    wanted = int(parameters.get("renewals", JUMP_RENEWALS))
    count = max(1, min(wanted, last - warm))
    points = {round(warm + (last - warm) * index / count) for index in range(1, count + 1)} | {last}
    if regrows:
        spacing = max(1, round(total / wanted))
        points |= {*range(last, total + 1, spacing), total}
    return sorted(point for point in points if point > 0)


class Gradual(Pruning):
    """Masks that grow along a schedule while the weights train.

    `choose` turns scores into masks; without a `state` it computes the scores itself. `criterion` is the row, whose
    options say when `state` sees weights and gradients and how masks act: `zeroed` masks are nested, the other two
    let weights come back. `points` are the updates at which the mask is renewed, `target` the sparsity after each.
    """

    def __init__(
        self, masked: Masked, criterion: Entry, state: Any | None, choose: Choose, target: Callable[[int], float], points: Sequence[int],
    ) -> None:  # fmt: skip
        super().__init__(masked)
        self.criterion, self.state, self.choose, self.target = criterion, state, choose, target
        self.points, self.last = set(points), max(points)
        self.masking = str(criterion.options.get("masking", "zeroed"))
        self.moment = criterion.options.get("update")
        self.level: float | None = None
        self._begun = target(0) if masked.masks_OI() else 0.0  # what the cycle began with, until the first renewal

    @contextmanager
    def view(self, training: bool = False) -> Iterator[None]:
        """Behind the masks, where weights live on behind them."""
        if self.masking != "shadow":
            yield
            return
        with self.masked.seen():
            yield

    def after_backward(self) -> dict[str, float]:
        """Scores that want the raw gradient see it; the dense gradient stays where weights are zeroed after the step."""
        self._update("after_backward")
        if self.masking != "zero_after_step":
            self.masked.mask_gradients()
        return {"sparsity": self._begun if self.level is None else self.level}

    def before_step(self, rate: float, factor: float) -> None:
        """Scores that want the clipped gradient see it with the weights that made it."""
        self._update("before_step", rate)

    def after_step(self, done: int, optimizer: torch.optim.Optimizer) -> None:
        """Scores that want the new weights see them; then the mask is renewed where it is due, and applied."""
        self._update("after_step")
        if done in self.points and (self.state is None or self.state.ready):
            self._renew(done, optimizer)
        if self.masking == "zero_after_step":
            self.masked.zero()

    def _update(self, moment: str, rate: float = 0.0) -> None:
        if self.state is None or moment != self.moment:
            return
        extra = {"lr": rate} if "lr" in self.criterion.needs else {}
        for matrix in self.masked.matrices:
            grad = matrix.orient(matrix.module.weight.grad)
            self.state.update(matrix.name, matrix.weight_OI(), grad, **extra)

    def _renew(self, done: int, optimizer: torch.optim.Optimizer) -> None:
        level = self.target(done)
        nested = self.masking == "zeroed"
        if level <= 0 or (nested and level == self.level):
            return
        scores = None if self.state is None else self.state.scores()
        masks = self.choose(scores, level, self.masked.masks_OI() if nested else None)
        self.masked.set(masks, zero=self.masking != "shadow")
        if nested:
            self.masked.zero_moments(optimizer)
        self.level = level

    def finish(self) -> None:
        """Zero what lived on behind the masks."""
        self.masked.zero()

    def tensors(self) -> dict[str, Tensor]:
        """Masks, the level they were chosen for, and the criterion's state."""
        import torch

        found = super().tensors()
        found["level"] = torch.tensor(-1.0 if self.level is None else self.level, dtype=torch.float64)
        if self.state is not None:
            found |= {f"state/{name}": value for name, value in self.state.state_dict().items()}
        return found

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` gave."""
        super().load(tensors)
        self._begun = self.target(0) if self.masked.masks_OI() else 0.0
        level = float(tensors["level"])
        self.level = None if level < 0 else level
        if self.state is not None:
            self.state.load_state_dict(_part(tensors, "state"))


class Gates(Pruning):
    """Gates that are learned with the weights (`engine.criteria.learned`); what they remove is known at the end.

    `share(done)` is how far the schedule has come, from 0 to 1: a threshold rises with it.
    """

    def __init__(self, masked: Masked, gates: Any, strength: float, share: Callable[[int], float]) -> None:
        super().__init__(masked)
        self.gates, self.strength, self.share = gates, strength, share
        self.done = 0
        self._factors: dict[str, Tensor] = {}

    @contextmanager
    def view(self, training: bool = False) -> Iterator[None]:
        """Through the gates: sampled ones in training, those of evaluation otherwise."""
        weights = {matrix.name: matrix.weight_OI() for matrix in self.masked.matrices}
        self._factors = self.gates.factors(weights, self.share(self.done), training)
        with self.masked.seen(self._factors):
            yield

    def after_backward(self) -> dict[str, float]:
        """The gates learn from the gradient as the network saw it, the weights from what the gates let through."""
        for matrix in self.masked.matrices:
            grad = matrix.orient(matrix.module.weight.grad)
            self.gates.backward(matrix.name, matrix.weight_OI(), grad, self.strength, self.share(self.done))
            grad.mul_(self._factors[matrix.name])
        return {"sparsity": self._sparsity()}

    def _sparsity(self) -> float:
        import torch

        # Read back once: a look at every matrix would stall an accelerator dozens of times a step.
        zeros = torch.stack([factor.numel() - factor.count_nonzero() for factor in self._factors.values()])
        return float(zeros.sum()) / sum(factor.numel() for factor in self._factors.values())

    def before_step(self, rate: float, factor: float) -> None:
        """The gates take their own step, under the weights' schedule."""
        self.gates.step(factor)

    def after_step(self, done: int, optimizer: torch.optim.Optimizer) -> None:
        """The threshold moves on."""
        self.done = done

    def factors_OI(self) -> Mapping[str, Tensor]:
        """The gates' values of this step."""
        return self._factors

    def finish(self) -> None:
        """Multiply the gates into the weights and keep what is not 0 as an ordinary mask."""
        import torch

        with torch.no_grad(), self.view():
            pass
        masks = self.gates.masks()
        for matrix in self.masked.matrices:
            kept = self.gates.kept(matrix.name, matrix.weight_OI())
            matrix.module.weight.data.copy_(matrix.orient(kept))
        self.masked.set(masks)

    def tensors(self) -> dict[str, Tensor]:
        """Gates, their moments and the place in the schedule."""
        import torch

        found = {f"gates/{name}": value for name, value in self.gates.state_dict().items()}
        return {**found, "done": torch.tensor(self.done)}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` gave."""
        self.done = int(tensors["done"])
        self.gates.load_state_dict(_part(tensors, "gates"))


class Revival(Pruning):
    """Sparse, dense, sparse: the mask is lifted for a part of the cycle, under an l1 penalty on the revived weights (M§4.6).

    The masks that the cycle begins with are lifted at once: their zeros are in the weights. `target` is 0 as long as
    that lasts; then `choose` takes masks anew from what the dense phase left.
    """

    def __init__(self, masked: Masked, choose: Choose, target: Callable[[int], float], l1: float) -> None:
        super().__init__(masked)
        self.choose, self.target, self.l1 = choose, target, l1
        self.revived: dict[str, Tensor] = {name: ~mask for name, mask in (masked.masks_OI() or {}).items()}
        masked.lift()

    def after_backward(self) -> dict[str, float]:
        """Without a mask, `l1·sign(w)` on the revived weights; with one, the survivors' gradients."""
        if self.masked.masks_OI() is None:
            for matrix in self.masked.matrices:
                grad = matrix.orient(matrix.module.weight.grad)
                grad.add_(matrix.weight_OI().sign() * self.revived[matrix.name].to(grad.device), alpha=self.l1)
        return super().after_backward()

    def after_step(self, done: int, optimizer: torch.optim.Optimizer) -> None:
        """Choose the mask anew when the dense phase is over."""
        if self.target(done) > 0 and self.masked.masks_OI() is None:
            self._prune(done)
            self.masked.zero_moments(optimizer)

    def _prune(self, done: int) -> None:
        self.masked.set(self.choose(None, self.target(done), None))

    def finish(self) -> None:
        """A cycle without any update ends in the mask that it began with."""
        if self.masked.masks_OI() is None:
            self._prune(0)

    def tensors(self) -> dict[str, Tensor]:
        """Masks, and which weights are the revived ones."""
        return super().tensors() | {f"revived/{name}": value for name, value in self.revived.items()}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` gave."""
        super().load(tensors)
        self.revived = _part(tensors, "revived")
