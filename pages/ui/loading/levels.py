"""Files of single levels and runs. Only those that are asked for are read, so that a large study answers as fast as a small one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from engine import record
from pages.ui.loading import reading
from pages.ui.loading.frames import frames, own
from pages.ui.loading.stamps import stamp, store, study_stamp

if TYPE_CHECKING:
    import pandas as pd


def level_folder(study: str, run: str, level: float) -> str:
    """The folder of a run's level at this sparsity; its plain name where the run has none (and nothing will be found)."""
    found = record.Run(store() / study / run)
    names = (one.path.name for one in found.levels() if abs(found.sparsity_of(one) - level) < 5e-5)
    return next(names, record.level_name(level))


def keeps_states(study: str) -> bool:
    """Did any level of the study keep activations?"""
    return any(level.has("activations.safetensors") for run in record.runs(store(), study) for level in run.levels())


def level_rows(
    study: str, name: str, methods: tuple[str, ...] | None = None, levels: tuple[float, ...] | None = None,
    seeds: tuple[int, ...] | None = None, **only: str | tuple[str, ...],
) -> pd.DataFrame | None:  # fmt: skip
    """Part of a level measure: these methods, sparsities and seeds, and rows whose columns have the values in `only`.

    Only the files that are asked for are read, so that a large study answers as fast as a small one. None where none
    of these levels has been measured.
    """
    paths = [
        path
        for method, seed, level, path in _files(str(store()), study, name, study_stamp(study))
        if (methods is None or method in methods) and (seeds is None or seed in seeds)
        if levels is None or level in levels
    ]
    wanted = tuple((key, (value,) if isinstance(value, str) else tuple(value)) for key, value in sorted(only.items()))
    return frames(paths, wanted) if paths else None


@st.cache_resource(max_entries=64, show_spinner=False)
def _files(where: str, study: str, name: str, stamp: str) -> list[tuple[str, int, float, Path]]:
    """(method, seed, sparsity, file) of every stored result of a level measure."""
    from analysis.measures import files

    return [
        (run.method, run.seed, run.sparsity_of(level), path)
        for run in record.runs(Path(where), study)
        for level in run.levels()
        for path in files.newest(files.of_level(level), name)
    ]


def level_maps(study: str, run: str, level: str) -> pd.DataFrame:
    """All maps of a level in one table: the newest of every projection, layer and pooling; empty where there is none."""
    from analysis.measures import files

    paths = files.newest(store() / study / run / "levels" / level / files.FOLDER, "map")
    return frames(paths)


def kept_states(study: str, run: str, level: str) -> tuple[tuple[str, ...], int]:
    """(poolings, number of layers) of the activations that a level kept, the task's own pooling first; nothing where it kept none."""
    path = store() / study / run / "levels" / level / "activations.safetensors"
    return _kept_states(str(path), stamp([path])) if path.exists() else ((), 0)


@st.cache_data(max_entries=64, show_spinner=False)
def _kept_states(path: str, stamp: str) -> tuple[tuple[str, ...], int]:
    return reading.kept_states(path)


def details(study: str, run: str, level: str, split: str = "test") -> pd.DataFrame | None:
    """Texts, labels and predictions of a level's items on one split; None where they are not there."""
    path = store() / study / run / "levels" / level / "details.parquet"
    return own(_details(str(path), split, stamp([path]))) if path.exists() else None


@st.cache_resource(max_entries=8, show_spinner="Reading the texts …")
def _details(path: str, split: str, stamp: str) -> pd.DataFrame:
    return reading.details(path, split)


def lines(run: str) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`, of a retried step only the last attempt."""
    path = store() / run / "metrics.jsonl"
    return _lines(str(store() / run), stamp([path]))


@st.cache_data(max_entries=32, show_spinner=False)
def _lines(run: str, stamp: str) -> list[dict[str, Any]]:
    last: dict[tuple[Any, ...], dict[str, Any]] = {}
    for line in record.Run(Path(run)).metrics():
        if isinstance(line, dict):
            place = tuple(line.get(key) for key in ("type", "step", "cycle", "level", "split", "language", "text"))
            last[place] = line
    return list(last.values())
