"""The map: dense and pruned states of the same examples in two dimensions (M§6.5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from analysis import theme
from analysis.figures.base import Shown, blank, canvas, caption, pooled

COLOURS = ("label", "language", "family", "displacement", "cosine_distance")
MOST_POINTS = 20_000  # what a browser draws at ease
STATES = {"dense": ("circle-open", 0.45), "pruned": ("circle", 0.85)}
SCALES = {"displacement": "Distance moved", "cosine_distance": "Cosine distance moved"}


def map_scatter(
    frame: pd.DataFrame, colour: str = "label", states: tuple[str, ...] = ("dense", "pruned"), dark: bool = False
) -> Shown:
    """One map (rows of one level, projection, layer and pooling of the table `map`), drawn by WebGL with equal axes.

    `colour`: label, language, family, displacement or cosine_distance (in all dimensions). The state shows by symbol
    and opacity. customdata of every point: (id, language, label, state); read it, never the point's number.
    """
    if colour not in COLOURS:
        raise ValueError(f"colour: must be one of {', '.join(COLOURS)}; got {colour!r}")
    rows = frame[frame["state"].isin(states)] if len(frame) else frame
    if rows.empty:
        return blank(
            "No map here yet.",
            "Maps of the first seed's last layer come with the measures; others can be queued.",
            dark,
        )
    drawn = _thinned(rows)
    figure = canvas(dark, height=620)
    for name, group, marker in _groups(drawn, colour, dark):
        state = str(group["state"].iloc[0])
        symbol, opacity = STATES[state]
        figure.add_scattergl(
            x=group["x"],
            y=group["y"],
            mode="markers",
            name=name,
            legendgroup=name,
            showlegend=state == states[-1] and name != "",
            customdata=group[["id", "language", "label", "state"]].astype(str).to_numpy(),
            opacity=opacity,
            marker={"size": 6, "symbol": marker.pop("symbol", symbol) if state == "pruned" else symbol, **marker},
            hovertemplate="%{customdata[0]}<br>%{customdata[1]}, %{customdata[2]}<br>%{customdata[3]}<extra></extra>",
        )
    bare = {
        "showticklabels": False,
        "ticks": "",
        "zeroline": False,
        "showgrid": False,
    }  # coordinates mean nothing by themselves
    figure.update_xaxes(**bare)
    figure.update_yaxes(**bare, scaleanchor="x", scaleratio=1)
    figure.update_layout(dragmode="lasso", legend={"itemsizing": "constant"})
    return Shown(figure, _reading(rows), _caption(rows, len(drawn)), rows)


def _thinned(rows: pd.DataFrame) -> pd.DataFrame:
    return rows if len(rows) <= MOST_POINTS else rows.sample(MOST_POINTS, random_state=0).sort_index()


def _groups(
    rows: pd.DataFrame, colour: str, dark: bool, ends: tuple[float, float] | None = None
) -> Iterator[tuple[str, pd.DataFrame, dict[str, Any]]]:
    if colour in SCALES:
        values = rows[colour]
        low, high = ends or (float(values.min()), float(values.max()))
        scale = {"colorscale": theme.of_points(dark), "cmin": low, "cmax": high}
        for place, (_, group) in enumerate(rows.groupby("state", sort=False)):
            yield (
                "",
                group,
                {
                    "color": group[colour],
                    **scale,
                    "showscale": place == 0,
                    "colorbar": {"title": {"text": SCALES[colour]}},
                },
            )
        return
    keys = rows["language"].map(theme.family) if colour == "family" else rows[colour].astype(str)
    names = theme.ordered(keys.unique().tolist()) if colour == "language" else sorted(keys.unique())
    for place, name in enumerate(names):
        marker = _marker(colour, name, place, len(names))
        title = theme.language_name(name) if colour == "language" else name
        for _, group in rows[keys == name].groupby("state", sort=False):
            yield title, group, dict(marker)


def _marker(colour: str, name: str, place: int, count: int) -> dict[str, Any]:
    if colour == "family":
        return {"color": theme.family_colour(name)}
    return {"color": theme.category_colours(count)[place], "symbol": theme.category_symbol(place)}


def _reading(rows: pd.DataFrame) -> str:
    moved = rows[rows["state"] == rows["state"].iloc[-1]].groupby("language")["cosine_distance"].mean().dropna()
    if moved.empty:
        return "Dense and pruned states of the same examples."
    far, near = (theme.language_name(str(code)) for code in (moved.idxmax(), moved.idxmin()))
    furthest = f"{far} moved furthest (mean cosine distance {moved.max():.2f})"
    return f"In all dimensions {furthest}, {near} least ({moved.min():.2f})."


def _caption(rows: pd.DataFrame, drawn: int) -> str:
    first = rows.iloc[0]
    name = {"pca": "PCA", "umap": "UMAP"}.get(str(first["projection"]), str(first["projection"]))
    trust = f"trustworthiness {first['trustworthiness']:.2f}, neighbours kept {theme.percent(float(first['knn_preservation']))}"
    shown = f"{int(first['shown'])} of {int(first['available'])} examples in each state" + (
        f", {drawn} points drawn" if drawn < len(rows) else ""
    )
    return caption(
        f"{name} of both states together, layer {int(first['layer'])}, {pooled(str(first['pooling']))}, seed {int(first['seed'])}",
        shown,
        trust,
        "open symbols are dense; distances on the map are not distances in the model",
    )


TRAILS = 15  # furthest movers whose way is drawn


def path_scatter(
    frame: pd.DataFrame, at: float, colour: str = "language", trails: int = TRAILS, dark: bool = False
) -> Shown:
    """One state of the table `path`, on axes that are those of all states; the way of the furthest movers up to there.

    `at`: sparsity of the state, 0 for dense. Furthest: by displacement in all dimensions at `at`. customdata as in
    `map_scatter`, the state being the sparsity.
    """
    rows = frame[frame["at"] == at].assign(state="pruned") if len(frame) else frame
    if rows.empty:
        return blank("No path here yet.", "Paths of the first seed's last layer come with the measures.", dark)
    figure = canvas(dark, height=620)
    moved = frame[frame["at"] > 0]
    ends = (float(moved[colour].min()), float(moved[colour].max())) if colour in SCALES else None  # of all levels
    for name, group, marker in _groups(rows, colour, dark, ends):
        figure.add_scattergl(
            x=group["x"], y=group["y"], mode="markers", name=name, legendgroup=name, showlegend=name != "", opacity=0.85,
            customdata=group[["id", "language", "label", "at"]].astype(str).to_numpy(),
            marker={"size": 6, "symbol": marker.pop("symbol", "circle"), **marker}, hovertemplate="%{customdata[0]}<br>%{customdata[1]}, %{customdata[2]}<extra></extra>",
        )  # fmt: skip
    movers = rows.nlargest(trails, "displacement") if at > 0 else rows.head(0)
    way = frame[frame["at"] <= at].merge(movers[["language", "id"]], on=["language", "id"]).sort_values("at")
    x: list[float | None] = []
    y: list[float | None] = []
    for _, group in way.groupby(["language", "id"], sort=False):
        x, y = [*x, *group["x"], None], [*y, *group["y"], None]
    figure.add_scattergl(
        x=x, y=y, mode="lines", name=f"way of the {len(movers)} furthest", line={"color": theme.look(dark).text, "width": 1.6}, opacity=0.8, hoverinfo="skip", showlegend=len(movers) > 0,
    )  # fmt: skip
    starts = way[way["at"] == 0] if at > 0 else way.head(0)
    figure.add_scattergl(
        x=starts["x"], y=starts["y"], mode="markers", name="where they were", marker={"symbol": "circle-open", "size": 9, "color": theme.look(dark).text},
        opacity=0.8, hoverinfo="skip", showlegend=len(starts) > 0,
    )  # fmt: skip
    spans = {axis: (float(frame[axis].min()), float(frame[axis].max())) for axis in ("x", "y")}
    bare = {"showticklabels": False, "ticks": "", "zeroline": False, "showgrid": False}
    pad = {axis: 0.04 * (high - low) for axis, (low, high) in spans.items()}
    figure.update_xaxes(**bare, constrain="domain", range=[spans["x"][0] - pad["x"], spans["x"][1] + pad["x"]])
    figure.update_yaxes(
        **bare,
        scaleanchor="x",
        scaleratio=1,
        constrain="domain",
        range=[spans["y"][0] - pad["y"], spans["y"][1] + pad["y"]],
    )
    figure.update_layout(dragmode="lasso", legend={"itemsizing": "constant"})
    first = rows.iloc[0]
    far = ", ".join(
        f"{theme.language_name(code)} ({count})" for code, count in movers["language"].value_counts().head(3).items()
    )
    moved = (
        f"the {len(movers)} examples that moved furthest in all dimensions: {far}"
        if len(movers)
        else "nothing has moved yet"
    )
    kind = {"pca": "PCA of all states together", "aligned": "AlignedUMAP"}[str(first["projection"])]
    trust = f"trustworthiness {first['trustworthiness']:.2f}, neighbours kept {theme.percent(float(first['knn_preservation']))}"
    basis = f"{kind}, layer {int(first['layer'])}, {pooled(str(first['pooling']))}, {int(first['examples'])} examples"
    note = "the same axes and colours at every level; distances on the map are not distances in the model"
    return Shown(figure, f"{'Dense' if at == 0 else theme.level(at)}: {moved}.", caption(basis, trust, note), rows)
