"""The claims board: what the papers say, and what came out of it on the bundled model (M§7).

The outcome is a file that ships with the bundled study (`make claims` writes it); nothing is computed here.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd
import streamlit as st

from analysis import theme
from pages.ui import loading, navigation, show

# Colour and word: nobody has to tell green from red.
MARKS = {
    "holds": ":green-badge[holds]",
    "does not hold": ":red-badge[does not hold]",
    "undecided": ":gray-badge[undecided]",
    "not tested": ":gray-badge[not tested]",
}
SAID = {  # of one, of several
    "holds": ("holds", "hold"),
    "does not hold": ("does not hold", "do not hold"),
    "undecided": ("is undecided", "are undecided"),
    "not tested": ("was not tested", "were not tested"),
}
STUDY = "bundled-claims"
CERTAIN = 0.05


def board() -> None:
    """Headline, then one table per paper, of two columns so that a phone shows it; every row leads to its view."""
    st.subheader("What the papers claim, tested here", anchor=False)
    found = loading.claims()
    if found is None:
        show.empty(
            "No outcome is stored with the bundled study. Run `make claims` in a terminal to test the claims.",
            "methods",
            "What is claimed",
        )
        return
    counts = Counter(row["verdict"] for row in found["rows"])
    said = ", ".join(f"{counts[verdict]} {SAID[verdict][counts[verdict] > 1]}" for verdict in MARKS if counts[verdict])
    st.markdown(f"Of {len(found['rows'])} directions {said}. {_remain(found['rows'])}")
    papers = list(dict.fromkeys(row["paper"] for row in found["rows"]))
    for tab, paper in zip(st.tabs([paper.partition(" (")[0] for paper in papers]), papers, strict=True):
        with tab:
            _table([row for row in found["rows"] if row["paper"] == paper])
    few = (
        "With fewer than 5 seeds, intervals that resample them cover .88–.93 instead of .95. "
        if len(found["seeds"]) < 5
        else ""
    )
    st.caption(
        f"Tested on {found['date']} with {len(found['seeds'])} seeds, {found['items']} items in each of {len(found['languages'])} languages "
        f"(digest {found['digest']}). An effect is positive where the direction holds; the verdict is what its 95% interval says, one direction "
        f"at a time. Holm p: that of the interval, adjusted over all {sum(row['p'] is not None for row in found['rows'])} tested directions. {few}{found['toy']}"
    )


def _remain(rows: list[dict[str, Any]]) -> str:
    """How many verdicts are left when all directions are looked at together."""
    decided = [row for row in rows if row["verdict"] in ("holds", "does not hold")]
    left = sum(row["p_holm"] < CERTAIN for row in decided)
    return f"Each is looked at by itself; corrected for their number (Holm), {left} of the {len(decided)} decided ones stand."


def _table(rows: list[dict[str, Any]]) -> None:
    study = STUDY if STUDY in loading.studies() else ""
    table = pd.DataFrame(
        [
            {
                "Direction": f"{show.escape(row['what'])} :gray[Against {show.escape(row['control'])}.] {_link(row, study)}",
                "Verdict, effect (95%)": f"{MARKS[row['verdict']]} {show.escape(row['text'])}{_adjusted(row)}",
            }
            for row in rows
        ]
    )
    st.table(table.set_index("Direction"), border="horizontal")
    if not study:
        st.caption(
            "The runs behind it are not in this store, so that the links open the pages only. `make claims` in a terminal makes them "
            "(about an hour on two cores); the links then open the arm and level of their row, and offer to measure it at the first visit."
        )


def _adjusted(row: dict[str, Any]) -> str:
    return "" if row["p_holm"] is None else f" :gray[Holm {show.escape(theme.p_value(row['p_holm']))}]"


def _link(row: dict[str, Any], study: str) -> str:
    """The page that shows the row: its own arm and level where the runs are in the store."""
    return f"[{navigation.place(row['view']).title}]({row['view']}{_query(row, study) if study else ''})"


def _query(row: dict[str, Any], study: str) -> str:
    """The parameters of the row's view. Compare shows what small models have left, whose levels are not those of masks."""
    if row["view"] != "compare":
        return f"?study={study}&method={row['arm']}&level={row['level']:g}"
    arms = "".join(f"&arms={study}/{name}" for name in (row["arm"], row["other"]))
    return f"?studies={study}{arms}&reference={study}/{row['other']}&view=size"
