"""Whether a level's confidence means what it says, per split and language (M§6.9)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis import calibration as measure
from analysis.measures.flipping import overconfidence
from analysis.measures.states import View

MEASURES = {"ece": measure.ece, "brier": measure.brier, "overconfidence": measure.overconfidence}

FLIPS = ("flips_broken", "flips_repaired", "flips_kept")


def calibration(view: View) -> pd.DataFrame:
    """One row per split and language: n, ece, brier, overconfidence, and over-confidence on the items that flipped.

    flips_broken, flips_repaired, flips_kept: against the reference (`flipping.overconfidence`; NaN without one). Empty
    for task types without class probabilities.
    """
    frame = view.level.frame("details")
    if "probabilities" not in frame or not view.labels:
        return pd.DataFrame()
    place = {label: index for index, label in enumerate(view.labels)}
    rows = []
    for (split, language), group in frame.groupby(["split", "language"], sort=False, observed=True):
        probabilities_NC, gold_N = np.stack(group["probabilities"].to_list()), group["label"].map(place).to_numpy()
        values = {name: function(probabilities_NC, gold_N) for name, function in MEASURES.items()}
        rows.append({"split": split, "language": language, "n": len(group), **values})
    found = pd.DataFrame(rows).merge(overconfidence(view, view.labels), on=["split", "language"], how="left")
    return found.assign(**{name: np.nan for name in FLIPS if name not in found})
