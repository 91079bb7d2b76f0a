"""Checks of tensor arguments shared by criteria, selection and objectives.

Every check raises `ValueError` naming the argument, the rule and the value, so that a wrong call stops where it
is made and not in a mask three steps later.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def finite(name: str, tensor: Tensor) -> None:
    """Refuse an empty tensor and one that holds NaN or an infinity.

    The sum is one fast read, and NaN or an infinity never leaves it finite. Only a sum that is not finite, which
    large finite values can also cause, is followed by the exact test.
    """
    if tensor.numel() == 0:
        raise ValueError(f"{name}: must not be empty; got shape {tuple(tensor.shape)}")
    if not math.isfinite(tensor.detach().sum().item()):
        _exactly_finite(name, tensor)


def _exactly_finite(name: str, tensor: Tensor) -> None:
    bad = int((~tensor.isfinite()).sum())
    if bad:
        raise ValueError(f"{name}: must be finite; got {bad} NaN or infinite of {tensor.numel()} values")


def shaped(name: str, tensor: Tensor, shape: Sequence[int], as_what: str = "the weight's shape") -> None:
    """Refuse a tensor whose shape is not `shape`, described in words by `as_what`."""
    if tuple(tensor.shape) != tuple(shape):
        raise ValueError(f"{name}: must have {as_what} {tuple(shape)}; got {tuple(tensor.shape)}")


def dimensions(name: str, tensor: Tensor, count: int, axes: str) -> None:
    """Refuse a tensor that has not `count` axes; `axes` names them (`outputs × inputs`)."""
    if tensor.dim() != count:
        raise ValueError(f"{name}: must have {count} axes ({axes}); got shape {tuple(tensor.shape)}")


def non_negative(name: str, tensor: Tensor) -> None:
    """Refuse a tensor with a value below zero."""
    least = tensor.detach().min().item()
    if least < 0:
        raise ValueError(f"{name}: must not be negative; got {least:g}")


def choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Refuse a value outside `choices`."""
    if value not in choices:
        raise ValueError(f"{name}: must be one of {', '.join(map(str, choices))}; got {value!r}")


def number(name: str, value: Any, low: float, high: float = math.inf, *, open_low: bool = False) -> None:
    """Refuse what is not a finite number from `low` (or above it) to `high`."""
    rule = f"must be a number {'above' if open_low else 'from'} {low:g}" + ("" if high == math.inf else f" to {high:g}")
    if isinstance(value, (bool, str)) or not hasattr(value, "__float__") or not math.isfinite(float(value)):
        raise ValueError(f"{name}: {rule}; got {value!r}")
    if value < low or (open_low and value == low) or value > high:
        raise ValueError(f"{name}: {rule}; got {value!r}")


def wide(tensor: Tensor) -> Tensor:
    """In float32 where it comes in half precision, detached: squares of gradients underflow in half precision."""
    tensor = tensor.detach()
    return tensor.float() if tensor.element_size() < 4 else tensor
