"""Restoration with intervals (M§6.6), from the items that `python -m engine restore` stored beside a level."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import inference, restoration
from analysis.measures import files
from analysis.measures.blocks import SEED, limits
from analysis.measures.drops import MEAN
from analysis.measures.states import View
from engine import record
from engine.record import Level

Floats = NDArray[np.float64]
KINDS = {"score": "", "margin": "_margin"}
PART = ["partition", "part", "place", "direction"]


def source(level: Level) -> Path | None:
    """The newest items of a restoration of this very level; None where there are none, or older than the level."""
    found = files.newest(files.of_level(level), "restoration_items")
    size = level.path / "size.json"
    fresh = [path for path in found if path.stat().st_mtime >= size.stat().st_mtime]
    return fresh[-1] if fresh else None


def restored(view: View) -> pd.DataFrame:
    """One row per partition, part, direction and language (and the mean of the zero-shot ones).

    effect: what the part carries (`analysis.restoration.effect`) with _low and _high, a bootstrap over the items of
    this seed; total (dense − pruned) with interval; share: effect/total, NaN where the total's interval holds 0; gap:
    total less all single effects of the partition and direction. The same columns for margins end in `_margin`.
    """
    path = source(view.level)
    if path is None:
        return pd.DataFrame()
    frame = record.read_frame(path)
    frames = [
        _language(code, _table(group), code in view.sources) for code, group in frame.groupby("language", sort=False)
    ]
    tables = {str(code): _table(group) for code, group in frame.groupby("language", sort=False)}
    others = [code for code in tables if code not in view.sources]
    if len(others) > 1 and (mean := _mean([tables[code] for code in others])):
        frames.append(_language(MEAN, mean, False))
    return pd.concat([pd.DataFrame(rows) for rows in frames], ignore_index=True)


Table = Mapping[tuple[Any, ...], dict[str, Floats]]  # part -> kind -> items


def _table(group: pd.DataFrame) -> dict[tuple[Any, ...], dict[str, Floats]]:
    ids = sorted(group["id"].unique())
    return {
        place: {kind: rows.set_index("id")[kind].reindex(ids).to_numpy(dtype=np.float64) for kind in KINDS}
        for place, rows in group.groupby(PART, sort=False)
    }


def _mean(tables: list[dict[tuple[Any, ...], dict[str, Floats]]]) -> dict[tuple[Any, ...], dict[str, Floats]]:
    """The mean over languages item by item, where all have equally many (parallel) items; else nothing."""
    sizes = {len(next(iter(table.values()))["score"]) for table in tables}
    if len(sizes) > 1:
        return {}
    return {
        place: {kind: np.mean([table[place][kind] for table in tables], axis=0) for kind in KINDS}
        for place in tables[0]
    }


def _language(code: Any, table: Table, is_source: bool) -> list[dict[str, Any]]:
    whole = {place[1]: values for place, values in table.items() if place[0] == "whole"}
    n = len(whole["dense"]["score"])
    counts_BN = inference.resample_counts(n, inference.generator(SEED)) / n
    rows = []
    for place, values in table.items():
        if place[0] == "whole":
            continue
        row: dict[str, Any] = {**dict(zip(PART, place, strict=True)), "language": code, "source": is_source, "n": n}
        for kind, suffix in KINDS.items():
            row |= _effect(whole, values, kind, suffix, place[3], counts_BN)
        rows.append(row)
    return _with_gaps(rows)


def _effect(
    whole: Mapping[str, Mapping[str, Floats]], values: Mapping[str, Floats], kind: str, suffix: str, direction: Any, counts_BN: Floats
) -> dict[str, float]:  # fmt: skip
    dense_N, pruned_N = whole["dense"][kind], whole["pruned"][kind]
    effect_N, total_N = restoration.effect(dense_N, pruned_N, values[kind], direction), dense_N - pruned_N
    low, high = limits(counts_BN @ effect_N)
    total_low, total_high = limits(counts_BN @ total_N)
    effect, total = float(effect_N.mean()), float(total_N.mean())
    known = total_low > 0 or total_high < 0
    row = {"dense": float(dense_N.mean()), "pruned": float(pruned_N.mean()), "changed": float(values[kind].mean())}
    row |= {
        "effect": effect,
        "effect_low": low,
        "effect_high": high,
        "total": total,
        "total_low": total_low,
        "total_high": total_high,
    }
    row["share"] = effect / total if known else np.nan
    return {f"{name}{suffix}": value for name, value in row.items()}


def _with_gaps(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    frame = pd.DataFrame(rows)
    for suffix in KINDS.values():
        for _, index in frame.groupby(["partition", "direction"], sort=False).indices.items():
            part = frame.iloc[index]
            gap = restoration.interaction_gap(float(part[f"total{suffix}"].iloc[0]), part[f"effect{suffix}"])
            frame.loc[part.index, f"gap{suffix}"] = gap
    return frame.to_dict("records")  # type: ignore[return-value]
