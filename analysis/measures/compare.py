"""Comparisons on disk: pairs of methods of one study or of two, made from predictions and from what is measured already.

`pairs`, `contrasts` and `mask_pairs` stand in `STORE/<study>/measures/`; those with another study as variants
`pairs-<other>` of the study that was named first, so that a reader of `pairs` finds both.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock

from analysis import pairs, tables
from analysis.items import collect
from analysis.measures import files
from analysis.measures.overlap import Masks, shared
from analysis.measures.plan import Study
from engine import record
from engine.record import Level

Say = Callable[[str], None]
NAMES = ("pairs", "contrasts", "mask_pairs")
# Table of the levels -> columns that are compared.
INSIDE = {
    "separability": ("r_squared", "fisher_ratio", "class_snr", "pruning_snr_db"),
    "similarity": ("cka",),
    "crosslingual": ("retrieval",),
}
RECOVERY = ("after_mask", "updates_to_recover", "recovered_share")
LAST = -1  # the "layer" of measures that have none


def compare(store: Path, study: str, other: str | None = None, say: Say = print) -> list[str]:
    """Compute and store the comparisons inside a study, or between it and another; one line per problem.

    What is stored and still of the same runs is not computed again.
    """
    names = [study] if other is None else [study, other]
    for name in names:
        tables.study_names(store, name)
    folder, suffix = files.of_study(store, study), f"-{other}" if other else ""
    folder.mkdir(parents=True, exist_ok=True)
    problems: list[str] = []
    with FileLock(folder / ".compare.lock"):
        key = files.key([Study.read(store, name).whole_key() for name in names], _stamps(store, names))
        makers: dict[str, Callable[[], pd.DataFrame]] = {
            "pairs": lambda: _pairs(store, names, problems),
            "contrasts": lambda: _across(pairs.contrasts(values(store, names, problems)), names),
            "mask_pairs": lambda: _across(mask_pairs(store, names, problems), names),
        }
        for name, make in makers.items():
            if not files.stored(folder, name + suffix, key):
                frame = make()
                files.write(folder, name + suffix, key, frame)
                say(f"{' and '.join(names)}: {name}, {len(frame)} rows")
    return list(dict.fromkeys(problems))


def _across(frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Of a comparison of two studies the pairs that join them: those inside are stored with each."""
    if len(names) == 1 or frame.empty:
        return frame
    return frame[frame["study_a"] != frame["study_b"]].reset_index(drop=True)


def _stamps(store: Path, names: list[str]) -> list[str]:
    """The names of the level measures that are read: each holds the digest of what it was made from."""
    return sorted(
        f"{name}/{run.name}/{level.path.name}/{path.name}"
        for name in names
        for run in record.runs(store, name)
        for level in run.levels()
        for kind in INSIDE
        for path in files.newest(files.of_level(level), kind)
    )


def _pairs(store: Path, names: list[str], problems: list[str]) -> pd.DataFrame:
    splits = dict.fromkeys(
        split
        for name in names
        for _, config in tables.readable(store, name, problems)
        for split in config.get("splits", ["test"])
    )
    found = [pairs.score_pairs(*(collect(store, name, split, problems) for name in names)) for split in splits]
    found = [frame for frame in found if len(frame)]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def values(store: Path, names: list[str], problems: list[str]) -> pd.DataFrame:
    """What `pairs.contrasts` compares: stored measures of all pruned levels in one long table, in the task's pooling."""
    keys = ["study", "method", "recipe", "seed", "sparsity", "language", "layer"]
    parts = []
    for name in names:
        for table, columns in INSIDE.items():
            frame = files.read_levels(store, name, table, problems)
            if frame.empty:
                continue
            frame = frame[(frame["role"] == "pruned") & (frame["pooling"] == _pooling(frame))]
            frame = frame[frame["variant"] == "raw"] if "variant" in frame else frame
            parts += [_long(frame, keys, column) for column in columns]
        cycles = files.read_study(store, name, "recovery")
        if len(cycles):
            cycles = cycles[~cycles["method"].isin(tables.CONTROLS)].assign(language="", layer=LAST)
            parts += [_long(cycles, keys, column) for column in RECOVERY]
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _pooling(frame: pd.DataFrame) -> str:
    return str(sorted(frame["pooling"].unique(), key=lambda how: (how == "mean", how))[0])


def _long(frame: pd.DataFrame, keys: list[str], column: str) -> pd.DataFrame:
    part = frame[[*keys, column]].rename(columns={column: "value"}).assign(measure=column)
    return part[np.isfinite(part["value"].astype(float))]


def mask_pairs(store: Path, names: list[str], problems: list[str]) -> pd.DataFrame:
    """Jaccard overlap of what two methods kept at the same level and seed, beside what chance would give (M§6.8)."""
    found: dict[tuple[float, int], dict[tuple[str, str, str], Level]] = {}
    for name in names:
        for run, config in tables.readable(store, name, problems):
            if run.method in tables.CONTROLS:
                continue
            for level, facts in tables.finished(run, config, problems):
                if level.has("masks.safetensors"):
                    place = (float(facts["sparsity"]), run.seed)
                    found.setdefault(place, {})[name, run.method, str(config["recipe"])] = level
    rows = []
    for (sparsity, seed), levels in found.items():
        masks: dict[tuple[str, str, str], Masks] = {}
        for key, level in levels.items():
            with tables.tolerated("/".join(key[:2]), problems):
                masks[key] = Masks.read(level)
        for a, b in combinations(masks, 2):
            sides = {f"{what}_{side}": value for side, key in (("a", a), ("b", b)) for what, value in zip(pairs.KEYS, key, strict=True)}  # fmt: skip
            row: dict[str, Any] = {**sides, "sparsity": sparsity, "seed": seed, **shared(masks[a], masks[b])}
            if row["matrices"]:
                rows.append(row)
            else:
                problems.append(f"{a[0]}/{a[1]} and {b[0]}/{b[1]}: no mask has equal name and shape in both")
    return pd.DataFrame(rows)
