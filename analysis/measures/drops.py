"""Study-wide measures of degradation (M§6.1): drops with intervals, tests, spread over languages, safe levels, rankings.

The tables of one study, each row from columns of the same bootstrap values (analysis.measures.blocks). Scores and drops
are of the study's own metric, also where that is no mean of item scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import degradation as cost
from analysis import inference
from analysis.items import Items, State
from analysis.measures import significance
from analysis.measures.blocks import SEED, Block, blank, blocks, limits, with_interval

Floats = NDArray[np.float64]

MEAN = "mean of zero-shot"
PERMUTATIONS = 1000
EQUAL_PERMUTATIONS = 200  # for the spread that equal drops would show: only its mean is used
TOLERANCES = (0.01, 0.02, 0.05)
ROUNDING = 1e-12  # what sums of equal numbers may differ by
TESTED = "test"  # the split whose p values make the family of Holm's correction


def resampled(splits: Iterable[Items]) -> tuple[list[Block], list[Block]]:
    """The blocks of all splits: for numbers of one language, and for those over languages.

    Over languages only the items that all of them have count; mostly that is every item.
    """
    own: list[Block] = []
    shared: list[Block] = []
    for items in splits:
        own += (found := blocks(items))
        shared += found if items.aligned or not items.parallel else blocks(items.common())
    return own, shared


def frames(own: Sequence[Block], shared: Sequence[Block]) -> dict[str, pd.DataFrame]:
    """All tables of this module by name: degradation, spread, safe, ranking."""
    degraded, averaged = degradation(own, shared), spread(shared)
    return {"degradation": degraded, "spread": averaged, "safe": safe(degraded, averaged), "ranking": ranking(shared)}


# -- per language --------------------------------------------------------------------------------------------------


def degradation(own: Sequence[Block], shared: Sequence[Block]) -> pd.DataFrame:
    """One row per split, method, level and language. All intervals are 95%; scores and drops are fractions.

    dense, continued, pruned (each with _low, _high): the study's metric (column `metric`) on the items, mean over
    seeds; `continued` is the dense model after as many updates. drop, drop_continued: dense − pruned, continued −
    pruned, on the same items. relative_drop, retention, normalised_retention (above the metric's chance level). p,
    discordant, minimum_detectable: see analysis.measures.significance; p_holm: adjusted over all rows of the split
    test. did, did_margin: how
    much more than the source languages this one loses, in score and in margin, on the items of `shared` (parallel
    sets only). per_seed, per_seed_drop: the pruned score and the drop of each seed.
    """
    extra = {place: row for block in shared if block.items.aligned for place, row in _did(block).items()}
    frame = pd.DataFrame([row for block in own for row in _language_rows(block, extra)])
    if frame.empty:
        return frame
    tested = (frame["split"] == TESTED) & frame["p"].notna()
    frame["p_holm"] = np.nan
    if tested.any():
        frame.loc[tested, "p_holm"] = inference.holm(frame.loc[tested, "p"])
    return frame


Place = tuple[str, str, float, str]  # split, method, sparsity, language


def _language_rows(block: Block, extra: Mapping[Place, Mapping[str, float]]) -> Iterator[dict[str, Any]]:
    items, nothing = block.items, {**blank("did"), **blank("did_margin")}
    for state in block.pruned():
        for code in items.languages:
            row = {
                **keys(block, state),
                "language": code,
                "source": code in items.sources,
                **_cell(block, state, code),
            }
            yield {**row, **extra.get((items.split, state.method, state.sparsity, code), nothing)}


def keys(block: Block, state: State) -> dict[str, Any]:
    """What every row of a study-wide measure of one state begins with."""
    items = block.items
    facts = {
        "study": items.study,
        "split": items.split,
        "metric": items.metric,
        "method": state.method,
        "recipe": state.recipe,
    }
    return {
        **facts,
        "sparsity": state.sparsity,
        "measured_sparsity": state.measured_sparsity,
        "step": state.step,
        "seeds": len(block.seeds),
    }


def _cell(block: Block, state: State, code: str) -> dict[str, Any]:
    dense, continued = block.states[0], block.continued(state.step)
    row: dict[str, Any] = {"n": dense.score[code].shape[1], "chance": block.items.chance[code]}
    row |= _scores(block, code, {"dense": dense, "continued": continued, "pruned": state})
    row |= _drops(block, code, state, dense, continued)
    chance = block.items.chance[code]
    row |= {
        "relative_drop": float(cost.relative_drop(row["dense"], row["pruned"])),
        "retention": float(cost.retention(row["dense"], row["pruned"])),
    }
    row["normalised_retention"] = (
        float(cost.normalised_retention(row["dense"], row["pruned"], chance, row["dense_low"], row["dense_high"]))
        if np.isfinite(chance)
        else np.nan
    )
    return {
        **row,
        **significance.tests(dense, state, code),
        "per_seed": state.value[code].tolist(),
        "per_seed_drop": (dense.value[code] - state.value[code]).tolist(),
    }


def _scores(block: Block, code: str, states: Mapping[str, State | None]) -> dict[str, float]:
    row: dict[str, float] = {}
    for name, state in states.items():
        place = block.column(state)
        row |= (
            blank(name)
            if state is None or place is None
            else with_interval(name, mean_value(state, code), block.score[code][:, place])
        )
    return row


def _drops(block: Block, code: str, state: State, dense: State, continued: State | None) -> dict[str, float]:
    row: dict[str, float] = {}
    for name, reference in (("drop", dense), ("drop_continued", continued)):
        if reference is None:
            row |= blank(name)
            continue
        values_B = block.score[code][:, block.column(reference)] - block.score[code][:, block.column(state)]
        row |= with_interval(name, mean_drop(reference, state, code), values_B)
    return row


def mean_value(state: State, code: str) -> float:
    """The study's metric, mean over seeds."""
    return float(state.value[code].mean())


def mean_drop(reference: State, state: State, code: str) -> float:
    """How much less of the metric the state has, mean over seeds."""
    return float((reference.value[code] - state.value[code]).mean())


def _did(block: Block) -> dict[Place, dict[str, float]]:
    """Difference in differences of every state and zero-shot language against the mean of the source languages."""
    found: dict[Place, dict[str, float]] = {}
    for state in block.pruned() if block.items.sources else ():
        for code in block.items.zero_shot:
            metric = {other: mean_drop(block.states[0], state, other) for other in (code, *block.items.sources)}
            margin = {other: _lost_margin(block, state, other) for other in metric}
            found[block.items.split, state.method, state.sparsity, code] = {
                **_extra_drop(block, state, code, metric, block.score, "did"),
                **_extra_drop(block, state, code, margin, block.margin, "did_margin"),
            }
    return found


def _lost_margin(block: Block, state: State, code: str) -> float:
    return float((block.states[0].margin[code] - state.margin[code]).mean())


def _extra_drop(
    block: Block, state: State, code: str, drops: Mapping[str, float], values: Mapping[str, Floats], name: str
) -> dict[str, float]:
    sources, column = block.items.sources, block.column(state)
    drops_B = {other: values[other][:, 0] - values[other][:, column] for other in drops}
    value = drops[code] - float(np.mean([drops[source] for source in sources]))
    return with_interval(name, value, drops_B[code] - np.mean([drops_B[source] for source in sources], axis=0))


# -- over languages ------------------------------------------------------------------------------------------------


def spread(shared: Sequence[Block]) -> pd.DataFrame:
    """One row per split, method and level over the zero-shot languages (language = `MEAN`).

    The same score and drop columns as `degradation`, as unweighted means over languages. worst_language and worst
    (its drop); std and range of the drops, beside std_equal and range_equal, what they would be if all languages
    dropped alike; p_differ: do languages differ?; `source_drop`: the mean drop of the source languages. On parallel
    sets over the items that all languages share.
    """
    return pd.DataFrame([row for block in shared for row in _spread_rows(block)])


def _spread_rows(block: Block) -> Iterator[dict[str, Any]]:
    codes = block.items.zero_shot
    for state in block.pruned() if codes else ():
        dense, continued = block.states[0], block.continued(state.step)
        row: dict[str, Any] = {**keys(block, state), "language": MEAN, "source": False, "languages": len(codes)}
        row["n"] = int(np.mean([dense.score[code].shape[1] for code in codes]))
        row["chance"] = float(np.mean([block.items.chance[code] for code in codes]))
        row |= _over(block, codes, state, dense, continued)
        yield {**row, **_unequal(block, codes, state, dense)}


def _over(block: Block, codes: Sequence[str], state: State, dense: State, continued: State | None) -> dict[str, float]:
    cells = [
        _scores(block, code, {"dense": dense, "continued": continued, "pruned": state})
        | _drops(block, code, state, dense, continued)
        for code in codes
    ]
    row: dict[str, float] = {}
    mean_BK = np.mean([block.score[code] for code in codes], axis=0)
    columns = {"dense": 0, "continued": block.column(continued), "pruned": block.column(state)}
    for name, place in columns.items():
        value = float(np.mean([cell[name] for cell in cells]))
        row |= blank(name) if place is None else with_interval(name, value, mean_BK[:, place])
    for name, place in (("drop", 0), ("drop_continued", columns["continued"])):
        value = float(np.mean([cell[name] for cell in cells]))
        row |= (
            blank(name)
            if place is None
            else with_interval(name, value, mean_BK[:, place] - mean_BK[:, columns["pruned"]])
        )
    return row


def _unequal(block: Block, codes: Sequence[str], state: State, dense: State) -> dict[str, Any]:
    means = {code: mean_drop(dense, state, code) for code in codes}
    worst = max(means, key=means.__getitem__)
    sources = [mean_drop(dense, state, code) for code in block.items.sources]
    row: dict[str, Any] = {
        "worst_language": worst,
        "worst": means[worst],
        "source_drop": float(np.mean(sources)) if sources else np.nan,
    }
    if len(codes) < 2:
        return {**row, **dict.fromkeys(("std", "range", "std_equal", "range_equal", "p_differ"), np.nan)}
    seen = cost.spread(list(means.values()))
    drops = [(dense.influence[code] - state.influence[code]).mean(0) for code in codes]  # whose mean is the drop
    shuffled = inference.shuffled_drops(drops, SEED, EQUAL_PERMUTATIONS, block.items.aligned)
    equal = cost.equal_spread(shuffled)
    p = inference.languages_differ(drops, SEED, PERMUTATIONS, block.items.aligned)[2]
    return {
        **row,
        "std": seen["std"],
        "range": seen["range"],
        "std_equal": equal["std"],
        "range_equal": equal["range"],
        "p_differ": p,
    }


def safe(degraded: pd.DataFrame, averaged: pd.DataFrame) -> pd.DataFrame:
    """The last safe sparsity per split, method, language (and `MEAN`) and tolerance (M§6.1).

    safe is 0 where already the smallest level loses too much; `levels` counts the levels that were tried. Where no
    item changed at all the bootstrap has nothing to resample and its bound is 0 whatever n; the exact bound for
    none in n, `1 − .025^(1/n)`, stands in its place, so that a few dozen items declare no language safe.
    """
    frame = pd.concat([part for part in (degraded, averaged) if len(part)] or [pd.DataFrame()])
    keys = ["study", "split", "method", "recipe", "language", "source"]
    rows = []
    for place, group in frame.groupby(keys, sort=False) if len(frame) else ():
        for tolerance in TOLERANCES:
            found = cost.last_safe_sparsity(group["sparsity"], _uppers(group), tolerance)
            rows.append(
                {**dict(zip(keys, place, strict=True)), "tolerance": tolerance, "safe": found, "levels": len(group)}
            )
    return pd.DataFrame(rows)


def _uppers(group: pd.DataFrame) -> Floats:
    unchanged = (group["drop_low"].abs() < ROUNDING) & (group["drop_high"].abs() < ROUNDING)
    return np.where(unchanged, 1 - 0.025 ** (1 / group["n"]), group["drop_high"])


def ranking(shared: Sequence[Block]) -> pd.DataFrame:
    """Does the methods' order on the source carry over? One row per split, level and zero-shot language (M§6.1).

    tau (Kendall's τ-b of the methods' scores, with low and high), over `methods` methods that share level and
    seeds; the control (recipe random) is left out, since being last everywhere it would lift every τ.
    """
    return pd.DataFrame([row for block in shared for row in _ranking_rows(block)])


def _ranking_rows(block: Block) -> Iterator[dict[str, Any]]:
    items = block.items
    ranked = [state for state in block.pruned() if state.recipe != "random"]
    for sparsity in sorted({state.sparsity for state in ranked}):
        states = [state for state in ranked if state.sparsity == sparsity]
        if len(states) < 2 or not items.sources:
            continue
        columns = np.array([block.column(state) for state in states])
        source = items.sources[0]
        for code in items.zero_shot:
            means = [[mean_value(state, language) for state in states] for language in (source, code)]
            tau = float(inference.kendall_tau(means[0], means[1])[0])
            tau_B = inference.kendall_tau(block.score[source][:, columns], block.score[code][:, columns])
            kept_B = tau_B[~np.isnan(tau_B)]
            low, high = limits(kept_B) if kept_B.size else (np.nan, np.nan)
            keys = {
                "study": items.study,
                "split": items.split,
                "sparsity": sparsity,
                "language": code,
                "source": source,
            }
            yield {**keys, "tau": tau, "low": low, "high": high, "methods": len(states), "seeds": len(block.seeds)}
