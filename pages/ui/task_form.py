"""The task of a study as form fields: a row of the tasks table, one's own files, or a hub dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from engine.config import TASK_TYPES
from engine.tasks.types import task_type
from pages.ui import controls, drafts, form, loading, show, uploads

CUSTOM = "custom"
FILES, UPLOAD, HUB = "files on this machine", "files to upload", "a Hugging Face dataset"
FILE_KEYS = ("train", "validation", "test")
HUB_KEYS = ("dataset", "config", "revision", "split")
OWN = ("type", *FILE_KEYS, "format", *HUB_KEYS, "columns", "parallel")


def edit(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Draw the section; returns it without keys that stand on their default."""
    rows = loading.table("tasks")
    names = [CUSTOM, *rows]  # first, because the list of tasks is long
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
    left, right = st.columns(2)
    kinds = list(TASK_TYPES)
    now = values.get("type", kinds[0])
    kind = left.selectbox(
        "Type",
        kinds,
        kinds.index(now) if now in kinds else 0,
        help=form.schema("task")["type"]["description"],
        key=f"{key}.task.type",
    )
    sources = [FILES, UPLOAD, HUB]
    source = right.selectbox("Data from", sources, sources.index(_source(values)), key=f"{key}.task.source")
    result = {**values, "type": kind}
    if source == UPLOAD:
        result |= _upload(key)  # whose languages are those of the files
    else:
        result = form.fields("task", result, key, ["source_languages", "languages"])
    _needed(kind)
    dropped, names = (FILE_KEYS, list(HUB_KEYS)) if source == HUB else (HUB_KEYS, [*FILE_KEYS, "format"])
    result = {name: value for name, value in result.items() if name not in dropped}
    if source == UPLOAD:
        return form.fields("task", result, key, ["columns", "parallel"])
    if source == FILES:
        st.caption(
            "{language} in a path stands for each language's code. Relative paths start from this server's folder."
        )
    result = form.fields("task", result, key, names)
    for name in FILE_KEYS:
        if name in result:
            result[name] = absolute(result[name])
    return form.fields("task", result, key, ["columns", "parallel"])


def _source(values: Mapping[str, Any]) -> str:
    if values.get("dataset"):
        return HUB
    kept = str(loading.store() / ".uploads")
    return UPLOAD if str(values.get("test", "")).startswith(kept) else FILES


def _needed(kind: str) -> None:
    """What columns a type of task reads."""
    try:
        columns = task_type(kind).columns
    except (ValueError, KeyError, ImportError):
        return
    st.caption(
        show.escape(f"Columns needed: {', '.join(columns)}. A column id makes items comparable between languages.")
    )


def _upload(key: str) -> dict[str, Any]:
    """The files that were uploaded, checked, as keys of the task; what is wrong stands below the field."""
    name = drafts.fresh_name(st.session_state.get("new-study.text-now", ""))
    given = st.file_uploader(
        "Data files", accept_multiple_files=True, key=f"{key}.task.upload", disabled=loading.readonly(),
        help="Called train.en.tsv, test.en.tsv, test.de.tsv and so on; TSV, CSV, JSONL or Parquet, at most 50 MB each.",
    )  # fmt: skip
    found = uploads.keep(name, given or [])
    if found.problems:
        show.problems(found.problems, "Not taken:")
    if not found.paths:
        st.caption(
            "Files are kept under the store and read from there. Their names say which split and language they are."
        )
        return {}
    with st.container(horizontal=True, vertical_alignment="center"):
        parts = [f"{split}: {', '.join(codes)}" for split, codes in found.languages.items()]
        st.caption(show.escape("Here: " + "; ".join(parts)))
        if st.button("Take them away", key=f"{key}.task.clear", type="tertiary", disabled=loading.readonly()):
            uploads.clear(name)
            st.rerun()
    sources = found.languages.get("train", [])
    return {
        **found.paths,
        "source_languages": sources,
        "languages": sorted({*sources, *found.languages.get("test", [])}),
    }


def absolute(paths: str | list[str]) -> str | list[str]:
    """Paths as the study file needs them: it will lie in the store, and what is relative here would be lost there."""
    parts = paths if isinstance(paths, list) else [part.strip() for part in paths.split(",") if part.strip()]
    found = [str(Path(part).expanduser().absolute()) for part in parts]
    return found[0] if len(found) == 1 else found
