"""What is to be measured, and what of it is not stored yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import tables
from analysis.measures import alignment, classes, distribution, files, flipping, maps, paths, restored, states
from analysis.measures.confidence import calibration
from engine.metrics import ITEM_SCORES
from engine.record import Level, RecordError, Run

STUDY = (
    "degradation", "spread", "safe", "ranking", "controls", "pareto", "flip_counts", "flip_slices", "exemplars", "recovery", "tokenizer", "overlap", "calibration_matrix", "probed",
)  # fmt: skip
# Read level measures too, and so come after them; the names of those that they read.
LATER = {
    "correlates": ("crosslingual",),
    "factors": ("crosslingual",),
    "findings": ("restored", "crosslingual", "calibration"),
}
STATES: dict[str, Callable[[states.View], pd.DataFrame]] = {
    "similarity": alignment.similarity,
    "cka": alignment.cka,
    "separability": classes.separability,
    "crosslingual": alignment.crosslingual,
    "drift": alignment.drift,
}
LEVEL: dict[str, Callable[[states.View], pd.DataFrame]] = {
    **STATES,
    "calibration": calibration,
    "flips": flipping.flips,
    "confusion": flipping.confusion,
    "restored": restored.restored,
    "distribution": distribution.distribution,
}
NAMES = (*STUDY, *LATER, *LEVEL, "map", "path")


@dataclass(frozen=True)
class Wish:
    """What to measure; by default everything that is shown without asking. Runs and levels narrow the level measures.

    `map`: this map instead of the default ones; `path`: this path through the levels of a run.
    """

    only: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    levels: tuple[float, ...] = ()
    map: maps.Request | None = None
    path: paths.Request | None = None

    def wants(self, measure: str) -> bool:
        """Whether this measure is asked for."""
        return not self.only or measure in self.only

    def check(self, study: Study) -> None:
        """Refuse names that the study does not have, with the choices."""
        levels = sorted({facts["sparsity"] for _, _, found in study.runs.values() for _, facts in found.values()})
        known = {"only": NAMES, "run": tuple(study.runs), "level": tuple(levels)}
        for name, given in (("only", self.only), ("run", self.runs), ("level", self.levels)):
            if unknown := [value for value in given if value not in known[name]]:
                raise RecordError(
                    f"{name}: must be among {', '.join(map(str, known[name]))}; got {', '.join(map(str, unknown))}"
                )


@dataclass(frozen=True)
class Job:
    """One missing result of a level: the name and the key that it will be stored under."""

    run: str
    level: str
    measure: str
    key: str
    request: maps.Request | paths.Request | None = None

    @property
    def file(self) -> str:
        """The name that the result is stored under."""
        return self.request.name() if self.request else self.measure


@dataclass
class Study:
    """The runs of a study that can be read: per run its configuration and finished levels (by folder name)."""

    store: Path
    name: str
    problems: list[str]
    runs: dict[str, tuple[Run, dict[str, Any], dict[str, tuple[Level, dict[str, Any]]]]] = field(default_factory=dict)

    @classmethod
    def read(cls, store: Path, name: str) -> Study:
        """Read configurations and sizes; broken runs and levels are named in `problems` and left out."""
        found = cls(store, name, [])
        for run, config in tables.readable(store, name, found.problems):
            levels = {level.path.name: (level, facts) for level, facts in tables.finished(run, config, found.problems)}
            found.runs[run.name] = (run, config, levels)
        return found

    def reference(self, run: Run) -> tuple[str, Level] | None:
        """The dense level that a run is compared with; for a dense run that of the next seed, going round."""
        if run.method != "dense":
            return self._dense(run.seed)
        seeds = sorted(other.seed for other, _, levels in self.runs.values() if other.method == "dense" and levels)
        if run.seed not in seeds or len(seeds) < 2:
            return None
        return self._dense(seeds[(seeds.index(run.seed) + 1) % len(seeds)])

    def _dense(self, seed: int) -> tuple[str, Level] | None:
        name = f"dense-s{seed}"
        levels = self.runs[name][2] if name in self.runs else {}
        return (name, next(iter(levels.values()))[0]) if levels else None

    def full(self, run: Run) -> bool:
        """Whether a run is among those that are measured in every way; the maps are of the first seed alone."""
        return run.seed in sorted({other.seed for other, _, _ in self.runs.values()})[: states.FULL_SEEDS]

    def first_seed(self) -> int:
        """The least seed."""
        return min((run.seed for run, _, _ in self.runs.values()), default=0)

    def fingerprint(self, run: str, level: str) -> list[Any]:
        """What identifies the content of a level."""
        this, config, levels = self.runs[run]
        return files.fingerprint(this, config, levels[level][0])

    def key(self, run: str, level: str, *parts: Any) -> str:
        """The key of a measure of this level: its own content and that of its reference."""
        inputs = [self.fingerprint(run, level)]
        if reference := self.reference(self.runs[run][0]):
            inputs.append(self.fingerprint(reference[0], reference[1].path.name))
        return files.key(inputs, *parts)

    def whole_key(self) -> str:
        """The key of the measures that join runs: the content of every level."""
        levels = [self.fingerprint(name, level) for name, (_, _, found) in sorted(self.runs.items()) for level in found]
        validation = [
            (run.path / "metrics.jsonl").stat().st_size
            for run, _, _ in self.runs.values()
            if (run.path / "metrics.jsonl").exists()
        ]
        return files.key(levels, validation)

    def later_key(self, name: str) -> str:
        """The key of a measure that joins runs and reads level measures: the content of every level and those measures."""
        names = [
            path.name
            for _, (_, _, found) in sorted(self.runs.items())
            for level, _ in found.values()
            for measure in LATER[name]
            for path in files.newest(files.of_level(level), measure)
        ]
        return files.key(self.whole_key(), names)

    def path(self, run: str, request: paths.Request) -> pd.DataFrame:
        """The map of dense and all levels of a run together."""
        this, config, levels = self.runs[run]
        reference = self.reference(this)
        if reference is None:
            raise RecordError(f"{self.name}/{run}: has no dense states to begin with")
        if any("shape" in level.size() for level, _ in levels.values()):
            raise RecordError(f"{self.name}/{run}: small models of their own have no path through sparsity")
        kept = {
            facts["sparsity"]: states.Snapshot.of(level)
            for level, facts in levels.values()
            if level.has("activations.safetensors")
        }
        return paths.make(states.Snapshot.of(reference[1]), kept, request, bool(config["parallel"]))

    def view(self, run: str, level: str) -> states.View:
        """The level beside its reference."""
        this, config, levels = self.runs[run]
        reference = self.reference(this)
        return states.View(
            level=levels[level][0],
            reference=reference[1] if reference else None,
            against=reference[0] if reference else "",
            role={"dense": "other seed", "dense_continued": "continued"}.get(this.method, "pruned"),
            sources=tuple(config["sources"]),
            parallel=bool(config["parallel"]),
            labels=tuple(config.get("labels", ())),
            full=self.full(this),
            whole=ITEM_SCORES[config["metric"]].whole,
        )

    def facts(self, run: str, level: str) -> dict[str, Any]:
        """What every row of a level's measures begins with."""
        this, _, levels = self.runs[run]
        return {"study": self.name, "run": this.name, "level": level, **levels[level][1]}


def missing(study: Study, wish: Wish) -> list[Job]:
    """The measures of levels that are asked for and not stored yet."""
    jobs = [
        job
        for name, (_, _, levels) in study.runs.items()
        for level in levels
        for job in _jobs(study, wish, name, level)
    ]
    return [
        job for job in jobs if not files.stored(files.of_level(study.runs[job.run][2][job.level][0]), job.file, job.key)
    ]


def _jobs(study: Study, wish: Wish, run: str, level: str) -> Iterator[Job]:
    this, _, levels = study.runs[run]
    found, facts = levels[level]
    if (wish.runs and run not in wish.runs) or (wish.levels and facts["sparsity"] not in wish.levels):
        return
    for measure in _of_files(study, found, this):
        if wish.wants(measure):
            stamp = restored.source(found) if measure == "restored" else None
            yield Job(run, level, measure, study.key(run, level, measure, *([stamp.name] if stamp else [])))
    if not found.has("activations.safetensors") or (this.method != "dense" and study.reference(this) is None):
        return  # nothing was kept, or the dense run that it is compared with is not finished yet
    for measure in STATES:
        if wish.wants(measure):
            yield Job(run, level, measure, study.key(run, level, measure, classes.SHUFFLES, study.full(this)))
    if wish.wants("map") and this.method not in tables.CONTROLS:
        for request in _requests(study, wish, run, level):
            yield Job(run, level, "map", study.key(run, level, asdict(request)), request)
    if wish.wants("path") and this.method not in tables.CONTROLS:
        every = [study.fingerprint(run, name) for name in levels]
        for way in _paths(study, wish, run, level):
            yield Job(run, level, "path", study.key(run, level, asdict(way), every), way)


def _of_files(study: Study, level: Level, run: Run) -> Iterator[str]:
    """The measures that a level has the files for, beside those of its states."""
    if level.has("details.parquet"):
        yield "calibration"
        if study.reference(run) is not None:
            yield from ("flips", "confusion")
    elif study.reference(run) is not None:
        yield "flips"
    if level.has("weights.safetensors") and level.has("weights.parquet"):
        yield "distribution"
    if restored.source(level):
        yield "restored"


def _paths(study: Study, wish: Wish, run: str, level: str) -> Iterator[paths.Request]:
    """The path of a run is kept beside its highest level; small models of their own are no levels of one network."""
    this, _, levels = study.runs[run]
    kept = [name for name, (found, _) in levels.items() if found.has("activations.safetensors")]
    small = any("shape" in found.size() for found, _ in levels.values())
    if wish.path:
        yield from [wish.path] if kept and level == kept[-1] else []
    elif not small and this.seed == study.first_seed() and kept and level == kept[-1]:
        yield paths.Request()


def _requests(study: Study, wish: Wish, run: str, level: str) -> list[maps.Request]:
    if wish.map:
        return [wish.map]
    this, config, _ = study.runs[run]
    if this.seed != study.first_seed():
        return []
    names = tables.folders(config)
    ends = {names[0], names[-1]}
    return [maps.Request(projection) for projection in maps.PROJECTIONS if projection == "pca" or level in ends]
