"""The kept states of a level beside those of its reference, loaded once and matched by id: what level measures are of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import tables
from engine.record import Level, RecordError

Floats = NDArray[Any]
Integers = NDArray[np.int64]

FULL_SEEDS = 1  # seeds with every pooling and the costly similarities; the others have the task's pooling alone


@dataclass(frozen=True)
class Snapshot:
    """The kept states of one level: per language the keys (id, and word where there is one) and labels of its rows."""

    keys: Mapping[str, NDArray[Any]]
    labels: Mapping[str, NDArray[Any]]
    arrays: Mapping[str, Floats]

    @classmethod
    def of(cls, level: Level) -> Snapshot:
        """Read `probe.parquet` and `activations.safetensors`."""
        frame, arrays = tables.probe(level), level.arrays("activations")
        keys = np.array(
            [name if word < 0 else f"{name}\t{word}" for name, word in zip(frame["id"], frame["word"], strict=True)],
            dtype=object,
        )
        rows = {
            str(code): index for code, index in frame.groupby("language", sort=False, observed=True).indices.items()
        }
        labels = frame["label"].to_numpy(dtype=object)
        for name, array in arrays.items():
            if len(array) != len(rows.get(name.partition("/")[0], ())):
                raise RecordError(
                    f"{level.path}: activations and probe must have the same rows; {name} has {len(array)}"
                )
        return cls(
            {code: keys[index] for code, index in rows.items()},
            {code: labels[index] for code, index in rows.items()},
            arrays,
        )

    @property
    def of_words(self) -> bool:
        """Whether rows are words: one that has the same number in a translation is not its translation."""
        return any("\t" in key for keys in self.keys.values() for key in keys[:1])

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages in the order of the probe."""
        return tuple(self.keys)

    @property
    def poolings(self) -> tuple[str, ...]:
        """Poolings, the task's own first and `mean` last."""
        return tuple(sorted({name.partition("/")[2] for name in self.arrays}, key=lambda how: (how == "mean", how)))

    @property
    def depth(self) -> int:
        """Number of layers, the embedding output included."""
        return int(next(iter(self.arrays.values())).shape[1])

    def at(self, layers: Sequence[int]) -> Snapshot:
        """The same states at some layers only."""
        return replace(self, arrays={name: values_NLD[:, list(layers)] for name, values_NLD in self.arrays.items()})

    def layers(self, language: str, pooling: str, rows: Integers | None = None) -> Floats:
        """States `L × N × D` in float32: one contiguous set per layer."""
        values_NLD = self.arrays[f"{language}/{pooling}"]
        values_NLD = values_NLD if rows is None else values_NLD[rows]
        return np.ascontiguousarray(np.swapaxes(values_NLD, 0, 1), dtype=np.float32)


def matched(a: NDArray[Any], b: NDArray[Any]) -> tuple[Integers, Integers]:
    """Row numbers of the keys that both have, in the order of `a`: `a[first] == b[second]`."""
    if len(a) == len(b) and bool((a == b).all()):
        rows = np.arange(len(a))
        return rows, rows
    places = pd.Index(b).get_indexer(a)
    return np.flatnonzero(places >= 0), places[places >= 0]


@dataclass(frozen=True)
class View:
    """A level's states beside those of its reference: the dense level of its seed, or for a dense level the dense level
    of another seed (None where there is none).

    `role` is pruned, continued or other seed; `labels` are the classes in the order of the model's outputs; `full` asks
    for every pooling and the costly similarities; `whole`: an item can be wholly right, so that it can break.
    """

    level: Level
    reference: Level | None
    against: str
    role: str
    sources: tuple[str, ...]
    parallel: bool
    labels: tuple[str, ...] = ()
    full: bool = True
    whole: bool = True

    @cached_property
    def state(self) -> Snapshot:
        """The level's own states."""
        return Snapshot.of(self.level)

    @cached_property
    def dense(self) -> Snapshot | None:
        """The reference's states: for a student with fewer blocks, at the blocks that its own were cut from."""
        if self.reference is None:
            return None
        found, shape = Snapshot.of(self.reference), self.level.size().get("shape")
        return found.at([0, *(block + 1 for block in shape["blocks"])]) if shape else found

    @property
    def poolings(self) -> tuple[str, ...]:
        """The poolings to be measured, the task's own first."""
        return self.state.poolings if self.full else self.state.poolings[:1]

    def pairs(self, language: str, pooling: str) -> tuple[Floats, Floats]:
        """(state, reference), each `L × N × D`, on the same examples."""
        if self.dense is None:
            raise RecordError(f"{self.level.path}: has no reference to compare with")
        first, second = matched(self.state.keys[language], self.dense.keys[language])
        return self.state.layers(language, pooling, first), self.dense.layers(language, pooling, second)

    def shared(self) -> Iterator[tuple[str, str]]:
        """(language, pooling) that both the level and its reference have."""
        for language in self.state.languages:
            for pooling in self.poolings:
                if self.dense is not None and f"{language}/{pooling}" in self.dense.arrays:
                    yield language, pooling


def value_of(measure: Callable[..., float], *arguments: Any) -> float:
    """A measure's value, NaN where it refuses states without structure: that is a finding of the level, shown as a blank."""
    try:
        return measure(*arguments)
    except ValueError:
        return float("nan")
