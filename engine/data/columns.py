"""A table as it was read → our columns of one language, with ids, and a complaint for whatever is missing or empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from engine.config import ConfigError, TaskSection
from engine.tasks.languages import resolve
from engine.tasks.types import TaskType

NO_ID, ROW_ID = "\0", "#row"
EXAMPLE_ROWS = 3  # offending rows named in a message


def our_columns(
    frame: pd.DataFrame, task: TaskSection, kind: TaskType, where: str, split: str, language: str
) -> pd.DataFrame:
    """Rename to our columns, keep the language asked for, mark missing ids (only test needs its own), refuse what is empty."""
    own = _own(task, kind)
    known = (*kind.columns, *kind.optional, "id", "language")
    names = {column: task.columns.get(column, column) for column in known}
    if problems := _missing(frame, task, names, own, where, split):
        raise ConfigError(problems)
    if "language" in task.columns:
        # A file of several languages: an item's row is counted within its language.
        frame, where = _only(frame, names["language"], language, where), f"{where} ({language})"
    free = [column for column in kind.optional if column not in dict(kind.instead) and _has(frame, names[column])]
    found = pd.DataFrame({column: _cells(frame, names[column]) for column in (*own, *free)}, index=frame.index)
    found.insert(0, "id", frame[names["id"]].astype(str) if names["id"] in frame.columns else NO_ID)
    _refuse_empty(found, [column for column in own if column not in kind.may_be_empty], where)
    return found


def _own(task: TaskSection, kind: TaskType) -> list[str]:
    """The columns that the type needs of this study: a column that stands for others takes their place."""
    given = {column: spared for column, spared in kind.instead if column in task.columns}
    spared = {column for columns in given.values() for column in columns}
    return [*given, *(column for column in kind.columns if column not in spared)]


def _missing(
    frame: pd.DataFrame, task: TaskSection, names: Mapping[str, str], own: Sequence[str], where: str, split: str
) -> list[str]:
    """Columns that are not there, and names of columns that the type does not know."""
    if frame.columns.empty:
        return [f"{where}: must have at least one row; the file is empty"]
    has = f"it has {', '.join(map(str, frame.columns))}"
    # A column that is optional for the type is needed once the study names it.
    needed = dict.fromkeys((*own, *(column for column in names if column in task.columns and column != "id")))
    problems = [
        f"{where}: must have the column {names[column]!r} (task.columns.{column}); {has}{_word_hint(column, task, where)}"
        for column in needed
        if not _has(frame, names[column])
    ]
    if unknown := [column for column in task.columns if column not in names]:
        problems.append(f"task.columns: must be among {', '.join(names)}; got {', '.join(unknown)}")
    if names["id"] != ROW_ID and "id" in task.columns and split == "test" and names["id"] not in frame.columns:
        problems.append(f"{where}: must have the column {names['id']!r} (task.columns.id); {has}")
    return problems


def _refuse_empty(found: pd.DataFrame, filled: Sequence[str], where: str) -> None:
    if found.empty:
        raise ConfigError([f"{where}: must have at least one row; got none"])
    blank = np.any([[len(cell) == 0 for cell in found[column]] for column in filled], axis=0)
    if blank.any():
        rows = ", ".join(str(row + 1) for row in found.index[blank][:EXAMPLE_ROWS])
        raise ConfigError(
            [f"{where}: must have no empty cell in {', '.join(filled)}; got {blank.sum()} rows, the first: {rows}"]
        )


def _parts(frame: pd.DataFrame, name: str) -> list[str]:
    """`a + b` means two columns, unless one is called that."""
    return [name] if name in frame.columns else name.split(" + ")


def _has(frame: pd.DataFrame, name: str) -> bool:
    return all(part in frame.columns for part in _parts(frame, name))


def _cells(frame: pd.DataFrame, name: str) -> pd.Series:
    """A column with its texts stripped; of several, the texts with a space between."""
    parts = _parts(frame, name)
    if len(parts) > 1:
        return frame[parts].agg(lambda row: " ".join(str(cell).strip() for cell in row).strip(), axis=1)
    return frame[name].map(lambda cell: cell.strip() if isinstance(cell, str) else cell)


def _word_hint(column: str, task: TaskSection, where: str) -> str:
    delimited = task.format == "auto" and not task.dataset
    return "; task.format = 'conll' reads one word per line" if delimited and column in ("tokens", "tags") else ""


def _only(frame: pd.DataFrame, column: str, language: str, where: str) -> pd.DataFrame:
    """The rows of one language, by its code here or any other code or name of it."""
    wanted = resolve(language).code
    same = {
        value: value == language or (bool(value) and resolve(value).code == wanted) for value in frame[column].unique()
    }
    if not any(same.values()):
        held = ", ".join(sorted(same)[:20])
        raise ConfigError([f"{where}: must have rows in {language} (column {column!r}); it has {held}"])
    return frame[frame[column].map(same).to_numpy()].reset_index(drop=True)


def numbered(frame: pd.DataFrame, task: TaskSection, language: str) -> pd.DataFrame:
    """Make ids where the data has none: `language:row`, never parallel, or the bare row number where `id = "#row"` says
    that the rows of all languages correspond. The frame's index is the row's number in its file."""
    prefix = "" if task.columns.get("id") == ROW_ID else f"{language}:"
    numbers = pd.Series([f"{prefix}{row}" for row in frame.index], index=frame.index)
    return frame.assign(id=frame["id"].where(frame["id"] != NO_ID, numbers)).reset_index(drop=True)
