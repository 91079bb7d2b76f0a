"""Overlap of masks, and what the weight measures of a run folder mean (M§6.8).

The measures of single matrices are taken by the engine while the weights are in memory (`engine.weights`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.metrics import finite
from engine.registry import Metric


def _mask(name: str, values: ArrayLike) -> NDArray[np.bool_]:
    array = finite(name, values)
    if not np.isin(array, (0.0, 1.0)).all():
        raise ValueError(f"{name}: must be a mask of true and false; got {np.unique(array)[:4].tolist()}")
    return array.astype(bool)


def jaccard(a: ArrayLike, b: ArrayLike) -> float:
    """Overlap `|a ∧ b|/|a ∨ b|` of two keep-masks (M§6.8); NaN if both keep nothing. Show it beside `jaccard_chance`."""
    a_, b_ = _mask("a", a), _mask("b", b)
    if a_.shape != b_.shape:
        raise ValueError(f"a, b: must have the same shape; got {a_.shape} and {b_.shape}")
    union = int((a_ | b_).sum())
    return int((a_ & b_).sum()) / union if union else float("nan")


def jaccard_chance(kept_a: ArrayLike, kept_b: ArrayLike, sizes: ArrayLike) -> float:
    """Overlap that masks with these counts have by chance: `Σ i_m / Σ (a_m + b_m − i_m)`, `i_m = a_m·b_m/n_m` (M§6.8).

    One entry per matrix m: weights kept in either run and its size. From each matrix's own counts: two runs that
    only agree on how much to prune where already overlap more than the total counts suggest. i_m is the mean
    number kept by both; the ratio of sums is off by at most about 1/Σn_m. NaN if nothing is kept.
    """
    a_M, b_M, n_M = (
        np.atleast_1d(finite(name, values))
        for name, values in (("kept_a", kept_a), ("kept_b", kept_b), ("sizes", sizes))
    )
    if not a_M.shape == b_M.shape == n_M.shape:
        raise ValueError(f"kept_a, kept_b, sizes: one count per matrix; got {a_M.shape}, {b_M.shape} and {n_M.shape}")
    if n_M.min() < 1 or min(a_M.min(), b_M.min()) < 0 or (np.maximum(a_M, b_M) > n_M).any():
        raise ValueError(f"kept_a, kept_b: must be from 0 to sizes; got {a_M}, {b_M} of {n_M}")
    both_M = a_M * b_M / n_M
    union = float((a_M + b_M - both_M).sum())
    return float(both_M.sum()) / union if union > 0 else float("nan")


# fmt: off
ROWS: tuple[Metric, ...] = (
    Metric("weight_sparsity", "Weight sparsity", "The fraction of a matrix's weights that are 0.", "M§6.8", "standard",
           "fraction", "neither", 0.0, 1.0, r"\frac1n\sum_i[w_i=0]", "Weights"),
    Metric("norm_kept", "Norm kept", "How much of the dense matrix's norm the survivors hold.", "M§6.8", "standard",
           "ratio", "higher", 0.0, None, r"\|\hat w\|/\|w_0\|", "Weights"),
    Metric("hoyer", "Hoyer sparsity", "How unevenly the weights are large: 0 all alike, 1 a single one.", "M§6.8",
           "Hoyer 2004", "score", "neither", 0.0, 1.0, r"\frac{\sqrt n-\|w\|_1/\|w\|_2}{\sqrt n-1}", "Weights"),
    Metric("kurtosis", "Excess kurtosis", "How heavy the tails of the weights are; 0 for a Gaussian.", "M§6.8",
           "standard", "", "neither", -2.0, None, r"\frac{m_4}{m_2^2}-3", "Weights"),
    Metric("unit_cosine", "Unit alignment", "The cosine of each dense unit with what is left of it.", "M§6.8",
           "O'Neill et al. 2022 (arXiv 2204.01385)", "cosine", "higher", -1.0, 1.0,
           r"\frac{\langle w_{0,o},\hat w_o\rangle}{\|w_{0,o}\|\,\|\hat w_o\|}", "Weights"),
    Metric("units_left", "Units left", "Rows (heads' or neurons' outputs) with a weight that is not 0.", "M§6.8",
           "standard", "units", "neither", 0.0, None, r"\#\{o:\hat w_o\ne0\}", "Weights"),
    Metric("jaccard", "Mask overlap", "The share of weights kept by either run that both keep.", "M§6.8", "Jaccard 1901",
           "fraction", "neither", 0.0, 1.0, r"\frac{|a\wedge b|}{|a\vee b|}", "Weights"),
    Metric("jaccard_chance", "Mask overlap by chance", "The overlap of random masks with the same counts per matrix.",
           "M§6.8", "standard", "fraction", "neither", 0.0, 1.0,
           r"\frac{\sum_m i_m}{\sum_m(a_m+b_m-i_m)},\ i_m=\frac{a_mb_m}{n_m}", "Weights"),
)
# fmt: on
