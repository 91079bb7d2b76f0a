"""A claims study as the claims read it, and the numbers that several of them share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import inference, recovery, separability, similarity, tables
from analysis.claims.intervals import Floats, Interval, Student, student
from analysis.items import Items, State
from engine import record

NEAR = 0.03  # a size reaches the sparsity that it is compared at within 2 points


@dataclass(frozen=True)
class Evidence:
    """A claims study as the rows read it: items, states and tables, each read once."""

    store: Path
    study: str
    seed: int = 0

    @cached_property
    def items(self) -> Items:
        """Per-item scores, of the items that every language has."""
        return tables.items(self.store, self.study).common()

    @cached_property
    def weights(self) -> pd.DataFrame:
        """One row per method, seed, level and matrix."""
        return tables.weights(self.store, self.study)

    @cached_property
    def recoveries(self) -> pd.DataFrame:
        """One row per cycle."""
        return recovery.recovery(tables.recovery_lines(self.store, self.study))

    @cached_property
    def states(self) -> pd.DataFrame:
        """Separability, signal-to-noise ratio and retrieval of every state, last layer, mean over languages."""
        rows = []
        for run, config in tables.readable(self.store, self.study):
            for level, facts in tables.finished(run, config):
                rows.append({**facts, **_state_measures(level, config)})
        return pd.DataFrame(rows)

    @cached_property
    def probing(self) -> pd.DataFrame:
        """Linear probes on other tasks and the masked-token loss, one row per state, task and language (M§6.10)."""
        return tables.probing(self.store, self.study)

    def state(self, method: str, level: float) -> State:
        """A method's state at a level; where levels are outcomes (sizes), the nearest within `NEAR`."""
        return self.items.states[
            method, _nearest(method, level, [at for name, at in self.items.states if name == method])
        ]

    # -- numbers ---------------------------------------------------------------------------------------------------

    def languages(self, which: str) -> tuple[str, ...]:
        """Codes of the source languages or of the zero-shot ones."""
        return self.items.sources if which == "source" else self.items.zero_shot

    def mean_score(self, state: State, which: str = "zero-shot") -> Floats:
        """Scores averaged over languages, seeds × items."""
        return np.mean([state.score[code] for code in self.languages(which)], axis=0)

    def gap(self, a: tuple[str, float], b: tuple[str, float], which: str = "zero-shot") -> Interval:
        """Mean score of state a less that of b, on the seeds that both have."""
        first, second = on_common_seeds([self.state(*a), self.state(*b)])
        return inference.paired_bootstrap(self.mean_score(first, which), self.mean_score(second, which), self.seed)

    def gap_growth(self, a: str, b: str, high: float, low: float) -> Interval:
        """How much larger the gap a − b is at the higher level."""
        states = on_common_seeds([self.state(method, level) for level in (high, low) for method in (a, b)])
        a_high, b_high, a_low, b_low = (self.mean_score(state) for state in states)
        return inference.paired_bootstrap(a_high - b_high, a_low - b_low, self.seed)

    def per_seed(self, frame: pd.DataFrame, column: str, a: tuple[str, float], b: tuple[str, float]) -> Student:
        """Mean over seeds of a − b with Student's interval, of a column averaged within each seed."""
        values = []
        for method, level in (a, b):
            rows = frame[frame["method"] == method]
            if method == "dense_continued":
                rows = rows[rows["step"] == 1]
            else:
                rows = rows[rows["sparsity"] == _nearest(method, level, rows["sparsity"].tolist())]
            values.append(rows.groupby("seed")[column].mean())
        return student(np.asarray((values[0] - values[1]).dropna(), dtype=float))


def _nearest(method: str, level: float, levels: Sequence[float]) -> float:
    """The level that a claim means; a method that has none there has not been tested, whatever its other levels say."""
    near = [at for at in levels if abs(at - level) <= NEAR]
    if not near:
        raise KeyError(f"{method}: has no finished level near {level:g}")
    return min(near, key=lambda at: abs(at - level))


def on_common_seeds(states: Sequence[State]) -> list[State]:
    """The states on the seeds that all of them have, in one order: differences pair seed with seed."""
    seeds = [seed for seed in states[0].seeds if all(seed in state.seeds for state in states)]
    if not seeds:
        raise KeyError(f"{', '.join(dict.fromkeys(state.method for state in states))}: have no seed in common")
    return [state.on(seeds) for state in states]


def _state_measures(level: record.Level, config: Mapping[str, Any]) -> dict[str, float]:
    """R², class SNR and retrieval accuracy of the last layer's mean states, averaged over languages."""
    probe = tables.probe(level)
    found: dict[str, list[float]] = {"r_squared": [], "class_snr": [], "retrieval": []}
    source = config["sources"][0]
    anchors = tables.activations(level, source, "mean", layers=[-1 + _depth(level, source)])[:, 0]
    ids = probe.loc[probe["language"] == source, "id"].to_numpy()
    for code in dict.fromkeys(probe["language"]):
        rows = probe[probe["language"] == code]
        x = tables.activations(level, code, "mean", layers=[_depth(level, code) - 1])[:, 0].astype(np.float64)
        counts = rows["label"].value_counts()
        kept = rows["label"].isin(counts[counts >= 5].index).to_numpy()
        if rows.loc[kept, "label"].nunique() > 1:
            found["r_squared"].append(separability.r_squared(x[kept], rows["label"].to_numpy()[kept]))
            found["class_snr"].append(separability.class_snr(x[kept], rows["label"].to_numpy()[kept]))
        if code != source and config["parallel"] and len(ids) == len(rows) and (ids == rows["id"].to_numpy()).all():
            found["retrieval"].append(similarity.retrieval(anchors, x))
            found[f"retrieval/{code}"] = [found["retrieval"][-1]]
    return {name: float(np.mean(values)) if values else np.nan for name, values in found.items()}


def _depth(level: record.Level, code: str) -> int:
    return int(level.arrays("activations", [f"{code}/mean"])[f"{code}/mean"].shape[1])
