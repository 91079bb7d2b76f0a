"""What a report says of the results: scores, last safe sparsity, findings, the story's figures, kept views."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from analysis import storyboard, theme
from analysis.figures.base import metric_of, tested
from analysis.figures.drops import MEAN, SIGNIFICANT, named
from analysis.report.parts import Section, Table, figure, table
from analysis.story import Told

if TYPE_CHECKING:
    from analysis.report.document import Report


def differ(told: Told) -> str:
    """Whether the zero-shot languages differ in their drops, as one sentence; nothing where it was not tested."""
    rows = told.spread
    rows = rows[(rows["method"] == told.method) & (rows["sparsity"] == told.level) & (rows["split"] == told.split)] if len(rows) else rows  # fmt: skip
    if rows.empty or rows["p_differ"].isna().all():
        return ""
    row = rows.iloc[0]
    verdict = "The zero-shot languages differ in what they lose" if row["p_differ"] < SIGNIFICANT else "It is not shown that the zero-shot languages differ in what they lose"  # fmt: skip
    return f"{verdict} ({theme.p_value(row['p_differ'])}): {named(str(row['worst_language']))} loses most ({theme.points(row['worst'])})."


def scores(report: Report) -> Section:
    """Scores and drops of every method and language at the level that the story tells."""
    told = report.told
    rows = pd.concat([part[part["split"] == told.split] for part in (told.degradation, told.spread) if len(part)])
    rows = rows[rows["sparsity"] == told.level]
    codes = [*theme.ordered([code for code in rows["language"] if code != MEAN], rows.loc[rows["source"], "language"].tolist()), MEAN]  # fmt: skip
    found = {}
    for method, group in rows.groupby("method", sort=False):
        group = group.set_index("language")
        found[str(method)] = {code: _score(group.loc[code]) for code in codes if code in group.index}
    first = rows.drop_duplicates("language").set_index("language")
    frame = pd.DataFrame(
        {"language": [named(code).removeprefix("the ") for code in codes if code in first.index],
         "n": [int(first.loc[code, "n"]) for code in codes if code in first.index],
         "dense": [theme.percent(first.loc[code, "dense"]) for code in codes if code in first.index],
         **{method: [cells.get(code, "–") for code in codes if code in first.index] for method, cells in found.items()}}
    )  # fmt: skip
    caption = f"Score; under it the drop from dense in points, with its 95% interval; * significant at .05 ({tested(metric_of(rows))}, Holm over the whole study)."
    metric = metric_of(rows).replace("_", " ")
    safe = _safe(told)
    title = f"{metric.capitalize()} at {theme.level(told.level)} sparsity, split {told.split}"
    return Section("scores", "Results", tables=[table(title, frame, caption), *([safe] if safe else [])])


def _score(row: pd.Series) -> str:
    mark = "*" if row.get("p_holm", 1.0) < SIGNIFICANT else ""
    drop = theme.points(row["drop"]).removesuffix(" points")
    return f"{theme.percent(row['pruned'])}\n{drop}{mark} ({theme.interval(row['drop_low'], row['drop_high'])})"


def _sources(told: Told) -> list[str]:
    rows = told.degradation
    return [str(code) for code in rows.loc[rows["source"], "language"].unique()]


def _safe(told: Told) -> Table | None:
    from analysis.measures import files

    frame = files.read_study(told.store, told.study, "safe")
    frame = frame[(frame["split"] == told.split) & (frame["tolerance"] == 0.02)] if len(frame) else frame
    if frame.empty:
        return None
    wide = frame.pivot_table(index="language", columns="method", values="safe", aggfunc="first")
    codes = [
        code
        for code in [*theme.ordered([code for code in wide.index if code != MEAN], _sources(told)), MEAN]
        if code in wide.index
    ]
    wide = wide.reindex(codes).map(theme.level)
    wide.insert(0, "language", [named(code).removeprefix("the ") for code in codes])
    caption = "The largest level up to which the upper bound of the drop stays below 2 points; 0%: already the smallest level is not safe."
    return table("Last safe sparsity", wide, caption)


def story(report: Report) -> Section:
    """The figures that Present walks through."""
    return Section(
        "figures",
        "Figures",
        figures=[figure(entry.name, entry.title, shown, entry.defined(report.told)) for entry, shown in report.shown],
    )


def findings(report: Report) -> Section | None:
    """What the rules of Diagnose wrote: one line per language whose drop is significant, each statement measured."""
    told = report.told
    if told.findings.empty:
        return None
    lines = [
        _sentence("; ".join(text.rstrip(".") for text in card.sort_values("place")["text"]))
        for _, card in told.findings.groupby("language", sort=False)
    ]
    about = f"{told.method} at {theme.level(told.level)} sparsity. Languages whose drop is not significant have no line; nothing here is said to be a cause."  # fmt: skip
    return Section("findings", "Findings", [about, *lines])


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def board(report: Report) -> Section | None:
    """Views that people kept in the app."""
    saved = storyboard.read(report.told.store, report.study)
    if not saved:
        return None
    drawn = [
        figure(f"saved-{place}", slide.sentence or slide.title, slide.shown()) for place, slide in enumerate(saved)
    ]
    return Section("storyboard", "Storyboard", ["Views that were saved in the app, as they were then."], figures=drawn)
