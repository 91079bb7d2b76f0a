from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from analysis import weights as overlaps
from engine import weights
from engine.model import load_model
from engine.model import matrices as matrices_of
from engine.structured import unit_groups
from engine.tasks.types import task_type
from tests import reference


def matrices():
    w = np.random.default_rng(0).normal(size=(6, 9))
    big = np.zeros((12, 18))
    big[::2, ::2] = w
    return {
        "plain": w,
        "half": w.astype(np.float16),
        "strided": big[::2, ::2],
        "tied": np.round(w),
        "pruned": w * (np.abs(w) > 0.8),
        "tiny": w * 1e-200,
        "huge": w * 1e200,
    }


CASES = pytest.mark.parametrize("w", matrices().values(), ids=matrices().keys())


@CASES
def test_hoyer_and_kurtosis(w):
    scaled = w.astype(float) / np.abs(w).max()  # both are free of scale; the plain forms overflow
    assert weights.hoyer(w) == pytest.approx(reference.hoyer(scaled), abs=1e-12)
    assert weights.kurtosis(w) == pytest.approx(reference.kurtosis(scaled), abs=1e-9)
    assert weights.kurtosis(w) == pytest.approx(scipy.stats.kurtosis(scaled.ravel()), abs=1e-9)


def test_hoyer_and_kurtosis_of_known_cases():
    one = np.zeros((4, 5))
    one[2, 3] = -7
    assert weights.hoyer(one) == pytest.approx(1)
    assert weights.hoyer(np.full((4, 5), -0.3)) == pytest.approx(0)
    assert math.isnan(weights.hoyer(np.zeros(4)))
    assert math.isnan(weights.kurtosis(np.full(4, 0.1)))
    gauss = np.random.default_rng(0).normal(size=200_000)
    assert weights.kurtosis(gauss) == pytest.approx(0, abs=0.05)
    assert weights.hoyer(gauss) == pytest.approx(1 - math.sqrt(2 / math.pi), abs=0.01)
    with pytest.raises(ValueError, match="at least 2 entries; got 1"):
        weights.hoyer([[1.0]])


def test_norm_kept_and_unit_cosine_after_the_first_mask():
    w = np.random.default_rng(0).normal(size=(5, 8))
    pruned = w * (np.abs(w) > 0.7)
    pruned[3] = 0
    kept = weights.norm_kept(w, pruned)
    flat = weights.unit_cosine(w.reshape(1, -1), pruned.reshape(1, -1))[0]
    assert kept == pytest.approx(reference.norm_kept(w, pruned))
    assert flat == pytest.approx(kept)  # M§4.1's identity, before the weights move
    assert kept == pytest.approx(math.sqrt(1 - np.linalg.norm(w - pruned) ** 2 / np.linalg.norm(w) ** 2))
    assert weights.unit_cosine(w, pruned) == pytest.approx(reference.unit_cosine(w, pruned))
    assert weights.unit_cosine(w, pruned)[3] == 0
    zero_row = w.copy()
    zero_row[1] = 0
    assert weights.unit_cosine(zero_row, pruned) == pytest.approx(reference.unit_cosine(zero_row, pruned), nan_ok=True)
    assert math.isnan(weights.norm_kept(np.zeros((2, 2)), np.zeros((2, 2))))
    half = weights.unit_cosine(w.astype(np.float16), pruned.astype(np.float16))
    assert half == pytest.approx(weights.unit_cosine(w, pruned), abs=1e-3)


def side(model):
    return {matrix.name: (matrix, matrix.weight_OI().numpy().copy()) for matrix in matrices_of(model)}


def prune(model, seed=0):
    """Zero two thirds of every matrix, the whole of head 1 of block 0 in the query, and move the survivors a little."""
    rng = np.random.default_rng(seed)
    for matrix in matrices_of(model):
        weight = matrix.weight_OI()
        keep = rng.random(weight.shape) < 0.3 + 0.1 * matrix.layer
        weight.mul_(weight.new_tensor(keep * (1 + 0.05 * rng.normal(size=weight.shape))))
        if matrix.layer == 0 and matrix.kind.startswith("query"):
            weight[8:16] = 0


@pytest.mark.parametrize("architecture", ["tiny_checkpoint", "tiny_gpt2"])
def test_heads_are_their_rows_and_columns(architecture, request):
    model = load_model(str(request.getfixturevalue(architecture)), task_type("sequence"), ("a", "b", "c"))
    dense = {name: weight for name, (_, weight) in side(model).items()}
    prune(model)
    now, groups = side(model), unit_groups(model, kinds=("head",))
    table = weights.heads(groups, now, dense)
    assert len(table) == 2 * 4 * 5 and set(table["part"]) == {"query", "key", "value", "attention_output", "all"}
    for layer in (0, 1):
        blocks = [{}, {}]
        for name, (matrix, weight) in now.items():
            for block, whole in zip(blocks, (dense[name], weight), strict=True):
                fused = matrix.kind == "query_key_value"
                named = (
                    dict(zip(("query", "key", "value"), np.split(whole, 3), strict=True))
                    if fused
                    else {matrix.kind: whole}
                )
                block.update(named if matrix.layer == layer else {})
        for row in table[table["layer"] == layer].to_dict("records"):
            wanted = reference.head(*blocks, row["part"], row["head"], 8)
            found = {name: row[name] for name in wanted}
            assert found == pytest.approx(wanted, abs=1e-9, nan_ok=True), row
    gone = table[(table["layer"] == 0) & (table["part"] == "query")].set_index("head")
    assert gone["units_left"].tolist() == [8, 0, 8, 8] and gone.loc[1, "sparsity"] == 1
    assert math.isnan(gone.loc[1, "hoyer"]) and gone.loc[1, "unit_cosine_mean"] == 0
    own = weights.heads(groups, now, None)  # the dense model beside itself
    assert (own["norm_kept"].dropna() == 1).all()


def test_heads_of_another_shape_are_not_compared(tiny_checkpoint):
    model = load_model(str(tiny_checkpoint), task_type("sequence"), ("a", "b", "c"))
    now = side(model)
    larger = {name: np.ones((weight.shape[0] + 8, weight.shape[1])) for name, (_, weight) in now.items()}
    table = weights.heads(unit_groups(model, kinds=("head",)), now, larger)
    assert table[["norm_kept", "unit_cosine_mean"]].isna().all(axis=None) and (table["hoyer"] > 0).all()


def test_counts():
    w = np.array([[0.0, 1.0], [0.0, 0.0], [-2.0, 3.0]])
    assert weights.units_left(w) == 2
    assert weights.sparsity(w) == 0.5


@pytest.mark.parametrize("measure", [weights.norm_kept, weights.unit_cosine])
def test_pairs_must_fit(measure):
    w = np.ones((2, 3))
    with pytest.raises(ValueError, match="reference, weight: must have the same shape"):
        measure(w, w.T)
    with pytest.raises(ValueError, match="weight: must be finite"):
        measure(w, w * math.nan)


@pytest.mark.parametrize("measure", [weights.hoyer, weights.kurtosis, weights.sparsity, weights.units_left])
def test_single_arrays_must_be_finite_and_not_empty(measure):
    with pytest.raises(ValueError, match="weight: must be finite; got inf"):
        measure([[1.0, math.inf]])
    with pytest.raises(ValueError, match="weight: must not be empty"):
        measure(np.zeros((0, 3)))


def test_jaccard():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 7, 8)) < 0.4
    assert overlaps.jaccard(a, b) == reference.jaccard(a, b)
    assert overlaps.jaccard(a.astype(np.uint8), b.astype(np.float16)) == reference.jaccard(a, b)
    assert overlaps.jaccard(a, a) == 1
    assert overlaps.jaccard(a, ~a) == 0
    assert math.isnan(overlaps.jaccard(a & False, b & False))
    with pytest.raises(ValueError, match="a: must be a mask"):
        overlaps.jaccard(a * 2.0, b)
    with pytest.raises(ValueError, match="a, b: must have the same shape"):
        overlaps.jaccard(a, b[1:])


def test_jaccard_by_chance_is_what_random_masks_overlap():
    rng, sizes = np.random.default_rng(0), np.array([400, 900])
    kept_a, kept_b = np.array([40, 700]), np.array([100, 500])

    def random_masks(kept):
        return np.concatenate([rng.permutation(np.arange(n) < k) for n, k in zip(sizes, kept, strict=True)])

    found = [overlaps.jaccard(random_masks(kept_a), random_masks(kept_b)) for _ in range(400)]
    by_matrix = overlaps.jaccard_chance(kept_a, kept_b, sizes)
    assert by_matrix == pytest.approx(np.mean(found), abs=0.002)
    assert by_matrix > overlaps.jaccard_chance(kept_a.sum(), kept_b.sum(), sizes.sum()) + 0.01
    assert overlaps.jaccard_chance([5], [5], [5]) == 1
    assert math.isnan(overlaps.jaccard_chance([0], [0], [5]))
    with pytest.raises(ValueError, match="must be from 0 to sizes"):
        overlaps.jaccard_chance([6], [1], [5])
    with pytest.raises(ValueError, match="one count per matrix"):
        overlaps.jaccard_chance([1, 2], [1], [5])


def test_rows_are_unique_and_complete():
    assert len({row.name for row in overlaps.ROWS}) == len(overlaps.ROWS)
    assert all(row.what and row.formula and row.section == "M§6.8" for row in overlaps.ROWS)
