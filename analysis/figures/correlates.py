"""What goes with the drop over languages (M§6.9), without saying why; from the tables `correlates` and `factors`."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis import theme
from analysis.figures.base import Shown, bars, blank, canvas, caption, count_text, plural, rows_of, stacked, whiskers

FACTORS = {
    "retrieval_loss": "Translations lost (last layer)", "cka_loss": "CKA with the source lost", "fertility": "Tokens per word",
    "tokens_per_character": "Tokens per character", "truncated": "Texts cut", "unknown": "Unknown tokens", "same_script": "Written like the source",
    "resource": "Pretraining resource", "dense": "Dense score",
}  # fmt: skip
IN_POINTS = ("retrieval_loss",)
NOTHING = "No correlation here."
REMEDY = "It needs four zero-shot languages in which the factor varies."


def correlate_dots(
    correlates: pd.DataFrame, method: str, sparsity: float, split: str = "test", dark: bool = False
) -> Shown:
    """Spearman's ρ of every factor with the drop: interval over languages (line), range without any one language (box)."""
    rows = rows_of(correlates, method=method, sparsity=sparsity, split=split)
    if rows.empty:
        return blank(NOTHING, REMEDY, dark)
    rows = rows.set_index("factor").reindex([name for name in FACTORS if name in set(rows["factor"])]).reset_index()
    names = [FACTORS[name] for name in rows["factor"]]
    figure = canvas(dark, height=160 + 34 * len(rows), x="Rank correlation (ρ)")
    figure.add_bar(
        x=rows["without_high"] - rows["without_low"], base=rows["without_low"], y=names, orientation="h", name="without any one language", width=0.5,
        marker={"color": theme.faded(theme.GREY, 0.35)}, customdata=rows[["without_low", "without_high", "decisive"]].to_numpy(),
        hovertemplate="%{y}: %{customdata[0]:.2f} to %{customdata[1]:.2f}, most without %{customdata[2]}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=rows["rho"], y=names, mode="markers", name="all languages, 95% interval", marker={"color": theme.BLUE, "size": 9},
        error_x=whiskers(rows["rho"], rows["low"], rows["high"], color=theme.BLUE), hovertemplate="%{y}: %{x:.2f}<extra></extra>",
    )  # fmt: skip
    figure.add_vline(x=0, line={"color": theme.look(dark).text, "width": 1})
    figure.update_xaxes(range=[-1.05, 1.05])
    figure.update_yaxes(autorange="reversed", type="category")
    sure = rows[((rows["low"] > 0) & (rows["without_low"] > 0)) | ((rows["high"] < 0) & (rows["without_high"] < 0))]
    found = theme.listed(
        [f"{FACTORS[name]} (ρ = {theme.number(rho)})" for name, rho in zip(sure["factor"], sure["rho"], strict=True)]
    )
    text = (
        f"goes with the drop over languages, with any one left out too: {found}"
        if len(sure)
        else "no factor surely goes with the drop over languages"
    )
    return Shown(
        figure, f"{method} at {theme.level(sparsity)}: {text}.",
        caption(
            f"n = {int(rows['languages'].max())} zero-shot languages", "Spearman, bootstrap over languages",
            "few languages; no cause; not corrected; the dense score is part of the drop",
        ), rows,
    )  # fmt: skip


def factor_scatter(
    factors: pd.DataFrame, factor: str, method: str, sparsity: float, split: str = "test", dark: bool = False
) -> Shown:
    """One factor against the drop, one named point per zero-shot language, coloured by family."""
    rows = rows_of(factors, method=method, sparsity=sparsity, split=split)
    rows = rows.dropna(subset=[factor]).reset_index(drop=True) if len(rows) else rows
    if rows.empty:
        return blank(NOTHING, REMEDY, dark)
    scale, unit = (100, "points") if factor in IN_POINTS else (1, "")
    x = f"{FACTORS[factor]} ({unit})" if unit else FACTORS[factor]
    figure = canvas(dark, height=400, x=x, y="Drop (points)")
    colours = [theme.language_colour(code) for code in rows["language"]]
    figure.add_scatter(
        x=scale * rows[factor], y=100 * rows["drop"], text=rows["language"], mode="markers+text", textposition="top center", marker={"color": colours, "size": 10},
        customdata=[theme.language_name(code) for code in rows["language"]], hovertemplate="%{customdata}: %{x:.3g}, drop %{y:.1f} points<extra></extra>", showlegend=False,
    )  # fmt: skip
    worst = rows.loc[rows["drop"].idxmax()]
    value = theme.points(worst[factor]) if unit else theme.number(worst[factor])
    reading = f"{theme.language_name(worst['language'])} drops most, {theme.points(worst['drop'])}; its {FACTORS[factor][0].lower()}{FACTORS[factor][1:]}: {value}."
    return Shown(figure, reading, caption(f"n = {len(rows)} zero-shot languages", "coloured by family"), rows)


TEXT = {
    "fertility": "Tokens per word", "tokens_per_character": "Tokens per character",
    "truncated": "Texts cut (%)", "unknown": "Unknown tokens (%)",
}  # fmt: skip


def tokenizer_bars(
    tokenizer: pd.DataFrame, measure: str, sources: tuple[str, ...] = (), split: str = "test", dark: bool = False
) -> Shown:
    """What the tokenizer does with every language's texts."""
    rows = rows_of(tokenizer, split=split)
    if rows.empty:
        return blank("No token counts here.", "A run writes them when it begins.", dark)
    codes = theme.ordered(rows["language"].tolist(), sources)
    rows = rows.set_index("language").reindex(codes).reset_index()
    scale = 100 if measure in ("truncated", "unknown") else 1
    figure = canvas(dark, y=TEXT[measure])
    figure.add_bar(
        x=[theme.language_name(code) for code in codes], y=scale * rows[measure], marker={"color": [theme.language_colour(code) for code in codes]},
        customdata=rows[["unit", "n"]].to_numpy(), hovertemplate="%{x}: %{y:.2f} (by %{customdata[0]}, n %{customdata[1]})<extra></extra>",
    )  # fmt: skip
    most = rows.loc[rows[measure].idxmax()]
    reading = f"{TEXT[measure]}: highest for {theme.language_name(most['language'])} ({scale * most[measure]:.2f})."
    return Shown(
        figure,
        reading,
        caption(f"{count_text(rows['n'])} texts per language", _spaces(rows, measure), "coloured by family"),
        rows,
    )


def _spaces(rows: pd.DataFrame, measure: str) -> str:
    spaceless = [theme.language_name(code) for code in rows.loc[rows["unit"] == "character", "language"]]
    return (
        f"per character, as no spaces are written: {theme.listed(spaceless)}"
        if spaceless and measure == "fertility"
        else ""
    )


CONFIDENCE = {
    "ece": "Calibration error (ECE)", "brier": "Brier score", "overconfidence": "Over-confidence, all items",
    "flips_broken": "Over-confidence on broken items", "flips_kept": "Over-confidence on items that did not flip",
}  # fmt: skip


def confidence_bars(
    calibration: pd.DataFrame,
    measure: str,
    sparsity: float,
    sources: tuple[str, ...] = (),
    split: str = "test",
    dark: bool = False,
) -> Shown:
    """One measure of calibration per language at one level, grouped by method, with dense; mean over seeds."""
    at_level = rows_of(calibration[~calibration["method"].isin(["dense", "dense_continued"])], sparsity=sparsity, split=split) if len(calibration) else calibration  # fmt: skip
    if at_level.empty:
        return blank("No calibration here.", "It needs a task with classes.", dark)
    dense = (
        rows_of(calibration, method="dense", split=split)
        if measure in ("ece", "brier", "overconfidence")
        else at_level.head(0)
    )
    rows = pd.concat([part for part in (dense, at_level) if len(part)], ignore_index=True)
    codes = theme.ordered(rows["language"].tolist(), sources)
    figure = canvas(dark, height=420, y=CONFIDENCE[measure])
    for (method, recipe), group in stacked(rows, ("method", "recipe")):
        values = group.groupby("language")[measure].mean().reindex(codes)
        bars(
            figure,
            map(theme.language_name, codes),
            values,
            str(method),
            theme.method_style(str(method), str(recipe), dark),
            "%{x}: %{y:.3f}",
        )
    means = at_level.groupby("method")[measure].mean()
    before = f", dense {dense[measure].mean():.3f}" if len(dense) else ""
    reading = f"{CONFIDENCE[measure]}: no item broke."
    if means.notna().any():
        reading = f"{CONFIDENCE[measure]} at {theme.level(sparsity)}: highest under {means.idxmax()} ({means.max():.3f}{before})."
    return Shown(
        figure,
        reading,
        caption(
            f"{count_text(at_level['n'])}, mean of {plural(at_level['seed'].nunique(), 'seed')}",
            "ECE over 10 groups of equally many items",
        ),
        rows,
    )


def calibration_heatmap(matrix: pd.DataFrame, sparsity: float, split: str = "test", dark: bool = False) -> Shown:
    """Calibrated on × evaluated on: the drop under methods that differ in calibration languages only.

    A dot where the criterion looked at the language; an arrow where the method surely keeps more (up) or less (down) of
    it than the mean of its like.
    """
    rows = rows_of(matrix, sparsity=sparsity, split=split)
    if rows.empty:
        return blank(
            "No methods here that differ in calibration languages only.",
            "Give a recipe twice with calibration = { languages = […] }.",
            dark,
        )
    codes = theme.ordered(rows["language"].tolist())
    rows = rows.assign(
        name=[f"{method}: {used}" for method, used in zip(rows["method"], rows["calibration"], strict=True)]
    )
    for end in ("low", "high"):
        if f"advantage_{end}" not in rows:  # a table of an older version
            rows[f"advantage_{end}"] = float("nan")
    names = list(dict.fromkeys(rows["name"]))
    cells = rows.assign(cell=[_cell(row) for row in rows.to_dict("records")])
    value, text = (
        cells.pivot(index="name", columns="language", values=column).reindex(index=names, columns=codes)
        for column in ("drop", "cell")
    )
    bound = max(1.0, 100 * float(value.abs().max().max()))
    figure = canvas(dark, height=200 + 34 * len(names), x="Evaluated on", y="Calibrated on")
    figure.add_heatmap(
        z=100 * value.to_numpy(), x=[theme.language_name(code) for code in codes], y=names, text=text.fillna("").to_numpy(), texttemplate="%{text}",
        zmid=0, zmin=-bound, zmax=bound, colorscale=theme.diverging(dark), colorbar={"title": {"text": "Drop (points)"}},
        hovertemplate="%{y}, %{x}: %{z:.1f} points<extra></extra>",
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", type="category")
    means = rows.groupby("own")["drop"].mean()
    looked, others = (theme.points(float(means.get(own, float("nan")))) for own in (True, False))
    seen = rows[rows["own"]]
    sure = int((seen["advantage_low"] > 0).sum())
    reading = (
        f"At {theme.level(sparsity)} languages that the criterion looked at drop {looked} on average, the others {others}; "
        f"looking at a language surely keeps more of it in {sure} of {len(seen)} cases."
    )
    return Shown(
        figure,
        reading,
        caption(
            f"{count_text(rows['n'])}, {plural(int(rows['seeds'].min()), 'seed')}",
            "• among the calibration languages",
            "↑ ↓ surely keeps more or less than the mean of the other rows of its recipe (95%, paired, not corrected)",
        ),
        rows.drop(columns="name"),
    )


def _cell(row: dict[str, Any]) -> str:
    arrow = "↑" if row["advantage_low"] > 0 else "↓" if row["advantage_high"] < 0 else ""
    return f"{100 * row['drop']:.1f}{'•' if row['own'] else ''}{arrow}"
