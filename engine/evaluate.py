"""Model and examples → per-example rows: what every number about degradation is computed from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from engine.data import Encoded, TaskData, evaluation_batches
from engine.model import inputs
from engine.tasks.types import Scored, TaskType

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn


def logits_of(model: nn.Module, encoded: Encoded, handle: Accelerator) -> np.ndarray:
    """Logits of all examples `N×C` in float32 and in the order given; batches are cut by length over all languages."""
    import torch

    model.eval()
    found: np.ndarray | None = None
    with torch.no_grad(), handle.autocast():
        for rows in evaluation_batches(encoded.lengths()):
            out = model(**inputs(encoded.batch(rows, handle.device))).logits.float().cpu().numpy()
            if found is None:
                found = np.empty((len(encoded), *out.shape[1:]), dtype=np.float32)
            found[rows] = out
    if found is None:
        raise ValueError("encoded: must have at least one example; got none")
    return found


def score(model: nn.Module, kind: TaskType, encoded: Encoded, labels: tuple[str, ...], handle: Accelerator) -> Scored:
    """Score all examples."""
    return kind.score(logits_of(model, encoded, handle), encoded.targets, labels)


def predictions(scored: Scored, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(`predictions`, `details`): one row per item, in the order of `frame` (language, split, id, text, [pair])."""
    keys = frame[["language", "split", "id"]].reset_index(drop=True)
    rows = keys.assign(group_id=keys["id"], score=scored.score, margin=scored.margin, stats=list(scored.stats))
    texts: dict[str, Any] = {column: frame[column].to_numpy() for column in ("text", "pair") if column in frame}
    return rows, keys.assign(**scored.details, **texts)


def test_frame(data: TaskData) -> pd.DataFrame:
    """All evaluated rows: the test split and the task's extra ones, every language."""
    frames = [data.split(split, data.languages).assign(split=split) for split in ("test", *data.extra)]
    return pd.concat(frames, ignore_index=True)
