"""What pruning did to the weights (M§6.8): one row per matrix, with a summary over its units.

These stand in the engine and not in analysis because most levels' weights are not kept: the numbers are taken while
the weights are in memory. Pure numpy, on `O×I` arrays in the module's outputs × inputs view.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from engine.model import Matrix

Array = NDArray[np.floating[Any]]


def hoyer(weight: Array) -> float:
    """Hoyer sparsity `(√n − ‖w‖₁/‖w‖₂)/(√n − 1)`: 0 for equal magnitudes, 1 for a single non-zero; NaN for all zeros.

    Unlike a count of zeros it is defined for dense weights too, so it shows whether an objective favours sparse
    solutions before anything is pruned (M§6.8).
    """
    flat = weight.reshape(-1).astype(np.float64)
    norm = np.sqrt(np.dot(flat, flat))
    root = np.sqrt(flat.size)
    if norm == 0 or flat.size < 2:
        return float("nan")
    return float((root - np.abs(flat).sum() / norm) / (root - 1))


def kurtosis(weight: Array) -> float:
    """Fourth standardised moment of the weights (3 for a Gaussian); NaN for constant weights."""
    flat = weight.reshape(-1).astype(np.float64)
    centred = flat - flat.mean()
    variance = np.mean(centred**2)
    return float(np.mean(centred**4) / variance**2) if variance > 0 else float("nan")


def norm_kept(weight: Array, reference: Array) -> float:
    """`‖ŵ‖ / ‖w0‖`, Frobenius; NaN where the reference is zero. Above 1 where survivors grew."""
    base = np.linalg.norm(reference.astype(np.float64))
    return float(np.linalg.norm(weight.astype(np.float64)) / base) if base > 0 else float("nan")


def unit_cosine(weight: Array, reference: Array) -> Array:
    """Cosine between each unit (row) and its dense original, shape `(O,)`; 0 for a fully pruned row, NaN for a zero
    original. This is the alignment that AlignReg regularises (M§4.1)."""
    weight, reference = weight.astype(np.float64), reference.astype(np.float64)
    norms = np.linalg.norm(weight, axis=1) * np.linalg.norm(reference, axis=1)
    products = np.einsum("oi,oi->o", weight, reference)
    cosine = np.divide(products, norms, out=np.zeros(len(weight)), where=norms > 0)
    return np.where(np.linalg.norm(reference, axis=1) > 0, cosine, np.nan)


def summary(weights: Mapping[str, tuple[Matrix, Array]], reference: Mapping[str, Array] | None) -> pd.DataFrame:
    """`weights.parquet`: one row per matrix. `reference` holds the dense weights; None means that these are they."""
    rows = []
    for name, (matrix, weight) in weights.items():
        dense = weight if reference is None else reference[name]
        cosine = unit_cosine(weight, dense)
        known = cosine[~np.isnan(cosine)]
        low, middle, high = np.quantile(known, [0.05, 0.5, 0.95]) if known.size else (np.nan, np.nan, np.nan)
        rows.append(
            {
                "matrix": name,
                "layer": matrix.layer,
                "kind": matrix.kind,
                "outputs": weight.shape[0],
                "inputs": weight.shape[1],
                "removed": int(weight.size - np.count_nonzero(weight)),
                "sparsity": 1 - np.count_nonzero(weight) / weight.size,
                "norm_kept": norm_kept(weight, dense),
                "hoyer": hoyer(weight),
                "kurtosis": kurtosis(weight),
                "unit_cosine_mean": float(known.mean()) if known.size else np.nan,
                "unit_cosine_p05": float(low),
                "unit_cosine_median": float(middle),
                "unit_cosine_p95": float(high),
                "dead_units": int((np.abs(weight).sum(axis=1) == 0).sum()),
            }
        )
    return pd.DataFrame(rows)
