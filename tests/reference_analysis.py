"""Slow, plain float64 re-implementations of the measures, written from the definitions and not from the code.

Loops over pairs, classes and languages; other decompositions where the code uses one. Nothing here is fast.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import scipy.linalg
import scipy.stats


def double(x):
    return np.array(x, dtype=np.float64)


# --- similarity


def hsic_unbiased(first, second):
    """The three-term formula of Song et al. with ones vectors, on Gram matrices whose diagonals are zeroed."""
    n, ones = len(first), np.ones(len(first))
    k, m = (gram - np.diag(np.diag(gram)) for gram in (first, second))
    trace = np.trace(k @ m)
    sums = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    cross = 2 / (n - 2) * (ones @ k @ m @ ones)
    return (trace + sums - cross) / (n * (n - 3))


def hsic_biased(first, second):
    n = len(first)
    h = np.eye(n) - np.ones((n, n)) / n
    return np.trace(first @ h @ second @ h) / (n - 1) ** 2


def kernel_alignment(first, second, hsic):
    return hsic(first, second) / math.sqrt(hsic(first, first) * hsic(second, second))


def linear_cka(x, y, debiased=True):
    """From raw Gram matrices: HSIC does the centring, so the code's centring is checked as well."""
    x, y = double(x), double(y)
    return kernel_alignment(x @ x.T, y @ y.T, hsic_unbiased if debiased else hsic_biased)


def rbf_cka(x, y, bandwidth=0.5):
    kernels = []
    for z in (double(x), double(y)):
        squared = np.array([[((a - b) ** 2).sum() for b in z] for a in z])
        kernels.append(np.exp(-squared / (2 * bandwidth**2 * np.median(squared.ravel()))))
    return kernel_alignment(*kernels, hsic_biased)


def procrustes(x, y):
    """Through the best rotation itself: `‖XᵀY‖_* = max_R ⟨XR, Y⟩` (sets padded to one width)."""
    sets = [double(z) - double(z).mean(0) for z in (x, y)]
    sets = [z / math.sqrt((z**2).sum()) for z in sets]
    width = max(z.shape[1] for z in sets)
    a, b = (np.pad(z, ((0, 0), (0, width - z.shape[1]))) for z in sets)
    rotation, _ = scipy.linalg.orthogonal_procrustes(a, b)
    return 1 - float((a @ rotation * b).sum())


def _reduced(x):
    """Principal coordinates that hold 99% of the variance, through the covariance's eigenvectors."""
    x = double(x) - double(x).mean(0)
    values, vectors = np.linalg.eigh(x.T @ x)
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = 1
    while values[:kept].sum() < 0.99 * values.sum() * (1 - 1e-12):
        kept += 1
    return x @ vectors[:, :kept]


def _inverse_root(covariance):
    values, vectors = np.linalg.eigh(covariance)
    return vectors @ np.diag(values**-0.5) @ vectors.T


def canonical(x, y):
    """Canonical correlations and x's variates, through inverse roots of the covariances; no limit on rows."""
    a, b = _reduced(x), _reduced(y)
    white_a, white_b = _inverse_root(a.T @ a), _inverse_root(b.T @ b)
    left, correlations, _ = np.linalg.svd(white_a @ a.T @ b @ white_b)
    return correlations[: min(a.shape[1], b.shape[1])], a @ white_a @ left


def svcca(x, y):
    return float(canonical(x, y)[0].mean())


def pwcca(x, y):
    correlations, variates = canonical(x, y)
    columns = double(x) - double(x).mean(0)
    weights = [sum(abs(variates[:, i] @ column) for column in columns.T) for i in range(len(correlations))]
    return float(np.average(correlations, weights=weights))


def rsa(x, y):
    pairs = list(itertools.combinations(range(len(x)), 2))
    x, y = double(x), double(y)
    distances = [[math.dist(z[i], z[j]) for i, j in pairs] for z in (x, y)]
    return float(scipy.stats.spearmanr(*distances).statistic)


def cosine(a, b):
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


def mutual_knn(x, y, k):
    x, y, overlap = double(x), double(y), 0
    for i in range(len(x)):
        near = []
        for z in (x, y):
            ranked = sorted((-round(cosine(z[i], z[j]), 12), j) for j in range(len(z)) if j != i)
            near.append({j for _, j in ranked[:k]})
        overlap += len(near[0] & near[1])
    return overlap / (k * len(x))


def retrieval(x, y, csls=0):
    x, y, hits = double(x), double(y), 0
    score = np.array([[cosine(a, b) for b in y] for a in x])
    if csls:
        near_x = [np.mean(sorted(row)[-csls:]) for row in score]
        near_y = [np.mean(sorted(column)[-csls:]) for column in score.T]
        score = np.array([[2 * score[i, j] - near_x[i] - near_y[j] for j in range(len(y))] for i in range(len(x))])
    for i in range(len(x)):
        hits += all(score[i, i] > score[i, j] + 1e-12 for j in range(len(y)) if j != i)
        hits += all(score[i, i] > score[j, i] + 1e-12 for j in range(len(x)) if j != i)
    return hits / (2 * len(x))


def drift(delta):
    delta = double(delta)
    languages, items, _ = delta.shape
    grand = delta.mean((0, 1))
    sums = dict.fromkeys(("grand", "item", "language", "interaction"), 0.0)
    for g in range(languages):
        for i in range(items):
            language, item = delta[g].mean(0), delta[:, i].mean(0)
            sums["grand"] += float(grand @ grand)
            sums["item"] += float((item - grand) @ (item - grand))
            sums["language"] += float((language - grand) @ (language - grand))
            rest = delta[g, i] - language - item + grand
            sums["interaction"] += float(rest @ rest)
    return sums


# --- separability


def _members(labels):
    return [[i for i, label in enumerate(labels) if label == name] for name in sorted(set(labels))]


def _mean_distance(x, first, second, keep_self):
    distances = [1 - cosine(x[i], x[j]) for i in first for j in second if keep_self or i != j]
    return sum(distances) / len(distances)


def r_squared(x, labels, biased=False):
    x, members = double(x), _members(list(labels))
    within = np.mean([_mean_distance(x, rows, rows, biased) for rows in members])
    total = np.mean([_mean_distance(x, a, b, biased) for a in members for b in members])
    return float(1 - within / total)


def fisher_ratio(x, labels, biased=False):
    x, members = double(x), _members(list(labels))
    n, c, mean = len(x), len(members), double(x).mean(0)
    between = sum(len(rows) * ((x[rows].mean(0) - mean) ** 2).sum() for rows in members)
    within = sum(((x[i] - x[rows].mean(0)) ** 2).sum() for rows in members for i in rows)
    noise = within / (n - c)
    return float(between / within if biased else (between - (c - 1) * noise) / (n * noise))


def class_snr(x, labels, biased=False):
    x, members, values = double(x), _members(list(labels)), []
    for a, b in itertools.combinations(members, 2):
        variance_a, variance_b = (x[rows].var(0, ddof=0 if biased else 1).sum() for rows in (a, b))
        signal = ((x[a].mean(0) - x[b].mean(0)) ** 2).sum()
        if not biased:
            signal -= variance_a / len(a) + variance_b / len(b)
        values.append(signal / (variance_a + variance_b))
    return float(np.mean(values))


def pruning_snr_db(dense, pruned):
    dense, pruned = double(dense), double(pruned)
    signal = sum(((row - dense.mean(0)) ** 2).sum() for row in dense)
    noise = sum(((a - b) ** 2).sum() for a, b in zip(dense, pruned, strict=True))
    return 10 * math.log10(signal / noise)


# --- inference and degradation


def holm(p):
    ranked, adjusted, running = sorted(range(len(p)), key=lambda i: p[i]), [0.0] * len(p), 0.0
    for step, i in enumerate(ranked):
        running = max(running, min(1.0, (len(p) - step) * p[i]))
        adjusted[i] = running
    return adjusted


def last_safe_sparsity(levels, uppers, tolerance):
    safe = [
        level
        for level in levels
        if all(upper < tolerance for other, upper in zip(levels, uppers, strict=True) if other <= level)
    ]
    return max(safe, default=0.0)


def pareto(points):
    """Axes: lower, higher, higher."""
    costs = [(p[0], -p[1], -p[2]) for p in points]

    def dominates(a, b):
        return all(u <= v for u, v in zip(a, b, strict=True)) and any(u < v for u, v in zip(a, b, strict=True))

    return [not any(dominates(other, cost) for other in costs) for cost in costs]


def two_level_bootstrap(a, b, rng, resamples):
    """Draw seeds, draw items, average: by index lists."""
    a, b, means = double(a), double(b), []
    for _ in range(resamples):
        seeds = [rng.integers(len(a)) for _ in range(len(a))]
        items = [rng.integers(a.shape[1]) for _ in range(a.shape[1])]
        means.append(np.mean([[a[s, i] - b[s, i] for i in items] for s in seeds]))
    return np.quantile(means, [0.025, 0.975])


# --- calibration and weights


def ece(probabilities, labels, bins=10):
    probabilities = double(probabilities)
    confidence = [max(row) for row in probabilities]
    correct = [int(np.argmax(row)) == label for row, label in zip(probabilities, labels, strict=True)]
    n, boxes = len(labels), {}
    for i in range(n):
        lower = sum(other < confidence[i] for other in confidence)
        boxes.setdefault(math.floor(bins * lower / n), []).append(i)
    gaps = [
        len(box) / n * abs(np.mean([correct[i] for i in box]) - np.mean([confidence[i] for i in box]))
        for box in boxes.values()
    ]
    return float(sum(gaps))


def brier(probabilities, labels):
    rows = zip(double(probabilities), labels, strict=True)
    return float(np.mean([sum((p - (c == y)) ** 2 for c, p in enumerate(row)) for row, y in rows]))


def hoyer(weight):
    values = [abs(v) for v in double(weight).ravel()]
    root = math.sqrt(len(values))
    return (root - sum(values) / math.sqrt(sum(v * v for v in values))) / (root - 1)


def unit_cosine(reference, weight):
    return [
        math.nan if not row.any() else 0.0 if not left.any() else cosine(row, left)
        for row, left in zip(double(reference), double(weight), strict=True)
    ]


def jaccard(a, b):
    first, second = ({i for i, kept in enumerate(np.ravel(mask)) if kept} for mask in (a, b))
    return len(first & second) / len(first | second)
