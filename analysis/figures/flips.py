"""Which items pruning changed (M§6.9): outcomes per language, the atlas, confusions, slices.

They read the tables `flip_counts`, `flip_slices`, `flips` and `confusion` of analysis.measures.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis import theme
from analysis.figures.base import (
    INTERVAL,
    Shown,
    bars,
    blank,
    canvas,
    caption,
    count_text,
    plural,
    point_of,
    rows_of,
    seeds_text,
    whiskers,
)
from analysis.figures.drops import MISSING, REMEDY, named

OUTCOMES = ("kept right", "broken", "repaired", "kept wrong")
COLOURS = {"kept right": theme.SKY, "broken": theme.VERMILION, "repaired": theme.GREEN, "kept wrong": "#B0B0B0"}
MARKS = {"kept right": "✓", "broken": "✗", "repaired": "↑", "kept wrong": "·"}
KINDS = {"length": "Length (tokens)", "fertility": "Pieces per word", "label": "Label"}
MOST_ITEMS = 400


def flip_bars(counts: pd.DataFrame, method: str, sparsity: float, split: str = "test", dark: bool = False) -> Shown:
    """Broken (above 0) and repaired (below) per language; hatched: broken in this language only. Line: rerun flips."""
    rows = rows_of(counts, method=method, sparsity=sparsity, split=split)
    if rows.empty:
        return blank(MISSING, REMEDY, dark)
    codes = theme.ordered(rows["language"].tolist(), rows.loc[rows["source"], "language"].tolist())
    rows = rows.set_index("language").reindex(codes).reset_index()
    names = list(map(theme.language_name, codes))
    figure = canvas(dark, height=400, y="Share of the items (%)")
    broken, repaired = (theme.Style(COLOURS[name]) for name in ("broken", "repaired"))
    alone = 100 * rows["broken_here"].fillna(0)
    bars(figure, names, alone, "broken only here", theme.Style(COLOURS["broken"], "dash"), "%{x}: %{y:.1f}%")
    bars(figure, names, 100 * rows["broken"] - alone, "broken", broken, "%{x}: %{y:.1f}%")
    bars(figure, names, -100 * rows["repaired"], "repaired", repaired, "%{x}: %{y:.1f}%")
    figure.update_layout(barmode="relative")
    if rows["rerun"].notna().any():
        figure.add_scatter(
            x=names, y=100 * rows["rerun"], mode="markers", name="flips between two dense seeds",
            marker={"symbol": "line-ew-open", "size": 22, "color": theme.look(dark).text}, hovertemplate="%{x}: %{y:.1f}%<extra>two dense seeds</extra>",
        )  # fmt: skip
    most = rows.loc[rows["broken"].idxmax()]
    reading = f"{method} at {theme.level(sparsity)} breaks most in {named(most['language'])}: {theme.percent(most['broken'])} of the items, and repairs {theme.percent(most['repaired'])}."
    pie = rows["pie"].dropna()
    note = (
        f"identified by modal disagreement over seeds: {theme.percent(float(pie.mean()))} of the items"
        if len(pie)
        else "under 2 seeds no item is called identified"
    )
    return Shown(
        figure,
        reading,
        caption(f"{count_text(rows['n'])}, mean of {plural(int(rows['seeds'].min()), 'seed')}", note),
        rows,
    )


def atlas(flips: pd.DataFrame, languages: list[str], dark: bool = False) -> Shown:
    """Items × languages of one level and seed: rows `flips`, items that most languages break first.

    customdata of every cell: (id, language). At most `MOST_ITEMS` items are drawn.
    """
    rows = flips[flips["language"].isin(languages)] if len(flips) else flips
    if rows.empty:
        return blank("No items here.", "Choose another filter.", dark)
    place = {name: number for number, name in enumerate(OUTCOMES)}
    grid = rows.pivot_table(index="id", columns="language", values="flip", aggfunc="first").reindex(columns=languages)
    order = (grid == "broken").sum(axis=1).sort_values(ascending=False, kind="stable").index
    grid = grid.loc[order].head(MOST_ITEMS)
    figure = canvas(dark, height=min(900, 160 + 16 * len(grid)))
    scale = [(edge / 4, COLOURS[name]) for number, name in enumerate(OUTCOMES) for edge in (number, number + 1)]
    figure.add_heatmap(
        z=grid.apply(lambda column: column.map(place)).to_numpy(dtype=float), x=list(grid.columns), y=list(grid.index), colorscale=scale, zmin=-0.5, zmax=3.5,
        xgap=1, ygap=1 if len(grid) < 150 else 0, customdata=grid.fillna("").to_numpy(), showscale=False, hovertemplate="%{y}, %{x}: %{customdata}<extra></extra>",
    )  # fmt: skip
    for name in OUTCOMES:  # a heat map of kinds has no legend of its own
        marker = {"symbol": "square", "size": 11, "color": COLOURS[name]}
        figure.add_scatter(x=[None], y=[None], mode="markers", name=name, marker=marker)
    figure.update_yaxes(
        autorange="reversed", type="category", showticklabels=False, ticks="", title_text=f"{len(grid)} items"
    )
    figure.update_xaxes(side="bottom", type="category", tickangle=0)
    everywhere = int((grid == "broken").all(axis=1).sum())
    one = int(((grid == "broken").sum(axis=1) == 1).sum())
    reading = f"Of {plural(len(order), 'item')} {one} broke in one language only, {everywhere} in every language."
    shown = f"{len(grid)} of {plural(len(order), 'item')}, seed {rows['seed'].iloc[0]}"
    return Shown(figure, reading, caption(shown, "items that most languages break first"), rows)


def slice_dots(
    slices: pd.DataFrame,
    method: str,
    sparsity: float,
    kind: str,
    language: str,
    split: str = "test",
    dark: bool = False,
) -> Shown:
    """The drop in every slice of one kind for one language, with intervals, and the drop over all items as a line."""
    rows = rows_of(slices, method=method, sparsity=sparsity, split=split, kind=kind, language=language)
    if rows.empty:
        return blank(
            "No slices here.", "Slices by length need the text table of a run; by label, a task with classes.", dark
        )
    names = [
        f"{name} ({low:g}–{high:g})" if low == low else str(name)
        for name, low, high in zip(rows["slice"], rows["from"].round(2), rows["to"].round(2), strict=True)
    ]
    figure = canvas(
        dark, height=150 + 28 * len(rows), x=f"Drop against dense ({point_of(str(rows['metric'].iloc[0]))})"
    )
    style = theme.method_style(method, str(rows["recipe"].iloc[0]), dark)
    middle, low, high = (100 * rows[name] for name in ("drop", "drop_low", "drop_high"))
    figure.add_scatter(
        x=middle, y=names, mode="markers", marker={"color": style.colour, "symbol": style.symbol, "size": 9}, name=method, customdata=rows["n"],
        error_x=whiskers(middle, low, high, color=style.colour), hovertemplate="%{y}: %{x:.1f} points, n %{customdata}<extra></extra>",
    )  # fmt: skip
    whole = float(np.average(rows["drop"], weights=rows["n"]))
    figure.add_vline(x=100 * whole, line={"color": theme.GREY, "dash": "dot"})
    figure.add_vline(x=0, line={"color": theme.look(dark).text, "width": 1})
    figure.update_yaxes(autorange="reversed", type="category")
    most = rows.loc[rows["drop"].idxmax()]
    where = f"{named(language)} under {method} at {theme.level(sparsity)} loses most in “{most['slice']}”"
    span = theme.interval(most["drop_low"], most["drop_high"])
    over = "over all" if str(rows["metric"].iloc[0]) == "accuracy" else "on average over the slices"
    reading = f"{where}: {theme.points(most['drop'])} ({span}), against {theme.points(whole)} {over}."
    note = "dotted: the drop over all; not corrected for looking at many slices"
    return Shown(
        figure,
        reading,
        caption(f"{count_text(rows['n'])}, {seeds_text(int(rows['seeds'].min()))}", INTERVAL, note),
        rows,
    )


def confusion_heatmap(
    confusion: pd.DataFrame, language: str, split: str = "test", state: str = "change", dark: bool = False
) -> Shown:
    """Gold × answered, counts of one language, mean over the seeds given: dense, pruned, or pruned − dense (`change`)."""
    rows = rows_of(confusion, language=language, split=split)
    if rows.empty:
        return blank("No confusions here.", "They need a task with classes.", dark)
    seeds = rows["seed"].nunique()
    totals = rows.groupby(["label", "answer"], as_index=False)[["dense", "pruned"]].sum()
    totals[["dense", "pruned"]] = totals[["dense", "pruned"]] / seeds
    totals["change"] = totals["pruned"] - totals["dense"]
    labels = sorted(set(totals["label"]) | set(totals["answer"]))
    grid = totals.pivot(index="label", columns="answer", values=state).reindex(index=labels, columns=labels).fillna(0)
    figure = canvas(dark, height=180 + 24 * len(labels), x="Answered", y="Gold")
    bound = max(1.0, float(np.abs(grid.to_numpy()).max()))
    scale = (
        {"colorscale": theme.diverging(dark), "zmin": -bound, "zmax": bound}
        if state == "change"
        else {"colorscale": theme.SEQUENTIAL, "zmin": 0}
    )
    figure.add_heatmap(z=grid.to_numpy(), x=labels, y=labels, hovertemplate="%{y} answered as %{x}: %{z:.1f}<extra></extra>", colorbar={"title": {"text": "Items"}}, **scale)  # fmt: skip
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_xaxes(type="category", tickangle=45)
    wrong = totals[totals["label"] != totals["answer"]]
    reading = f"{named(language)}: no answer was wrong."
    if len(wrong):
        top = wrong.loc[wrong[state].idxmax()]
        what = {
            "change": "The confusion that grew most",
            "dense": "Most often confused by dense",
            "pruned": "Most often confused after pruning",
        }[state]
        reading = f"{what} in {named(language)}: {top['label']} answered as {top['answer']} ({top['dense']:.1f} items before, {top['pruned']:.1f} after)."
    items = round(float(totals["dense"].sum()))
    return Shown(figure, reading, caption(f"n = {items}, mean of {plural(seeds, 'seed')}"), totals)
