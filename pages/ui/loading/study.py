"""What the runs of a study say about it: methods, levels, seeds, languages, settings, and what cannot be read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from engine import record
from pages.ui.loading.stamps import stamp, store, study_stamp


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
