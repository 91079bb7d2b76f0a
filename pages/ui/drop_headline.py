"""Degradation in words (M§6.1): which languages lose most at a level, and whether they really differ."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from analysis import theme
from analysis.figures.drops import SIGNIFICANT
from pages.ui import controls, show

MOST_NAMED = 3
FEW_SEEDS = 5


def headline(method: str, level: float, here: pd.DataFrame, mean: pd.Series | None) -> None:
    """The numbers and sentences of one method and level.

    `here`: its rows of `degradation`, one per language; `mean`: its row of `spread`, None for a study of one language.
    """
    tested = mean is not None and mean["p_differ"] == mean["p_differ"]
    numbers(here, mean, tested)
    st.markdown(f"**{show.escape(losers(method, level, here))}**")
    if mean is not None and tested:
        st.markdown(show.escape(differ(mean)))
    few(int(here["seeds"].min()))


def numbers(here: pd.DataFrame, mean: pd.Series | None, tested: bool) -> None:
    """Mean, source, worst, and whether languages differ; every name opens its definition."""
    source, worst = here[here["source"]], here.loc[here["drop"].idxmax()]
    places = st.columns(4)
    if mean is not None:
        with places[0]:
            _drop("drop", "Mean zero-shot drop", mean)
    if len(source):
        with places[1]:
            _drop("drop", f"Source: {theme.language_name(source['language'].iloc[0])}", source.iloc[0])
    with places[2]:
        _drop("worst", f"Worst: {theme.language_name(worst['language'])}", worst)
    if mean is not None and tested:
        with places[3]:
            verdict = "yes" if mean["p_differ"] < SIGNIFICANT else "not shown"
            show.number("languages_differ", verdict, delta=theme.p_value(mean["p_differ"]))


def _drop(name: str, label: str, row: pd.Series) -> None:
    show.number(name, theme.points(row["drop"]), label, theme.interval(row["drop_low"], row["drop_high"]))


def losers(method: str, level: float, here: pd.DataFrame) -> str:
    """Who loses most and who least."""
    ordered = here.sort_values("drop", ascending=False)
    named = [
        f"{theme.language_name(code)} ({theme.points(drop)})"
        for code, drop in zip(ordered["language"], ordered["drop"], strict=True)
    ]
    metric = show.title(str(here["metric"].iloc[0]))
    text = f"{metric}: at {controls.percent(level)} sparsity {method} costs {theme.listed(named[:MOST_NAMED])} most"
    return f"{text}, and {named[-1]} least." if len(named) > MOST_NAMED else f"{text}."


def differ(mean: pd.Series) -> str:
    """Is the difference between the zero-shot languages more than chance?"""
    real = mean["p_differ"] < SIGNIFICANT
    claim = "The difference between the zero-shot languages is real"
    verdict = claim if real else "That the zero-shot languages differ is not shown"
    equal = f"where equal drops would span about {theme.points(mean['range_equal'])} by chance"
    return f"{verdict} ({theme.p_value(mean['p_differ'])}): their drops span {theme.points(mean['range'])}, {equal}."


def beside(control: pd.Series) -> None:
    """The controls of the mean drop in one line, from its row of `controls`."""
    parts = []
    if control["random_drop"] == control["random_drop"]:
        parts.append(f"random pruning at this sparsity loses {theme.points(control['random_drop'])}")
    if control["rerun_largest"] == control["rerun_largest"]:
        parts.append(f"two dense models of different seeds differ by up to {theme.points(control['rerun_largest'])}")
    else:
        parts.append("with one seed nobody knows what rerunning alone does")
    if control["shuffled"] == control["shuffled"]:
        parts.append(f"with shuffled labels the drop is {theme.points(control['shuffled'])}")
    st.caption(show.escape(f"Controls: {'; '.join(parts)}."), help=show.hint("rerun_noise"))


def few(seeds: int) -> None:
    """What few seeds mean for the intervals; nothing from five on."""
    if seeds == 1:
        st.caption("One seed: how much seeds differ is not in these intervals, so that they are too narrow.")
    elif seeds < FEW_SEEDS:
        st.caption(
            f"Under {FEW_SEEDS} seeds intervals are too narrow; there are {seeds}. Read them as the least uncertainty."
        )
