"""Gates that are trained with the weights, soft movement and L0: their state, around the pure formulas of `gates` (M§3).

Both keep one score per weight and share one shape, which `engine.pruning.Gates` drives at every step:
`factors(weights, share, training)` gives what multiplies each matrix in the forward pass, `backward(name, weight,
grad, strength, share)` adds to the scores' gradients, `step(factor)` moves the scores, and `masks()` says in the end
what stays. `share` is how far the schedule has come, from 0 to 1; `grad` is ∂L/∂ŵ, the gradient of the weight as the
network saw it. All scores are checked at once after their step: a look at every matrix would stall an accelerator.
The scores are learned by Adam, because a plain step would be the size of w·g and never reach a threshold. The
sparsity is an outcome, steered by the penalty's strength.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.criteria.arguments import finite, number, shaped, wide
from engine.criteria.gates import (
    concrete,
    expected_open,
    growing_penalty,
    hard_concrete,
    soft_masks,
    soft_threshold_mask,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

State = dict[str, "Tensor"]
OPEN = 2.197  # log α at the start: σ(2.197) = 0.9


class _Learned:
    """Scores per matrix with their Adam, created at the first `factors`."""

    def __init__(self, lr: float, start: float) -> None:
        number("lr", lr, 0, open_low=True)
        self.lr, self.start = lr, start
        self.scores: State = {}
        self._loaded: State = {}
        self._optimizer: torch.optim.Adam | None = None

    def _score(self, name: str, weight: Tensor) -> Tensor:
        import torch

        if name not in self.scores:
            values = torch.full_like(wide(weight), self.start)
            self.scores[name] = values.requires_grad_()
        return self.scores[name]

    def step(self, factor: float) -> None:
        """One step of Adam on all scores, at `factor` of the peak learning rate; refuses what is not finite after it."""
        import torch

        if self._optimizer is None:
            self._optimizer = torch.optim.Adam(list(self.scores.values()), lr=self.lr)
            self._restore_moments()
        for group in self._optimizer.param_groups:
            group["lr"] = self.lr * factor
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if not math.isfinite(float(torch.stack([score.detach().sum() for score in self.scores.values()]).sum())):
            for name, score in self.scores.items():
                finite(f"scores of {name}", score)

    @property
    def count(self) -> int:
        """Number of gates."""
        return sum(score.numel() for score in self.scores.values())

    def state_dict(self) -> State:
        """Scores and Adam's moments as flat tensors."""
        found = {f"scores/{name}": score.detach() for name, score in self.scores.items()}
        if self._optimizer is not None:
            for name, score in self.scores.items():
                found |= {f"{key}/{name}": value for key, value in self._optimizer.state[score].items()}
        return found

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` gave, bit for bit."""
        for key, value in state.items():
            kind, _, name = key.partition("/")
            if kind == "scores":
                self.scores[name] = value.clone().requires_grad_()
        self._loaded, self._optimizer = dict(state), None

    def _restore_moments(self) -> None:
        assert self._optimizer is not None
        for name, score in self.scores.items():
            found = {
                key: self._loaded[f"{key}/{name}"]
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"{key}/{name}" in self._loaded
            }
            if found:
                # Adam counts its steps in a tensor on the CPU, wherever the scores are.
                self._optimizer.state[score] = {
                    key: value.clone().cpu() if key == "step" else value.clone() for key, value in found.items()
                }
        self._loaded = {}


class SoftMovement(_Learned):
    """Soft movement: weights stay while `σ(S) > τ_t`; S learns `w·∂L/∂ŵ` straight through and `λ_t·mean σ(S)` (M§3).

    The mean of the penalty is over matrices and, within each, over weights, as in the released code. At least 0.5% of
    each matrix stays (`soft_threshold_mask`).
    """

    def __init__(self, lr: float = 1e-2, threshold: float = 0.1) -> None:
        number("threshold", threshold, 0, 1, open_low=True)
        super().__init__(lr, 0.0)
        self.threshold = threshold
        self.share = 0.0

    def factors(self, weights: Mapping[str, Tensor], share: float, training: bool) -> State:
        """The keep-masks at this point of the schedule, as 0/1 factors."""
        self.share = share
        masks = soft_masks([self._score(*item) for item in weights.items()], share * self.threshold)
        return {name: mask.to(weight.dtype) for (name, weight), mask in zip(weights.items(), masks, strict=True)}

    def backward(self, name: str, weight: Tensor, grad: Tensor, strength: float, share: float) -> None:
        """Add both parts of the score's gradient."""
        score = self.scores[name]
        shaped("grad", grad, weight.shape)
        penalty = growing_penalty(score, share * self.threshold, self.threshold, strength)
        (penalty / len(self.scores)).backward()
        assert score.grad is not None
        score.grad.addcmul_(wide(weight), wide(grad))

    def masks(self) -> State:
        """What stays at the final threshold, bool."""
        return {name: soft_threshold_mask(score, self.share * self.threshold) for name, score in self.scores.items()}

    def kept(self, name: str, weight: Tensor) -> Tensor:
        """The weights as they are at the end."""
        return weight


class L0(_Learned):
    """L0: hard concrete gates, sampled while training, in expectation at evaluation; `λ/n·Σ P(gate open)` (M§3).

    The sum is divided by the number n of gates **[chosen]**, so that a strength means the same in a model of any
    size. At the end the gates' values are multiplied into the weights, and what is 0 is removed.
    """

    def __init__(self, lr: float = 1e-2) -> None:
        super().__init__(lr, OPEN)
        self._sampled: State = {}

    def factors(self, weights: Mapping[str, Tensor], share: float, training: bool) -> State:
        """Sampled gates in training, those of evaluation otherwise."""
        return {name: self._gate(name, weight, training).detach().to(weight.dtype) for name, weight in weights.items()}

    def _gate(self, name: str, weight: Tensor, training: bool) -> Tensor:
        import torch

        log_alpha = self._score(name, weight)
        if not training:
            return concrete(log_alpha.detach())
        noise = torch.rand_like(log_alpha).clamp_(1e-6, 1 - 1e-6)
        self._sampled[name] = concrete(log_alpha, noise)
        return self._sampled[name]

    def backward(self, name: str, weight: Tensor, grad: Tensor, strength: float, share: float) -> None:
        """Through the sampled gate, and the penalty."""
        gate = self._sampled.pop(name)
        gate.backward(wide(weight) * wide(grad))
        (expected_open(self.scores[name]) * (strength / self.count)).backward()

    def masks(self) -> State:
        """What stays: gates that are not exactly 0 at evaluation."""
        return {name: hard_concrete(score.detach()) > 0 for name, score in self.scores.items()}

    def kept(self, name: str, weight: Tensor) -> Tensor:
        """The weights with their gates multiplied in."""
        return weight * hard_concrete(self.scores[name].detach()).to(weight.dtype)
