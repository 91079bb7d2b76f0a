"""Figures of what the surviving weights look like (M§6.8), from `analysis.tables.weights`."""

from __future__ import annotations

import pandas as pd
from plotly.colors import sample_colorscale

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
    seed_text,
    stacked,
    state_name,
    thin,
)

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
        bars(
            figure, [kind.replace("_", " ") for kind in kinds], values, state_name(str(method)), style, "%{x}: %{y:.3f}"
        )
    means = at_level.groupby("method")[measure].mean()
    reading = f"{BARS[measure]} at {theme.level(sparsity)}: highest under {means.idxmax()} ({scale * means.max():.2f})"
    reading = (
        f"{reading}, lowest under {means.idxmin()} ({scale * means.min():.2f})." if len(means) > 1 else f"{reading}."
    )
    note = "grey: the dense model trained on, without a mask" if len(last) else ""
    return Shown(figure, reading, caption(f"{_seeds(rows)}, mean over blocks", note), rows)


def weights_lines(frame: pd.DataFrame, measure: str = "hoyer", dark: bool = False) -> Shown:
    """One column of `BARS` along training: mean over matrices after every cycle, a line per method (M§6.8).

    The dense model trained on for as many cycles is the control: does an objective make weights sparser by itself?
    """
    rows = frame[frame["method"] != "dense"] if len(frame) else frame
    if rows.empty:
        return blank(MISSING, REMEDY, dark)
    scale = 100 if measure in IN_PERCENT else 1
    figure = canvas(dark, x="Retraining cycles behind it", y=BARS[measure])
    for (method, recipe), group in stacked(rows, ("method", "recipe")):
        means = scale * group.groupby("step")[measure].mean()
        style = theme.method_style(str(method), str(recipe), dark)
        levels = [theme.level(value) for value in group.groupby("step")["sparsity"].first()]
        line(
            figure,
            means.index,
            means,
            state_name(str(method)),
            style,
            "%{customdata} sparsity: %{y:.3f}",
            customdata=levels,
        )
    figure.update_xaxes(dtick=1)
    last = rows[rows["step"] == rows["step"].max()].groupby("method")[measure].mean() * scale
    reading = f"{BARS[measure]} after the last cycle: highest under {state_name(str(last.idxmax()))} ({last.max():.2f}), lowest under {state_name(str(last.idxmin()))} ({last.min():.2f})."
    return Shown(
        figure,
        reading,
        caption(_seeds(rows), "mean over matrices, zeros included", "grey: the dense model trained on"),
        rows,
    )


def distribution_lines(frame: pd.DataFrame, kind: str, sparsity: float, dark: bool = False) -> Shown:
    """How large the surviving weights of one kind of matrix are: share per bin of log10 |w|, a line per method, with dense."""
    rows = rows_of(frame, kind=kind)
    rows = rows[(rows["sparsity"] == sparsity) | (rows["method"] == "dense")] if len(rows) else rows
    if rows.empty:
        return blank("No level here kept its weights.", "A distribution needs them: see method.keep_weights.", dark)
    figure = canvas(dark, x="log10 of the weight's size", y="Share of the survivors (%)")
    for (method, recipe), group in stacked(rows, ("method", "recipe")):
        means = group.groupby("bin")[["share", "width"]].mean()
        style = theme.method_style(str(method), str(recipe), dark)
        thin(figure, means.index + means["width"] / 2, 100 * means["share"], str(method), style.colour, style.dash)
    centres = (rows["bin"] + rows["width"] / 2) * rows["share"]
    means = centres.groupby([rows["method"], rows["seed"]]).sum().groupby("method").mean().sort_values()
    shown = theme.listed([f"{name} {10**value:.2g}" for name, value in means.items()])
    reading = (
        f"Geometric mean size of the surviving {kind.replace('_', ' ')} weights at {theme.level(sparsity)}: {shown}."
    )
    return Shown(
        figure,
        reading,
        caption(seed_text(rows), "levels that kept their weights", "weights that are 0 are not counted"),
        rows,
    )


def distribution_path(frame: pd.DataFrame, kind: str, method: str, dark: bool = False) -> Shown:
    """How large the survivors of one method are as it goes through its levels: a line per level, with dense.

    An arm that begins at level 0 shows whether its objective by itself makes weights small (M§6.8).
    """
    rows = rows_of(frame, kind=kind)
    rows = rows[(rows["method"] == method) | (rows["method"] == "dense")] if len(rows) else rows
    if not len(rows) or method not in set(rows["method"]):
        return blank("No level here kept its weights.", "A distribution needs them: see method.keep_weights.", dark)
    figure = canvas(dark, x="log10 of the weight's size", y="Share of the survivors (%)")
    groups = stacked(rows.sort_values(["step", "sparsity"]), ("step", "sparsity"))  # dense has step 0
    shades = sample_colorscale([list(stop) for stop in theme.of_points(dark)], max(2, len(groups) - 1))
    for ((step, sparsity), group), shade in zip(groups, [theme.look(dark).text, *shades], strict=False):
        means = group.groupby("bin")[["share", "width"]].mean()
        name, dash = ("dense", "dot") if step == 0 else (theme.level(float(sparsity)), "solid")
        thin(figure, means.index + means["width"] / 2, 100 * means["share"], name, shade, dash)
    centres = (rows["bin"] + rows["width"] / 2) * rows["share"]
    sizes = 10 ** centres.groupby([rows["step"], rows["sparsity"], rows["seed"]]).sum().groupby(level=[0, 1]).mean()
    said = theme.listed(
        [f"{'dense' if step == 0 else theme.level(level)} {size:.2g}" for (step, level), size in sizes.items()]
    )
    reading = f"Geometric mean size of the surviving {kind.replace('_', ' ')} weights of {method}: {said}."
    note = "weights that are 0 are not counted"
    return Shown(figure, reading, caption(seed_text(rows), "levels that kept their weights", note), rows)


def overlap_heatmap(frame: pd.DataFrame, sparsity: float, dark: bool = False) -> Shown:
    """Mask overlap of every pair of methods at one level, mean over seeds; the diagonal is a method with itself over seeds.

    Each cell: overlap, and what chance gives from each matrix's own counts. customdata: (overlap, chance).
    """
    rows = rows_of(frame, sparsity=sparsity)
    if rows.empty:
        return blank("No pair of masks at this level.", "It needs two runs with masks: two methods or two seeds.", dark)
    cells: dict[tuple[str, str], tuple[float, float]] = {}
    for (a, b), group in rows.groupby(["method_a", "method_b"], sort=False):
        value = (float(group["jaccard"].mean()), float(group["chance"].mean()))
        cells[str(a), str(b)] = cells[str(b), str(a)] = value
    names = sorted({name for pair in cells for name in pair})
    nothing = (float("nan"), float("nan"))
    grid = [[cells.get((a, b), nothing) for b in names] for a in names]
    figure = canvas(dark, height=200 + 46 * len(names))
    figure.add_heatmap(
        z=[[value for value, _ in line_] for line_ in grid], x=names, y=names, zmin=0, zmax=1, colorscale=theme.SEQUENTIAL, customdata=grid,
        text=[["" if value != value else f"{value:.2f}<br>({chance:.2f})" for value, chance in line_] for line_ in grid], texttemplate="%{text}",
        colorbar={"title": {"text": "Overlap"}}, hovertemplate="%{y} and %{x}: %{customdata[0]:.3f}, by chance %{customdata[1]:.3f}<extra></extra>",
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_xaxes(type="category")
    pairs = (
        rows.assign(beyond=rows["jaccard"] - rows["chance"])
        .groupby(["kind", "method_a", "method_b"])[["jaccard", "chance", "beyond"]]
        .mean()
    )
    least, most = pairs["beyond"].idxmin(), pairs["beyond"].idxmax()
    reading = f"At {theme.level(sparsity)} most alike beyond chance: {_pair(most)} ({pairs.loc[most, 'jaccard']:.2f}, chance {pairs.loc[most, 'chance']:.2f})"
    reading += (
        f"; least: {_pair(least)} ({pairs.loc[least, 'jaccard']:.2f}, chance {pairs.loc[least, 'chance']:.2f})."
        if least != most
        else "."
    )
    seeds = plural(len(set(rows["seed_a"]) | set(rows["seed_b"])), "seed")
    return Shown(
        figure,
        reading,
        caption(
            f"Jaccard overlap of kept weights, {seeds}",
            "in brackets: by chance, from each matrix's own counts",
            "diagonal: one method, two seeds",
        ),
        rows,
    )


def _pair(place: tuple[str, str, str]) -> str:
    kind, a, b = place
    return f"two seeds of {a}" if kind == "seeds" else f"{a} and {b}"
