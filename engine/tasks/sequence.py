"""Task type `sequence`: one text, one of several labels (M§5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.tasks.types import Scored

if TYPE_CHECKING:
    import pandas as pd
    import torch


@dataclass(frozen=True)
class Classification:
    """Classification of a text, or of a text and its pair, by a head on the pooled first token."""

    name: str = "sequence"
    columns: tuple[str, ...] = ("text", "label")
    metric: str = "accuracy"
    pooling: str = "first"

    def load(self, name: str, **settings: Any) -> Any:
        """Load `AutoModelForSequenceClassification`."""
        from transformers import AutoModelForSequenceClassification

        return AutoModelForSequenceClassification.from_pretrained(name, **settings)

    def encode(self, tokenizer: Any, frame: pd.DataFrame, max_length: int) -> list[list[int]]:
        """Token ids, cut at `max_length` (of a pair, the longer text is cut first)."""
        return list(self._tokens(tokenizer, frame, max_length)["input_ids"])

    def segments(self, tokenizer: Any, frame: pd.DataFrame, max_length: int) -> list[list[int]] | None:
        """Segment ids where the tokenizer gives them."""
        return self._tokens(tokenizer, frame, max_length).get("token_type_ids")

    def _tokens(self, tokenizer: Any, frame: pd.DataFrame, max_length: int) -> Any:
        texts = [list(frame[column]) for column in self.columns if column != "label"]
        return tokenizer(*texts, truncation=True, max_length=max_length, return_attention_mask=False, verbose=False)

    def targets(self, frame: pd.DataFrame, labels: Sequence[str]) -> np.ndarray:
        """Label names as their positions in `labels`."""
        position = {label: index for index, label in enumerate(labels)}
        return np.array([position[label] for label in frame["label"]], dtype=np.int64)

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy in float32."""
        import torch.nn.functional as functional

        return functional.cross_entropy(logits.float(), targets)

    def score(self, logits: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> Scored:
        """Correctness, margin and probabilities. logits `N×C`; among equal logits the first label is predicted."""
        logits = logits.astype(np.float64)
        rows = np.arange(len(targets))
        predicted = logits.argmax(axis=1)
        gold = logits[rows, targets]
        others = logits.copy()
        others[rows, targets] = -np.inf
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = shifted / shifted.sum(axis=1, keepdims=True)
        correct = (predicted == targets).astype(np.float64)
        details = {
            "label": [labels[index] for index in targets],
            "predicted": [labels[index] for index in predicted],
            "probabilities": list(probabilities.astype(np.float32)),
        }
        stats = np.stack([correct, targets.astype(np.float64), predicted.astype(np.float64)], axis=1)
        return Scored(correct, gold - others.max(axis=1), stats, details)


TYPE = Classification()
