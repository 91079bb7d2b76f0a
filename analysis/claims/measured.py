"""How a claim is measured: functions of the evidence that give an effect with its interval, positive where it holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis import inference
from analysis.claims.evidence import Evidence, on_common_seeds
from analysis.claims.intervals import Floats, Interval, Student
from analysis.items import State

SPLITS, COMPETITIVE, CERTAIN = 200, 0.02, 0.05


@dataclass(frozen=True)
class Test:
    """How a claim is measured: `run(evidence)` gives (effect, low, high); where to look at it: `arm` beside `other`, `level`."""

    run: Callable[[Evidence], Interval | Student]
    arm: str
    level: float
    other: str = ""


def _pruned(evidence: Evidence) -> tuple[State, State]:
    """(dense, magnitude at 90%) on the seeds that both have."""
    state, dense = evidence.state("magnitude", 0.9), evidence.items.dense
    if dense is None:
        raise KeyError("dense: has no finished run")
    first, second = on_common_seeds([dense, state])
    return first, second


def extra_drop(evidence: Evidence) -> Interval:
    """Drop of the zero-shot languages less that of the source (magnitude, 90%)."""
    dense, state = _pruned(evidence)
    others, source = (
        evidence.mean_score(dense, which) - evidence.mean_score(state, which) for which in ("zero-shot", "source")
    )
    return inference.paired_bootstrap(others, source, evidence.seed)


def language_spread(evidence: Evidence) -> Interval:
    """Standard deviation of the languages' drops less what shuffling the drops among languages gives (M§6.1)."""
    dense, state = _pruned(evidence)
    drops = [(dense.score[code] - state.score[code]).mean(0) for code in evidence.items.zero_shot]
    shuffled_PG = inference.shuffled_drops(drops, evidence.seed, parallel=evidence.items.aligned)
    seen = float(np.std([drop.mean() for drop in drops]))
    chance = np.std(shuffled_PG, axis=1)
    low, high = np.quantile(seen - chance, [CERTAIN / 2, 1 - CERTAIN / 2])
    return seen - float(chance.mean()), float(low), float(high)


def drop_and_alignment(evidence: Evidence) -> Interval:
    """Spearman over zero-shot languages of the drop with the loss of retrieval; interval by Fisher's transform.

    Its standard error is `√(1.06/(G−3))` (Fieller et al. 1957): up to three languages say nothing.
    """
    dense, state = _pruned(evidence)
    codes = evidence.items.zero_shot
    drops = [float((dense.score[code] - state.score[code]).mean()) for code in codes]
    rows = evidence.states
    before = rows[rows["method"] == "dense"]
    after = rows[(rows["method"] == "magnitude") & np.isclose(rows["sparsity"], 0.9)]
    losses = [float(before[f"retrieval/{code}"].mean() - after[f"retrieval/{code}"].mean()) for code in codes]
    rho = float(stats.spearmanr(drops, losses).statistic)
    if len(codes) <= 3:
        return rho, -1.0, 1.0
    half = 1.96 * np.sqrt(1.06 / (len(codes) - 3))
    centre = np.arctanh(np.clip(rho, -0.999999, 0.999999))
    return rho, float(np.tanh(centre - half)), float(np.tanh(centre + half))


def ranking_changes(evidence: Evidence) -> Interval:
    """How much less the criteria's order on a language agrees with that on the source than each agrees with itself.

    All agreements are Kendall's τ between one half of the items and the other. A language whose scores are noisier has
    a lower τ with everything, so the cross agreement is held against the mean of the source's own and the language's own.
    """
    criteria = [name for name in ("magnitude", "lamp", "wanda", "fisher", "random") if _has(evidence, name)]
    states = on_common_seeds([evidence.state(name, 0.9) for name in criteria])
    source_MSN = np.stack([evidence.mean_score(state, "source") for state in states])
    others = [np.stack([state.score[code] for state in states]) for code in evidence.items.zero_shot]
    return ranking_gap(source_MSN, others, evidence.seed)


def ranking_gap(source_MSN: Floats, others: Sequence[Floats], seed: int) -> Interval:
    """`mean_l[(τ(src₁,src₂) + τ(l₁,l₂))/2 − τ(src₁,l₂)]` over random halves of the items: (mean, low, high).

    Arrays: methods × seeds × items, the same items in all. Seeds are drawn with replacement, and items within each half,
    after the halves are made: an item that stood in both would make a language agree with itself for that reason alone.
    """
    rng = inference.generator(seed)
    seeds, items = source_MSN.shape[1:]
    gaps = []
    for _ in range(SPLITS):
        drawn = rng.integers(seeds, size=seeds)
        halves = [rng.choice(half, len(half)) for half in np.array_split(rng.permutation(items), 2)]
        (first, second), *rest = (
            [scores[:, drawn][:, :, half].mean((1, 2)) for half in halves] for scores in (source_MSN, *others)
        )
        same = _tau(first, second)
        gaps.append(np.mean([(same + _tau(one, two)) / 2 - _tau(first, two) for one, two in rest]))
    low, high = np.nanquantile(gaps, [0.025, 0.975])
    return float(np.nanmean(gaps)), float(low), float(high)


def _tau(a: Floats, b: Floats) -> float:
    return float(stats.kendalltau(a, b).statistic)


def _has(evidence: Evidence, method: str) -> bool:
    return any(name == method for name, _ in evidence.items.states)


def gap(a: str, b: str, level: float, which: str = "zero-shot") -> Test:
    """Mean score of arm a less that of b at one level."""
    return Test(lambda evidence: evidence.gap((a, level), (b, level), which), a, level, b)


def growth(a: str, b: str, high: float, low: float) -> Test:
    """How much larger the gap a − b is at the higher level."""
    return Test(lambda evidence: evidence.gap_growth(a, b, high, low), a, high, b)


def seeds(table: str, column: str, a: str, b: str, level: float, sign: int = 1) -> Test:
    """Mean over seeds of a − b in a column of one of the evidence's tables; `sign` −1 where lower is better."""

    def run(evidence: Evidence) -> Student:
        return _signed(evidence.per_seed(getattr(evidence, table), column, (a, level), (b, level)), sign)

    return Test(run, a, level, b)


def competitive(a: str, b: str, level: float, other: float) -> Test:
    """How far a at one level is from falling more than 2 points below b at another."""

    def run(evidence: Evidence) -> Interval:
        mean, low, high = evidence.gap((a, level), (b, other))
        return mean + COMPETITIVE, low + COMPETITIVE, high + COMPETITIVE

    return Test(run, a, level, b)


def probing(kind: str, a: str, b: str, level: float, sign: int = 1) -> Test:
    """As `seeds`, of one kind of probing result."""

    def run(evidence: Evidence) -> Student:
        rows = evidence.probing
        if not len(rows):
            raise KeyError("the study has no probing results")
        return _signed(evidence.per_seed(rows[rows["kind"] == kind], "value", (a, level), (b, level)), sign)

    return Test(run, a, level, b)


def _signed(found: Student, sign: int) -> Student:
    return found if sign > 0 else Student(-found.effect, -found.high, -found.low, found.degrees)
