"""From hub, local or bundled data to tokenised, length-bucketed batches.

Reading is strict: every cell is a string, and what cannot be used (missing columns, empty cells, labels unknown to
training, duplicate ids, test items that stand in train) is reported for all files at once before any computing.

`sources` says where a split is, `reader` reads it, `columns` brings it to our columns, `splits` caps, `report`
complains; `load_task` puts them together. What comes out (`task`) is drawn from by `probes` and `batches`.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from engine import checks
from engine.config import ConfigError, Study
from engine.data.batches import encode, evaluation_batches, training_batches
from engine.data.probes import probe, probe_frame
from engine.data.reader import Reader
from engine.data.report import (
    id_problems,
    inventory,
    is_parallel,
    label_names,
    label_notes,
    label_problems,
    overlap_notes,
    parallel_notes,
)
from engine.data.sources import as_custom, limit_of, wanted
from engine.data.splits import cap, capped, common_ids, hash_order, keys_of, split_validation
from engine.data.task import TaskData
from engine.tasks import TASKS
from engine.tasks.batches import Encoded
from engine.tasks.types import TaskType, task_type

__all__ = [
    "Encoded",
    "TaskData",
    "capped",
    "encode",
    "evaluation_batches",
    "hash_order",
    "load_calibration",
    "load_task",
    "probe",
    "probe_frame",
    "training_batches",
]


def load_task(study: Study) -> TaskData:
    """Read, check, cap and split the study's data; raise `ConfigError` with every problem found."""
    task = as_custom(study.task)
    reader = Reader(task, task_type(task.type or "sequence"), study.base)
    sources, languages = checks.languages_of(study.task)
    extra = TASKS[study.task.name].extra if study.task.name in TASKS else ()
    frames: dict[tuple[str, str], pd.DataFrame] = {}
    for split, code in wanted(task, sources, languages, extra):
        frame = reader.split(split, code)
        if frame is not None:
            frames[split, code] = frame
    whole = inventory(reader.kind, frames, sources)
    notes = reader.notes + _prepare(frames, reader, sources, extra, whole)
    if reader.problems:
        raise ConfigError(list(dict.fromkeys(reader.problems)))
    # A tag that a cap cut off keeps its output; a class that it cut off would only be in the way.
    labels = label_names(whole if reader.kind.open_labels else inventory(reader.kind, frames, sources), study.task.name)
    train = pd.concat([frames["train", code] for code in sources], ignore_index=True)
    kind = _headline(reader.kind.fitted(labels, train), study.task.name)
    return TaskData(
        kind, labels, tuple(sources), tuple(languages), frames, is_parallel(task, frames), tuple(extra), tuple(notes)
    )


def load_calibration(study: Study, data: TaskData, languages: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Train examples in languages that are not trained on, for criteria that are calibrated on them (M§3).

    Raises ConfigError with every problem: files that are not there, labels that training does not have.
    """
    task = as_custom(study.task)
    reader = Reader(task, data.type, study.base)
    found: dict[str, pd.DataFrame] = {}
    for code in languages:
        frame = reader.split("train", code)
        if frame is None:
            continue
        if unknown := sorted(set(data.type.strict(frame)) - set(data.labels)) if data.labels else []:
            reader.problems.append(f"train {code}: labels must occur in train of the sources; got {', '.join(unknown)}")
        limit = limit_of(task, "train")
        found[code] = capped(frame, limit) if limit else frame
    if reader.problems:
        raise ConfigError(list(dict.fromkeys(reader.problems)))
    return found


def _headline(kind: TaskType, name: str) -> TaskType:
    """The metric that a row of the tasks table names, else the type's own."""
    return kind.with_metric(TASKS[name].metric) if name in TASKS else kind


def _prepare(
    frames: dict[tuple[str, str], pd.DataFrame],
    reader: Reader,
    sources: list[str],
    extra: Sequence[str],
    whole: Sequence[str],
) -> list[str]:
    """Split off validation, apply the caps, then check ids, labels and overlap. Changes `frames`; returns notes."""
    notes, task, kind = [], reader.task, reader.kind
    for code in sources:
        if ("train", code) in frames and ("validation", code) not in frames:
            notes.append(split_validation(frames, code, kind))
    shared = {split: common_ids(frames, split) for split in ("test", *extra)}
    cut: dict[tuple[str, int, int], list[str]] = {}
    for (split, code), frame in list(frames.items()):
        reader.problems += id_problems(frame, split, code)
        limit = limit_of(task, split)
        size = keys_of(frame).nunique() if "group" in frame else len(frame)
        if limit and size > limit:
            cut.setdefault((split, limit, size), []).append(code)
            frames[split, code] = cap(frame, limit, shared.get(split, set()))
    notes += [
        f"{split} {' '.join(codes)}: {limit} of {size} examples (task.limits)"
        for (split, limit, size), codes in cut.items()
    ]
    reader.problems += label_problems(frames, sources, task, kind, whole)
    notes += label_notes(frames, kind, whole)
    notes += parallel_notes(frames, task, kind)
    notes += overlap_notes(frames, sources, extra, kind)
    return notes
