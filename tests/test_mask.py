"""Selection against brute force: exact counts, the tie rule, nesting, bounds, and the fast ways against the plain one."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import criteria
from engine.mask import ALLOCATIONS, collapsed, counts, measured, pattern_of, ranking, select, tiles, zero_removed
from engine.mask.ranking import (
    Matrix,
    keep_highest,
    keep_highest_plain,
    keep_highest_rows,
    sampled_threshold,
    sorted_threshold,
)
from tests import reference

NAMED = ["global", "layerwise", "row", "lamp", "erk"]
LEVELS = [0, 0.1, 0.25, 0.3, 1 / 3, 0.5, 0.55, 0.7, 0.9, 0.99, 1]


@pytest.fixture()
def small_tiles(monkeypatch):
    """Tiles and samples so small that a few hundred scores take the fast way with several jobs and tiles."""
    monkeypatch.setattr(ranking, "SMALL", 0)
    monkeypatch.setattr(ranking, "SAMPLE", 60)
    monkeypatch.setattr(tiles, "TILE", 64)
    monkeypatch.setattr(tiles, "JOB", 192)


def integers(low=0, high=4):
    """Scores with many ties: matrices of small integers."""
    value = st.integers(low, high)
    matrix = st.tuples(st.integers(1, 4), st.integers(1, 6)).flatmap(
        lambda shape: st.lists(value, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]).map(
            lambda flat: torch.tensor(flat, dtype=torch.float32).view(shape)
        )
    )
    return st.lists(matrix, min_size=1, max_size=4).map(lambda found: {f"m{i}": x for i, x in enumerate(found)})


def same(masks, expected) -> None:
    assert list(masks) == list(expected)
    for name, mask in masks.items():
        assert mask.dtype == torch.bool
        assert mask.tolist() == expected[name].tolist(), name


def gaussian(seed=0, shapes=((6, 8), (4, 12), (5, 3))):
    rng = np.random.default_rng(seed)
    return {f"m{i}": torch.tensor(rng.normal(size=shape)).abs() for i, shape in enumerate(shapes)}


# --- against brute force --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("allocation", NAMED)
@given(scores=integers(), sparsity=st.sampled_from(LEVELS))
@settings(max_examples=40, deadline=None)
def test_matches_reference(allocation, scores, sparsity):
    same(select(scores, sparsity, allocation), reference.select(scores, sparsity, allocation))


@given(scores=integers(-3, 3), levels=st.tuples(st.sampled_from(LEVELS), st.sampled_from(LEVELS)), data=st.data())
@settings(max_examples=80, deadline=None)
def test_nested_matches_reference(scores, levels, data):
    allocation = data.draw(st.sampled_from(["global", "layerwise", "row", "erk"]))
    first = select(scores, min(levels), allocation)
    later = {name: torch.randint(-3, 4, x.shape).float() for name, x in scores.items()}
    second = select(later, max(levels), allocation, keep=first)
    same(second, reference.select(later, max(levels), allocation, keep=first))
    assert all(not (second[name] & ~first[name]).any() for name in scores)


@given(scores=integers(0, 9), levels=st.tuples(st.sampled_from(LEVELS), st.sampled_from(LEVELS)), data=st.data())
@settings(max_examples=40, deadline=None)
def test_lamp_sums_over_what_is_kept(scores, levels, data):
    earlier = {
        name: torch.tensor(data.draw(st.permutations(range(x.numel())))).view(x.shape) for name, x in scores.items()
    }
    first = select(earlier, min(levels), "global")  # other scores, so that large ones are among the removed
    same(select(scores, max(levels), "lamp", keep=first), reference.select(scores, max(levels), "lamp", keep=first))


def test_lamp_forgets_what_was_removed():
    scores = {"a": torch.tensor([[9.0, 1.0, 2.0]]), "b": torch.tensor([[1.0, 1.5, 2.0]])}
    keep = {"a": torch.tensor([[False, True, True]]), "b": torch.ones(1, 3, dtype=torch.bool)}
    # a: 1/5 and 1 without the 9; b: 1/7.25, 2.25/6.25 and 1. With the 9 both of a's would rank lowest.
    assert select(scores, 0.5, "lamp", keep=keep)["a"].tolist() == [[False, False, True]]
    assert select(scores, 0.34, "lamp", keep=keep)["b"].tolist() == [[False, True, True]]


@given(
    scores=integers(), sparsity=st.sampled_from(LEVELS), data=st.data(), allocation=st.sampled_from(["global", "lamp"])
)
@settings(max_examples=80, deadline=None)
def test_bounds_match_reference(scores, sparsity, data, allocation):
    floors, ceilings = bounds_for(scores, data)
    total, (least, most) = (
        reference.count(sparsity, sum(x.numel() for x in scores.values())),
        sums(scores, floors, ceilings),
    )
    if not least <= total <= most:
        with pytest.raises(ValueError, match=r"floors|ceilings"):
            select(scores, sparsity, allocation, floors=floors, ceilings=ceilings)
        return
    masks = select(scores, sparsity, allocation, floors=floors, ceilings=ceilings)
    same(masks, reference.select(scores, sparsity, allocation, floors=floors, ceilings=ceilings))
    within(masks, total, floors, ceilings)


def bounds_for(scores, data):
    """Floors and ceilings on some matrices, multiples of 1/n so that a whole number lies on each."""
    floors, ceilings = {}, {}
    for name, x in scores.items():
        n = x.numel()
        low = data.draw(st.integers(0, n))
        high = data.draw(st.integers(low, n))
        if data.draw(st.booleans()):
            floors[name] = Fraction(low, n)
        if data.draw(st.booleans()):
            ceilings[name] = Fraction(high, n)
    return {k: exact_float(v, up=False) for k, v in floors.items()}, {
        k: exact_float(v, up=True) for k, v in ceilings.items()
    }


def exact_float(value: Fraction, up: bool) -> float:
    """A short decimal just below (a floor) or just above (a ceiling), which leaves the count as meant."""
    return float(round(value + Fraction(1 if up else -1, 10**6), 6)) if 0 < value < 1 else float(value)


def sums(scores, floors, ceilings):
    pairs = [counts.bounds(name, x.numel(), floors.get(name, 0), ceilings.get(name, 1)) for name, x in scores.items()]
    return sum(low for low, _ in pairs), sum(high for _, high in pairs)


def within(masks, total, floors, ceilings):
    gone = {name: int((~mask).sum()) for name, mask in masks.items()}
    assert sum(gone.values()) == total
    for name, mask in masks.items():
        assert floors.get(name, 0) <= gone[name] / mask.numel() <= ceilings.get(name, 1)


@pytest.mark.parametrize("allocation", ["layerwise", "row", "erk"])
@given(scores=integers(), sparsity=st.sampled_from(LEVELS), data=st.data())
@settings(max_examples=50, deadline=None)
def test_bounds_leave_the_total(allocation, scores, sparsity, data):
    floors, ceilings = bounds_for(scores, data)
    free = select(scores, sparsity, allocation)
    total, (least, most) = sum(int((~mask).sum()) for mask in free.values()), sums(scores, floors, ceilings)
    if not least <= total <= most:
        with pytest.raises(ValueError, match=r"floors|ceilings"):
            select(scores, sparsity, allocation, floors=floors, ceilings=ceilings)
        return
    within(select(scores, sparsity, allocation, floors=floors, ceilings=ceilings), total, floors, ceilings)


@given(st.lists(st.integers(0, 20), min_size=2, max_size=6, unique=True), st.data())
@settings(max_examples=30, deadline=None)
def test_bounded_global_is_optimal(values, data):
    cut = data.draw(st.integers(1, len(values) - 1))
    parts = {"a": values[:cut], "b": values[cut:]}
    least = {name: data.draw(st.integers(0, len(x))) for name, x in parts.items()}
    most = {name: data.draw(st.integers(least[name], len(x))) for name, x in parts.items()}
    total = data.draw(st.integers(sum(least.values()), sum(most.values())))
    scores = {name: torch.tensor(x, dtype=torch.float32) for name, x in parts.items()}
    floors = {name: exact_float(Fraction(least[name], len(x)), up=False) for name, x in parts.items()}
    ceilings = {name: exact_float(Fraction(most[name], len(x)), up=True) for name, x in parts.items()}
    masks = select(scores, round(total / len(values), 6), floors=floors, ceilings=ceilings)
    lost = sum(float(x[~masks[name]].sum()) for name, x in scores.items())
    assert lost == reference.best_removal(parts, total, least, most)


# --- counts ---------------------------------------------------------------------------------------------------------


@given(st.decimals(0, 1, places=4), st.integers(1, 10**9))
def test_counts_are_decimal(sparsity, n):
    assert counts.removed_count(counts.exact("sparsity", float(sparsity)), n) == reference.count(float(sparsity), n)


def test_counts_read_the_number_as_written():
    # In binary 0.7·45 is 31.499999999999996, which would round down.
    assert counts.removed_count(counts.exact("s", 0.7), 45) == 32
    assert counts.removed_count(counts.exact("s", np.float32(0.7)), 45) == 32
    scores = {"a": torch.arange(45.0)}
    assert int((~select(scores, 0.7)["a"]).sum()) == 32


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=8), st.data()
)
@settings(max_examples=200, deadline=None)
def test_apportion(rows, data):
    weights = [w for w, _, _ in rows]
    least, most = [min(a, b) for _, a, b in rows], [max(a, b) for _, a, b in rows]
    total = data.draw(st.integers(sum(least), sum(most)))
    shares = counts.apportion(total, weights, least, most)
    assert sum(shares) == total
    assert all(a <= x <= b for a, x, b in zip(least, shares, most, strict=True))
    # Free shares are proportional to within one: no i gets a whole unit less per weight than j while both could move.
    for i, j in [(i, j) for i in range(len(rows)) for j in range(len(rows))]:
        if shares[i] < most[i] and shares[j] > least[j]:
            assert Fraction(shares[j] - 1, weights[j]) < Fraction(shares[i] + 1, weights[i])


def test_apportion_largest_remainder():
    assert counts.apportion(5, [1, 1, 1], [0] * 3, [9] * 3) == [2, 2, 1]  # equal remainders: the earlier
    assert counts.apportion(10, [3, 3, 1], [0] * 3, [2, 9, 9]) == [2, 6, 2]  # capped, the rest shared again


def test_erk_by_hand():
    # 8×8 and 2×2, keep half of 68: shares 34·16/20 = 27.2 and 34·4/20 = 6.8, capped at 4: 30 and 4.
    masks = select({"a": torch.rand(8, 8), "b": torch.rand(2, 2)}, 0.5, "erk")
    assert [int(mask.sum()) for mask in masks.values()] == [30, 4]


def test_erk_with_previous_masks():
    scores = {"a": torch.rand(8, 8), "b": torch.rand(8, 8)}
    keep = {"a": torch.zeros(8, 8, dtype=torch.bool), "b": torch.ones(8, 8, dtype=torch.bool)}
    keep["a"][0, :5] = True
    masks = select(scores, 0.5, "erk", keep=keep)
    assert [int(mask.sum()) for mask in masks.values()] == [5, 59]


# --- ties, extremes, reductions -------------------------------------------------------------------------------------


def test_ties_keep_the_earlier():
    scores = {"a": torch.ones(2, 3), "b": torch.ones(2, 3)}
    masks = select(scores, 0.5)
    assert masks["a"].all() and not masks["b"].any()
    assert select(scores, 0.5, "row")["b"].tolist() == [[True, False, False], [True, False, False]]  # ⌊1.5 + ½⌋ = 2 go
    assert select(scores, 0.5, "layerwise")["a"].tolist() == [[True, True, True], [False, False, False]]
    assert select({"a": torch.ones(1, 8)}, 0.5, "2:4")["a"].tolist() == [[True, True, False, False] * 2]


@pytest.mark.parametrize("allocation", NAMED)
def test_extremes(allocation):
    scores = gaussian()
    assert all(mask.all() for mask in select(scores, 0, allocation).values())
    masks = select(scores, 1, allocation)
    assert measured(masks) == 1.0
    assert collapsed(masks) == list(scores)


def test_zero_and_negative_zero_tie():
    scores = {"a": torch.tensor([[-0.0, 0.0, 0.0, -0.0]])}
    for allocation in NAMED:
        assert select(scores, 0.5, allocation)["a"].tolist() == [[True, True, False, False]], allocation


def test_wanda_with_unit_norms_is_row_wise_magnitude():
    weight = torch.randn(7, 12)
    wanda = select({"a": criteria.wanda(weight, torch.ones(12))}, 0.6, "row")
    same(wanda, {"a": select({"a": criteria.magnitude(weight)}, 0.6, "row")["a"].numpy()})


def test_lamp_allocation_is_a_global_ranking_of_the_lamp_score():
    weights = {name: torch.randn_like(x) * (3.0 if name == "m1" else 0.1) for name, x in gaussian().items()}
    by_score = select({name: criteria.lamp(w) for name, w in weights.items()}, 0.7)
    by_allocation = select({name: criteria.magnitude(w) for name, w in weights.items()}, 0.7, "lamp")
    same(by_allocation, {name: mask.numpy() for name, mask in by_score.items()})


def test_lamp_forgets_scale_and_keeps_the_order_within_a_matrix():
    scores = gaussian()
    scaled = {name: x * 10.0 ** (3 * i) for i, (name, x) in enumerate(scores.items())}
    same(select(scaled, 0.8, "lamp"), {name: mask.numpy() for name, mask in select(scores, 0.8, "lamp").items()})
    one = {"m0": scores["m0"]}
    same(select(one, 0.8, "lamp"), {"m0": select(one, 0.8)["m0"].numpy()})


def test_one_matrix_global_is_layerwise():
    one = {"m": gaussian()["m0"]}
    same(select(one, 0.37), {"m": select(one, 0.37, "layerwise")["m"].numpy()})


@pytest.mark.parametrize(
    "pattern, sparsity", [("2:4", 0.5), ("4:8", 0.5), ("1:4", 0.75), ("1:3", 0.667), ("3:4", 0.25), ("20:24", 0.16667)]
)
def test_patterns(pattern, sparsity):
    scores = {"a": torch.randint(0, 5, (6, 24)).float(), "b": torch.rand(3, 48)}
    masks = select(scores, sparsity, pattern)
    same(masks, reference.select(scores, sparsity, pattern))
    kept, group = pattern_of(pattern)
    assert all((mask.view(-1, group).sum(1) == kept).all() for mask in masks.values())


def test_pattern_from_previous_masks():
    scores = {"a": torch.rand(4, 16)}
    first = select(scores, 0.25, "6:8")
    second = select(scores, 0.5, "4:8", keep=first)
    same(second, reference.select(scores, 0.5, "4:8", keep=first))
    with pytest.raises(ValueError, match=r"sparsity: must not be below that of keep\['a'\]"):
        select(scores, 0.25, "6:8", keep=second)


# --- layouts and types ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("allocation", [*NAMED, "2:4"])
@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e4m3fn, torch.int64]
)
def test_types_and_layouts(allocation, dtype):
    base = torch.randint(0, 30, (12, 8)).to(dtype)
    scores = {"turned": base.t(), "strided": base[:, ::2], "plain": base.clone()}
    expected = {name: x.double().contiguous() for name, x in scores.items()}
    masks = select(scores, 0.5, allocation)
    same(masks, {name: mask.numpy() for name, mask in select(expected, 0.5, allocation).items()})
    assert masks["turned"].shape == (8, 12)


def test_mixed_types_rank_exactly():
    # 1/3 in float32 lies above 1/3 in float16 and below the next float16.
    scores = {"half": torch.tensor([1 / 3, 0.5], dtype=torch.float16), "single": torch.tensor([1 / 3, 0.1])}
    assert [mask.tolist() for mask in select(scores, 0.5).values()] == [[False, True], [True, False]]


def test_any_number_of_axes_where_rows_do_not_matter():
    scores = {"heads": torch.rand(12), "cube": torch.rand(2, 3, 4)}
    masks = select(scores, 0.5, ceilings={"heads": 0.25})
    assert masks["cube"].shape == (2, 3, 4)
    assert int((~masks["heads"]).sum()) <= 3


def test_masks_are_separate_and_scores_untouched():
    scores = gaussian()
    before = {name: x.clone() for name, x in scores.items()}
    masks = select(scores, 0.5)
    assert len({mask.untyped_storage().data_ptr() for mask in masks.values()}) == len(masks)
    keep = select(scores, 0.5, keep=masks)
    keep["m0"][:] = False
    assert masks["m0"].any()
    assert all(torch.equal(before[name], x) for name, x in scores.items())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("allocation", [*NAMED, "2:4"])
def test_same_masks_on_a_gpu(allocation):
    scores = {f"m{i}": torch.rand(768, 768 * (i + 1)).half().float() for i in range(3)}
    there = select({name: x.cuda() for name, x in scores.items()}, 0.5, allocation)
    same(
        {name: mask.cpu() for name, mask in there.items()},
        {name: m.numpy() for name, m in select(scores, 0.5, allocation).items()},
    )


# --- the fast ways --------------------------------------------------------------------------------------------------


def variants():
    """Scores of three matrices that are hard in different ways."""
    generator = torch.Generator().manual_seed(3)
    normal = [torch.randn(n, generator=generator) for n in (701, 5, 400)]
    zeros = [torch.where(torch.rand(x.shape, generator=generator) < 0.6, 0.0, x.abs()) for x in normal]
    return {
        "plain": normal,
        "half": [x.half() for x in normal],
        "bfloat16": [x.bfloat16() for x in normal],
        "double": [x.double() for x in normal],
        "mixed": [normal[0].half(), normal[1].double(), normal[2]],
        "constant": [torch.ones_like(x) for x in normal],
        "zeros": zeros,
        "two values": [(x > 0.3).float() for x in normal],
        "sorted": [x.sort().values for x in normal],
        "extreme": [x / x.abs().max() * 3e38 for x in normal],
    }


@pytest.mark.parametrize("name", variants())
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("pruned", [False, True])
def test_tiles_match_the_plain_way(small_tiles, name, threads, pruned):
    """On their own, so that the way out to the plain ranking cannot hide an error."""
    flat = variants()[name]
    generator = torch.Generator().manual_seed(5)
    keep = [torch.rand(x.shape, generator=generator) < 0.7 if pruned else None for x in flat]
    matrices = [Matrix(str(i), x, k) for i, (x, k) in enumerate(zip(flat, keep, strict=True))]
    present = sum(matrix.kept() for matrix in matrices)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for remove in (0, 1, present // 10, present // 2, present * 6 // 10, present * 9 // 10, present - 1, present):
            expected = keep_highest_plain(matrices, remove)
            found = tiles.keep_highest_tiled(matrices, remove)
            assert found is not None, f"missed at {remove}"
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True)), remove
    finally:
        torch.set_num_threads(before)


def test_a_bracket_that_missed_is_noticed(small_tiles):
    # The sample sees every 19th score only; those are all large, so that it brackets far above the threshold.
    assert ranking.stride(1140) == 19
    scores = torch.rand(1140, generator=torch.Generator().manual_seed(0))
    scores[::19] += 100
    matrix = Matrix("a", scores)
    assert tiles.keep_highest_tiled([matrix], 500) is None
    assert torch.equal(keep_highest([matrix], 500)[0], keep_highest_plain([matrix], 500)[0])
    assert sampled_threshold(scores, 500) == sorted_threshold(scores, 500)


@pytest.mark.parametrize("name", variants())
def test_sampled_threshold(small_tiles, name):
    values = torch.cat(variants()[name])
    for remove in (1, 100, 553, 1000, values.numel()):
        assert sampled_threshold(values, remove) == sorted_threshold(values, remove)


def test_sampled_threshold_selects_the_same(small_tiles):
    matrices = [Matrix(str(i), x) for i, x in enumerate(variants()["zeros"])]
    for remove in (1, 300, 700, 1105):
        pairs = zip(
            keep_highest_plain(matrices, remove, sampled_threshold), keep_highest_plain(matrices, remove), strict=True
        )
        assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", variants())
def test_narrow_rows_match_wide_ones(monkeypatch, name):
    scores = torch.cat(variants()[name][::2])[:1100].view(-1, 10)
    narrow = [keep_highest_rows(scores, None, remove) for remove in range(11)]
    monkeypatch.setattr(ranking, "NARROW", 0)
    assert all(torch.equal(a, keep_highest_rows(scores, None, remove)) for remove, a in enumerate(narrow))


@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_real_sizes(sparsity):
    """Above the size where sampling starts, unchanged constants, against one stable sort."""
    generator = torch.Generator().manual_seed(1)
    scores = {f"m{i}": torch.randn(768, 768, generator=generator).abs().bfloat16().float() for i in range(2)}
    flat = torch.cat([x.flatten() for x in scores.values()])
    order = flat.flip(0).sort(stable=True).indices
    expected = torch.ones_like(flat, dtype=torch.bool)
    expected[flat.numel() - 1 - order[: reference.count(sparsity, flat.numel())]] = False
    masks = select(scores, sparsity)
    assert torch.equal(torch.cat([mask.flatten() for mask in masks.values()]), expected)
    nested = select(scores, 0.95, keep=masks)
    assert measured(nested) == pytest.approx(0.95, abs=1e-6)
    assert not any((nested[name] & ~masks[name]).any() for name in masks)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 333, 700])
def test_tiles_refuse_what_is_not_finite(small_tiles, bad, place):
    scores = {"fine": torch.rand(10, 20), "broken": torch.rand(701)}
    scores["broken"][place] = bad
    with pytest.raises(ValueError, match=r"scores\['broken'\]: must be finite; got 1 NaN or infinite of 701"):
        select(scores, 0.5)


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("allocation", [*NAMED, "2:4"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_scores_name_the_matrix(allocation, bad):
    scores = {"fine": torch.rand(4, 8), "broken": torch.rand(4, 8)}
    scores["broken"][2, 3] = bad
    with pytest.raises(ValueError, match=r"broken.*finite"):
        select(scores, 0.5, allocation)


@pytest.mark.parametrize("sparsity", [-0.1, 1.1, float("nan"), float("inf"), "0.5", None, True])
def test_sparsity_out_of_range(sparsity):
    with pytest.raises(ValueError, match="sparsity: must be a number from 0 to 1"):
        select({"a": torch.rand(2, 2)}, sparsity)


FOUR = {"a": torch.arange(16.0).view(4, 4), "b": torch.arange(16.0).view(4, 4)}
HALF = select(FOUR, 0.5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"scores": {}}, "scores: must hold at least one matrix"),
        ({"scores": {"a": torch.empty(0, 4)}}, r"scores\['a'\]: must not be empty"),
        ({"scores": {"a": torch.ones(2, 2, dtype=torch.complex64)}}, r"scores\['a'\]: must be real"),
        ({"scores": {"a": torch.rand(4)}, "allocation": "row"}, r"scores\['a'\]: must have 2 axes"),
        ({"scores": {"a": torch.rand(4)}, "allocation": "erk"}, r"scores\['a'\]: must have 2 axes"),
        ({"scores": {"a": torch.rand(4)}, "allocation": "2:4"}, r"scores\['a'\]: must have 2 axes"),
        ({"scores": {"a": -torch.rand(4, 4)}, "allocation": "lamp"}, r"scores\['a'\]: must not be negative"),
        ({"allocation": "best"}, "allocation: must be one of global, layerwise, row, lamp, erk"),
        ({"allocation": "4:4"}, "N must be below M"),
        ({"allocation": "4:2"}, "N must be below M"),
        ({"allocation": "2:4", "sparsity": 0.6}, "sparsity: must be 0.5, which 2:4 fixes; got 0.6"),
        ({"allocation": "1:3", "sparsity": 0.66, "scores": {"a": torch.rand(2, 3)}}, "sparsity: must be 0.666667"),
        ({"allocation": "3:6"}, "inputs must be a multiple of 6"),
        ({"allocation": "2:4", "floors": {"b": 0.6}}, r"floors\['b'\]: must fit 2:4"),
        ({"allocation": "2:4", "ceilings": {"b": 0.4}}, r"ceilings\['b'\]: must fit 2:4"),
        ({"keep": {"a": HALF["a"]}}, "keep: must name the same matrices as scores; differing: b"),
        ({"keep": {"a": HALF["a"], "b": HALF["b"].float()}}, r"keep\['b'\]: must be bool"),
        ({"keep": {"a": HALF["a"], "b": HALF["b"][:2]}}, r"keep\['b'\]: must be bool of the scores' shape"),
        ({"keep": HALF, "sparsity": 0.4}, "sparsity: must not be below that of keep: 16 weights are gone"),
        ({"keep": HALF, "sparsity": 0.4, "allocation": "erk"}, "sparsity: must not be below that of keep"),
        ({"keep": HALF, "sparsity": 0.4, "allocation": "lamp"}, "sparsity: must not be below that of keep"),
        ({"keep": HALF, "sparsity": 0.4, "allocation": "layerwise"}, r"sparsity: must not be below that of keep\['a'\]"),
        ({"keep": HALF, "allocation": "row"}, r"sparsity: must not be below that of keep\['a'\]"),
        ({"keep": HALF, "ceilings": {"a": 0.4}}, r"ceilings\['a'\]: must allow what keep has removed, 8 of 16"),
        ({"floors": {"c": 0.4}}, r"floors: must name matrices of scores \(a, b\); got c"),
        ({"ceilings": {"c": 0.4}}, "ceilings: must name matrices of scores"),
        ({"floors": {"a": 1.4}}, r"floors\['a'\]: must be a number from 0 to 1; got 1.4"),
        ({"floors": {"a": 0.6}, "ceilings": {"a": 0.5}}, r"floors\['a'\]: must not exceed the ceiling 0.5; got 0.6"),
        ({"floors": {"a": 1.0, "b": 0.5}}, "floors: must fit the sparsity, which removes 16 weights; together they remove at least 24"),
        ({"ceilings": {"a": 0.25, "b": 0.5}}, "ceilings: must fit the sparsity, which removes 16 weights; together they allow at most 12"),
    ],
)  # fmt: skip
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        select(**{"scores": FOUR, "sparsity": 0.5, **arguments})


def test_equal_floor_and_ceiling_fix_a_count():
    scores = {"a": torch.rand(3, 5), "b": torch.rand(9, 5)}
    masks = select(scores, 0.4, floors={"a": 0.5}, ceilings={"a": 0.5})  # 7.5 of 15: rounded as everywhere, to 8
    assert int((~masks["a"]).sum()) == 8
    assert measured(masks) == 0.4


# --- what came out --------------------------------------------------------------------------------------------------


def test_measured_and_collapsed():
    masks = {"a": torch.tensor([[True, False], [True, True]]), "b": torch.zeros(2, 2, dtype=torch.bool)}
    assert measured(masks) == 5 / 8
    assert collapsed(masks) == ["b"]
    with pytest.raises(ValueError, match="masks: must hold at least one weight"):
        measured({})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_zero_removed(small_tiles, dtype):
    weights = {"a": torch.randn(30, 20).to(dtype), "turned": torch.randn(20, 30).to(dtype).t()}
    weights["a"].requires_grad_(True)
    masks = select({name: w.abs() for name, w in weights.items()}, 0.5)
    expected = {name: torch.where(masks[name], w, 0.0) for name, w in weights.items()}
    zero_removed(weights, masks)
    assert all(torch.equal(weights[name].detach(), expected[name]) for name in weights)
    with pytest.raises(ValueError, match="masks: must name the same matrices"):
        zero_removed(weights, {"a": masks["a"]})


def test_every_allocation_is_described():
    for name, row in ALLOCATIONS.items():
        assert row.function is not None and row.title and row.what and row.section and row.source
        masks = select({"a": torch.rand(4, 8), "b": torch.rand(8, 8)}, 0.5, name)
        assert measured(masks) == 0.5
