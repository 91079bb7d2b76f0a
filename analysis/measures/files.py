"""Derived results on disk: one Parquet file per measure, named by the digest of everything that it was computed from.

`<name>-<digest>.parquet`: the digest covers the configurations of the runs involved, their `size.json` (the last file
of a level, so a level that was written again has another), the parameters and `VERSION`. A file that is there is
never computed again, and readers take the newest of a name, so that a page can show a measure while the next one is
being made. Files of one level stand in its `measures/`, those that join runs in `STORE/<study>/measures/`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import tables
from analysis.tables import Problems
from engine import record
from engine.record import Level, RecordError, Run

VERSION = 4  # raised when a measure's meaning or columns change: everything is then computed again
FOLDER = "measures"
_FILE = re.compile(r"(?P<name>[a-z][a-z0-9_]*(?:-[a-z0-9_]+)*)-(?P<key>[0-9a-f]{16})\.parquet")


def key(*parts: Any) -> str:
    """The digest of a result's inputs."""
    return record.digest([VERSION, *parts])


def of_study(store: Path, study: str) -> Path:
    """Where the measures that join several runs stand."""
    return store / study / FOLDER


def of_level(level: Level) -> Path:
    """Where the measures of one level stand."""
    return level.path / FOLDER


def place(folder: Path, name: str, key: str) -> Path:
    """The file of a result."""
    return folder / f"{name}-{key}.parquet"


def stored(folder: Path, name: str, key: str) -> bool:
    """Whether exactly this result is there."""
    return place(folder, name, key).exists()


def write(folder: Path, name: str, key: str, frame: pd.DataFrame) -> None:
    """Store a result and remove what it replaces: older results of the same name."""
    record.write_frame(place(folder, name, key), frame)
    for path in folder.glob(f"{name}-*.parquet"):
        found = _FILE.fullmatch(path.name)
        if found and found["name"] == name and found["key"] != key:
            path.unlink(missing_ok=True)


def keep(folder: Path, name: str, key: str, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """The stored result, or the one just computed and stored."""
    if stored(folder, name, key):
        return record.read_frame(place(folder, name, key))
    frame = compute()
    write(folder, name, key, frame)
    return frame


def newest(folder: Path, name: str) -> list[Path]:
    """The newest file of `name` and of each of its variants (`map` also finds `map-umap-first-4`), sorted by name."""
    latest: dict[str, tuple[float, Path]] = {}
    for path in folder.glob(f"{name}-*.parquet") if folder.is_dir() else ():
        found = _FILE.fullmatch(path.name)
        if found and (found["name"] == name or found["name"].startswith(f"{name}-")):
            stamp = path.stat().st_mtime_ns
            latest[found["name"]] = max(latest.get(found["name"], (stamp, path)), (stamp, path))
    return [latest[variant][1] for variant in sorted(latest)]


def read(folder: Path, name: str) -> pd.DataFrame:
    """The newest result of a measure with all its variants; an empty table where there is none yet.

    A file that a newer result replaced while it was being read is looked for once more under its new name.
    """
    try:
        frames = [record.read_frame(path) for path in newest(folder, name)]
    except (RecordError, OSError):
        frames = [record.read_frame(path) for path in newest(folder, name)]
    frames = [frame for frame in frames if len(frame)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def read_study(store: Path, study: str, name: str) -> pd.DataFrame:
    """The newest result of a study-wide measure: degradation, spread, ranking, safe, recovery, tokenizer, …"""
    return read(of_study(store, study), name)


def read_levels(store: Path, study: str, name: str, problems: Problems = None) -> pd.DataFrame:
    """The newest results of a level's measure over all levels of a study: cka, similarity, separability, map, …

    Every row begins with study, run, method, recipe, seed, level (the folder's name), sparsity, measured_sparsity,
    updates and step (retraining cycles behind it).
    """
    frames = []
    for run in record.runs(store, study):
        with tables.tolerated(f"{study}/{run.name}", problems):
            frames += [read(of_level(level), name) for level in run.levels()]
    frames = [frame for frame in frames if len(frame)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def fingerprint(run: Run, config: Mapping[str, Any], level: Level) -> list[Any]:
    """What identifies the content of a level: its run's configuration and its `size.json`."""
    return [run.name, config.get("digest"), level.path.name, level.size()]
