"""Sparsity as a function of the training step (M§2.2). Pure Python.

How a row of `SCHEDULES` is called: `row.function(step, total, initial, final, **ramp)`, with `final` the level to
reach and `ramp` those of the row's parameters that the function takes; `row.function(step, total, levels)` for the one
that needs "levels". Each returns the cumulative sparsity after the update `step`, counted from 0 to `total`, and never
falls, unless the row's `options["lifts"]` says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from engine.registry import Entry, Parameter, Registry


def cubic(step: float, total: float, initial: float, final: float, warmup: float, cooldown: float) -> float:
    """`s_t = s_f + (s_i − s_f)(1 − (t−t0)/(t1−t0))³` between t0 and t1, constant before and after (M§2.2).

    `warmup` and `cooldown` are fractions of `total`: t0 = warmup·total, t1 = (1 − cooldown)·total. Most weights go
    early, while many are redundant, and few late (Zhu & Gupta 2017). `initial` must not exceed `final`; the two
    fractions must add up to less than 1 (else no step would be left to prune in). Raises `ValueError`.
    """
    left = 1 - _progress(step, total, initial, final, warmup, cooldown)
    return final + (initial - final) * left**3 if left < 1 else initial


def linear(step: float, total: float, initial: float, final: float, warmup: float, cooldown: float) -> float:
    """`s_i + (s_f − s_i)(t−t0)/(t1−t0)` between t0 and t1, constant before and after (M§2.2); arguments as `cubic`."""
    left = 1 - _progress(step, total, initial, final, warmup, cooldown)
    return final + (initial - final) * left if left < 1 else initial


def one_shot(step: float, total: float, initial: float, final: float, warmup: float = 0.0) -> float:
    """`initial` before t0 = warmup·total, `final` from there on (M§2.2); arguments as `cubic`."""
    _progress(step, total, initial, final, warmup, 0.0)
    # 0.7 · 10 lies above 7 in binary, and the jump belongs to the update 7.
    return final if step >= warmup * total - 1e-9 else initial


def sparse_dense_sparse(step: float, total: float, initial: float, final: float) -> float:
    """`final` at the start, 0 from then on until half of the run, `final` again to its end (M§4.6, `sds`).

    Pruned, revived, pruned again: `initial`, the sparsity before, plays no part, because the mask is lifted.
    """
    _progress(step, total, initial, final, 0.0, 0.0)
    return 0.0 if 0 < step < total / 2 else final


def steps(step: float, total: float, levels: Sequence[float]) -> float:
    """The level of the share of training that `step` falls into: `total` is divided evenly among the levels (M§2.2).

    Iterative pruning: every level is reached at once and retrained until the next. `levels` ascend, from 0 to 1.
    """
    _check_step(step, total)
    if not levels:
        raise ValueError("levels: must hold at least one sparsity; got none")
    for level in levels:
        _check_fraction("levels", level)
    if list(levels) != sorted(set(levels)):
        raise ValueError(f"levels: must ascend; got {list(levels)}")
    return levels[min(int(step * len(levels) // total), len(levels) - 1)]


def _progress(step: float, total: float, initial: float, final: float, warmup: float, cooldown: float) -> float:
    """Checked (t−t0)/(t1−t0), from 0 to 1."""
    _check_step(step, total)
    for name, value in (("initial", initial), ("final", final), ("warmup", warmup), ("cooldown", cooldown)):
        _check_fraction(name, value)
    if initial > final:
        raise ValueError(f"initial: must not exceed final {final}; got {initial}")
    if warmup + cooldown >= 1 - 1e-12:  # 0.58 + 0.42 and the like may fall short of 1 in binary
        raise ValueError(
            f"warmup + cooldown: must be below 1, or no step is left to prune in; got {warmup} + {cooldown}"
        )
    start, end = warmup * total, (1 - cooldown) * total
    return min(max((step - start) / (end - start), 0.0), 1.0)


def _check_step(step: float, total: float) -> None:
    _check_number("total", total)
    _check_number("step", step)
    if total <= 0:
        raise ValueError(f"total: must be above 0; got {total}")
    if step < 0:
        raise ValueError(f"step: must be from 0; got {step}")


def _check_fraction(name: str, value: float) -> None:
    _check_number(name, value)
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: must be from 0 to 1; got {value}")


def _check_number(name: str, value: float) -> None:
    if isinstance(value, (bool, str)) or not hasattr(value, "__float__") or not math.isfinite(value):
        raise ValueError(f"{name}: must be a finite number; got {value!r}")


RAMP_NAMES = ("initial", "warmup", "cooldown")  # parameters that the functions take; the others steer the loop
RAMP = (
    Parameter("initial", 0.0, "Sparsity before pruning begins.", low=0, high=1),
    Parameter("warmup", 0.1, "Fraction of the run before pruning begins.", low=0, high=1),
    Parameter("cooldown", 0.3, "Fraction of the run after the final sparsity is reached.", low=0, high=1),
)
RENEWALS = Parameter("renewals", 50, "How often the mask is chosen anew along the run, at most once an update.", low=1)

SCHEDULES: Registry[Entry] = Registry(
    "schedule",
    (
        Entry(
            name="one_shot",
            title="One shot",
            what="Prunes once, to the level, and trains on.",
            section="M§2.2",
            source="Han et al. 2015, arXiv 1506.02626",
            function=one_shot,
            parameters=(RAMP[0], Parameter("warmup", 0.0, "Fraction of the run before pruning.", low=0, high=1)),
            formula=r"s_t = s_f \text{ from } t_0 \text{ on}",
        ),
        Entry(
            name="steps",
            title="Steps",
            what="Visits a list of levels, training after each.",
            section="M§2.2",
            source="Han et al. 2015, arXiv 1506.02626",
            function=steps,
            needs=frozenset({"levels"}),
        ),
        Entry(
            name="linear",
            title="Linear",
            what="Removes the same number of weights at every step.",
            section="M§2.2",
            source="–",
            function=linear,
            parameters=(*RAMP, RENEWALS),
            formula=r"s_t = s_i + (s_f - s_i)\frac{t - t_0}{t_1 - t_0}",
            chosen="warm-up 0.1 and cool-down 0.3 of the run",
        ),
        Entry(
            name="cubic",
            title="Cubic",
            what="Removes many weights early and few late.",
            section="M§2.2",
            source="Zhu & Gupta 2017, arXiv 1710.01878",
            function=cubic,
            parameters=(*RAMP, RENEWALS),
            formula=r"s_t = s_f + (s_i - s_f)\left(1 - \frac{t - t_0}{t_1 - t_0}\right)^3",
            chosen="warm-up 0.1 and cool-down 0.3 of the run, 50 renewals of the mask",
        ),
        Entry(
            name="sparse_dense_sparse",
            title="Sparse, dense, sparse",
            what="Prunes, lifts the mask for half of the cycle with an l1 penalty on what was revived, and prunes again.",
            section="M§4.6",
            source="after Han et al. 2017, arXiv 1607.04381",
            function=sparse_dense_sparse,
            parameters=(Parameter("l1", 1e-4, "Weight of the l1 penalty on the revived weights.", low=0),),
            chosen="l1 = 1e-4",
            options={"lifts": True},
        ),
    ),
)
