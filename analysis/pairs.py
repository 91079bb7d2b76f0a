"""Methods against each other at the same level: paired differences per language, and of what happened inside (M§6.1).

`score_pairs` compares the study's metric on the same items, with the two-level bootstrap and the test that drops have.
`contrasts` compares measures that are stored per language and seed (separability, SNR, CKA, retrieval, recovery).
Both take arms of one study or of two: a pair is made of what both sides share (languages, items by id, seeds, levels).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import inference
from analysis.items import Items, State
from analysis.measures import significance
from analysis.measures.blocks import SEED, crossed, limits, stacked
from analysis.measures.drops import MEAN, TESTED, mean_value

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Arm:
    """One method of one study at one level, on the items that all compared arms have."""

    study: str
    state: State

    @property
    def key(self) -> tuple[str, str]:
        """(study, method)."""
        return self.study, self.state.method


# -- scores --------------------------------------------------------------------------------------------------------


def score_pairs(first: Items, second: Items | None = None) -> pd.DataFrame:
    """Every pair of methods at every level that both have: one row per language and one for the zero-shot mean.

    Without `second` the pairs inside a study, with it those across the two (there dense with dense too, at level 0);
    none where the two have different metrics.
    difference = a − b of the metric, with low and high (95%, paired bootstrap over seeds and items); p: that of
    analysis.measures.significance, p_holm adjusted over all rows of the split test here; n, seeds.
    """
    studies = [first] if second is None else _shared(first, second)
    if not studies[0].languages or studies[-1].metric != first.metric:
        return pd.DataFrame()
    rows: list[dict[str, Any]] = []
    for seeds, pairs in _by_seeds(studies).items():
        rows += _rows(studies[0], seeds, pairs)
    frame = pd.DataFrame(rows)
    if len(frame):
        frame["p_holm"] = np.nan
        tested = (frame["split"] == TESTED) & frame["p"].notna()
        if tested.any():
            frame.loc[tested, "p_holm"] = inference.holm(frame.loc[tested, "p"])
    return frame


def _shared(first: Items, second: Items) -> list[Items]:
    """Both studies on the languages and items (by id) that both have, in the first one's order."""
    codes = tuple(code for code in first.languages if code in second.languages)
    kept = {code: first.ids[code][pd.Index(first.ids[code]).isin(second.ids[code])] for code in codes}
    codes = tuple(code for code in codes if len(kept[code]))
    return [_on(items, codes, kept) for items in (first, second)]


def _on(items: Items, codes: tuple[str, ...], kept: Mapping[str, NDArray[Any]]) -> Items:
    rows = {code: pd.Index(items.ids[code]).get_indexer(kept[code]).astype(np.int64) for code in codes}

    return replace(
        items,
        languages=codes,
        sources=tuple(code for code in items.sources if code in codes),
        ids={code: kept[code] for code in codes},
        chance={code: items.chance[code] for code in codes},
        dense=items.dense.take(rows) if items.dense else None,
        continued={},
        states={key: state.take(rows) for key, state in items.states.items()},
    )


def _arms(items: Items, dense: bool) -> list[Arm]:
    states = [*items.states.values(), *([items.dense] if dense and items.dense else [])]
    return [Arm(items.study, state) for state in states]


def _by_seeds(studies: Sequence[Items]) -> dict[tuple[int, ...], list[tuple[Arm, Arm]]]:
    """The pairs of the same level, grouped by the seeds that both sides have."""
    sides = [_arms(items, len(studies) > 1) for items in studies]
    pairs = combinations(sides[0], 2) if len(sides) == 1 else ((a, b) for a in sides[0] for b in sides[1])
    found: dict[tuple[int, ...], list[tuple[Arm, Arm]]] = {}
    for a, b in pairs:
        seeds = tuple(seed for seed in a.state.seeds if seed in b.state.seeds)
        if seeds and abs(a.state.sparsity - b.state.sparsity) < 1e-9:
            found.setdefault(seeds, []).append((a, b))
    return found


def _rows(items: Items, seeds: tuple[int, ...], pairs: Sequence[tuple[Arm, Arm]]) -> Iterator[dict[str, Any]]:
    arms = {(arm.key, arm.state.sparsity): arm.state.on(seeds) for pair in pairs for arm in pair}
    column = {key: place for place, key in enumerate(arms)}
    states = list(arms.values())
    means = crossed(stacked(states, "stats"), items.aligned, metric=items.metric)
    for a, b in pairs:
        places = column[a.key, a.state.sparsity], column[b.key, b.state.sparsity]
        keys = {
            "split": items.split, "metric": items.metric, "sparsity": a.state.sparsity, "study_a": a.study, "method_a": a.state.method,
            "recipe_a": a.state.recipe, "study_b": b.study, "method_b": b.state.method, "recipe_b": b.state.recipe, "seeds": len(seeds),
        }  # fmt: skip
        for code in items.languages:
            one, other = (states[place] for place in places)
            yield {
                **keys,
                "language": code,
                "source": code in items.sources,
                "n": one.score[code].shape[1],
                **_difference(mean_value(one, code), mean_value(other, code), means[code], places),
                "p": significance.tests(one, other, code)["p"],
            }
        if items.zero_shot:
            yield {**keys, **_mean(items, states, means, places)}


def _difference(a: float, b: float, means_BK: Floats, places: tuple[int, int]) -> dict[str, float]:
    low, high = limits(means_BK[:, places[0]] - means_BK[:, places[1]])
    return {"a": a, "b": b, "difference": a - b, "low": low, "high": high}


def _mean(
    items: Items, states: Sequence[State], means: Mapping[str, Floats], places: tuple[int, int]
) -> dict[str, Any]:
    codes = items.zero_shot
    a, b = (float(np.mean([mean_value(states[place], code) for code in codes])) for place in places)
    mean_BK = np.asarray(np.mean([means[code] for code in codes], axis=0))
    n = int(np.mean([states[0].score[code].shape[1] for code in codes]))
    return {
        "language": MEAN,
        "source": False,
        "n": n,
        **_difference(a, b, mean_BK, places),
        "p": float("nan"),  # a test is of one language's items; the interval speaks for the mean
    }


# -- measures of what happened inside ------------------------------------------------------------------------------

KEYS = ("study", "method", "recipe")
PLACE = ("sparsity", "measure", "layer")


def contrasts(values: pd.DataFrame) -> pd.DataFrame:
    """Every pair of arms for every measure, level and layer: one row with the difference a − b of their means.

    `values`: study, method, recipe, seed, sparsity, language, measure, layer, value; language "" for a measure that has
    none (recovery). The interval is a paired bootstrap over what the two share: seeds, and languages where there are
    several (probe examples stay as they are). With one seed and one language there is nothing to resample: NaN.
    """
    rows: list[dict[str, Any]] = []
    for place, group in values.groupby(list(PLACE), sort=False) if len(values) else ():
        arms = dict(list(group.groupby(list(KEYS), sort=False)))
        for a, b in combinations(arms, 2):
            if found := _contrast(arms[a], arms[b]):
                sides = {f"{name}_{side}": value for side, key in (("a", a), ("b", b)) for name, value in zip(KEYS, key, strict=True)}  # fmt: skip
                rows.append({**dict(zip(PLACE, place, strict=True)), **sides, **found})
    return pd.DataFrame(rows)


def _contrast(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, Any] | None:
    tables = [part.pivot_table(index="seed", columns="language", values="value") for part in (first, second)]
    seeds, codes = tables[0].index.intersection(tables[1].index), tables[0].columns.intersection(tables[1].columns)
    a_SL, b_SL = (table.loc[seeds, codes].to_numpy(dtype=np.float64) for table in tables)
    if not a_SL.size:
        return None
    known_L = np.isfinite(a_SL).all(0) & np.isfinite(b_SL).all(0)
    a_SL, b_SL = a_SL[:, known_L], b_SL[:, known_L]
    if not a_SL.size:
        return None
    low, high = crossed_interval(a_SL - b_SL)
    a, b = float(a_SL.mean()), float(b_SL.mean())
    return {"a": a, "b": b, "difference": a - b, "low": low, "high": high, "seeds": a_SL.shape[0], "languages": a_SL.shape[1]}  # fmt: skip


def crossed_interval(values: Floats, seed: int = SEED, resamples: int = 1000) -> tuple[float, float]:
    """95% interval of the mean of seeds × languages, both resampled: `Σ_s Σ_l u_s v_l x_sl / (S·L)` with counts u, v.

    NaN for a single value, of which nothing can be resampled.
    """
    x_SL = np.asarray(values, dtype=np.float64)
    if x_SL.ndim != 2 or not x_SL.size or not np.isfinite(x_SL).all():
        raise ValueError(f"values: must be finite, seeds × languages; got shape {x_SL.shape}")
    if x_SL.size == 1:
        return float("nan"), float("nan")
    rng = inference.generator(seed)
    seed_BS, language_BL = (inference.resample_counts(n, rng, resamples) for n in x_SL.shape)
    return limits(np.einsum("bs,sl,bl->b", seed_BS, x_SL, language_BL) / x_SL.size)
