"""How large the surviving weights are (M§6.8), from the weights of the levels that kept theirs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.measures.states import View

LOWEST, HIGHEST, BINS = -6.0, 1.0, 42  # of log10 |w|; what lies outside counts in the outermost bins


def distribution(view: View) -> pd.DataFrame:
    """One row per kind of matrix and bin of log10 |w|: bin (its left edge), width, share of the survivors, survivors.

    An objective that favours sparse solutions moves mass to the left, next to zero, without pruning it.
    """
    kinds = view.level.frame("weights")[["matrix", "kind"]]
    names = [f"{name}.weight" for name in kinds["matrix"]]
    weights = view.level.arrays("weights", names)
    edges = np.linspace(LOWEST, HIGHEST, BINS + 1)
    rows = []
    for kind, group in kinds.groupby("kind", sort=False):
        counts = np.sum([_counts(weights[f"{name}.weight"], edges) for name in group["matrix"]], axis=0)
        survivors = int(counts.sum())
        share = counts / survivors if survivors else np.zeros(BINS)
        rows.append(
            pd.DataFrame(
                {"kind": kind, "bin": edges[:-1], "width": edges[1] - edges[0], "share": share, "survivors": survivors}
            )
        )
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def _counts(weight: NDArray[np.float32], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    size = np.log10(np.abs(weight[weight != 0], dtype=np.float32))
    return np.histogram(np.clip(size, edges[0], edges[-1]), edges)[0]
