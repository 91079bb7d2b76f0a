"""Tables → figures: every function takes a table of analysis and returns a `Shown`; nothing is computed but layout.

Every figure exists in light and dark (`dark=True`) and comes with a one-line reading, a caption (n, seeds, intervals,
control) and the rows behind it. A table without the rows asked for gives a figure that says what is missing.
"""

from __future__ import annotations

from analysis.figures.alignment import cka_along_sparsity, cka_diagonal, cka_heatmap
from analysis.figures.base import Shown, blank
from analysis.figures.drops import MEAN, did_dots, drop_bars, drop_heatmap, drop_lines
from analysis.figures.languages import crosslingual_lines, drift_bars
from analysis.figures.maps import map_scatter
from analysis.figures.recovery import recovery_lines
from analysis.figures.separability import separability_by_language, separability_lines, snr_bars
from analysis.figures.weights import weights_bars, weights_heatmap

__all__ = [
    "MEAN",
    "Shown",
    "blank",
    "cka_along_sparsity",
    "cka_diagonal",
    "cka_heatmap",
    "crosslingual_lines",
    "did_dots",
    "drift_bars",
    "drop_bars",
    "drop_heatmap",
    "drop_lines",
    "map_scatter",
    "recovery_lines",
    "separability_by_language",
    "separability_lines",
    "snr_bars",
    "weights_bars",
    "weights_heatmap",
]
