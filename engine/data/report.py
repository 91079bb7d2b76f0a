"""What is wrong with data that could be read (problems), and what a user would want to know of it (notes)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from engine.config import TaskSection
from engine.data.columns import EXAMPLE_ROWS
from engine.data.splits import common_ids
from engine.tasks import TASKS
from engine.tasks.types import TaskType

FEW = 4  # ids that languages must share to be called parallel; the fewest that debiased CKA takes


def id_problems(frame: pd.DataFrame, split: str, code: str) -> list[str]:
    """Ids that stand more than once in a split of a language."""
    twice = frame.loc[frame["id"].duplicated(), "id"]
    if twice.empty:
        return []
    return [
        f"{split} {code}: ids must be unique; {twice.nunique()} stand more than once, such as {', '.join(twice.unique()[:EXAMPLE_ROWS])}"
    ]


def inventory(kind: TaskType, frames: Mapping[tuple[str, str], pd.DataFrame], sources: list[str]) -> list[str]:
    """All labels of train, in the type's order."""
    train = [frames["train", code] for code in sources if ("train", code) in frames]
    return kind.inventory(pd.concat(train, ignore_index=True)) if train else []


def label_problems(
    frames: Mapping[tuple[str, str], pd.DataFrame],
    sources: list[str],
    task: TaskSection,
    kind: TaskType,
    whole: Sequence[str],
) -> list[str]:
    """Fewer than two labels, labels that training does not have, and a train too small to split."""
    problems = []
    empty = [code for (split, code), frame in frames.items() if split == "validation" and frame.empty]
    problems += [f"validation {code}: train is too small to split one off; give task.validation" for code in empty]
    trained = set(whole if kind.open_labels else inventory(kind, frames, sources))
    if not trained:
        return problems
    if len(trained) < 2 and any(kind.strata(frame).any() for frame in frames.values()):
        problems.insert(0, f"train: must have at least two labels; got {', '.join(trained)}")
    hint = " (task.limits.train may have cut them off)" if task.limits.get("train") else ""  # type: ignore[call-overload]
    for (split, code), frame in frames.items():
        if split != "train" and (unknown := sorted(set(kind.strict(frame)) - trained)):
            rows = int(kind.strata(frame).isin(unknown).sum())
            problems.append(
                f"{split} {code}: labels must occur in train ({', '.join(sorted(trained))}); got {', '.join(unknown)} in {rows} rows{hint}"
            )
    return problems


def label_notes(frames: Mapping[tuple[str, str], pd.DataFrame], kind: TaskType, whole: Sequence[str]) -> list[str]:
    """Tags that are never predicted, because training does not have them: each such word counts as wrong."""
    if not kind.open_labels:
        return []
    return [
        f"{split} {code}: {', '.join(unknown[:EXAMPLE_ROWS])}{' …' if len(unknown) > EXAMPLE_ROWS else ''} do not occur in train and count as wrong"
        for (split, code), frame in frames.items()
        if split != "train" and (unknown := sorted(set(kind.inventory(frame)) - set(kind.strict(frame)) - set(whole)))
    ]


def label_names(found: Sequence[str], name: str) -> tuple[str, ...]:
    """Label names: the table's order where a row gives one, else the type's. Order comes from names, never from numbers."""
    known = TASKS[name].labels if name in TASKS else ()
    return tuple(known) if known and set(found) <= set(known) else tuple(found)


def overlap_notes(
    frames: Mapping[tuple[str, str], pd.DataFrame], sources: list[str], extra: Sequence[str], kind: TaskType
) -> list[str]:
    """Test texts that also stand in train are said, not removed: the user's split is the user's."""
    notes = []
    for code in sources:
        if ("train", code) not in frames:
            continue
        seen = set(_normal(frames["train", code], kind))
        for split in ("test", *extra):
            if (split, code) in frames and (count := sum(text in seen for text in _normal(frames[split, code], kind))):
                notes.append(f"{split} {code}: {count} of {len(frames[split, code])} inputs also stand in train")
    return notes


def _normal(frame: pd.DataFrame, kind: TaskType) -> list[str]:
    texts = kind.texts(frame)
    return ["".join(letter for letter in text.casefold() if letter.isalnum() or letter == "\t") for text in texts]


def is_parallel(task: TaskSection, frames: Mapping[tuple[str, str], pd.DataFrame]) -> bool:
    """Parallel unless denied, where the languages share at least `FEW` ids of test."""
    several = sum(split == "test" for split, _ in frames) > 1
    return task.parallel is not False and several and len(common_ids(frames, "test")) >= FEW


def parallel_notes(frames: Mapping[tuple[str, str], pd.DataFrame], task: TaskSection, kind: TaskType) -> list[str]:
    """What a user of parallel data would want to know: how many ids are shared, and labels that differ under one id."""
    common = len(common_ids(frames, "test"))
    tests = {code: frame for (split, code), frame in frames.items() if split == "test"}
    longest = max((len(frame) for frame in tests.values()), default=0)
    notes = []
    if task.parallel and not is_parallel(task, frames):
        notes.append(
            f"task.parallel: treated as not parallel, because all languages share only {common} test ids (at least {FEW} are needed)"
        )
    elif is_parallel(task, frames) and common < longest:
        notes.append(
            f"test: {common} of {longest} ids stand in every language; paired comparisons between languages use these"
        )
    if is_parallel(task, frames):
        by_id = [kind.strata(frame).set_axis(frame["id"]) for frame in tests.values()]
        labels = pd.concat([series[~series.index.duplicated()] for series in by_id], axis=1)
        differ = int((labels.nunique(axis=1) > 1).sum())
        notes += [f"test: {differ} ids have different labels in different languages"] if differ else []
    return notes
