"""Task type `choice`: which of several alternatives goes with the text (COPA and XCOPA, M§5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.tasks.batches import MASKED, Encoded, Ragged, Rows, inputs, one_each
from engine.tasks.sequence import classified, encode_texts, load_classifier
from engine.tasks.types import Scored, TaskType

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

MOST = 5  # alternatives that columns are known for


@dataclass(frozen=True)
class Choice(TaskType):
    """Every alternative is read together with its text (and question); one output scores it; a softmax over them decides.

    The classes are positions (`choice1`, …), so chance is 1/alternatives. An item is as many rows of tokens as it has
    alternatives; its states are those of the first. The label is a position counted from 0, as XCOPA has it, or the
    column's name.
    """

    name: str = "choice"
    columns: tuple[str, ...] = ("text", "choice1", "choice2", "label")
    optional: tuple[str, ...] = ("question", *(f"choice{number}" for number in range(3, MOST + 1)))
    may_be_empty: tuple[str, ...] = optional
    metric: str = "accuracy"
    pooling: str = "first"
    classes: bool = False

    def prepare(self, frame: pd.DataFrame, split: str, where: str) -> tuple[pd.DataFrame, list[str]]:
        """Labels as names of their column; an alternative that an item lacks must not be its answer."""
        names = alternatives(frame)
        known = {str(number): name for number, name in enumerate(names)} | {name: name for name in names}
        label = frame["label"].map(known)
        wrong = label.isna().to_numpy().copy()
        filled = {name: (frame[name] != "").to_numpy() for name in names}
        wrong |= np.array([not filled[name][row] if name in filled else True for row, name in enumerate(label)])
        if wrong.any():
            row = int(np.argmax(wrong))
            return frame, [
                f"{where}: label must be 0 to {len(names) - 1} or {', '.join(names)}, and name an alternative that is there; "
                f"got {frame['label'].iloc[row]!r} in row {row + 1} ({int(wrong.sum())} such rows)"
            ]
        return frame.assign(label=label), []

    def strata(self, frame: pd.DataFrame) -> pd.Series:
        """The position of the answer."""
        return frame["label"]

    def texts(self, frame: pd.DataFrame) -> list[str]:
        """The text, the question and all alternatives."""
        columns = ["text", *(["question"] if "question" in frame else []), *alternatives(frame)]
        return ["\t".join(cells) for cells in zip(*(frame[column] for column in columns), strict=True)]

    def inventory(self, frame: pd.DataFrame) -> list[str]:
        """The alternatives' names, whether or not each is ever the answer."""
        return alternatives(frame)

    def baselines(self, frame: pd.DataFrame, labels: tuple[str, ...]) -> dict[str, float]:
        """One over the alternatives of each item, and the most frequent position."""
        counts = sum((frame[name] != "").to_numpy().astype(int) for name in alternatives(frame))
        return {
            "chance": float(np.mean(1 / counts)),
            "majority": float(frame["label"].value_counts(normalize=True).iloc[0]),
        }

    def load(self, name: str, **settings: Any) -> Any:
        """Load `AutoModelForSequenceClassification` with one output: every architecture has it."""
        kept = {key: value for key, value in settings.items() if key not in ("id2label", "label2id")}
        return load_classifier(name, **(kept | {"num_labels": 1} if "num_labels" in kept else kept))

    def encode(
        self, tokenizer: Any, frame: pd.DataFrame, labels: tuple[str, ...], max_length: int, segments: bool = False
    ) -> Encoded:
        """One row per alternative that an item has; targets are 1 for the answer."""
        names = alternatives(frame)
        left, right, gold, counts = [], [], [], []
        for row in frame.to_dict("records"):
            present = [name for name in names if row[name]]
            left += [" ".join(part for part in (row["text"], row.get("question", "")) if part)] * len(present)
            right += [row[name] for name in present]
            gold += [int(name == row["label"]) for name in present]
            counts.append(len(present))
        targets = np.array(gold, dtype=np.int64)
        return encode_texts(tokenizer, [left, right], targets, max_length, segments, counts=np.array(counts))

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Items × alternatives; those that an item lacks are `MASKED`."""
        return side_by_side(model(**inputs(batch)).logits[:, 0], batch, MASKED)

    def loss(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean cross-entropy over the alternatives."""
        import torch.nn.functional as functional

        return functional.cross_entropy(logits.float(), self.row_labels(batch))

    def rows(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Rows:
        """One row per item, its alternatives as classes."""
        return one_each(logits, batch)

    def row_labels(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The position of every answer."""
        return side_by_side(batch["targets"], batch, 0).argmax(1)

    def outputs(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Rows:
        """Every alternative's score, one per row of tokens: batches differ in how many alternatives they pad to."""
        return Rows(model(**inputs(batch)).logits.float()[:, :1], batch["counts"])

    def score(self, outputs: Ragged, frame: pd.DataFrame, encoded: Encoded, labels: tuple[str, ...]) -> Scored:
        """Correctness, margin and probabilities over the alternatives, as for any classification."""
        counts = np.diff(outputs.starts)
        logits = np.full((len(outputs), max(len(labels), int(counts.max()))), MASKED)
        gold = np.zeros_like(logits)
        filled = np.arange(logits.shape[1]) < counts[:, None]
        logits[filled], gold[filled] = outputs.values[:, 0], np.asarray(encoded.targets)
        return classified(logits, gold.argmax(axis=1), labels)


def alternatives(frame: pd.DataFrame) -> list[str]:
    """The columns `choice1`, `choice2`, … of a frame, in order."""
    return [name for name in (f"choice{number}" for number in range(1, MOST + 1)) if name in frame]


def side_by_side(values: Tensor, batch: Mapping[str, Tensor], fill: float) -> Tensor:
    """One value per row of tokens → items × most rows of an item, the rest filled."""
    import torch

    counts = batch["counts"]
    filled = torch.arange(int(counts.max()), device=values.device) < counts[:, None]
    return values.new_full(filled.shape, fill).masked_scatter(filled, values)


TYPE = Choice()
