"""Everything that pages read from a store, and the only caches.

Keys are paths and stamps of the files behind a result (names, times, sizes), never tables or arrays: Streamlit
samples large arguments when it hashes them. Every cache is bounded.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from engine import record
from pages.ui import reading

if TYPE_CHECKING:
    import pandas as pd


def store() -> Path:
    """The store that this server shows."""
    return record.store_path()


def studies() -> list[str]:
    """Names of the studies in the store."""
    return record.studies(store())


CLAIMS = Path(__file__).parent.parent.parent / "engine" / "demo" / "claims.json"


def claims() -> dict[str, Any] | None:
    """The stored outcome of the last `make claims`, or None."""
    return record.read_json(CLAIMS) if CLAIMS.is_file() else None


def stamp(paths: Iterator[Path] | list[Path]) -> str:
    """A fingerprint of files by name, time and size; those that are not there count as absent."""
    facts = []
    for path in paths:
        try:
            found = path.stat()
            facts.append((str(path), found.st_mtime_ns, found.st_size))
        except OSError:
            facts.append((str(path), 0, 0))
    return record.digest(facts)


def _study_files(study: str) -> Iterator[Path]:
    for run in record.runs(store(), study):
        yield run.path / "config.json"
        yield run.path / "status.json"
        yield run.path / "levels"  # its time changes when a level is added
        for level in run.levels():
            yield level.path / "size.json"
            yield level.path / "measures"
    yield store() / study / "measures"


_STAMPS: ContextVar[dict[tuple[str, str], str] | None] = ContextVar("stamps", default=None)


@contextmanager
def one_look() -> Iterator[None]:
    """While a page is drawn every study is looked at once: a large one has hundreds of files, and pages ask repeatedly."""
    token = _STAMPS.set({})
    try:
        yield
    finally:
        _STAMPS.reset(token)


def study_stamp(study: str) -> str:
    """Changes whenever a level, a run or a measure of the study is finished."""
    seen, key = _STAMPS.get(), (str(store()), study)
    if seen is None:  # a fragment that looks again by itself
        return stamp(_study_files(study))
    if key not in seen:
        seen[key] = stamp(_study_files(study))
    return seen[key]


# -- what a study is ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Facts:
    """What the runs of a study say about it; `broken` names the run folders that cannot be read, and why."""

    study: str
    recipes: dict[str, str]
    levels: dict[str, tuple[float, ...]]
    seeds: tuple[int, ...]
    languages: tuple[str, ...]
    sources: tuple[str, ...]
    splits: tuple[str, ...]
    type: str
    metric: str
    model: str
    task: str
    parallel: bool
    changed: float
    broken: dict[str, str]

    @property
    def methods(self) -> list[str]:
        """Names of all methods, controls first."""
        controls = [name for name in ("dense", "dense_continued") if name in self.recipes]
        return controls + [name for name in self.recipes if name not in controls]

    @property
    def pruned(self) -> list[str]:
        """Names of the methods that prune."""
        return [name for name in self.methods if self.recipes[name] not in ("dense", "dense_continued")]

    @property
    def all_levels(self) -> list[float]:
        """Every finished sparsity above zero, ascending."""
        return sorted({level for name in self.pruned for level in self.levels[name]})


def facts(study: str) -> Facts:
    """What the study's runs say about it."""
    return _facts(str(store()), study, study_stamp(study))


@st.cache_data(max_entries=64, show_spinner=False)
def _facts(where: str, study: str, stamp: str) -> Facts:
    configs, broken = _configs(Path(where), study)
    first = next(iter(configs.values()), {})
    levels: dict[str, set[float]] = {}
    for run in configs:
        levels.setdefault(run.method, set()).update(run.sparsity_of(level) for level in run.levels())
    return Facts(
        study=study,
        recipes={run.method: str(config.get("recipe", run.method)) for run, config in configs.items()},
        levels={method: tuple(sorted(found)) for method, found in levels.items()},
        seeds=tuple(sorted({run.seed for run in configs})),
        languages=tuple(first.get("languages", ())),
        sources=tuple(first.get("sources", ())),
        splits=tuple(first.get("splits", ("test",))),
        type=str(first.get("type", "")),
        metric=str(first.get("metric", "")),
        model=str(first.get("model", {}).get("name", "")),
        task=str(first.get("task", {}).get("name", "")),
        parallel=bool(first.get("parallel", False)),
        changed=max((_changed(run.path) for run in record.runs(Path(where), study)), default=0.0),
        broken=broken,
    )


def _configs(where: Path, study: str) -> tuple[dict[record.Run, dict[str, Any]], dict[str, str]]:
    """(configurations of the runs that have one, problems of those that cannot be read)."""
    found: dict[record.Run, dict[str, Any]] = {}
    broken: dict[str, str] = {}
    for run in record.runs(where, study):
        if not (run.path / "config.json").exists():
            continue
        try:
            config = run.config()
            run.status()
            for level in run.levels():
                level.size()
            found[run] = config
        except (record.RecordError, OSError, AttributeError, TypeError, ValueError) as error:
            broken[run.name] = str(error)
    return found, broken


def _changed(folder: Path) -> float:
    names = ("status.json", "heartbeat.json", "config.json")
    return max(((folder / name).stat().st_mtime for name in names if (folder / name).exists()), default=0.0)


# -- tables and measures ------------------------------------------------------------------------------------------


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
    return _frame(str(path), stamp([path])) if path.exists() else None


def measure(study: str, name: str) -> pd.DataFrame | None:
    """A study-wide measure such as `degradation`, or None while it has not been computed."""
    return _measure(str(store()), study, name, study_stamp(study))


@st.cache_data(max_entries=64, show_spinner=False)
def _measure(where: str, study: str, name: str, stamp: str) -> pd.DataFrame | None:
    from analysis import measures

    frame = measures.read_study(Path(where), study, name)
    return frame if len(frame) else None


def level_measures(study: str, name: str) -> pd.DataFrame | None:
    """A measure of all finished levels in one table, with the keys of its level in every row; None where there is none.

    Keys: study, run, method, recipe, seed, level, sparsity, measured_sparsity, updates, step.
    """
    return _level_measures(str(store()), study, name, study_stamp(study))


@st.cache_data(max_entries=24, show_spinner="Reading the measures …")
def _level_measures(where: str, study: str, name: str, stamp: str) -> pd.DataFrame | None:
    from analysis import measures

    frame = measures.read_levels(Path(where), study, name, problems=[])
    return frame if len(frame) else None


def against_dense(study: str, metric: str, split: str, seed: int) -> pd.DataFrame | None:
    """One score of one seed, each level beside dense (`reading.against_dense`); None where the tidy table has not been made."""
    rows = scores(study)
    return None if rows is None else reading.against_dense(rows, metric, split, seed, facts(study).sources)


def sizes(study: str) -> pd.DataFrame:
    """`size.json` of all finished levels: parameters, non-zeros, the three sparsities, bytes, latency."""
    return _sizes(str(store()), study, study_stamp(study))


@st.cache_data(max_entries=32, show_spinner=False)
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


def newer_levels(study: str, name: str) -> int:
    """How many finished levels are newer than a study-wide measure; 0 where that has not been made."""
    from analysis.measures import files

    paths = [scores_path(study)] if name == "scores" else files.newest(files.of_study(store(), study), name)
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        return 0
    made = path.stat().st_mtime
    return sum(
        (level.path / "size.json").stat().st_mtime > made
        for run in record.runs(store(), study)
        for level in run.levels()
    )


def keeps_states(study: str) -> bool:
    """Did any level of the study keep activations?"""
    return any(level.has("activations.safetensors") for run in record.runs(store(), study) for level in run.levels())


def level_folder(study: str, run: str, level: float) -> str:
    """The folder of a run's level at this sparsity; its plain name where the run has none (and nothing will be found)."""
    found = record.Run(store() / study / run)
    names = (one.path.name for one in found.levels() if abs(found.sparsity_of(one) - level) < 5e-5)
    return next(names, record.level_name(level))


def level_rows(
    study: str, name: str, methods: tuple[str, ...] | None = None, levels: tuple[float, ...] | None = None,
    seeds: tuple[int, ...] | None = None, **only: str | tuple[str, ...],
) -> pd.DataFrame | None:  # fmt: skip
    """Part of a level measure: these methods, sparsities and seeds, and rows whose columns have the values in `only`.

    Only the files that are asked for are read, so that a large study answers as fast as a small one. None where none
    of these levels has been measured.
    """
    from analysis.measures import files

    paths = [
        path
        for run in record.runs(store(), study)
        if (methods is None or run.method in methods) and (seeds is None or run.seed in seeds)
        for level in run.levels()
        if levels is None or run.sparsity_of(level) in levels
        for path in files.newest(files.of_level(level), name)
    ]
    wanted = tuple((key, (value,) if isinstance(value, str) else tuple(value)) for key, value in sorted(only.items()))
    return _level_rows(tuple(map(str, paths)), wanted, stamp(paths)) if paths else None


@st.cache_data(max_entries=64, show_spinner="Reading the measures …")
def _level_rows(paths: tuple[str, ...], only: reading.Only, stamp: str) -> pd.DataFrame:
    return reading.rows(paths, only)


def level_maps(study: str, run: str, level: str) -> pd.DataFrame:
    """All maps of a level in one table: the newest of every projection, layer and pooling; empty where there is none."""
    from analysis.measures import files

    paths = files.newest(store() / study / run / "levels" / level / files.FOLDER, "map")
    return _level_rows(tuple(map(str, paths)), (), stamp(paths))


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
    return _details(str(path), split, stamp([path])) if path.exists() else None


@st.cache_data(max_entries=8, show_spinner="Reading the texts …")
def _details(path: str, split: str, stamp: str) -> pd.DataFrame:
    return reading.details(path, split)


def weights(study: str) -> pd.DataFrame:
    """What pruning did to every matrix of every finished level; the matrix's own sparsity is `matrix_sparsity`."""
    return _weights(str(store()), study, study_stamp(study))


@st.cache_data(max_entries=8, show_spinner="Reading the weights' summaries …")
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


def level_frame(study: str, run: str, level: str, name: str) -> pd.DataFrame | None:
    """A table of a level folder, such as `details` or `weights`; None where it is not there."""
    path = store() / study / run / "levels" / level / f"{name}.parquet"
    return _frame(str(path), stamp([path])) if path.exists() else None


@st.cache_data(max_entries=64, show_spinner=False)
def _frame(path: str, stamp: str) -> pd.DataFrame:
    return record.read_frame(Path(path))


def comparison(study: str, other: str | None, name: str) -> pd.DataFrame | None:
    """A stored comparison inside a study, or of it with another one; None where it has not been made."""
    from analysis.measures import files

    wanted = f"{name}-{other}" if other else name
    paths = [
        path for path in files.newest(files.of_study(store(), study), wanted) if path.stem.rpartition("-")[0] == wanted
    ]
    return _level_rows(tuple(map(str, paths)), (), stamp(paths)) if paths else None


def config(study: str, run: str) -> dict[str, Any]:
    """The configuration of a run."""
    path = store() / study / run / "config.json"
    return _config(str(path.parent), stamp([path]))


@st.cache_data(max_entries=128, show_spinner=False)
def _config(run: str, stamp: str) -> dict[str, Any]:
    return record.Run(Path(run)).config()


def told(study: str) -> Any:
    """The study as Present and the report tell it (`analysis.story.Told`), with its tables read once."""
    return _told(str(store()), study, study_stamp(study))


@st.cache_resource(max_entries=4, show_spinner=False)
def _told(where: str, study: str, stamp: str) -> Any:
    from analysis import story

    return story.Told(Path(where), study)


# -- what runs -----------------------------------------------------------------------------------------------------


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


# -- the method tables --------------------------------------------------------------------------------------------


@st.cache_resource(max_entries=16, show_spinner=False)
def table(kind: str) -> Any:
    """One of the tables of `engine.registry.TABLES`: plain records that never change while the server runs."""
    from engine.registry import table as found

    return found(kind)


def readonly() -> bool:
    """Is this server for showing only (`PRUNOSCOPE_READONLY=1`)?"""
    return os.environ.get("PRUNOSCOPE_READONLY", "") not in ("", "0", "false")


def as_json(text: str) -> Any:
    """The JSON value in `text`, or None where it is not JSON."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None
