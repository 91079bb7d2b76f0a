"""Tables → figures: every function takes a table of analysis and returns a `Shown`; nothing is computed but layout.

Every figure exists in light and dark (`dark=True`) and comes with a one-line reading, a caption (n, seeds, intervals,
control) and the rows behind it. A table without the rows asked for gives a figure that says what is missing.
"""

from __future__ import annotations

from analysis.figures.alignment import cka_along_sparsity, cka_diagonal, cka_heatmap
from analysis.figures.base import Shown, blank
from analysis.figures.controls import control_dots, pareto_scatter
from analysis.figures.correlates import (
    calibration_heatmap,
    confidence_bars,
    correlate_dots,
    factor_scatter,
    tokenizer_bars,
)
from analysis.figures.drops import MEAN, did_dots, drop_bars, drop_heatmap, drop_lines
from analysis.figures.flips import atlas, confusion_heatmap, flip_bars, slice_dots
from analysis.figures.heads import heads_heatmap
from analysis.figures.languages import crosslingual_lines, drift_bars, loss_bars
from analysis.figures.maps import map_scatter, path_scatter
from analysis.figures.probing import probing_heatmap, probing_lines
from analysis.figures.recovery import recovery_bars, recovery_lines
from analysis.figures.restoration import restoration_bars, restoration_heatmap
from analysis.figures.separability import separability_by_language, separability_lines, snr_bars
from analysis.figures.weights import (
    distribution_lines,
    distribution_path,
    overlap_heatmap,
    weights_bars,
    weights_heatmap,
    weights_lines,
)

__all__ = [
    "MEAN",
    "Shown",
    "atlas",
    "blank",
    "calibration_heatmap",
    "cka_along_sparsity",
    "cka_diagonal",
    "cka_heatmap",
    "confidence_bars",
    "confusion_heatmap",
    "control_dots",
    "correlate_dots",
    "crosslingual_lines",
    "did_dots",
    "distribution_lines",
    "distribution_path",
    "drift_bars",
    "drop_bars",
    "drop_heatmap",
    "drop_lines",
    "factor_scatter",
    "flip_bars",
    "heads_heatmap",
    "loss_bars",
    "map_scatter",
    "overlap_heatmap",
    "pareto_scatter",
    "path_scatter",
    "probing_heatmap",
    "probing_lines",
    "recovery_bars",
    "recovery_lines",
    "restoration_bars",
    "restoration_heatmap",
    "separability_by_language",
    "separability_lines",
    "slice_dots",
    "snr_bars",
    "tokenizer_bars",
    "weights_bars",
    "weights_heatmap",
    "weights_lines",
]
