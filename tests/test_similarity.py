from __future__ import annotations

import math

import numpy as np
import pytest

from analysis import similarity
from tests import reference

RNG = np.random.default_rng(7)


def pair(n=40, d=12, e=9, noise=0.7, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) + 2.0
    return x, x @ rng.normal(size=(d, e)) + noise * rng.normal(size=(n, e))


def variants():
    """Two sets each: plain, wide, tied rows, half precision, non-contiguous, integers, a constant column."""
    x, y = pair()
    wide, wide_y = pair(n=12, d=40, e=30, seed=1)
    tied, tied_y = x.copy(), y.copy()
    tied[::3], tied_y[::3] = tied[0], tied_y[0]
    flat = x.copy()
    flat[:, 0] = 0.1
    big = np.zeros((80, 24))
    big[::2, ::2] = x
    return {
        "plain": (x, y),
        "wide": (wide, wide_y),
        "tied": (tied, tied_y),
        "half": (x.astype(np.float16), y.astype(np.float16)),
        "strided": (big[::2, ::2], np.asfortranarray(y)),
        "integer": (np.round(x * 3).astype(int), np.round(y).astype(int)),
        "constant column": (flat, y),
    }


CASES = pytest.mark.parametrize("case", variants().values(), ids=variants().keys())
PLAIN = {
    "linear_cka": (similarity.linear_cka, reference.linear_cka),
    "biased cka": (
        lambda x, y: similarity.linear_cka(x, y, debiased=False),
        lambda x, y: reference.linear_cka(x, y, debiased=False),
    ),
    "rbf_cka": (similarity.rbf_cka, reference.rbf_cka),
    "procrustes": (similarity.procrustes, reference.procrustes),
    "rsa": (similarity.rsa, reference.rsa),
    "mutual_knn": (lambda x, y: similarity.mutual_knn(x, y, 5), lambda x, y: reference.mutual_knn(x, y, 5)),
}
NAMES = [
    "linear_cka", "rbf_cka", "procrustes", "svcca", "pwcca", "rsa", "mutual_knn", "retrieval", "permutation_null",
]  # fmt: skip


def call(name, x, y):
    extra = {"mutual_knn": (3,), "permutation_null": (5, 0)}.get(name, ())
    return getattr(similarity, name)(x, y, *extra)


@CASES
@pytest.mark.parametrize("name", PLAIN)
def test_equals_the_plain_definition(name, case):
    measure, plain = PLAIN[name]
    assert measure(*case) == pytest.approx(plain(*case), abs=1e-9)


@CASES
@pytest.mark.parametrize("debiased", [True, False])
def test_matrix_equals_single_calls(case, debiased):
    x, y = case
    xs, ys = [x, x[:, ::2], y], [y, x]
    expected = [[reference.linear_cka(a, b, debiased) for b in ys] for a in xs]
    tolerance = 1e-5 if np.asarray(x).dtype == np.float16 else 1e-9
    assert similarity.cka_matrix(xs, ys, debiased) == pytest.approx(np.array(expected), abs=tolerance)


@pytest.mark.parametrize("n", [4, 5, 255, 256, 257, 300])
def test_matrix_blocks_cover_every_pair_of_rows_once(n):
    rng = np.random.default_rng(n)
    xs = [rng.normal(size=(n, 160)), rng.normal(size=(n, 200))]
    assert similarity.cka_matrix(xs, xs)[0, 1] == pytest.approx(reference.linear_cka(*xs), abs=1e-10)


def test_matrix_in_single_precision_stays_within_1e5_of_double_with_outliers_and_a_mean():
    rng = np.random.default_rng(0)
    scale = np.where(np.arange(768) < 2, 30.0, 1.0)
    xs = [rng.normal(size=(512, 768)) * scale + 5 for _ in range(3)]
    ys = [x + rng.normal(size=x.shape) for x in xs]
    xs[1][0] *= 1000  # one example far from all others
    exact = np.array([[similarity.linear_cka(x, y) for y in ys] for x in xs])
    single = similarity.cka_matrix([x.astype(np.float32) for x in xs], [y.astype(np.float32) for y in ys])
    assert np.abs(single - exact).max() < 1e-5


@pytest.mark.parametrize("scale", [1e-18, 1e18])
def test_matrix_in_single_precision_survives_extreme_scales(scale):
    x, y = pair(d=30, e=30)
    small = [(z * scale).astype(np.float32) for z in (x, y)]
    assert similarity.cka_matrix(small[:1], small[1:])[0, 0] == pytest.approx(similarity.linear_cka(x, y), abs=1e-5)


def test_feature_form_and_gram_form_are_the_same_number():
    x, y = pair(n=200, d=20, e=30)
    padded = np.hstack([y, np.zeros((200, 300))])  # too wide for the feature form, same Gram matrix
    for debiased in (True, False):
        assert similarity.linear_cka(x, y, debiased) == pytest.approx(
            similarity.linear_cka(x, padded, debiased), abs=1e-12
        )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_constant_set_gives_nan(name, value, dtype):
    if dtype == np.float16 and value > 1e4:
        value = 6e4
    x, _ = pair(n=40, d=3)
    flat = np.full_like(x, value).astype(dtype)
    for sets in ((x, flat), (flat, x), (flat, flat)):
        assert np.isnan(call(name, *sets)).all()
    assert np.isnan(similarity.cka_matrix([flat], [x.astype(dtype)])).all()
    assert np.isfinite(similarity.cka_matrix([x, x + 1], [x])).all()


@pytest.mark.parametrize("name", NAMES)
def test_bad_arguments_name_the_argument(name):
    x, _ = pair(d=3)
    wrong = x.copy()
    wrong[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"x: must be finite; got nan at \(3, 1\)"):
        call(name, wrong, x)
    wrong[3, 1] = np.inf
    with pytest.raises(ValueError, match="y: must be finite; got inf"):
        call(name, x, wrong)
    with pytest.raises(ValueError, match="got 39 and 40 rows"):
        call(name, x[1:], x)
    with pytest.raises(ValueError, match="x: must have 2 axes"):
        call(name, x[0], x)
    with pytest.raises(ValueError, match="must not be empty"):
        call(name, x[:0], x[:0])
    with pytest.raises(ValueError, match="rows"):
        call(name, x[:1], x[:1])


def test_matrix_checks_every_set():
    x, y = pair()
    with pytest.raises(ValueError, match=r"ys\[1\]: must be finite"):
        similarity.cka_matrix([x], [y, np.full_like(y, np.nan)])
    with pytest.raises(ValueError, match="same number of rows"):
        similarity.cka_matrix([x], [y[1:]])
    with pytest.raises(ValueError, match="at least 4"):
        similarity.cka_matrix([x[:3]], [y[:3]])
    with pytest.raises(ValueError, match="at least one set"):
        similarity.cka_matrix([], [y])


@pytest.mark.parametrize("name", ["linear_cka", "rbf_cka", "procrustes", "svcca", "rsa"])
def test_rotation_shift_and_scale_change_nothing(name):
    x, y = pair(n=60, d=6, e=5)
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(6, 6)))[0]
    assert call(name, 7 * x @ rotation + 11, y) == pytest.approx(call(name, x, y), abs=1e-9)
    assert call(name, x, x @ rotation) == pytest.approx(0.0 if name == "procrustes" else 1.0, abs=1e-9)


@pytest.mark.parametrize("measure", [similarity.svcca, similarity.pwcca])
def test_canonical_correlations(measure):
    plain = getattr(reference, measure.__name__)
    x, y = pair(n=120, d=10, e=8)
    assert measure(x, y) == pytest.approx(plain(x, y), abs=1e-9)
    assert measure(y.astype(np.float32), x) == pytest.approx(plain(y.astype(np.float32), x), abs=1e-6)
    tied = x.copy()
    tied[::2] = tied[0]
    assert measure(tied, y) == pytest.approx(plain(tied, y), abs=1e-9)
    with pytest.raises(ValueError, match="got 30 rows for 10 dimensions"):
        measure(x[:30], y[:30])


def test_pwcca_weighs_by_the_first_set():
    rng = np.random.default_rng(2)
    shared, other = rng.normal(size=(400, 1)), rng.normal(size=(400, 1))
    x = np.hstack([10 * shared, 3 * other])
    y = np.hstack([shared, rng.normal(size=(400, 1))])
    assert similarity.pwcca(x, y) > similarity.svcca(x, y) + 0.1
    assert similarity.pwcca(x, y) != pytest.approx(similarity.pwcca(y, x), abs=0.01)


def test_published_values():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 64, 768))
    assert similarity.linear_cka(x, y, debiased=False) == pytest.approx(0.92, abs=0.01)
    assert similarity.linear_cka(x, y) == pytest.approx(0.0, abs=0.05)
    x, y = rng.normal(size=(2, 200, 768))
    assert reference.svcca(x, y) == pytest.approx(0.97, abs=0.015)
    with pytest.raises(ValueError, match="at least 4 rows per dimension"):
        similarity.svcca(x, y)


def test_two_outlier_dimensions_lift_cka_and_z_scores_take_them_out():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 512, 768))
    y[:, :2] = x[:, :2]
    scale = np.where(np.arange(768) < 2, 10.0, 1.0)
    x, y = x * scale, y * scale
    assert similarity.linear_cka(x, y) == pytest.approx(0.95, abs=0.02)
    assert similarity.linear_cka(similarity.zscore(x, x), similarity.zscore(y, x)) == pytest.approx(0.0, abs=0.01)
    assert similarity.top_variance_share(x) == pytest.approx(201 / (200 + 766), abs=0.02)


def test_debiased_cka_of_noise_is_zero_on_average():
    rng = np.random.default_rng(5)
    values = [similarity.linear_cka(*rng.normal(size=(2, 20, 30))) for _ in range(200)]
    assert np.mean(values) == pytest.approx(0.0, abs=3 * np.std(values) / math.sqrt(200))
    assert min(values) < 0


def test_cka_without_structure_off_the_diagonal_is_nan():
    assert math.isnan(similarity.linear_cka(np.eye(8), np.eye(8)))
    assert math.isnan(similarity.linear_cka(np.eye(8) * 3 + 5, RNG.normal(size=(8, 3))))


def test_rbf_bandwidth():
    x, y = pair()
    assert similarity.rbf_cka(x, y, 2.0) == pytest.approx(reference.rbf_cka(x, y, 2.0), abs=1e-10)
    for wrong in (0, -1, math.nan):
        with pytest.raises(ValueError, match="bandwidth: must be above 0"):
            similarity.rbf_cka(x, y, wrong)
    mostly_equal = np.zeros((10, 3))
    mostly_equal[0] = 1
    assert math.isnan(similarity.rbf_cka(mostly_equal, RNG.normal(size=(10, 3))))


def test_permutation_null_holds_zero_and_not_the_relation():
    x, y = pair(n=50)
    mean, low, high = similarity.permutation_null(x, y, 200, seed=0)
    assert low < 0 < high and abs(mean) < 0.03
    assert similarity.linear_cka(x, y) > high
    assert (mean, low, high) == similarity.permutation_null(x, y, 200, seed=0)
    assert (mean, low, high) != similarity.permutation_null(x, y, 200, seed=1)
    with pytest.raises(ValueError, match="permutations: must be at least 1"):
        similarity.permutation_null(x, y, 0, 0)


def test_permutation_null_is_cka_of_shuffled_rows():
    x, y = pair(n=9)
    order = np.random.default_rng(4).permutation(9)
    mean, low, high = similarity.permutation_null(x, y, 1, seed=4)
    assert mean == low == high == pytest.approx(reference.linear_cka(x, y[order]), abs=1e-12)


def test_permutation_null_of_biased_size_shows_why_debiased_is_the_default():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 64, 768))
    _, low, high = similarity.permutation_null(x, y, 100, seed=0)
    assert low <= similarity.linear_cka(x, y) <= high
    assert similarity.linear_cka(x, y, debiased=False) > high + 0.5


@pytest.mark.parametrize("csls", [0, 1, 4])
@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_retrieval(csls, dtype):
    x, _ = pair(n=30, d=8)
    y = x + 1.5 * np.random.default_rng(1).normal(size=x.shape)
    x, y = x.astype(dtype), y.astype(dtype)
    assert similarity.retrieval(x, y, csls=csls) == pytest.approx(reference.retrieval(x, y, csls), abs=1e-12)
    assert 0 < similarity.retrieval(x, y, csls=csls) < 1
    assert similarity.retrieval(x, y, csls=csls) == similarity.retrieval(y, x, csls=csls)


def test_retrieval_counts_ties_as_misses():
    x = np.random.default_rng(0).normal(size=(50, 33)).astype(np.float32)
    assert similarity.retrieval(x, 3 * x) == 1.0
    x[10] = x[20]
    assert similarity.retrieval(x, x) == pytest.approx(48 / 50)
    x[:25] = x[25:]  # every example has a twin
    assert similarity.retrieval(x, x) == 0.0


def test_retrieval_rules():
    x, y = pair(d=4, e=3)
    with pytest.raises(ValueError, match="same width; got 4 and 3"):
        similarity.retrieval(x, y)
    with pytest.raises(ValueError, match="csls: must be from 0"):
        similarity.retrieval(x, x, csls=41)
    zero = x.copy()
    zero[5] = 0
    with pytest.raises(ValueError, match=r"x: must have no zero row .* got one at 5"):
        similarity.retrieval(zero, x)
    with pytest.raises(ValueError, match="y: must have no zero row"):
        similarity.mutual_knn(x, zero, 3)


def test_csls_helps_against_a_hub():
    rng = np.random.default_rng(6)
    x = rng.normal(size=(60, 10)) + 1.0
    y = x + 0.7 * rng.normal(size=x.shape)
    y[0] = x.mean(0)
    assert similarity.retrieval(x, y, csls=10) > similarity.retrieval(x, y)


def test_mutual_knn_bounds():
    x, y = pair(n=10)
    assert similarity.mutual_knn(x, 2 * x, 4) == 1.0
    assert similarity.mutual_knn(x, y, 9) == 1.0
    for k in (0, 10, 2.5):
        with pytest.raises(ValueError, match=f"k: must be a whole number from 1 to 9 .* got {k}"):
            similarity.mutual_knn(x, y, k)


def test_zscore():
    x, y = pair(d=5, e=5)
    x[:, 2] = 0.1
    scored = similarity.zscore(y, x)
    assert (scored[:, 2] == 0).all()
    kept = [0, 1, 3, 4]
    assert scored[:, kept] == pytest.approx((y[:, kept] - x[:, kept].mean(0)) / x[:, kept].std(0))
    assert similarity.zscore(x.astype(np.float16), x.astype(np.float16)).dtype == np.float64
    with pytest.raises(ValueError, match="same width"):
        similarity.zscore(y[:, 1:], x)
    with pytest.raises(ValueError, match="reference: must be finite"):
        similarity.zscore(y, x * np.nan)


def test_top_variance_share():
    x = np.random.default_rng(0).normal(size=(30, 6)) * [5, 1, 1, 3, 1, 1] + 100
    variance = np.sort(x.var(0))[::-1]
    for k in (1, 3, 6, 9):
        assert similarity.top_variance_share(x, k) == pytest.approx(variance[:k].sum() / variance.sum())
    assert math.isnan(similarity.top_variance_share(np.full((4, 3), 0.1)))
    with pytest.raises(ValueError, match="k: must be at least 1"):
        similarity.top_variance_share(x, 0)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 7, 4), (5, 2, 1)])
def test_drift_is_an_exact_decomposition(shape):
    delta = np.random.default_rng(0).normal(size=shape) + 0.4
    parts = similarity.drift(delta)
    assert parts == pytest.approx(reference.drift(delta))
    assert sum(parts.values()) == pytest.approx((delta**2).sum())


def test_drift_finds_each_part_alone():
    rng = np.random.default_rng(0)
    shift, language, item = rng.normal(size=4), rng.normal(size=(3, 1, 4)), rng.normal(size=(1, 5, 4))
    language, item = language - language.mean(0), item - item.mean(1, keepdims=True)
    zero = np.zeros((3, 5, 4))
    for name, part in (("grand", zero + shift), ("language", zero + language), ("item", zero + item)):
        parts = similarity.drift(part)
        assert parts.pop(name) == pytest.approx((part**2).sum())
        assert list(parts.values()) == pytest.approx([0, 0, 0], abs=1e-20)
    with pytest.raises(ValueError, match="delta: must have 3 axes"):
        similarity.drift(zero[0])


def test_rows_are_unique_and_complete():
    names = [row.name for row in similarity.ROWS]
    assert len(set(names)) == len(names)
    assert all(row.what and row.formula and row.source and row.section == "M§6.4" for row in similarity.ROWS)
    assert {"linear_cka", "rbf_cka", "procrustes", "svcca", "pwcca", "rsa", "mutual_knn", "retrieval"} <= set(names)
