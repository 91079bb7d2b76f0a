"""Where every split of a task is read from: a row of the tasks table written out as a custom task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from engine.config import SPLITS, TaskSection
from engine.tasks import TASKS

BUNDLED_DATA = Path(__file__).parents[1] / "demo" / "data"


def as_custom(task: TaskSection) -> TaskSection:
    """A row of the tasks table written out as a custom task, so that there is one way to read data."""
    if task.name == "custom":
        return task
    row = TASKS[task.name]
    values: dict[str, Any] = {
        "type": row.type,
        "columns": dict(row.columns),
        "parallel": task.parallel if task.parallel is not None else row.parallel,
    }
    values |= {
        "source_languages": list(task.source_languages or row.source_languages),
        "languages": list(task.languages or row.languages),
    }
    if not row.bundled:
        values |= {"dataset": row.dataset, "config": row.config or None, "split": dict(row.split)}
        values |= {"revision": row.revision or None}
    else:
        folder = BUNDLED_DATA / row.name.removeprefix("bundled-")
        values |= {split: str(folder / f"{split}.{{language}}.tsv") for split in ("train", "validation", "test")}
    return task.model_copy(update=values)


def part_of(task: TaskSection, split: str, language: str) -> TaskSection:
    """Where a split is read from: the task itself, or the row of the table that it is trained on."""
    row = TASKS.get(task.name)
    if row is None or not row.trains_on:
        return task
    if split not in ("train", "validation") and not (row.source_test and language in row.source_languages):
        return task
    return as_custom(task.model_copy(update={"name": row.trains_on}))


def wanted(
    task: TaskSection, sources: list[str], languages: list[str], extra: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """(split, language) of everything to read."""
    for split in ("train", "validation", "test", *extra):
        part = part_of(task, split, sources[0])
        if split == "validation" and not (part.validation or (part.dataset and "validation" in (part.split or {}))):
            continue
        for code in sources if split in ("train", "validation") else languages:
            yield split, code


def limit_of(task: TaskSection, split: str) -> int | None:
    """The cap of a split; a further test split (MNLI's other genres) has test's, where it has none of its own."""
    limits: dict[str, int] = dict(task.limits.items())  # type: ignore[arg-type]
    return limits.get(split, None if split in SPLITS else limits.get("test"))


def kind_folder(task: TaskSection) -> str:
    """The bundled folder of a written-out bundled task (its extra splits have no key of their own)."""
    return task.name.removeprefix("bundled-")
