"""What Present walks through: a study's own story, or the views that were kept; one figure per screen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import streamlit as st

from analysis import storyboard
from pages.ui import link, loading, show

OWN, KEPT = "story", "kept"
DECKS = {OWN: "The study's own story", KEPT: "Kept views"}
LARGE, HEIGHT = 19, 540


@dataclass(frozen=True)
class Screen:
    """One figure with its sentence; `page` and `query` open the view that shows it with its controls."""

    title: str
    page: str
    query: dict[str, Any]
    make: Callable[[bool], Any]
    sentence: str = ""


def screens(study: str, deck: str) -> list[Screen]:
    """The screens of a deck in their order; nothing is drawn yet."""
    if deck == KEPT:
        return [_kept(slide) for slide in storyboard.read(loading.store(), study)]
    from analysis import story

    told = loading.told(study)
    return [
        Screen(entry.title, entry.page, dict(entry.query(told)), partial(entry.draw, told))
        for entry in story.entries(told)
    ]


def _kept(slide: storyboard.Slide) -> Screen:
    query = {name: list(values) for name, values in slide.query.items()}
    return Screen(slide.title, slide.page, query, slide.shown, slide.sentence)


def choice(name: str, options: list[str], default: str) -> str:
    """A setting that stands in the address and has no widget: buttons change it."""

    def decode(raw: list[str]) -> str:
        if raw[-1] not in options:
            raise ValueError(f"must be one of {', '.join(options)}")
        return raw[-1]

    value: str = st.session_state[link.settle(name, decode, lambda found: found in options, default)]
    link.record(name, value, [value])
    return value


def put(name: str, value: str) -> None:
    """Change such a setting; for the callback of a button.

    In the address, not in the session: what stands there decides before the page is drawn whether it has a menu.
    """
    st.query_params[name] = value


def draw(screen: Screen, dark: bool) -> None:
    """The figure in large type under its sentence."""
    shown = screen.make(dark)
    st.title(show.escape(screen.sentence or shown.reading), anchor=False)
    if screen.sentence and screen.sentence != shown.reading:
        st.markdown(f"#### {show.escape(shown.reading)}")
    st.plotly_chart(enlarged(shown.figure), key="present-figure", theme=None, width="stretch", alt=shown.reading, config={"displayModeBar": False, "responsive": True})  # fmt: skip
    st.caption(show.escape(shown.caption))


def enlarged(figure: Any) -> Any:
    """The figure for the back row: larger type, thicker lines, larger points."""
    figure.update_layout(font_size=LARGE, legend_font_size=LARGE, height=max(HEIGHT, figure.layout.height or 0))
    figure.update_annotations(font_size=LARGE - 3)
    figure.update_xaxes(title_font_size=LARGE)
    figure.update_yaxes(title_font_size=LARGE)
    for trace in figure.data:
        if trace.type == "scatter" and trace.mode and "lines" in trace.mode and trace.fill is None:
            trace.update(line_width=3.5, marker_size=10)
    return figure
