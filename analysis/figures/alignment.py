"""Figures of alignment with the dense model (M§6.4): CKA and its kin by layer, depth and sparsity.

They read the tables `cka` and `similarity` of analysis.measures (all levels of a study). The figures of alignment
between languages stand in analysis.figures.languages and can be had from here too.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis import theme
from analysis.figures.base import (
    CONTINUED,
    KEEP_STATES,
    NO_STATES,
    Shown,
    band,
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
    thin,
)
from analysis.figures.languages import PARTS, TRANSLATIONS, crosslingual_lines, drift_bars

__all__ = [
    "MEASURES", "PARTS", "TRANSLATIONS", "cka_along_sparsity", "cka_diagonal", "cka_heatmap", "crosslingual_lines", "drift_bars",
]  # fmt: skip

ESTIMATE = "Debiased linear CKA, about 0 for unrelated states"
BANDS = "95% intervals by jackknife over the examples of each seed"
CEILING = "Ceiling: the dense model trained on for as many updates"
TOO_FEW = "It needs 4 examples per dimension that 99% of the variance takes: with fewer, noise looks alike. Raise [probe] examples."
FIRST_SEED = "It is measured for the first seed and the task's own pooling."

MEASURES = {
    "cka": "CKA with dense", "procrustes": "Procrustes distance to dense", "rsa": "RSA with dense", "mutual_knn": "Mutual k-NN with dense",
    "rbf_cka": "CKA with dense, Gaussian kernel (biased)", "svcca": "SVCCA with dense", "pwcca": "PWCCA with dense",
    "top_variance_pruned": "Variance share of the top 3 dimensions",
}  # fmt: skip


def _how(pooling: str, variant: str) -> str:
    scaled = "z-scored by the dense states" if variant == "zscored" else "raw states"
    return f"{pooled(pooling)}, {scaled}"


def cka_heatmap(
    cka: pd.DataFrame,
    language: str,
    method: str,
    sparsity: float,
    pooling: str | None = None,
    variant: str = "raw",
    dark: bool = False,
) -> Shown:
    """CKA of every layer of the pruned model with every layer of the dense one, mean over seeds.

    Transparent square markers lie over the cells, since a heat map itself returns no selection; their customdata is
    (layer_pruned, layer_dense, CKA).
    """
    pooling = pooling or default_pooling(cka)
    rows = rows_of(cka, language=language, method=method, sparsity=sparsity, pooling=pooling, variant=variant)
    if rows.empty:
        return blank(NO_STATES, KEEP_STATES, dark)
    cells = rows.groupby(["layer_pruned", "layer_dense"], as_index=False)["cka"].mean()
    grid = cells.pivot(index="layer_pruned", columns="layer_dense", values="cka")
    figure = canvas(dark, height=440, x="Layer of the dense model", y="Layer of the pruned model")
    figure.add_heatmap(
        z=grid.to_numpy(),
        x=grid.columns,
        y=grid.index,
        zmin=0,
        zmax=1,
        colorscale=theme.SEQUENTIAL,
        colorbar={"title": {"text": "CKA"}},
        texttemplate="%{z:.2f}",
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=cells["layer_dense"],
        y=cells["layer_pruned"],
        mode="markers",
        customdata=cells.to_numpy(),
        showlegend=False,
        marker={"symbol": "square", "size": 26, "color": "rgba(0,0,0,0)", "line": {"width": 0}},
        hovertemplate="pruned layer %{y} with dense layer %{x}: %{customdata[2]:.3f}<extra></extra>",
    )
    figure.update_yaxes(scaleanchor="x", constrain="domain", dtick=1)
    figure.update_xaxes(constrain="domain", dtick=1)
    empty = "blank layers have the same state for every text" if cells["cka"].isna().any() else ""
    return Shown(
        figure,
        _matrix_reading(cells, method, sparsity, language),
        _caption(rows, pooling, variant, ESTIMATE, empty),
        rows,
    )


def _matrix_reading(cells: pd.DataFrame, method: str, sparsity: float, language: str) -> str:
    same = cells[cells["layer_pruned"] == cells["layer_dense"]].dropna(subset="cka")
    if same.empty:
        return "CKA has no value here: the states of every layer are constant."
    low = same.loc[same["cka"].idxmin()]
    where = f"{theme.language_name(language)} under {method} at {theme.level(sparsity)}"
    furthest = f"layer {int(low['layer_pruned'])} has moved furthest from its dense self (CKA {low['cka']:.2f})"
    return f"{where}: {furthest}, mean over layers {same['cka'].mean():.2f}."


def _caption(rows: pd.DataFrame, pooling: str, variant: str, *more: str) -> str:
    return caption(f"{count_text(rows['n'])} examples, {seed_text(rows)}, {_how(pooling, variant)}", *more)


def _over_seeds(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    values = [name for name in (*MEASURES, "cka_low", "cka_high", "null_low", "null_high") if name in rows]
    return rows.groupby(keys, as_index=False, sort=False)[values].mean()


def cka_diagonal(
    similarity: pd.DataFrame,
    language: str,
    method: str,
    pooling: str | None = None,
    variant: str = "raw",
    measure: str = "cka",
    dark: bool = False,
) -> Shown:
    """Every layer with the same layer of the dense model, one line per level, with the null band and the ceiling.

    `measure`: a key of `MEASURES`; interval, null and ceiling belong to CKA.
    """
    pooling = pooling or default_pooling(similarity)
    both = rows_of(similarity, language=language, pooling=pooling, variant=variant)
    known = rows_of(both, method=method, role="pruned")
    rows = present(known, measure)
    if rows.empty and len(known):
        few = f"{MEASURES[measure]} has no value with {count_text(known['n'])} examples."
        return blank(few, TOO_FEW if measure in ("svcca", "pwcca") else FIRST_SEED, dark)
    if rows.empty:
        return blank(NO_STATES, KEEP_STATES, dark)
    figure = canvas(dark, x="Layer (0: embedding output)", y=MEASURES[measure])
    levels = sorted(rows["sparsity"].unique())
    for place, sparsity in enumerate(levels):
        means, name = (
            _over_seeds(rows_of(rows, sparsity=sparsity), ["layer"]).sort_values("layer"),
            theme.level(sparsity),
        )
        style = theme.Style(_shade(place, len(levels)))
        if measure == "cka":
            x, low, high = _columns(means, "layer", "cka_low", "cka_high")
            band(figure, x, low, high, style.colour, name)
        line(figure, means["layer"], means[measure], name, style, "layer %{x}: %{y:.3f}", legendgroup=name)
    notes = _surroundings(figure, both, rows) if measure == "cka" else [_knn_chance(figure, rows, measure)]
    figure.update_xaxes(dtick=1)
    return Shown(
        figure, _depth_reading(rows, measure, method, language), _caption(rows, pooling, variant, *notes), rows
    )


def _shade(place: int, count: int) -> str:
    """From light to dark along sparsity, in steps that stay visible on both backgrounds."""
    colours = ("#7FB8DA", "#4C9ACB", "#1F7AB8", "#7A5BA6", "#A03C78", "#C2402F")
    return colours[round(place * (len(colours) - 1) / max(1, count - 1))]


def _columns(frame: pd.DataFrame, *names: str) -> list[list[float]]:
    return [frame[name].tolist() for name in names]


def _surroundings(figure: Any, both: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """Draw the null band and the ceiling; returns what the caption says of them."""
    null = _over_seeds(rows, ["layer"]).sort_values("layer")
    x, low, high = _columns(null, "layer", "null_low", "null_high")
    band(figure, x, low, high, theme.GREY, "null")
    ceiling, other = rows_of(both, role="continued", step=int(rows["step"].max())), rows_of(both, role="other seed")
    for part, name, dash in ((ceiling, CONTINUED, "longdash"), (other, "dense, another seed", "dot")):
        if len(part):
            means = _over_seeds(part, ["layer"]).sort_values("layer")
            thin(figure, means["layer"], means["cka"], name, theme.GREY, dash)
    return [ESTIMATE, BANDS, "Grey band: 95% of pairings at random", CEILING if len(ceiling) else ""]


def _knn_chance(figure: Any, rows: pd.DataFrame, measure: str) -> str:
    if measure != "mutual_knn":
        return ""
    chance = float(rows["mutual_knn_chance"].mean())
    level_line(figure, chance, "chance", theme.GREY)
    return f"by chance {chance:.2f}"


def _depth_reading(rows: pd.DataFrame, measure: str, method: str, language: str) -> str:
    top = rows[rows["sparsity"] == rows["sparsity"].max()]
    last = top[top["layer"] == top["layer"].max()]
    where = f"{theme.language_name(language)} under {method} at {theme.level(last['sparsity'].iloc[0])}"
    value = f"{MEASURES[measure]} of the last layer is {last[measure].mean():.2f} for {where}"
    if measure != "cka":
        return f"{value}."
    above = "above" if last["cka_low"].mean() > last["null_high"].mean() else "not clearly above"
    return f"{value}, {above} what pairing at random gives."


def cka_along_sparsity(
    similarity: pd.DataFrame,
    language: str,
    layer: int | None = None,
    pooling: str | None = None,
    variant: str = "raw",
    dark: bool = False,
) -> Shown:
    """CKA of one layer (default: the last) with dense against sparsity, one line per method, with null and ceiling."""
    pooling = pooling or default_pooling(similarity)
    both = rows_of(similarity, language=language, pooling=pooling, variant=variant)
    both, layer = last_layer(both, layer)
    rows = rows_of(both, role="pruned")
    if rows.empty:
        return blank(NO_STATES, KEEP_STATES, dark)
    figure = canvas(dark, x="Sparsity (% of prunable weights removed)", y=f"CKA with dense, layer {layer}")
    for (method, recipe), group in stacked(rows, ("method", "recipe")):
        style, name = theme.method_style(str(method), str(recipe), dark), str(method)
        means = _over_seeds(group, ["sparsity"]).sort_values("sparsity")
        x, low, high = _columns(means.assign(x=100 * means["sparsity"]), "x", "cka_low", "cka_high")
        band(figure, x, low, high, style.colour, name)
        line(figure, x, means["cka"], name, style, "%{x:.1f}%: %{y:.3f}", legendgroup=name)
    ceiling = rows_of(both, role="continued")
    if len(ceiling):
        level_line(figure, float(ceiling["cka"].mean()), CONTINUED, theme.GREY, "longdash")
    level_line(figure, float(rows["null_high"].mean()), "97.5% of pairings at random", theme.GREY)
    top = rows[rows["sparsity"] == rows["sparsity"].max()].groupby("method")["cka"].mean()
    where = f"At {theme.level(rows['sparsity'].max())} sparsity layer {layer} of {theme.language_name(language)}"
    reading = f"{where} stays nearest to dense under {top.idxmax()} (CKA {top.max():.2f})"
    reading = f"{reading}, furthest under {top.idxmin()} ({top.min():.2f})." if len(top) > 1 else f"{reading}."
    return Shown(
        figure, reading, _caption(rows, pooling, variant, ESTIMATE, BANDS, CEILING if len(ceiling) else ""), rows
    )
