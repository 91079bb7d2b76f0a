"""Per-item results of every state of a study, matched by id: what drops, tests and intervals are computed from (M§6.1).

A *state* is a model at one level: the dense one, `dense_continued` after a number of cycles, a method at a sparsity.
Its value is the study's own metric on its items, which for many tasks is no mean of the items' scores (entity F1,
BLEU, a correlation): so a state keeps the statistics that the metric is made of, beside the scores of single items,
which flips and slices are about. Arrays are seeds × items (× statistics). All states of a study hold the same items of a language in the same order, whatever the
order of rows in their files: items that any state lacks are left out of all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import tables
from analysis.tables import Problems
from engine import metrics as scoring
from engine.record import Level, RecordError

Floats = NDArray[np.float64]
ByLanguage = Mapping[str, Floats]


@dataclass(frozen=True)
class State:
    """One state over its seeds: `score` and `margin` are seeds × items per language, `stats` seeds × items × the columns
    that the study's metric reads, `answer` the predicted classes (no languages where the task type has none).

    `score` is of single items (engine.metrics.ITEM_SCORES); the state's own is `value`. `step` counts the retraining
    cycles behind it (0 for dense): the k-th level of an arm and the k-th folder of `dense_continued` cost the same
    number of updates.
    """

    method: str
    recipe: str
    sparsity: float
    measured_sparsity: float
    step: int
    seeds: tuple[int, ...]
    metric: str
    score: ByLanguage
    margin: ByLanguage
    stats: ByLanguage
    answer: ByLanguage = field(default_factory=dict)

    @cached_property
    def value(self) -> ByLanguage:
        """The study's metric per language, one value per seed."""
        return {code: metric_values(self.metric, stats_SNK) for code, stats_SNK in self.stats.items()}

    @cached_property
    def influence(self) -> ByLanguage:
        """Every item's part in the metric, seeds × items per language: see `item_parts`."""
        return {code: item_parts(self.metric, stats_SNK) for code, stats_SNK in self.stats.items()}

    def on(self, seeds: Sequence[int]) -> State:
        """The same state on some of its seeds, in the order given."""
        rows = [self.seeds.index(seed) for seed in seeds]
        if rows == list(range(len(self.seeds))):
            return self
        return self._each(lambda code, values: values[rows], seeds=tuple(seeds))

    def take(self, rows: Mapping[str, NDArray[np.int64]]) -> State:
        """The same state on some items (row numbers per language), in the languages that `rows` names."""
        return self._each(lambda code, values: values[:, rows[code]] if code in rows else None)

    def _each(self, change: Callable[[str, Floats], Floats | None], **more: Any) -> State:
        kept: dict[str, Any] = {}
        for name in ("score", "margin", "stats", "answer"):
            found = {code: change(code, values) for code, values in getattr(self, name).items()}
            kept[name] = {code: values for code, values in found.items() if values is not None}
        return replace(self, **kept, **more)


# What a score is that a state does not have: the correlation of a model that gives every item the same answer.
UNDEFINED = 0.0


def metric_values(metric: str, stats_SNK: Floats, weights_BN: Floats | None = None) -> Floats:
    """The metric of every seed (or state) of a stack S, or on B resamples: `S`, or `B × S`.

    `stats`: the columns that the metric reads. A correlation that does not exist, because the model answers every item
    alike, counts as 0, as when the engine chooses its best epoch: to leave it out would hide the worst damage.
    """
    ones_1N = np.ones((1, stats_SNK.shape[1]))
    found = scoring.STATISTICS[metric].resampled(stats_SNK, ones_1N if weights_BN is None else weights_BN)
    found = np.nan_to_num(found, nan=UNDEFINED)
    return found[0] if weights_BN is None else found


def item_parts(metric: str, stats_SNK: Floats) -> Floats:
    """What every item adds to the metric, `S × N`, so that their mean is the metric itself (jackknife, M§6.1).

    `M + (N−1)·(mean_j M₍₋ⱼ₎ − M₍₋ᵢ₎)`, M₍₋ᵢ₎ the metric without item i. For a mean of item scores these are the
    scores; for any smooth metric a test on them is a test of the metric to first order (Miller 1974).
    """
    items = stats_SNK.shape[1]
    whole_S1 = metric_values(metric, stats_SNK)[:, None]
    if items < 2:
        return whole_S1
    without_SN = np.nan_to_num(scoring.STATISTICS[metric].without(stats_SNK), nan=UNDEFINED)
    return np.asarray(whole_S1 + (items - 1) * (without_SN.mean(1, keepdims=True) - without_SN))


@dataclass(frozen=True)
class Items:
    """All states of a study on one split. `ids[language]` names the columns of every array of that language.

    `dense` is None while no dense run is finished; `continued` is keyed by step, `states` by (method, sparsity).
    `metric` is the study's headline (a row of engine.metrics.METRICS), which every state's `value` is of.
    `parallel`: the same id means the same item in every language. `chance`: what the best constant answer scores in
    that metric, per language; NaN where nobody knows. `gold` holds the classes of the items, as indices into `labels`, where there are
    any. `notes` says what was left out.
    """

    study: str
    split: str
    metric: str
    sources: tuple[str, ...]
    languages: tuple[str, ...]
    parallel: bool
    ids: Mapping[str, NDArray[Any]]
    chance: Mapping[str, float]
    dense: State | None
    continued: Mapping[int, State]
    states: Mapping[tuple[str, float], State]
    notes: tuple[str, ...] = ()
    gold: ByLanguage = field(default_factory=dict)
    labels: tuple[str, ...] = ()

    @property
    def zero_shot(self) -> tuple[str, ...]:
        """The languages that were not trained on."""
        return tuple(code for code in self.languages if code not in self.sources)

    @property
    def aligned(self) -> bool:
        """Whether the columns of all languages are the same items, so that they can be resampled jointly."""
        first = self.ids[self.languages[0]] if self.languages else np.empty(0)
        return self.parallel and all(_equal(first, ids) for ids in self.ids.values())

    def common(self) -> Items:
        """On parallel sets, the items that every language has; other sets as they are."""
        if not self.parallel or self.aligned:
            return self
        shared = _shared(list(self.ids.values()))
        rows = {code: pd.Index(ids).get_indexer(shared).astype(np.int64) for code, ids in self.ids.items()}
        return replace(
            self,
            ids=dict.fromkeys(self.ids, shared),
            dense=self.dense.take(rows) if self.dense else None,
            continued={step: state.take(rows) for step, state in self.continued.items()},
            states={key: state.take(rows) for key, state in self.states.items()},
            gold={code: values[rows[code]] for code, values in self.gold.items()},
        )


def _equal(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a is b or (len(a) == len(b) and bool((a == b).all()))


def _shared(lists: Sequence[NDArray[Any]]) -> NDArray[Any]:
    # The ids of the first list that all others hold too, in the first one's order.
    kept = lists[0]
    for ids in lists[1:]:
        if not _equal(kept, ids):
            kept = kept[pd.Index(kept).isin(ids)]
    return kept


# -- reading -------------------------------------------------------------------------------------------------------


@dataclass
class _Seen:
    """One level of one run as it was read: per language ids, scores, margins, the metric's statistics."""

    facts: dict[str, Any]
    ids: dict[str, NDArray[Any]] = field(default_factory=dict)
    score: dict[str, Floats] = field(default_factory=dict)
    margin: dict[str, Floats] = field(default_factory=dict)
    stats: dict[str, Floats] = field(default_factory=dict)
    answer: dict[str, Floats] = field(default_factory=dict)
    gold: dict[str, Floats] = field(default_factory=dict)


def collect(store: Path, study: str, split: str = "test", problems: Problems = None) -> Items:
    """Read every finished level of a study; see `Items`. An unknown split gives no languages.

    Problems of single folders go to `problems`; a study without any configuration is refused.
    """
    tables.study_names(store, study)
    seen: list[_Seen] = []
    shared: dict[str, Any] = {}
    chance: dict[str, float] = {}
    for run, config in tables.readable(store, study, problems):
        shared = shared or config
        for level, facts in tables.finished(run, config, problems):
            with tables.tolerated(f"{study}/{run.name}/{level.path.name}", problems):
                seen.append(_read(level, split, facts, config, chance))
    if not shared:
        raise RecordError(f"study: must have a run that can be read; {study!r} has none")
    return _items(study, split, shared, seen, chance)


def _read(
    level: Level, split: str, facts: dict[str, Any], config: Mapping[str, Any], chance: dict[str, float]
) -> _Seen:
    frame, stats_NK = tables.predictions(level)
    found = _Seen(facts)
    columns, how = scoring.STATS[config["type"]], scoring.STATISTICS[config["metric"]]
    if stats_NK.shape[1] < how.least:
        raise RecordError(
            f"{level.path}: {config['metric']} needs {how.least} statistics of every item; got {stats_NK.shape[1]}"
        )
    for (language, part), rows in frame.groupby(["language", "split"], sort=False, observed=True).indices.items():
        if part != split:
            continue
        ids = frame["id"].to_numpy(dtype=object)[rows]
        if not pd.Index(ids).is_unique:
            raise RecordError(
                f"{level.path}: ids must be unique within a language and split; {language} {split} repeats some"
            )
        found.ids[language] = ids
        found.score[language] = frame["score"].to_numpy(dtype=np.float64)[rows]
        found.margin[language] = frame["margin"].to_numpy(dtype=np.float64)[rows]
        found.stats[language] = stats_NK[rows, how.columns]
        if columns == scoring.CLASSES:
            found.answer[language], found.gold[language] = (
                stats_NK[rows, columns.index(name)] for name in ("predicted", "gold")
            )
        if language not in chance:
            chance[language] = _chance(config, columns, stats_NK[rows], split, language)
    return found


def _chance(config: Mapping[str, Any], columns: tuple[str, ...], stats_NK: Floats, split: str, language: str) -> float:
    # Of classes the statistics know it; for other types the engine recorded what a constant answer scores.
    if columns == scoring.CLASSES:
        found = scoring.majority(config["metric"], stats_NK[:, columns.index("gold")])
        if found is not None:
            return found
    known = config.get("baselines", {}).get(split, {}).get(language, {})
    return float(known.get("majority", np.nan))


def _items(study: str, split: str, config: Mapping[str, Any], seen: list[_Seen], chance: Mapping[str, float]) -> Items:
    languages = tuple(code for code in config["languages"] if any(code in one.ids for one in seen))
    whole = [one for one in seen if all(code in one.ids for code in languages)]
    ids = {code: _shared([one.ids[code] for one in whole]) for code in languages} if whole else {}
    states: dict[tuple[str, float, int], list[_Seen]] = {}
    for one in whole:
        key = (one.facts["method"], one.facts["sparsity"], one.facts["step"])
        states.setdefault(key, []).append(one)
    built = {key: _state(group, key[2], ids, str(config["metric"])) for key, group in states.items()}
    return Items(
        study=study,
        split=split,
        metric=str(config["metric"]),
        sources=tuple(code for code in config["sources"] if code in languages),
        languages=languages,
        parallel=bool(config["parallel"]),
        ids=ids,
        chance={code: chance.get(code, float("nan")) for code in languages},
        dense=next((state for key, state in built.items() if key[0] == "dense"), None),
        continued={key[2]: state for key, state in sorted(built.items()) if key[0] == "dense_continued"},
        states={key[:2]: state for key, state in sorted(built.items()) if key[0] not in tables.CONTROLS},
        notes=tuple(_notes(whole, seen, ids)),
        gold={code: _take(whole[0].ids[code], whole[0].gold[code], ids[code]) for code in ids if code in whole[0].gold},
        labels=tuple(config.get("labels", ())),
    )


def _state(group: list[_Seen], step: int, ids: Mapping[str, NDArray[Any]], metric: str) -> State:
    group = sorted(group, key=lambda one: int(one.facts["seed"]))
    facts = group[0].facts

    def stack(kind: Callable[[_Seen], Mapping[str, Floats]]) -> ByLanguage:
        return {
            code: np.stack([_take(one.ids[code], kind(one)[code], wanted) for one in group])
            for code, wanted in ids.items()
            if code in kind(group[0])
        }

    return State(
        method=facts["method"],
        recipe=facts["recipe"],
        sparsity=facts["sparsity"],
        measured_sparsity=float(np.mean([one.facts["measured_sparsity"] for one in group])),
        step=step,
        seeds=tuple(int(one.facts["seed"]) for one in group),
        metric=metric,
        score=stack(lambda one: one.score),
        margin=stack(lambda one: one.margin),
        stats=stack(lambda one: one.stats),
        answer=stack(lambda one: one.answer),
    )


def _take(ids: NDArray[Any], values: Floats, wanted: NDArray[Any]) -> Floats:
    return values if _equal(ids, wanted) else values[pd.Index(ids).get_indexer(wanted)]


def _notes(whole: list[_Seen], seen: list[_Seen], ids: Mapping[str, NDArray[Any]]) -> list[str]:
    notes = [f"{len(seen) - len(whole)} levels lack a language and are left out"] if len(whole) < len(seen) else []
    for code, kept in ids.items():
        most = max(len(one.ids[code]) for one in whole)
        if len(kept) < most:
            notes.append(f"{code}: {len(kept)} of {most} items are in every level; only these count")
    return notes
