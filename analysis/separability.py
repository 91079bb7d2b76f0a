"""How well classes stand apart in a set of representations, and signal against noise (M§6.2, M§6.3).

`x` is N×D, `labels` any N values (text or numbers). Every estimator with a finite-sample bias is unbiased by
default: on pure noise the plug-in forms rank languages by their numbers of classes. No class is dropped here (the
tables leave out and name classes under 5 examples); a class that is too small for an estimator is an error. A
measure of separability needs two classes and rows that differ; anything else raises ValueError.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.metrics import finite, unit_rows
from engine.registry import Metric

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def classes(x: ArrayLike, labels: ArrayLike, least: int = 1) -> tuple[Floats, Integers, Integers]:
    """Check a labelled set and return `x_ND`, class indices (N) and class counts (C ≥ 2, each ≥ `least`)."""
    x_ND, given = finite("x", x, 2), np.asarray(labels)
    if given.shape != (len(x_ND),):
        raise ValueError(f"labels: must be one per row of x ({len(x_ND)}); got shape {given.shape}")
    if given.dtype.kind == "f":
        finite("labels", given)
    names, index_N, count_C = np.unique(given, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise ValueError(f"labels: must hold at least 2 classes; got {len(names)}: {names.tolist()}")
    if count_C.min() < least:
        small = names[np.argmin(count_C)].item()
        raise ValueError(f"labels: every class must have at least {least} rows; got {count_C.min()} of {small!r}")
    if (x_ND == x_ND[0]).all():
        raise ValueError(f"x: rows must not all be equal; got {len(x_ND)} equal rows")
    return x_ND, index_N, count_C


def _moments(x_ND: Floats, index_N: Integers, count_C: Integers) -> tuple[Floats, Floats]:
    # Class means (C×D) and sums of squared deviations from them (C). Measured from each class's first row, so that
    # a class of equal rows has a spread of exactly 0.
    indicator_CN = (np.arange(len(count_C))[:, None] == index_N).astype(np.float64)
    first_CD = x_ND[np.argmax(indicator_CN, axis=1)]
    shifted_ND = x_ND - first_CD[index_N]
    offset_CD = indicator_CN @ shifted_ND / count_C[:, None]
    squares_N = ((shifted_ND - offset_CD[index_N]) ** 2).sum(1)
    return first_CD + offset_CD, indicator_CN @ squares_N


def _squared_distances(mean_CD: Floats) -> Floats:
    centred_CD = mean_CD - mean_CD.mean(0)
    square_C = (centred_CD**2).sum(1)
    distance_CC = np.maximum(square_C[:, None] + square_C - 2 * centred_CD @ centred_CD.T, 0.0)
    np.fill_diagonal(distance_CC, 0.0)
    return distance_CC


def r_squared(x: ArrayLike, labels: ArrayLike, biased: bool = False) -> float:
    """Class separability `1 − d_within/d_total` of cosine distances (Kornblith et al. 2021, arXiv 2010.16402; M§6.2).

    d_within: mean over classes of the mean distance of their pairs; d_total: mean over all C² class pairs of the
    mean over their pairs. Classes weigh equally. Self-pairs are left out of both (each class needs 2 rows), so that
    noise gives 0; `biased=True` keeps them, as published. No pairs are formed: for unit vectors `1 − cos = ½‖u−v‖²`,
    so class means and variances of the unit rows are enough, without the cancellation of `1 − cos` near 0. A zero
    row, or rows that all point one way, are refused.
    """
    x_ND, index_N, count_C = classes(x, labels, 1 if biased else 2)
    mean_CD, spread_C = _moments(unit_rows("x", x_ND), index_N, count_C)
    plug_in_C = spread_C / count_C
    between_CC = (plug_in_C[:, None] + plug_in_C + _squared_distances(mean_CD)) / 2
    within_C = plug_in_C if biased else spread_C / (count_C - 1)
    np.fill_diagonal(between_CC, within_C)
    total = float(between_CC.mean())
    if total < 1e-14:
        raise ValueError(f"x: rows must not all point the same way; got a mean cosine distance of {total:.1e}")
    return 1.0 - float(within_C.mean()) / total


def fisher_ratio(x: ArrayLike, labels: ArrayLike, biased: bool = False) -> float:
    """Between-class over within-class scatter, without the part that noise alone gives (M§6.2).

    With `B = Σ_c n_c‖μ_c−μ‖²` and `σ² = Σ_cΣ_i‖x_i−μ_c‖²/(N−C)`: `(B − (C−1)σ²)/(Nσ²)`, 0 on average for noise;
    `biased=True` gives `tr(S_B)/tr(S_W) = B/Σ_cΣ_i‖x_i−μ_c‖²`. Needs N > C; +∞ where no class has any spread.
    """
    x_ND, index_N, count_C = classes(x, labels)
    n, c = len(x_ND), len(count_C)
    if n == c:
        raise ValueError(f"labels: at least one class must have 2 rows; got {n} classes of 1 row")
    mean_CD, spread_C = _moments(x_ND, index_N, count_C)
    centre_D = count_C @ mean_CD / n
    between = float(count_C @ ((mean_CD - centre_D) ** 2).sum(1))
    within = float(spread_C.sum())
    if within == 0:
        return float("inf")
    noise = within / (n - c)
    return between / within if biased else (between - (c - 1) * noise) / (n * noise)


def class_snr(x: ArrayLike, labels: ArrayLike, biased: bool = False) -> float:
    """Mean over class pairs of squared distance of means over summed variances (M§6.3).

    `(‖μ_a−μ_b‖² − σ_a²/n_a − σ_b²/n_b)/(σ_a²+σ_b²)` with unbiased trace variances σ² (each class needs 2 rows):
    the subtracted terms are what noise adds to the distance of two sample means. `biased=True`:
    `‖μ_a−μ_b‖²/(σ_a²+σ_b²)`, variances over n. A pair without any spread gives +∞, NaN if its means agree too.
    """
    x_ND, index_N, count_C = classes(x, labels, 1 if biased else 2)
    mean_CD, spread_C = _moments(x_ND, index_N, count_C)
    variance_C = spread_C / (count_C if biased else count_C - 1)
    first, second = np.triu_indices(len(count_C), 1)
    signal_P = _squared_distances(mean_CD)[first, second]
    if not biased:
        signal_P = signal_P - (variance_C / count_C)[first] - (variance_C / count_C)[second]
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.mean(signal_P / (variance_C[first] + variance_C[second])))


def pruning_snr_db(dense: ArrayLike, pruned: ArrayLike) -> float:
    """Signal of the dense states over what pruning changed, in decibels (M§6.3).

    `10·log10(Σ‖z_dense − z̄_dense‖² / Σ‖z_dense − z_pruned‖²)`, rows matched by example. Centred, because two
    unrelated states that share a mean score +7 dB raw. +∞ for equal states; 0 dB when the change is as large as
    the spread. The dense rows must not all be equal. Never shown without the task score: it can stay high while
    the task fails (Kurz et al. 2026).
    """
    dense_ND, pruned_ND = finite("dense", dense, 2), finite("pruned", pruned, 2)
    if dense_ND.shape != pruned_ND.shape:
        raise ValueError(f"dense, pruned: must have the same shape; got {dense_ND.shape} and {pruned_ND.shape}")
    if (dense_ND == dense_ND[0]).all():
        raise ValueError(f"dense: rows must not all be equal; got {len(dense_ND)} equal rows")
    signal = float(((dense_ND - dense_ND.mean(0)) ** 2).sum())
    noise = float(((dense_ND - pruned_ND) ** 2).sum())
    return float(10 * np.log10(signal / noise)) if noise > 0 else float("inf")


def silhouette(x: ArrayLike, labels: ArrayLike) -> float:
    """Mean silhouette `(b − a)/max(a, b)` of the rows, Euclidean (Rousseeuw 1987; scikit-learn; M§6.2).

    a: mean distance to the own class, b: to the nearest other class; a row alone in its class counts 0. Needs
    fewer classes than rows.
    """
    from sklearn.metrics import silhouette_score

    x_ND, index_N, count_C = classes(x, labels)
    if len(count_C) == len(x_ND):
        raise ValueError(f"labels: must have fewer classes than rows; got {len(count_C)} classes")
    return float(silhouette_score(x_ND, index_N))


def nearest_centroid(x: ArrayLike, labels: ArrayLike, seed: int = 0, folds: int = 5) -> float:
    """Cross-validated accuracy of the nearest class mean (scikit-learn; M§6.2), stratified folds drawn by `seed`.

    Cross-validated, since a row pulls the mean of its own class towards itself. Every class needs `folds` rows.
    """
    from sklearn.neighbors import NearestCentroid

    return _cross_validated(NearestCentroid(), x, labels, seed, folds)


def linear_probe(x: ArrayLike, labels: ArrayLike, seed: int = 0, folds: int = 5) -> float:
    """Cross-validated accuracy of a logistic regression on standardised states (scikit-learn; M§6.2).

    Standardised inside each fold, so that outlier dimensions do not decide and no test row is seen. l2 penalty 1,
    at most 1000 iterations (an unfinished fit is still a probe). Every class needs `folds` rows.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return _cross_validated(probe, x, labels, seed, folds)


def _cross_validated(model: Any, x: ArrayLike, labels: ArrayLike, seed: int, folds: int) -> float:
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    if folds < 2:
        raise ValueError(f"folds: must be at least 2; got {folds}")
    x_ND, index_N, _ = classes(x, labels, folds)
    split = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return float(np.mean(cross_val_predict(model, x_ND, index_N, cv=split) == index_N))


def shuffled_control(
    measure: Callable[[Floats, Any], float], x: ArrayLike, labels: ArrayLike, seed: int, repeats: int = 20
) -> tuple[float, float, float]:
    """The measure with labels shuffled among the rows: mean, 2.5% and 97.5% quantile over seeded repeats (M§6.2).

    What the measure says when the states know nothing of the classes, at these very class sizes.
    """
    if repeats < 1:
        raise ValueError(f"repeats: must be at least 1; got {repeats}")
    x_ND, index_N, _ = classes(x, labels)
    rng = np.random.default_rng(seed)
    values = [measure(x_ND, rng.permutation(index_N)) for _ in range(repeats)]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(np.mean(values)), float(low), float(high)


# fmt: off
def _row(name: str, title: str, what: str, section: str, source: str, formula: str, low: float | None = None,
         high: float | None = None, unit: str = "ratio") -> Metric:
    return Metric(name, title, what, section, source, unit, "higher", low, high, formula, "Separability & SNR")


ROWS: tuple[Metric, ...] = (
    _row("r_squared", "Class separability", "How much closer examples of one class are than any two; 0 for noise.",
         "M§6.2", "Kornblith et al. 2021", r"1-\frac{\bar d_{\mathrm{within}}}{\bar d_{\mathrm{total}}}", None, 1.0),
    _row("fisher_ratio", "Fisher ratio", "The scatter of class means over the scatter inside classes; 0 for noise.",
         "M§6.2", "Fisher 1936", r"\frac{B-(C-1)\sigma^2}{N\sigma^2}"),
    _row("silhouette", "Silhouette", "How much nearer an example is to its own class than to the next one.",
         "M§6.2", "Rousseeuw 1987", r"\frac1N\sum_i\frac{b_i-a_i}{\max(a_i,b_i)}", -1.0, 1.0, "score"),
    _row("nearest_centroid", "Nearest centroid", "Cross-validated accuracy of taking the class with the nearest mean.",
         "M§6.2", "scikit-learn", r"\frac1N\sum_i[\arg\min_c\|x_i-\mu_c\|=y_i]", 0.0, 1.0, "fraction"),
    _row("linear_probe", "Linear probe", "Cross-validated accuracy of a linear classifier on the states.",
         "M§6.2", "scikit-learn", r"\frac1N\sum_i[\arg\max_c(w_c^\top x_i+b_c)=y_i]", 0.0, 1.0, "fraction"),
    _row("class_snr", "Class signal-to-noise", "The squared distance of class means over the variance inside classes.",
         "M§6.3", "M§6.3", r"\frac{\|\mu_a-\mu_b\|^2-\sigma_a^2/n_a-\sigma_b^2/n_b}{\sigma_a^2+\sigma_b^2}"),
    _row("pruning_snr_db", "Pruning SNR", "The spread of dense states over what pruning changed; read with the score.",
         "M§6.3", "Kurz et al. 2026", r"10\log_{10}\frac{\sum\|z-\bar z\|^2}{\sum\|z-z'\|^2}", None, None, "dB"),
)
# fmt: on
