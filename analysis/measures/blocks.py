"""One set of bootstrap values for a whole study: the states that share seeds and items, resampled together (M§6.1).

What is resampled are items; the study's own metric is then computed on every resample, whether it is a mean of item
scores or not, from the sums of its statistics. Every drop, difference in differences or mean over languages is a
difference or mean of columns of the same draws: the paired two-level bootstrap of analysis.inference, done for all
states of a language in one matrix product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis import inference
from analysis.items import Items, State, metric_values
from analysis.tables import CONTROLS

Floats = NDArray[np.float64]
Means = Mapping[str, Floats]  # per language: resamples × states

SEED = 0


@dataclass(frozen=True)
class Block:
    """States with the same seeds, on the same items: columns of one set of bootstrap values.

    `score`: of the study's metric; `margin`: of the mean margin. `states[0]` is dense, then the continued ones, then the pruned; `column` says where each stands.
    """

    items: Items
    seeds: tuple[int, ...]
    states: tuple[State, ...]
    score: Means
    margin: Means

    def column(self, state: State | None) -> int | None:
        """The column of a state, None for None."""
        return None if state is None else next(place for place, other in enumerate(self.states) if other is state)

    def continued(self, step: int) -> State | None:
        """`dense_continued` after as many updates as a state of this step, where this block has it."""
        return next((state for state in self.states if state.method == "dense_continued" and state.step == step), None)

    def pruned(self) -> tuple[State, ...]:
        """The methods' states."""
        return tuple(state for state in self.states if state.method not in CONTROLS)


def crossed(
    sets: Mapping[str, Floats], aligned: bool, seed: int = SEED, resamples: int = inference.RESAMPLES, metric: str = ""
) -> Means:
    """Bootstrap values of many states at once, per language resamples × states.

    `sets`: per language states × seeds × items, whose means are taken; or with a `metric` states × seeds × items × the
    columns that it reads. Seeds are drawn jointly for all languages, items once for all languages where `aligned`
    (they then share their item axis), else per language. A state's resampled value is `Σ_s u_s M_s(v) / S` with
    counts u, v: the mean over the drawn seeds of the metric on the drawn items (for a mean `Σ_s Σ_i u_s v_i x_si / (S·N)`).
    """
    rng = inference.generator(seed)
    largest = max(values.shape[2] for values in sets.values())
    step = max(1, inference.CHUNK // largest)
    parts: dict[str, list[Floats]] = {code: [] for code in sets}
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        seed_BS = inference.resample_counts(next(iter(sets.values())).shape[1], rng, count)
        item_BN: Floats | None = None
        for code, values in sets.items():
            if item_BN is None or not aligned:
                item_BN = inference.resample_counts(values.shape[2], rng, count)
            parts[code].append(_over_seeds(_per_seed(values, item_BN, metric), seed_BS))
    return {code: np.concatenate(chunks) for code, chunks in parts.items()}


def _per_seed(values: Floats, item_BN: Floats, metric: str) -> Floats:
    """Resamples × states × seeds."""
    states, seeds, items = values.shape[:3]
    if metric:
        found_BX = metric_values(metric, values.reshape(states * seeds, items, -1), item_BN)
    else:
        found_BX = item_BN @ values.reshape(states * seeds, items).T / items
    return np.asarray(found_BX).reshape(len(item_BN), states, seeds)


def _over_seeds(values_BKS: Floats, seed_BS: Floats) -> Floats:
    return np.asarray(np.einsum("bks,bs->bk", values_BKS, seed_BS) / seed_BS.shape[1])


def blocks(items: Items) -> list[Block]:
    """One block per set of seeds that states have in common with the dense runs; the largest first."""
    if items.dense is None or not items.languages:
        return []
    groups: dict[tuple[int, ...], list[State]] = {}
    for state in items.states.values():
        if seeds := tuple(seed for seed in items.dense.seeds if seed in state.seeds):
            groups.setdefault(seeds, []).append(state.on(seeds))
    return [
        _block(items, items.dense, seeds, pruned)
        for seeds, pruned in sorted(groups.items(), key=lambda group: -len(group[1]))
    ]


def _block(items: Items, dense: State, seeds: tuple[int, ...], pruned: list[State]) -> Block:
    continued = [state.on(seeds) for state in items.continued.values() if set(seeds) <= set(state.seeds)]
    states = (dense.on(seeds), *continued, *pruned)
    score = crossed(stacked(states, "stats"), items.aligned, metric=items.metric)
    return Block(items, seeds, states, score, crossed(stacked(states, "margin"), items.aligned))


def stacked(states: Sequence[State], kind: str) -> dict[str, Floats]:
    """Per language one array of all states: `crossed` takes these."""
    return {code: np.stack([getattr(state, kind)[code] for state in states]) for code in getattr(states[0], kind)}


def limits(values_B: Floats) -> tuple[float, float]:
    """The 95% percentile interval of bootstrap values."""
    low, high = np.quantile(values_B, [0.025, 0.975])
    return float(low), float(high)


def with_interval(name: str, value: float, values_B: Floats) -> dict[str, float]:
    """A value and its interval as columns `name`, `name_low`, `name_high`."""
    low, high = limits(values_B)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def blank(name: str) -> dict[str, float]:
    """The same columns where there is no value."""
    return dict.fromkeys((name, f"{name}_low", f"{name}_high"), float("nan"))
