"""What goes with the drop over languages (M§6.9): one table of rank correlations, with interval and leave-one-out."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import correlates as describe
from analysis.measures.blocks import SEED
from analysis.text import LEAST
from engine.tasks.languages import resolve

# Column -> where it comes from. Fertility counts words in some languages and characters in others: only the former compare.
FACTORS = (
    "retrieval_loss", "cka_loss", "fertility", "tokens_per_character", "truncated", "unknown", "same_script", "resource", "dense",
)  # fmt: skip
KEYS = ["study", "split", "method", "recipe", "sparsity"]
BUNDLED = Path(__file__).parent.parent.parent / "engine" / "demo" / "languages.toml"


@cache
def resource(code: str, model: str) -> float:
    """How much of a language the encoder was pretrained on: the bundled one's own shares, else GiB in CC-100; NaN unknown."""
    if model == "bundled":
        shares: dict[str, float] = tomllib.loads(BUNDLED.read_text(encoding="utf-8"))["resource"]
        return float(shares.get(code, np.nan))
    return resolve(code).resource or np.nan


def factors(degraded: pd.DataFrame, pieces: pd.DataFrame, near: pd.DataFrame, model: str) -> pd.DataFrame:
    """Per split, method, level and zero-shot language: the drop and every factor (NaN where it is not known).

    `near`: the level measure `crosslingual`; its last layer under the task's pooling, mean over seeds. same_script: 1
    where the language is written like the first source.
    """
    if degraded.empty:
        return pd.DataFrame()
    rows = degraded.loc[~degraded["source"], [*KEYS, "language", "drop", "dense"]]
    if len(pieces):
        kinds = ["split", "language", "unit", "fertility", "tokens_per_character", "truncated", "unknown"]
        rows = rows.merge(pieces[kinds], on=["split", "language"], how="left")
        rows["fertility"] = rows["fertility"].where(rows["unit"] == "word")
    losses = ["retrieval_loss", "cka_loss"]
    rows = rows.merge(_losses(near, losses), on=["method", "sparsity", "language"], how="left") if len(near) else rows
    sources = degraded.loc[degraded["source"], "language"]
    script = resolve(str(sources.iloc[0])).script if len(sources) else ""
    rows = rows.assign(
        same_script=[float(resolve(code).script == script) for code in rows["language"]],
        resource=[resource(code, model) for code in rows["language"]],
    )
    return rows.assign(**{name: np.nan for name in FACTORS if name not in rows}).drop(columns="unit", errors="ignore")


def _losses(near: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    pruned = near[(near["role"] == "pruned") & (near["layer"] == near["layer"].max())].assign(
        **{name: np.nan for name in names if name not in near}
    )
    pooling = sorted(pruned["pooling"].unique(), key=lambda how: (how == "mean", how))[:1]
    return (
        pruned[pruned["pooling"].isin(pooling)]
        .groupby(["method", "sparsity", "language"], as_index=False)[names]
        .mean()
    )


def correlates(table: pd.DataFrame) -> pd.DataFrame:
    """One row per split, method, level and factor that has 4 languages and varies.

    rho with low and high (bootstrap over languages), without_low and without_high (any one language left out),
    decisive (the language whose absence changes most), languages (how many).
    """
    rows = [
        row for place, group in (table.groupby(KEYS, sort=False) if len(table) else ()) for row in _rows(place, group)
    ]
    return pd.DataFrame(rows)


def _rows(place: Any, group: pd.DataFrame) -> Iterator[Mapping[str, Any]]:
    for name in FACTORS:
        part = group.dropna(subset=[name, "drop"])
        if len(part) < LEAST or part[name].nunique() < 2:
            continue
        rho, low, high = describe.rank_correlation(part[name], part["drop"], SEED)
        least, most, decisive = describe.leave_one_out(part[name], part["drop"])
        yield {
            **dict(zip(KEYS, place, strict=True)),
            "factor": name,
            "rho": rho,
            "low": low,
            "high": high,
            "without_low": least,
            "without_high": most,
            "decisive": part["language"].iloc[decisive] if decisive >= 0 else "",
            "languages": len(part),
        }
