"""The task of a study as form fields: a row of the tasks table, one's own files, or a hub dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from pages.ui import controls, form, loading, show

CUSTOM = "custom"
FILES, HUB = "files on this machine", "a Hugging Face dataset"
FILE_KEYS = ("train", "validation", "test")
HUB_KEYS = ("dataset", "config", "revision", "split")
OWN = ("type", *FILE_KEYS, "format", *HUB_KEYS, "columns", "parallel")


def edit(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Draw the section; returns it without keys that stand on their default."""
    rows = loading.table("tasks")
    names = [*rows, CUSTOM]
    now = values.get("name", "bundled-intent")
    labels = {name: row.title for name, row in rows.items()} | {CUSTOM: "Your own data"}
    chosen = st.selectbox(
        "Task", names, names.index(now) if now in names else 0, lambda name: labels[name], key=f"{key}.task.name"
    )
    result = {name: value for name, value in values.items() if name != "name"}
    result = {"name": chosen, **(_own(result, key) if chosen == CUSTOM else _row(rows[chosen], result, key))}
    with st.expander("Longest input and size caps"):
        return form.fields("task", result, key, ["max_length", "limits"])


def _row(row: Any, values: Mapping[str, Any], key: str) -> dict[str, Any]:
    untried = "" if row.tried else " Its data comes from the hub and this program has not been run on it yet."
    st.caption(
        show.escape(f"{row.what} {len(row.languages)} languages, {row.metric}; {row.licence}; {row.source}.{untried}")
    )
    result = {name: value for name, value in values.items() if name not in (*OWN, "languages", "source_languages")}
    for name, usual in (("source_languages", row.source_languages), ("languages", row.languages)):
        start = [code for code in values.get(name) or usual if code in row.languages]
        codes = st.multiselect(
            form.label(name), row.languages, start, controls.language_label, help=form.schema("task")[name]["description"], wrap=True,
            key=f"{key}.task.{row.name}.{name}",
        )  # fmt: skip
        if tuple(codes) != tuple(usual):
            result[name] = list(codes)
    return result


def _own(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    types = loading.table("tasks")
    kinds = list(dict.fromkeys(row.type for row in types.values()))
    left, right = st.columns(2)
    now = values.get("type", kinds[0])
    kind = left.selectbox(
        "Type",
        kinds,
        kinds.index(now) if now in kinds else 0,
        help=form.schema("task")["type"]["description"],
        key=f"{key}.task.type",
    )
    source = right.selectbox("Data from", [FILES, HUB], int(bool(values.get("dataset"))), key=f"{key}.task.source")
    result = form.fields("task", {**values, "type": kind}, key, ["source_languages", "languages"])
    dropped, names = (HUB_KEYS, [*FILE_KEYS, "format"]) if source == FILES else (FILE_KEYS, list(HUB_KEYS))
    result = {name: value for name, value in result.items() if name not in dropped}
    if source == FILES:
        st.caption(
            "{language} in a path stands for each language's code. Relative paths start from this server's folder."
        )
    result = form.fields("task", result, key, names)
    for name in FILE_KEYS:
        if name in result:
            result[name] = absolute(result[name])
    return form.fields("task", result, key, ["columns"], 1)


def absolute(paths: str | list[str]) -> str | list[str]:
    """Paths as the study file needs them: it will lie in the store, and what is relative here would be lost there."""
    parts = paths if isinstance(paths, list) else [part.strip() for part in paths.split(",") if part.strip()]
    found = [str(Path(part).expanduser().absolute()) for part in parts]
    return found[0] if len(found) == 1 else found
