"""One reading of a study's files and hub sets: split by split, language by language, problems collected."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from engine import checks
from engine.config import ConfigError, TaskSection
from engine.data.columns import NO_ID, numbered, our_columns
from engine.data.sources import BUNDLED_DATA, kind_folder, limit_of, part_of
from engine.reading import STREAM_ROWS, read_file, read_hub
from engine.tasks.types import TaskType


@dataclass
class Reader:
    """Tables that several languages share, problems and notes so far."""

    task: TaskSection
    kind: TaskType
    base: Path
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tables: dict[tuple[Path, int | None], pd.DataFrame] = field(default_factory=dict)

    def table(self, path: Path, task: TaskSection, split: str) -> pd.DataFrame:
        """A file, read once however many languages are in it (and once more for a split with another cap)."""
        limit = limit_of(task, split)
        # Twice what is asked for, so that validation and the ids that all languages share can still be chosen from it.
        most = 2 * limit if limit else None
        if (path, most) not in self.tables:
            frame = read_file(path, task.format, most, task.columns.get("id", "id"), task.columns.get("language", ""))
            if "rows" in frame.attrs:
                hint = "" if limit else f" (give task.limits.{split} to choose another number than {STREAM_ROWS:,})"
                each = f", at most {most or STREAM_ROWS:,} of every language" if "language" in task.columns else ""
                self.notes.append(
                    f"{path.name}: {len(frame):,} of {frame.attrs['rows']:,} rows kept of a large file{each}{hint}"
                )
            self.tables[path, most] = frame
        return self.tables[path, most]

    def split(self, split: str, language: str) -> pd.DataFrame | None:
        """Read one split in one language and bring it to our columns; problems are collected and None comes back."""
        task, kind = part_of(self.task, split, language), self.kind
        try:
            if task.dataset:
                where = f"{task.dataset} {split} {language}"
                frame = our_columns(read_hub(task, split, language), task, kind, where, split, language)
            else:
                where = f"{split} {language}"
                files = checks.paths(task, split, language, self.base) or [
                    BUNDLED_DATA / kind_folder(task) / f"{split}.{language}.tsv"
                ]
                parts = [
                    our_columns(self.table(path, task, split), task, kind, str(path), split, language) for path in files
                ]
                where = str(files[0]) if len(files) == 1 else where
                frame = parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)
            frame = numbered(frame, task, language)
            if split in ("train", "validation") and (twice := int(frame["id"].duplicated().sum())):
                # Only test items are matched by id: here a repeated one is no mistake that anything depends on.
                self.notes.append(f"{split} {language}: {twice} ids repeat others; rows are numbered instead")
                frame = numbered(frame.assign(id=NO_ID), task, language)
            frame, problems = kind.prepare(frame, split, where)
            if problems:
                raise ConfigError(problems)
            return frame
        except ConfigError as error:
            self.problems += error.problems
            return None
