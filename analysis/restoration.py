"""What a part of the network carries of the damage, from restored and part-pruned models (M§6.6).

Axes: items N. `dense`, `pruned` and `changed` are the scores (or margins) of the same items under the dense model,
the pruned one, and the one in which a single part was exchanged.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.metrics import finite
from engine.registry import Metric

Floats = NDArray[np.float64]
Direction = Literal["restore", "prune_only"]
DIRECTIONS: tuple[Direction, ...] = ("restore", "prune_only")


def effect(dense: ArrayLike, pruned: ArrayLike, changed: ArrayLike, direction: Direction) -> Floats:
    """What one part does to every item, N values; positive where it carries damage (M§6.6).

    `restore` (this part's dense weights in the pruned model): `changed − pruned`. `prune_only` (this part's pruned
    weights in the dense model): `dense − changed`. The two differ by what the parts do together. Negative where the
    exchange harms: a retrained network may have come to rely on its own weights.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"direction: must be one of {', '.join(DIRECTIONS)}; got {direction!r}")
    sides = [finite(name, values, 1) for name, values in (("dense", dense), ("pruned", pruned), ("changed", changed))]
    if len({len(side) for side in sides}) > 1:
        raise ValueError(f"dense, pruned, changed: must be the same items; got {[len(side) for side in sides]}")
    dense_N, pruned_N, changed_N = sides
    return changed_N - pruned_N if direction == "restore" else dense_N - changed_N


def interaction_gap(total: float, singles: ArrayLike) -> float:
    """`total − Σ single effects` of the parts of one partition: what they do only together (M§6.6). 0: they add up."""
    if not np.isfinite(total):
        raise ValueError(f"total: must be a number; got {total}")
    return float(total - finite("singles", singles, 1).sum())


# fmt: off
ROWS: tuple[Metric, ...] = (
    Metric("restored", "Restored by one part", "What putting back the dense weights of one part gives back; negative where it harms.",
           "M§6.6", "activation patching, for weights", "score", "neither", None, None, r"\bar c_{\mathrm{restore}}-\bar p", "Diagnose"),
    Metric("pruned_alone", "Lost by one part", "What pruning only this part costs the dense model.",
           "M§6.6", "ablation, for weights", "score", "lower", None, None, r"\bar d-\bar c_{\mathrm{alone}}", "Diagnose"),
    Metric("interaction_gap", "Interaction gap", "The total effect less the sum of the parts' single effects: what they do together only.",
           "M§6.6", "standard", "score", "neither", None, None, r"(\bar d-\bar p)-\sum_k e_k", "Diagnose"),
)
# fmt: on
