"""Is a difference real: intervals by bootstrap, exact tests, corrections for many looks (M§6.1).

Items are shared by all states of a model, and on parallel sets by all languages, so every interval here resamples
items jointly: pairs, not two samples. With several seeds, seeds and items are both resampled (items alone cover .88
instead of .95); under 5 seeds even that covers .88–.93, which a page must say. Intervals are 95% percentile ones.
All randomness comes from the `seed` argument: the same seed draws the same resamples for every method and language.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom, norm
from scipy.stats import t as student

from engine.metrics import finite
from engine.registry import Metric

Floats = NDArray[np.float64]
Interval = tuple[float, float, float]

RESAMPLES = 2000
CHUNK = 4_000_000  # resample counts held at once (32 MB)
ROUNDING = 1e-9  # differences of scores below this are none


def generator(seed: int) -> np.random.Generator:
    """A numpy generator for a whole-number seed, ValueError otherwise."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"seed: must be a whole number, not negative; got {seed!r}")
    return np.random.default_rng(int(seed))


def resample_counts(n: int, rng: np.random.Generator, resamples: int = RESAMPLES) -> Floats:
    """How often each of n items occurs in each bootstrap resample, `resamples × n`.

    Counts instead of index lists: a resampled sum is then one matrix product for any number of metrics,
    languages and states at once (`weights_BN` of engine.metrics).
    """
    if n < 1:
        raise ValueError(f"n: must be at least 1; got {n}")
    drawn_BN = rng.integers(n, size=(resamples, n)) + n * np.arange(resamples)[:, None]
    return np.bincount(drawn_BN.ravel(), minlength=resamples * n).reshape(resamples, n).astype(np.float64)


def _chunks(resamples: int, n: int) -> Iterator[int]:
    if resamples < 1:
        raise ValueError(f"resamples: must be at least 1; got {resamples}")
    step = max(1, CHUNK // n)
    yield from (min(step, resamples - done) for done in range(0, resamples, step))


def _limits(values_B: Floats) -> tuple[float, float]:
    kept_B = values_B[~np.isnan(values_B)]  # a resample in which the value is undefined says nothing
    low, high = np.quantile(kept_B, [0.025, 0.975]) if kept_B.size else (math.nan, math.nan)
    return float(low), float(high)


def _seeds_by_items(name: str, values: ArrayLike) -> Floats:
    array = np.asarray(values)
    if array.ndim not in (1, 2):
        raise ValueError(f"{name}: must be items or seeds × items; got shape {array.shape}")
    return np.atleast_2d(finite(name, array))


def _differences(a: ArrayLike, b: ArrayLike, names: str = "a, b") -> Floats:
    first, second = names.split(", ")
    a_SN, b_SN = _seeds_by_items(first, a), _seeds_by_items(second, b)
    if a_SN.shape != b_SN.shape:
        raise ValueError(f"{names}: must pair the same seeds and items; got shapes {np.shape(a)} and {np.shape(b)}")
    return a_SN - b_SN


def replicates(values: Sequence[ArrayLike], seed: int, resamples: int = RESAMPLES, parallel: bool = True) -> Floats:
    """Bootstrap means of G sets of values (each items, or seeds × items): `resamples × G`.

    Seeds are drawn once for all sets; items too where `parallel` (the sets then share their item axis), otherwise
    for each set apart. Seeds and items are crossed: mean of a resample = `Σ_s Σ_i u_s v_i x_si / (S·N)` with counts
    u and v.
    """
    return _replicates(values, [0] * len(values) if parallel else range(len(values)), seed, resamples)


def _replicates(values: Sequence[ArrayLike], groups: Sequence[int], seed: int, resamples: int) -> Floats:
    # Sets of one group share their items and so their item draws.
    sets = [_seeds_by_items(f"values[{g}]", value) for g, value in enumerate(values)]
    if not sets:
        raise ValueError("values: must hold at least one set; got none")
    if len({len(x_SN) for x_SN in sets}) > 1 or len(set(zip(groups, map(np.shape, sets), strict=True))) > len(
        set(groups)
    ):
        raise ValueError(f"values: must share seeds, and items if parallel; got shapes {[x_SN.shape for x_SN in sets]}")
    rng, largest = generator(seed), max(x_SN.shape[1] for x_SN in sets)
    return np.concatenate([_draw(sets, groups, rng, count) for count in _chunks(resamples, largest)])


def _draw(sets: list[Floats], groups: Sequence[int], rng: np.random.Generator, resamples: int) -> Floats:
    seed_BS = resample_counts(len(sets[0]), rng, resamples)
    items = {group: x_SN.shape[1] for group, x_SN in zip(groups, sets, strict=True)}
    item_BN = {group: resample_counts(n, rng, resamples) for group, n in items.items()}
    means = [((item_BN[g] @ x_SN.T) * seed_BS).sum(1) / x_SN.size for g, x_SN in zip(groups, sets, strict=True)]
    return np.stack(means, axis=1)


def paired_bootstrap(a: ArrayLike, b: ArrayLike, seed: int, resamples: int = RESAMPLES) -> Interval:
    """Mean difference a − b on the same items, with its 95% percentile interval: (difference, low, high).

    `a`, `b`: items, or seeds × items (both then resampled). NaN or infinite values are refused: an item that one
    side lacks must leave both.
    """
    difference_SN = _differences(a, b)
    return (float(difference_SN.mean()), *_limits(replicates([difference_SN], seed, resamples)[:, 0]))


def difference_in_differences(
    dense: ArrayLike, pruned: ArrayLike, dense_source: ArrayLike, pruned_source: ArrayLike, seed: int,
    resamples: int = RESAMPLES,
) -> Interval:  # fmt: skip
    """How much more a language loses than the source language, on the same items: (difference, low, high) (M§6.1).

    `mean_i[(dense−pruned)_{l,i} − (dense−pruned)_{src,i}]` with a paired bootstrap; items, or seeds × items. For
    correctness or for margins: a language near chance cannot fall far in correctness.
    """
    drop = _differences(dense, pruned, "dense, pruned")
    drop_source = _differences(dense_source, pruned_source, "dense_source, pruned_source")
    if drop.shape != drop_source.shape:
        raise ValueError(f"dense, dense_source: must be the same items; got {drop.shape} and {drop_source.shape}")
    return paired_bootstrap(drop, drop_source, seed, resamples)


def _correctness(name: str, values: ArrayLike) -> NDArray[np.bool_]:
    array = finite(name, values, 1)
    if not np.isin(array, (0.0, 1.0)).all():
        raise ValueError(f"{name}: must be true or false for every item; got {array[~np.isin(array, (0, 1))][0]:g}")
    return array.astype(bool)


def mcnemar(a: ArrayLike, b: ArrayLike) -> float:
    """Exact two-sided McNemar p value of two boolean correctness vectors over the same items (M§6.1).

    Only the discordant items speak: with n of them, k on the smaller side, `p = min(1, 2·P(X ≤ k))`,
    X ~ Binomial(n, ½). No discordant item gives 1. The chi-square form is off where few items changed.
    """
    a_N, b_N = _correctness("a", a), _correctness("b", b)
    if a_N.shape != b_N.shape:
        raise ValueError(f"a, b: must be the same items; got {len(a_N)} and {len(b_N)}")
    first, second = int((a_N & ~b_N).sum()), int((b_N & ~a_N).sum())
    return min(1.0, 2.0 * float(binom.cdf(min(first, second), first + second, 0.5)))


def _probabilities(name: str, p: ArrayLike) -> Floats:
    p_M = finite(name, p, 1)
    if p_M.min() < 0 or p_M.max() > 1:
        raise ValueError(f"{name}: must be from 0 to 1; got {p_M.min():g} to {p_M.max():g}")
    return p_M


def holm(p: ArrayLike) -> Floats:
    """Holm's step-down adjusted p values, in the order given: `max_{j≤i} min(1, (M−j+1)·p_(j))` (Holm 1979).

    Give it the whole study's p values at once: then a filter of a page never changes one (M§6.1).
    """
    p_M = _probabilities("p", p)
    order = np.argsort(p_M, kind="stable")
    steps = np.minimum(1.0, p_M[order] * np.arange(len(p_M), 0, -1))
    adjusted_M = np.empty_like(p_M)
    adjusted_M[order] = np.maximum.accumulate(steps)
    return adjusted_M


def median_p(p: ArrayLike) -> float:
    """One p value for several seeds: `min(1, 2·median)`, valid under any dependence of the seeds (M§6.1)."""
    return min(1.0, 2.0 * float(np.median(_probabilities("p", p))))


def minimum_detectable_drop(n: int, discordant: float) -> float:
    """Smallest drop that n items show with 80% power at the 5% level: `(z_.975 + z_.8)·√(discordant/n)` (M§6.1).

    `discordant`: the fraction of items that one state answers correctly and the other does not, 0 to 1.
    """
    if not (np.isfinite(n) and n >= 1):
        raise ValueError(f"n: must be at least 1; got {n}")
    if not 0 <= discordant <= 1:
        raise ValueError(f"discordant: must be a fraction from 0 to 1; got {discordant}")
    return detectable(n, discordant)


def detectable(n: int, square: float) -> float:
    """The same for items of any score: `square` is the mean squared difference of an item, `(z_.975 + z_.8)·√(square/n)`.

    Of items that are right or wrong it is the discordant fraction: both are the spread that a test without effect sees.
    """
    return float((norm.ppf(0.975) + norm.ppf(0.8)) * math.sqrt(square / n))


def interval_p(value: float, low: float, high: float, degrees: float = math.inf) -> float:
    """The two-sided p value that a 95% interval implies (Altman & Bland 2011, BMJ 343:d2304).

    `2·P(T > t₉₇₅·|value| / half)` with the half of the interval that faces 0, so that p < .05 exactly where the interval
    excludes 0; T is normal, or Student's t where the interval has so few `degrees` of freedom. A bootstrap's own p value
    ends at two over its resamples, too coarse to be corrected for dozens of comparisons. NaN where a number is unknown; 1
    for an interval without an end; an interval without width means no noise.
    """
    if math.isnan(value) or math.isnan(low) or math.isnan(high):
        return math.nan
    half = value - low if value > 0 else high - value
    if not math.isfinite(half):
        return 1.0
    if half <= 0:
        return 1.0 if value == 0 else 0.0
    shape = norm if math.isinf(degrees) else student(degrees)
    return float(2 * shape.sf(shape.ppf(0.975) * abs(value) / half))


FLIPS = 2000


@lru_cache(maxsize=4)
def _signs(flips: int, n: int, seed: int) -> NDArray[np.int8]:
    """The same signs for every cell of a table, a byte each: of a set of 40,000 items they are 80 MB as they stand."""
    return generator(seed).integers(2, size=(flips, n), dtype=np.int8) * np.int8(2) - np.int8(1)


def sign_flips(differences: ArrayLike, seed: int, flips: int = FLIPS) -> Floats:
    """Two-sided p values of stacks of paired differences (items, or S × items) by random sign flips (M§6.1): S values.

    Without an effect an item's difference could as well have had the other sign. `p = (1 + #{|Σ εd| ≥ |Σ d|})/(1 + flips)`,
    or Hoeffding's bound for such sums, `2·exp(−(Σd)²/(2·Σd²))`, where that is smaller: random flips alone could say
    no more than 1/2001, which Holm's correction over hundreds of comparisons makes 1. All differences 0 gives 1.
    """
    d_SN = _seeds_by_items("differences", differences)
    if flips < 1:
        raise ValueError(f"flips: must be at least 1; got {flips}")
    sum_S, square_S = np.abs(d_SN.sum(1)), (d_SN**2).sum(1)
    # What rounding leaves of a difference that is none is no difference.
    scale_S = np.abs(d_SN).max(1)
    sum_S[scale_S < ROUNDING] = 0.0
    signs_FN, step = _signs(flips, d_SN.shape[1], seed), max(1, CHUNK // d_SN.shape[1])
    parts = (np.abs(signs_FN[start : start + step].astype(np.float64) @ d_SN.T) for start in range(0, flips, step))
    above_S = np.sum([(drawn_FS >= sum_S * (1 - 1e-9)).sum(0) for drawn_FS in parts], axis=0)
    bound_S = 2 * np.exp(-np.divide(sum_S**2, 2 * square_S, out=np.zeros_like(sum_S), where=square_S > 0))
    return np.asarray(np.minimum((1 + above_S) / (1 + flips), bound_S))


def shuffled_labels(gold: ArrayLike, dense: ArrayLike, pruned: ArrayLike) -> Interval:
    """The drop in accuracy if the gold labels were dealt out at random among the items: (mean, low, high) (M§6.1).

    The control of a drop: with labels that mean nothing it is what the two states' class frequencies alone make, near
    0. `gold`: classes of N items; `dense`, `pruned`: predicted classes, S×N or N. The drop is then
    `1/N Σ_i a(i, π(i))` with `a(i,j) = mean_s [d_si = y_j] − [p_si = y_j]`, a linear permutation statistic, so that its
    mean `ΣΣ a/N²` and variance `Σ c²/(N²(N−1))`, c the doubly centred a, are exact (Hoeffding 1951); limits ±1.96σ.
    """
    gold_N = finite("gold", gold, 1)
    sides = [_seeds_by_items(name, values) for name, values in (("dense", dense), ("pruned", pruned))]
    if any(side_SN.shape[1] != len(gold_N) for side_SN in sides) or len(gold_N) < 2:
        raise ValueError(
            f"gold, dense, pruned: must be the same 2 or more items; got {len(gold_N)}, {np.shape(dense)} and {np.shape(pruned)}"
        )
    classes_C = np.unique(np.concatenate([gold_N, *(side_SN.ravel() for side_SN in sides)]))
    first_NC, second_NC = ((side_SN[:, :, None] == classes_C).mean(0) for side_SN in sides)
    answer_NC, gold_NC = first_NC - second_NC, (gold_N[:, None] == classes_C).astype(np.float64)
    mean = float(answer_NC.mean(0) @ gold_NC.mean(0))
    answer_CC, gold_CC = (centred.T @ centred for centred in (answer_NC - answer_NC.mean(0), gold_NC - gold_NC.mean(0)))
    n = len(gold_N)
    half = float(norm.ppf(0.975)) * math.sqrt(max(0.0, float((answer_CC * gold_CC).sum())) / (n**2 * (n - 1)))
    return mean, mean - half, mean + half


def rerun_noise(scores: ArrayLike) -> dict[str, float]:
    """How much two runs of the same thing differ by the seed alone, from correctness S×N of 2 or more seeds (M§6.1).

    difference: mean `|a − b|` of the mean scores over all pairs of seeds; largest: the largest of them; churn: mean
    share of items on which two seeds differ. A drop below `largest` is within what rerunning does.
    """
    score_SN = finite("scores", scores, 2)
    if len(score_SN) < 2:
        raise ValueError(f"scores: must be of 2 or more seeds; got {len(score_SN)}")
    first, second = np.triu_indices(len(score_SN), 1)
    means_S = score_SN.mean(1)
    apart_P = np.abs(means_S[first] - means_S[second])
    churn = float(np.mean([(score_SN[a] != score_SN[b]).mean() for a, b in zip(first, second, strict=True)]))
    return {"difference": float(apart_P.mean()), "largest": float(apart_P.max()), "churn": churn}


def shuffled_drops(drops: Sequence[ArrayLike], seed: int, permutations: int = 1000, parallel: bool = True) -> Floats:
    """Mean drops of G languages if language did not matter: `permutations × G` (M§6.1).

    `drops[l]`: per-item drops (averaged over seeds). On parallel items each item's drops are shuffled among the
    languages, which keeps what the item does to all of them; otherwise all items are pooled and dealt out again.
    """
    sets = [finite(f"drops[{g}]", values, 1) for g, values in enumerate(drops)]
    if len(sets) < 2 or permutations < 1:
        raise ValueError(f"drops, permutations: need 2 languages and 1 permutation; got {len(sets)}, {permutations}")
    if parallel and len({len(values) for values in sets}) > 1:
        raise ValueError(f"drops: parallel items must be equally many; got {[len(values) for values in sets]}")
    rng = generator(seed)
    if parallel:
        drops_NG = np.stack(sets, axis=1)
        return np.stack([rng.permuted(drops_NG, axis=1).mean(0) for _ in range(permutations)])
    pooled, edges = np.concatenate(sets), np.cumsum([0, *map(len, sets)])
    sums_PE = np.stack([np.append(0.0, np.cumsum(rng.permutation(pooled)))[edges] for _ in range(permutations)])
    return np.diff(sums_PE, axis=1) / np.diff(edges)


def languages_differ(
    drops: Sequence[ArrayLike], seed: int, permutations: int = 1000, parallel: bool = True
) -> tuple[float, float, float]:
    """Do languages drop differently? (variance over languages of the mean drop, its mean under shuffling, p) (M§6.1).

    The variance is compared with its distribution when drops are shuffled (`shuffled_drops`);
    `p = (1 + #{shuffled ≥ observed})/(1 + permutations)`. A plain variance is above 0 even for equal drops.
    """
    null_P = shuffled_drops(drops, seed, permutations, parallel).var(1, ddof=1)
    observed = float(np.var([np.mean(np.asarray(values, dtype=np.float64)) for values in drops], ddof=1))
    above = int((null_P >= observed * (1 - 1e-9) - 1e-18).sum())
    return observed, float(null_P.mean()), (1 + above) / (1 + permutations)


def kendall_tau(a: ArrayLike, b: ArrayLike) -> Floats:
    """Kendall's τ-b along the last axis, for stacks of score vectors at once; NaN where a side is all tied."""
    a_BM, b_BM = np.atleast_2d(finite("a", a)), np.atleast_2d(finite("b", b))
    if a_BM.shape != b_BM.shape or a_BM.shape[-1] < 2:
        raise ValueError(f"a, b: must have equal shapes with at least 2 scores; got {a_BM.shape} and {b_BM.shape}")
    first, second = np.triu_indices(a_BM.shape[-1], 1)
    a_BP, b_BP = (np.sign(np.round(x_BM[:, first] - x_BM[:, second], 12)) for x_BM in (a_BM, b_BM))
    pairs_B = np.sqrt((a_BP**2).sum(1) * (b_BP**2).sum(1))
    return np.asarray(np.divide((a_BP * b_BP).sum(1), pairs_B, out=np.full(len(a_BP), np.nan), where=pairs_B > 0))


def ranking_agreement(
    source: Sequence[ArrayLike], target: Sequence[ArrayLike], seed: int, resamples: int = RESAMPLES,
    parallel: bool = True,
) -> Interval:  # fmt: skip
    """Does the choice of method carry over? Kendall's τ of the methods' order on two languages, with interval (M§6.1).

    `source[m]`, `target[m]`: method m's scores on the source and on the other language (items, or seeds × items,
    methods on the same items). τ of the methods' means; items (and seeds) are resampled, jointly in both languages
    where `parallel`.
    """
    if len(source) != len(target) or len(source) < 2:
        raise ValueError(f"source, target: need the same 2 or more methods; got {len(source)} and {len(target)}")
    means = [[float(np.mean(_seeds_by_items("source, target", x))) for x in side] for side in (source, target)]
    groups = [0] * 2 * len(source) if parallel else [0] * len(source) + [1] * len(source)
    source_BM, target_BM = np.split(_replicates([*source, *target], groups, seed, resamples), 2, axis=1)
    value = kendall_tau(means[0], means[1])[0]
    return (float(value), *_limits(kendall_tau(source_BM, target_BM)))


# fmt: off
ROWS: tuple[Metric, ...] = (
    Metric("mcnemar", "McNemar p", "How likely so uneven a split of the changed items is by chance.",
           "M§6.1", "McNemar 1947", "p value", "neither", 0.0, 1.0,
           r"\min\left(1, 2\sum_{k\le\min(b,c)}\binom{b+c}{k}2^{-(b+c)}\right)", "Degradation"),
    Metric("sign_flips", "Sign-flip p", "How likely so large a drop is if every item's part in it had a random sign: of every metric but accuracy.",
           "M§6.1", "Fisher 1935; Hoeffding 1963; Miller 1974", "p value", "neither", 0.0, 1.0,
           r"\frac{1+\#\{|\sum_i\epsilon_i d_i|\ge|\sum_i d_i|\}}{1+F}", "Degradation"),
    Metric("holm", "Adjusted p", "The p value after correcting for all comparisons of the study.",
           "M§6.1", "Holm 1979", "p value", "neither", 0.0, 1.0, r"\max_{j\le i}\min(1,(M-j+1)p_{(j)})", "Degradation"),
    Metric("difference_in_differences", "Extra drop", "How much more a language loses than the source language does.",
           "M§6.1", "standard", "fraction", "lower", None, None,
           r"(d-p)_l-(d-p)_{\mathrm{src}}", "Degradation"),
    Metric("minimum_detectable_drop", "Detectable drop", "The smallest drop that this many items show with 80% power.",
           "M§6.1", "standard", "fraction", "lower", 0.0, None, r"(z_{.975}+z_{.8})\sqrt{d/n}", "Degradation"),
    Metric("languages_differ", "Do languages differ?", "How likely such unequal drops are if language did not matter.",
           "M§6.1", "permutation test", "p value", "neither", 0.0, 1.0,
           r"\frac{1+\#\{\mathrm{Var}_l^{\mathrm{shuffled}}\ge\mathrm{Var}_l\}}{1+P}", "Degradation"),
    Metric("ranking_agreement", "Ranking agreement", "Whether methods rank alike on the source and another language.",
           "M§6.1", "Kendall 1938", "correlation", "higher", -1.0, 1.0,
           r"\tau_b=\frac{\sum_{i<j}s_{ij}t_{ij}}{\sqrt{\sum s_{ij}^2\sum t_{ij}^2}}", "Degradation"),
    Metric("shuffled_labels", "Drop with shuffled labels", "The drop that is left when gold labels are dealt out at random: about 0.",
           "M§6.1", "Hoeffding 1951", "fraction", "neither", -1.0, 1.0, r"\frac1N\sum_i([d_i=y_{\pi(i)}]-[p_i=y_{\pi(i)}])", "Degradation"),
    Metric("rerun_noise", "Rerun noise", "How much two dense models of different seeds differ: a drop of this size needs no pruning.",
           "M§6.1", "standard", "fraction", "lower", 0.0, 1.0, r"\frac{2}{S(S-1)}\sum_{s<t}|\bar d_s-\bar d_t|", "Degradation"),
)
# fmt: on
