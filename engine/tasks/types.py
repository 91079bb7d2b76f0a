"""The protocol of task types, and the way from a type's name to its one implementation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch

TYPES = {"sequence": "engine.tasks.sequence", "pair": "engine.tasks.pair"}


@dataclass(frozen=True)
class Scored:
    """Per-example results of a task type, in the order of the examples given.

    `score` is the item's metric, `margin` the gold logit minus the best other, `stats` what any metric of the
    type can be bootstrapped from (see engine.metrics), `details` further columns for `details.parquet`.
    """

    score: np.ndarray
    margin: np.ndarray
    stats: np.ndarray
    details: dict[str, list[Any]]


class TaskType(Protocol):
    """What the engine asks of a task type. `columns` are needed beside the optional id; texts come first."""

    name: str
    columns: tuple[str, ...]
    metric: str
    pooling: str

    def load(self, name: str, **settings: Any) -> Any:
        """Load a checkpoint with this type's head (`from_pretrained` of the right class)."""

    def encode(self, tokenizer: Any, frame: pd.DataFrame, max_length: int) -> list[list[int]]:
        """Token ids per example, special tokens included, cut at `max_length`."""

    def segments(self, tokenizer: Any, frame: pd.DataFrame, max_length: int) -> list[list[int]] | None:
        """Segment ids per example for models that have them, else None."""

    def targets(self, frame: pd.DataFrame, labels: Sequence[str]) -> np.ndarray:
        """The training targets, one per example."""

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean task loss of a batch."""

    def score(self, logits: np.ndarray, targets: np.ndarray, labels: Sequence[str]) -> Scored:
        """Score examples from their logits."""


def task_type(name: str) -> TaskType:
    """The implementation of a task type; an unknown name lists the choices."""
    if name not in TYPES:
        raise ValueError(f"type: must be one of {', '.join(TYPES)}; got {name!r}")
    found: TaskType = import_module(TYPES[name]).TYPE
    return found
