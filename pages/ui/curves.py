"""Live curves of a run, in Altair: they are redrawn while the run writes, so they carry no selection to lose."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from analysis import theme
from analysis.figures import base

HEIGHT = 260
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#888888"
# The figures' palette; with more languages than colours these repeat, and the shape of the points tells them apart.
OKABE_ITO = list(theme.OKABE_ITO)
SOURCE = {True: "source", False: "zero-shot"}
# Without it Vega pushes the first and last label inwards, off their ticks.
TICKS: dict[str, Any] = {"labelFlush": False}


def frame(lines: list[dict[str, Any]], kind: str) -> pd.DataFrame:
    """The lines of one type as a table, in the order of their steps; empty where there is none."""
    rows = [line for line in lines if line.get("type") == kind]
    return pd.DataFrame(rows).sort_values("step", kind="stable") if rows else pd.DataFrame()


def loss(lines: list[dict[str, Any]]) -> alt.Chart | None:
    """Training loss against updates, with the level trained at in the tooltip."""
    data = frame(lines, "train")
    if data.empty or "loss" not in data:
        return None
    data = data[["step", "loss", "level"]].assign(
        sparsity=lambda part: part["level"].map(lambda level: f"{100 * level:.4g}%")
    )
    return (
        alt.Chart(data, height=HEIGHT)
        .mark_line(color=BLUE)
        .encode(
            x=alt.X("step:Q", title="updates", axis=alt.Axis(**TICKS)),
            y=alt.Y("loss:Q", title="training loss", scale=alt.Scale(zero=False), axis=alt.Axis(**TICKS)),
            tooltip=["step", alt.Tooltip("loss", format=".4f"), "sparsity"],
        )
    )


def validation(lines: list[dict[str, Any]], metric: str) -> alt.Chart | None:
    """Source-validation score against updates; a rule where the network was pruned to a new level.

    `metric` names the axis, and gives it the scale that the score has on every other page.
    """
    data = frame(lines, "validation")
    if data.empty or "score" not in data:
        return None
    data = data.assign(points=100 * data["score"], sparsity=data["level"].map(lambda level: f"{100 * level:.4g}%"))
    curve = (
        alt.Chart(data, height=HEIGHT)
        .mark_line(point=alt.OverlayMarkDef(color=ORANGE), color=ORANGE)
        .encode(
            x=alt.X("step:Q", title="updates", axis=alt.Axis(**TICKS)),
            y=alt.Y(
                "points:Q",
                title=f"validation: {base.scored(metric)}",
                scale=alt.Scale(zero=False),
                axis=alt.Axis(**TICKS),
            ),
            detail="cycle:N",
            tooltip=["step", alt.Tooltip("points", format=".1f", title=base.scored(metric)), "sparsity"],
        )
    )
    starts = data[data["cycle_step"] == 0] if "cycle_step" in data else data.head(0)
    rules = alt.Chart(starts).mark_rule(color=GREY, strokeDash=[4, 4]).encode(x="step:Q", tooltip=["sparsity"])
    names = (
        alt.Chart(starts)
        .mark_text(align="left", dx=-4, dy=-6, color=GREY)
        .encode(x="step:Q", y=alt.value(0), text="sparsity")
    )
    return alt.layer(rules, curve, names)


def languages(
    lines: list[dict[str, Any]], metric: str, sources: tuple[str, ...] = (), split: str = "test"
) -> alt.Chart | None:
    """Score of each language at every finished level: one line per language, sources drawn heavier.

    Against updates where all levels have one sparsity, as in a dense run that is trained on.
    """
    data = frame(lines, "evaluation")
    if data.empty or "value" not in data:
        return None
    data = data[data["split"] == split]
    data = data.assign(
        percent=100 * data["level"], points=100 * data["value"], role=data["language"].isin(sources).map(SOURCE)
    )
    grows = data["level"].nunique() > 1 or data["step"].nunique() == 1
    place, title = ("percent", "sparsity in %") if grows else ("step", "updates")
    ticks = alt.Axis(values=sorted(data[place].unique().tolist()), format=",.6~r", **TICKS)
    return (
        alt.Chart(data, height=HEIGHT + 60)
        .mark_line(point=alt.OverlayMarkDef(size=60))
        .encode(
            x=alt.X(f"{place}:Q", title=title, scale=alt.Scale(zero=False, padding=12), axis=ticks),
            y=alt.Y(
                "points:Q", title=f"{split}: {base.scored(metric)}", scale=alt.Scale(zero=False), axis=alt.Axis(**TICKS)
            ),
            color=alt.Color("language:N", scale=alt.Scale(range=OKABE_ITO), legend=alt.Legend(columns=2, title=None)),
            shape=alt.Shape("language:N", legend=alt.Legend(columns=2, title=None)),
            strokeWidth=alt.StrokeWidth(
                "role:O", scale=alt.Scale(domain=list(SOURCE.values()), range=[3.5, 1.5]), legend=None
            ),
            tooltip=[
                "language",
                alt.Tooltip(place, title=title),
                alt.Tooltip("points", format=".1f", title=base.scored(metric)),
                "n",
                "role",
            ],
        )
    )
