"""How results are put on a page: figures with what belongs to them, numbers with their definitions, empty states."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

import streamlit as st

from pages.ui import export, loading, navigation

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:^=&\"'])")
# Where a name is looked up: what is measured before how it is done.
KINDS = (
    "measures",
    "scores",
    "recipes",
    "criteria",
    "objectives",
    "allocations",
    "schedules",
    "tasks",
    "architectures",
)
DIRECTIONS = {"higher": "higher is better", "lower": "lower is better", "neither": "neither way is better"}


class Shown(Protocol):
    """A figure with what belongs to it (`analysis.figures.Shown`)."""

    @property
    def figure(self) -> go.Figure:
        """The Plotly figure."""

    @property
    def reading(self) -> str:
        """What it says, in one line."""

    @property
    def caption(self) -> str:
        """n, seeds, kind of interval and control."""

    @property
    def data(self) -> pd.DataFrame:
        """The table behind it."""


def escape(text: object) -> str:
    """Text from a file, an address or a user as Markdown that shows exactly that text and fetches nothing."""
    return _MARKDOWN.sub(r"\\\1", " ".join(str(text).split()))


def dark() -> bool:
    """Is the visitor's theme a dark one?"""
    return st.context.theme.type == "dark"


# -- figures ------------------------------------------------------------------------------------------------------


def figure(shown: Shown, key: str, select: bool = False, definitions: tuple[str, ...] = ()) -> Any:
    """Draw a figure with its reading above, its caption and definitions below, its data and its exports.

    `key` names the figure on its page; `definitions` the measures that it shows. With `select` the selection event
    comes back (read `event["selection"]`, and its points' `customdata`, never their index), else None.
    """
    st.markdown(f"**{escape(shown.reading)}**")
    event = st.plotly_chart(
        shown.figure, key=f"figure-{key}", theme=None, width="stretch", alt=shown.reading,
        on_select="rerun" if select else "ignore",
        config={"displaylogo": False, "responsive": True, "toImageButtonOptions": export.camera(key)},
    )  # fmt: skip
    if shown.caption:
        st.caption(escape(shown.caption))
    with st.container(horizontal=True, vertical_alignment="center"):
        for name in definitions:
            definition(name)
    _export(shown, key)
    return event if select else None


def selected(event: Any) -> list[list[Any]]:
    """The customdata of the selected points of a figure.

    Numeric customdata goes to the browser as a typed array, and comes back as a mapping from "0", "1", … to values.
    """
    found = [point.get("customdata") for point in event["selection"]["points"]] if event else []
    return [list(data.values()) if isinstance(data, Mapping) else list(data) for data in found if data is not None]


def _export(shown: Shown, key: str) -> None:
    """The table behind a figure and its downloads, made when they are asked for: a table may be larger than its figure."""
    box = st.expander("Data and export", type="compact", key=f"export-{key}", on_change="rerun")
    if not box.open:
        return
    with box:
        st.dataframe(shown.data, hide_index=True, height=min(360, 38 + 35 * len(shown.data)), key=f"data-{key}")
        st.caption(f"{len(shown.data):,} rows")
        export.table(shown.data, key)
        export.figure(shown, key)
        export.keep(shown, key, dark())


def table(frame: pd.DataFrame, key: str, **options: Any) -> None:
    """A table with its downloads."""
    st.dataframe(frame, hide_index=True, key=f"table-{key}", **options)
    export.table(frame, key)


# -- definitions --------------------------------------------------------------------------------------------------


def find(name: str) -> tuple[str, Any] | None:
    """(kind of table, row) of a name, or None for a name that no table has."""
    for kind in KINDS:
        rows = loading.table(kind)
        if name in rows:
            return kind, rows[name]
    return None


def title(name: str) -> str:
    """The title of a measure or method, or its name where no table has it."""
    found = find(name)
    return str(getattr(found[1], "title", name)) if found else name


def hint(name: str) -> str | None:
    """A definition for a tooltip, in Markdown; None for a name that no table has."""
    found = find(name)
    if found is None:
        return None
    row = found[1]
    formula = f"\n\n${row.formula}$" if getattr(row, "formula", "") else ""
    return f"{escape(getattr(row, 'what', ''))}{formula}\n\n{escape(_provenance(row))}"


def definition(name: str, label: str | None = None) -> None:
    """A popover that says what a name means, with its formula, direction and source; nothing for an unknown name."""
    found = find(name)
    if found is None:
        return
    kind, row = found
    with st.popover(label or f"What is {getattr(row, 'title', name)}?", type="tertiary"):
        entry(row)
        navigation.link("methods", "All definitions", entry=name, kind=kind)


def entry(row: Any) -> None:
    """The body of a definition: sentence, formula, unit and direction, what was chosen here, source."""
    if what := getattr(row, "what", ""):
        st.markdown(escape(what))
    if formula := getattr(row, "formula", ""):
        st.latex(formula)
    if meaning := _scale(row):
        st.markdown(escape(meaning))
    if chosen := getattr(row, "chosen", ""):
        st.markdown(f"Chosen here: {escape(chosen)}")
    st.caption(escape(_provenance(row)))


def _scale(row: Any) -> str:
    parts = [f"in {row.unit}" if getattr(row, "unit", "") else "", DIRECTIONS.get(getattr(row, "direction", ""), "")]
    low, high = getattr(row, "low", None), getattr(row, "high", None)
    if low is not None and high is not None:
        parts.append(f"from {low:g} to {high:g}")
    text = "; ".join(part for part in parts if part)
    return text[:1].upper() + text[1:] + "." if text else ""


def _provenance(row: Any) -> str:
    parts = dict.fromkeys((getattr(row, "section", ""), getattr(row, "source", "")))
    return "; ".join(part for part in parts if part not in ("", "–"))


def number(name: str, value: str, label: str | None = None, delta: str | None = None) -> None:
    """A headline number; its name opens its definition."""
    st.metric(
        escape(label or title(name)), value, delta, delta_color="off", delta_arrow="off", help=hint(name), border=True
    )


STATES: dict[str, Literal["blue", "violet", "green", "red", "gray", "orange"]] = {
    "running": "blue", "starting": "blue", "queued": "violet", "done": "green", "failed": "red", "unreadable": "red",
    "cancelled": "gray", "lost": "orange", "not begun": "gray",
}  # fmt: skip


def state(name: str, text: str | None = None) -> None:
    """The state of a run as a coloured badge that also says it in words."""
    st.badge(text or name, color=STATES.get(name, "gray"))


# -- words --------------------------------------------------------------------------------------------------------


def empty(text: str, page: str, label: str, **query: str | list[str]) -> None:
    """Say why there is nothing to show, what would provide it, and give the next click."""
    with st.container(border=True):
        st.markdown(escape(text))
        navigation.link(page, label, **query)


def problems(lines: list[str], heading: str = "") -> None:
    """A list of what is wrong, each as its own line of plain text."""
    st.error("\n".join([heading and escape(heading) + "\n", *(f"- {escape(line)}" for line in lines)]).strip())


def ago(then: float, now: float | None = None) -> str:
    """How long ago, in one unit: `3 min ago`."""
    return f"{duration(max(0.0, (time.time() if now is None else now) - then))} ago"


def duration(seconds: float) -> str:
    """A length of time in one or two units: `45 s`, `3 min`, `1 h 20 min`, `2 days`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    if 36000 <= seconds < 86400:
        return f"{seconds / 3600:.0f} h"
    if seconds < 86400:
        return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"
    days = seconds / 86400
    return f"{days:.0f} day{'' if round(days) == 1 else 's'}"


def size(count: float) -> str:
    """A number of bytes with its unit: `12.3 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
