"""Task type `ranking`: candidates of a query, ordered by relevance (XGLUE's WPR, M§5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.tasks.batches import Encoded, Ragged, Rows, one_each
from engine.tasks.sequence import encode_texts, load_classifier, places, softmax
from engine.tasks.types import Scored, TaskType

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor


@dataclass(frozen=True)
class Ranking(TaskType):
    """Learnt candidate by candidate as a classification of the grade; a query's candidates are ordered by the expected grade.

    The loss is the one that XGLUE trains WPR with, gives distillation its classes, and needs no whole query in a
    batch. Training items are candidates; scored items are queries (`group`, by default the query's text). Grades are
    the places of the labels in their order: a row of the tasks table names it, in a user's own data labels are
    numbers. The gain of grade g is `2^g − 1`; candidates with equal scores share the mean of their discounts
    (McSherry & Najork 2008), so that a constant model is not paid for the file's order. Queries without any relevant
    candidate cannot be ranked and are left out.
    """

    name: str = "ranking"
    columns: tuple[str, ...] = ("query", "text", "label")
    optional: tuple[str, ...] = ("group",)
    metric: str = "ndcg"
    pooling: str = "first"
    head_order: tuple[int, ...] = ()
    grades: tuple[float, ...] = ()

    def prepare(self, frame: pd.DataFrame, split: str, where: str) -> tuple[pd.DataFrame, list[str]]:
        """A group for every row."""
        return (frame if "group" in frame else frame.assign(group=frame["query"])), []

    def strata(self, frame: pd.DataFrame) -> pd.Series:
        """The grade."""
        return frame["label"]

    def fitted(self, labels: tuple[str, ...], train: pd.DataFrame) -> Ranking:
        """Grades: the labels as numbers where they are, else their places."""
        try:
            return replace(self, grades=tuple(float(label) for label in labels))
        except ValueError:
            return replace(self, grades=tuple(float(place) for place in range(len(labels))))

    def items(self, frame: pd.DataFrame) -> pd.Series:
        """Queries: what is scored."""
        return frame["group"]

    def baselines(self, frame: pd.DataFrame, labels: tuple[str, ...]) -> dict[str, float]:
        """nDCG of a random order: what a model scores that gives all candidates of a query the same."""
        grades = np.array(self.grades)[places(frame["label"], labels)]
        values = [
            value for rows in _queries(frame) if (value := ndcg(np.zeros(len(rows)), gains(grades[rows]))) is not None
        ]
        mean = float(np.mean(values)) if values else 0.0
        return {"chance": mean, "majority": mean}

    def load(self, name: str, **settings: Any) -> Any:
        """Load `AutoModelForSequenceClassification`, one class per grade."""
        return load_classifier(name, **settings)

    def encode(
        self, tokenizer: Any, frame: pd.DataFrame, labels: tuple[str, ...], max_length: int, segments: bool = False
    ) -> Encoded:
        """Query and candidate as a pair; targets are places in `labels`."""
        texts = [list(frame["query"]), list(frame["text"])]
        return encode_texts(tokenizer, texts, places(frame["label"], labels), max_length, segments)

    def loss(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean cross-entropy of the grades."""
        import torch.nn.functional as functional

        return functional.cross_entropy(logits.float(), batch["targets"])

    def rows(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Rows:
        """One row per candidate."""
        return one_each(logits, batch)

    def score(self, outputs: Ragged, frame: pd.DataFrame, encoded: Encoded, labels: tuple[str, ...]) -> Scored:
        """nDCG per query. Margin: the least relevant-over-less-relevant score gap, negative where a pair is misordered."""
        grades = np.array(self.grades)
        expected = softmax(outputs.values.astype(np.float64)) @ grades
        gold = grades[np.asarray(encoded.targets)]
        found: list[tuple[int, float, float, np.ndarray]] = []
        for rows in _queries(frame):
            value = ndcg(expected[rows], gains(gold[rows]))
            if value is not None:
                found.append((rows[0], value, _gap(expected[rows], gold[rows]), rows))
        values = np.array([value for _, value, _, _ in found])
        details = {
            "candidates": [frame["id"].iloc[rows].tolist() for _, _, _, rows in found],
            "scores": [expected[rows].tolist() for _, _, _, rows in found],
            "grades": [gold[rows].tolist() for _, _, _, rows in found],
        }
        firsts = np.array([first for first, _, _, _ in found], dtype=np.int64)
        ids = frame["group"].iloc[firsts].tolist()
        return Scored(values, np.array([gap for _, _, gap, _ in found]), values[:, None], details, firsts, ids)


def _queries(frame: pd.DataFrame) -> list[np.ndarray]:
    # Row numbers of every query, within language and split where the frame has them.
    keys = [column for column in ("split", "language", "group") if column in frame]
    return list(frame.groupby(keys, sort=False, observed=True).indices.values())


def gains(grades: np.ndarray) -> np.ndarray:
    """`2^g − 1` (Burges et al. 2005)."""
    return np.asarray(np.exp2(grades) - 1)


def ndcg(scores: np.ndarray, gain: np.ndarray) -> float | None:
    """`DCG / ideal DCG` of one query, discount `1/log₂(rank + 1)`, ties averaged; None where nothing has a gain."""
    discount = 1 / np.log2(np.arange(len(gain)) + 2)
    ideal = float(np.sort(gain)[::-1] @ discount)
    if ideal <= 0:
        return None
    _, tie, counts = np.unique(-scores, return_inverse=True, return_counts=True)
    mean_gain = np.bincount(tie, gain) / counts
    ends = np.cumsum(counts)
    share = np.add.reduceat(discount, ends - counts)
    return float(mean_gain @ share / ideal)


def _gap(scores: np.ndarray, gold: np.ndarray) -> float:
    """The least difference of scores over the pairs of different grades; 0 where all grades are equal."""
    better = gold[:, None] > gold[None, :]
    return float((scores[:, None] - scores[None, :])[better].min()) if better.any() else 0.0


TYPE = Ranking()
