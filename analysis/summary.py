"""The terminal summary of a study: every language's score and drop at each method's highest level, and one sentence.

What `python -m analysis summary` prints, and what a first look at a finished study needs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis import tables, theme
from analysis.figures.base import scored
from analysis.items import Items, collect
from analysis.measures import drops, files
from analysis.measures.plan import Study
from engine.record import RecordError

WIDE = 240  # columns where the output is no terminal: a file is not cut at 80
ALPHA = 0.05


def show(store: Path, name: str, split: str = "test", console: Console | None = None) -> list[str]:
    """Print the summary of one split; return one line per broken run or level, which is left out.

    An unknown study or split raises `RecordError` with the choices.
    """
    tables.study_names(store, name)
    study = Study.read(store, name)
    splits = list(
        dict.fromkeys(part for _, config, _ in study.runs.values() for part in config.get("splits", ["test"]))
    )
    if splits and split not in splits:
        raise RecordError(f"split: must be one of {', '.join(splits)}; got {split!r}")
    console = console or Console(width=None if sys.stdout.isatty() else WIDE)
    items = collect(store, name, split, [])
    degraded, averaged = _frames(study, items)
    for line in _lines(study, items, degraded, averaged):
        console.print(line, highlight=False)
    return study.problems


def _frames(study: Study, items: Items) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The stored tables where they are of this very state of the study, else computed now."""
    folder, key = files.of_study(study.store, study.name), study.whole_key()
    if files.stored(folder, "degradation", key) and files.stored(folder, "spread", key):
        found = {name: files.read(folder, name) for name in ("degradation", "spread")}
    else:
        found = drops.frames(*drops.resampled([items]))
    degraded, averaged = (
        frame[frame["split"] == items.split] if len(frame) else frame
        for frame in (found["degradation"], found["spread"])
    )
    return _highest(degraded), _highest(averaged)


def _highest(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["sparsity"] == frame.groupby("method")["sparsity"].transform("max")] if len(frame) else frame


def _lines(study: Study, items: Items, degraded: pd.DataFrame, averaged: pd.DataFrame) -> Iterator[Table | Text]:
    if degraded.empty:
        yield Text(f"{study.name}: no method has a finished level yet.")
        return
    yield _table(study, items, pd.concat([degraded, averaged], ignore_index=True) if len(averaged) else degraded)
    yield Text(_reading(averaged) if len(averaged) else "There is no zero-shot language in this study.")
    yield Text(
        "Drops are dense − pruned in points with 95% intervals (paired bootstrap over seeds and items; pointwise, not corrected for many "
        "looks). * significant at .05 after Holm's correction over the whole study."
    )
    notes = dict.fromkeys(note for _, config, _ in study.runs.values() for note in config.get("notes", []))
    for note in [*items.notes, *_merged(list(notes), items)]:
        yield Text(f"Note: {note}")


_OF_LANGUAGE = re.compile(r"(?P<split>\w+) (?P<code>\S+): (?P<what>.+)")  # how notes on the data of one language begin


def _merged(notes: list[str], items: Items) -> list[str]:
    """The notes that bear on this split, one line for what holds in several languages alike."""
    alike: dict[tuple[str, str], list[str]] = {}
    rest = []
    for note in notes:
        if (found := _OF_LANGUAGE.fullmatch(note)) and found["code"] in items.languages:
            alike.setdefault((found["split"], found["what"]), []).append(found["code"])
        else:
            rest.append(note)
    lines = []
    for (split, what), codes in alike.items():
        if split in ("train", "validation", items.split):
            lines.append(
                f"{split}, {'every language' if len(codes) == len(items.languages) else ', '.join(codes)}: {what}"
            )
    return lines + rest


def _table(study: Study, items: Items, rows: pd.DataFrame) -> Table:
    metric = scored(items.metric).removesuffix(")").replace("(", "in ")
    seeds = int(rows["seeds"].min())
    table = Table(title=f"{study.name}, {items.split}: {metric}, {seeds} seed{'' if seeds == 1 else 's'}")
    table.add_column("language")
    table.add_column("n", justify="right")
    table.add_column("dense", justify="right")
    table.add_column("dense, trained on", justify="right")
    methods = list(dict.fromkeys(rows["method"]))
    for method in methods:
        level = rows.loc[rows["method"] == method, "sparsity"].iloc[0]
        table.add_column(Text(f"{method} {theme.level(float(level))}\nscore  drop"), justify="right")
    last = rows[rows["step"] == rows["step"].max()].drop_duplicates("language").set_index("language")
    for code in [*theme.ordered(items.languages, items.sources), drops.MEAN]:
        own = rows[rows["language"] == code].set_index("method")
        if own.empty:
            continue
        first = own.iloc[0]
        title = Text(
            code if code == drops.MEAN else theme.language_name(code) + (" (source)" if code in items.sources else "")
        )
        table.add_row(title, str(int(first["n"])), theme.percent(first["dense"]), theme.percent(last.loc[code, "continued"]),
                      *(_cell(own.loc[method]) if method in own.index else Text("–") for method in methods), end_section=code in items.sources)  # fmt: skip
    return table


def _cell(row: pd.Series) -> Text:
    mark = "*" if row.get("p_holm", 1.0) < ALPHA else " "
    return Text(
        f"{theme.percent(row['pruned'])}  {theme.points(row['drop']).removesuffix(' points')}{mark} ({theme.interval(row['drop_low'], row['drop_high'])})"
    )


def _reading(averaged: pd.DataFrame) -> str:
    """The method that loses least at the highest level of the study, and whether its languages differ."""
    top = averaged[averaged["sparsity"] == averaged["sparsity"].max()]
    contenders = top[top["recipe"] != "random"]
    best = (contenders if len(contenders) else top).sort_values("drop").iloc[0]
    text = f"At {theme.level(best['sparsity'])} sparsity {best['method']} loses least: {theme.points(best['drop'])}"
    text = f"{text} ({theme.interval(best['drop_low'], best['drop_high'])}) on the mean of the zero-shot languages"
    text = f"{text}, {theme.points(best['source_drop'])} on the source."
    worst = f"{theme.language_name(str(best['worst_language']))} loses most ({theme.points(best['worst'])})"
    if best["p_differ"] != best["p_differ"]:
        return f"{text} {worst}."
    if best["p_differ"] < ALPHA:
        return f"{text} Languages differ ({theme.p_value(best['p_differ'])}): {worst}."
    equal = f"equal drops would spread by {theme.points(best['range_equal'])} too, they spread by {theme.points(best['range'])}"
    return f"{text} It is not shown that languages differ ({theme.p_value(best['p_differ'])}; {equal})."
