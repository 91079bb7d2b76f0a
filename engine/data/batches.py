"""Frames as tokens, and the order in which batches take them: bucketed by length, decided by the seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from engine.data.task import TaskData
from engine.tasks.batches import Encoded


def encode(data: TaskData, frame: pd.DataFrame, tokenizer: Any, max_length: int, segments: bool) -> Encoded:
    """Tokenise a frame; `segments` says whether the model tells the two texts of a pair apart by segment ids."""
    return data.type.encode(tokenizer, frame, data.labels, max_length, segments)


def training_batches(lengths: np.ndarray, batch_size: int, seed: Sequence[int], bucket: int = 50) -> list[np.ndarray]:
    """Item numbers of one epoch's batches: shuffled, then sorted by length within buckets of `bucket` batches.

    The order depends on `seed` (study seed and place of the epoch) alone, so all methods see the same batches (common
    random numbers). Padding falls from about half of all tokens to a few percent.
    """
    generator = np.random.default_rng([*seed, 1])
    order = generator.permutation(len(lengths))
    batches: list[np.ndarray] = []
    for first in range(0, len(order), bucket * batch_size):
        part = order[first : first + bucket * batch_size]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[start : start + batch_size] for start in range(0, len(part), batch_size)]
    generator.shuffle(batches)  # type: ignore[arg-type]
    return batches


def evaluation_batches(lengths: np.ndarray, tokens: int = 4096, rows: np.ndarray | None = None) -> list[np.ndarray]:
    """Item numbers sorted by length, cut where a padded batch would exceed `tokens`: all languages in one stream.

    `rows`: how many rows each item has (default one).
    """
    order = np.argsort(lengths, kind="stable")
    batches, start, held = [], 0, 0
    for stop in range(1, len(order) + 1):
        held += 1 if rows is None else int(rows[order[stop - 1]])
        more = 0 if stop == len(order) else 1 if rows is None else int(rows[order[stop]])
        if stop == len(order) or int(lengths[order[stop]]) * (held + more) > tokens:
            batches.append(order[start:stop])
            start, held = stop, 0
    return batches
