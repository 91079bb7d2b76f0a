"""What `python -m analysis measure` does: compute what is missing in a few processes, and store it.

The work is cut by run, so that a broken run costs its own measures only. All UMAP maps go through one process, since
its first fit compiles for ten seconds; the other processes meanwhile do the rest. Every process computes with one
thread: the matrices are small, and two processes use two cores better than one product on two threads.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout

from analysis import findings, recovery, tables, text
from analysis.items import collect
from analysis.measures import (
    calibrated,
    controls,
    correlated,
    drops,
    files,
    flipping,
    maps,
    overlap,
    paths,
    plan,
    probed,
    states,
)
from analysis.measures.plan import Job, Study, Wish

Say = Callable[[str], None]
MOST_WORKERS = 8
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Done:
    """What a task reports: its title, how many results it stored, how long it took, what went wrong."""

    title: str
    count: int
    seconds: float
    problems: tuple[str, ...]


Task = Callable[[], Done]


def measure(
    store: Path, name: str, wish: Wish | None = None, workers: int | None = None, say: Say = print
) -> list[str]:
    """Compute and store what is missing; return one line per broken run, level or measure.

    Only one process at a time measures a study: a second one waits, and then finds most of its work done. `workers`:
    processes (default: one per core, at most 8; 1 computes in this process). An unknown study, run, level or measure
    raises `RecordError` before anything is computed.
    """
    wish = wish or Wish()
    tables.study_names(store, name)
    folder = files.of_study(store, name)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / ".lock", say):
        study = Study.read(store, name)
        wish.check(study)
        titled = _tasks(study, wish)
        problems = list(study.problems)
        for done in _run(titled, workers or _cores()):
            say(f"{done.title}: {done.count} results in {done.seconds:.1f} s")
            problems += done.problems
        # Read level measures, so that they come when those are stored.
        if study.runs and (late := _late(study, wish)):
            titled = {**titled, **late}
            for done in _run(late, 1):
                say(f"{done.title}: {done.count} results in {done.seconds:.1f} s")
                problems += done.problems
        if not titled:
            say(f"{name}: everything is measured")
    return list(dict.fromkeys(problems))


@contextmanager
def _alone(path: Path, say: Say) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say("another process is measuring this study: waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _cores() -> int:
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_WORKERS, available)


def _tasks(study: Study, wish: Wish) -> dict[str, Task]:
    """What to run, by title; the longest first."""
    jobs = plan.missing(study, wish)
    slow = [job for job in jobs if job.request and job.request.projection in ("umap", "aligned")]
    chains = {"UMAP maps": slow} if slow else {}
    for job in jobs:
        if job not in slow:
            chains.setdefault(f"{study.name}/{job.run}", []).append(job)
    tasks: dict[str, Task] = {
        title: partial(levels, study.store, study.name, title, chain) for title, chain in chains.items()
    }
    key, folder = study.whole_key(), files.of_study(study.store, study.name)
    wanted = tuple(measure for measure in plan.STUDY if wish.wants(measure) and not files.stored(folder, measure, key))
    if wanted and study.runs:
        tasks = {f"{study.name}: joined runs": partial(joined, study.store, study.name, key, wanted), **tasks}
    return dict(sorted(tasks.items(), key=lambda item: item[0] != "UMAP maps"))


def _late(study: Study, wish: Wish) -> dict[str, Task]:
    """The measures that join runs and level measures, those that are missing."""
    folder = files.of_study(study.store, study.name)
    keys = {name: study.later_key(name) for name in plan.LATER if wish.wants(name)}
    missing = {name: key for name, key in keys.items() if not files.stored(folder, name, key)}
    title = f"{study.name}: what goes together"
    return {title: partial(later, study.store, study.name, title, missing)} if missing else {}


def _run(tasks: dict[str, Task], workers: int) -> Iterator[Done]:
    if workers == 1 or len(tasks) < 2:
        for title, task in tasks.items():
            yield _guarded(title, task)
        return
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))  # read by the processes when they load numpy
    try:
        with ProcessPoolExecutor(min(workers, len(tasks)), mp_context=get_context("spawn")) as pool:
            titles = {pool.submit(_guarded, title, task): title for title, task in tasks.items()}
            for future in as_completed(titles):
                yield _guarded(titles[future], future.result)  # a process that was killed raises here
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _guarded(title: str, task: Task) -> Done:
    """A task that fails as a whole is reported like one that fails in part, and the others go on."""
    try:
        return task()
    except Exception as error:
        return Done(title, 0, 0.0, (f"{title}: {type(error).__name__}: {error}",))


# -- the tasks -----------------------------------------------------------------------------------------------------


def levels(store: Path, name: str, title: str, jobs: Sequence[Job]) -> Done:
    """Compute and store measures of levels; one that fails is named and the others go on."""
    started, count = time.monotonic(), 0
    problems: list[str] = []
    study = Study.read(store, name)
    views: dict[tuple[str, str], states.View] = {}
    for job in jobs:
        place = (job.run, job.level)
        if place not in views:
            views = {place: study.view(*place)}  # one level's states in memory at a time
        with tables.tolerated(f"{name}/{job.run}/{job.level}: {job.file}", problems):
            _store(study, job, views[place])
            count += 1
    return Done(title, count, time.monotonic() - started, tuple(problems))


def _store(study: Study, job: Job, view: states.View) -> None:
    if isinstance(job.request, paths.Request):
        frame = study.path(job.run, job.request)
    else:
        frame = maps.make(view, job.request) if job.request else plan.LEVEL[job.measure](view)
    facts = {**study.facts(job.run, job.level), "role": view.role, "against": view.against}
    whole = pd.concat([pd.DataFrame(facts, index=frame.index), frame], axis=1)
    files.write(files.of_level(view.level), job.file, job.key, whole)


def joined(store: Path, name: str, key: str, wanted: Sequence[str]) -> Done:
    """Compute and store the measures that join runs."""
    started = time.monotonic()
    problems: list[str] = []
    found = {measure: frame for measure, frame in study_frames(store, name, problems).items() if measure in wanted}
    for measure_name, frame in found.items():
        files.write(files.of_study(store, name), measure_name, key, frame)
    return Done(f"{name}: joined runs", len(found), time.monotonic() - started, tuple(problems))


def study_frames(store: Path, name: str, problems: tables.Problems = None) -> dict[str, pd.DataFrame]:
    """All measures that join runs, by name (`plan.STUDY`)."""
    splits = dict.fromkeys(
        split for _, config in tables.readable(store, name, problems) for split in config.get("splits", ["test"])
    )
    own, shared = drops.resampled(collect(store, name, split, problems) for split in splits)
    found, study = drops.frames(own, shared), Study.read(store, name)
    texts = tables.text(store, name, problems)
    return {
        **found,
        "controls": controls.controls(own, shared),
        "pareto": controls.pareto(found["degradation"], tables.sizes(store, name, problems)),
        "flip_counts": flipping.counts(own),
        "flip_slices": flipping.slices(own, texts),
        "exemplars": flipping.exemplars(own),
        "recovery": recovery.recovery(tables.recovery_lines(store, name, problems)),
        "tokenizer": text.tokenizer(texts),
        "overlap": overlap.overlap(study),
        "calibration_matrix": calibrated.matrix(study, found["degradation"], own),
        "probed": probed.probed(study),
    }


def later(store: Path, name: str, title: str, wanted: Mapping[str, str]) -> Done:
    """Compute and store the measures that join runs and level measures; `wanted`: their names and keys."""
    started, problems = time.monotonic(), list[str]()
    for measure_name, frame in later_frames(store, name, problems).items():
        if measure_name in wanted:
            files.write(files.of_study(store, name), measure_name, wanted[measure_name], frame)
    return Done(title, len(wanted), time.monotonic() - started, tuple(problems))


def later_frames(store: Path, name: str, problems: tables.Problems = None) -> dict[str, pd.DataFrame]:
    """What goes with the drop, and the findings, from what is stored."""
    read = {measure_name: files.read_study(store, name, measure_name) for measure_name in plan.STUDY}
    read |= {
        measure_name: files.read_levels(store, name, measure_name, problems)
        for measure_name in dict.fromkeys(kind for kinds in plan.LATER.values() for kind in kinds)
    }
    model = next((str(config["model"]["name"]) for _, config in tables.readable(store, name, [])), "")
    found = correlated.factors(read["degradation"], read["tokenizer"], read["crosslingual"], model)
    return {"factors": found, "correlates": correlated.correlates(found), "findings": findings.cards(read)}
