"""Figures of alignment between languages (M§6.4): translations found, and which part of the drift breaks it.

They read the tables `crosslingual` and `drift` of analysis.measures (all levels of a study).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis import theme
from analysis.figures.base import (
    CONTINUED,
    Shown,
    bars,
    blank,
    canvas,
    caption,
    count_text,
    default_pooling,
    last_layer,
    level_line,
    line,
    pooled,
    present,
    rows_of,
    seed_text,
    stacked,
    whiskers,
)

TRANSLATIONS = {"retrieval": "Translations found (%)", "cka": "CKA with the source language"}


def crosslingual_lines(
    crosslingual: pd.DataFrame,
    language: str | None = None,
    measure: str = "retrieval",
    layer: int | None = None,
    pooling: str | None = None,
    dark: bool = False,
) -> Shown:
    """How near translations are to the source language against sparsity, one line per method; None: mean of languages.

    `measure`: retrieval (accuracy of finding the translation) or cka. The dense model and `dense_continued` are lines.
    """
    pooling = pooling or default_pooling(crosslingual)
    both = rows_of(crosslingual, language=language, pooling=pooling)
    both, layer = last_layer(both, layer)
    rows = rows_of(both, role="pruned")
    if rows.empty:
        return blank(
            "No parallel states yet.",
            "Cross-lingual alignment needs parallel items: the same ids in every language.",
            dark,
        )
    scale = 100 if measure == "retrieval" else 1
    figure = canvas(dark, x="Sparsity (% of prunable weights removed)", y=TRANSLATIONS[measure])
    for (method, recipe), group in stacked(rows, ("method", "recipe")):
        means = group.groupby("sparsity", as_index=False)[measure].mean()
        x, y = 100 * means["sparsity"], scale * means[measure]
        line(figure, x, y, str(method), theme.method_style(str(method), str(recipe), dark), "%{x:.1f}%: %{y:.2f}")
    dense = float(rows_of(both, method="dense")[measure].mean())
    continued = float(rows_of(both, role="continued")[measure].mean())
    level_line(figure, scale * dense, "dense", theme.look(dark).dense, "solid")
    level_line(figure, scale * continued, CONTINUED, theme.GREY, "longdash", left=True)
    if measure == "retrieval":
        level_line(figure, scale * float(rows["chance"].mean()), "chance", theme.GREY)
    reading = _reading(rows, measure, dense, language, layer)
    return Shown(figure, reading, caption(f"{count_text(rows['n'])} items, {seed_text(rows)}, {pooled(pooling)}"), rows)


def _reading(rows: pd.DataFrame, measure: str, dense: float, language: str | None, layer: int | None) -> str:
    show = theme.percent if measure == "retrieval" else theme.number
    who = "the other languages" if language is None else theme.language_name(language)
    start = f"{TRANSLATIONS[measure].removesuffix(' (%)')} for {who} in layer {layer}: {show(dense)} in the dense model"
    highest = rows["sparsity"].max()
    top = rows[(rows["sparsity"] == highest) & (rows["recipe"] != "random")].groupby("method")[measure].mean()
    if top.empty:
        return f"{start}."
    return f"{start}, at {theme.level(highest)} sparsity {show(top.max())} under {top.idxmax()}."


LOSSES = {"retrieval_loss": ("Translations lost (points)", 100.0), "cka_loss": ("CKA with the source lost", 1.0)}


def loss_bars(
    crosslingual: pd.DataFrame, sparsity: float, measure: str = "retrieval_loss", layer: int | None = None,
    pooling: str | None = None, dark: bool = False,
) -> Shown:  # fmt: skip
    """What pruning takes from alignment with the source, per language at one level, grouped by method, dense − pruned.

    retrieval_loss has 95% intervals over items (mean of those of the seeds).
    """
    pooling = pooling or default_pooling(crosslingual)
    rows, layer = last_layer(rows_of(crosslingual, pooling=pooling, role="pruned", sparsity=sparsity), layer)
    rows = present(rows, measure) if measure in rows else rows.head(0)
    title, scale = LOSSES[measure]
    if rows.empty:
        return blank("No loss of alignment measured here.", "It needs parallel items and the dense run's states.", dark)
    codes = theme.ordered(rows["language"].tolist())
    figure = canvas(dark, height=420, y=f"{title}, layer {layer}")
    ends = [f"{measure}{end}" for end in ("", "_low", "_high")]
    for (method, recipe), group in stacked(rows, ("method", "recipe")):
        means = group.groupby("language")[[name for name in ends if name in group]].mean().reindex(codes)
        values = scale * means
        more = {}
        if len(values.columns) == len(ends):
            more = {"error_y": whiskers(*(values[name] for name in ends), color=theme.look(dark).text)}
        style = theme.method_style(str(method), str(recipe), dark)
        bars(figure, map(theme.language_name, codes), values[measure], str(method), style, "%{x}: %{y:.2f}", **more)
    kept = rows[rows["recipe"] != "random"]
    means = (kept if len(kept) else rows).groupby(["method", "language"])[measure].mean()
    method, code = means.idxmax()
    much = theme.points(means.max()) if scale == 100 else theme.number(means.max())
    reading = f"At {theme.level(sparsity)} {theme.language_name(code)} loses most of its alignment with the source under {method}: {much}."
    note = "95% intervals over items" if measure == "retrieval_loss" else ""
    return Shown(
        figure, reading, caption(f"{count_text(rows['n'])} items, {seed_text(rows)}, {pooled(pooling)}", note), rows
    )


PARTS = {
    "grand": "one shift for all",
    "item": "meanings, in all languages alike",
    "language": "whole languages",
    "interaction": "the rest",
}
PART_COLOURS = {"grand": theme.SKY, "item": theme.BLUE, "language": theme.ORANGE, "interaction": theme.VERMILION}


def drift_bars(
    drift: pd.DataFrame, method: str, pooling: str | None = None, layer: int | None = None, dark: bool = False
) -> Shown:
    """What kind of displacement pruning made, per level: shares of its sum of squares. Blue parts keep cross-lingual
    alignment, orange ones break it."""
    pooling = pooling or default_pooling(drift)
    rows = rows_of(drift, method=method, pooling=pooling, role="pruned")
    rows, layer = last_layer(rows, layer)
    if rows.empty:
        return blank("No parallel states yet.", "Drift needs parallel items: the same ids in every language.", dark)
    shares = rows.groupby("sparsity", as_index=False)[list(PARTS)].mean()
    figure = canvas(dark, x="Sparsity (% of prunable weights removed)", y="Share of the displacement (%)")
    for name, title in PARTS.items():
        figure.add_bar(
            x=[theme.level(value) for value in shares["sparsity"]],
            y=100 * shares[name],
            name=title,
            marker={"color": PART_COLOURS[name]},
            hovertemplate="%{x}: %{y:.1f}%<extra>" + title + "</extra>",
        )
    figure.update_layout(barmode="stack")
    figure.update_xaxes(type="category")
    top = shares.iloc[int(np.argmax(shares["sparsity"]))]
    breaks = top["language"] + top["interaction"]
    reading = f"At {theme.level(top['sparsity'])} sparsity {theme.percent(breaks)} of what {method} moved in layer {layer} moves languages apart."
    return Shown(
        figure,
        reading,
        caption(
            f"{count_text(rows['n'])} items, {seed_text(rows)}, {pooled(pooling)}",
            "exact two-way analysis of variance",
        ),
        rows,
    )
