"""The test items whose activations are kept."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from engine.data.splits import hash_order
from engine.data.task import TaskData
from engine.tasks.types import TaskType


def probe_frame(data: TaskData, examples: int, languages: Sequence[str] | None) -> pd.DataFrame:
    """The test items whose activations are kept: per language, stratified by label, the same ids where parallel."""
    codes = list(languages or data.languages)
    if not data.parallel:
        return pd.concat(
            [_stratified(data.frames["test", code].assign(language=code), examples, data.type) for code in codes],
            ignore_index=True,
        )
    common = set.intersection(*(set(data.frames["test", code]["id"]) for code in codes))
    reference = data.frames["test", codes[0]]
    chosen = set(_stratified(reference[reference["id"].isin(common)], examples, data.type)["id"])
    frames = [
        frame[frame["id"].isin(chosen)].sort_values("id").assign(language=code)
        for code in codes
        if (frame := data.frames["test", code]) is not None
    ]
    return pd.concat(frames, ignore_index=True)


def probe(data: TaskData, examples: int, languages: Sequence[str] | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(items to encode, rows of `probe.parquet`): of the same length, or with several words of an item as rows."""
    return data.type.probe_rows(probe_frame(data, examples, languages), data.labels)


def _stratified(frame: pd.DataFrame, examples: int, kind: TaskType) -> pd.DataFrame:
    """At most `examples` rows, labels taken in turn, within a label by a hash of the id."""
    ordered = frame.iloc[hash_order(frame["id"])]
    label = kind.strata(ordered)
    turn = label.groupby(label).cumcount()
    chosen = ordered.assign(turn=turn.to_numpy(), stratum=label.to_numpy())
    chosen = chosen.sort_values(["turn", "stratum"], kind="stable").head(examples)
    return chosen.drop(columns=["turn", "stratum"]).sort_values("id").reset_index(drop=True)
