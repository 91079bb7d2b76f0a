"""Findings as cards: the clauses that rules wrote from measured tables, each with the way to its evidence."""

from __future__ import annotations

import json

import pandas as pd
import streamlit as st

from analysis.figures import base
from analysis.figures.drops import MEAN
from pages.ui import controls, navigation, show

COLUMNS = 2
TESTED = "test"  # the split whose p values are one family, the only one that cards are written for
EVIDENCE = {"degradation": "Degradation", "flips": "Flips", "alignment": "Alignment", "diagnose": "Diagnose"}


def draw(frame: pd.DataFrame | None, degraded: pd.DataFrame, method: str, level: float, split: str) -> None:
    """The cards of one method, level and split, the largest drop first; and how many languages have none, and why."""
    tested = degraded[(degraded["method"] == method) & (degraded["sparsity"] == level) & (degraded["split"] == split)]
    rows = pd.DataFrame() if frame is None else frame
    if len(rows):
        rows = rows[(rows["method"] == method) & (rows["sparsity"] == level) & (rows["split"] == split)]
    silent(tested, rows, method, level, split)
    places = st.columns(COLUMNS)
    groups = rows.groupby("language", sort=False) if len(rows) else ()
    for number, (_, clauses) in enumerate(groups):
        with places[number % COLUMNS], st.container(border=True):
            card(clauses.sort_values("place"))


def silent(tested: pd.DataFrame, rows: pd.DataFrame, method: str, level: float, split: str) -> None:
    """What is not said, and why."""
    where = f"{show.escape(method)} at {controls.percent(level)}"
    if tested.empty:
        st.info(f"{where} has no drops on {show.escape(split)}: they need the dense run of its seed.")
        return
    if split != TESTED:
        st.info("Cards are written for the split test only, whose p values are corrected over the whole study.")
        return
    sure = rows.loc[rows["language"] != MEAN, "language"].nunique() if len(rows) else 0
    test = base.tested(base.metric_of(tested))
    rest = "; the others have no card" if sure < len(tested) else ""
    st.caption(
        f"{sure} of {len(tested)} languages change significantly under {where} ({test}, Holm over the whole study){rest}. "
        "Rules write these sentences from the measured tables; each arrow opens what it rests on."
    )
    if rows.empty:
        st.info(f"Nothing is shown to have changed under {where}: no drop or gain of any language is significant.")


def card(clauses: pd.DataFrame) -> None:
    """The first clause as a heading, every clause with its link."""
    first, *others = clauses.to_dict("records")
    st.markdown(f"**{show.escape(_sentence(first['text']))}**")
    evidence(first, "evidence")
    for clause in others:
        left, right = st.columns([3, 2], vertical_alignment="center")
        left.markdown(show.escape(_sentence(clause["text"])))
        with right:
            evidence(clause, EVIDENCE.get(clause["page"], clause["page"]))


def evidence(clause: dict[str, str], label: str) -> None:
    """The link to what a clause rests on."""
    query: dict[str, str | list[str]] = dict(json.loads(clause["query"]))
    navigation.link(clause["page"], label, **query)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
