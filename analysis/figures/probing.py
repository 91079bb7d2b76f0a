"""What the encoder is still good for beside the task (M§6.10), from the table `probed`."""

from __future__ import annotations

import pandas as pd

from analysis import theme
from analysis.figures.base import (
    INTERVAL,
    Shown,
    blank,
    canvas,
    caption,
    count_text,
    level_line,
    line,
    plural,
    rows_of,
    seeds_text,
    stacked,
    whiskers,
)
from analysis.figures.drops import MEAN, named

MISSING = "Nothing was probed at these levels."
REMEDY = 'The key [probing] tasks = ["…"] of a study file says on which other tasks every level is probed.'
# Kind → (axis, scale, unit of a loss, what it is called).
KINDS = {
    "probe": ("Probe accuracy (%)", 100.0, "points", "probe accuracy"),
    "masked_token_loss": ("Loss of hidden tokens (nats)", 1.0, "nats", "masked-token loss"),
}


def probing_lines(
    probed: pd.DataFrame, task: str, kind: str, language: str = MEAN, at: float | None = None, dark: bool = False
) -> Shown:
    """One probe against sparsity: a line per method, and dense, the checkpoint before fine-tuning and chance as references.

    The whiskers are the interval of the loss against dense, seen from dense: dense itself is taken as known. The reading is
    about the level `at` (default: the highest).
    """
    rows = rows_of(probed, task=task, kind=kind, language=language)
    if rows.empty:
        return blank(MISSING, REMEDY, dark)
    axis, scale, unit, _ = KINDS[kind]
    sign = scale if kind == "probe" else -scale
    figure = canvas(dark, height=420, x="Sparsity (%)", y=axis)
    for (method, recipe), group in stacked(rows.sort_values("sparsity"), ("method", "recipe")):
        style, x = theme.method_style(str(method), str(recipe), dark), 100 * group["sparsity"]
        ends = [scale * group["dense"] - sign * group[end] for end in ("lost_low", "lost_high")]
        low, high = ends if sign < 0 else reversed(ends)  # the state with the larger loss is lower where more is better
        line(
            figure, x, scale * group["value"], str(method), style, "%{x:g}%: %{y:.2f}",
            error_y=whiskers(scale * group["value"], low, high, color=style.colour),
        )  # fmt: skip
    text = theme.look(dark).text
    level_line(figure, scale * float(rows["dense"].mean()), "dense", text)
    level_line(figure, scale * float(rows["pretrained"].mean()), "before fine-tuning", text, "dash", left=True)
    level_line(figure, scale * float(rows["chance"].mean()), "commonest label", theme.GREY, left=True)
    known = rows["lost_low"].notna().any()
    return Shown(
        figure,
        _reading(rows, language, kind, at),
        caption(
            f"{count_text(rows['n'])} {'items' if kind == 'probe' else 'hidden tokens'} per language, {_seeds(rows)}",
            f"whiskers: {INTERVAL[0].lower()}{INTERVAL[1:]} of the difference to dense" if known else _means_only(),
            _continued(rows, scale, unit),
        ),
        rows,
    )  # fmt: skip


def _seeds(rows: pd.DataFrame) -> str:
    seeds = int(rows["seeds"].min())
    return seeds_text(seeds) if rows["lost_low"].notna().any() else plural(seeds, "seed")


def _means_only() -> str:
    return "no intervals: these runs are of an older version, which kept means without their items"


def _continued(rows: pd.DataFrame, scale: float, unit: str) -> str:
    last = rows[rows["continued"].notna()]
    if last.empty:
        return ""
    last = last[last["step"] == last["step"].max()]
    change = scale * float((last["continued"] - last["dense"]).mean())
    shown = "accuracy" if unit == "points" else "loss"
    return f"control: dense trained on for as long changes its {shown} by {change:+.2f} {unit}"


def _reading(rows: pd.DataFrame, language: str, kind: str, at: float | None) -> str:
    _, scale, unit, name = KINDS[kind]
    level = float(rows["sparsity"].max()) if at is None or at not in set(rows["sparsity"]) else at
    last = rows[(rows["sparsity"] == level)].sort_values("lost")
    sure = last[last["lost_low"] > 0]
    who = named(language)
    where = f"{who[0].upper()}{who[1:]} at {theme.level(level)}"
    best, worst = last.iloc[0], last.iloc[-1]
    spread = f"{best['method']} {_change(best, scale, kind)}" + (
        f", {worst['method']} {_change(worst, scale, kind)}" if len(last) > 1 else ""
    )
    told = f"; the loss is sure for {len(sure)} of {len(last)}" if last["lost_low"].notna().any() else ""
    return f"{where}, {name} in {unit} against dense: {spread}{told}."


def _change(row: pd.Series, scale: float, kind: str) -> str:
    value = -scale * row["lost"] if kind == "probe" else scale * row["lost"]
    return f"{value:+.2f}".replace("-", "−")


def probing_heatmap(probed: pd.DataFrame, task: str, kind: str, method: str, dark: bool = False) -> Shown:
    """Languages × levels of one method: what was lost against dense; a dot where its interval leaves 0 out."""
    rows = rows_of(probed, task=task, kind=kind, method=method)
    rows = rows[rows["language"] != MEAN] if len(rows) else rows
    if rows.empty:
        return blank(MISSING, REMEDY, dark)
    _, scale, unit, name = KINDS[kind]
    codes = theme.ordered(rows["language"].tolist(), rows.loc[rows["source"], "language"].tolist())
    value, low, high = (
        scale
        * rows.pivot_table(index="language", columns="sparsity", values=f"lost{end}", dropna=False).reindex(index=codes)
        for end in ("", "_low", "_high")
    )
    text = [
        [f"{v:.2f}{'•' if lo > 0 or hi < 0 else ''}" for v, lo, hi in zip(*cells, strict=True)]
        for cells in zip(value.to_numpy(), low.to_numpy(), high.to_numpy(), strict=True)
    ]
    bound = max(float(value.abs().max().max()), 1e-9)
    figure = canvas(dark, height=180 + 28 * len(codes), x="Level")
    figure.add_heatmap(
        z=value.to_numpy(), x=[theme.level(level) for level in value.columns], y=[theme.language_name(code) for code in codes], text=text,
        texttemplate="%{text}", zmid=0, zmin=-bound, zmax=bound, colorscale=theme.diverging(dark), colorbar={"title": {"text": f"Lost ({unit})"}},
        hovertemplate="%{y} at %{x}: %{z:.3f}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(type="category")
    figure.update_yaxes(autorange="reversed", type="category")
    last = value.iloc[:, -1]
    most = str(last.idxmax())
    reading = f"{method} at {theme.level(float(value.columns[-1]))}: {theme.language_name(most)} loses most in {name}, {last.max():.2f} {unit}."
    known = "• its 95% interval leaves 0 out" if rows["lost_low"].notna().any() else _means_only()
    return Shown(
        figure,
        reading,
        caption(f"{count_text(rows['n'])}, {_seeds(rows)}", known, "against dense on the same items"),
        rows,
    )
