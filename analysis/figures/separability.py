"""Figures of class separability and signal to noise (M§6.2, M§6.3), always beside the task score.

They read the table `separability` of analysis.measures (all levels of a study).
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis import theme
from analysis.figures.base import (
    KEEP_STATES,
    NO_STATES,
    Shown,
    band,
    bars,
    blank,
    canvas,
    caption,
    count_text,
    default_pooling,
    last_layer,
    line,
    plural,
    pooled,
    present,
    rows_of,
    stacked,
    state_name,
)

MEASURES = {
    "r_squared": "Class separability R²", "fisher_ratio": "Fisher ratio", "class_snr": "Class signal-to-noise", "silhouette": "Silhouette",
    "nearest_centroid": "Nearest centroid (accuracy)",
}  # fmt: skip
SCORE = "Read it with the task score: classes can stand apart while the answer is wrong"


def _basis(rows: pd.DataFrame, pooling: str) -> str:
    seeds = plural(rows["seed"].nunique(), "seed")
    left_out = sorted({name for names in rows["left_out"].unique() for name in str(names).split(", ") if name})
    missing = f"Classes with under 5 examples are left out: {', '.join(left_out)}" if left_out else ""
    return caption(f"{count_text(rows['n'])} examples, {seeds}, {pooled(pooling)}", missing)


def _state(method: Any, sparsity: float) -> str:
    return state_name(str(method)) if method in ("dense", "dense_continued") else f"{method} {theme.level(sparsity)}"


def _last_step(frame: pd.DataFrame) -> pd.DataFrame:
    """Of `dense_continued` only its longest training, so that it is one state."""
    continued = frame["method"] == "dense_continued"
    return frame[~continued | (frame["step"] == frame.loc[continued, "step"].max())]


def separability_lines(
    frame: pd.DataFrame,
    language: str,
    sparsity: float | None = None,
    measure: str = "r_squared",
    pooling: str | None = None,
    dark: bool = False,
) -> Shown:
    """A measure of separability by layer: one line per method at one level (default: its highest), with the dense state.

    The grey band is the control: the same states with shuffled labels (of other measures than r_squared the dense ones).
    """
    pooling = pooling or default_pooling(frame)
    rows = rows_of(frame, language=language, pooling=pooling)
    rows = _at(_last_step(rows), sparsity) if len(rows) else rows
    rows = present(rows, measure)
    if rows.empty:
        return blank(NO_STATES, KEEP_STATES, dark)
    figure = canvas(dark, x="Layer (0: embedding output)", y=MEASURES[measure])
    for (method, recipe, level), group in stacked(rows, ("method", "recipe", "sparsity")):
        means, name = group.groupby("layer", as_index=False)[measure].mean(), _state(method, float(level))
        style = theme.method_style(str(method), str(recipe), dark)
        line(figure, means["layer"], means[measure], name, style, "layer %{x}: %{y:.3f}")
    ends = [f"{'' if measure == 'r_squared' else f'{measure}_'}control_{end}" for end in ("low", "high")]
    control = rows.groupby("layer")[ends].mean().dropna() if set(ends) <= set(rows) else pd.DataFrame()
    if len(control):
        low, high = (control[end].tolist() for end in ends)
        band(figure, control.index.tolist(), low, high, theme.GREY, "")
    figure.update_xaxes(dtick=1)
    note = "grey band: shuffled labels" if len(control) else ""
    return Shown(figure, _lines_reading(rows, measure, language), caption(_basis(rows, pooling), note, SCORE), rows)


def _at(rows: pd.DataFrame, sparsity: float | None) -> pd.DataFrame:
    """The control states, and of every method the level asked for or its highest."""
    pruned = rows["role"] == "pruned"
    highest = rows.groupby("method")["sparsity"].transform("max")
    return rows[~pruned | (rows["sparsity"] == (highest if sparsity is None else sparsity))]


def _lines_reading(rows: pd.DataFrame, measure: str, language: str) -> str:
    last = rows[rows["layer"] == rows["layer"].max()].groupby("method")[measure].mean()
    pruned = last.drop(["dense", "dense_continued"], errors="ignore")
    dense = f", dense {last['dense']:.2f}" if "dense" in last else ""
    if pruned.empty:
        return f"{MEASURES[measure]} of the last layer for {theme.language_name(language)}{dense}."
    where = f"{MEASURES[measure]} of the last layer for {theme.language_name(language)}"
    return f"{where} is highest under {pruned.idxmax()} ({pruned.max():.2f}{dense})."


def snr_bars(
    frame: pd.DataFrame, sparsity: float, layer: int | None = None, pooling: str | None = None, dark: bool = False
) -> Shown:
    """Pruning SNR in decibels per language at one level, grouped by method; 0 dB: what changed is as large as the spread."""
    pooling = pooling or default_pooling(frame)
    rows = rows_of(frame, pooling=pooling, sparsity=sparsity, role="pruned")
    rows, layer = last_layer(rows, layer)
    rows = present(rows, "pruning_snr_db")
    if rows.empty:
        return blank(NO_STATES, KEEP_STATES, dark)
    codes = theme.ordered(rows["language"].tolist(), rows.loc[rows["source"], "language"].tolist())
    figure = canvas(dark, height=420, y=f"Pruning SNR, layer {layer} (dB)")
    for (method, recipe), group in stacked(rows, ("method", "recipe")):
        values = group.groupby("language")["pruning_snr_db"].mean().reindex(codes)
        style = theme.method_style(str(method), str(recipe), dark)
        bars(figure, map(theme.language_name, codes), values, str(method), style, "%{x}: %{y:.1f} dB")
    means = rows.groupby("method")["pruning_snr_db"].mean()
    mean = theme.number(means.max(), 1)
    reading = (
        f"At {theme.level(sparsity)} sparsity layer {layer} is clearest under {means.idxmax()} ({mean} dB on average)."
    )
    return Shown(
        figure,
        reading,
        caption(_basis(rows, pooling), "SNR can stay high while the task fails: read it with the score"),
        rows,
    )


def separability_by_language(
    frame: pd.DataFrame,
    method: str,
    measure: str = "r_squared",
    layer: int | None = None,
    pooling: str | None = None,
    dark: bool = False,
) -> Shown:
    """A measure of separability per language along the sparsity of one method, the dense state at 0; coloured by family."""
    pooling = pooling or default_pooling(frame)
    rows = rows_of(frame, pooling=pooling, method=[method, "dense"])
    rows, layer = last_layer(rows, layer)
    rows = present(rows, measure)
    if rows.empty:
        return blank(NO_STATES, KEEP_STATES, dark)
    codes = theme.ordered(rows["language"].tolist(), rows.loc[rows["source"], "language"].tolist())
    figure = canvas(
        dark, height=420, x="Sparsity (% of prunable weights removed)", y=f"{MEASURES[measure]}, layer {layer}"
    )
    for place, code in enumerate(codes):
        means = rows[rows["language"] == code].groupby("sparsity", as_index=False)[measure].mean()
        style = theme.Style(theme.language_colour(code), "solid", theme.category_symbol(7 * place))
        line(figure, 100 * means["sparsity"], means[measure], theme.language_name(code), style, "%{x:.1f}%: %{y:.3f}")
    top = rows[rows["sparsity"] == rows["sparsity"].max()].groupby("language")[measure].mean()
    high, low = (theme.language_name(str(code)) for code in (top.idxmax(), top.idxmin()))
    where = f"{MEASURES[measure]} in layer {layer} under {method} at {theme.level(rows['sparsity'].max())}"
    reading = f"{where}: highest for {high} ({top.max():.2f}), lowest for {low} ({top.min():.2f})."
    return Shown(figure, reading, caption(_basis(rows, pooling), SCORE), rows)
