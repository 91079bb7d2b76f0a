"""Findings in plain words, written by rules from the measured tables: what is shown, where, and beside what (M§6).

A card is about one method, level and language (or all zero-shot languages); a clause is one measured statement with
the page that shows its evidence. The rules, all of them:

- A language has a card only where its change is significant: exact McNemar, Holm-corrected over the study, below .05,
  and an interval that leaves 0 out on the same side. Never for a drop that is not. Gains have cards too.
- A further clause stands there only where its own interval leaves 0 out, or where it says that something is *not*
  shown (no better than random pruning; within what rerunning does).
- Nothing is said to be the cause of anything: a tokenizer's number stands beside the drop, a restored part says what
  putting it back did.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis import theme
from analysis.measures.drops import MEAN

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
    for row in _rows(frames, "spread"):
        rows += _card(row, list(_over_languages(row)))
    for row in _rows(frames, "degradation"):
        if significant(row):
            rows += _card(row, list(_of_language(row, frames)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def significant(row: Mapping[str, Any]) -> bool:
    """Whether a change may be told: adjusted p below .05 and an interval on the same side of 0."""
    low, high = row["drop_low"], row["drop_high"]
    return bool(row["p_holm"] < ALPHA and ((row["drop"] > 0 and low > 0) or (row["drop"] < 0 and high < 0)))


def _rows(frames: Frames, name: str) -> list[dict[str, Any]]:
    frame = frames.get(name, pd.DataFrame())
    return [] if frame.empty else frame.sort_values("drop", ascending=False).to_dict("records")  # type: ignore[return-value]


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


def _over_languages(row: Mapping[str, Any]) -> Iterator[Clause]:
    differ = row["p_differ"]
    surely = row["drop_low"] > 0 or row["drop_high"] < 0
    if not surely:
        return
    verb = "lose" if row["drop"] > 0 else "gain"
    text = f"the zero-shot languages {verb} {theme.points(abs(row['drop']))} on average ({_span(row, 'drop')})"
    source = f", the source {theme.points(row['source_drop'])}" if row["source_drop"] == row["source_drop"] else ""
    yield Clause("mean", text + source, "degradation", _view(row, view="bars"))
    if differ == differ and differ < ALPHA:
        worst = f"{theme.language_name(row['worst_language'])} most, {theme.points(row['worst'])}"
        spans = (
            f"drops span {theme.points(row['range'])} where equal drops would span {theme.points(row['range_equal'])}"
        )
        yield Clause(
            "differ",
            f"they differ ({theme.p_value(differ)}): {worst}; {spans}",
            "degradation",
            _view(row, view="heatmap"),
        )


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
    source = frames["degradation"].loc[frames["degradation"]["source"], "language"]
    if source.empty or row["source"]:
        return
    who = theme.language_name(str(source.iloc[0]))
    for sign, word in ((1, "more"), (-1, "less")):
        if sign * row["did_low"] > 0 and sign * row["did_high"] > 0:
            text = f"{theme.points(abs(row['did']))} {word} than {who} on the same items ({_span(row, 'did')})"
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
    if len(found):
        large = (found["kind"] == "label") & (found["n"] >= LEAST_ITEMS)
        found = found[large & (found["drop_low"] > max(0.0, row["drop"]))]
    if len(found):
        worst = found.loc[found["drop"].idxmax()]
        text = f"most among items labelled {worst['slice']}: {theme.points(worst['drop'])} ({_span(worst, 'drop')}, n = {worst['n']})"
        yield Clause("slice", text, "flips", _view(row, language=row["language"], view="slices", kind="label"))


def _restored(row: Mapping[str, Any], frames: Frames) -> Iterator[Clause]:
    found = _matching(frames, "restored", row, "method", "sparsity", "language")
    if found.empty or row["split"] != "test":
        return
    found = found[(found["direction"] == "restore") & (found["effect_low_margin"] > 0) & (found["share_margin"] > 0)]
    for part in found.sort_values("effect_margin", ascending=False).head(MOST_PARTS).to_dict("records"):
        text = f"putting back the dense weights of {_part(part)} recovers {theme.percent(part['share_margin'])} of the margin that was lost"
        yield Clause(
            "restored",
            text,
            "diagnose",
            _inside(row, view="restoration", partition=part["partition"], language=row["language"]),
        )


def _part(part: Mapping[str, Any]) -> str:
    return str(part["part"]).replace("_", " ")


def _translations(row: Mapping[str, Any], frames: Frames) -> Iterator[Clause]:
    found = _matching(frames, "crosslingual", row, "method", "sparsity", "language")
    if found.empty or "retrieval_loss" not in found:
        return
    last = found[found["layer"] == found["layer"].max()]
    pooling = sorted(last["pooling"].unique(), key=lambda how: (how == "mean", how))[0]
    last = last[last["pooling"] == pooling]
    mean = last[["retrieval", "retrieval_dense", "retrieval_loss", "retrieval_loss_low"]].mean()
    if mean["retrieval_loss_low"] > 0:
        text = f"its translations found in the last layer fall from {theme.percent(mean['retrieval_dense'])} to {theme.percent(mean['retrieval'])}"
        shown = {
            name: value
            for name, value in _inside(row, view="translations", other=row["language"]).items()
            if name != "method"
        }
        yield Clause("retrieval", text, "alignment", {**shown, "methods": row["method"]})


def _tokens(row: Mapping[str, Any], frames: Frames) -> Iterator[Clause]:
    pieces = _matching(frames, "tokenizer", row, "split")
    sources = frames["degradation"].loc[frames["degradation"]["source"], "language"]
    if pieces.empty or sources.empty or row["source"]:
        return
    table = pieces.drop_duplicates("language").set_index("language")
    own, source = (table.loc[code] if code in table.index else None for code in (row["language"], str(sources.iloc[0])))
    if own is None or source is None:
        return
    if (
        own["unit"] == source["unit"] == "word"
        and source["fertility"] > 0
        and own["fertility"] >= FERTILE * source["fertility"]
    ):
        text = f"fertility {theme.number(own['fertility'] / source['fertility'], 1)}× {theme.language_name(str(sources.iloc[0]))}"
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
