"""Degradation in tables (M§6.1): the last safe sparsity, the methods' order, and every number of a level."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd
import streamlit as st

from analysis import theme
from analysis.figures.base import scored, test_row, tested
from analysis.figures.drops import MEAN, named
from pages.ui import controls, show

# Column of `degradation` -> heading, factor to the unit shown, format.
COLUMNS = {
    "dense": ("dense (%)", 100, "%.1f"),
    "pruned": ("pruned (%)", 100, "%.1f"),
    "drop": ("drop (points)", 100, "%.1f"),
    "drop_low": ("from", 100, "%.1f"),
    "drop_high": ("to", 100, "%.1f"),
    "p": ("p", 1, "%.2g"),
    "p_holm": ("Holm p", 1, "%.2g"),
    "relative_drop": ("relative drop (%)", 100, "%.1f"),
    "retention": ("retention (%)", 100, "%.1f"),
    "normalised_retention": ("above chance (%)", 100, "%.1f"),
    "minimum_detectable": ("detectable (points)", 100, "%.1f"),
    "drop_continued": ("drop vs trained on (points)", 100, "%.1f"),
    "did": ("beyond the source (points)", 100, "%.1f"),
    "n": ("n", 1, "%d"),
    "seeds": ("seeds", 1, "%d"),
}
RANKED = {"tau": "τ", "low": "from", "high": "to"}
MOST_ROWS = 20  # shown without scrolling
DEFINED = ("holm", "retention", "normalised_retention", "minimum_detectable_drop")


def _ordered(rows: pd.DataFrame) -> list[str]:
    codes = [code for code in rows["language"] if code != MEAN]
    sources = rows.loc[rows["source"], "language"].tolist() if "source" in rows else []
    return [*theme.ordered(codes, sources), *([MEAN] if MEAN in set(rows["language"]) else [])]


def _height(table: pd.DataFrame) -> int | Literal["content"]:
    return "content" if len(table) <= MOST_ROWS else 35 * MOST_ROWS


def safe(rows: pd.DataFrame, tolerance: float) -> None:
    """The last safe sparsity of every language (row) under every method (column), from rows of `safe`."""
    table = 100 * rows.pivot_table(index="language", columns="method", values="safe", aggfunc="first")
    table = table.reindex(_ordered(rows))
    table.index = pd.Index([named(code) for code in table.index], name="language")
    st.markdown(
        f"The largest level up to which the drop is surely below {theme.points(tolerance)}: there and at every smaller "
        "level the *upper* bound of its interval lies below. 0% means that already the smallest level is not safe."
    )
    number = st.column_config.NumberColumn(format="%g%%")
    formats = dict.fromkeys(table.columns, number)
    show.table(table.reset_index(), "degradation-safe", column_config=formats, height=_height(table))
    show.definition("last_safe_sparsity")


def ranking(rows: pd.DataFrame, level: float) -> None:
    """Whether the methods' order on the source carries over to each language, from rows of `ranking`."""
    # `source` names a language here, where other tables say whether the row is one.
    rows = rows.set_index("language").reindex(theme.ordered(rows["language"].tolist())).reset_index()
    source = theme.language_name(rows["source"].iloc[0])
    st.markdown(
        f"Kendall's τ between the order of {int(rows['methods'].max())} methods on {show.escape(source)} and on each "
        f"other language at {controls.percent(level)}: 1 is the same order, −1 the reverse; an interval across 0 says "
        "that the order may not carry over."
    )
    columns = ["language", *RANKED, "methods", "seeds"]
    number = st.column_config.NumberColumn(format="%.2f")
    shown = rows.assign(language=rows["language"].map(theme.language_name))[columns].rename(columns=RANKED)
    formats = dict.fromkeys(RANKED.values(), number)
    show.table(shown, "degradation-ranking", column_config=formats, height=_height(shown))
    show.definition("ranking_agreement")


def numbers(rows: pd.DataFrame) -> None:
    """Every number of a level, method by method and language by language, from rows of `degradation`."""
    places = {code: place for place, code in enumerate(_ordered(rows))}
    rows = rows.assign(place=rows["language"].map(places)).sort_values(["method", "place"])
    table = pd.DataFrame({"method": rows["method"], "language": rows["language"].map(theme.language_name)})
    formats: dict[str, Any] = dict.fromkeys(("method", "language"), st.column_config.TextColumn(pinned=True))
    metric = str(rows["metric"].iloc[0])
    for name, (heading, factor, form) in COLUMNS.items():
        heading = scored(metric).replace(show.title(metric), name) if name in ("dense", "pruned") else heading
        table[heading] = factor * rows[name]
        formats[heading] = st.column_config.NumberColumn(format=form)
    show.table(table, "degradation-numbers", column_config=formats)
    st.caption(
        f"{show.title(metric)}: drops against dense on the same items, over seeds, with 95% intervals. p: {tested(metric)}, "
        "the doubled median over seeds; Holm over the whole study, so that hiding a method or language changes no p. Detectable: the "
        "smallest drop that this many items show with 80% power. Above chance is blank where dense is not above it."
    )
    with st.container(horizontal=True):
        for name in (metric, test_row(metric), *DEFINED):
            show.definition(name)


def values(rows: pd.DataFrame) -> None:
    """The values of a score that has no drops: one seed, with item intervals."""
    table = rows.assign(language=rows["language"].map(theme.language_name))
    percent = st.column_config.NumberColumn(format="percent")
    names = ["method", "language", "dense", "pruned", "pruned_low", "pruned_high", "n"]
    show.table(table[names], "degradation-other-numbers", column_config=dict.fromkeys(names[2:6], percent))
