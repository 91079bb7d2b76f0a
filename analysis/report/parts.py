"""What a report is made of: sections with lines, figures, tables, formulas and facts, as the template prints them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from analysis.figures.base import Shown
from engine.registry import table as registry

MOST_ROWS = 60  # of the table behind a figure; the CSV of the app has all of them


@dataclass(frozen=True)
class Table:
    """Rows of text under headings; `texts` are the columns that hold corpus text of any script."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    more: str = ""
    texts: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Figure:
    """A figure as HTML with what belongs to it."""

    name: str
    title: str
    html: Any
    reading: str
    caption: str
    means: str
    table: Table


@dataclass(frozen=True)
class Entry:
    """A row of a method table: what it is, its formula as MathML, what was chosen here, where it comes from."""

    title: str
    what: str
    formula: Any
    chosen: str
    source: str


@dataclass(frozen=True)
class Section:
    """One section of the report; every kind of content is optional."""

    name: str
    title: str
    lines: Sequence[str] = ()
    warnings: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    entries: Sequence[Entry] = ()
    facts: Sequence[tuple[str, str]] = ()
    code: Sequence[str] = ()


def trusted(html: str) -> Any:
    """HTML of our own making, which the template must not escape."""
    return Markup(html)


def table(
    title: str, frame: pd.DataFrame, caption: str = "", most: int = MOST_ROWS, texts: Sequence[str] = ()
) -> Table:
    """The first rows of a frame as text; `texts` names the columns with corpus text."""
    shown = frame.head(most)
    more = f"The first {most} of {len(frame):,} rows." if len(frame) > most else ""
    rows = tuple(tuple(cell(value) for value in row) for row in shown.itertuples(index=False, name=None))
    names = tuple(map(str, frame.columns))
    return Table(title, names, rows, caption, more, frozenset(list(frame.columns).index(name) for name in texts))


def cell(value: Any) -> str:
    """A value as text: numbers short, a missing one as a dash, lists by their items."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "–" if value != value else f"{value:.4g}".replace("-", "−")
    if hasattr(value, "tolist") and not isinstance(value, str):
        value = value.tolist()
        return cell(value) if not isinstance(value, list) else ", ".join(map(cell, value))
    return ", ".join(map(cell, value)) if isinstance(value, (list, tuple)) else str(value)


def figure(name: str, title: str, shown: Shown, measures: Sequence[str] = ()) -> Figure:
    """A drawn figure as HTML without plotly.js, which the document holds once."""
    shown.figure.update_layout(autosize=True)
    config = {"displaylogo": False, "responsive": True, "toImageButtonOptions": {"format": "svg", "filename": name}}
    html = shown.figure.to_html(full_html=False, include_plotlyjs=False, config=config, div_id=f"plot-{name}")
    rows = registry("measures")
    means = " ".join(f"{rows[one].title}: {rows[one].what}" for one in measures if one in rows)
    return Figure(name, title, trusted(html), shown.reading, shown.caption, means, table("", shown.data))
