"""Task type `sequence`: one text, one of several labels (M§5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.metrics.blind import baselines
from engine.tasks.batches import Encoded, Ragged, Rows, one_each
from engine.tasks.types import Scored, TaskType

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor


@dataclass(frozen=True)
class Classification(TaskType):
    """Classification of a text, or of a text and its pair, by a head on the pooled first token."""

    name: str = "sequence"
    columns: tuple[str, ...] = ("text", "label")
    metric: str = "accuracy"
    head_order: tuple[int, ...] = ()
    pooling: str = "first"

    def strata(self, frame: pd.DataFrame) -> pd.Series:
        """The label."""
        return frame["label"]

    def baselines(self, frame: pd.DataFrame, labels: tuple[str, ...]) -> dict[str, float]:
        """Of the headline: guessing, and always the same label."""
        return baselines(self.metric, frame["label"], labels)

    def load(self, name: str, **settings: Any) -> Any:
        """Load `AutoModelForSequenceClassification`."""
        return load_classifier(name, **settings)

    def encode(
        self, tokenizer: Any, frame: pd.DataFrame, labels: tuple[str, ...], max_length: int, segments: bool = False
    ) -> Encoded:
        """Token ids, cut at `max_length` (of a pair, the longer text is cut first); targets are places in `labels`."""
        texts = [list(frame[column]) for column in self.columns if column != "label"]
        return encode_texts(tokenizer, texts, places(frame["label"], labels), max_length, segments)

    def loss(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean cross-entropy in float32."""
        import torch.nn.functional as functional

        return functional.cross_entropy(logits.float(), batch["targets"])

    def rows(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Rows:
        """One row per item."""
        return one_each(logits, batch)

    def score(self, outputs: Ragged, frame: pd.DataFrame, encoded: Encoded, labels: tuple[str, ...]) -> Scored:
        """Correctness, margin and probabilities; among equal logits the first label is predicted."""
        return classified(outputs.values, np.asarray(encoded.targets), labels)


def load_classifier(name: str, **settings: Any) -> Any:
    """A checkpoint with a classification head on its pooled token."""
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(name, **settings)


def places(names: Sequence[str] | pd.Series, labels: Sequence[str]) -> np.ndarray:
    """Label names as their positions in `labels`."""
    position = {label: index for index, label in enumerate(labels)}
    return np.array([position[name] for name in names], dtype=np.int64)


def encode_texts(
    tokenizer: Any, texts: Sequence[Sequence[str]], targets: np.ndarray, max_length: int, segments: bool, **more: Any
) -> Encoded:
    """One row per text, or per pair where there are two lists; the longer text of a pair is cut first."""
    found = tokenizer(*texts, truncation=True, max_length=max_length, return_attention_mask=False, verbose=False)
    kinds = found.get("token_type_ids") if segments else None
    return Encoded(list(found["input_ids"]), targets, tokenizer.pad_token_id, kinds, **more)


def classified(logits: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> Scored:
    """Correctness, margin and probabilities. logits `N×C`; among equal logits the first label is predicted."""
    logits = logits.astype(np.float64)
    rows = np.arange(len(targets))
    predicted = logits.argmax(axis=1)
    gold = logits[rows, targets]
    others = logits.copy()
    others[rows, targets] = -np.inf
    probabilities = softmax(logits)
    correct = (predicted == targets).astype(np.float64)
    details = {
        "label": [labels[index] for index in targets],
        "predicted": [labels[index] for index in predicted],
        "probabilities": list(probabilities.astype(np.float32)),
    }
    stats = np.stack([correct, targets.astype(np.float64), predicted.astype(np.float64)], axis=1)
    return Scored(correct, gold - others.max(axis=1), stats, details)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


TYPE = Classification()
