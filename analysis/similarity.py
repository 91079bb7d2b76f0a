"""How alike two sets of representations are: similarities, nulls, outlier dimensions, retrieval, drift (M§6.4).

Every function takes plain arrays whose rows are the same examples in the same order (match by id first). Sets are
`N×D`; widths may differ except where rows are compared across sets. A similarity with a constant set (all rows
equal) is NaN: there is no structure to compare. Other bad input raises ValueError.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import pdist, squareform
from scipy.stats import rankdata

from engine.metrics import finite, same_rows, same_width, unit_rows
from engine.registry import Direction, Metric

Floats = NDArray[np.float64]

BLOCK = 256  # rows of a Gram matrix in work at a time: 26 sets × 256 × 512 float32 take 14 MB


def constant(x_ND: Floats) -> bool:
    """Whether all rows are equal, exactly."""
    return bool((x_ND[-1] == x_ND[0]).all() and (x_ND == x_ND[0]).all())


def linear_cka(x: ArrayLike, y: ArrayLike, debiased: bool = True) -> float:
    """Linear centred kernel alignment of two sets, in float64 (Kornblith et al. 2019; M§6.4).

    Debiased by default, because the plug-in form of two independent Gaussian sets is .92 at n=64, D=768:
    `CKA = HSIC₁(K,L)/√(HSIC₁(K,K)·HSIC₁(L,L))` with the unbiased HSIC₁ of Song et al. 2012 on Gram matrices with
    zeroed diagonals (n ≥ 4). It lies in [−1, 1], is about 0 for independent sets and is not clipped.
    `debiased=False`: `‖XᵀY‖²/(‖XᵀX‖·‖YᵀY‖)` of centred columns (n ≥ 2). Invariant to rotation, shift and scale.
    NaN for a constant set, and where HSIC₁(K,K) is 0 (off its diagonal K is a sum of row and column effects).
    """
    x_ND, y_ND = same_rows(x, y, 4 if debiased else 2)
    return float(_cka([x_ND], [y_ND], debiased)[0, 0])


def cka_matrix(xs: Sequence[ArrayLike], ys: Sequence[ArrayLike], debiased: bool = True) -> Floats:
    """Linear CKA of every set in `xs` with every set in `ys` (layers × layers), float64 result.

    Each Gram matrix is computed once, in row blocks; the blocks of all sets form one flat matrix whose product with
    itself holds every HSIC, at hardly more than the cost of the Gram products. In the inputs' own precision, at
    least float32 (error against float64 below 1e-5). All sets must have the same rows.
    """
    if not len(xs) or not len(ys):
        raise ValueError(f"xs, ys: must each hold at least one set; got {len(xs)} and {len(ys)}")
    named = [(f"{name}[{i}]", value) for name, sets in (("xs", xs), ("ys", ys)) for i, value in enumerate(sets)]
    arrays = [_working(name, value) for name, value in named]
    lengths, least = {len(array) for array in arrays}, 4 if debiased else 2
    if len(lengths) > 1 or min(lengths) < least:
        raise ValueError(f"xs, ys: must all have the same number of rows, at least {least}; got {sorted(lengths)}")
    return _cka(arrays[: len(xs)], arrays[len(xs) :], debiased)


def _working(name: str, value: ArrayLike) -> Floats:
    array = np.asarray(value)
    if array.dtype in (np.float16, np.float32) and array.ndim == 2 and array.size and np.isfinite(array).all():
        return array.astype(np.float32, copy=False)
    return finite(name, array, 2)


def _cka(xs: Sequence[Floats], ys: Sequence[Floats], debiased: bool) -> Floats:
    sets = _normalised_sets([*xs, *ys])
    diagonals_SN = np.stack([np.einsum("nd,nd->n", x_ND, x_ND) for x_ND in sets]).astype(np.float64)
    narrow = sum(x_ND.shape[1] for x_ND in sets) < len(sets[0])
    off_SS = _feature_products(sets, diagonals_SN) if narrow else _gram_products(sets)
    products_SS, n = diagonals_SN @ diagonals_SN.T, len(sets[0])
    own_S = np.diag(hsic_SS := _hsic(off_SS, diagonals_SN, products_SS, debiased))
    # What HSIC₁ subtracts, beside what it leaves: rounding counts by the former. Below 1/30 single precision is not
    # enough; a self-HSIC that is nothing but rounding has no value, where 0/0 would make one up.
    size_S = np.diag(off_SS) + np.diag(products_SS) * (1 if narrow else 2 / max(n - 2, 1))
    if sets[0].dtype == np.float32 and (30 * own_S < size_S).any():
        return _cka([x_ND.astype(np.float64) for x_ND in xs], [y_ND.astype(np.float64) for y_ND in ys], debiased)
    own_S = np.where(own_S > 64 * np.finfo(np.float64).eps * size_S, own_S, np.nan)
    return np.asarray(hsic_SS[: len(xs), len(xs) :] / np.sqrt(np.outer(own_S[: len(xs)], own_S[len(xs) :])))


def _normalised_sets(sets: Sequence[Floats]) -> list[Floats]:
    # One allocation for all sets: above 4 MB numpy asks for huge pages, which saves most of the page faults.
    store = np.empty(sum(x_ND.size for x_ND in sets), np.result_type(*sets))
    places = np.split(store, np.cumsum([x_ND.size for x_ND in sets[:-1]]))
    return [_normalised(x_ND, place.reshape(x_ND.shape)) for x_ND, place in zip(sets, places, strict=True)]


def _normalised(x_ND: Floats, out: Floats | None = None) -> Floats:
    # Centred twice, since a column's mean far above its spread rounds badly, and scaled where fourth powers would
    # leave float32's range (no similarity here sees the scale). A constant set becomes exactly 0.
    centred_ND = np.subtract(x_ND, x_ND.mean(0), out=out)
    centred_ND -= centred_ND.mean(0)
    largest = 0.0 if constant(x_ND) else float(max(centred_ND.max(), -centred_ND.min()))
    if largest == 0:
        centred_ND[:] = 0
    elif not 1e-4 < largest < 1e4:
        centred_ND /= centred_ND.dtype.type(largest)
    return np.asarray(centred_ND)


def _gram_products(sets: Sequence[Floats]) -> Floats:
    # ⟨K_s, K_t⟩ off the diagonal for all pairs of sets, S×S. Row blocks keep memory linear in n; only the part
    # above the diagonal is computed, hence the factor 2.
    n, total_SS = len(sets[0]), np.zeros((len(sets), len(sets)))
    rows = min(BLOCK, n)
    flat_SE = np.empty((len(sets), rows * n), np.result_type(*sets))
    above = np.triu(np.ones((rows, rows), flat_SE.dtype), 1)
    for start in range(0, n, rows):
        height, width = min(rows, n - start), n - start
        for x_ND, flat_E in zip(sets, flat_SE, strict=True):
            tile = flat_E[: height * width].reshape(height, width)
            np.matmul(x_ND[start : start + height], x_ND[start:].T, out=tile)
            tile[:, :height] *= above[:height, :height]
        block_SE = flat_SE[:, : height * width]
        total_SS += 2 * (block_SE @ block_SE.T)
    return total_SS


def _feature_products(sets: Sequence[Floats], diagonals_SN: Floats) -> Floats:
    # The same numbers from `⟨K_s, K_t⟩ = ‖X_sᵀX_t‖²` less the diagonals: cheaper when all widths together are below n.
    joined = np.hstack(sets).astype(np.float64)
    edges = np.cumsum([0, *(x_ND.shape[1] for x_ND in sets[:-1])])
    squares = (joined.T @ joined) ** 2
    whole_SS = np.add.reduceat(np.add.reduceat(squares, edges, axis=0), edges, axis=1)
    return whole_SS - diagonals_SN @ diagonals_SN.T


def _hsic(off_SS: Floats, diagonals_SN: Floats, products_SS: Floats, debiased: bool) -> Floats:
    # Rows of a centred Gram matrix sum to 0, so with a zeroed diagonal its row sums are minus that diagonal: the
    # correction terms of HSIC₁ need only the diagonals. Constant factors cancel in CKA and are left out.
    n, sums_S = diagonals_SN.shape[1], diagonals_SN.sum(1)
    if not debiased:
        return off_SS + products_SS
    return np.asarray(off_SS + np.outer(sums_S, sums_S) / ((n - 1) * (n - 2)) - 2 / (n - 2) * products_SS)


def rbf_cka(x: ArrayLike, y: ArrayLike, bandwidth: float = 0.5) -> float:
    """CKA with Gaussian kernels `K = exp(−d²/(2f²·median(d²)))`, f = `bandwidth` (Kornblith et al. 2019; M§6.4).

    Biased, and the median runs over all n² entries, zeros included, both as in the reference code, so that the
    numbers compare with published ones. n ≥ 2. NaN for a constant set and where the median is 0 (over half of
    the pairs are equal rows: no scale to measure by).
    """
    x_ND, y_ND = same_rows(x, y)
    if not (np.isfinite(bandwidth) and bandwidth > 0):
        raise ValueError(f"bandwidth: must be above 0; got {bandwidth}")
    k_NN, l_NN = _rbf_centred(x_ND, bandwidth), _rbf_centred(y_ND, bandwidth)
    own = np.linalg.norm(k_NN) * np.linalg.norm(l_NN)
    return float((k_NN * l_NN).sum() / own) if own > 0 else float("nan")


def _rbf_centred(x_ND: Floats, bandwidth: float) -> Floats:
    squared_NN = squareform(pdist(x_ND, "sqeuclidean"))  # not from a Gram: equal rows must have distance 0
    median = np.median(squared_NN)
    if median == 0:
        return np.full_like(squared_NN, np.nan)
    kernel_NN = np.exp(-squared_NN / (2 * bandwidth**2 * median))
    return np.asarray(kernel_NN - kernel_NN.mean(0) - kernel_NN.mean(1, keepdims=True) + kernel_NN.mean())


def permutation_null(x: ArrayLike, y: ArrayLike, permutations: int, seed: int) -> tuple[float, float, float]:
    """Debiased CKA when rows are paired at random: mean, 2.5% and 97.5% quantile over seeded shuffles of y's rows.

    What "no relation" looks like for these very sets: any chart of CKA carries it (M§6.4). A shuffle of a centred
    Gram matrix is an indexing and costs n², not n²·D. n ≥ 4; NaN for a constant set.
    """
    x_ND, y_ND = same_rows(x, y, 4)
    if permutations < 1:
        raise ValueError(f"permutations: must be at least 1; got {permutations}")
    k_NN, l_NN = _u_centred(x_ND), _u_centred(y_ND)
    if not (own := np.linalg.norm(k_NN) * np.linalg.norm(l_NN)) > 0:
        return float("nan"), float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    orders = (rng.permutation(len(l_NN)) for _ in range(permutations))
    values = np.array([np.vdot(k_NN, l_NN[order].take(order, axis=1)) for order in orders]) / own
    low, high = np.quantile(values, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def _u_centred(x_ND: Floats) -> Floats:
    # HSIC₁ is the plain inner product of these matrices (Székely & Rizzo 2014), up to a factor that cancels.
    x_ND = _normalised(x_ND)
    gram_NN, n = x_ND @ x_ND.T, len(x_ND)
    diagonal_N = np.diag(gram_NN).copy()  # minus the row sums without the diagonal, as in `_hsic`
    gram_NN += (diagonal_N[:, None] + diagonal_N) / (n - 2) - diagonal_N.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(gram_NN, 0.0)
    noise = 64 * np.finfo(np.float64).eps * diagonal_N.sum()
    return gram_NN if np.linalg.norm(gram_NN) > noise else np.zeros_like(gram_NN)


def procrustes(x: ArrayLike, y: ArrayLike) -> float:
    """Orthogonal Procrustes distance `1 − ‖XᵀY‖_*` of centred sets of unit Frobenius norm (Schönemann 1966; M§6.4).

    0: one is a rotation (and shift and scale) of the other; at most 1; lower is more alike. NaN for a constant set.
    """
    x_ND, y_ND = same_rows(x, y)
    if constant(x_ND) or constant(y_ND):
        return float("nan")
    x_ND, y_ND = (centred / np.linalg.norm(centred) for centred in (_normalised(x_ND), _normalised(y_ND)))
    product = _triangle(x_ND) @ _triangle(y_ND).T if len(x_ND) < min(x_ND.shape[1], y_ND.shape[1]) else x_ND.T @ y_ND
    return max(0.0, 1.0 - float(np.linalg.svd(product, compute_uv=False).sum()))


def _triangle(x_ND: Floats) -> Floats:
    # Xᵀ = QR with orthonormal columns in Q, so XᵀY and R_x·R_yᵀ have the same singular values.
    return np.asarray(np.linalg.qr(x_ND.T, mode="r"))


def svcca(x: ArrayLike, y: ArrayLike) -> float:
    """Mean canonical correlation of the directions that hold 99% of each set's variance (Raghu et al. 2017; M§6.4).

    Refused (ValueError) below 4 rows per kept dimension: with too few, independent noise scores .97 at n=200.
    NaN for a constant set.
    """
    return _canonical(x, y, weighted=False)


def pwcca(x: ArrayLike, y: ArrayLike) -> float:
    """Canonical correlations weighted by how much of x they carry (Morcos et al. 2018; M§6.4).

    Weight of the i-th canonical variate h_i of x: `Σ_j |⟨h_i, x_j⟩|` over the original, centred columns of x.
    Not symmetric: x is the reference. Keeps 99% of the variance and refuses few rows, as `svcca`.
    """
    return _canonical(x, y, weighted=True)


def _canonical(x: ArrayLike, y: ArrayLike, weighted: bool) -> float:
    x_ND, y_ND = same_rows(x, y)
    if constant(x_ND) or constant(y_ND):
        return float("nan")
    x_ND = _normalised(x_ND)
    x_NK, y_NK = _principal_basis(x_ND), _principal_basis(_normalised(y_ND))
    kept = max(x_NK.shape[1], y_NK.shape[1])
    if len(x_ND) < 4 * kept:
        raise ValueError(
            f"x, y: must have at least 4 rows per dimension that 99% of the variance needs; "
            f"got {len(x_ND)} rows for {kept} dimensions"
        )
    turn_KK, correlations_K, _ = np.linalg.svd(x_NK.T @ y_NK, full_matrices=False)
    if not weighted:
        return float(correlations_K.mean())
    weights_K = np.abs((x_NK @ turn_KK).T @ x_ND).sum(1)
    return float(correlations_K @ weights_K / weights_K.sum())


def _principal_basis(centred_ND: Floats, kept: float = 0.99) -> Floats:
    left, singular, _ = np.linalg.svd(centred_ND, full_matrices=False)
    share = np.cumsum(singular**2) / np.sum(singular**2)
    return left[:, : int(np.searchsorted(share, kept - 1e-12)) + 1]


def rsa(x: ArrayLike, y: ArrayLike) -> float:
    """Representational similarity: Spearman correlation of all pairwise distances (Kriegeskorte et al. 2008; M§6.4).

    Euclidean distances, so that rotation, shift and scale change nothing. n ≥ 3. NaN where all distances are equal.
    """
    x_ND, y_ND = same_rows(x, y, 3)
    x_P, y_P = (rankdata(pdist(values)) for values in (x_ND, y_ND))
    x_P, y_P = x_P - x_P.mean(), y_P - y_P.mean()
    own = np.linalg.norm(x_P) * np.linalg.norm(y_P)
    return float(x_P @ y_P / own) if own > 0 else float("nan")


def mutual_knn(x: ArrayLike, y: ArrayLike, k: int) -> float:
    """Mean overlap of every example's k nearest neighbours in the two sets (Huh et al. 2024; M§6.4).

    Cosine, the example itself excluded; among equal cosines the earlier row is the nearer. `(k/(n−1))` by chance.
    `1 ≤ k ≤ n−1`. NaN for a constant set; a zero row is refused.
    """
    x_ND, y_ND = same_rows(x, y)
    if not 1 <= k <= len(x_ND) - 1 or k != int(k):
        raise ValueError(f"k: must be a whole number from 1 to {len(x_ND) - 1} (the rows less one); got {k}")
    if constant(x_ND) or constant(y_ND):
        return float("nan")
    return float((_neighbours("x", x_ND, int(k)) & _neighbours("y", y_ND, int(k))).sum() / (k * len(x_ND)))


def _neighbours(name: str, x_ND: Floats, k: int) -> NDArray[np.bool_]:
    unit_ND = unit_rows(name, x_ND)
    # Rounded, since equal rows at different places of a matrix product may differ in the last bit.
    cosine_NN = np.round(unit_ND @ unit_ND.T, 12)
    np.fill_diagonal(cosine_NN, -np.inf)
    member_NN = np.zeros(cosine_NN.shape, dtype=bool)
    np.put_along_axis(member_NN, np.argsort(-cosine_NN, axis=1, kind="stable")[:, :k], True, axis=1)
    return member_NN


def retrieval(x: ArrayLike, y: ArrayLike, csls: int = 0) -> float:
    """Accuracy of finding each example's translation by cosine, mean of both directions (M§6.4).

    A hit needs a cosine above every other candidate's: ties are misses. `csls=k` above 0 corrects for hubs by
    `2·cos(x_i, y_j) − r(x_i) − r(y_j)`, r the mean cosine to the k nearest of the other set (Conneau et al. 2018);
    k ≤ n. Equal widths, n ≥ 2. NaN for a constant set; a zero row is refused. Chance is 1/n.
    """
    return float(retrieval_hits(x, y, csls).mean())


def retrieval_hits(x: ArrayLike, y: ArrayLike, csls: int = 0) -> Floats:
    """The same per example, N values: 1 found in both directions, ½ in one, 0 in none; NaN for a constant set."""
    x_ND, y_ND = same_rows(x, y)
    same_width(x_ND, y_ND)
    if not 0 <= csls <= len(x_ND):
        raise ValueError(f"csls: must be from 0 (off) to {len(x_ND)} (the rows); got {csls}")
    if constant(x_ND) or constant(y_ND):
        return np.full(len(x_ND), np.nan)
    score_NN = unit_rows("x", x_ND) @ unit_rows("y", y_ND).T
    if csls > 0:
        score_NN = 2 * score_NN - _hubness(score_NN, csls)[:, None] - _hubness(score_NN.T, csls)
    own_N = np.diag(score_NN).copy()
    np.fill_diagonal(score_NN, -np.inf)
    # 1e-12: a duplicate of the right candidate ties with it although the product may round it differently.
    hits = [own_N > score_NN.max(axis) + 1e-12 for axis in (0, 1)]
    return np.asarray(np.mean(hits, axis=0))


def _hubness(score_NM: Floats, k: int) -> Floats:
    return np.asarray(np.partition(score_NM, -k, axis=1)[:, -k:].mean(1))


def zscore(x: ArrayLike, reference: ArrayLike) -> Floats:
    """`(x − mean)/std` per dimension with the statistics of `reference` (the dense state), N×D float64 (M§6.4).

    By dense statistics, not its own, so that what pruning did to a dimension's scale stays visible. Dimensions that
    are constant in the reference become 0: their scale is unknown.
    """
    x_ND, reference_ND = finite("x", x, 2), finite("reference", reference, 2)
    same_width(x_ND, reference_ND)
    varies_D = (reference_ND != reference_ND[0]).any(0)
    scale_D = np.where(varies_D, reference_ND.std(0), 1.0)
    return np.asarray((x_ND - reference_ND.mean(0)) / scale_D * varies_D)


def top_variance_share(x: ArrayLike, k: int = 3) -> float:
    """Share of the total variance in the k dimensions that vary most (M§6.4): near 1, they alone decide a raw CKA.

    k/D for dimensions of equal variance. NaN for a constant set.
    """
    x_ND = finite("x", x, 2)
    if k < 1:
        raise ValueError(f"k: must be at least 1; got {k}")
    variance_D = np.sort((_normalised(x_ND) ** 2).mean(0))[::-1]
    return float(variance_D[:k].sum() / variance_D.sum()) if variance_D.any() else float("nan")


def drift(delta: ArrayLike) -> dict[str, float]:
    """Exact two-way analysis of variance of the displacement `Δ[l, i] = z_pruned − z_dense`, languages × items × D.

    Four sums of squares that add up to ΣΔ²: `grand` (one shift for all) and `item` (a shift of each meaning,
    the same in every language) keep cross-lingual alignment; `language` (a shift of each language) and
    `interaction` (the rest) break it (M§6.4). Items must be parallel.
    """
    delta_LID = finite("delta", delta, 3)
    grand_D, language_LD, item_ID = delta_LID.mean((0, 1)), delta_LID.mean(1), delta_LID.mean(0)
    languages, items = delta_LID.shape[:2]
    rest_LID = delta_LID - language_LD[:, None] - item_ID[None] + grand_D
    return {
        "grand": float(languages * items * (grand_D**2).sum()),
        "item": float(languages * ((item_ID - grand_D) ** 2).sum()),
        "language": float(items * ((language_LD - grand_D) ** 2).sum()),
        "interaction": float((rest_LID**2).sum()),
    }


# fmt: off
def _row(name: str, title: str, what: str, source: str, formula: str, low: float, unit: str = "similarity") -> Metric:
    direction: Direction = "lower" if unit in ("distance", "loss") else "neither" if unit == "share" else "higher"
    return Metric(name, title, what, "M§6.4", source, unit, direction, low, 1.0, formula, "Alignment")


ROWS: tuple[Metric, ...] = (
    _row("linear_cka", "CKA", "How alike the structure of two sets of states is; about 0 for unrelated sets.",
         "Kornblith et al. 2019; Song et al. 2012",
         r"\frac{\mathrm{HSIC}_1(K,L)}{\sqrt{\mathrm{HSIC}_1(K,K)\,\mathrm{HSIC}_1(L,L)}}", -1.0),
    _row("linear_cka_biased", "CKA, biased", "The published plug-in form of CKA: near 1 for few examples.",
         "Kornblith et al. 2019", r"\frac{\|X^\top Y\|_F^2}{\|X^\top X\|_F\,\|Y^\top Y\|_F}", 0.0),
    _row("rbf_cka", "CKA, Gaussian kernel", "CKA that weighs near neighbours more than far ones; biased.",
         "Kornblith et al. 2019", r"K=\exp\left(-\frac{d^2}{2f^2\,\mathrm{median}(d^2)}\right)", 0.0),
    _row("procrustes", "Procrustes distance", "What remains between two sets after the best rotation, shift and scale.",
         "Schönemann 1966", r"1-\|X^\top Y\|_*", 0.0, "distance"),
    _row("svcca", "SVCCA", "The mean canonical correlation of the directions that hold 99% of the variance.",
         "Raghu et al. 2017", r"\frac{1}{k}\sum_i \rho_i", 0.0),
    _row("pwcca", "PWCCA", "Canonical correlations weighted by how much of the reference set they carry.",
         "Morcos et al. 2018",
         r"\frac{\sum_i \alpha_i\rho_i}{\sum_i\alpha_i},\ \alpha_i=\sum_j|\langle h_i,x_j\rangle|", 0.0),
    _row("rsa", "RSA", "The rank correlation of all distances between examples in the two sets.",
         "Kriegeskorte et al. 2008", r"\mathrm{spearman}(d^X_{ij}, d^Y_{ij})", -1.0),
    _row("mutual_knn", "Mutual k-NN", "The share of nearest neighbours that stay neighbours; k/(n−1) by chance.",
         "Huh et al. 2024", r"\frac{1}{nk}\sum_i |N^X_k(i)\cap N^Y_k(i)|", 0.0),
    _row("retrieval", "Retrieval accuracy", "How often the nearest sentence of the other language is the translation.",
         "Conneau et al. 2018",
         r"\frac12\sum_{\leftrightarrow}\frac1n\sum_i[\cos(x_i,y_i)>\max_{j\ne i}\cos(x_i,y_j)]", 0.0, "fraction"),
    _row("retrieval_loss", "Translations lost", "How many fewer translations the pruned state finds than the dense one.",
         "standard", r"a_{\mathrm{dense}}-a_{\mathrm{pruned}}", -1.0, "loss"),
    _row("top_variance_share", "Top-3 variance", "The share of the variance in the three most variable dimensions.",
         "arXiv 2306.00458", r"\frac{\sum_{d\in\mathrm{top}\,3}\sigma_d^2}{\sum_d\sigma_d^2}", 0.0, "share"),
    _row("drift_grand", "Drift, common", "The share of the displacement that is one shift for all; keeps alignment.",
         "analysis of variance", r"GN\|\bar\Delta\|^2 / \sum\|\Delta_{li}\|^2", 0.0, "share"),
    _row("drift_item", "Drift of meanings", "The share that moves an item equally in every language; keeps alignment.",
         "analysis of variance", r"G\sum_i\|\bar\Delta_i-\bar\Delta\|^2 / \sum\|\Delta_{li}\|^2", 0.0, "share"),
    _row("drift_language", "Drift of languages", "The share that moves a whole language; breaks alignment.",
         "analysis of variance", r"N\sum_l\|\bar\Delta_l-\bar\Delta\|^2 / \sum\|\Delta_{li}\|^2", 0.0, "share"),
    _row("drift_interaction", "Drift, the rest", "The share that moves items apart in each language; breaks alignment.",
         "analysis of variance", r"\sum\|\Delta_{li}-\bar\Delta_l-\bar\Delta_i+\bar\Delta\|^2 / \sum\|\Delta_{li}\|^2", 0.0, "share"),
)
# fmt: on
