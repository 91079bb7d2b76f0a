"""The tables of a whole study: its runs, scores, sizes, weights, recovery and stored measures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from engine import record
from pages.ui.loading import reading
from pages.ui.loading.frames import frames, own
from pages.ui.loading.stamps import stamp, store, study_stamp
from pages.ui.loading.study import facts

if TYPE_CHECKING:
    import pandas as pd


def runs(study: str) -> pd.DataFrame:
    """One row per run: study, run, method, recipe, seed, state, seconds, levels."""
    return _runs(str(store()), study, study_stamp(study))


@st.cache_data(max_entries=32, show_spinner=False)
def _runs(where: str, study: str, stamp: str) -> pd.DataFrame:
    from analysis import tables

    return tables.runs(Path(where), study, problems=[])


def scores_path(study: str) -> Path:
    """Where `python -m analysis table --to …` puts the tidy table for this app: its bootstraps take seconds."""
    return store() / study / "scores.parquet"


def scores(study: str) -> pd.DataFrame | None:
    """The tidy table: one row per method, seed, level, language, split and metric; None where it has not been made."""
    path = scores_path(study)
    return frames([path]) if path.exists() else None


def against_dense(study: str, metric: str, split: str, seed: int) -> pd.DataFrame | None:
    """One score of one seed, each level beside dense (`reading.against_dense`); None where the tidy table has not been made."""
    rows = scores(study)
    return None if rows is None else reading.against_dense(rows, metric, split, seed, facts(study).sources)


def measure(study: str, name: str) -> pd.DataFrame | None:
    """A study-wide measure such as `degradation`, or None while it has not been computed."""
    frame = _measure(str(store()), study, name, study_stamp(study))
    return None if frame is None else own(frame)


@st.cache_resource(max_entries=64, show_spinner=False)
def _measure(where: str, study: str, name: str, stamp: str) -> pd.DataFrame | None:
    from analysis import measures

    frame = measures.read_study(Path(where), study, name)
    return frame if len(frame) else None


def sizes(study: str) -> pd.DataFrame:
    """`size.json` of all finished levels: parameters, non-zeros, the three sparsities, bytes, latency."""
    return own(_sizes(str(store()), study, study_stamp(study)))


@st.cache_resource(max_entries=32, show_spinner=False)
def _sizes(where: str, study: str, stamp: str) -> pd.DataFrame:
    from analysis import tables

    return tables.sizes(Path(where), study, problems=[])


def recovery_lines(study: str) -> pd.DataFrame:
    """Source-validation scores along every cycle of every run."""
    return _recovery_lines(
        str(store()), study, stamp([run.path / "metrics.jsonl" for run in record.runs(store(), study)])
    )


@st.cache_data(max_entries=16, show_spinner=False)
def _recovery_lines(where: str, study: str, stamp: str) -> pd.DataFrame:
    from analysis import tables

    return tables.recovery_lines(Path(where), study, problems=[])


def weights(study: str) -> pd.DataFrame:
    """What pruning did to every matrix of every finished level; the matrix's own sparsity is `matrix_sparsity`."""
    return own(_weights(str(store()), study, study_stamp(study)))


@st.cache_resource(max_entries=8, show_spinner="Reading the weights' summaries …")
def _weights(where: str, study: str, stamp: str) -> pd.DataFrame:
    from analysis import tables

    return tables.weights(Path(where), study, problems=[])


def heads(study: str) -> pd.DataFrame:
    """The same of every attention head; empty where no level has it."""
    return _heads(str(store()), study, study_stamp(study))


@st.cache_data(max_entries=8, show_spinner="Reading the heads' summaries …")
def _heads(where: str, study: str, stamp: str) -> pd.DataFrame:
    from analysis import tables

    return tables.heads(Path(where), study, problems=[])


def comparison(study: str, other: str | None, name: str) -> pd.DataFrame | None:
    """A stored comparison inside a study, or of it with another one; None where it has not been made."""
    from analysis.measures import files

    wanted = f"{name}-{other}" if other else name
    paths = [
        path for path in files.newest(files.of_study(store(), study), wanted) if path.stem.rpartition("-")[0] == wanted
    ]
    return frames(paths) if paths else None


def newer_levels(study: str, name: str) -> int:
    """How many finished levels are newer than a study-wide measure; 0 where that has not been made."""
    return _newer_levels(str(store()), study, name, study_stamp(study) + stamp([scores_path(study)]))


@st.cache_data(max_entries=64, show_spinner=False)
def _newer_levels(where: str, study: str, name: str, stamp: str) -> int:
    from analysis.measures import files

    paths = [scores_path(study)] if name == "scores" else files.newest(files.of_study(Path(where), study), name)
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        return 0
    made = path.stat().st_mtime
    return sum(
        (level.path / "size.json").stat().st_mtime > made
        for run in record.runs(Path(where), study)
        for level in run.levels()
    )
