"""What a task is once it is read: frames by split and language, and the label names in order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from engine.tasks.types import TaskType


@dataclass(frozen=True)
class TaskData:
    """A task ready to use: frames of the type's columns by (split, language), and the label names in order."""

    type: TaskType
    labels: tuple[str, ...]
    sources: tuple[str, ...]
    languages: tuple[str, ...]
    frames: Mapping[tuple[str, str], pd.DataFrame]
    parallel: bool
    extra: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def for_outputs(self, names: Sequence[str]) -> TaskData:
        """The same data for a checkpoint's own head, whose outputs have these names.

        The labels keep the task's order, on which grades and the positive class depend, and the type takes the
        outputs in that order; what the head knows beyond the task's labels comes last.
        """
        labels = (*self.labels, *(name for name in names if name not in self.labels))
        kind = self.type.fitted(labels, self.split("train", self.sources))
        places = tuple(names.index(label) for label in labels)
        return replace(self, labels=labels, type=kind if places == tuple(range(len(labels))) else kind.for_head(places))

    def baselines(self) -> dict[str, dict[str, dict[str, float]]]:
        """By split and language the headline's value for guessing (`chance`) and for the best constant answer (`majority`)."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for split in ("test", *self.extra):
            found[split] = {
                code: self.type.baselines(self.frames[split, code], self.labels)
                for code in self.languages
                if (split, code) in self.frames
            }
        return found

    def split(self, split: str, languages: Sequence[str]) -> pd.DataFrame:
        """The rows of a split over several languages, with a `language` column, in the order given."""
        frames = [self.frames[split, code].assign(language=code) for code in languages if (split, code) in self.frames]
        return pd.concat(frames, ignore_index=True)

    def digest(self) -> str:
        """Fingerprint of everything that was read: ids, texts and labels."""
        total = hashlib.sha256()
        for (split, language), frame in sorted(self.frames.items()):
            total.update(f"{split}/{language}".encode())
            # Lists and numbers are hashed as their JSON: pandas hashes strings only, and tuples differently in every process.
            plain = frame.map(lambda cell: cell if isinstance(cell, str) else json.dumps(cell))
            total.update(pd.util.hash_pandas_object(plain, index=False).to_numpy().tobytes())
        return total.hexdigest()[:16]
