"""Flips in tables (M§6.9): items as rows and languages as columns, one item in every language, counts, identified items."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from analysis import theme
from analysis.figures.flips import MARKS
from pages.ui import controls, export, link, show

FILTERS = {
    "broken": "broken somewhere",
    "alone": "broken in one language only",
    "everywhere": "broken in every language shown",
    "repaired": "repaired somewhere",
    "changed": "changed somewhere",
    "all": "all",
}
LEGEND = "✓ kept right, ✗ broken, ↑ repaired, · kept wrong"
_SEEN = "flips.seen-now"
PERCENT = {
    "kept_right": "kept right", "broken": "broken", "broken_here": "broken only here", "repaired": "repaired", "kept_wrong": "kept wrong",
    "pie": "identified", "rerun": "flips of a rerun",
}  # fmt: skip


def filtered(rows: pd.DataFrame, wanted: str) -> pd.DataFrame:
    """The rows of all items that are as `wanted` (a key of `FILTERS`) in the languages of the table."""
    is_flip = pd.DataFrame({"id": rows["id"], **{name: rows["flip"] == name for name in ("broken", "repaired")}})
    counts = is_flip.groupby("id", sort=False).sum()  # not one call per item: a study has hundreds
    broken, repaired, total = counts["broken"], counts["repaired"], rows.groupby("id", sort=False).size()
    kept = {
        "broken": broken > 0,
        "alone": broken == 1,
        "everywhere": broken == total,
        "repaired": repaired > 0,
        "changed": broken + repaired > 0,
        "all": total > 0,
    }[wanted]
    return rows[rows["id"].isin(kept[kept].index)]


def items(rows: pd.DataFrame, languages: list[str], texts: pd.DataFrame | None) -> str:
    """The table of items, those that most languages break first; returns the item chosen in it or in the control."""
    grid = rows.pivot_table(index="id", columns="language", values="flip", aggfunc="first").reindex(columns=languages)
    order = (grid == "broken").sum(axis=1).sort_values(ascending=False, kind="stable").index
    table = grid.loc[order].replace(MARKS).fillna("")
    table.columns = list(table.columns)
    if "label" in rows:
        table.insert(0, "label", rows.drop_duplicates("id").set_index("id")["label"].reindex(table.index))
    if texts is not None and "text" in texts:
        first = texts[texts["language"] == languages[0]].drop_duplicates("id").set_index("id")["text"]
        table.insert(0, "text", first.reindex(table.index))
    table = table.reset_index()
    st.caption(f"{len(table)} items. {LEGEND}. Click a row for the item in every language.")
    formats: dict[str, Any] = {
        code: st.column_config.TextColumn(code, width=38, help=theme.language_name(code)) for code in languages
    }
    formats |= {
        "text": st.column_config.TextColumn(f"text ({languages[0]})", width="medium"),
        "id": st.column_config.TextColumn(width="small"),
    }
    event = st.dataframe(
        table,
        hide_index=True,
        key="table-flips-items",
        column_config=formats,
        height=420,
        on_select="rerun",
        selection_mode="single-row",
    )
    export.table(table, "flips-items")
    names = table["id"].tolist()
    _follow(event, names)
    return controls.choose("item", "Item", names)


def _follow(event: Any, names: list[str]) -> None:
    """Let the control stand on the row that has just been clicked."""
    rows = list(event["selection"]["rows"]) if event else []
    clicked = names[rows[0]] if rows and rows[0] < len(names) else None
    if clicked != st.session_state.get(_SEEN):
        st.session_state[_SEEN] = clicked
        if clicked is not None:
            st.session_state[link.key("item")] = clicked


def item(frame: pd.DataFrame, chosen: str, codes: list[str], texts: pd.DataFrame | None) -> None:
    """One item in every language: text, both answers, their confidence and the margin that was lost."""
    rows = (
        frame[frame["id"] == chosen]
        .set_index("language")
        .reindex([code for code in codes if code in set(frame.loc[frame["id"] == chosen, "language"])])
    )
    rows = rows.reset_index()
    if texts is not None:
        wanted = [name for name in ("text", "pair") if name in texts]
        rows = rows.merge(texts.loc[texts["id"] == chosen, ["language", *wanted]], on="language", how="left")
    rows = rows.assign(
        language=rows["language"].map(theme.language_name), flip=[f"{MARKS[name]} {name}" for name in rows["flip"]]
    )
    order = [
        "language",
        "text",
        "pair",
        "flip",
        "label",
        "dense",
        "pruned",
        "dense_confidence",
        "pruned_confidence",
        "margin_lost",
    ]
    percent = st.column_config.NumberColumn(format="percent", width="small")
    formats = {
        "dense_confidence": percent,
        "pruned_confidence": percent,
        "margin_lost": st.column_config.NumberColumn(format="%.2f", width="small"),
    }
    show.table(rows[[name for name in order if name in rows]], "flips-item", column_config=formats)


def counts(rows: pd.DataFrame) -> None:
    """The shares of all outcomes, language by language."""
    codes = theme.ordered(rows["language"].tolist(), rows.loc[rows["source"], "language"].tolist())
    rows = rows.set_index("language").reindex(codes).reset_index()
    table = pd.DataFrame({"language": rows["language"].map(theme.language_name), "n": rows["n"]})
    formats = {}
    for name, heading in PERCENT.items():
        heading = f"{heading} (%)"
        table[heading] = 100 * rows[name]
        formats[heading] = st.column_config.NumberColumn(format="%.1f", help=show.hint(name))
    show.table(table, "flips-counts", column_config=formats)


def exemplars(rows: pd.DataFrame, texts: pd.DataFrame | None) -> None:
    """The identified items with their modal answers and their texts."""
    seeds = int(rows["seeds"].min())
    st.markdown(
        f"**{rows['id'].nunique()} items in {rows['language'].nunique()} languages have another most frequent answer over {seeds} seeds than before pruning.**"
    )
    if seeds < 5:
        st.caption(
            f"With {seeds} seeds a mode rests on few answers; ties count as no mode, so that none of these is one."
        )
    rows = rows.sort_values(["languages", "id"], ascending=[False, True], kind="stable")
    if texts is not None:
        wanted = [name for name in ("text", "pair") if name in texts]
        rows = rows.merge(texts[["language", "id", *wanted]], on=["language", "id"], how="left")
    rows = rows.assign(language=rows["language"].map(theme.language_name))
    order = ["language", "text", "pair", "label", "dense", "pruned", "languages", "id"]
    formats = {
        "text": st.column_config.TextColumn(width="large"),
        "languages": st.column_config.NumberColumn("in languages"),
    }
    show.table(rows[[name for name in order if name in rows]], "flips-exemplars", column_config=formats, height=520)
    show.definition("pie")
