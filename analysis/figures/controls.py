"""A drop beside its controls, and the states that no other dominates (M§6.1)."""

from __future__ import annotations

import pandas as pd

from analysis import theme
from analysis.figures.base import (
    Shown,
    blank,
    canvas,
    caption,
    point_of,
    rows_of,
    scored,
    seeds_text,
    stacked,
    whiskers,
)
from analysis.figures.drops import MEAN, MISSING, REMEDY, basis, named


def control_dots(
    degraded: pd.DataFrame,
    controls: pd.DataFrame,
    method: str,
    sparsity: float,
    split: str = "test",
    dark: bool = False,
) -> Shown:
    """The drop of every language under one method with what it is to be seen beside.

    Grey crosses: random pruning at the same sparsity. Grey bar: ± the largest difference of two dense models of other
    seeds. Thin line: 95% of the drops with shuffled labels. Rows of `degradation` (and `spread`) and of `controls`.
    """
    rows, beside = (rows_of(frame, method=method, sparsity=sparsity, split=split) for frame in (degraded, controls))
    if rows.empty or beside.empty:
        return blank(MISSING, REMEDY, dark)
    both = rows.merge(beside.drop(columns=["drop"]), on="language", suffixes=("", "_control"))
    codes = theme.ordered(
        [code for code in both["language"] if code != MEAN], both.loc[both["source"], "language"].tolist()
    )
    codes = [*codes, *([MEAN] if MEAN in set(both["language"]) else [])]
    both = both.set_index("language").reindex(codes).reset_index()
    names = [named(code) if code != MEAN else "mean of zero-shot" for code in codes]
    figure = canvas(
        dark, height=150 + 30 * len(codes), x=f"Drop against dense ({point_of(str(rows['metric'].iloc[0]))})"
    )
    _noise(figure, both, names)
    figure.add_scatter(
        x=100 * both["random_drop"], y=names, mode="markers", name="random pruning", marker={"symbol": "x", "color": theme.GREY, "size": 8},
        hovertemplate="%{y}: %{x:.1f} points<extra>random pruning</extra>",
    )  # fmt: skip
    style = theme.method_style(method, str(both["recipe"].iloc[0]), dark)
    middle, low, high = (100 * both[name] for name in ("drop", "drop_low", "drop_high"))
    figure.add_scatter(
        x=middle, y=names, mode="markers", name=method, marker={"symbol": style.symbol, "color": style.colour, "size": 9},
        error_x=whiskers(middle, low, high, color=style.colour), hovertemplate="%{y}: %{x:.1f} points<extra>" + method + "</extra>",
    )  # fmt: skip
    figure.add_vline(x=0, line={"color": theme.look(dark).text, "width": 1})
    figure.update_yaxes(autorange="reversed", type="category")
    return Shown(figure, _reading(both, method), caption(basis(both), *_notes(both)), both)


def _noise(figure: object, both: pd.DataFrame, names: list[str]) -> None:
    if both["rerun_largest"].notna().any():
        width = 200 * both["rerun_largest"]
        figure.add_bar(  # type: ignore[attr-defined]
            x=width, base=-width / 2, y=names, orientation="h", name="two dense seeds", marker={"color": theme.faded(theme.GREY, 0.25)},
            hovertemplate="%{y}: ± %{customdata:.1f} points<extra>two dense seeds</extra>", customdata=width / 2,
        )  # fmt: skip
    if both["shuffled"].notna().any():
        middle, low, high = (100 * both[name] for name in ("shuffled", "shuffled_low", "shuffled_high"))
        figure.add_scatter(  # type: ignore[attr-defined]
            x=middle, y=names, mode="markers", name="shuffled labels", marker={"symbol": "line-ns-open", "color": theme.GREY, "size": 9},
            error_x=whiskers(middle, low, high, color=theme.GREY), hovertemplate="%{y}: %{x:.1f} points<extra>shuffled labels</extra>",
        )  # fmt: skip


def _notes(both: pd.DataFrame) -> tuple[str, ...]:
    rerun = "" if both["rerun_largest"].notna().any() else "a second seed would show what rerunning alone does"
    random = "" if both["random_drop"].notna().any() else "the study has no random pruning at this level"
    return "grey: controls", rerun, random


def _reading(both: pd.DataFrame, method: str) -> str:
    rows = both[both["language"] != MEAN]
    level = theme.level(float(rows["sparsity"].iloc[0]))
    within = int((rows["drop"].abs() <= rows["rerun_largest"]).sum())
    text = f"{method} at {level}: {within} of {len(rows)} drops are within what two dense seeds differ by"
    if rows["rerun_largest"].isna().all():
        text = f"{method} at {level}: one seed, so that rerun noise is not known"
    if rows["beyond_random"].notna().any():
        better = int((rows["beyond_random_low"] > 0).sum())
        text = f"{text}; in {better} of {len(rows)} languages it keeps more than random pruning"
    return f"{text}."


def pareto_scatter(pareto: pd.DataFrame, split: str = "test", dark: bool = False) -> Shown:
    """Mean score against non-zero weights, one line per method; filled points are not dominated, the size of hollow ones is smaller.

    Dominated: another state has at most as many non-zeros, and at least the mean and the worst language, and is better
    in one of the three. customdata: (worst language, its score in %).
    """
    rows = rows_of(pareto, split=split)
    if rows.empty:
        return blank(MISSING, REMEDY, dark)
    y = f"{scored(str(rows['metric'].iloc[0]))}, mean over zero-shot languages"
    figure = canvas(dark, height=440, x="Non-zero weights (% of the dense model's)", y=y)
    for (method, recipe), group in stacked(rows.sort_values("nonzeros"), ("method", "recipe")):
        style = theme.method_style(str(method), str(recipe), dark)
        symbols = [style.symbol.removesuffix("-open") + ("" if front else "-open") for front in group["front"]]
        worst = [
            [theme.language_name(code), 100 * value]
            for code, value in zip(group["worst_language"], group["worst"], strict=True)
        ]
        figure.add_scatter(
            x=100 * group["nonzero_share"], y=100 * group["mean"], name=str(method), mode="lines+markers", customdata=worst,
            line={"color": style.colour, "dash": style.dash, "width": 1}, marker={"symbol": symbols, "color": style.colour, "size": [11 if front else 7 for front in group["front"]]},
            hovertemplate="%{x:.1f}% non-zero: mean %{y:.1f}%<br>worst %{customdata[0]}: %{customdata[1]:.1f}%<extra>" + str(method) + "</extra>",
        )  # fmt: skip
    front = rows[rows["front"]]
    methods = [str(name) for name in dict.fromkeys(front["method"])]
    reading = f"{len(front)} of {len(rows)} states are not dominated in size, mean and worst language: of {theme.listed(methods)}."
    note = "filled: not dominated; point estimates, so that neighbours may change places by chance"
    languages = f"{int(rows['languages'].max())} languages, {seeds_text(int(rows['seeds'].min()))}"
    return Shown(figure, reading, caption(languages, note), rows)
