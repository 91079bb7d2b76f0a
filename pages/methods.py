"""Methods: what every method and every number means, straight from the tables that the engine runs on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from pages.ui import controls, loading, navigation, shell, show

KINDS = {
    "recipes": ("Recipes", "Named compositions of criterion, schedule and objective: what a study file asks for."),
    "criteria": ("Criteria", "Which weights matter: a score per weight, and the smallest go."),
    "objectives": ("Objectives", "What is added to the task loss while the pruned network is trained."),
    "allocations": ("Allocations", "How a sparsity is shared between the matrices."),
    "schedules": ("Schedules", "How the sparsity grows with the updates."),
    "measures": ("Measures", "What is read off the pruned networks."),
    "scores": ("Task scores", "How well a task is done."),
    "tasks": ("Tasks", "Data, languages and scores."),
    "architectures": (
        "Architectures",
        "Model families whose matrices are known by name; any stack of blocks with linear maps works.",
    ),
    "languages": ("Languages", "Names, families, scripts and how much of each there was to pretrain on."),
}
ALL = "all"


def _tables() -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for kind in KINDS:
        if kind != "languages":
            found[kind] = loading.table(kind)
    return found


def matches(row: Any, words: list[str]) -> bool:
    """Does a row hold every word, in its name, title, sentence or source?"""
    text = " ".join(
        str(getattr(row, field, ""))
        for field in ("name", "title", "what", "source", "section", "chosen", "metric", "languages")
    ).casefold()
    return all(word in text for word in words)


def draw(kind: str, row: Any, opened: bool) -> None:
    """One row: its definition and what its table knows beside, made when it is opened: there are more than a hundred."""
    box = st.expander(_heading(row), expanded=opened, key=f"{kind}.{row.name}.{opened}", on_change="rerun")
    if not box.open:
        return
    with box:
        if hasattr(row, "what"):
            show.entry(row)
        details = {"tasks": _task, "recipes": _recipe, "architectures": _architecture}.get(kind)
        if details:
            details(row)
        _parameters(row)
        if page := getattr(row, "page", ""):
            _page(page)


def _heading(row: Any) -> str:
    title = getattr(row, "title", "")
    return f"**{show.escape(title)}** — `{row.name}`" if title and title != row.name else f"`{row.name}`"


def _page(name: str) -> None:
    for place in navigation.PLACES:
        if name in (place.key, place.title) or name.casefold() == place.title.casefold():
            navigation.link(place.key, f"Shown on {place.title}")


def _parameters(row: Any) -> None:
    parameters = getattr(row, "parameters", ())
    if parameters:
        rows = [
            {
                "setting": one.name,
                "default": str(one.default),
                "allowed": ", ".join(map(str, one.choices)) or one.range_text(),
                "what": one.what,
            }
            for one in parameters
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True)
    if needs := getattr(row, "needs", ()):
        st.caption(f"Needs {show.escape(', '.join(sorted(needs)).replace('_', ' '))}.")


def _recipe(row: Any) -> None:
    parts = {name: row.options.get(name) for name in ("criterion", "objective", "schedule", "path", "start")}
    if parts["criterion"] is None:
        st.caption("Runs in every study, asked for or not; it prunes nothing.")
        return
    with st.container(horizontal=True):
        for kind, part in (
            ("criteria", parts["criterion"]),
            ("objectives", parts["objective"]),
            ("schedules", parts["schedule"]),
        ):
            navigation.link(
                "methods", f"{kind[:-1] if kind != 'criteria' else 'criterion'}: {part}", kind=kind, entry=str(part)
            )


def _task(row: Any) -> None:
    tried = (
        "has been run from its source with this program"
        if row.tried
        else "has not been run from its source yet: the hub was out of reach"
    )
    facts = {
        "type": row.type,
        "score": row.metric,
        "trained on": ", ".join(row.source_languages),
        "languages": ", ".join(row.languages),
        "parallel by id": "yes" if row.parallel else "no",
        "hub": row.dataset or "bundled",
        "licence": row.licence,
        "tried": tried,
    }
    st.table(
        pd.DataFrame({"what": facts.keys(), "value": facts.values()}),
        border="horizontal",
        hide_index=True,
        hide_header=True,
    )


def _architecture(row: Any) -> None:
    st.markdown(f"Blocks under `{row.blocks}`; matrices of a block:")
    st.dataframe(pd.DataFrame({"kind": row.maps.keys(), "module": row.maps.values()}), hide_index=True)


def _languages(words: list[str]) -> None:
    from engine.tasks.languages import LANGUAGES

    rows = [
        {
            "code": row.code,
            "name": row.name,
            "family": row.family,
            "script": row.script,
            "direction": row.direction,
            "GiB in CC-100": row.resource,
        }
        for row in LANGUAGES.values()
        if all(word in f"{row.code} {row.name} {row.family} {row.script}".casefold() for word in words)
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, height=420)


def section(kind: str, rows: list[Any], entry: str, words: list[str]) -> None:
    """One table of the glossary."""
    title, what = KINDS[kind]
    st.subheader(title, anchor=kind)
    st.caption(what)
    if kind == "languages":
        _languages(words)
    for row in rows:
        draw(kind, row, opened=row.name == entry or len(rows) == 1)


with shell.page("methods"):
    tables = _tables()
    kinds, search, entries = st.columns([2, 3, 2])
    with kinds:
        chosen = controls.choose(
            "kind", "Table", [ALL, *KINDS], ALL, lambda kind: "All tables" if kind == ALL else KINDS[kind][0]
        )
    with search:
        words = controls.text("search", "Search", "a name, a word, an author, an arXiv number").casefold().split()
    names = list(dict.fromkeys(name for rows in tables.values() for name in rows))
    with entries:
        entry = controls.choose("entry", "Entry", ["", *names], "", lambda name: name or "all entries", strict=True)
    shown = 0
    for kind in KINDS if chosen == ALL else [chosen]:
        rows = [row for row in tables.get(kind, {}).values() if matches(row, words) and entry in ("", row.name)]
        if rows or (kind == "languages" and not entry):
            section(kind, rows, entry, words)
            shown += len(rows)
    if not shown and chosen != "languages":
        st.info("Nothing here has all these words. Take one away, or look in all tables.")
