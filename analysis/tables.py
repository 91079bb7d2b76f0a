"""Run folders → tidy tables: what every measure, figure and page starts from.

Cheap reads of files that the engine wrote, nothing derived is stored here and nothing is cached. A level counts once
its `size.json` is there; an unfinished run contributes the levels that it has finished. States of a model are matched
by the ids of their items, never by row order.

Every reader of a whole study takes `problems`: with a list, a broken run is named there and left out, so that one bad
folder never hides the rest; without, it raises `RecordError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from engine import metrics as scoring
from engine import record
from engine.record import Level, RecordError, Run

if TYPE_CHECKING:
    from analysis.items import Items
    from engine.registry import Metric, Registry

Floats = NDArray[np.float64]
Problems = list[str] | None

KEYS = ("study", "method", "recipe", "seed", "sparsity", "measured_sparsity")
SCORES = (*KEYS, "language", "split", "metric", "value", "n", "low", "high", "updates")
RUNS = ("study", "run", "method", "recipe", "seed", "state", "seconds", "levels")
CONTROLS = ("dense", "dense_continued")
CONFIG = ("recipe", "type", "metric", "sources", "languages", "levels", "parallel")  # what is read of a configuration
RESAMPLES = 1000  # of the intervals in `scores`; the 2.5% limit then rests on 25 values


def __getattr__(name: str) -> Registry[Metric]:
    """`MEASURES`, the table of all measures. Built when asked for: tables are read without loading scipy."""
    if name != "MEASURES":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from analysis import (
        calibration,
        correlates,
        degradation,
        flips,
        inference,
        probing,
        projection,
        recovery,
        restoration,
        separability,
        similarity,
        text,
        weights,
    )
    from engine.registry import Registry

    modules = (
        degradation,
        inference,
        flips,
        separability,
        similarity,
        projection,
        weights,
        calibration,
        recovery,
        restoration,
        text,
        correlates,
        probing,
    )
    found = Registry("measure", tuple(row for module in modules for row in module.ROWS))
    globals()[name] = found
    return found


# -- what a store holds ------------------------------------------------------------------------------------------


@contextmanager
def tolerated(name: str, problems: Problems) -> Iterator[None]:
    """Turn what a broken folder raises into a line of `problems`, or into `RecordError` where none are collected."""
    try:
        yield
    except (RecordError, OSError, KeyError, ValueError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) and error.args else str(error)
        line = f"{name}: {' '.join(reason.split())}"
        if problems is None:
            raise RecordError(line) from error
        problems.append(line)


def study_names(store: Path, study: str | None = None) -> list[str]:
    """The studies to read: all of the store, or the one named; an absent store and an unknown study are refused."""
    if not store.is_dir():
        raise RecordError(f"STORE: must be a folder of runs; got {store}")
    known = record.studies(store)
    if study is not None and study not in known:
        raise RecordError(f"study: must be one of {', '.join(known) or 'none: the store is empty'}; got {study!r}")
    return known if study is None else [study]


def readable(store: Path, study: str, problems: Problems = None) -> Iterator[tuple[Run, dict[str, Any]]]:
    """All runs of a study that have a configuration, with it. A folder that a run has only just made is passed over."""
    for run in record.runs(store, study):
        if run.state() == "missing":
            continue
        config: dict[str, Any] = {}
        with tolerated(f"{study}/{run.name}", problems):
            config = _config(run)
        if config:
            yield run, config


def _config(run: Run) -> dict[str, Any]:
    config = run.config()
    if missing := [key for key in CONFIG if key not in config]:
        raise RecordError(f"{run.path / 'config.json'}: must have {', '.join(CONFIG)}; {', '.join(missing)} missing")
    return config


def finished(run: Run, config: dict[str, Any], problems: Problems = None) -> Iterator[tuple[Level, dict[str, Any]]]:
    """All finished levels of a run with what their rows begin with: `KEYS`, `updates` and `step`.

    `step` counts the retraining cycles behind a level (0 for dense): the k-th level of an arm and the k-th folder of
    `dense_continued` have cost the same number of updates.
    """
    name = f"{run.study}/{run.name}"
    levels: list[Level] = []
    with tolerated(name, problems):
        levels = run.levels()
    for level in levels:
        facts: dict[str, Any] = {}
        with tolerated(f"{name}/{level.path.name}", problems):
            facts = {**_facts(run, config, level), "step": _step(run.method, config, level, levels)}
        if facts:
            yield level, facts


def _facts(run: Run, config: dict[str, Any], level: Level) -> dict[str, Any]:
    size = level.size()
    updates = float(size["updates"]) if run.method in CONTROLS else np.nan
    values = (
        run.study,
        run.method,
        config["recipe"],
        run.seed,
        run.sparsity_of(level),
        float(size["sparsity_prunable"]),
    )
    return {**dict(zip(KEYS, values, strict=True)), "updates": updates}


def _step(method: str, config: dict[str, Any], level: Level, levels: list[Level]) -> int:
    if method == "dense":
        return 0
    if config.get("train", {}).get("retrain_epochs") == 0:
        return 1  # nothing is trained after a mask, so one unpruned level stands beside all of them
    if method == "dense_continued":
        return 1 + [other.path.name for other in levels].index(level.path.name)
    return 1 + folders(config).index(level.path.name)


def folders(config: dict[str, Any]) -> list[str]:
    """The names of a run's level folders in the order of its arm."""
    return list(config.get("folders") or [record.level_name(value) for value in config["levels"]])


def runs(store: Path, study: str | None = None, problems: Problems = None) -> pd.DataFrame:
    """One row per run: study, run, method, recipe, seed, state, seconds of computing, names of finished levels.

    A run whose configuration cannot be read stays in the table, with state "broken" and no recipe.
    """
    rows = [_run_row(run, problems) for name in study_names(store, study) for run in record.runs(store, name)]
    return pd.DataFrame(rows, columns=list(RUNS))


def _run_row(run: Run, problems: Problems) -> dict[str, Any]:
    row: dict[str, Any] = {"study": run.study, "run": run.name, "method": run.method, "recipe": None, "seed": run.seed}
    row |= {"state": "broken", "seconds": np.nan, "levels": []}
    with tolerated(f"{run.study}/{run.name}", problems if problems is not None else []):
        if (state := run.state()) != "missing":
            row["recipe"] = run.config()["recipe"]
        row |= {
            "seconds": float((run.status() or {}).get("seconds", np.nan)),
            "levels": [x.path.name for x in run.levels()],
        }
        row["state"] = state
    return row


# -- scores ------------------------------------------------------------------------------------------------------


def predictions(level: Level) -> tuple[pd.DataFrame, Floats]:
    """(`language`, `split`, `id`, `score`, `margin` per item; statistics N×K) of a level.

    The statistics are lists in the file; they are read flat, which is fifty times faster than one array per row.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    path = level.path / "predictions.parquet"
    try:
        table = parquet.read_table(path, columns=["language", "split", "id", "score", "margin", "stats"])
    except (OSError, pa.ArrowException) as error:
        raise RecordError(f"{path}: must be a table of predictions; {error}") from None
    flat = np.asarray(table["stats"].combine_chunks().flatten(), dtype=np.float64)
    if not len(table) or len(flat) % len(table):
        raise RecordError(
            f"{path}: must have equally many statistics in every row; got {len(flat)} in {len(table)} rows"
        )
    return table.drop_columns("stats").to_pandas(), flat.reshape(len(table), -1)


def scores(
    store: Path,
    study: str | None = None,
    metrics: Sequence[str] | None = None,
    problems: Problems = None,
    seed: int = 0,
) -> pd.DataFrame:
    """The tidy table of scores: one row per study, method, seed, level, language, split and metric.

    Columns `SCORES`. `low` and `high` are a 95% percentile bootstrap over the items of that row; resample counts
    are drawn once per number of items from `seed` and shared by all rows, so that equal rows have equal intervals.
    `metrics`: only these of the scores that the task type has (default: all). `updates` (since the pretrained
    checkpoint) is filled for dense and dense_continued.
    """
    counts: dict[int, Floats] = {}
    rows: list[dict[str, Any]] = []
    for name in study_names(store, study):
        for run, config in readable(store, name, problems):
            for level, facts in finished(run, config, problems):
                with tolerated(f"{name}/{run.name}/{level.path.name}", problems):
                    rows += _score_rows(level, facts, _metric_names(config, metrics), counts, seed)
    return pd.DataFrame(rows, columns=list(SCORES))


def _metric_names(config: Mapping[str, Any], wanted: Sequence[str] | None) -> list[str]:
    if unknown := [name for name in wanted or () if name not in scoring.FUNCTIONS]:
        raise ValueError(f"metrics: must be among {', '.join(scoring.FUNCTIONS)}; got {', '.join(unknown)}")
    return [name for name in scoring.scores_of(config["type"], config["metric"]) if wanted is None or name in wanted]


def _score_rows(
    level: Level, facts: dict[str, Any], names: Iterable[str], counts: dict[int, Floats], seed: int
) -> list[dict[str, Any]]:
    frame, stats_NK = predictions(level)
    groups = frame.groupby(["split", "language"], sort=False, observed=True).indices
    rows = []
    for (split, language), index in groups.items():
        weights_BN = _counts(len(index), counts, seed)
        for name in names:
            value, low, high = _with_interval(scoring.FUNCTIONS[name], stats_NK[index], weights_BN)
            row = {"language": language, "split": split, "metric": name, "value": value, "n": len(index)}
            rows.append({**facts, **row, "low": low, "high": high})
    return rows


def _counts(n: int, known: dict[int, Floats], seed: int) -> Floats:
    if n not in known:
        from analysis.inference import generator, resample_counts

        known[n] = resample_counts(n, generator(seed), RESAMPLES)
    return known[n]


def _with_interval(metric: scoring.Score, stats_NK: Floats, weights_BN: Floats) -> tuple[float, float, float]:
    values_B = metric(stats_NK, weights_BN)
    kept_B = values_B[~np.isnan(values_B)]
    low, high = np.quantile(kept_B, [0.025, 0.975]) if kept_B.size else (np.nan, np.nan)
    return float(metric(stats_NK)), float(low), float(high)


def items(store: Path, study: str, split: str = "test", problems: Problems = None) -> Items:
    """Per-item scores of every state of a study, matched by id (analysis.items)."""
    from analysis.items import collect

    return collect(store, study, split, problems)


# -- states, weights, text, validation lines ---------------------------------------------------------------------


def probe(level: Level) -> pd.DataFrame:
    """The items whose activations are kept: language, id, label, word (−1 where the row is a whole text)."""
    return level.frame("probe")


def activations(level: Level, language: str, pooling: str, layers: Sequence[int] | None = None) -> NDArray[np.float32]:
    """Pooled states `N × L × D` of one language in the order of its rows in `probe`; layer 0 is the embedding output.

    `layers`: only these, in this order. An unknown language, pooling or layer lists what is there.
    """
    values_NLD = level.arrays("activations", [f"{language}/{pooling}"])[f"{language}/{pooling}"]
    if layers is not None:
        depth = values_NLD.shape[1]
        if wrong := [layer for layer in layers if not 0 <= layer < depth]:
            raise RecordError(f"layers: must be from 0 to {depth - 1}; got {', '.join(map(str, wrong))}")
        values_NLD = values_NLD[:, list(layers)]
    return np.asarray(values_NLD, dtype=np.float32)


def weights(store: Path, study: str, problems: Problems = None) -> pd.DataFrame:
    """`weights.parquet` of all levels under `KEYS`: one row per method, seed, level and matrix (M§6.8).

    The matrix's own sparsity is `matrix_sparsity` here, because `sparsity` is the level's.
    """
    return _of_weights(store, study, "weights", problems)


def heads(store: Path, study: str, problems: Problems = None) -> pd.DataFrame:
    """`heads.parquet` of the levels that have it: one row per method, seed, level, block, head and part (M§6.8).

    The columns are named as those of `weights`. Levels of older runs, and of architectures whose heads nobody knows,
    have no rows.
    """
    return _of_weights(store, study, "heads", problems, optional=True)


def _of_weights(store: Path, study: str, name: str, problems: Problems, optional: bool = False) -> pd.DataFrame:
    frames = []
    for run, config in readable(store, study, problems):
        for level, facts in finished(run, config, problems):
            if optional and not level.has(f"{name}.parquet"):
                continue
            with tolerated(f"{study}/{run.name}/{level.path.name}", problems):
                frames.append(_with_facts(level.frame(name).rename(columns={"sparsity": "matrix_sparsity"}), facts))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*KEYS, "updates", "step"])


def _with_facts(frame: pd.DataFrame, facts: dict[str, Any]) -> pd.DataFrame:
    return pd.concat([pd.DataFrame(facts, index=frame.index), frame], axis=1)


def sizes(store: Path, study: str, problems: Problems = None) -> pd.DataFrame:
    """`size.json` of all levels under `KEYS`: parameters, non-zeros, the three sparsities, bytes, latency (M§6.11)."""
    rows = []
    for run, config in readable(store, study, problems):
        for level, facts in finished(run, config, problems):
            rows.append({**facts, **level.size()})
    return pd.DataFrame(rows, columns=None if rows else [*KEYS, "updates", "step"])


VALIDATION = ("study", "run", "method", "recipe", "seed", "sparsity", "cycle", "step", "cycle_step", "score")


def recovery_lines(store: Path, study: str, problems: Problems = None) -> pd.DataFrame:
    """Source-validation scores along every cycle, from `metrics.jsonl` (M§6.7): columns `VALIDATION`.

    A resumed run repeats some steps: of equal steps of a cycle the line of the last attempt counts. `step` counts
    the run's updates, `cycle_step` those of the cycle; step 0 of a cycle is right after the mask.
    """
    rows: dict[tuple[str, int, int], dict[str, Any]] = {}
    for run, config in readable(store, study, problems):
        facts = {"study": study, "run": run.name, "method": run.method, "recipe": config["recipe"], "seed": run.seed}
        with tolerated(f"{study}/{run.name}", problems):
            lines = [line for line in run.metrics() if line.get("type") == "validation"]
            outcomes = _outcomes(run, config)
            for line in sorted(lines, key=lambda line: int(line["attempt"])):
                place = (run.name, int(line["cycle"]), int(line["cycle_step"]))
                shown = {
                    "sparsity": outcomes.get(place[1], line["level"]),
                    "cycle": place[1],
                    "step": line["step"],
                    "cycle_step": place[2],
                }
                rows[place] = {**facts, **shown, "score": np.nan if line["score"] is None else float(line["score"])}
    return pd.DataFrame([rows[place] for place in sorted(rows)], columns=list(VALIDATION))


PROBING = ("task", "kind", "language", "value", "n")


def probing(store: Path, study: str, problems: Problems = None) -> pd.DataFrame:
    """What frozen features are worth elsewhere, and what was forgotten (M§6.10): `PROBING` under `KEYS`.

    `kind` is "probe" (accuracy of a linear probe on another task) or "masked_token_loss" (nats, of the checkpoint's own
    language-model head). Levels without such results contribute nothing.
    """
    frames = []
    for run, config in readable(store, study, problems):
        for level, facts in finished(run, config, problems):
            if level.has("probing.parquet"):
                with tolerated(f"{study}/{run.name}/{level.path.name}", problems):
                    frames.append(_with_facts(level.frame("probing"), facts))
    return (
        pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*KEYS, "updates", "step", *PROBING])
    )


def _outcomes(run: Run, config: dict[str, Any]) -> dict[int, float]:
    """Cycle → sparsity of its level, where that is an outcome and the lines name a strength or a size."""
    levels = {level.path.name: level for level in run.levels() if not level.asked}
    return {
        cycle: run.sparsity_of(levels[name]) for cycle, name in enumerate(folders(config), start=1) if name in levels
    }


TEXT = ("language", "split", "id", "tokens", "words", "characters", "truncated", "unknown")


def text(store: Path, study: str, problems: Problems = None) -> pd.DataFrame:
    """Token, word, character, truncation and unknown counts per evaluated item (M§6.9): columns `TEXT`.

    The tokens depend on tokenizer and data alone, which all runs of a study share: the first run that has them speaks.
    """
    for run, _ in readable(store, study, problems):
        if (path := run.path / "text.parquet").exists():
            with tolerated(f"{study}/{run.name}", problems):
                return record.read_frame(path)[list(TEXT)]
    return pd.DataFrame(columns=list(TEXT))
