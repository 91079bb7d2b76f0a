"""What a pruned encoder is still good for (M§6.10): probes on other tasks and forgotten pretraining, beside dense.

Both sides answer the same items (the same test examples of the other task, the same hidden tokens), so that the
intervals are paired; with several seeds, seeds and items are both resampled. Runs of older versions kept means only:
their rows have no intervals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import inference
from analysis.measures.blocks import SEED, limits
from analysis.measures.drops import MEAN
from analysis.measures.plan import Study
from analysis.probing import BETTER, contributions
from analysis.tables import CONTROLS
from engine.record import Level

Floats = NDArray[np.float64]
STATE = ["method", "recipe", "sparsity", "step"]
PLACE = ["task", "kind", "language"]
MEANS = ("value", "dense", "continued", "pretrained", "chance")
COLUMNS = [*PLACE, "id", "label", "value", "weight", "seed"]
Cell = tuple[Floats, Floats]  # (values S×N, weights N)


@dataclass
class Beside:
    """What every state is compared with: dense items, means of the pretrained checkpoint, chance."""

    items: pd.DataFrame
    pretrained: Mapping[tuple[Any, ...], float]
    chance: Mapping[tuple[Any, ...], float]
    sources: tuple[str, ...]
    _cells: dict[tuple[int, ...], dict[tuple[Any, ...], Cell]] = field(default_factory=dict)

    def dense(self, seeds: tuple[int, ...]) -> dict[tuple[Any, ...], Cell]:
        """The dense items of these seeds, arranged once."""
        if seeds not in self._cells:
            self._cells[seeds] = _cells(self.items, seeds)
        return self._cells[seeds]


def probed(study: Study) -> pd.DataFrame:
    """One row per method, level, task, kind and language (and their mean), from the levels that probed.

    value, dense: mean over items and seeds (accuracy; nats per hidden token). lost (with _low, _high): what pruning cost,
    positive where the state is worse than dense. continued: the same of dense trained on as long; pretrained: of the
    checkpoint before fine-tuning; chance: the share of the commonest label (NaN where none of these is known).
    """
    states = _read(study)
    if "dense" not in {state[0] for state in states}:
        return pd.DataFrame()
    dense = next(frame for state, frame in states.items() if state[0] == "dense")
    continued = {state[3]: frame for state, frame in states.items() if state[0] == "dense_continued"}
    sources = next(tuple(config["sources"]) for _, config, _ in study.runs.values())
    beside = Beside(dense, _pretrained(study), _chance(dense), sources)
    rows: list[dict[str, Any]] = []
    for state, frame in states.items():
        if state[0] not in CONTROLS:
            facts = {"study": study.name, **dict(zip(STATE, state, strict=True))}
            rows += [{**facts, **row} for row in _rows(frame, beside, continued.get(state[3]))]
    return pd.DataFrame(rows)


def _read(study: Study) -> dict[tuple[Any, ...], pd.DataFrame]:
    """Items of every state by (method, recipe, sparsity, step), with their seed."""
    found: dict[tuple[Any, ...], list[pd.DataFrame]] = {}
    for _, _, levels in study.runs.values():
        for level, facts in levels.values():
            if level.has("probing.parquet"):
                found.setdefault(tuple(facts[key] for key in STATE), []).append(_items(level, facts["seed"]))
    return {state: pd.concat(frames, ignore_index=True) for state, frames in found.items()}


def _items(level: Level, seed: int) -> pd.DataFrame:
    """The items of a level, or one item per language where an older run kept only their mean."""
    if level.has("probing_items.parquet"):
        return level.frame("probing_items").assign(seed=seed)[COLUMNS]
    means = level.frame("probing")
    return means.assign(id="", label="", value=means["value"] * means["n"], weight=means["n"], seed=seed)[COLUMNS]


def _pretrained(study: Study) -> Mapping[tuple[Any, ...], float]:
    for run, _, levels in study.runs.values():
        for level, _ in levels.values():
            if run.method == "dense" and level.has("probing_pretrained.parquet"):
                sums = level.frame("probing_pretrained").groupby(PLACE)[["value", "weight"]].sum()
                return dict((sums["value"] / sums["weight"]).items())
    return {}


def _rows(frame: pd.DataFrame, beside: Beside, continued: pd.DataFrame | None) -> Iterator[dict[str, Any]]:
    seeds = tuple(sorted(set(frame["seed"]) & set(beside.items["seed"])))
    cells, dense = _cells(frame, seeds), beside.dense(seeds)
    on = {} if continued is None else _cells(continued, tuple(sorted(set(continued["seed"]) & set(seeds))))
    for (task, kind), places in _by_kind([place for place in cells if place in dense]):
        gaps = {place: _gap(dense[place], cells[place], BETTER[kind]) for place in places}
        rows = [
            {
                "task": task, "kind": kind, "seeds": len(seeds), "language": place[2], "source": place[2] in beside.sources, "n": int(cells[place][1].sum()),
                "value": _mean(cells[place]), "dense": _mean(dense[place]), "continued": _mean(on.get(place)),
                "pretrained": beside.pretrained.get(place, np.nan), "chance": beside.chance.get(place, np.nan),
                **_lost([gaps[place]]),
            }
            for place in places
        ]  # fmt: skip
        yield from rows
        others = [row for row in rows if row["language"] not in beside.sources]
        if len(others) > 1:
            means = {name: float(np.mean([row[name] for row in others])) for name in MEANS}
            lost = _lost([gaps[(task, kind, row["language"])] for row in others])
            yield {**rows[0], "language": MEAN, "source": False, "n": min(row["n"] for row in others), **means, **lost}


def _gap(dense: Cell, state: Cell, better: float) -> Floats:
    """The loss by item; of the means where one of the two was kept by a version that knew no items."""
    if dense[0].shape != state[0].shape:
        dense, state = (
            (values.sum(1, keepdims=True), weights.sum(keepdims=True)) for values, weights in (dense, state)
        )
    return contributions(dense[0], state[0], state[1], better)


def _by_kind(places: list[tuple[Any, ...]]) -> Iterator[tuple[tuple[Any, Any], list[tuple[Any, ...]]]]:
    for key in dict.fromkeys(place[:2] for place in places):
        yield key, [place for place in places if place[:2] == key]


def _cells(frame: pd.DataFrame, seeds: tuple[int, ...]) -> dict[tuple[Any, ...], Cell]:
    """(task, kind, language) → values S×N and weights N of the items that every seed has, in the order of their ids."""
    found: dict[tuple[Any, ...], Cell] = {}
    rows = frame[frame["seed"].isin(seeds)].sort_values(["seed", "id"])
    for place, group in rows.groupby(PLACE, sort=False):
        common = group.groupby("id")["seed"].transform("size").to_numpy() == len(seeds)
        values, weights = (
            group[name].to_numpy(dtype=np.float64)[common].reshape(len(seeds), -1) for name in ("value", "weight")
        )
        if values.size:
            found[place] = (values, weights[0])
    return found


def _mean(cell: Cell | None) -> float:
    if cell is None:
        return float("nan")
    values, weights = cell
    return float(values.sum() / (weights.sum() * len(values)))


def _lost(gaps: list[Floats]) -> dict[str, float]:
    lost = float(np.mean([gap.mean() for gap in gaps]))
    if min(gap.shape[1] for gap in gaps) < 2:  # a mean instead of items
        return {"lost": lost, "lost_low": np.nan, "lost_high": np.nan}
    same = len({gap.shape for gap in gaps}) == 1  # parallel sets: the ids are sorted, so that items fall together
    low, high = limits(inference.replicates(gaps, SEED, parallel=same).mean(1))
    return {"lost": lost, "lost_low": low, "lost_high": high}


def _chance(frame: pd.DataFrame) -> dict[tuple[Any, ...], float]:
    """The share of the commonest label of every probe."""
    rows = frame[(frame["label"] != "") & (frame["seed"] == frame["seed"].min())]
    return {place: float(group["label"].value_counts(normalize=True).max()) for place, group in rows.groupby(PLACE)}
