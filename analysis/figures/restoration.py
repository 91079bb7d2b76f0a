"""Where the damage sits (M§6.6): what one part of the network gives back, or costs alone; from the table `restored`."""

from __future__ import annotations

import pandas as pd

from analysis import theme
from analysis.figures.base import (
    Shown,
    bars,
    blank,
    canvas,
    caption,
    count_text,
    level_line,
    rows_of,
    seed_text,
    whiskers,
)
from analysis.figures.drops import MEAN, named

PARTITIONS = {"blocks": "By block", "modules": "By kind of matrix"}
KINDS = {"margin": ("_margin", "margin (logits)", 1.0), "score": ("", "score (points)", 100.0)}
WAYS = {"restore": "put back into the pruned model", "prune_only": "pruned alone in the dense model"}
REMEDY = "Run `python -m engine restore RUN --level …`, or press the button."


def restoration_bars(
    restored: pd.DataFrame, partition: str = "blocks", language: str = MEAN, kind: str = "margin", dark: bool = False
) -> Shown:
    """What every part carries, both ways, with intervals over items; the line is the whole effect, dense − pruned."""
    rows = rows_of(restored, partition=partition, language=language)
    if rows.empty:
        return blank("This level has not been restored yet.", REMEDY, dark)
    suffix, unit, scale = KINDS[kind]
    figure = canvas(dark, height=420, y=f"Effect on the {unit}")
    for way, colour in (("restore", theme.BLUE), ("prune_only", theme.ORANGE)):
        part = _over_seeds(rows_of(rows, direction=way), suffix)
        middle, low, high = (scale * part[f"effect{end}{suffix}"] for end in ("", "_low", "_high"))
        more = {"error_y": whiskers(middle, low, high, color=theme.look(dark).text)}
        style = theme.Style(colour, "solid" if way == "restore" else "dash")
        bars(figure, map(_name, part["part"]), middle, WAYS[way], style, "%{x}: %{y:.2f}", **more)
    total = float(rows[f"total{suffix}"].mean())
    level_line(figure, scale * total, "all parts together", theme.look(dark).text)
    gaps = rows.groupby("direction")[f"gap{suffix}"].mean() * scale
    note = f"single effects leave {gaps.get('restore', float('nan')):.2f} (put back) and {gaps.get('prune_only', float('nan')):.2f} (alone) of {scale * total:.2f} to what parts do together"
    basis = f"{count_text(rows['n'])} items, {seed_text(rows)}"
    return Shown(figure, _reading(rows, suffix, language), caption(basis, "95% bootstrap over items", note), rows)


def _over_seeds(rows: pd.DataFrame, suffix: str) -> pd.DataFrame:
    values = [f"{name}{suffix}" for name in ("effect", "effect_low", "effect_high")]
    return rows.groupby(["place", "part"], as_index=False)[values].mean().sort_values("place")


def _name(part: object) -> str:
    return str(part).replace("_", " ")


def _reading(rows: pd.DataFrame, suffix: str, language: str) -> str:
    back = (
        rows[rows["direction"] == "restore"]
        .groupby("part")[[f"effect{suffix}", f"effect_low{suffix}", f"share{suffix}"]]
        .mean()
    )
    best = back[f"effect{suffix}"].idxmax()
    who = named(language)
    top, where = (
        back.loc[best],
        f"{who[0].upper()}{who[1:]} under {rows['method'].iloc[0]} at {theme.level(float(rows['sparsity'].iloc[0]))}",
    )
    if not top[f"effect_low{suffix}"] > 0:
        return f"{where}: no single part gives anything back for sure when its dense weights are put back."
    share = top[f"share{suffix}"]
    much = f"{theme.percent(share)} of what was lost" if share == share else "something, though no loss is sure"
    return f"{where}: putting back {_name(best)} recovers most, {much}."


def restoration_heatmap(
    restored: pd.DataFrame,
    partition: str = "blocks",
    direction: str = "restore",
    kind: str = "margin",
    dark: bool = False,
) -> Shown:
    """Parts × languages: the effect of each part; a dot where its interval leaves 0 out."""
    rows = rows_of(restored, partition=partition, direction=direction)
    rows = rows[rows["language"] != MEAN] if len(rows) else rows
    if rows.empty:
        return blank("This level has not been restored yet.", REMEDY, dark)
    suffix, unit, scale = KINDS[kind]
    codes = theme.ordered(rows["language"].tolist(), rows.loc[rows["source"], "language"].tolist())
    names = rows.sort_values("place")["part"].unique().tolist()
    value, low, high = (
        scale
        * rows.pivot_table(index="part", columns="language", values=f"effect{end}{suffix}", aggfunc="mean").reindex(
            index=names, columns=codes
        )
        for end in ("", "_low", "_high")
    )
    text = [
        [f"{round(v, 2) + 0.0:.2f}{'•' if lo > 0 or hi < 0 else ''}" for v, lo, hi in zip(*line, strict=True)]
        for line in zip(value.to_numpy(), low.to_numpy(), high.to_numpy(), strict=True)
    ]
    bound = float(value.abs().max().max()) or 1.0
    figure = canvas(dark, height=180 + 30 * len(names))
    figure.add_heatmap(
        z=value.to_numpy(), x=[theme.language_name(code) for code in codes], y=[_name(name) for name in names], text=text, texttemplate="%{text}",
        zmid=0, zmin=-bound, zmax=bound, colorscale=theme.diverging(dark), colorbar={"title": {"text": unit}}, hovertemplate="%{y}, %{x}: %{z:.3f}<extra></extra>",
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", type="category")
    by_language = value.idxmax()
    common = by_language.mode().iloc[0]
    sure = int((low.loc[common] > 0).sum())
    most = f"{_name(common)} in {int((by_language == common).sum())} of {len(codes)} languages"
    reading = f"Part with the largest effect, {WAYS[direction]}: {most}; its effect is surely above 0 in {sure}."
    return Shown(
        figure,
        reading,
        caption(f"{count_text(rows['n'])} items, {seed_text(rows)}", "• its 95% interval leaves 0 out"),
        rows,
    )
