"""Criteria that score while training: running statistics in a thin shell around pure formulas (M§3).

All three share one shape: `update(name, weight, grad)` at every step (`Pins` also `lr`), `scores()` when a mask is
wanted, `state_dict()`/`load_state_dict()` for checkpoints, as flat tensors that safetensors can store. A
non-finite gradient is refused at once on the CPU; on an accelerator that test would stall every step, and the
scores, which stay non-finite from then on, are refused by `scores()` instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.criteria.arguments import choice, finite, number, shaped, wide
from engine.criteria.scores import pins_step

if TYPE_CHECKING:
    from torch import Tensor

State = dict[str, "Tensor"]


def _check(name: str, weight: Tensor, grad: Tensor) -> None:
    shaped(f"grad of {name}", grad, weight.shape)
    if weight.device.type == "cpu":
        finite(f"weight of {name}", weight)
        finite(f"grad of {name}", grad)


def _checked(scores: State) -> State:
    for name, value in scores.items():
        finite(f"scores of {name}", value)
    return scores


def _pack(**groups: State) -> State:
    return {f"{group}/{name}": value for group, tensors in groups.items() for name, value in tensors.items()}


def _unpack(state: State, group: str) -> State:
    return {key.split("/", 1)[1]: value.clone() for key, value in state.items() if key.startswith(f"{group}/")}


class Smoothing:
    """Window means, smoothed, and their smoothed deviation, per matrix in float32 (M§3, as PLATON's code has it).

    Values are averaged over a complete window of `window` steps to `s`; then `Ī ← β1·Ī + (1−β1)·s`,
    `U = |s − Ī|` with the new `Ī`, `Ū ← β2·Ū + (1−β2)·U`, both from zero. An unfinished window counts for nothing.
    """

    def __init__(self, beta1: float, beta2: float, window: int) -> None:
        number("beta1", beta1, 0, 1)
        number("beta2", beta2, 0, 1)
        number("window", window, 1)
        if int(window) != window:
            raise ValueError(f"window: must be a whole number; got {window!r}")
        self.beta1, self.beta2, self.window = beta1, beta2, int(window)
        self.steps: dict[str, int] = {}
        self.sums: State = {}
        self.importance: State = {}
        self.uncertainty: State = {}

    def add(self, name: str, value: Tensor) -> None:
        """Take this step's value of the matrix `name`."""
        if name not in self.sums:
            self._start(name, value)
        self.sums[name].add_(value)
        self.steps[name] += 1
        if self.steps[name] % self.window == 0:
            self._close(name)

    def _start(self, name: str, value: Tensor) -> None:
        self.steps[name] = 0
        for tensors in (self.sums, self.importance, self.uncertainty):
            tensors[name] = value.new_zeros(value.shape, dtype=value.float().dtype)

    def _close(self, name: str) -> None:
        mean = self.sums[name].div_(self.window)
        self.importance[name].lerp_(mean, 1 - self.beta1)
        deviation = mean.sub_(self.importance[name]).abs_()
        self.uncertainty[name].lerp_(deviation, 1 - self.beta2)
        mean.zero_()

    @property
    def ready(self) -> bool:
        """Whether every matrix has at least one complete window."""
        return bool(self.steps) and min(self.steps.values()) >= self.window

    def require_ready(self) -> None:
        """Refuse to score before a window is complete: all scores would be 0 and the mask arbitrary."""
        if not self.ready:
            done = min(self.steps.values(), default=0)
            raise ValueError(f"scores: need at least one complete window of {self.window} updates; got {done}")

    def state_dict(self) -> State:
        """All running statistics under `group/name`; the step counts as int64 scalars."""
        import torch

        steps = {name: torch.tensor(count) for name, count in self.steps.items()}
        return _pack(steps=steps, sums=self.sums, importance=self.importance, uncertainty=self.uncertainty)

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` gave, bit for bit."""
        self.steps = {name: int(count) for name, count in _unpack(state, "steps").items()}
        self.sums = _unpack(state, "sums")
        self.importance = _unpack(state, "importance")
        self.uncertainty = _unpack(state, "uncertainty")


class Platon:
    """PLATON: `Ī·Ū` of the sensitivity `|w_{t+1}·g_t|` (M§3; Zhang et al. 2022, as in its code).

    Call `update` after the optimiser's step, with the weight it produced and the gradient it used. The product
    with the uncertainty keeps weights whose sensitivity is still changing from being removed too early.
    """

    def __init__(self, beta1: float = 0.85, beta2: float = 0.95, window: int = 10) -> None:
        self.smoothing = Smoothing(beta1, beta2, window)

    def update(self, name: str, weight: Tensor, grad: Tensor) -> None:
        """Take the step's weight and gradient of one matrix."""
        _check(name, weight, grad)
        self.smoothing.add(name, (wide(weight) * wide(grad)).abs_())

    @property
    def ready(self) -> bool:
        """Whether a complete window has passed, so that `scores` can be asked."""
        return self.smoothing.ready

    def scores(self) -> State:
        """Scores by matrix, float32; refused before the first complete window."""
        self.smoothing.require_ready()
        state = self.smoothing
        return _checked({name: state.importance[name] * state.uncertainty[name] for name in state.importance})

    def state_dict(self) -> State:
        """See `Smoothing.state_dict`."""
        return self.smoothing.state_dict()

    def load_state_dict(self, state: State) -> None:
        """See `Smoothing.load_state_dict`."""
        self.smoothing.load_state_dict(state)


class Pins:
    """PINS: the one-step score `−w·g + η·g²` with PLATON's window and smoothing (M§3; Ren & Zhu 2023).

    Call `update` before the optimiser's step, with the clipped gradient and the step's learning rate. With
    `sign="abs"` |S| stands in the place of |w·g| and `Ī·Ū` ranks, as in the released code; with `sign="signed"`
    (experimental) the smoothed signed score alone ranks.
    """

    def __init__(self, beta1: float = 0.85, beta2: float = 0.95, window: int = 10, sign: str = "abs") -> None:
        choice("sign", sign, ("abs", "signed"))
        self.sign = sign
        self.smoothing = Smoothing(beta1, beta2, window)

    def update(self, name: str, weight: Tensor, grad: Tensor, lr: float) -> None:
        """Take the step's weight, gradient and learning rate of one matrix."""
        number("lr", lr, 0)
        _check(name, weight, grad)
        self.smoothing.add(name, pins_step(weight, grad, lr, self.sign))

    @property
    def ready(self) -> bool:
        """Whether a complete window has passed, so that `scores` can be asked."""
        return self.smoothing.ready

    def scores(self) -> State:
        """Scores by matrix, float32; refused before the first complete window."""
        self.smoothing.require_ready()
        state = self.smoothing
        if self.sign == "signed":
            return _checked({name: value.clone() for name, value in state.importance.items()})
        return _checked({name: state.importance[name] * state.uncertainty[name] for name in state.importance})

    def state_dict(self) -> State:
        """See `Smoothing.state_dict`."""
        return self.smoothing.state_dict()

    def load_state_dict(self, state: State) -> None:
        """See `Smoothing.load_state_dict`."""
        self.smoothing.load_state_dict(state)


class Movement:
    """Movement: `S = −lr·Σ_t w·g`, the score that SGD would learn through a straight-through mask (M§3; Sanh et al. 2020).

    A weight that moves away from zero gains, whatever its size. `optimiser="adam"` feeds the same score gradient
    `w·g` to Adam (β .9 and .999, ε 1e-8, bias-corrected), as the released code does. Call `update` before the
    optimiser's step: the gradient belongs to the weight that made it, and `grad` is that of the masked forward
    pass with respect to the dense weight.
    """

    def __init__(self, lr: float = 1e-2, optimiser: str = "sgd") -> None:
        number("lr", lr, 0, open_low=True)
        choice("optimiser", optimiser, ("sgd", "adam"))
        self.lr, self.optimiser = lr, optimiser
        self.steps: dict[str, int] = {}
        self.sums: State = {}
        self.first: State = {}
        self.second: State = {}

    def update(self, name: str, weight: Tensor, grad: Tensor) -> None:
        """Take the step's weight and gradient of one matrix."""
        _check(name, weight, grad)
        if name not in self.sums:
            self._start(name, weight)
        self.steps[name] += 1
        gradient = (wide(weight) * wide(grad)).float()
        self.sums[name].add_(gradient if self.optimiser == "sgd" else self._adam(name, gradient), alpha=-self.lr)

    def _start(self, name: str, weight: Tensor) -> None:
        self.steps[name] = 0
        for tensors in (self.sums, self.first, self.second) if self.optimiser == "adam" else (self.sums,):
            tensors[name] = weight.new_zeros(weight.shape, dtype=weight.float().dtype)

    def _adam(self, name: str, gradient: Tensor) -> Tensor:
        """Adam's direction: the mean gradient over the root of the mean square, both freed of their start at 0."""
        first, second, step = self.first[name], self.second[name], self.steps[name]
        first.lerp_(gradient, 0.1)
        second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        return (first / (1 - 0.9**step)).div_((second / (1 - 0.999**step)).sqrt_().add_(1e-8))

    @property
    def ready(self) -> bool:
        """Whether there was an update, so that `scores` can be asked."""
        return bool(self.sums)

    def scores(self) -> State:
        """Scores by matrix, float32; refused before the first update."""
        if not self.sums:
            raise ValueError("scores: need at least one update; got 0")
        return _checked({name: value.clone() for name, value in self.sums.items()})

    def state_dict(self) -> State:
        """Scores, moments and step counts under `group/name`."""
        import torch

        steps = {name: torch.tensor(count) for name, count in self.steps.items()}
        return _pack(steps=steps, sums=self.sums, first=self.first, second=self.second)

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` gave, bit for bit."""
        self.steps = {name: int(count) for name, count in _unpack(state, "steps").items()}
        self.sums, self.first, self.second = (_unpack(state, group) for group in ("sums", "first", "second"))
