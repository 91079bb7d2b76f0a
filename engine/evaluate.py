"""Model and examples → per-item rows: what every number about degradation is computed from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from engine import metrics, processes
from engine.data import Encoded, TaskData, evaluation_batches
from engine.tasks.batches import Ragged
from engine.tasks.types import Scored, TaskType

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn


def outputs_of(model: nn.Module, kind: TaskType, encoded: Encoded, handle: Accelerator) -> Ragged:
    """The type's outputs of all items, in the order given; batches are cut by length over all languages."""
    import torch

    if not len(encoded):
        raise ValueError("encoded: must have at least one example; got none")
    model.eval()

    def own() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        found = []
        with torch.no_grad(), handle.autocast():
            for items in processes.dealt(evaluation_batches(encoded.lengths(), rows=encoded.counts)):
                rows = kind.outputs(model, encoded.batch(items, handle.device))
                found.append((rows.values.float().cpu().numpy(), rows.counts.cpu().numpy(), items))
        return found

    values, counts, order = zip(*(batch for part in processes.shared(own) for batch in part), strict=True)
    return Ragged.of(values, counts, np.concatenate(order))


def score(
    model: nn.Module,
    kind: TaskType,
    frame: pd.DataFrame,
    encoded: Encoded,
    labels: tuple[str, ...],
    handle: Accelerator,
) -> Scored:
    """Score all items of a frame and its encoding."""
    return kind.score(outputs_of(model, kind, encoded, handle), frame, encoded, labels)


def value(kind: TaskType, stats: np.ndarray | pd.Series) -> float:
    """The type's headline metric over items; 0 where it is undefined (the correlation of a constant prediction)."""
    rows = np.stack(list(stats))
    return float(np.nan_to_num(metrics.FUNCTIONS[kind.metric](rows), nan=0.0))


def predictions(scored: Scored, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(`predictions`, `details`): one row per scored item, in the order of `frame` (language, split, id, the texts)."""
    part = frame if scored.rows is None else frame.iloc[scored.rows]
    keys = part[["language", "split", "id"]].reset_index(drop=True)
    keys = keys if scored.ids is None else keys.assign(id=scored.ids)
    rows = keys.assign(group_id=keys["id"], score=scored.score, margin=scored.margin, stats=list(scored.stats))
    texts = {column: part[column].map(_cell).to_numpy() for column in TEXTS if column in part}
    return rows, keys.assign(
        **scored.details, **{name: cells for name, cells in texts.items() if name not in scored.details}
    )


# Columns of the frame that are shown beside a prediction.
TEXTS = (
    "text",
    "pair",
    "tokens",
    "question",
    "context",
    "query",
    "choice1",
    "choice2",
    "choice3",
    "choice4",
    "choice5",
)


def _cell(cell: Any) -> Any:
    return list(cell) if isinstance(cell, tuple) else cell


def test_frame(data: TaskData) -> pd.DataFrame:
    """All evaluated rows: the test split and the task's extra ones, every language."""
    frames = [data.split(split, data.languages).assign(split=split) for split in ("test", *data.extra)]
    return pd.concat(frames, ignore_index=True)
