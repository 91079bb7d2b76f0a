"""The guided tour: a handful of views of one study, each with what to look at and the way to the next.

A step is a page with its parameters and `tour=<number>` in the address, so that a tour survives a reload, can be left
at any time and can be sent as a link.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import streamlit as st

from pages.ui import link, navigation, show


@dataclass(frozen=True)
class Step:
    """One stop: where, what it is called, and what to look at there."""

    page: str
    title: str
    look: str
    query: Mapping[str, str] = field(default_factory=dict)


STEPS = (
    Step("degradation", "Who loses what", "The numbers at the top say what the chosen method costs at the chosen sparsity. Each line below is a method; grey dashes are "
         "random pruning, which every method has to beat, and the thin line is the unpruned model. Move the sparsity and watch the sentence.", {"view": "bars"}),
    Step("compare", "Is one method really better?", "Every dot is a difference from plain magnitude pruning, per language, with its interval. Filled dots are significant "
         "after correcting for all the looks; most differences that look large on a chart are not.", {"view": "scores"}),
    Step("separability", "Why: can the classes still be told apart?", "The same level seen from inside: how far the classes stand apart in each layer, and next to it what that "
         "did to the score."),
    Step("alignment", "Where: which layers moved", "Similarity of each layer with the unpruned one. The grey band is what unrelated states would give, so only what lies above it means "
         "anything.", {"view": "depth"}),
    Step("map", "On which examples", "Every point is a sentence, before and after pruning. Draw a lasso around some to read them. Distances on a map are not distances in the model."),
    Step("weights", "What is gone", "Which blocks and kinds of matrices were thinned most, and what 90% sparse means for the whole model."),
    Step("present", "Show it to others", "The same figures one per screen, with the arrow keys, or as one report file to hand round. Keep your own views under “Data and export”."),
    Step("new-study", "Try your own", "Your checkpoint, your files, your levels. Everything is checked, and its cost estimated, before anything runs."),
)  # fmt: skip


def link_to(number: int, label: str, study: str) -> None:
    """A link to a step, counted from 1."""
    step = STEPS[number - 1]
    key = {"compare": "studies", "new-study": ""}.get(step.page, "study")
    query = {**step.query, **({key: study} if key and study else {}), "tour": str(number)}
    navigation.link(step.page, label, **query)


def banner(page: str) -> None:
    """On a stop of the tour: what to look at, and the way on. Nothing elsewhere."""
    number = _here(page)
    if not number:
        return
    step = STEPS[number - 1]
    study = (st.query_params.get_all("study") or st.query_params.get_all("studies") or [""])[0]
    with st.container(border=True):
        st.markdown(f"**Tour, {number} of {len(STEPS)}: {show.escape(step.title)}**")
        st.markdown(show.escape(step.look))
        with st.container(horizontal=True):
            if number > 1:
                link_to(number - 1, "Back", study)
            if number < len(STEPS):
                link_to(number + 1, f"Next: {STEPS[number].title}", study)
            navigation.link("home", "Leave the tour")


def _here(page: str) -> int:
    """The step that the address asks for, 0 for none; a step of another page is reported."""
    raw = st.query_params.get("tour")
    if raw is None:
        return 0

    def decode(given: list[str]) -> str:
        if not given[-1].isdigit() or not 1 <= int(given[-1]) <= len(STEPS) or STEPS[int(given[-1]) - 1].page != page:
            raise ValueError("is no stop of the tour on this page")
        return given[-1]

    value = st.session_state[link.settle("tour", decode, lambda found: isinstance(found, str), "")]
    if value:
        link.record("tour", value, [value])
    return int(value or 0)
