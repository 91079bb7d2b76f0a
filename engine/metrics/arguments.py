"""Checks of arrays that scores and measures share: each names the argument, the rule and the value."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def finite(name: str, values: ArrayLike, ndim: int | None = None) -> Floats:
    """Return `values` as a float64 array, or raise ValueError naming the argument, the rule and the value.

    Half precision is widened on purpose: squares of float16 activations overflow. Rules: numbers (no text, no
    complex), `ndim` axes, not empty, neither NaN nor infinite.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name}: must hold real numbers; got {array.dtype} values")
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name}: must have {ndim} axes; got shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name}: must not be empty; got shape {array.shape}")
    wrong = ~np.isfinite(array)
    if wrong.any():
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(f"{name}: must be finite; got {array[first]} at {first} ({wrong.sum()} such values)")
    return array.astype(np.float64, copy=False)


def same_rows(x: ArrayLike, y: ArrayLike, least: int = 2) -> tuple[Floats, Floats]:
    """Check two sets of representations and return them in float64: two axes, equal length, at least `least` rows."""
    x_ND, y_ND = finite("x", x, 2), finite("y", y, 2)
    if len(x_ND) != len(y_ND):
        raise ValueError(f"x, y: must have the same examples as rows; got {len(x_ND)} and {len(y_ND)} rows")
    if len(x_ND) < least:
        raise ValueError(f"x, y: must have at least {least} rows; got {len(x_ND)}")
    return x_ND, y_ND


def same_width(x_ND: Floats, y_ND: Floats) -> None:
    """Raise ValueError unless the sets have the same columns."""
    if x_ND.shape[1] != y_ND.shape[1]:
        raise ValueError(f"x, y: must have the same width; got {x_ND.shape[1]} and {y_ND.shape[1]} columns")


def unit_rows(name: str, x_ND: Floats) -> Floats:
    """Scale rows to length 1; ValueError for a zero row, which has no direction and so no cosine."""
    largest_N1 = np.abs(x_ND).max(1, keepdims=True)
    if not largest_N1.all():
        raise ValueError(f"{name}: must have no zero row (it has no cosine); got one at {int(np.argmin(largest_N1))}")
    scaled_ND = x_ND / largest_N1
    return np.asarray(scaled_ND / np.linalg.norm(scaled_ND, axis=1, keepdims=True))
