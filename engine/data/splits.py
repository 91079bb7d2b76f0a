"""Which items are kept: caps and the split of validation go by a hash of the id, so that every language keeps the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pandas as pd

from engine.tasks.types import TaskType

VALIDATION_SHARE = 0.1


def common_ids(frames: Mapping[tuple[str, str], pd.DataFrame], split: str) -> set[str]:
    """Ids that every language of a split has."""
    found = [set(frame["id"]) for (name, _), frame in frames.items() if name == split]
    return set.intersection(*found) if found else set()


def hash_order(ids: pd.Series) -> np.ndarray:
    """Positions sorted by a hash of the id: the same choice in every language that has the same ids."""
    keys = [hashlib.sha256(f"prunoscope/{identity}".encode()).digest() for identity in ids]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def keys_of(frame: pd.DataFrame) -> pd.Series:
    """What is kept or left out as a whole: the item's id, or its group where items have one (the candidates of a query)."""
    return frame["group"] if "group" in frame else frame["id"]


def capped(frame: pd.DataFrame, limit: int) -> pd.DataFrame:
    """At most `limit` items (or groups), by a hash of their id, in the frame's order."""
    return cap(frame, limit, set())


def cap(frame: pd.DataFrame, limit: int, first: set[str]) -> pd.DataFrame:
    """Keep `limit` rows by a hash of the id, ids in `first` before others, so that all languages keep the same ones.

    Rows with a group are kept group by group, and the limit counts groups.
    """
    keys = keys_of(frame).drop_duplicates() if "group" in frame else frame["id"]
    order = hash_order(keys)
    late = ~keys.isin(first).to_numpy()[order]
    chosen = order[np.argsort(late, kind="stable")][:limit]
    if "group" in frame:
        return frame[frame["group"].isin(set(keys.iloc[chosen]))].reset_index(drop=True)
    return frame.iloc[np.sort(chosen)].reset_index(drop=True)


def split_validation(frames: dict[tuple[str, str], pd.DataFrame], code: str, kind: TaskType) -> str:
    """Move a tenth of every label (never its last example) from train to validation, chosen by a hash of the id.

    Rows with a group move as whole groups, a tenth of the groups.
    """
    frame = frames["train", code]
    if "group" in frame:
        groups = frame["group"].drop_duplicates()
        count = min(max(1, round(VALIDATION_SHARE * len(groups))), len(groups) - 1)
        moved = frame["group"].isin(set(groups.iloc[hash_order(groups)[:count]]))
        taken, what = np.flatnonzero(moved.to_numpy()), "a tenth of the groups"
    else:
        order = hash_order(frame["id"])
        labels = kind.strata(frame).iloc[order]
        sizes = labels.map(labels.value_counts()).to_numpy()
        share = np.minimum(np.maximum(1, np.round(VALIDATION_SHARE * sizes)), sizes - 1)
        taken = np.sort(order[labels.groupby(labels).cumcount().to_numpy() < share])
        what = "a tenth of every label" if labels.iloc[0] else "a tenth"
    frames["validation", code] = frame.iloc[taken].reset_index(drop=True)
    frames["train", code] = frame.drop(index=taken).reset_index(drop=True)
    return f"validation {code}: {len(taken)} examples of train, {what}, chosen by a hash of the id"
