"""Does a language keep more where the criterion looked at it? Methods that differ in calibration languages only (M§3, M§6.9)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.measures.blocks import Block, with_interval
from analysis.measures.drops import keys, mean_drop
from analysis.measures.plan import Study
from engine import record

KEYS = ["study", "split", "recipe", "sparsity", "method", "language"]
VALUES = ["drop", "drop_low", "drop_high", "seeds", "n"]
ITS_OWN = ("name", "keep_weights")  # of a plan: what two methods may differ in without pruning differently


def languages_of(config: dict[str, Any]) -> tuple[str, ...]:
    """The languages whose texts a method's criterion looks at: its own setting, the study's, else the sources."""
    return tuple(_calibration(config).get("languages") or config["sources"])


def _calibration(config: dict[str, Any]) -> dict[str, Any]:
    return {**config.get("calibration", {}), **config.get("overrides", {}).get("calibration", {})}


def alike(config: dict[str, Any]) -> str:
    """What a method is apart from its name and its calibration languages: methods with the same digest differ in these only."""
    plan = {key: value for key, value in config.get("plan", {}).items() if key not in ITS_OWN}
    settings = {key: value for key, value in _calibration(config).items() if key != "languages"}
    return record.digest([config["recipe"], plan, settings, config.get("overrides", {}).get("train", {})])


def matrix(study: Study, degraded: pd.DataFrame, own: Sequence[Block]) -> pd.DataFrame:
    """The drop of every language under methods that differ in their calibration languages only.

    One row per split, group of methods, level, method and language: calibration (its languages), own (is this language
    among them?), the drop with its interval, and advantage (with _low, _high): the score less the mean of the group's
    methods that did not look at exactly these languages, on the same items. Methods that nothing is to be compared
    with have no rows.
    """
    configs = {run.method: config for run, config, _ in study.runs.values()}
    used = {name: languages_of(config) for name, config in configs.items()}
    if degraded.empty:
        return pd.DataFrame()
    rows = degraded[[*KEYS, *VALUES]].assign(
        calibration=[", ".join(used[name]) for name in degraded["method"]],
        group=[alike(configs[name]) for name in degraded["method"]],
    )
    differ = rows.groupby(["split", "group", "sparsity"])["calibration"].transform("nunique") > 1
    rows = rows[differ].reset_index(drop=True)
    if rows.empty:
        return pd.DataFrame()
    rows["own"] = [code in used[name] for code, name in zip(rows["language"], rows["method"], strict=True)]
    groups = dict(zip(rows["method"], rows["group"], strict=True))
    found = pd.DataFrame([row for block in own for row in _advantages(block, groups, used)])
    return rows.merge(found, on=[*KEYS[:2], "sparsity", "method", "language"], how="left").drop(columns="group")


def _advantages(block: Block, groups: dict[str, str], used: dict[str, tuple[str, ...]]) -> Iterator[dict[str, Any]]:
    states = [state for state in block.pruned() if state.method in groups]
    for state in states:
        others = [
            other
            for other in states
            if groups[other.method] == groups[state.method]
            and other.sparsity == state.sparsity
            and used[other.method] != used[state.method]
        ]
        for code in block.items.languages if others else ():
            columns = np.array([block.column(other) for other in others])
            value = float(np.mean([mean_drop(state, other, code) for other in others]))
            values_B = block.score[code][:, block.column(state)] - block.score[code][:, columns].mean(1)
            facts = {name: keys(block, state)[name] for name in ("study", "split", "sparsity", "method")}
            yield {**facts, "language": code, **with_interval("advantage", value, values_B)}
