"""What is to be measured, and what of it is not stored yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import tables
from analysis.measures import alignment, classes, files, maps, states
from analysis.measures.confidence import calibration
from engine.record import Level, RecordError, Run

STUDY = ("degradation", "spread", "safe", "ranking", "recovery", "tokenizer", "tokenizer_drop")
STATES: dict[str, Callable[[states.View], pd.DataFrame]] = {
    "similarity": alignment.similarity,
    "cka": alignment.cka,
    "separability": classes.separability,
    "crosslingual": alignment.crosslingual,
    "drift": alignment.drift,
}
LEVEL = {**STATES, "calibration": calibration}
NAMES = (*STUDY, *LEVEL, "map")


@dataclass(frozen=True)
class Wish:
    """What to measure; by default everything that is shown without asking. Runs and levels narrow the level measures.

    `map`: this map instead of the default ones.
    """

    only: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    levels: tuple[float, ...] = ()
    map: maps.Request | None = None

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
    request: maps.Request | None = None

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
    if wish.wants("calibration") and found.has("details.parquet"):
        yield Job(run, level, "calibration", study.key(run, level, "calibration"))
    if not found.has("activations.safetensors") or (this.method != "dense" and study.reference(this) is None):
        return  # nothing was kept, or the dense run that it is compared with is not finished yet
    for measure in STATES:
        if wish.wants(measure):
            yield Job(run, level, measure, study.key(run, level, measure, classes.SHUFFLES, study.full(this)))
    if wish.wants("map") and this.method not in tables.CONTROLS:
        for request in _requests(study, wish, run, level):
            yield Job(run, level, "map", study.key(run, level, asdict(request)), request)


def _requests(study: Study, wish: Wish, run: str, level: str) -> list[maps.Request]:
    if wish.map:
        return [wish.map]
    this, config, _ = study.runs[run]
    if this.seed != study.first_seed():
        return []
    names = tables.folders(config)
    ends = {names[0], names[-1]}
    return [maps.Request(projection) for projection in maps.PROJECTIONS if projection == "pca" or level in ends]
