"""What pruning took from an encoder beside the task: features for other tasks, and pretraining (M§6.10)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.metrics import finite
from engine.registry import Metric

Floats = NDArray[np.float64]
# Kind → is a larger value better (1) or worse (−1).
BETTER = {"probe": 1.0, "masked_token_loss": -1.0}


def contributions(dense: ArrayLike, state: ArrayLike, weights: ArrayLike, better: float = 1.0) -> Floats:
    """What every seed and item contributes to `R = ±Σ(dense − state)/Σw`, S×N; their mean is R (M§6.10).

    dense, state: S×N, summed over what an item holds (the loss of its hidden tokens); weights: N, how much that is.
    A ratio is resampled through its linearisation `R + (d − R·w)/w̄`, whose bootstrap is that of the ratio to first
    order, so that items which hide unequal numbers of tokens share one bootstrap with all others. With unit weights it
    is d itself. Positive where the state is worse than dense.
    """
    dense_SN, state_SN, weights_N = finite("dense", dense, 2), finite("state", state, 2), finite("weights", weights, 1)
    if dense_SN.shape != state_SN.shape or dense_SN.shape[1] != len(weights_N):
        raise ValueError(
            f"dense, state, weights: must be S×N, S×N and N; got {dense_SN.shape}, {state_SN.shape} and {weights_N.shape}"
        )
    if weights_N.min() <= 0:
        raise ValueError(f"weights: must be above 0; got {weights_N.min():g}")
    d_SN = better * (dense_SN - state_SN)
    ratio = d_SN.sum() / (weights_N.sum() * len(d_SN))
    return np.asarray(ratio + (d_SN - ratio * weights_N) / weights_N.mean())


# fmt: off
ROWS: tuple[Metric, ...] = (
    Metric("probe", "Probe accuracy", "How often a linear classifier on the frozen encoder's mean states answers another task rightly.",
           "M§6.10", "Xu et al. 2022 (arXiv 2112.07198)", "accuracy", "higher", 0.0, 1.0,
           r"\frac{1}{N}\sum_i\left[\arg\max_c (W\bar z_i+b)_c=y_i\right]", "Diagnose"),
    Metric("masked_token_loss", "Masked-token loss", "The cross-entropy of hidden tokens under the checkpoint's own language-model head; the same tokens are hidden in every state.",
           "M§6.10", "standard", "nats", "lower", 0.0, None, r"\frac{\sum_i\sum_{t\in H_i}-\log p(t)}{\sum_i|H_i|}", "Diagnose"),
    Metric("probing_lost", "Lost beside the task", "What pruning took: probe accuracy lost, or loss of hidden tokens gained, against the dense model on the same items.",
           "M§6.10", "standard", "accuracy or nats", "lower", None, None, r"\pm\frac{\sum_i(d_i-p_i)}{\sum_i w_i}", "Diagnose"),
)
# fmt: on
