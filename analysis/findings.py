"""Findings in plain words, written by rules from the measured tables: what is shown, where, and beside what (M§6).

A card is about one method, level and language (or all zero-shot languages); a clause is one measured statement with
the page that shows its evidence. The rules, all of them:

- Only the split test is told of, whose p values are one family.
- A language has a card only where its change is significant: the test of its items (`analysis.measures.significance`),
  Holm-corrected over the study, below .05, and an interval that leaves 0 out on the same side. Never for a drop that is
  not. Gains have cards too. The mean over languages has no test: its p value is read off its interval
  (`analysis.inference.interval_p`) and Holm-corrected over the study's means.
- A further clause stands there only where its own interval leaves 0 out, or where it says that something is *not*
  shown (no better than random pruning; within what rerunning does). Where the largest of several is told, such as the
  worst label or the best part, its p value is corrected for their number (Bonferroni): the largest of many is large by
  chance.
- Nothing is said to be the cause of anything: a tokenizer's number stands beside the drop, a restored part says what
  putting it back did.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis import theme
from analysis.inference import holm, interval_p
from analysis.measures.drops import MEAN, TESTED

ALPHA = 0.05
FERTILE = 1.25  # times the source's tokens per word: from here on it is worth a clause
LEAST_ITEMS = 20  # in a slice that is named: the interval of fewer holds too little
MOST_PARTS = 1  # restored parts named per card
COLUMNS = (
    "study", "split", "method", "recipe", "sparsity", "language", "gain", "drop", "place", "kind", "text", "page", "query",
)  # fmt: skip
Frames = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Clause:
    """One statement: the rule that wrote it, its words, and the page and parameters that show it."""

    kind: str
    text: str
    page: str
    query: Mapping[str, str]


def cards(frames: Frames) -> pd.DataFrame:
    """All cards of a study, one row per clause, largest drops first: columns `COLUMNS`, `query` as JSON.

    `frames`: the measures by name (`degradation`, `spread`, `controls`, `flip_counts`, `flip_slices`, `tokenizer`, and
    of levels `restored`, `crosslingual`, `calibration`); a table that is missing or empty costs its clauses only.
    """
    rows: list[dict[str, Any]] = []
    for name, tell in (("spread", _over_languages), ("degradation", _of_language)):
        for row in _rows(frames, name):
            if significant(row):
                rows += _card(row, list(tell(row, frames)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def significant(row: Mapping[str, Any]) -> bool:
    """Whether a change may be told: adjusted p below .05 and an interval on the same side of 0."""
    low, high = row["drop_low"], row["drop_high"]
    return bool(row["p_holm"] < ALPHA and ((row["drop"] > 0 and low > 0) or (row["drop"] < 0 and high < 0)))


def _rows(frames: Frames, name: str) -> list[dict[str, Any]]:
    """Rows of the split that is told of, largest drops first, each with an adjusted p value."""
    frame = frames.get(name, pd.DataFrame())
    frame = frame[frame["split"] == TESTED] if len(frame) else frame
    if frame.empty:
        return []
    rows: list[dict[str, Any]] = frame.sort_values("drop", ascending=False).to_dict("records")  # type: ignore[assignment]
    if all(_missing(row.get("p_holm")) for row in rows):  # the mean over languages has no test of its own
        rows = _adjusted(rows, "p_holm", [interval_p(row["drop"], row["drop_low"], row["drop_high"]) for row in rows])
    return rows


def _missing(value: Any) -> bool:
    return value is None or value != value


def _adjusted(rows: list[dict[str, Any]], name: str, p: list[float]) -> list[dict[str, Any]]:
    """The rows with Holm-adjusted p values; those without one stay out of the family."""
    known = [place for place, value in enumerate(p) if not _missing(value)]
    found = dict(zip(known, holm([p[place] for place in known]), strict=True)) if known else {}
    return [{**row, name: float(found.get(place, math.nan))} for place, row in enumerate(rows)]


def _card(row: Mapping[str, Any], clauses: list[Clause]) -> list[dict[str, Any]]:
    facts = {name: row[name] for name in ("study", "split", "method", "recipe", "sparsity", "language")}
    facts |= {"gain": bool(row["drop"] < 0), "drop": float(row["drop"])}
    return [
        {
            **facts,
            "place": place,
            "kind": one.kind,
            "text": one.text,
            "page": one.page,
            "query": json.dumps(dict(one.query), sort_keys=True),
        }
        for place, one in enumerate(clauses)
    ]


def _view(row: Mapping[str, Any], **more: str) -> dict[str, str]:
    """The parameters that open a page on this method, level and split."""
    return {
        "study": row["study"],
        "method": row["method"],
        "level": f"{row['sparsity']:.10g}",
        "split": row["split"],
        **more,
    }


def _inside(row: Mapping[str, Any], **more: str) -> dict[str, str]:
    """The same for pages that know no splits."""
    return {name: value for name, value in _view(row, **more).items() if name != "split"}


def _matching(frames: Frames, name: str, row: Mapping[str, Any], *keys: str) -> pd.DataFrame:
    frame = frames.get(name, pd.DataFrame())
    for key in keys if len(frame) else ():
        frame = frame[frame[key] == row[key]]
    return frame


# -- all zero-shot languages ---------------------------------------------------------------------------------------


def _over_languages(row: Mapping[str, Any], frames: Frames) -> Iterator[Clause]:
    text = f"the zero-shot languages {_moved(row['drop'], plural=True)} on average ({_span(row, 'drop')})"
    source = row["source_drop"]
    also = f"; {_sources(frames)} {_moved(source, len(_source_codes(frames)) > 1)}" if source == source else ""
    yield Clause("mean", text + also, "degradation", _view(row, view="bars"))
    if row["p_differ"] < ALPHA:
        worst = f"{theme.language_name(row['worst_language'])} fares worst, it {_moved(row['worst'])}"
        spans = (
            f"drops span {theme.points(row['range'])} where equal drops would span {theme.points(row['range_equal'])}"
        )
        yield Clause(
            "differ",
            f"they differ ({theme.p_value(row['p_differ'])}): {worst}; {spans}",
            "degradation",
            _view(row, view="heatmap"),
        )


def _moved(drop: float, plural: bool = False) -> str:
    """A drop in words: `loses 3.0 points`, `gains 1.0 points`, without a word of whether it is sure."""
    verb = "lose" if drop >= 0 else "gain"
    return f"{verb}{'' if plural else 's'} {theme.points(abs(drop))}"


def _sources(frames: Frames) -> str:
    """The source language by name; several are named as what they are."""
    found = _source_codes(frames)
    return theme.language_name(found[0]) if len(found) == 1 else "the source languages" if found else "the source"


def _source_codes(frames: Frames) -> list[str]:
    degraded = frames.get("degradation", pd.DataFrame())
    return degraded.loc[degraded["source"], "language"].unique().tolist() if len(degraded) else []


def _span(row: Mapping[str, Any], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return theme.interval(low, high) if row[name] >= 0 else theme.interval(-high, -low)


# -- one language --------------------------------------------------------------------------------------------------


def _of_language(row: Mapping[str, Any], frames: Frames) -> Iterator[Clause]:
    name, gained = theme.language_name(row["language"]), row["drop"] < 0
    verb = "gains" if gained else "drops"
    text = f"{name} {verb} {theme.points(abs(row['drop']))} ({_span(row, 'drop')})"
    yield Clause("drop", text, "degradation", _view(row, view="numbers", language=row["language"]))
    if gained:
        return
    for rule in (_beyond_source, _controls, _flips, _slices, _restored, _translations, _tokens, _confidence):
        yield from rule(row, frames)


def _beyond_source(row: Mapping[str, Any], frames: Frames) -> Iterator[Clause]:
    if not _source_codes(frames) or row["source"]:
        return
    for sign, word in ((1, "more"), (-1, "less")):
        if sign * row["did_low"] > 0 and sign * row["did_high"] > 0:
            text = f"{theme.points(abs(row['did']))} {word} than {_sources(frames)} on the same items ({_span(row, 'did')})"
            yield Clause("did", text, "degradation", _view(row, view="did"))


def _controls(row: Mapping[str, Any], frames: Frames) -> Iterator[Clause]:
    found = _matching(frames, "controls", row, "split", "method", "sparsity", "language")
    if found.empty:
        return
    control = found.iloc[0]
    view = _view(row, view="controls")
    if row["drop"] <= control["rerun_largest"]:
        text = f"not more than two dense models of different seeds differ ({theme.points(control['rerun_largest'])})"
        yield Clause("rerun", text, "degradation", view)
    if control["beyond_random_low"] > 0:
        yield Clause(
            "random",
            f"random pruning at the same sparsity loses {theme.points(control['random_drop'])}",
            "degradation",
            view,
        )
    elif control["beyond_random_high"] < 0:
        interval = theme.interval(-control["beyond_random_high"], -control["beyond_random_low"])
        text = f"{theme.points(-control['beyond_random'])} more than under random pruning at the same sparsity ({interval})"
        yield Clause("random", text, "degradation", view)
    elif control["beyond_random"] == control["beyond_random"]:
        interval = theme.interval(control["beyond_random_low"], control["beyond_random_high"])
        yield Clause(
            "random", f"not shown to be better than random pruning (difference {interval})", "degradation", view
        )


def _flips(row: Mapping[str, Any], frames: Frames) -> Iterator[Clause]:
    found = _matching(frames, "flip_counts", row, "split", "method", "sparsity", "language")
    if found.empty:
        return
    flips = found.iloc[0]
    alone = flips["broken_here"]
    here = f", {theme.percent(alone)} in no other language" if alone == alone and alone > 0 else ""
    text = (
        f"{theme.percent(flips['broken'])} of its items broke{here}, {theme.percent(flips['repaired'])} were repaired"
    )
    yield Clause("flips", text, "flips", _view(row, view="languages"))


def _slices(row: Mapping[str, Any], frames: Frames) -> Iterator[Clause]:
    found = _matching(frames, "flip_slices", row, "split", "method", "sparsity", "language")
    found = found[found["kind"] == "label"] if len(found) else found
    if found.empty:
        return
    # Labels part the items: this is the drop of all, also where slices are told in accuracy and the study's metric is an F1.
    whole = float(np.average(found["drop"], weights=found["n"]))
    found = found[found["n"] >= LEAST_ITEMS]
    if found.empty:
        return
    worst = found.loc[found["drop"].idxmax()]
    beyond = interval_p(worst["drop"] - whole, worst["drop_low"] - whole, worst["drop_high"] - whole)
    if worst["drop_low"] > max(0.0, whole) and len(found) * beyond < ALPHA:
        unit = "" if worst.get("metric") == row.get("metric") else f" of {worst['metric'].replace('_', ' ')}"
        text = f"most among items labelled {worst['slice']}: {theme.points(worst['drop'])}{unit} ({_span(worst, 'drop')}, n = {worst['n']})"
        yield Clause("slice", text, "flips", _view(row, language=row["language"], view="slices", kind="label"))


def _restored(row: Mapping[str, Any], frames: Frames) -> Iterator[Clause]:
    found = _matching(frames, "restored", row, "method", "sparsity", "language")
    if len(found):
        found = found[found["direction"] == "restore"]
    if found.empty:
        return
    parts = _over_seeds(found)
    sure = parts[(parts["effect_low_margin"] > 0) & (parts["share_margin"] > 0) & (len(parts) * parts["p"] < ALPHA)]
    for part in sure.sort_values("effect_margin", ascending=False).head(MOST_PARTS).to_dict("records"):
        text = f"putting back the dense weights of {_part(part)} recovers {theme.percent(part['share_margin'])} of the margin that was lost"
        view = {"partition": str(part["partition"]), "language": row["language"], "seed": str(part["seed"])}
        yield Clause("restored", text, "diagnose", _inside(row, view="restoration", **view))


def _over_seeds(found: pd.DataFrame) -> pd.DataFrame:
    """One row per part: its mean effect, and the least sure of its seeds."""
    ends = ["effect_margin", "effect_low_margin", "effect_high_margin"]
    rows = found.assign(p=[interval_p(*values) for values in found[ends].to_numpy()])
    how = {"effect_margin": "mean", "effect_low_margin": "min", "share_margin": "mean", "p": "max", "seed": "min"}
    return rows.groupby(["partition", "part"], sort=False, as_index=False).agg(how)


def _part(part: Mapping[str, Any]) -> str:
    return str(part["part"]).replace("_", " ")


def _translations(row: Mapping[str, Any], frames: Frames) -> Iterator[Clause]:
    found = _matching(frames, "crosslingual", row, "method", "sparsity", "language")
    if found.empty or "retrieval_loss" not in found:
        return
    last = found[found["layer"] == found["layer"].max()]
    pooling = sorted(last["pooling"].unique(), key=lambda how: (how == "mean", how))[0]
    last = last[last["pooling"] == pooling]
    mean = last[["retrieval", "retrieval_dense"]].mean()
    if last["retrieval_loss_low"].min() > 0:
        text = f"its translations found in the last layer fall from {theme.percent(mean['retrieval_dense'])} to {theme.percent(mean['retrieval'])}"
        shown = {
            name: value
            for name, value in _inside(row, view="translations", other=row["language"]).items()
            if name != "method"
        }
        yield Clause("retrieval", text, "alignment", {**shown, "methods": row["method"]})


def _tokens(row: Mapping[str, Any], frames: Frames) -> Iterator[Clause]:
    pieces = _matching(frames, "tokenizer", row, "split")
    sources = _source_codes(frames)
    if pieces.empty or not sources or row["source"]:
        return
    table = pieces.drop_duplicates("language").set_index("language")
    own, source = (table.loc[code] if code in table.index else None for code in (row["language"], sources[0]))
    if own is None or source is None:
        return
    if (
        own["unit"] == source["unit"] == "word"
        and source["fertility"] > 0
        and own["fertility"] >= FERTILE * source["fertility"]
    ):
        text = f"fertility {theme.number(own['fertility'] / source['fertility'], 1)}× {theme.language_name(sources[0])}"
        yield Clause("fertility", text, "diagnose", _inside(row, view="text"))
    if own["truncated"] > 0.01:
        yield Clause(
            "truncated",
            f"{theme.percent(own['truncated'])} of its texts are cut",
            "diagnose",
            _inside(row, view="text"),
        )


def _confidence(row: Mapping[str, Any], frames: Frames) -> Iterator[Clause]:
    found = _matching(frames, "calibration", row, "split", "method", "sparsity", "language")
    if found.empty or "flips_broken" not in found:
        return
    mean = found[["flips_broken", "ece"]].mean()
    if mean["flips_broken"] > 0:
        text = (
            f"the wrong answers to the items that broke are given with {theme.percent(mean['flips_broken'])} confidence"
        )
        yield Clause("confidence", text, "diagnose", _inside(row, view="calibration"))


__all__ = ["COLUMNS", "MEAN", "Clause", "cards", "significant"]
