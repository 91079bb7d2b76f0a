"""Figures of what the surviving weights look like (M§6.8), from `analysis.tables.weights`."""

from __future__ import annotations

import pandas as pd

from analysis import theme
from analysis.figures.base import Shown, bars, blank, canvas, caption, rows_of, stacked

MISSING = "No weights of a finished level yet."
REMEDY = "Every finished level writes a summary of its weights."
KINDS = ("query", "key", "value", "query_key_value", "attention_output", "ffn_in", "ffn_out")
BARS = {
    "matrix_sparsity": "Measured sparsity (%)", "norm_kept": "Norm kept (%)", "unit_cosine_mean": "Cosine of units with dense", "hoyer": "Hoyer sparsity",
    "kurtosis": "Excess kurtosis (Gaussian: 0)", "units_left": "Units left",
}  # fmt: skip
IN_PERCENT = ("matrix_sparsity", "norm_kept")


def _seeds(rows: pd.DataFrame) -> str:
    seeds = rows["seed"].nunique()
    return f"mean of {seeds} seeds" if seeds > 1 else f"seed {rows['seed'].iloc[0]}"


def _kinds(rows: pd.DataFrame) -> list[str]:
    found = rows["kind"].unique().tolist()
    return [kind for kind in KINDS if kind in found] + sorted(kind for kind in found if kind not in KINDS)


def weights_heatmap(
    frame: pd.DataFrame, method: str, sparsity: float, measure: str = "matrix_sparsity", dark: bool = False
) -> Shown:
    """Block × kind of matrix at one level: measured sparsity, or another column of `BARS`; mean over seeds."""
    rows = rows_of(frame, method=method, sparsity=sparsity)
    if rows.empty:
        return blank(MISSING, REMEDY, dark)
    scale, kinds = 100 if measure in IN_PERCENT else 1, _kinds(rows)
    grid = scale * rows.pivot_table(index="layer", columns="kind", values=measure, aggfunc="mean").reindex(
        columns=kinds
    )
    figure = canvas(dark, height=160 + 28 * len(grid), x="Matrix", y="Block")
    figure.add_heatmap(
        z=grid.to_numpy(),
        x=[kind.replace("_", " ") for kind in kinds],
        y=grid.index,
        colorscale=theme.SEQUENTIAL,
        texttemplate="%{z:.1f}" if scale == 100 else "%{z:.2f}",
        colorbar={"title": {"text": BARS[measure]}},
        hovertemplate="block %{y}, %{x}: %{z:.2f}<extra></extra>",
    )
    figure.update_yaxes(autorange="reversed", dtick=1)
    by_kind = grid.mean()
    most, least = (str(kind).replace("_", " ") for kind in (by_kind.idxmax(), by_kind.idxmin()))
    ends = f"{most} has most ({by_kind.max():.1f}), {least} least ({by_kind.min():.1f})"
    reading = f"{BARS[measure]} under {method} at {theme.level(sparsity)}: {ends}."
    note = f"{rows['matrix'].nunique()} prunable matrices; embeddings, norms, biases and the head are never pruned"
    return Shown(figure, reading, caption(_seeds(rows), note), rows)


def weights_bars(frame: pd.DataFrame, sparsity: float, measure: str = "unit_cosine_mean", dark: bool = False) -> Shown:
    """One column of `BARS` per kind of matrix at one level, grouped by method, with the continued dense model as control."""
    at_level = rows_of(
        frame[~frame["method"].isin(["dense", "dense_continued"])] if len(frame) else frame, sparsity=sparsity
    )
    if at_level.empty:
        return blank(MISSING, REMEDY, dark)
    continued = rows_of(frame, method="dense_continued")
    last = continued[continued["step"] == continued["step"].max()] if len(continued) else continued
    rows = pd.concat([at_level, last], ignore_index=True) if len(last) else at_level
    scale, kinds = 100 if measure in IN_PERCENT else 1, _kinds(rows)
    figure = canvas(dark, y=BARS[measure])
    for (method, recipe), group in stacked(rows, ("method", "recipe")):
        values = scale * group.groupby("kind")[measure].mean().reindex(kinds)
        style = theme.method_style(str(method), str(recipe), dark)
        bars(figure, [kind.replace("_", " ") for kind in kinds], values, str(method), style, "%{x}: %{y:.3f}")
    means = at_level.groupby("method")[measure].mean()
    reading = f"{BARS[measure]} at {theme.level(sparsity)}: highest under {means.idxmax()} ({scale * means.max():.2f})"
    reading = (
        f"{reading}, lowest under {means.idxmin()} ({scale * means.min():.2f})." if len(means) > 1 else f"{reading}."
    )
    note = "grey: the dense model trained on, without a mask" if len(last) else ""
    return Shown(figure, reading, caption(f"{_seeds(rows)}, mean over blocks", note), rows)
