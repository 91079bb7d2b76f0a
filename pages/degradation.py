"""Degradation (M§6.1): what each language loses at each sparsity, and whether the languages really differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd
import streamlit as st

from analysis import theme
from analysis.figures import controls as checks
from analysis.figures import drops as figures
from analysis.figures.base import test_row
from pages.ui import controls, drop_headline, drop_tables, loading, measured, measuring, shell, show

MEAN = figures.MEAN
VIEWS = {
    "bars": "By language",
    "heatmap": "Heat map",
    "did": "Beyond the source",
    "controls": "Beside its controls",
    "pareto": "Size against score",
    "safe": "Last safe sparsity",
    "ranking": "Ranking",
    "numbers": "All numbers",
}
TOLERANCES = {0.01: "1 point", 0.02: "2 points", 0.05: "5 points"}
SAFE = "Tolerance: the largest drop that counts as safe"
OWN_SCORE = "Drops are bootstrapped and tested for the study's own score only."
MARGIN = "A language near chance cannot fall far in score; its margins can."


@dataclass(frozen=True)
class Choice:
    """What the controls at the top ask for."""

    study: str
    method: str
    level: float
    split: str
    metric: str

    def at(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of this split and level."""
        return frame[(frame["split"] == self.split) & (frame["sparsity"] == self.level)] if len(frame) else frame


def choose(study: str, facts: loading.Facts) -> Choice:
    """The controls at the top: method, sparsity, split and score."""
    columns = st.columns(4)
    with columns[0]:
        method = controls.method(measured.methods_of(facts))
    with columns[1]:
        level = controls.level(list(facts.levels[method]))
    with columns[2]:
        split = controls.split(facts.splits)
    with columns[3]:
        names = measured.scores_of(facts)
        metric = controls.choose("metric", "Score", names, facts.metric, show.title, help=OWN_SCORE)
    return Choice(study, method, level, split, metric)


def words(choice: Choice, degraded: pd.DataFrame, spread: pd.DataFrame) -> None:
    """What happened at this level, in numbers and sentences."""
    here, over = (
        part[part["method"] == choice.method] if len(part) else part
        for part in (choice.at(degraded), choice.at(spread))
    )
    if here.empty:
        level = f"{show.escape(choice.method)} at {controls.percent(choice.level)}"
        st.info(f"{level} is not among the measured drops on {show.escape(choice.split)}: they need its dense run.")
    else:
        drop_headline.headline(choice.method, choice.level, here, over.iloc[0] if len(over) else None)
        controlled = loading.measure(choice.study, "controls")
        rows = choice.at(controlled) if controlled is not None else pd.DataFrame()
        mean = rows[(rows["method"] == choice.method) & (rows["language"] == MEAN)] if len(rows) else rows
        if len(mean):
            drop_headline.beside(mean.iloc[0])


def lines(choice: Choice, facts: loading.Facts, degraded: pd.DataFrame, spread: pd.DataFrame) -> list[str]:
    """Score against sparsity; returns the methods that are shown."""
    first, second = st.columns([2, 3])
    with first:
        codes = theme.ordered(facts.languages, facts.sources)
        names = [MEAN, *codes] if len(spread) else codes
        language = controls.choose("language", "Language", names, format=lambda code: figures.named(code))
    with second:
        methods = controls.methods(measured.methods_of(facts))
    rows = pd.concat([part[part["method"].isin(methods)] for part in (degraded, spread) if len(part)])
    shown = figures.drop_lines(rows, language, choice.split, show.dark())
    show.figure(shown, "degradation-lines", definitions=("drop", choice.metric))
    return methods


# -- language by language -----------------------------------------------------------------------------------------


def bars(choice: Choice, degraded: pd.DataFrame, methods: list[str]) -> None:
    """The drop of every language at this level."""
    shown = figures.drop_bars(degraded, choice.level, choice.split, methods, show.dark())
    show.figure(shown, "degradation-bars", definitions=("drop",))


def heatmap(choice: Choice, degraded: pd.DataFrame, methods: list[str]) -> None:
    """Language × level for the method chosen above."""
    shown = figures.drop_heatmap(degraded, choice.method, choice.split, show.dark())
    show.figure(shown, "degradation-heatmap", definitions=("drop", test_row(choice.metric), "holm"))


def did(choice: Choice, degraded: pd.DataFrame, methods: list[str]) -> None:
    """How much more each language loses than the source does."""
    margin = controls.toggle("margin", "In margins instead of scores", help=MARGIN)
    shown = figures.did_dots(degraded, choice.level, choice.split, margin, methods, show.dark())
    show.figure(shown, "degradation-did", definitions=("difference_in_differences",))


def beside(choice: Choice, degraded: pd.DataFrame, methods: list[str]) -> None:
    """The drop beside random pruning, rerun noise and shuffled labels."""
    controlled = measured.of_study(choice.study, "controls")
    spread = loading.measure(choice.study, "spread")
    rows = pd.concat([degraded, spread]) if spread is not None else degraded
    shown = checks.control_dots(rows, controlled, choice.method, choice.level, choice.split, show.dark())
    show.figure(shown, "degradation-controls", definitions=("beyond_random", "rerun_noise", "shuffled_labels"))


def pareto(choice: Choice, degraded: pd.DataFrame, methods: list[str]) -> None:
    """Non-zeros against score: which levels no other dominates."""
    frame = measured.of_study(choice.study, "pareto")
    shown = checks.pareto_scatter(frame[frame["method"].isin(["dense", *methods])], choice.split, show.dark())
    show.figure(shown, "degradation-pareto", definitions=("pareto",))


def safe(choice: Choice, degraded: pd.DataFrame, methods: list[str]) -> None:
    """The last safe sparsity of every language under every method."""
    tolerance = controls.choose("tolerance", SAFE, list(TOLERANCES), 0.02, TOLERANCES.__getitem__, kind="segments")
    frame = measured.of_study(choice.study, "safe")
    rows = frame[(frame["split"] == choice.split) & (frame["tolerance"] == tolerance) & frame["method"].isin(methods)]
    drop_tables.safe(rows, tolerance)


def ranking(choice: Choice, degraded: pd.DataFrame, methods: list[str]) -> None:
    """Whether the methods' order on the source carries over to each language."""
    frame = loading.measure(choice.study, "ranking")
    rows = choice.at(pd.DataFrame() if frame is None else frame)
    if rows.empty:
        st.info("A ranking needs two methods other than random pruning at this level, and a zero-shot language.")
    else:
        drop_tables.ranking(rows, choice.level)


def numbers(choice: Choice, degraded: pd.DataFrame, methods: list[str]) -> None:
    """Every number of this level."""
    rows = choice.at(degraded)
    rows = rows[rows["method"].isin(methods)]
    if rows.empty:
        st.info("None of these methods has been measured at this level.")
    else:
        drop_tables.numbers(rows)


DRAW: dict[str, Callable[[Choice, pd.DataFrame, list[str]], None]] = {
    "bars": bars, "heatmap": heatmap, "did": did, "controls": beside, "pareto": pareto, "safe": safe, "ranking": ranking, "numbers": numbers,
}  # fmt: skip


# -- the page -----------------------------------------------------------------------------------------------------


def own_score(choice: Choice, facts: loading.Facts) -> None:
    """The page for the study's own score, for which drops are bootstrapped and tested."""
    degraded = measured.of_study(choice.study, "degradation")
    spread = loading.measure(choice.study, "spread")
    spread = pd.DataFrame() if spread is None else spread
    measured.freshness(choice.study, "degradation")
    words(choice, degraded, spread)
    measured.sparsity_note(choice.study, choice.method, choice.level)
    st.subheader("Score against sparsity", anchor=False)
    methods = lines(choice, facts, degraded, spread)
    st.subheader("Language by language", anchor=False)
    view = controls.choose("view", "Show", list(VIEWS), "bars", VIEWS.__getitem__, kind="segments", hidden_label=True)
    DRAW[view](choice, degraded, methods)


def other_score(choice: Choice, facts: loading.Facts) -> None:
    """The page for another score of the task: values with item intervals of one seed, without tests."""
    st.info(f"{OWN_SCORE} Of {show.escape(show.title(choice.metric))} there are values with item intervals.")
    columns = st.columns([1, 2, 3])
    with columns[0]:
        seed = controls.seed(facts.seeds)
    with columns[1]:
        language = controls.language(theme.ordered(facts.languages, facts.sources))
    with columns[2]:
        methods = controls.methods(measured.methods_of(facts))
    frame = loading.against_dense(choice.study, choice.metric, choice.split, seed)
    tidy_table(choice.study, frame is not None)
    if frame is None:
        return
    rows = frame[frame["method"].isin(methods)]
    shown = figures.drop_lines(rows, language, choice.split, show.dark())
    caption = f"Seed {seed}. Bands: 95% intervals by bootstrap over the items of this seed."
    show.figure(replace(shown, caption=caption), "degradation-other", definitions=(choice.metric,))
    drop_tables.values(rows[rows["sparsity"] == choice.level])


def tidy_table(study: str, there: bool) -> None:
    """The button that makes the table of all scores, where it is not there or older than the newest levels."""
    if not there or loading.newer_levels(study, "scores"):
        what = (
            "is older than the newest levels."
            if there
            else "has not been made yet: every score of every level with its interval."
        )
        target = ("--format", "parquet", "--to", str(loading.scores_path(study)))
        measuring.missing(study, f"The table of all scores {what}", "scores", target, "table")


with shell.page("degradation"):
    study = shell.study()
    assert study is not None
    facts = measured.finished(study)
    choice = choose(study, facts)
    (own_score if choice.metric == facts.metric else other_score)(choice, facts)
