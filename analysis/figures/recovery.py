"""Figures of recovery after a pruning step (M§6.7), from `analysis.tables.recovery_lines`."""

from __future__ import annotations

import pandas as pd

from analysis import theme
from analysis.figures.base import (
    Shown,
    bars,
    blank,
    canvas,
    caption,
    line,
    plural,
    rows_of,
    stacked,
    state_name,
    whiskers,
)
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
        line(
            figure, means["cycle_step"], 100 * means["score"], state_name(str(method)), style, "%{x} updates: %{y:.1f}%"
        )
    note = "grey: the dense model trained on, without a mask" if len(control) else ""
    return Shown(
        figure,
        _reading(rows, sparsity),
        caption(f"mean of {plural(rows['seed'].nunique(), 'seed')}", "the first point is right after the mask", note),
        both,
    )


def _reading(rows: pd.DataFrame, sparsity: float) -> str:
    kept = rows[rows["recipe"] != "random"]
    cycles = recovery(kept if len(kept) else rows)
    if cycles.empty:
        return f"The cycle at {theme.level(sparsity)} sparsity has only begun."
    means = cycles.groupby("method")[["after_mask", "updates_to_recover", "recovered_share"]].mean()
    known = means["updates_to_recover"].dropna()
    after = f"Right after the mask at {theme.level(sparsity)} {means['after_mask'].idxmax()} scores highest ({theme.percent(means['after_mask'].max())})"
    if known.empty:
        return f"{after}."
    if known.max() == 0:
        return f"{after}; retraining brings no method more than 1% above what it scores then."
    fastest = known.idxmin()
    share = theme.percent(means.loc[fastest, "recovered_share"])
    return f"{after}; soonest back at 99% of its best is {fastest}, after {known[fastest]:.0f} updates ({share} of the cycle)."


def recovery_bars(cycles: pd.DataFrame, measure: str = "updates_to_recover", dark: bool = False) -> Shown:
    """One column of the table `recovery` per level, grouped by method, mean over seeds with every seed as a point.

    The control `dense_continued`, whose cycles follow no mask, is not drawn.
    """
    rows = (
        cycles[~cycles["method"].isin(["dense", "dense_continued"])].dropna(subset=[measure]) if len(cycles) else cycles
    )
    if rows.empty:
        return blank(
            "No finished retraining cycle yet.", "Each level's cycle appears here when its run has logged it.", dark
        )
    levels = sorted(rows["sparsity"].unique())
    scale = 1 if measure == "updates_to_recover" else 100
    figure = canvas(dark, height=400, y=RECOVERY[measure])
    for (method, recipe), group in stacked(rows, ("method", "recipe")):
        values = scale * group.groupby("sparsity")[measure].agg(["mean", "min", "max"]).reindex(levels)
        style = theme.method_style(str(method), str(recipe), dark)
        more = {"error_y": whiskers(values["mean"], values["min"], values["max"], color=theme.look(dark).text)}
        bars(figure, map(theme.level, levels), values["mean"], str(method), style, "%{x}: %{y:.1f}", **more)
    figure.update_xaxes(type="category", title_text="Level")
    kept = rows[(rows["sparsity"] == levels[-1]) & (rows["recipe"] != "random")]
    top = (kept if len(kept) else rows[rows["sparsity"] == levels[-1]]).groupby("method")[measure].mean()
    best = top.idxmin() if measure == "updates_to_recover" else top.idxmax()
    word = "soonest back" if measure == "updates_to_recover" else "highest"
    others = theme.listed([f"{name} ({scale * value:.1f})" for name, value in top.drop(best).items()])
    rest = f"; the others: {others}" if len(top) > 1 else ""
    reading = f"At {theme.level(levels[-1])} {word} is {best} ({scale * top[best]:.1f}){rest}."
    if len(top) > 1 and top.nunique() == 1:
        reading = f"At {theme.level(levels[-1])} all methods are alike ({scale * top[best]:.1f})."
    return Shown(
        figure, reading, caption(f"mean and range of {plural(rows['seed'].nunique(), 'seed')}", "source validation; between points the score is taken to be linear"), rows,
    )  # fmt: skip


RECOVERY = {
    "updates_to_recover": "Updates to 99% of the cycle's best", "after_mask": "Score right after the mask (%)", "after_10": "Score after 10% of the cycle (%)",
    "after_25": "Score after 25% (%)", "after_50": "Score after 50% (%)", "best": "Best score of the cycle (%)",
}  # fmt: skip
