"""Figures that set methods against each other: score differences, what happened inside, masks, size (M§6.1, M§6.8, M§6.11).

They read the tables `pairs`, `contrasts` and `mask_pairs` of analysis.measures.compare, and `spread` beside `size.json`. An
arm is (study, method); every difference is shown as arm − reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from plotly.subplots import make_subplots

from analysis import degradation, theme
from analysis.figures.base import (
    INTERVAL,
    Shown,
    blank,
    canvas,
    caption,
    count_text,
    in_percent,
    level_line,
    line,
    metric_of,
    plural,
    rows_of,
    scored,
    seeds_text,
    stacked,
    tested,
    whiskers,
)
from analysis.figures.drops import MEAN, SIGNIFICANT

Arm = tuple[str, str]
MISSING = "These arms share no level, seed and items."
REMEDY = "A comparison needs two methods at the same level, with a seed and test items in common."
# Measure -> title, factor to the unit shown, which way is better (0: neither).
INSIDE = {
    "r_squared": ("Class separability R²", 1, 1),
    "class_snr": ("Class signal-to-noise", 1, 1),
    "pruning_snr_db": ("Pruning SNR (dB)", 1, 1),
    "cka": ("CKA with dense", 1, 1),
    "retrieval": ("Translations found (%)", 100, 1),
    "after_mask": ("Score after mask (%)", 100, 1),
    "updates_to_recover": ("Updates to recover", 1, -1),
}


def named(arm: Arm, arms: Sequence[Arm]) -> str:
    """An arm by its method, with the study where several are compared."""
    return arm[1] if len({study for study, _ in arms}) == 1 else f"{arm[0]}/{arm[1]}"


def against(frame: pd.DataFrame, reference: Arm, arms: Sequence[Arm]) -> pd.DataFrame:
    """The pairs of the reference with these arms, all turned so that `difference` is arm − reference.

    Columns study, method, recipe of the arm, value (its own), reference (the other's), difference, low, high.
    """
    if frame.empty:
        return frame
    left = (frame["study_a"] == reference[0]) & (frame["method_a"] == reference[1])
    right = (frame["study_b"] == reference[0]) & (frame["method_b"] == reference[1])
    names = {"value": "b", "reference": "a"}, {"value": "a", "reference": "b"}
    parts = []
    for rows, sides, sign in ((frame[left], names[0], -1), (frame[right & ~left], names[1], 1)):
        part = rows.assign(
            **{key: rows[f"{key}_{sides['value']}"] for key in ("study", "method", "recipe")},
            value=rows[sides["value"]], reference=rows[sides["reference"]], difference=sign * rows["difference"],
        )  # fmt: skip
        limits = (part["low"], part["high"]) if sign == 1 else (-part["high"], -part["low"])
        parts.append(part.assign(low=limits[0], high=limits[1]))
    found = pd.concat(parts, ignore_index=True)
    places = {arm: place for place, arm in enumerate(arms)}
    place = [places.get(arm, -1) for arm in zip(found["study"], found["method"], strict=True)]
    found = found.assign(place=place)
    return found[found["place"] >= 0].sort_values("place", kind="stable").reset_index(drop=True)


def difference_dots(
    pairs: pd.DataFrame,
    reference: Arm,
    arms: Sequence[Arm],
    sparsity: float,
    split: str = "test",
    dark: bool = False,
) -> Shown:
    """How much better than the reference each arm scores, per language, with intervals; filled where significant."""
    rows = against(rows_of(pairs, sparsity=sparsity, split=split), reference, arms)
    if rows.empty:
        return blank(MISSING, REMEDY, dark)
    codes = theme.ordered(
        [code for code in rows["language"] if code != MEAN], rows.loc[rows["source"], "language"].tolist()
    )
    codes = [*([MEAN] if MEAN in set(rows["language"]) else []), *codes]
    figure = canvas(dark, height=150 + 32 * len(codes), x=f"Points above {named(reference, arms)}")
    figure.add_vline(x=0, line={"color": theme.look(dark).text, "width": 1})
    groups = stacked(rows, ("study", "method", "recipe"))
    for place, ((study, method, recipe), group) in enumerate(groups):
        style = theme.method_style(str(method), str(recipe), dark)
        shift = 0.7 * ((place + 0.5) / len(groups) - 0.5)
        sure = (group["p_holm"] < SIGNIFICANT) | ((group["language"] == MEAN) & (group["low"] * group["high"] > 0))
        middle, low, high = (in_percent(group[name]) for name in ("difference", "low", "high"))
        symbols = [f"{style.symbol.removesuffix('-open')}{'' if one else '-open'}" for one in sure]
        figure.add_scatter(
            x=middle, y=[codes.index(code) + shift for code in group["language"]], mode="markers", name=named((study, method), arms),
            marker={"color": style.colour, "symbol": symbols, "size": 9},
            error_x=whiskers(middle, low, high, color=style.colour),
            customdata=[[code, 100 * a, 100 * b, p] for code, a, b, p in zip(group["language"], group["value"], group["reference"], group["p_holm"], strict=True)],
            hovertemplate="%{customdata[0]}: %{x:.1f} points (%{customdata[1]:.1f}% against %{customdata[2]:.1f}%), Holm p %{customdata[3]:.3f}<extra>" + str(method) + "</extra>",
        )  # fmt: skip
    outside = _focus(figure, rows, arms)
    labels = [MEAN.capitalize() if code == MEAN else theme.language_name(code) for code in codes]
    figure.update_yaxes(
        tickmode="array", tickvals=list(range(len(codes))), ticktext=labels, range=[len(codes) - 0.5, -0.5]
    )
    each = rows[rows["language"] != MEAN]
    basis = caption(f"{count_text(each['n'])}, {seeds_text(int(rows['seeds'].min()))}", INTERVAL)
    mark = f"filled: significant at .05 ({tested(metric_of(rows))}, Holm over all pairs, levels and languages of the comparison; for the mean: its interval excludes 0)"
    return Shown(figure, _reading(rows, reference, arms, sparsity), caption(basis, mark, outside), rows)


FAR = 3  # how many times wider than the others' span a control makes the axis before it is left outside


def _focus(figure: Any, rows: pd.DataFrame, arms: Sequence[Arm]) -> str:
    """Fit the axis to the methods where random pruning lies so far off that their differences would shrink to a line.

    Returns the sentence that says so, with the control's mean; a double click shows it.
    """
    control = rows["recipe"] == "random"
    rest = rows[~control]
    if not control.any() or rest.empty:
        return ""
    low, high = (100 * float(value) for value in (min(rest["low"].min(), 0.0), max(rest["high"].max(), 0.0)))
    pad = 0.06 * (high - low)
    if 100 * (rows["high"].max() - rows["low"].min()) < FAR * (high - low) or high <= low:
        return ""
    figure.update_xaxes(range=[low - pad, high + pad])
    told = [
        f"{named((study, method), arms)} lies outside the axis ({theme.points(float(part['difference'].mean()))} on average)"
        for (study, method, _), part in stacked(rows[control], ("study", "method", "recipe"))
    ]
    return f"{'; '.join(told)}: a double click shows everything"


def _reading(rows: pd.DataFrame, reference: Arm, arms: Sequence[Arm], sparsity: float) -> str:
    mean = rows[rows["language"] == MEAN]
    each = rows[(rows["language"] != MEAN) & (rows["recipe"] != "random")]
    mean = mean[mean["recipe"] != "random"] if (mean["recipe"] != "random").any() else mean
    won, lost = (int(((each["p_holm"] < SIGNIFICANT) & (sign * each["difference"] > 0)).sum()) for sign in (1, -1))
    tail = f"{won} of {len(each)} differences by language are significant gains, {lost} significant losses"
    if mean.empty:
        return f"Against {named(reference, arms)} at {theme.level(sparsity)} sparsity {tail}."
    best = mean.sort_values("difference").iloc[-1]
    name = named((best["study"], best["method"]), arms)
    gap = theme.points(abs(best["difference"]))
    how = f"{gap} better" if best["difference"] >= 0 else f"{gap} worse"
    limits = theme.interval(best["low"], best["high"])
    return f"At {theme.level(sparsity)} sparsity {name} is {how} than {named(reference, arms)} on the zero-shot mean ({limits}); {tail}."


NARROW = 17  # characters over a panel on a phone


def inside_dots(
    contrasts: pd.DataFrame, reference: Arm, arms: Sequence[Arm], sparsity: float, layer: int, dark: bool = False
) -> Shown:
    """Separability, SNR, CKA, retrieval and recovery of each arm less those of the reference: a panel per measure."""
    rows = against(rows_of(contrasts, sparsity=sparsity), reference, arms)
    rows = rows[rows["layer"].isin([layer, -1]) & rows["measure"].isin(list(INSIDE))] if len(rows) else rows
    if rows.empty:
        return blank("No measures of these arms to compare.", "They come from kept states ([probe] in the study) and from validation scores.", dark)  # fmt: skip
    measures = [name for name in INSIDE if name in set(rows["measure"])]
    names = [arm for arm in arms if arm in set(zip(rows["study"], rows["method"], strict=True))]
    columns = min(2, len(measures))  # two fit a phone
    lines = -(-len(measures) // columns)
    titles, gap = [_panel(name) for name in measures], 0.4 / lines if lines > 1 else 0
    figure = make_subplots(
        lines, columns, subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.03, vertical_spacing=gap
    )
    figure.update_layout(
        template=theme.template(dark), height=90 + lines * (95 + 26 * len(names)), showlegend=False, margin={"t": 50}
    )
    for place, name in enumerate(measures):
        _panel_dots(
            figure, rows[rows["measure"] == name], name, names, arms, dark, (place // columns + 1, place % columns + 1)
        )
    figure.update_yaxes(range=[len(names) - 0.5, -0.5], tickvals=list(range(len(names))), ticktext=[named(arm, arms) for arm in names])  # fmt: skip
    figure.update_xaxes(nticks=4)
    figure.update_annotations(font_size=12)
    intervals = "95% intervals by paired bootstrap over seeds and languages, the probe examples as they are; recovery over seeds alone"
    note = "▲ more is better, ▼ less is better; filled: the interval excludes 0, not corrected for many looks"
    basis = f"layer {layer}, {seeds_text(int(rows['seeds'].min()))}"
    return Shown(figure, _inside_reading(rows, reference, arms, sparsity), caption(basis, intervals, note), rows)


def _panel(name: str) -> str:
    title, _, better = INSIDE[name]
    return fill(f"{title}\xa0{'▲' if better > 0 else '▼'}", NARROW).replace("\n", "<br>")


def _panel_dots(
    figure: Any,
    rows: pd.DataFrame,
    name: str,
    names: Sequence[Arm],
    arms: Sequence[Arm],
    dark: bool,
    place: tuple[int, int],
) -> None:
    factor = INSIDE[name][1]
    for row in rows.to_dict("records"):
        style = theme.method_style(row["method"], row["recipe"], dark)
        middle, low, high = (factor * row[key] for key in ("difference", "low", "high"))
        known = bool(np.isfinite(low))
        sure = known and low * high > 0
        figure.add_scatter(
            x=[middle], y=[names.index((row["study"], row["method"]))], mode="markers",
            marker={"color": style.colour, "size": 9, "symbol": style.symbol.removesuffix("-open") + ("" if sure else "-open")},
            error_x=whiskers([middle], [low], [high], color=style.colour) if known else None,
            hovertemplate=f"%{{x:.3f}} ({factor * row['value']:.3f} against {factor * row['reference']:.3f})<extra>{named((row['study'], row['method']), arms)}</extra>",
            row=place[0], col=place[1],
        )  # fmt: skip
    figure.add_vline(x=0, line={"color": theme.look(dark).text, "width": 1}, row=place[0], col=place[1])


def _inside_reading(rows: pd.DataFrame, reference: Arm, arms: Sequence[Arm], sparsity: float) -> str:
    gain = rows["measure"].map(lambda name: INSIDE[name][2]) * rows["difference"]
    sure = rows.assign(gain=gain)[(rows["low"] * rows["high"] > 0) & (gain != 0) & (rows["recipe"] != "random")]
    head = f"Inside the network at {theme.level(sparsity)}"
    if not (sure["gain"] > 0).any():
        return f"{head} no arm is surely better than {named(reference, arms)} in any of these measures."
    found = sure.assign(sign=np.sign(sure["gain"])).groupby(["study", "method"], sort=False)["sign"]
    winners = found.sum()[
        found.max() > 0
    ]  # of the arms that are better anywhere, the one with fewest measures against it
    mine = sure[[arm == winners.idxmax() for arm in zip(sure["study"], sure["method"], strict=True)]]
    ahead, behind = (
        theme.listed([INSIDE[name][0].partition(" (")[0] for name in part["measure"]])
        for part in (mine[mine["gain"] > 0], mine[mine["gain"] < 0])
    )
    worse = f", worse in {behind}" if behind else ""
    return f"{head} {named(winners.idxmax(), arms)} is better than {named(reference, arms)} in {ahead}{worse}."


def overlap_heatmap(overlap: pd.DataFrame, arms: Sequence[Arm], sparsity: float, dark: bool = False) -> Shown:
    """Arm × arm: the share of weights kept by either that both keep, with what chance would give; mean over seeds."""
    rows = rows_of(overlap, sparsity=sparsity)
    kept = set(arms)
    if len(rows):
        sides = [list(zip(rows[f"study_{side}"], rows[f"method_{side}"], strict=True)) for side in ("a", "b")]
        rows = rows.assign(a=sides[0], b=sides[1])
        rows = rows[rows["a"].isin(kept) & rows["b"].isin(kept)].reset_index(drop=True)
    if rows.empty:
        return blank("No masks of these arms to compare.", "Two methods with masks at the same level and seed have an overlap.", dark)  # fmt: skip
    means = rows.groupby(["a", "b"], as_index=False)[["jaccard", "chance"]].mean()
    cells = {frozenset((a, b)): (j, c) for a, b, j, c in means.itertuples(index=False)}
    names = [arm for arm in arms if any(arm in pair for pair in cells)]
    grid = [[cells.get(frozenset((a, b)), (np.nan, np.nan))[0] for b in names] for a in names]
    text = [[_overlap_text(cells.get(frozenset((a, b)))) for b in names] for a in names]
    labels = [named(arm, arms) for arm in names]
    figure = canvas(dark, height=160 + 48 * len(names))
    figure.add_heatmap(z=grid, x=labels, y=labels, text=text, texttemplate="%{text}", colorscale=theme.SEQUENTIAL, zmin=0, zmax=1,
                       showscale=False, hovertemplate="%{y} and %{x}: %{z:.3f}<extra></extra>")  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    best = means.loc[(means["jaccard"] - means["chance"]).idxmax()]
    reading = f"At {theme.level(sparsity)} sparsity {named(best['a'], arms)} and {named(best['b'], arms)} have most in common:"
    reading = f"{reading} {best['jaccard']:.2f} of what either keeps, where chance gives {best['chance']:.2f}."
    note = "in brackets: the overlap of random masks with the same counts per matrix"
    return Shown(
        figure,
        reading,
        caption(f"mean of {plural(rows['seed'].nunique(), 'seed')}", note),
        rows.drop(columns=["a", "b"]),
    )


def _overlap_text(pair: tuple[float, float] | None) -> str:
    return "" if pair is None else f"{pair[0]:.2f}<br>({pair[1]:.2f})"


def size_lines(frame: pd.DataFrame, arms: Sequence[Arm], split: str = "test", dark: bool = False) -> Shown:
    """Score of the zero-shot mean against the weights that are left; ringed: the arms that none dominates (M§6.1).

    `frame`: rows of `spread` of the arms' studies with `nonzeros` of each level.
    """
    kept = set(arms)
    rows = rows_of(frame, split=split)
    rows = rows[[arm in kept for arm in zip(rows["study"], rows["method"], strict=True)]] if len(rows) else rows
    rows = rows[rows["nonzeros"].notna()].reset_index(drop=True) if len(rows) else rows
    if rows.empty:
        return blank("No sizes of these arms yet.", "They come with the first finished and measured level.", dark)
    metrics = rows["metric"].unique()
    score = scored(str(metrics[0])) if len(metrics) == 1 else "Score (%)"
    figure = canvas(dark, x="Non-zero parameters (millions)", y=f"{score}, mean over zero-shot languages")
    if rows["study"].nunique() == 1:  # each study has a dense model of its own
        level_line(figure, 100 * float(rows["dense"].iloc[0]), "dense", theme.look(dark).text, "solid")
    for (study, method, recipe), group in stacked(rows, ("study", "method", "recipe")):
        group = group.sort_values("nonzeros")
        style = theme.method_style(str(method), str(recipe), dark)
        line(figure, group["nonzeros"] / 1e6, in_percent(group["pruned"]), named((study, method), arms), style,
             "%{x:.2f} M: %{y:.1f}%", error_y=whiskers(*(in_percent(group[name]) for name in ("pruned", "pruned_low", "pruned_high")), color=style.colour))  # fmt: skip
    lowest = rows["dense"] - rows["worst"]
    front = rows[degradation.pareto(np.column_stack([rows["nonzeros"], rows["pruned"], lowest]))]
    figure.add_scatter(x=front["nonzeros"] / 1e6, y=in_percent(front["pruned"]), mode="markers", name="not dominated", hoverinfo="skip",
                       marker={"symbol": "circle-open", "size": 16, "color": theme.look(dark).text, "line": {"width": 1.5}})  # fmt: skip
    who = [named(arm, arms) for arm in dict.fromkeys(zip(front["study"], front["method"], strict=True))]
    reading = f"{theme.listed(who)} {'holds' if len(who) == 1 else 'hold'} the front: fewest weights left for the mean and for the worst language."
    note = "ringed: no other arm and level has fewer weights, a better mean and a better worst language; zeros alone neither shrink a dense file nor speed up a dense kernel"
    basis = f"{count_text(rows['n'])}, {seeds_text(int(rows['seeds'].min()))}"
    return Shown(figure, reading, caption(basis, INTERVAL, note), rows)
