"""Task type `regression`: one text or two, a number; scored by correlation (STS-B, M§5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.tasks.batches import Encoded, Ragged
from engine.tasks.sequence import encode_texts, load_classifier
from engine.tasks.types import Scored, TaskType

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor


@dataclass(frozen=True)
class Regression(TaskType):
    """One output on the pooled token, trained by the squared error on the scale of the data.

    It has no classes: no KL and no entropy weight, a distillation compares the outputs themselves (M§4). An item's
    score and margin are minus its absolute error, because a correlation is a property of the set alone.
    """

    name: str = "regression"
    columns: tuple[str, ...] = ("text", "label")
    optional: tuple[str, ...] = ("pair",)
    metric: str = "pearson"
    pooling: str = "first"
    classes: bool = False

    def prepare(self, frame: pd.DataFrame, split: str, where: str) -> tuple[pd.DataFrame, list[str]]:
        """Labels as numbers."""
        import pandas as pd

        values = pd.to_numeric(frame["label"], errors="coerce")
        wrong = ~np.isfinite(values.to_numpy(dtype=np.float64))
        if wrong.any():
            row = int(np.argmax(wrong))
            return frame, [
                f"{where}: label must be a number; got {frame['label'].iloc[row]!r} in row {row + 1} ({int(wrong.sum())} such rows)"
            ]
        return frame.assign(label=values.astype(np.float64)), []

    def inventory(self, frame: pd.DataFrame) -> list[str]:
        """One output, no classes."""
        return ["value"]

    def load(self, name: str, **settings: Any) -> Any:
        """Load `AutoModelForSequenceClassification` with one output."""
        return load_classifier(name, **settings)

    def encode(
        self, tokenizer: Any, frame: pd.DataFrame, labels: tuple[str, ...], max_length: int, segments: bool = False
    ) -> Encoded:
        """Token ids, the longer text cut first; targets are the numbers."""
        texts = [list(frame[column]) for column in ("text", "pair") if column in frame]
        return encode_texts(tokenizer, texts, frame["label"].to_numpy(dtype=np.float32), max_length, segments)

    def loss(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean squared error in float32."""
        import torch.nn.functional as functional

        return functional.mse_loss(logits.float()[:, 0], batch["targets"])

    def rows(self, logits: Tensor, batch: Mapping[str, Tensor]) -> None:
        """None: there are no classes to compare."""

    def score(self, outputs: Ragged, frame: pd.DataFrame, encoded: Encoded, labels: tuple[str, ...]) -> Scored:
        """Gold and predicted numbers."""
        gold, predicted = frame["label"].to_numpy(dtype=np.float64), outputs.values[:, 0].astype(np.float64)
        error = -np.abs(gold - predicted)
        details = {"label": gold.tolist(), "predicted": predicted.tolist()}
        return Scored(error, error, np.stack([gold, predicted], axis=1), details)


TYPE = Regression()
