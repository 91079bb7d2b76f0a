"""Whether confidence means what it says: calibration of class probabilities (M§6.9).

`probabilities` is N×C (rows sum to 1), `labels` the N gold class indices.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.flips import equal_mass
from engine.metrics import finite
from engine.registry import Metric

Floats = NDArray[np.float64]


def _checked(probabilities: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    given = np.asarray(probabilities)
    probability_NC, label_N = finite("probabilities", given, 2), finite("labels", labels, 1)
    n, c = probability_NC.shape
    slack = 1e-2 if given.dtype == np.float16 else 1e-3  # stored in half precision, C rounded numbers add up
    wrong = (probability_NC.min(1) < 0) | (np.abs(probability_NC.sum(1) - 1) > slack)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"probabilities: rows must be from 0 to 1 and sum to 1; got {probability_NC[row]} in row {row}"
        )
    if len(label_N) != n:
        raise ValueError(f"labels: must be one per row of probabilities ({n}); got {len(label_N)}")
    if ((label_N < 0) | (label_N >= c) | (label_N % 1 != 0)).any():
        raise ValueError(f"labels: must be class indices from 0 to {c - 1}; got {np.unique(label_N).tolist()}")
    return probability_NC, label_N.astype(np.int64)


def _confidence(probabilities: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    probability_NC, label_N = _checked(probabilities, labels)
    return probability_NC.max(1), (probability_NC.argmax(1) == label_N).astype(np.float64)


def ece(probabilities: ArrayLike, labels: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error `Σ_b (n_b/N)·|accuracy_b − confidence_b|` (Naeini et al. 2015; M§6.9).

    Confidence of the predicted class, in `bins` bins of equal mass: bin = ⌊bins·r/N⌋ with r the number of
    strictly lower confidences. Equal confidences so share a bin and the result does not depend on the order of
    items; equal-width bins would leave most of them empty for a confident model.
    """
    confidence_N, correct_N = _confidence(probabilities, labels)
    bin_N = equal_mass(confidence_N, bins)
    return float(np.abs(np.bincount(bin_N, weights=correct_N - confidence_N)).sum() / len(confidence_N))


def brier(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Brier score `mean_i Σ_c (p_ic − [c = y_i])²`, 0 (certain and right) to 2 (certain and wrong) (Brier 1950)."""
    probability_NC, label_N = _checked(probabilities, labels)
    target_NC = label_N[:, None] == np.arange(probability_NC.shape[1])
    return float(((probability_NC - target_NC) ** 2).sum(1).mean())


def overconfidence(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean confidence less accuracy, −1 to 1: above 0 the model is surer than right. Give it the flipped items (M§6.9)."""
    confidence_N, correct_N = _confidence(probabilities, labels)
    return float((confidence_N - correct_N).mean())


# fmt: off
ROWS: tuple[Metric, ...] = (
    Metric("ece", "Calibration error", "How far confidence is from accuracy, over ten groups of equally many items.",
           "M§6.9", "Naeini et al. 2015", "fraction", "lower", 0.0, 1.0,
           r"\sum_b\frac{n_b}{N}\left|\mathrm{acc}_b-\mathrm{conf}_b\right|", "Diagnose"),
    Metric("brier", "Brier score", "The squared error of the class probabilities; rewards being right and knowing it.",
           "M§6.9", "Brier 1950", "score", "lower", 0.0, 2.0, r"\frac1N\sum_i\sum_c(p_{ic}-[c=y_i])^2", "Diagnose"),
    Metric("overconfidence", "Over-confidence", "Mean confidence less accuracy; above 0 the model is surer than right.",
           "M§6.9", "standard", "fraction", "lower", -1.0, 1.0,
           r"\frac1N\sum_i\left(\max_c p_{ic}-[\hat y_i=y_i]\right)", "Diagnose"),
)
# fmt: on
