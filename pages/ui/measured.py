"""What the pages of measured results share: what there is to show, and what a sparsity is a fraction of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.ui import controls, loading, measuring, shell, show

if TYPE_CHECKING:
    import pandas as pd

UNMEASURED = "These runs have not been measured yet. Measuring reads the run folders and stores what this page shows; a run that ends does it by itself."


def finished(study: str) -> loading.Facts:
    """The facts of a study that has something to show; ends the page where no pruned level is finished."""
    facts = loading.facts(study)
    if not facts.all_levels:
        text = (
            "No pruned level of this study is finished yet." if facts.recipes else "No run of this study can be read."
        )
        show.empty(
            f"{text} Levels appear here one by one while a run is under way.",
            "monitor",
            "See what runs",
            study=study,
            run="",
        )
        shell.stop()
    return facts


def unmeasured(study: str, name: str) -> None:
    """In the place of a measure that is not there: the button that has it computed."""
    measuring.missing(study, UNMEASURED, name)


def of_study(study: str, name: str) -> pd.DataFrame:
    """A study-wide measure; where there is none, the button that has it computed, and the end of the page."""
    frame = loading.measure(study, name)
    if frame is None:
        measuring.missing(study, UNMEASURED, name)
        shell.stop()
    assert frame is not None
    return frame


def of_levels(study: str, name: str, methods: tuple[str, ...], **only: str | tuple[str, ...]) -> pd.DataFrame:
    """A level measure of these methods; where there is none, the button that has it computed, and the end of the page."""
    frame = loading.level_rows(study, name, methods, **only)
    if frame is None:
        why = (
            ""
            if loading.keeps_states(study)
            else " No level of this study kept activations, which it is made from: run it again with [probe] on."
        )
        measuring.missing(study, f"{UNMEASURED}{why}", name)
        shell.stop()
    assert frame is not None
    return frame


def freshness(study: str, name: str) -> None:
    """Say it where levels were finished after a study-wide measure was made, with the button that brings it up to date."""
    if late := loading.newer_levels(study, name):
        what = "level was" if late == 1 else "levels were"
        measuring.missing(
            study,
            f"{late} {what} finished after these numbers were made, and {'is' if late == 1 else 'are'} not in them.",
            f"{name}-again",
        )


def sparsity_note(study: str, method: str, level: float) -> None:
    """What a level's sparsity is a fraction of, and what zeros do not do (M§1, M§6.11)."""
    sizes = loading.sizes(study)
    rows = sizes[(sizes["method"] == method) & (sizes["sparsity"] == level)] if len(sizes) else sizes
    if rows.empty:
        return
    row = rows.iloc[0]
    # A small student has fewer weights than the dense model, which the fractions are of.
    prunable, whole = (
        _dense_count(row, *names)
        for names in (("prunable_parameters", "sparsity_prunable"), ("parameters", "sparsity_model"))
    )
    last = (
        "It is a small dense model: the rest was cut away, not set to zero."
        if isinstance(row.get("shape"), dict)
        else "Zeros alone neither shrink a dense file nor speed up a dense kernel."
    )
    st.caption(
        f"{controls.percent(level)} of the {prunable:,} prunable weights (measured: {row['sparsity_prunable']:.2%}) is "
        f"{row['sparsity_encoder']:.1%} of the encoder and {row['sparsity_model']:.1%} of the whole model with its {whole:,} parameters. {last}"
    )


def _dense_count(row: pd.Series, count: str, sparsity: str) -> int:
    """How many the dense model has, of what a student has `count` left."""
    return round(row[count] / (1 - row[sparsity])) if isinstance(row.get("shape"), dict) else int(row[count])


def methods_of(facts: loading.Facts) -> list[str]:
    """The methods with a finished level; the control (random pruning) comes last, so that pages do not begin with it."""
    found = [name for name in facts.pruned if facts.levels[name]]
    return sorted(found, key=lambda name: facts.recipes[name] == "random")


def scores_of(facts: loading.Facts) -> list[str]:
    """The scores that the study's predictions hold, its own first."""
    from engine.metrics import scores_of as names

    return list(names(facts.type, facts.metric))


def breaks(facts: loading.Facts) -> bool:
    """Whether an item of this study can be wholly right, and so break and be repaired."""
    from engine.metrics import ITEM_SCORES

    return facts.metric not in ITEM_SCORES or ITEM_SCORES[facts.metric].whole


def right_where(facts: loading.Facts) -> str:
    """What makes an item right, where that is not simply its answer; empty where it is."""
    from engine.metrics import ITEM_SCORES

    row = ITEM_SCORES.get(facts.metric)
    return "" if row is None or row.correct else f"An item counts as right where all of it is: {row.title} 1."


def classes(facts: loading.Facts, alone: bool = False) -> bool:
    """Whether every item of this study has a class for an answer; `alone`: and nothing else."""
    from engine.metrics import CLASSES, STATS

    columns = STATS.get(facts.type, CLASSES)
    return columns == CLASSES if alone else columns[: len(CLASSES)] == CLASSES


def poolings(frame: pd.DataFrame) -> list[str]:
    """The poolings in a measure, the task's own first."""
    return sorted(frame["pooling"].unique().tolist(), key=lambda how: (how == "mean", how))
