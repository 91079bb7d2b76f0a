"""What surrounds a CKA: the interval of the estimate, and what pairing at random gives (M§6.4).

Both come in closed form from the two Gram matrices, so that every cell of every level can carry them. For n examples a
Gram matrix is *U-centred*: its diagonal is 0 and so are its row sums; debiased CKA is then the plain cosine of two of
them (Székely & Rizzo 2014).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, pearson3

from analysis.similarity import constant
from engine.metrics import same_rows

Floats = NDArray[np.float64]
Interval = tuple[float, float, float]

NAN = (math.nan, math.nan, math.nan)


def u_centred(x_ND: Floats) -> Floats:
    """The U-centred Gram matrix n×n of a set of states, scaled to unit norm; all zeros where it has no structure."""
    n = len(x_ND)
    centred_ND = x_ND - x_ND.mean(0)
    gram_NN = centred_ND @ centred_ND.T
    np.fill_diagonal(gram_NN, 0.0)
    sums_N = gram_NN.sum(1)
    gram_NN += sums_N.sum() / ((n - 1) * (n - 2)) - (sums_N[:, None] + sums_N) / (n - 2)
    np.fill_diagonal(gram_NN, 0.0)
    length = float(np.sqrt(np.vdot(gram_NN, gram_NN)))
    noise = 64 * float(np.finfo(gram_NN.dtype).eps) * float(np.vdot(centred_ND, centred_ND))
    return gram_NN / length if length > noise else np.zeros_like(gram_NN)


def cka_interval(k_NN: Floats, l_NN: Floats) -> Interval:
    """Debiased CKA with its 95% jackknife interval over the examples: (CKA, low, high).

    Not a bootstrap: a resample holds examples twice, and a pair of equal examples is what debiasing takes out, so
    that resampled values lie far above the estimate. Leaving out example i has a closed form for U-centred
    matrices, `HSIC₁(−i) ∝ ⟨K,L⟩ − 2(n−2)/(n−3)·Σ_j K_ij L_ij`, so all n values cost one pass. The interval is symmetric in
    artanh, which keeps it inside [−1, 1]; equal states have no width.
    """
    n = len(k_NN)
    value = float(np.vdot(k_NN, l_NN))
    if not k_NN.any() or not l_NN.any():
        return NAN
    if value >= 1 - 1e-7:
        return value, value, value
    factor = 2 * (n - 2) / (n - 3)
    left_out = [
        np.vdot(a, b) - factor * np.einsum("ij,ij->i", a, b) for a, b in ((k_NN, l_NN), (k_NN, k_NN), (l_NN, l_NN))
    ]
    values_N = left_out[0] / np.sqrt(left_out[1] * left_out[2])
    spread = math.sqrt((n - 1) / n * float(((values_N - values_N.mean()) ** 2).sum()))
    half = float(norm.ppf(0.975)) * spread / (1 - value**2)
    return value, math.tanh(math.atanh(value) - half), math.tanh(math.atanh(value) + half)


def cka_null(k_NN: Floats, l_NN: Floats) -> Interval:
    """Debiased CKA of the two sets with rows paired at random: (mean, 2.5%, 97.5% quantile) of the permutation null.

    Over all n! pairings the mean is 0 and the variance `2/(n(n−3))`, both exactly and whatever the states. The
    distribution is skewed to the right where few dimensions hold the variance: by `8·tr K³·tr L³/2^{3/2}` for large
    n and matrices of unit norm. The quantiles are those of the Pearson III law with these three moments, the usual
    approximation of this null (Josse, Pagès & Husson 2008); it agrees with `permutation_null` of analysis.similarity,
    without its Monte Carlo error and at a tenth of its cost.
    """
    n = len(k_NN)
    if not k_NN.any() or not l_NN.any():
        return NAN
    skew = _skew(_cube(k_NN), _cube(l_NN))
    low, high = pearson3.ppf([0.025, 0.975], skew)
    scale = math.sqrt(2 / (n * (n - 3)))
    return 0.0, float(low) * scale, float(high) * scale


def _cube(k_NN: Floats) -> float:
    return float(np.vdot(k_NN @ k_NN, k_NN))


def _skew(first: float, second: float) -> float:
    # The law is that of a chi-square at its most skewed, √8; rounding must not push it beyond.
    return float(np.clip(8 / 2**1.5 * first * second, 0.0, math.sqrt(8)))


def around(x: ArrayLike, y: ArrayLike) -> tuple[Interval, Interval]:
    """(CKA with interval, null) of two sets with the same rows, at least 4; NaN for a constant set."""
    x_ND, y_ND = same_rows(x, y, 4)
    if constant(x_ND) or constant(y_ND):
        return NAN, NAN
    k_NN, l_NN = u_centred(x_ND), u_centred(y_ND)
    return cka_interval(k_NN, l_NN), cka_null(k_NN, l_NN)
