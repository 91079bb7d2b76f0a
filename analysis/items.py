"""Per-item scores of every state of a study, matched by id: what drops, tests and intervals are computed from (M§6.1).

A *state* is a model at one level: the dense one, `dense_continued` after a number of cycles, a method at a sparsity.
Arrays are seeds × items. All states of a study hold the same items of a language in the same order, whatever the
order of rows in their files: items that any state lacks are left out of all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import tables
from analysis.degradation import majority_rate
from analysis.tables import Problems
from engine import metrics as scoring
from engine.record import Level, RecordError

Floats = NDArray[np.float64]
ByLanguage = Mapping[str, Floats]


@dataclass(frozen=True)
class State:
    """One state over its seeds: `score` and `margin` are seeds × items per language, `answer` the predicted classes
    (no languages where the task type has none).

    `step` counts the retraining cycles behind it (0 for dense): the k-th level of an arm and the k-th folder of
    `dense_continued` cost the same number of updates.
    """

    method: str
    recipe: str
    sparsity: float
    measured_sparsity: float
    step: int
    seeds: tuple[int, ...]
    score: ByLanguage
    margin: ByLanguage
    answer: ByLanguage = field(default_factory=dict)

    def on(self, seeds: Sequence[int]) -> State:
        """The same state on some of its seeds, in the order given."""
        rows = [self.seeds.index(seed) for seed in seeds]
        if rows == list(range(len(self.seeds))):
            return self
        score, margin, answer = (
            {code: values[rows] for code, values in kind.items()} for kind in (self.score, self.margin, self.answer)
        )
        return replace(self, seeds=tuple(seeds), score=score, margin=margin, answer=answer)

    def take(self, rows: Mapping[str, NDArray[np.int64]]) -> State:
        """The same state on some items (row numbers per language)."""
        score, margin, answer = (
            {code: values[:, rows[code]] for code, values in kind.items()}
            for kind in (self.score, self.margin, self.answer)
        )
        return replace(self, score=score, margin=margin, answer=answer)


@dataclass(frozen=True)
class Items:
    """All states of a study on one split. `ids[language]` names the columns of every array of that language.

    `dense` is None while no dense run is finished; `continued` is keyed by step, `states` by (method, sparsity).
    `parallel`: the same id means the same item in every language. `chance`: majority rate per language, NaN where
    the task type has no classes. `gold` holds the classes of the items, as indices into `labels`, where there are
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
    """One level of one run as it was read: per language ids, scores, margins."""

    facts: dict[str, Any]
    ids: dict[str, NDArray[Any]] = field(default_factory=dict)
    score: dict[str, Floats] = field(default_factory=dict)
    margin: dict[str, Floats] = field(default_factory=dict)
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
    columns = scoring.STATS[config["type"]]
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
        if columns == scoring.STATS["sequence"]:
            found.answer[language], found.gold[language] = (
                stats_NK[rows, columns.index(name)] for name in ("predicted", "gold")
            )
        if language not in chance:
            chance[language] = _chance(config, columns, stats_NK[rows], split, language)
    return found


def _chance(config: Mapping[str, Any], columns: tuple[str, ...], stats_NK: Floats, split: str, language: str) -> float:
    # Classes have their majority rate in the statistics; for other types the engine recorded what a constant answer scores.
    if columns == scoring.STATS["sequence"]:
        return majority_rate(stats_NK[:, columns.index("gold")])
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
    built = {key: _state(group, key[2], ids) for key, group in states.items()}
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


def _state(group: list[_Seen], step: int, ids: Mapping[str, NDArray[Any]]) -> State:
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
        score=stack(lambda one: one.score),
        margin=stack(lambda one: one.margin),
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
