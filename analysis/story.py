"""The figures of a study in the order in which they are told: what Present walks through and the report prints.

Each entry of `TELL` is one figure with its title, the page that shows it with all its controls, the measures that it
needs on disk and those that it defines. Nothing is computed here: figures read stored measures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from analysis import figures, tables
from analysis.figures import compare, recovery
from analysis.figures.base import Shown, metric_of, test_row
from analysis.measures import MEAN, files
from engine import record
from engine.record import RecordError


@dataclass(frozen=True)
class Told:
    """A study as it is told: the level and method that the story is about, and the tables, each read once.

    `level`: the highest that is measured; `method`: the one that loses least there, the control (random pruning) left
    out where there is another; `language`: the one that loses most under it.
    """

    store: Path
    study: str
    split: str = "test"

    @cached_property
    def degradation(self) -> pd.DataFrame:
        """Drops per language; raises `RecordError` where nothing has been measured yet."""
        frame = files.read_study(self.store, self.study, "degradation")
        if frame.empty or frame[frame["split"] == self.split].empty:
            raise RecordError(
                f"{self.study}: must have measured results on the split {self.split}; run `python -m analysis measure {self.store} --study {self.study}` first"
            )
        return frame

    @cached_property
    def _top(self) -> pd.DataFrame:
        rows = self.degradation[self.degradation["split"] == self.split]
        rows = rows[rows["sparsity"] == rows["sparsity"].max()]
        kept = rows[rows["recipe"] != "random"]
        return kept if len(kept) else rows

    @property
    def level(self) -> float:
        """The highest measured level."""
        return float(self._top["sparsity"].iloc[0])

    @cached_property
    def method(self) -> str:
        """The method that loses least at `level`, on the mean of the languages not trained on."""
        rows = self._top[~self._top["source"]] if (~self._top["source"]).any() else self._top
        return str(rows.groupby("method", sort=False)["drop"].mean().idxmin())

    @cached_property
    def language(self) -> str:
        """The language that loses most under `method` at `level`."""
        rows = self._top[self._top["method"] == self.method]
        return str(rows.loc[rows["drop"].idxmax(), "language"])

    @cached_property
    def spread(self) -> pd.DataFrame:
        """Drops over languages; empty for a study of one language."""
        return files.read_study(self.store, self.study, "spread")

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Methods against each other."""
        return files.read_study(self.store, self.study, "pairs")

    @cached_property
    def contrasts(self) -> pd.DataFrame:
        """What happened inside, method against method."""
        return files.read_study(self.store, self.study, "contrasts")

    @cached_property
    def arms(self) -> list[compare.Arm]:
        """The methods that have the level, at most eight, the one told about first."""
        rows = self.degradation[self.degradation["sparsity"] == self.level]
        names = [self.method, *(name for name in dict.fromkeys(rows["method"]) if name != self.method)]
        return [(self.study, name) for name in names[:8]]

    @cached_property
    def findings(self) -> pd.DataFrame:
        """The clauses that were written by rules about this method, level and split."""
        frame = files.read_study(self.store, self.study, "findings")
        if frame.empty:
            return frame
        here = (frame["method"] == self.method) & (frame["sparsity"] == self.level) & (frame["split"] == self.split)
        return frame[here].reset_index(drop=True)

    @property
    def reference(self) -> compare.Arm:
        """What methods are compared with: plain magnitude pruning where the study has it, else the first other one."""
        recipes = dict(zip(self.degradation["method"], self.degradation["recipe"], strict=True))
        plain = [arm for arm in self.arms if recipes.get(arm[1]) == "magnitude"]
        return plain[0] if plain else self.arms[-1]

    def levels(self, name: str, methods: tuple[str, ...] = ()) -> pd.DataFrame:
        """A level measure, of these methods (all where none is named) with the states that they are compared with."""
        frames = [
            files.read(files.of_level(level), name)
            for run in record.runs(self.store, self.study)
            if not methods or run.method in (*methods, *tables.CONTROLS)
            for level in run.levels()
        ]
        frames = [frame for frame in frames if len(frame)]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def has(self, name: str) -> bool:
        """Is this measure stored, for the study or for any of its levels?"""
        if files.newest(files.of_study(self.store, self.study), name):
            return True
        runs = record.runs(self.store, self.study)
        return any(files.newest(files.of_level(level), name) for run in runs for level in run.levels())


def _lines(told: Told, dark: bool) -> Shown:
    if told.spread.empty:
        return figures.drop_lines(told.degradation, told.language, told.split, dark)
    return figures.drop_lines(told.spread, MEAN, told.split, dark)


def _worst_line(told: Told, dark: bool) -> Shown:
    return figures.drop_lines(told.degradation, told.language, told.split, dark)


def _bars(told: Told, dark: bool) -> Shown:
    return figures.drop_bars(told.degradation, told.level, told.split, [name for _, name in told.arms], dark)


def _heatmap(told: Told, dark: bool) -> Shown:
    return figures.drop_heatmap(told.degradation, told.method, told.split, dark)


def _did(told: Told, dark: bool) -> Shown:
    names = [name for _, name in told.arms]
    return figures.did_dots(told.degradation, told.level, told.split, methods=names, dark=dark)


def _against(told: Told, dark: bool) -> Shown:
    return compare.difference_dots(told.pairs, told.reference, told.arms, told.level, told.split, dark)


def _inside(told: Told, dark: bool) -> Shown:
    layers = told.contrasts["layer"] if len(told.contrasts) else [0]
    return compare.inside_dots(told.contrasts, told.reference, told.arms, told.level, int(max(layers)), dark)


def _separability(told: Told, dark: bool) -> Shown:
    return figures.separability_by_language(told.levels("separability", (told.method,)), told.method, dark=dark)


def _snr(told: Told, dark: bool) -> Shown:
    return figures.snr_bars(told.levels("separability"), told.level, dark=dark)


def _alignment(told: Told, dark: bool) -> Shown:
    return figures.cka_along_sparsity(told.levels("similarity"), told.language, dark=dark)


def _layers(told: Told, dark: bool) -> Shown:
    return figures.cka_diagonal(told.levels("similarity", (told.method,)), told.language, told.method, dark=dark)


def _translations(told: Told, dark: bool) -> Shown:
    return figures.crosslingual_lines(told.levels("crosslingual"), dark=dark)


def _drift(told: Told, dark: bool) -> Shown:
    return figures.drift_bars(told.levels("drift", (told.method,)), told.method, dark=dark)


def _map(told: Told, dark: bool) -> Shown:
    run = next((run for run in record.runs(told.store, told.study) if run.method == told.method), None)
    frame = files.read(files.of_level(run.level(told.level)), "map") if run else pd.DataFrame()
    if len(frame):
        best = "umap" if "umap" in set(frame["projection"]) else "pca"
        frame = frame[(frame["projection"] == best) & (frame["layer"] == frame["layer"].max())]
        frame = frame[frame["pooling"] == frame["pooling"].iloc[0]]
    return figures.map_scatter(frame, "displacement", dark=dark)


def _recovery(told: Told, dark: bool) -> Shown:
    return recovery.recovery_lines(tables.recovery_lines(told.store, told.study, []), told.level, dark)


def _weights(told: Told, dark: bool) -> Shown:
    return figures.weights_heatmap(tables.weights(told.store, told.study, []), told.method, told.level, dark=dark)


def _size(told: Told, dark: bool) -> Shown:
    sizes = tables.sizes(told.store, told.study, [])
    left = sizes.groupby(["method", "sparsity"], as_index=False)["nonzeros"].mean()
    frame = told.spread.merge(left, on=["method", "sparsity"]) if len(told.spread) else told.spread
    return compare.size_lines(frame, told.arms, told.split, dark)


@dataclass(frozen=True)
class Entry:
    """One figure of the story: `draw` makes it; `page` shows it with its controls; `needs` must be stored."""

    name: str
    title: str
    page: str
    draw: Callable[[Told, bool], Shown]
    needs: str = ""
    measures: tuple[str, ...] = ()
    view: Mapping[str, str] = field(default_factory=dict)
    keys: tuple[str, ...] = ("study", "method", "level")

    def defined(self, told: Told) -> tuple[str, ...]:
        """`measures`, with the test that the study's metric has."""
        test = test_row(metric_of(told.degradation))
        return tuple(test if name == "mcnemar" else name for name in self.measures)

    def query(self, told: Told) -> dict[str, str]:
        """The parameters of the page that shows what the figure shows."""
        known = {"study": told.study, "studies": told.study, "method": told.method, "level": f"{told.level:.10g}"}
        return {**{name: known[name] for name in self.keys}, **self.view}


# fmt: off
_ARMS = ("studies", "level")
TELL: tuple[Entry, ...] = (
    Entry("lines", "What pruning costs", "degradation", _lines, "degradation", ("drop",)),
    Entry("bars", "Who pays", "degradation", _bars, "degradation", ("drop", "worst"), {"view": "bars"}),
    Entry("heatmap", "From which sparsity on", "degradation", _heatmap, "degradation", ("mcnemar", "holm"), {"view": "heatmap"}),
    Entry("did", "Beyond the source language", "degradation", _did, "degradation", ("difference_in_differences",), {"view": "did"}),
    Entry("worst", "The language that loses most", "degradation", _worst_line, "degradation", ("drop",)),
    Entry("against", "Method against method", "compare", _against, "pairs", ("mcnemar",), {"view": "scores"}, _ARMS),
    Entry("inside", "Inside the network, method against method", "compare", _inside, "contrasts", ("r_squared", "class_snr", "updates_to_recover"), {"view": "inside"}, _ARMS),
    Entry("separability", "Can the classes still be told apart?", "separability", _separability, "separability", ("r_squared",)),
    Entry("snr", "How much noise pruning added", "separability", _snr, "separability", ("pruning_snr_db",), {"measure": "pruning_snr_db"}),
    Entry("alignment", "How far the states moved", "alignment", _alignment, "similarity", ("linear_cka",), {"view": "sparsity"}, ("study",)),
    Entry("layers", "In which layers", "alignment", _layers, "similarity", ("linear_cka",), {"view": "depth"}, ("study",)),
    Entry("translations", "Are translations still near each other?", "alignment", _translations, "crosslingual", ("retrieval",), {"view": "translations"}, ("study",)),
    Entry("drift", "What kind of movement", "alignment", _drift, "drift", ("drift_language",), {"view": "drift"}, ("study",)),
    Entry("map", "The examples on a map", "map", _map, "map", ("trustworthiness", "displacement")),
    Entry("recovery", "How fast it recovers", "diagnose", _recovery, "recovery", ("updates_to_recover",), {"view": "recovery"}),
    Entry("weights", "Where weights were removed", "weights", _weights, "degradation", ("weight_sparsity",)),
    Entry("size", "What is left, and what it scores", "compare", _size, "degradation", (), {"view": "size"}, _ARMS),
)
# fmt: on


def entries(told: Told) -> list[Entry]:
    """The figures that this study has the measures for, in order."""
    return [entry for entry in TELL if told.has(entry.needs)]


def slides(told: Told, dark: bool = False) -> list[tuple[Entry, Shown]]:
    """Every figure of the story that has something to show."""
    drawn = ((entry, entry.draw(told, dark)) for entry in entries(told))
    return [(entry, shown) for entry, shown in drawn if len(shown.data)]
