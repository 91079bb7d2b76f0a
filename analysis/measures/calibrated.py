"""Does a language keep more where the criterion looked at it? Methods that differ in calibration languages only (M§3, M§6.9)."""

from __future__ import annotations

from typing import Any

import pandas as pd

from analysis.measures.plan import Study

KEYS = ("study", "split", "recipe", "sparsity", "method", "language")
VALUES = ("drop", "drop_low", "drop_high", "seeds", "n")


def languages_of(config: dict[str, Any]) -> tuple[str, ...]:
    """The languages whose texts a method's criterion looks at: its own setting, the study's, else the sources."""
    own = {**config.get("calibration", {}), **config.get("overrides", {}).get("calibration", {})}
    return tuple(own.get("languages") or config["sources"])


def matrix(study: Study, degraded: pd.DataFrame) -> pd.DataFrame:
    """The drop of every language under methods of one recipe with different calibration languages.

    One row per split, recipe, level, method and language: calibration (its languages), own (is this language among
    them?), and the drop with its interval. Recipes whose methods all calibrate alike have no rows.
    """
    used = {run.method: languages_of(config) for run, config, _ in study.runs.values()}
    if degraded.empty:
        return pd.DataFrame()
    rows = degraded[[*KEYS, *VALUES]].assign(calibration=[", ".join(used[name]) for name in degraded["method"]])
    differ = rows.groupby("recipe")["calibration"].transform("nunique") > 1
    rows = rows[differ].reset_index(drop=True)
    own = [code in used[name] for code, name in zip(rows["language"], rows["method"], strict=True)]
    return rows.assign(own=own) if len(rows) else pd.DataFrame()
