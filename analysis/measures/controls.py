"""What a drop is to be seen beside (M§6.1): random pruning, rerunning the dense model, shuffled labels; and Pareto."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis import degradation as cost
from analysis import inference
from analysis.items import State
from analysis.measures.blocks import Block, blank, with_interval
from analysis.measures.drops import MEAN, keys, mean_drop
from analysis.tables import CONTROLS
from engine.metrics import ITEM_SCORES

NOTHING = ("shuffled", "shuffled_low", "shuffled_high")
NOISE = ("difference", "largest", "churn")


def controls(own: Sequence[Block], shared: Sequence[Block]) -> pd.DataFrame:
    """One row per split, method, level and language (and `MEAN`, the zero-shot languages): the drop and its controls.

    random_drop: the drop of random pruning at the same sparsity; beyond_random (with _low, _high): what the method
    keeps of it, paired. rerun_difference, rerun_largest, rerun_churn: two dense models of different seeds on the same
    items (NaN with one seed). shuffled (with _low, _high): the drop with gold labels dealt out at random (NaN where
    the metric is no mean over classified items, and for the mean of sets that are not parallel).
    """
    rows = [row for block in own for row in _rows(block, {code: (code,) for code in block.items.languages})]
    rows += [row for block in shared if block.items.zero_shot for row in _rows(block, {MEAN: block.items.zero_shot})]
    return pd.DataFrame(rows)


def _rows(block: Block, groups: dict[str, tuple[str, ...]]) -> Iterator[dict[str, Any]]:
    noise = {name: _noise(block, codes) for name, codes in groups.items()}
    for state in block.pruned():
        for name, codes in groups.items():
            row = {**keys(block, state), "language": name, "source": set(codes) <= set(block.items.sources)}
            drop = float(np.mean([mean_drop(block.states[0], state, code) for code in codes]))
            yield {**row, "drop": drop, **_beyond(block, state, codes), **noise[name], **_shuffled(block, state, codes)}


def _beyond(block: Block, state: State, codes: Sequence[str]) -> dict[str, float]:
    other = next((one for one in block.pruned() if one.recipe == "random" and one.sparsity == state.sparsity), None)
    if other is None or other is state:
        return {"random_drop": np.nan, **blank("beyond_random")}
    value = float(np.mean([mean_drop(state, other, code) for code in codes]))
    lost = float(np.mean([mean_drop(block.states[0], other, code) for code in codes]))
    columns = [block.column(state), block.column(other)]
    values_B = np.mean([block.score[code][:, columns[0]] - block.score[code][:, columns[1]] for code in codes], axis=0)
    return {"random_drop": lost, **with_interval("beyond_random", value, values_B)}


def _noise(block: Block, codes: Sequence[str]) -> dict[str, float]:
    """Over all dense seeds of the study, those of this block and others."""
    dense = block.items.dense
    if dense is None or len(dense.seeds) < 2:
        return {f"rerun_{name}": np.nan for name in NOISE}
    parts = [inference.rerun_noise(dense.score[code]) for code in codes]
    means_S = np.mean([dense.value[code] for code in codes], axis=0)
    apart = inference.rerun_noise(means_S[:, None])
    return {
        "rerun_difference": apart["difference"],
        "rerun_largest": apart["largest"],
        "rerun_churn": float(np.mean([part["churn"] for part in parts])),
    }


def _shuffled(block: Block, state: State, codes: Sequence[str]) -> dict[str, float]:
    items, dense = block.items, block.states[0]
    known = all(code in items.gold and code in state.answer for code in codes) and ITEM_SCORES[items.metric].mean
    if not known or (len(codes) > 1 and not items.aligned):
        return dict.fromkeys(NOTHING, np.nan)
    # Languages of a parallel set share their items, hence their labels: they are stacked like seeds.
    sides = [np.concatenate([side.answer[code] for code in codes]) for side in (dense, state)]
    return dict(zip(NOTHING, inference.shuffled_labels(items.gold[codes[0]], *sides), strict=True))


def pareto(degraded: pd.DataFrame, sizes: pd.DataFrame) -> pd.DataFrame:
    """Methods × levels, and dense, by (non-zeros, mean, worst language): one row per split and state (M§6.1).

    mean and worst are over the zero-shot languages (over all where there are none); front: not dominated by any other
    row of the split; nonzero_share: non-zeros over those of dense. Nothing where a state has no size.
    """
    if degraded.empty or sizes.empty:
        return pd.DataFrame()
    counts = sizes.groupby(["method", "sparsity"])["nonzeros"].mean()
    whole = float(counts.get(("dense", 0.0), sizes["parameters"].max()))
    rows = [
        row for split, part in degraded.groupby("split", sort=False) for row in _front(str(split), part, counts, whole)
    ]
    return pd.DataFrame(rows).assign(metric=degraded["metric"].iloc[0])


def _front(split: str, part: pd.DataFrame, counts: pd.Series, whole: float) -> list[dict[str, Any]]:
    rest = part[~part["source"]] if (~part["source"]).any() else part
    rows = [_point(split, "dense", "dense", 0.0, whole, rest.drop_duplicates("language"), "dense")]
    for (method, recipe, sparsity), group in rest.groupby(["method", "recipe", "sparsity"], sort=False):
        if (method, sparsity) in counts.index:
            nonzeros = float(counts[(method, sparsity)])
            rows.append(_point(split, str(method), str(recipe), float(sparsity), nonzeros, group, "pruned"))
    points = [(row["nonzeros"], row["mean"], row["worst"]) for row in rows]
    study = str(part["study"].iloc[0])
    return [
        {"study": study, **row, "nonzero_share": row["nonzeros"] / whole, "front": bool(front)}
        for row, front in zip(rows, cost.pareto(points), strict=True)
    ]


def _point(
    split: str, method: str, recipe: str, sparsity: float, nonzeros: float, group: pd.DataFrame, column: str
) -> dict[str, Any]:
    low = group.loc[group[column].idxmin()]
    facts = {"split": split, "metric": str(low["metric"]), "method": method, "recipe": recipe, "sparsity": sparsity}
    values = {"nonzeros": nonzeros, "mean": float(group[column].mean()), "worst": float(low[column])}
    return {
        **facts,
        **values,
        "worst_language": str(low["language"]),
        "languages": len(group),
        "seeds": int(group["seeds"].min()),
        "control": method in CONTROLS,
    }
