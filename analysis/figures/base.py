"""What every figure shares: the record that a page shows, the empty figure, axes and bands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis import theme
from engine.metrics import BLIND, ITEM_SCORES, METRICS

INTERVAL = "95% intervals by paired bootstrap over seeds and items"
NO_STATES = "No kept states yet."
KEEP_STATES = "Levels keep the states of the probe examples ([probe] in the study); they show after the next measuring."
CONTINUED = "dense, trained on"  # the control that follows no mask, as every legend calls it
POOLED = {"first": "first-token", "last": "last-token", "word": "word-initial"}
FEW_SEEDS = 5  # below, intervals over seeds cover less than they say (M§6.1)


@dataclass(frozen=True)
class Shown:
    """A figure with what has to stand beside it.

    `reading`: one sentence in plain words, computed from the data. `caption`: n, seeds, what the intervals are, which
    control is drawn. `data`: the rows behind the figure, for download.
    """

    figure: go.Figure
    reading: str
    caption: str
    data: pd.DataFrame

    @property
    def alt(self) -> str:
        """What a screen reader says in the place of the picture."""
        return f"{self.reading} {self.caption}".strip()


def blank(what: str, remedy: str, dark: bool = False) -> Shown:
    """The figure of something that is not there: says what is missing and what would provide it."""
    figure = canvas(dark, height=160)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.add_annotation(text=what, showarrow=False, font={"size": 15})
    return Shown(figure, what, remedy, pd.DataFrame())


def canvas(dark: bool, height: int = 380, x: str = "", y: str = "") -> go.Figure:
    """An empty figure in the theme with its axes' titles."""
    titles = {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}}
    return go.Figure(layout={"template": theme.template(dark), "height": height, **titles})


def rows_of(frame: pd.DataFrame, **wanted: Any) -> pd.DataFrame:
    """The rows with these values; None does not restrict, a list means any of its values."""
    for column, value in wanted.items():
        if value is None or frame.empty:
            continue
        choices = list(value) if isinstance(value, (list, tuple, set)) else [value]
        frame = frame[frame[column].isin(choices)]
    return frame.reset_index(drop=True)


def band(
    figure: go.Figure, x: Sequence[Any], low: Sequence[float], high: Sequence[float], colour: str, group: str
) -> None:
    """A shaded interval around a line, switched off together with it."""
    outline = [*x, *reversed(list(x))], [*high, *reversed(list(low))]
    figure.add_scatter(
        x=outline[0],
        y=outline[1],
        fill="toself",
        fillcolor=theme.faded(colour, 0.15),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        legendgroup=group or None,
    )


def line(figure: go.Figure, x: Any, y: Any, name: str, style: theme.Style, hover: str, **more: Any) -> None:
    """A line with its points in a style; `hover` is what a point says."""
    figure.add_scatter(
        x=list(x),
        y=list(y),
        name=name,
        mode="lines+markers",
        line={"color": style.colour, "dash": style.dash},
        marker={"symbol": style.symbol, "size": 7},
        hovertemplate=f"{hover}<extra>{name}</extra>",
        **more,
    )


def thin(figure: go.Figure, x: Any, y: Any, name: str, colour: str, dash: str) -> None:
    """A reference that changes along x: a thin line without points."""
    style = {"color": colour, "dash": dash, "width": 1.2}
    figure.add_scatter(
        x=list(x), y=list(y), name=name, mode="lines", line=style, hovertemplate=f"%{{y:.3g}}<extra>{name}</extra>"
    )


def bars(figure: go.Figure, x: Any, y: Any, name: str, style: theme.Style, hover: str, **more: Any) -> None:
    """Bars beside those of other names; styles that share a colour differ by pattern."""
    figure.add_bar(
        x=list(x), y=list(y), name=name, marker=style.bar(), hovertemplate=f"{hover}<extra>{name}</extra>", **more
    )
    figure.update_layout(barmode="group")


def whiskers(middle: Any, low: Any, high: Any, **more: Any) -> dict[str, Any]:
    """The error bars from `low` to `high` around `middle`."""
    middle, low, high = (np.asarray(values, dtype=float) for values in (middle, low, high))
    sides = {"array": high - middle, "arrayminus": middle - low}
    return {"type": "data", "symmetric": False, **sides, "thickness": 1.2, "width": 2, **more}


def last_layer(rows: pd.DataFrame, layer: int | None) -> tuple[pd.DataFrame, int]:
    """The rows of a layer, by default the last, and its number."""
    found = int(rows["layer"].max()) if layer is None and len(rows) else int(layer or 0)
    return rows_of(rows, layer=found), found


def present(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rows in which this column has a value."""
    return rows[rows[column].notna()].reset_index(drop=True) if len(rows) else rows


def level_line(figure: go.Figure, y: float, text: str, colour: str, dash: str = "dot", left: bool = False) -> None:
    """A horizontal reference line with its name at the right end, or at the left one. Nothing for NaN."""
    if y == y:
        figure.add_hline(y=y, line={"color": colour, "dash": dash, "width": 1.2})
        figure.add_annotation(
            x=0 if left else 1,
            xref="paper",
            y=y,
            text=text,
            showarrow=False,
            xanchor="left" if left else "right",
            yanchor="bottom",
            font={"size": 11, "color": colour},
        )


def in_percent(values: Iterable[float]) -> list[float]:
    """Fractions as per cent, or differences of fractions as points."""
    return [100 * float(value) for value in values]


def seeds_text(seeds: int) -> str:
    """How many seeds, and what few of them mean for the intervals."""
    warning = ": under 5 the intervals are somewhat too narrow" if 1 < seeds < FEW_SEEDS else ""
    return "1 seed: how much seeds differ is not known" if seeds == 1 else f"{plural(seeds, 'seed')}{warning}"


def plural(count: int, noun: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def scored(metric: str) -> str:
    """What an axis of scores is called, with its unit: `Accuracy (%)`, `Pearson correlation (× 100)`."""
    row = METRICS.get(metric)
    title = row.title if row else metric.replace("_", " ").capitalize()
    return f"{title} (× 100)" if row and row.unit == "correlation" else f"{title} (%)"


def amount(metric: str, value: float) -> str:
    """A score in a sentence, on the scale of its axis: `81.4%`, and `65.9` for a correlation of .659."""
    row = METRICS.get(metric)
    return theme.percent(value).removesuffix("%") if row and row.unit == "correlation" else theme.percent(value)


def point_of(metric: str) -> str:
    """What a point of a difference is: `points of Accuracy`."""
    row = METRICS.get(metric)
    return f"points of {row.title}" if row else "points"


def floor_of(metric: str) -> str:
    """What the level is called that needs no model."""
    return "chance (majority)" if metric in BLIND or metric not in METRICS else "best constant answer"


def metric_of(rows: pd.DataFrame) -> str:
    """The metric that the rows of a table are in; nothing in tables of older versions."""
    return str(rows["metric"].iloc[0]) if "metric" in rows and len(rows) else ""


def test_row(metric: str) -> str:
    """The measure that this metric's p values are (a row of the table of measures)."""
    return "mcnemar" if exact(metric) else "sign_flips"


def tested(metric: str) -> str:
    """The test that p values of this metric's drops come from."""
    return "exact McNemar tests" if exact(metric) else "sign-flip tests of the items"


def exact(metric: str) -> bool:
    """Whether this metric is the share of right items, so that its drops have an exact test."""
    return metric not in ITEM_SCORES or ITEM_SCORES[metric].exact


def count_text(values: Iterable[float]) -> str:
    """`n = 500`, or `n = 180–500` where the sets differ."""
    numbers = sorted({int(value) for value in values})
    if not numbers:
        return "n unknown"
    return f"n = {numbers[0]}" if len(numbers) == 1 else f"n = {numbers[0]}–{numbers[-1]}"


def pooled(pooling: str) -> str:
    """How states were pooled, as a caption says it: `first-token pooling`."""
    return f"{POOLED.get(pooling, pooling)} pooling"


def state_name(method: str) -> str:
    """What a legend calls an arm: its name, of the control without a mask what it is."""
    return CONTINUED if method == "dense_continued" else method


def caption(*parts: str) -> str:
    """The parts that are there, as sentences in one line."""
    return " ".join(f"{_begun(part).rstrip('.')}." for part in parts if part)


def _begun(part: str) -> str:
    return part if part.startswith(("n =", "n unknown")) else part[0].upper() + part[1:]


def stacked(rows: pd.DataFrame, keys: Sequence[str]) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Groups in the order of their first row, always with a tuple as key."""
    return [
        (place if isinstance(place, tuple) else (place,), group)
        for place, group in rows.groupby(list(keys), sort=False)
    ]


def seed_text(rows: pd.DataFrame) -> str:
    """Which seed the rows are of, or how many they average."""
    seeds = sorted(rows["seed"].unique())
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"mean of {len(seeds)} seeds"


def default_pooling(frame: pd.DataFrame) -> str:
    """The task's pooling where the table has one beside `mean`."""
    found = sorted(frame["pooling"].unique(), key=lambda how: (how == "mean", how)) if len(frame) else [""]
    return str(found[0])
