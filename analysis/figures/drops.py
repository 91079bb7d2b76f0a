"""Figures of degradation (M§6.1): score against sparsity, drops per language, differences in differences.

They read the tables `degradation` and `spread` of analysis.measures; fractions are shown as per cent and points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis import theme
from analysis.figures.base import (
    CONTINUED,
    INTERVAL,
    Shown,
    amount,
    band,
    bars,
    blank,
    canvas,
    caption,
    count_text,
    floor_of,
    in_percent,
    level_line,
    line,
    metric_of,
    point_of,
    rows_of,
    scored,
    seeds_text,
    stacked,
    tested,
    thin,
    whiskers,
)

MEAN = "mean of zero-shot"
SIGNIFICANT = 0.05
MISSING = "No finished pruned level yet."
REMEDY = "Drops appear once a method's first level and the dense run of its seed are finished and measured."


def named(language: str) -> str:
    """A language, or the mean over the zero-shot ones, inside a sentence."""
    return "the mean of the zero-shot languages" if language == MEAN else theme.language_name(language)


def basis(rows: pd.DataFrame) -> str:
    """What a figure of drops rests on: items, seeds, intervals."""
    return caption(f"{count_text(rows['n'])}, {seeds_text(int(rows['seeds'].min()))}", INTERVAL)


def drop_lines(frame: pd.DataFrame, language: str = MEAN, split: str = "test", dark: bool = False) -> Shown:
    """Score against sparsity for one language (rows of `degradation`) or the zero-shot mean (rows of `spread`).

    One line per method with its interval; the dense model, the dense model trained on, and chance as references.
    """
    rows = rows_of(frame, language=language, split=split)
    if rows.empty:
        return blank(MISSING, REMEDY, dark)
    figure = canvas(dark, x="Sparsity (% of prunable weights removed)", y=scored(metric_of(rows)))
    for (method, recipe), group in stacked(rows, ("method", "recipe")):
        _method_line(figure, str(method), str(recipe), group.sort_values("measured_sparsity"), dark)
    longest = max((group for _, group in stacked(rows, ("method",))), key=len).sort_values("measured_sparsity")
    _references(figure, rows, longest, dark)
    controls = "Dashed grey: random pruning" if "random" in set(rows["recipe"]) else ""
    return Shown(figure, _lines_reading(rows, language), caption(basis(rows), controls), rows)


def _method_line(figure: go.Figure, method: str, recipe: str, group: pd.DataFrame, dark: bool) -> None:
    style, x = theme.method_style(method, recipe, dark), in_percent(group["measured_sparsity"])
    band(figure, x, in_percent(group["pruned_low"]), in_percent(group["pruned_high"]), style.colour, method)
    more = {"legendgroup": method, "customdata": _hover_values(group)}
    line(figure, x, in_percent(group["pruned"]), method, style, HOVER, **more)


HOVER = (
    "%{y:.1f} at %{x:.1f}%<br>drop %{customdata[0]:.1f} points (%{customdata[1]:.1f} to %{customdata[2]:.1f})"
    "<br>n %{customdata[3]}, seeds %{customdata[4]}"
)


def _hover_values(group: pd.DataFrame) -> list[list[float]]:
    drops = zip(*(in_percent(group[name]) for name in ("drop", "drop_low", "drop_high")), strict=True)
    return [[*drop, int(n), int(seeds)] for drop, n, seeds in zip(drops, group["n"], group["seeds"], strict=True)]


def _references(figure: go.Figure, rows: pd.DataFrame, longest: pd.DataFrame, dark: bool) -> None:
    first = rows.iloc[0]
    level_line(figure, 100 * first["dense"], "dense", theme.look(dark).dense, "solid")
    if first["chance"] == first["chance"]:
        level_line(figure, 100 * first["chance"], floor_of(metric_of(rows)), theme.GREY)
    if longest["continued"].notna().any():
        x, y = (in_percent(longest[name]) for name in ("measured_sparsity", "continued"))
        thin(figure, x, y, CONTINUED, theme.GREY, "longdash")


def _lines_reading(rows: pd.DataFrame, language: str) -> str:
    top = rows[rows["sparsity"] == rows["sparsity"].max()]
    contenders = top[top["recipe"] != "random"]
    best = (contenders if len(contenders) else top).sort_values("drop").iloc[0]
    text = f"At {theme.level(best['sparsity'])} sparsity {best['method']} loses least on {named(language)}"
    return f"{text}: {theme.points(best['drop'])} ({theme.interval(best['drop_low'], best['drop_high'])}) of {amount(metric_of(rows), best['dense'])}."


def drop_heatmap(frame: pd.DataFrame, method: str, split: str = "test", dark: bool = False) -> Shown:
    """Languages × levels of one method: the drop in points, a star where it is significant after Holm's correction."""
    rows = rows_of(frame, method=method, split=split)
    if rows.empty:
        return blank(MISSING, REMEDY, dark)
    codes = theme.ordered(rows["language"].tolist(), rows.loc[rows["source"], "language"].tolist())
    table = rows.pivot_table(index="language", columns="sparsity", values="drop", aggfunc="first").reindex(codes)
    adjusted = rows.pivot_table(
        index="language", columns="sparsity", values="p_holm", aggfunc="first", dropna=False
    ).reindex(index=codes, columns=table.columns)
    text = [
        [_cell(*pair) for pair in zip(*line, strict=True)]
        for line in zip(table.to_numpy(), adjusted.to_numpy(), strict=True)
    ]
    bound = max(1.0, float(np.nanmax(np.abs(100 * table.to_numpy()))))
    figure = canvas(dark, height=120 + 28 * len(codes), x="Sparsity (% of prunable weights removed)")
    figure.add_heatmap(
        z=100 * table.to_numpy(),
        x=[theme.level(value) for value in table.columns],
        y=[theme.language_name(code) for code in codes],
        text=text,
        texttemplate="%{text}",
        zmid=0,
        zmin=-bound,
        zmax=bound,
        colorscale=theme.diverging(dark),
        colorbar={"title": {"text": f"Drop ({point_of(metric_of(rows))})"}},
        hovertemplate="%{y}, %{x}: drop %{z:.1f} points<extra></extra>",
    )
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(type="category")
    worst = rows.loc[rows["drop"].idxmax()]
    reading = f"{method} loses most in {named(str(worst['language']))}: {theme.points(worst['drop'])} at {theme.level(worst['sparsity'])}"
    if rows["p_holm"].notna().any():
        reading += f"; {int((rows['p_holm'] < SIGNIFICANT).sum())} of {len(rows)} drops are significant"
    return Shown(figure, f"{reading}.", caption(basis(rows), _mark(rows)), rows)


def _mark(rows: pd.DataFrame) -> str:
    if rows["p_holm"].isna().all():
        return "no tests here: only the test split belongs to the family of comparisons"
    return f"* significant at .05 by {tested(metric_of(rows))}, Holm-corrected over all methods, levels and languages of the study"


def _cell(drop: float, p: float) -> str:
    if drop != drop:
        return ""
    return f"{100 * drop:.1f}{'*' if p < SIGNIFICANT else ''}".replace("-", "−")


def drop_bars(
    frame: pd.DataFrame, sparsity: float, split: str = "test", methods: Sequence[str] | None = None, dark: bool = False
) -> Shown:
    """The drop of every language at one level, grouped by method, with intervals; the source first, then by family."""
    rows = rows_of(frame, sparsity=sparsity, split=split, method=methods)
    if rows.empty:
        return blank(MISSING, REMEDY, dark)
    sources = rows.loc[rows["source"], "language"].tolist()
    codes = theme.ordered(rows["language"].tolist(), sources)
    figure = canvas(dark, height=420, y=f"Drop against dense ({point_of(metric_of(rows))})")
    for (method, recipe), group in stacked(rows, ("method", "recipe")):
        group = group.set_index("language").reindex(codes)
        middle, low, high = (in_percent(group[name]) for name in ("drop", "drop_low", "drop_high"))
        more = {"error_y": whiskers(middle, low, high, color=theme.look(dark).text), "customdata": codes}
        style = theme.method_style(str(method), str(recipe), dark)
        bars(figure, map(theme.language_name, codes), middle, str(method), style, "%{x}: %{y:.1f} points", **more)
    order = "source first, then by family" if sources else "ordered by family"
    return Shown(figure, _bars_reading(rows, sparsity), caption(basis(rows), f"languages: {order}"), rows)


def _bars_reading(rows: pd.DataFrame, sparsity: float) -> str:
    worst = rows.loc[rows["drop"].idxmax()]
    kept = rows[rows["recipe"] != "random"]
    if len(kept):
        worst = kept.loc[kept["drop"].idxmax()]
    text = f"At {theme.level(sparsity)} sparsity {named(str(worst['language']))} loses most under {worst['method']}"
    return f"{text}: {theme.points(worst['drop'])} ({theme.interval(worst['drop_low'], worst['drop_high'])})."


DID = {
    "did": ("Extra drop beyond the source language ({points})", 100.0),
    "did_margin": ("Extra loss of margin beyond the source language (logits)", 1.0),
}


def did_dots(
    frame: pd.DataFrame,
    sparsity: float,
    split: str = "test",
    margin: bool = False,
    methods: Sequence[str] | None = None,
    dark: bool = False,
) -> Shown:
    """How much more each zero-shot language loses than the source, with intervals around 0; in score or in margin."""
    name = "did_margin" if margin else "did"
    rows = rows_of(frame, sparsity=sparsity, split=split, method=methods)
    rows = rows[rows[name].notna()].reset_index(drop=True) if len(rows) else rows
    if rows.empty:
        return blank(
            "No difference in differences here.",
            "It needs a source language and parallel items: the same ids in every language.",
            dark,
        )
    title, scale = DID[name]
    codes = theme.ordered(rows["language"].tolist())
    figure = canvas(dark, height=140 + 30 * len(codes), x=title.format(points=point_of(metric_of(rows))))
    figure.add_vline(x=0, line={"color": theme.look(dark).text, "width": 1})
    groups = stacked(rows, ("method", "recipe"))
    for place, ((method, recipe), group) in enumerate(groups):
        style, shift = theme.method_style(str(method), str(recipe), dark), 0.6 * ((place + 0.5) / len(groups) - 0.5)
        middle, low, high = (scale * group[column].to_numpy() for column in (name, f"{name}_low", f"{name}_high"))
        figure.add_scatter(
            x=middle,
            y=[codes.index(code) + shift for code in group["language"]],
            mode="markers",
            name=str(method),
            customdata=group["language"],
            marker={"color": style.colour, "symbol": style.symbol, "size": 8},
            error_x=whiskers(middle, low, high, color=style.colour),
            hovertemplate="%{customdata}: %{x:.2f}<extra>" + str(method) + "</extra>",
        )
    figure.update_yaxes(
        tickmode="array",
        tickvals=list(range(len(codes))),
        ticktext=[theme.language_name(code) for code in codes],
        range=[len(codes) - 0.5, -0.5],
    )
    above = int((rows[f"{name}_low"] > 0).sum())
    below = int((rows[f"{name}_high"] < 0).sum())
    reading = f"At {theme.level(sparsity)} sparsity {above} of {len(rows)} intervals lie above 0"
    reading = f"{reading} (more is lost than on the source language), {below} below."
    return Shown(figure, reading, caption(basis(rows), "the same items in the language and the source"), rows)
