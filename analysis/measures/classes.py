"""How far classes stand apart in a level's states, and how much noise pruning added to them (M§6.2, M§6.3)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import separability as classes
from analysis.measures import bands
from analysis.measures.states import Floats, Integers, View, value_of

LEAST_EXAMPLES = 5  # classes with fewer are left out, and named
SHUFFLES = 5  # of the labels, for the control of r_squared: with the unbiased estimator it is near 0 everywhere


def separability(view: View) -> pd.DataFrame:
    """How far classes stand apart in this state (M§6.2, M§6.3): one row per language, pooling and layer.

    r_squared with the control of shuffled labels (control, control_low, control_high), fisher_ratio, class_snr,
    silhouette, nearest_centroid (leave-one-out), each with its control in the dense states (`<name>_control_low`,
    `_high`; one state suffices, since shuffled labels know nothing of any), and pruning_snr_db against the reference where the level is a
    pruned or continued one. Classes with under 5 examples are left out and named in `left_out`; `n` and `classes`
    count what stays.
    """
    rows = []
    for language in view.state.languages:
        kept, labels, left_out = _enough(view.state.labels[language])
        for pooling in view.poolings:
            x_LND = view.state.layers(language, pooling, kept)
            noise = _noise(view, language, pooling)
            keys = {
                "language": language,
                "source": language in view.sources,
                "pooling": pooling,
                "n": len(kept),
                "classes": len(np.unique(labels)),
                "left_out": ", ".join(left_out),
            }
            rows += [
                {
                    **keys,
                    "layer": layer,
                    **_apart(x_ND, labels, view.role == "other seed"),
                    "pruning_snr_db": noise[layer],
                }
                for layer, x_ND in enumerate(x_LND)
            ]
    return pd.DataFrame(rows)


def _enough(labels: NDArray[Any]) -> tuple[Integers, Integers, list[str]]:
    names, index_N, count_C = np.unique(labels.astype(str), return_inverse=True, return_counts=True)
    kept = np.flatnonzero(count_C[index_N] >= LEAST_EXAMPLES)
    return kept, index_N[kept], names[count_C < LEAST_EXAMPLES].tolist()


def _noise(view: View, language: str, pooling: str) -> list[float]:
    if view.role == "other seed" or (language, pooling) not in set(view.shared()):
        return [float("nan")] * view.state.depth
    return [
        value_of(classes.pruning_snr_db, dense, pruned)
        for pruned, dense in zip(*view.pairs(language, pooling), strict=True)
    ]


def _apart(x_ND: Floats, labels: Integers, every: bool) -> dict[str, float]:
    measures = {
        "r_squared": classes.r_squared,
        "fisher_ratio": classes.fisher_ratio,
        "class_snr": classes.class_snr,
        "silhouette": classes.silhouette,
        "nearest_centroid": leave_one_out_centroid,
    }
    row = {name: value_of(measure, x_ND, labels) for name, measure in measures.items()}
    if np.isnan(row["r_squared"]):
        control = bands.NAN
    else:
        control = classes.shuffled_control(classes.r_squared, x_ND, labels, 0, SHUFFLES)
    row |= dict(zip(("control", "control_low", "control_high"), control, strict=True))
    for name, measure in measures.items():
        if name != "r_squared":
            known = every and not np.isnan(row[name])
            ends = classes.shuffled_control(measure, x_ND, labels, 0, SHUFFLES)[1:] if known else bands.NAN[1:]
            row |= dict(zip((f"{name}_control_low", f"{name}_control_high"), ends, strict=True))
    return row


def leave_one_out_centroid(x: Floats, labels: Integers) -> float:
    """Accuracy of the nearest class mean, each example left out of its own class's mean (M§6.2).

    The exact limit of cross-validation, without folds and their seed: leaving x out of its class of n moves the mean
    by (μ − x)/(n − 1), so all N answers cost one product. Every class needs 2 examples. Axes: x is N×D.
    """
    x_ND, index_N, count_C = classes.classes(x, labels, 2)
    member_CN = (np.arange(len(count_C))[:, None] == index_N).astype(np.float64)
    x_ND = x_ND - x_ND.mean(0)
    mean_CD = member_CN @ x_ND / count_C[:, None]
    distance_NC = (x_ND**2).sum(1)[:, None] - 2 * x_ND @ mean_CD.T + (mean_CD**2).sum(1)
    own = np.arange(len(x_ND)), index_N
    distance_NC[own] *= (count_C[index_N] / (count_C[index_N] - 1)) ** 2
    return float((distance_NC.argmin(1) == index_N).mean())
