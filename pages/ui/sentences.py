"""The sentences behind selected points of a map, with both models' answers and how far each example moved (M§6.5)."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from analysis import theme
from engine import record
from pages.ui import loading, show


def selected(event: Any) -> pd.DataFrame:
    """The points inside a lasso or box: id, language, label, state."""
    return pd.DataFrame([data[:4] for data in show.selected(event)], columns=["id", "language", "label", "state"])


def draw(study: str, run: str, folder: str, seed: int, rows: pd.DataFrame, points: pd.DataFrame) -> None:
    """The texts of the selected examples with both models' answers and how far each example moved."""
    st.subheader("The sentences behind the points", anchor=False)
    if points.empty:
        st.caption("Draw a lasso or a box around points of the map, or click one: their sentences are listed here.")
        return
    table = (
        points.groupby(["language", "id", "label"], sort=False)["state"]
        .agg(lambda states: ", ".join(sorted(set(states))))
        .reset_index()
    )
    moved = rows.drop_duplicates(["language", "id"])[["language", "id", "displacement", "cosine_distance"]]
    table = table.merge(moved, on=["language", "id"], how="left")
    table = _with_texts(table, study, run, folder, seed)
    st.caption(f"{len(points)} points, {len(table)} examples")
    table = table.assign(language=table["language"].map(theme.language_name))
    number = st.column_config.NumberColumn(format="%.3f", width="small")
    formats = {
        "displacement": number,
        "cosine_distance": number,
        "text": st.column_config.TextColumn("text", width="large"),
    }
    show.table(table, "map-sentences", column_config=formats)


def _with_texts(table: pd.DataFrame, study: str, run: str, folder: str, seed: int) -> pd.DataFrame:
    pruned = loading.details(study, run, folder)
    dense = loading.details(study, f"dense-s{seed}", record.level_name(0.0))
    keys = ["language", "id"]
    if pruned is not None:
        texts = [name for name in ("text", "pair", "predicted") if name in pruned]
        table = table.merge(pruned[[*keys, *texts]].rename(columns={"predicted": "pruned says"}), on=keys, how="left")
    if dense is not None and "predicted" in dense:
        table = table.merge(
            dense[[*keys, "predicted"]].rename(columns={"predicted": "dense says"}), on=keys, how="left"
        )
    order = [
        "language",
        "text",
        "pair",
        "label",
        "dense says",
        "pruned says",
        "state",
        "displacement",
        "cosine_distance",
        "id",
    ]
    return table[[name for name in order if name in table]]
