"""Schedules against exact fractions; constant ends, monotone between, and the errors that released codes swallow."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.schedule import RAMP_NAMES, SCHEDULES, cubic, linear, one_shot, sparse_dense_sparse, steps
from tests import reference

HUNDREDTHS = st.integers(0, 100).map(lambda i: i / 100)


@given(
    st.integers(1, 2000).flatmap(lambda total: st.tuples(st.just(total), st.integers(0, total))),
    st.tuples(HUNDREDTHS, HUNDREDTHS).map(sorted),
    st.tuples(st.integers(0, 99), st.integers(0, 99)).filter(lambda pair: sum(pair) < 100),
)
def test_ramps_match_reference(time, ends, margins):
    (total, step), (initial, final), (warmup, cooldown) = time, ends, (margins[0] / 100, margins[1] / 100)
    assert cubic(step, total, initial, final, warmup, cooldown) == pytest.approx(
        reference.cubic(step, total, initial, final, warmup, cooldown), abs=1e-9
    )
    assert linear(step, total, initial, final, warmup, cooldown) == pytest.approx(
        reference.cubic(step, total, initial, final, warmup, cooldown, power=1), abs=1e-9
    )


@pytest.mark.parametrize("schedule", [cubic, linear])
def test_ends_are_exact_and_nothing_falls(schedule):
    path = [schedule(t, 1000, 0.1, 0.9, 0.2, 0.3) for t in range(1001)]
    assert set(path[:201]) == {0.1}
    assert set(path[700:]) == {0.9}
    assert all(a <= b for a, b in itertools.pairwise(path))
    assert schedule(2000, 1000, 0.1, 0.9, 0.2, 0.3) == 0.9


def test_cubic_by_hand():
    # Half way between t0 = 100 and t1 = 900: 0.8 − 0.8·(1/2)³ = 0.7.
    assert cubic(500, 1000, 0.0, 0.8, 0.1, 0.1) == pytest.approx(0.7)
    assert linear(500, 1000, 0.0, 0.8, 0.1, 0.1) == pytest.approx(0.4)
    assert cubic(3, 10, 0.5, 0.5, 0.0, 0.0) == 0.5


def test_one_shot():
    assert [one_shot(t, 10, 0.0, 0.7, warmup=0.3) for t in (0, 2, 3, 10)] == [0.0, 0.0, 0.7, 0.7]
    assert one_shot(0, 10, 0.0, 0.7) == 0.7


def test_steps():
    assert [steps(t, 9, [0.3, 0.5, 0.9]) for t in range(10)] == [0.3] * 3 + [0.5] * 3 + [0.9] * 4
    assert [steps(t, 2, [0.1, 0.2, 0.3]) for t in range(3)] == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("schedule", [cubic, linear])
@pytest.mark.parametrize(
    "change, message",
    [
        ({"warmup": 0.5, "cooldown": 0.5}, r"warmup \+ cooldown: must be below 1.*got 0.5 \+ 0.5"),
        ({"warmup": 0.9, "cooldown": 0.3}, r"warmup \+ cooldown: must be below 1"),
        ({"warmup": 1.0, "cooldown": 0.0}, r"warmup \+ cooldown: must be below 1"),
        ({"warmup": 0.58, "cooldown": 0.42}, r"warmup \+ cooldown: must be below 1"),
        ({"warmup": -0.1}, "warmup: must be from 0 to 1; got -0.1"),
        ({"cooldown": 1.1}, "cooldown: must be from 0 to 1"),
        ({"initial": 0.95}, "initial: must not exceed final 0.9; got 0.95"),
        ({"final": 1.2}, "final: must be from 0 to 1; got 1.2"),
        ({"total": 0}, "total: must be above 0; got 0"),
        ({"step": -1}, "step: must be from 0; got -1"),
        ({"step": float("nan")}, "step: must be a finite number; got nan"),
        ({"final": float("inf")}, "final: must be a finite number"),
        ({"total": "10"}, "total: must be a finite number; got '10'"),
        ({"initial": True}, "initial: must be a finite number; got True"),
        ({"initial": None}, "initial: must be a finite number; got None"),
    ],
)
def test_errors(schedule, change, message):
    with pytest.raises(ValueError, match=message):
        schedule(**{"step": 3, "total": 10, "initial": 0.0, "final": 0.9, "warmup": 0.1, "cooldown": 0.1, **change})


@pytest.mark.parametrize(
    "levels, message",
    [([], "at least one"), ([0.5, 0.3], "must ascend"), ([0.5, 0.5], "must ascend"), ([0.5, 1.5], "from 0 to 1")],
)
def test_bad_levels(levels, message):
    with pytest.raises(ValueError, match=f"levels: .*{message}"):
        steps(0, 10, levels)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_row_keeps_the_contract(name):
    row = SCHEDULES[name]
    ramp = {name: value for name, value in row.defaults().items() if name in RAMP_NAMES}
    end = {"levels": [0.2, 0.8]} if "levels" in row.needs else {"initial": 0.0, "final": 0.8, **ramp}
    path = [row.function(step=t, total=50, **end) for t in range(51)]
    assert path[-1] == 0.8
    assert row.options.get("lifts") or all(a <= b for a, b in itertools.pairwise(path))
    assert row.title and row.what.endswith(".") and row.section in ("M§2.2", "M§4.6") and row.source
    assert all(parameter.problem(parameter.default) is None for parameter in row.parameters)


def test_sparse_dense_sparse_lifts_for_half_of_the_run():
    path = [sparse_dense_sparse(step, 10, 0.0, 0.6) for step in range(11)]
    assert path == [0.6, 0, 0, 0, 0, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]
