"""Separability and signal to noise (M§6.2, M§6.3): can the classes still be told apart, beside the score of the task."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from analysis import theme
from analysis.figures import drops
from analysis.figures import separability as figures
from pages.ui import controls, loading, measured, shell, show

SNR = "pruning_snr_db"
DENSE_STATES = ("dense", "dense_continued")


@dataclass(frozen=True)
class Choice:
    """What the controls at the top ask for."""

    measure: str
    level: float
    pooling: str
    layer: int
    methods: tuple[str, ...]


def choose(facts: loading.Facts) -> tuple[Choice, pd.DataFrame]:
    """The controls, whose choices come from what was measured; and the states of the chosen methods."""
    first = st.columns([3, 2, 3, 1])
    methods = tuple(controls.methods(measured.methods_of(facts)))
    frame = measured.of_levels(facts.study, "separability", (*DENSE_STATES, *methods))
    with first[0]:
        measure = controls.measure([*figures.MEASURES, SNR])
    with first[1]:
        level = controls.level(facts.all_levels)
    with first[2]:
        pooling = controls.pooling(measured.poolings(frame))
    with first[3]:
        layer = controls.layer(sorted(frame["layer"].unique().tolist()))
    return Choice(measure, level, pooling, layer, methods), frame


def task_score(study: str, methods: tuple[str, ...]) -> pd.DataFrame | None:
    """What has to stand beside every separability: the scores of these methods; None while they are not measured."""
    degraded = loading.measure(study, "degradation")
    return None if degraded is None else degraded[degraded["method"].isin(methods)]


def unmeasured_score() -> None:
    """In the place of the task score where that is not there."""
    st.info("The task score belongs beside this figure and has not been measured yet: see Degradation.")


def by_layer(choice: Choice, frame: pd.DataFrame, scores: pd.DataFrame | None, facts: loading.Facts) -> None:
    """One language, layer by layer, and its score."""
    with st.columns([1, 2])[0]:
        language = controls.language(theme.ordered(frame["language"].tolist(), facts.sources))
    left, right = st.columns(2)
    with left:
        where = (language, choice.level, choice.measure, choice.pooling)
        shown = figures.separability_lines(frame, *where, show.dark())
        show.figure(shown, "separability-layers", definitions=(choice.measure,))
    with right:
        if scores is None:
            unmeasured_score()
        else:
            shown = drops.drop_lines(scores, language, dark=show.dark())
            show.figure(shown, "separability-score", definitions=("drop",))


def by_language(choice: Choice, frame: pd.DataFrame, scores: pd.DataFrame | None) -> None:
    """All languages of one method along its sparsity, and what each lost."""
    with st.columns([1, 2])[0]:
        method = controls.method(list(choice.methods))
    where = (method, choice.measure, choice.layer, choice.pooling)
    shown = figures.separability_by_language(frame, *where, show.dark())
    show.figure(shown, "separability-languages", definitions=(choice.measure,))
    score_bars(choice, scores, [method])


def score_bars(choice: Choice, scores: pd.DataFrame | None, methods: list[str]) -> None:
    """What each language lost at the level, right below what its states did."""
    if scores is None:
        unmeasured_score()
    else:
        shown = drops.drop_bars(scores, choice.level, methods=methods, dark=show.dark())
        show.figure(shown, "separability-drops", definitions=("drop",))


def noise(choice: Choice, frame: pd.DataFrame, scores: pd.DataFrame | None) -> None:
    """Pruning SNR per language and method, and what each language lost."""
    shown = figures.snr_bars(frame, choice.level, choice.layer, choice.pooling, show.dark())
    show.figure(shown, "separability-snr", definitions=(SNR,))
    score_bars(choice, scores, list(choice.methods))


with shell.page("separability"):
    study = shell.study()
    assert study is not None
    facts = measured.finished(study)
    choice, frame = choose(facts)
    scores = task_score(study, choice.methods)
    if not choice.methods:
        st.info("Choose at least one method.")
    elif choice.measure == SNR:
        noise(choice, frame, scores)
    else:
        st.subheader("Layer by layer", anchor=False)
        by_layer(choice, frame, scores, facts)
        st.subheader("Language by language", anchor=False)
        by_language(choice, frame, scores)
