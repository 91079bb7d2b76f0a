"""What pruning did to the weights (M§6.8): one row per matrix, and one per attention head, with a summary over units.

These stand in the engine and not in analysis because most levels' weights are not kept: the numbers are taken while
the weights are in memory. Pure numpy, on `O×I` arrays (rows are output units). A quantity without a value (an
all-zero matrix has no direction) is NaN.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from engine.metrics import finite

if TYPE_CHECKING:
    from engine.model import Matrix
    from engine.structured import Group

Floats = NDArray[np.float64]


def _pair(reference: ArrayLike, weight: ArrayLike, ndim: int | None = None) -> tuple[Floats, Floats]:
    reference_, weight_ = finite("reference", reference, ndim), finite("weight", weight, ndim)
    if reference_.shape != weight_.shape:
        raise ValueError(f"reference, weight: must have the same shape; got {reference_.shape} and {weight_.shape}")
    return reference_, weight_


def sparsity(weight: ArrayLike) -> float:
    """Fraction of weights that are exactly 0."""
    return float((finite("weight", weight) == 0).mean())


def hoyer(weight: ArrayLike) -> float:
    """Hoyer sparsity `(√n − ‖w‖₁/‖w‖₂)/(√n − 1)` over all n entries (Hoyer 2004; M§6.8).

    0: all entries equally large; 1: a single non-zero. It sees values that are small but not 0, which a count
    does not. Free of scale. At least 2 entries; NaN for an all-zero array.
    """
    values = np.abs(finite("weight", weight)).ravel()
    if values.size < 2:
        raise ValueError(f"weight: must have at least 2 entries; got {values.size}")
    if not values.any():
        return float("nan")
    values = values / values.max()
    root = np.sqrt(values.size)
    return float((root - values.sum() / np.linalg.norm(values)) / (root - 1))


def kurtosis(weight: ArrayLike) -> float:
    """Excess kurtosis `m₄/m₂² − 3` of the entries: 0 for a Gaussian, above for heavy tails (M§6.8).

    NaN for a constant array. Give it the survivors to compare their values apart from the zeros.
    """
    values = finite("weight", weight).ravel()
    if (values == values[0]).all():
        return float("nan")
    values = values - values.mean()
    squares = (values / np.abs(values).max()) ** 2
    return float((squares**2).mean() / squares.mean() ** 2 - 3)


def norm_kept(reference: ArrayLike, weight: ArrayLike) -> float:
    """`‖ŵ‖/‖w0‖` (Frobenius), the part of the dense matrix's norm that is left (M§6.8); NaN for a zero reference."""
    reference_, weight_ = _pair(reference, weight)
    whole = float(np.linalg.norm(reference_))
    return float(np.linalg.norm(weight_)) / whole if whole > 0 else float("nan")


def unit_cosine(reference: ArrayLike, weight: ArrayLike) -> Floats:
    """Cosine of every dense unit (row) with what is left of it, O values: what AlignReg regularises (M§6.8, M§4.1).

    A fully pruned unit has 0, as its loss in AlignReg is 1; NaN where the dense row is zero.
    """
    reference_OI, weight_OI = _pair(reference, weight, 2)
    whole_O, left_O = np.linalg.norm(reference_OI, axis=1), np.linalg.norm(weight_OI, axis=1)
    product_O = (reference_OI * weight_OI).sum(1)
    cosine_O = np.divide(product_O, whole_O * left_O, out=np.zeros_like(product_O), where=whole_O * left_O > 0)
    return np.where(whole_O > 0, cosine_O, np.nan)


def units_left(weight: ArrayLike) -> int:
    """Number of rows (units) with a weight that is not 0."""
    return int((finite("weight", weight, 2) != 0).any(1).sum())


def summary(
    weights: Mapping[str, tuple[Matrix, NDArray[Any]]], reference: Mapping[str, NDArray[Any]] | None
) -> pd.DataFrame:
    """`weights.parquet`: one row per matrix. `reference` holds the dense weights; None means that these are they.

    A small student's matrices have other shapes than the dense ones: what compares the two is NaN there.
    """
    rows = []
    for name, (matrix, weight) in weights.items():
        dense = weight if reference is None else reference[name]
        if dense.shape != weight.shape:
            dense = np.zeros_like(weight)
        cosine = unit_cosine(dense, weight)
        known = cosine[~np.isnan(cosine)]
        low, middle, high = np.quantile(known, [0.05, 0.5, 0.95]) if known.size else (np.nan, np.nan, np.nan)
        rows.append(
            {
                "matrix": name,
                "layer": matrix.layer,
                "kind": matrix.kind,
                "outputs": weight.shape[0],
                "inputs": weight.shape[1],
                "removed": int((weight == 0).sum()),
                "sparsity": sparsity(weight),
                "norm_kept": norm_kept(dense, weight),
                "hoyer": hoyer(weight),
                "kurtosis": kurtosis(weight),
                "unit_cosine_mean": float(known.mean()) if known.size else np.nan,
                "unit_cosine_p05": float(low),
                "unit_cosine_median": float(middle),
                "unit_cosine_p95": float(high),
                "units_left": units_left(weight),
            }
        )
    return pd.DataFrame(rows)


# -- attention heads ---------------------------------------------------------------------------------------------

ALL = "all"
FUSED = ("query", "key", "value")  # the order of the three parts in one fused matrix
Sides = tuple[Floats, Floats]  # (dense, now), units × what each reads or writes


def heads(
    groups: Sequence[Group],
    weights: Mapping[str, tuple[Matrix, NDArray[Any]]],
    reference: Mapping[str, NDArray[Any]] | None,
) -> pd.DataFrame:
    """`heads.parquet`: one row per block, head and part (query, key, value, attention_output, and all of them).

    A head's units are its rows of query, key and value and its columns of the attention output, so that every measure
    means what it means for a matrix. `groups` say where heads lie (`unit_groups(model, kinds=("head",))`);
    `reference` as in `summary`.
    """
    rows = []
    for group in groups:
        places = _places(group, weights, reference)
        for head in range(group.count):
            units = slice(head * group.width, (head + 1) * group.width)
            sides = {part: (dense[units], now[units]) for part, (dense, now) in places.items()}
            for part, found in (*((part, [side]) for part, side in sides.items()), (ALL, list(sides.values()))):
                rows.append({"layer": group.layer, "head": head, "part": part, **_of_units(found)})
    return pd.DataFrame(rows)


def _places(
    group: Group, weights: Mapping[str, tuple[Matrix, NDArray[Any]]], reference: Mapping[str, NDArray[Any]] | None
) -> dict[str, Sides]:
    """Part → the units of all heads of a block in it, before and now."""
    found: dict[str, Sides] = {}
    for name, axis, start in group.places():
        matrix, now = weights[name]
        dense = now if reference is None else reference[name]
        if dense.shape != now.shape:
            dense = np.zeros_like(now)  # a small student's: nothing to compare with
        fused = len(group.rows.get(name, ())) == len(FUSED)
        part = FUSED[group.rows[name].index(start)] if fused else matrix.kind
        span = group.span(start)
        found[part] = (dense[span], now[span]) if axis == 0 else (dense[:, span].T, now[:, span].T)
    return found


def _of_units(sides: Sequence[Sides]) -> dict[str, float]:
    """The measures of one head's units, of one part or of several."""
    dense, now = (np.concatenate([np.ravel(side[place]) for side in sides]) for place in (0, 1))
    cosine = np.concatenate([unit_cosine(*side) for side in sides])
    known = cosine[~np.isnan(cosine)]
    return {
        "weights": now.size,
        "removed": int((now == 0).sum()),
        "sparsity": sparsity(now),
        "norm_kept": norm_kept(dense, now),
        "hoyer": hoyer(now),
        "kurtosis": kurtosis(now),
        "unit_cosine_mean": float(known.mean()) if known.size else np.nan,
        "units": len(cosine),
        "units_left": sum(units_left(side[1]) for side in sides),
    }
