"""Figures of recovery after a pruning step (M§6.7), from `analysis.tables.recovery_lines`."""

from __future__ import annotations

import pandas as pd

from analysis import theme
from analysis.figures.base import Shown, blank, canvas, caption, line, plural, rows_of, stacked
from analysis.recovery import recovery


def recovery_lines(frame: pd.DataFrame, sparsity: float, dark: bool = False) -> Shown:
    """Source-validation score against updates since the mask, in the cycle after one level: a line per method.

    Mean over seeds. `dense_continued`, whose cycles follow no mask, is the control.
    """
    rows = rows_of(frame, sparsity=sparsity)
    rows = rows[(rows["cycle"] > 0) & ~rows["method"].isin(["dense", "dense_continued"])] if len(rows) else rows
    if rows.empty:
        return blank("No retraining cycle at this level yet.", "Cycles appear here while a run is on its way.", dark)
    control = rows_of(frame, method="dense_continued", cycle=int(rows["cycle"].min()))
    both = pd.concat([rows, control], ignore_index=True) if len(control) else rows.reset_index(drop=True)
    figure = canvas(dark, x="Updates since the mask", y="Source validation score (%)")
    for (method, recipe), group in stacked(both, ("method", "recipe")):
        means = group.groupby("cycle_step", as_index=False)["score"].mean()
        style = theme.method_style(str(method), str(recipe), dark)
        line(figure, means["cycle_step"], 100 * means["score"], str(method), style, "%{x} updates: %{y:.1f}%")
    note = "grey: the dense model trained on, without a mask" if len(control) else ""
    return Shown(
        figure,
        _reading(rows, sparsity),
        caption(f"mean of {plural(rows['seed'].nunique(), 'seed')}", "the first point is right after the mask", note),
        both,
    )


def _reading(rows: pd.DataFrame, sparsity: float) -> str:
    cycles = recovery(rows)
    if cycles.empty:
        return f"The cycle at {theme.level(sparsity)} sparsity has only begun."
    means = cycles.groupby("method")[["after_mask", "updates_to_recover", "recovered_share"]].mean()
    known = means["updates_to_recover"].dropna()
    after = f"Right after the mask at {theme.level(sparsity)} {means['after_mask'].idxmax()} scores highest ({theme.percent(means['after_mask'].max())})"
    if known.empty:
        return f"{after}."
    fastest = known.idxmin()
    share = theme.percent(means.loc[fastest, "recovered_share"])
    return f"{after}; soonest back at 99% of its best is {fastest}, after {known[fastest]:.0f} updates ({share} of the cycle)."
