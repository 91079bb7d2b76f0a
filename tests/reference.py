"""Slow, plain re-implementations of every formula, written from the methods reference and not from the code.

Loops over pairs, classes and languages, Python floats and fractions, float64; no torch and no code of the project:
two routes to one number. First the engine's formulas, then the measures of the analysis.
"""

from __future__ import annotations

import collections
import itertools
import math
import re
import statistics
import string
import sys
import unicodedata
from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction

import numpy as np
import scipy.linalg
import scipy.stats


def array(x) -> np.ndarray:
    """A float64 array of a tensor or nested lists, half precision included."""
    return np.asarray(x.detach().double().numpy() if hasattr(x, "detach") else x, dtype=np.float64)


# --- selection (M§2) ------------------------------------------------------------------------------------------------


def count(sparsity, n: int) -> int:
    """floor(Decimal(str(s))·n + ½)."""
    return int((Decimal(str(sparsity)) * n + Decimal("0.5")).to_integral_value(rounding=ROUND_FLOOR))


def removal_order(scores: dict) -> list[tuple[str, int]]:
    """Every weight, the first to go first: by score, and among equals the later matrix, then the later index."""
    ranked = []
    for place, (name, values) in enumerate(scores.items()):
        for index, value in enumerate(values):
            ranked.append((value, -place, -index, name))
    return [(name, -index) for _, _, index, name in sorted(ranked)]


def lamp_fractions(values: list, keep: list) -> list:
    """LAMP shares as exact fractions; removed weights take no part and get 0."""
    order = [index for _, index in removal_order({"": values}) if keep[index]]
    shares = [Fraction(0)] * len(values)
    for place, index in enumerate(order):
        rest = sum(Fraction(values[v]) ** 2 for v in order[place:])
        shares[index] = Fraction(values[index]) ** 2 / rest if rest else Fraction(0)
    return shares


def erk_kept(shapes: list, kept: int, caps: list[int]) -> list[int]:
    """Kept weights per matrix: density ∝ (O+I)/(O·I), capped, the rest shared again, left-overs by largest remainder."""
    capped: set[int] = set()
    while True:
        open_ = [i for i in range(len(shapes)) if i not in capped]
        left = kept - sum(caps[i] for i in capped)
        scale = Fraction(left, sum(sum(shapes[i]) for i in open_)) if open_ else Fraction(0)
        over = [i for i in open_ if scale * sum(shapes[i]) > caps[i]]
        if not over:
            break
        capped.update(over)
    shares = [Fraction(caps[i]) if i in capped else scale * sum(shapes[i]) for i in range(len(shapes))]
    counts = [math.floor(share) for share in shares]
    for _ in range(kept - sum(counts)):
        best = max(range(len(shares)), key=lambda i: (shares[i] - counts[i], -i))
        counts[best] += 1
    return counts


def select(scores: dict, sparsity, allocation: str = "global", keep=None, floors=None, ceilings=None) -> dict:
    """Masks as nested lists; bounds for the global ranking and LAMP only, the other allocations without."""
    shapes = {name: array(x).shape for name, x in scores.items()}
    flat = {name: array(x).ravel().tolist() for name, x in scores.items()}
    mask = {name: (np.asarray(keep[name]).ravel().tolist() if keep else [True] * len(x)) for name, x in flat.items()}
    total = count(sparsity, sum(map(len, flat.values())))
    if allocation == "lamp":
        flat = {name: lamp_fractions(values, mask[name]) for name, values in flat.items()}
    if allocation in ("global", "lamp"):
        _remove_globally(flat, mask, total, floors or {}, ceilings or {})
    elif allocation == "layerwise":
        for name, values in flat.items():
            _remove(values, mask[name], count(sparsity, len(values)))
    elif allocation == "erk":
        names = list(flat)
        kept = sum(map(len, flat.values())) - total
        for name, left in zip(
            names, erk_kept([shapes[n] for n in names], kept, [sum(mask[n]) for n in names]), strict=True
        ):
            _remove(flat[name], mask[name], len(flat[name]) - left)
    else:
        for name, values in flat.items():
            width = shapes[name][1] if allocation == "row" else int(allocation.split(":")[1])
            lost = count(sparsity, width) if allocation == "row" else width - int(allocation.split(":")[0])
            for start in range(0, len(values), width):
                part = mask[name][start : start + width]
                _remove(values[start : start + width], part, lost)
                mask[name][start : start + width] = part
    return {name: np.array(mask[name], dtype=bool).reshape(shapes[name]) for name in flat}


def _remove(values: list, mask: list, total: int) -> None:
    """Remove the lowest present ones until `total` are gone."""
    for _, index in removal_order({"": values}):
        if mask.count(False) == total:
            return
        mask[index] = False


def _remove_globally(flat: dict, mask: dict, total: int, floors: dict, ceilings: dict) -> None:
    """First every matrix down to its floor, then down the one ranking, past matrices that are at their ceiling."""
    for name, floor in floors.items():
        least = math.ceil(Decimal(str(floor)) * len(flat[name]))
        _remove(flat[name], mask[name], max(least, mask[name].count(False)))
    most = {name: math.floor(Decimal(str(ceilings.get(name, 1))) * len(values)) for name, values in flat.items()}
    gone = sum(part.count(False) for part in mask.values())
    for name, index in removal_order(flat):
        if gone == total:
            return
        if mask[name][index] and mask[name].count(False) < most[name]:
            mask[name][index] = False
            gone += 1


def best_removal(scores: dict, total: int, least: dict, most: dict) -> float:
    """The least sum of removed scores over every set of `total` weights within the bounds, by enumeration."""
    places = [(name, value) for name, values in scores.items() for value in values]
    best = math.inf
    for chosen in itertools.combinations(range(len(places)), total):
        lost = {name: sum(places[i][0] == name for i in chosen) for name in scores}
        if all(least[name] <= lost[name] <= most[name] for name in scores):
            best = min(best, sum(places[i][1] for i in chosen))
    return best


# --- criteria (M§3) -------------------------------------------------------------------------------------------------


def magnitude(weight):
    return [[abs(w) for w in row] for row in array(weight)]


def lamp(weight):
    w = np.abs(array(weight))
    return [
        [float(s) for s in row]
        for row in np.array(lamp_fractions(w.ravel().tolist(), [True] * w.size)).reshape(w.shape)
    ]


def wanda(weight, input_norm):
    norm = array(input_norm)
    return [[abs(w) * norm[i] for i, w in enumerate(row)] for row in array(weight)]


def lookahead(weight, before, after):
    def norm(values):
        return math.sqrt(sum(v * v for v in values))

    w = array(weight)
    out = []
    for k in range(w.shape[0]):
        row = []
        for j in range(w.shape[1]):
            left = norm(array(before)[j, :]) if before is not None else 1.0
            right = norm(array(after)[:, k]) if after is not None else 1.0
            row.append(abs(w[k, j]) * left * right)
        out.append(row)
    return out


def gradient_magnitude(weight, grad):
    return [[abs(w * g) for w, g in zip(*rows, strict=True)] for rows in zip(array(weight), array(grad), strict=False)]


def fisher(weight, grad_sq):
    return [
        [0.5 * w * w * g for w, g in zip(*rows, strict=True)]
        for rows in zip(array(weight), array(grad_sq), strict=False)
    ]


def pins(weight, grad, lr, sign="abs"):
    scores = [
        [-w * g + lr * g * g for w, g in zip(*rows, strict=True)]
        for rows in zip(array(weight), array(grad), strict=False)
    ]
    return [[abs(s) for s in row] for row in scores] if sign == "abs" else scores


def smoothed(values: list, beta1: float, beta2: float, window: int) -> tuple[np.ndarray, np.ndarray]:
    """(Ī, Ū) after a list of per-step values: window means, then two exponential averages from zero."""
    importance = np.zeros_like(array(values[0]))
    uncertainty = np.zeros_like(importance)
    for start in range(0, len(values) - window + 1, window):
        mean = sum(array(v) for v in values[start : start + window]) / window
        importance = beta1 * importance + (1 - beta1) * mean
        uncertainty = beta2 * uncertainty + (1 - beta2) * np.abs(mean - importance)
    return importance, uncertainty


def movement(steps: list, lr: float) -> np.ndarray:
    """−lr·Σ w·g over (weight, grad) pairs."""
    return -lr * sum(array(w) * array(g) for w, g in steps)


def adam(steps: list, lr: float) -> np.ndarray:
    """Adam on the score gradient w·g, from scores of 0."""
    shape = array(steps[0][0]).shape
    score, first, second = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for t, (w, g) in enumerate(steps, start=1):
        gradient = array(w) * array(g)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        score -= lr * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
    return score


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def hard_concrete(log_alpha: float, u: float | None) -> float:
    gamma, zeta, beta = -0.1, 1.1, 2 / 3
    inner = log_alpha if u is None else (math.log(u) - math.log(1 - u) + log_alpha) / beta
    return min(1.0, max(0.0, sigmoid(inner) * (zeta - gamma) + gamma))


def hard_concrete_penalty(log_alpha) -> float:
    return sum(sigmoid(a - 2 / 3 * math.log(0.1 / 1.1)) for a in array(log_alpha).ravel())


def taylor_structured(mask_grad) -> list[float]:
    totals = [sum(abs(g) for g in column) for column in array(mask_grad).T]
    norm = math.sqrt(sum(t * t for t in totals))
    return [t / norm if norm else 0.0 for t in totals]


def head_sensitivity(outputs, grads, valid=None) -> list[float]:
    o, g = array(outputs), array(grads)
    scores = [0.0] * o.shape[1]
    for t in range(o.shape[0]):
        for h in range(o.shape[1]):
            if valid is None or valid[t]:
                scores[h] += abs(sum(a * b for a, b in zip(o[t, h], g[t, h], strict=True)))
    return scores


# --- objectives (M§4) -----------------------------------------------------------------------------------------------


def cosine(a, b) -> float:
    top = sum(x * y for x, y in zip(a, b, strict=True))
    bottom = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
    return top / bottom if bottom else 0.0


def alignreg_cosine(reference, weight, mask, per="unit") -> float:
    w0, kept = array(reference), array(weight) * array(mask)
    if per == "layer":
        w0, kept = w0.reshape(1, -1), kept.reshape(1, -1)
    return sum(1 - cosine(a, b) for a, b in zip(w0, kept, strict=True))


def alignreg_frobenius(reference, weight, mask, squared=True) -> float:
    w0, kept = array(reference), array(weight) * array(mask)
    gap = sum((a - b) ** 2 for a, b in zip(w0.ravel(), kept.ravel(), strict=True))
    norm = sum(a * a for a in w0.ravel())
    return len(w0) * (gap / norm if squared else math.sqrt(gap) / math.sqrt(norm))


def l2_sp(reference, weight, mask) -> float:
    return sum(
        m * (a - b) ** 2
        for a, b, m in zip(array(reference).ravel(), array(weight).ravel(), array(mask).ravel(), strict=True)
    )


def correlations(student, teacher) -> list[list[float]]:
    """C_ij over the features that vary in both."""
    s, t = array(student), array(teacher)
    live = [d for d in range(s.shape[1]) if len(set(s[:, d])) > 1 and len(set(t[:, d])) > 1]
    centred = [[[x[d] - sum(r[d] for r in rows) / len(rows) for x in rows] for d in live] for rows in (s, t)]
    return [[cosine(a, b) for b in centred[1]] for a in centred[0]]


def cross_correlation(student, teacher, off_diagonal=0.1, normalise=True) -> float:
    table = correlations(student, teacher)
    width, batch = len(table), len(array(student))
    on = sum((1 - table[i][i]) ** 2 for i in range(width))
    off = sum(table[i][j] ** 2 for i in range(width) for j in range(width) if i != j)
    if not normalise:
        return on + off_diagonal * off
    return (on / width if width else 0.0) + (
        off_diagonal * off * (batch - 1) / (width * (width - 1)) if width > 1 else 0.0
    )


def contrastive(anchors, candidates, positives, temperature, valid=None) -> float:
    losses = []
    for i, anchor in enumerate(array(anchors)):
        allowed = [j for j in range(len(candidates)) if valid is None or valid[i][j]]
        chosen = [j for j in allowed if positives[i][j]]
        if not chosen:
            continue
        logits = {j: cosine(anchor, array(candidates)[j]) / temperature for j in allowed}
        peak = max(logits.values())
        log_sum = peak + math.log(sum(math.exp(v - peak) for v in logits.values()))
        losses.append(-sum(logits[j] - log_sum for j in chosen) / len(chosen))
    return sum(losses) / len(losses) if losses else 0.0


def bank_contrast(anchors, bank, rows, others, labels, temperature, batch=None) -> tuple[float, float]:
    """By example and by label; candidates: the batch without the anchor, then the bank's rows of batch and others."""
    batch = anchors if batch is None else batch
    candidates = [(array(vector), row, "batch") for vector, row in zip(batch, rows, strict=True)]
    candidates += [(array(vector), row, "bank") for row in (*rows, *others) for vector in bank[row]]
    found = []
    for positive in (
        lambda mine, row, place: place == "bank" and row == mine,
        lambda mine, row, place: labels[row] == labels[mine],
    ):
        flags = [[positive(mine, row, place) for _, row, place in candidates] for mine in rows]
        valid = [[j != i for j in range(len(candidates))] for i in range(len(rows))]
        found.append(contrastive(anchors, [vector for vector, _, _ in candidates], flags, temperature, valid))
    return found[0], found[1]


def learned_gate(kind, score, weight, grad, strength, share, count, matrices, u=None, threshold=0.1) -> float:
    """Gradient of one gate's score, by finite differences of penalty and gate: λ-penalty plus ∂L/∂ŵ·w·∂gate/∂score."""
    step = 1e-6
    if kind == "soft":

        def penalty(s):
            return strength * share / (1 + math.exp(-s)) / count / matrices

        return (penalty(score + step) - penalty(score - step)) / (2 * step) + weight * grad

    def total(s):
        return grad * weight * hard_concrete(s, u) + strength / count * hard_concrete_penalty([s])

    return (total(score + step) - total(score - step)) / (2 * step)


def softmax(logits, temperature=1.0) -> list[float]:
    scaled = [v / temperature for v in logits]
    exps = [math.exp(v - max(scaled)) for v in scaled]
    return [e / sum(exps) for e in exps]


def kl(teacher, student, temperature) -> float:
    p, q = softmax(teacher, temperature), softmax(student, temperature)
    return temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def self_regularised(student, teacher, labels, temperature=2.0, weight=None) -> float:
    losses = []
    for s, t, label in zip(array(student), array(teacher), labels, strict=True):
        if label == -100:
            continue
        p = softmax(s)
        a = 1 + sum(x * math.log(x) for x in p if x) / math.log(len(p)) if weight is None else weight
        losses.append(a * kl(t, s, temperature) - (1 - a) * math.log(p[label]))
    return sum(losses) / len(losses) if losses else 0.0


def distillation_kl(student, teacher, temperature) -> float:
    losses = [kl(t, s, temperature) for s, t in zip(array(student), array(teacher), strict=True)]
    return sum(losses) / len(losses)


def state_mse(student, teacher) -> float:
    return sum(
        sum((a - b) ** 2 for a, b in zip(s, t, strict=True))
        for s, t in zip(array(student), array(teacher), strict=False)
    ) / len(student)


def state_cosine(student, teacher) -> float:
    return sum(1 - cosine(s, t) for s, t in zip(array(student), array(teacher), strict=True)) / len(student)


# --- schedules (M§2.2) ----------------------------------------------------------------------------------------------


def cubic(step, total, initial, final, warmup, cooldown, power=3) -> float:
    start, end = Fraction(str(warmup)) * total, (1 - Fraction(str(cooldown))) * total
    if step <= start:
        return float(initial)
    if step >= end:
        return float(final)
    left = 1 - Fraction(step - start) / (end - start)
    return float(Fraction(str(final)) + (Fraction(str(initial)) - Fraction(str(final))) * left**power)


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


def pair_cosine(a, b):
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


def mutual_knn(x, y, k):
    x, y, overlap = double(x), double(y), 0
    for i in range(len(x)):
        near = []
        for z in (x, y):
            ranked = sorted((-round(pair_cosine(z[i], z[j]), 12), j) for j in range(len(z)) if j != i)
            near.append({j for _, j in ranked[:k]})
        overlap += len(near[0] & near[1])
    return overlap / (k * len(x))


def retrieval(x, y, csls=0):
    x, y, hits = double(x), double(y), 0
    score = np.array([[pair_cosine(a, b) for b in y] for a in x])
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
    distances = [1 - pair_cosine(x[i], x[j]) for i in first for j in second if keep_self or i != j]
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
        math.nan if not row.any() else 0.0 if not left.any() else pair_cosine(row, left)
        for row, left in zip(double(reference), double(weight), strict=True)
    ]


def jaccard(a, b):
    first, second = ({i for i, kept in enumerate(np.ravel(mask)) if kept} for mask in (a, b))
    return len(first & second) / len(first | second)


def bpe_products(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """Products of byte-pair encoding on a word, in order: each time every adjacent pair is looked at anew (M§2.5)."""
    parts, products = list(word), []
    while True:
        best = None
        for place in range(len(parts) - 1):
            rank = ranks.get((parts[place], parts[place + 1]))
            if rank is not None and (best is None or rank < best[0]):
                best = (rank, place)
        if best is None:
            return products
        place = best[1]
        parts = [*parts[:place], parts[place] + parts[place + 1], *parts[place + 2 :]]
        products.append(parts[place])


# --- heads and neurons (M§2, M§3) -----------------------------------------------------------------------------------


def derivative(loss, step=1e-4) -> float:
    """Of a function of one number, at 1, by central differences."""
    return (loss(1 + step) - loss(1 - step)) / (2 * step)


def unit_score(weight_scores, places, count, width, unit) -> float:
    """Mean over every (matrix, axis, start) of the unit's rows or columns, entry by entry."""
    values = []
    for name, axis, start in places:
        matrix = array(weight_scores[name])
        for i in range(matrix.shape[0]):
            for j in range(matrix.shape[1]):
                if start + unit * width <= (i, j)[axis] < start + (unit + 1) * width:
                    values.append(matrix[i, j])
    return sum(values) / len(values)


def select_units(scores, sparsity, least) -> list[list[bool]]:
    """Remove one at a time: the lowest score, the later among equals, of a layer that has more than `least`."""
    keep = [[True] * len(layer) for layer in scores]
    total = math.floor(Fraction(str(sparsity)) * sum(map(len, scores)) + Fraction(1, 2))
    for _ in range(total):
        open_ = [
            (scores[i][j], -i, -j)
            for i in range(len(scores))
            for j in range(len(scores[i]))
            if keep[i][j] and sum(keep[i]) > least
        ]
        if open_:
            _, i, j = min(open_)
            keep[-i][-j] = False
    return keep


# --- flips, controls, restoration


def outcomes(dense, pruned):
    names = {(1, 1): 0, (1, 0): 1, (0, 1): 2, (0, 0): 3}
    return [names[int(d), int(p)] for d, p in zip(dense, pruned, strict=True)]


def modal(answers):
    found = []
    for column in zip(*answers, strict=True):
        counts = sorted(((column.count(value), value) for value in set(column)), reverse=True)
        tied = len(counts) > 1 and counts[0][0] == counts[1][0]
        found.append(-1 if tied else counts[0][1])
    return found


def identified(dense, pruned):
    sides = zip(modal(dense), modal(pruned), strict=True)
    return [a != b and a != -1 and b != -1 for a, b in sides]


def confusion(gold, predicted, classes):
    table = [[0] * classes for _ in range(classes)]
    for y, p in zip(gold, predicted, strict=True):
        table[y][p] += 1
    return table


def shuffled_labels(gold, dense, pruned):
    """(mean, variance) of the drop over every assignment of the gold labels to the items."""
    from itertools import permutations

    values = []
    for order in permutations(gold):
        drops = [
            np.mean([(d == y) - (p == y) for d, p, y in zip(one, other, order, strict=True)], dtype=np.float64)
            for one, other in zip(dense, pruned, strict=True)
        ]
        values.append(np.mean(drops))
    return float(np.mean(values)), float(np.var(values))


def rerun_noise(scores):
    pairs = [(a, b) for a in range(len(scores)) for b in range(a)]
    apart = [abs(float(np.mean(scores[a])) - float(np.mean(scores[b]))) for a, b in pairs]
    churn = [np.mean([x != y for x, y in zip(scores[a], scores[b], strict=True)]) for a, b in pairs]
    return {"difference": float(np.mean(apart)), "largest": max(apart), "churn": float(np.mean(churn))}


def ranks(values):
    return [1 + sum(other < value for other in values) + (values.count(value) - 1) / 2 for value in values]


def spearman(x, y):
    x, y = (np.array(ranks(list(values)), dtype=np.float64) for values in (x, y))
    x, y = x - x.mean(), y - y.mean()
    own = math.sqrt(float((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / own if own else math.nan


def leave_one_out(x, y):
    values = [spearman([*x[:g], *x[g + 1 :]], [*y[:g], *y[g + 1 :]]) for g in range(len(x))]
    return min(values), max(values)


# -- comparisons of methods ---------------------------------------------------------------------------------------


def crossed_interval(values, seed, resamples):
    """Bootstrap of the mean of seeds × languages, both resampled: one resample at a time, by explicit counts."""
    values = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    draws = []
    for n in values.shape:
        drawn = rng.integers(n, size=(resamples, n))
        draws.append([[list(row).count(place) for place in range(n)] for row in drawn])
    means = []
    for seed_counts, language_counts in zip(*draws, strict=True):
        total = 0.0
        for s, u in enumerate(seed_counts):
            for k, v in enumerate(language_counts):
                total += u * v * float(values[s, k])
        means.append(total / values.size)
    return np.quantile(means, 0.025), np.quantile(means, 0.975)


# -- answers of questions (M§5): the official scripts, written out as they are published ----------------------------


def squad_tokens(text: str) -> list[str]:
    """SQuAD v1.1's and v2.0's `normalize_answer(s).split()`."""
    lowered = "".join(letter for letter in text.lower() if letter not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", lowered).split()).split()


def mlqa_tokens(text: str, language: str) -> list[str]:
    """MLQA's `normalize_answer` for its seven languages, `mixed_segmentation` for Chinese included."""
    marks = {chr(i) for i in range(sys.maxunicode) if unicodedata.category(chr(i)).startswith("P")} | set(
        string.punctuation
    )
    articles = {
        "en": r"\b(a|an|the)\b",
        "es": r"\b(un|una|unos|unas|el|la|los|las)\b",
        "vi": r"\b(của|là|cái|chiếc|những)\b",
        "de": r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b",
        "ar": r"\sال^|ال",
    }
    plain = "".join(letter for letter in text.lower() if letter not in marks)
    plain = re.sub(articles[language], " ", plain) if language in articles else plain
    if language != "zh":
        return [part for part in plain.split() if part.strip()]
    parts, held = [], ""
    for letter in plain:
        if re.search(r"[\u4e00-\u9fa5]", letter):
            parts += held.split()
            held = ""
            parts.append(letter)
        else:
            held += letter
    return parts + held.split()


def squad_f1(found: list[str], wanted: list[str]) -> float:
    """SQuAD v2.0's `compute_f1` on token lists."""
    common = collections.Counter(found) & collections.Counter(wanted)
    same = sum(common.values())
    if len(found) == 0 or len(wanted) == 0:
        return float(found == wanted)
    if same == 0:
        return 0.0
    precision, recall = same / len(found), same / len(wanted)
    return 2 * precision * recall / (precision + recall)


def best_span(start: np.ndarray, end: np.ndarray, inside: np.ndarray, longest: int) -> tuple[float, int, int]:
    """The span of highest start + end within the context, by trying all."""
    found = [
        (float(start[i] + end[j]), i, j)
        for i in range(len(start))
        for j in range(i, min(len(start), i + longest))
        if inside[i] and inside[j]
    ]
    return max(found, key=lambda one: one[0])


def kurtosis(weight):
    values = [float(v) for v in double(weight).ravel()]
    mean = sum(values) / len(values)
    second, fourth = (sum((v - mean) ** power for v in values) / len(values) for power in (2, 4))
    return fourth / second**2 - 3


def norm_kept(reference, weight):
    now, before = (math.sqrt(sum(v * v for v in double(side).ravel())) for side in (weight, reference))
    return now / before


def head(dense, now, part, number, width):
    """Measures of one attention head from a block's own matrices O×I: its rows of query, key and value, its columns of the output."""
    chosen = ("query", "key", "value", "attention_output") if part == "all" else (part,)
    units: list[tuple[list[float], list[float]]] = []
    for name in chosen:
        for place in range(number * width, (number + 1) * width):
            before, after = (
                [row[place] for row in side[name]] if name == "attention_output" else list(side[name][place])
                for side in (double_all(dense), double_all(now))
            )
            units.append((before, after))
    flat = [v for _, after in units for v in after]
    cosines = [unit_cosine([before], [after])[0] for before, after in units]
    known = [value for value in cosines if not math.isnan(value)]
    return {
        "weights": len(flat),
        "removed": sum(v == 0 for v in flat),
        "sparsity": sum(v == 0 for v in flat) / len(flat),
        "norm_kept": norm_kept([v for before, _ in units for v in before], flat),
        "hoyer": hoyer(flat) if any(flat) else math.nan,
        "kurtosis": kurtosis(flat) if any(flat) else math.nan,
        "unit_cosine_mean": sum(known) / len(known),
        "units": len(units),
        "units_left": sum(any(v != 0 for v in after) for _, after in units),
    }


def double_all(matrices):
    return {name: double(value) for name, value in matrices.items()}


def probing_lost(dense, state, weights, better=1.0):
    """Loss against dense over seeds and items: a ratio of sums."""
    seeds = len(dense)
    before, after = (sum(double(side).ravel()) for side in (dense, state))
    return better * (before - after) / (seeds * sum(double(weights)))


def ratio_interval(dense, state, weights, resamples=4000, better=1.0):
    """95% interval of the same by drawing seeds and items with replacement and taking the ratio anew."""
    rng = np.random.default_rng(1)
    difference, weights = better * (double(dense) - double(state)), double(weights)
    values = []
    for _ in range(resamples):
        seeds, items = (rng.integers(size, size=size) for size in difference.shape)
        values.append(difference[np.ix_(seeds, items)].sum() / (len(seeds) * weights[items].sum()))
    return np.quantile(values, [0.025, 0.975])


# --- the formulas of M§6 that had no slow version yet


def drops(dense, pruned, chance):
    """(drop, relative drop, retention, normalised retention) of one score."""
    return dense - pruned, (dense - pruned) / dense, pruned / dense, (pruned - chance) / (dense - chance)


def mcnemar(a, b):
    """Twice the smaller binomial tail of the discordant items at one half."""
    wins = sum(bool(x) and not y for x, y in zip(a, b, strict=True))
    losses = sum(bool(y) and not x for x, y in zip(a, b, strict=True))
    tail = sum(math.comb(wins + losses, k) for k in range(min(wins, losses) + 1))
    return min(1.0, 2 * tail / 2 ** (wins + losses))


def kendall_tau(a, b):
    pairs = [(a[i] - a[j], b[i] - b[j]) for i in range(len(a)) for j in range(i)]
    concordant = sum(np.sign(x) * np.sign(y) for x, y in pairs)
    untied = [sum(pair[side] != 0 for pair in pairs) for side in (0, 1)]
    return float(concordant / math.sqrt(untied[0] * untied[1]))


def every_shuffle(drops):
    """Variance over languages of the mean drop under every assignment of each item's drops to the languages."""
    items = list(zip(*drops, strict=True))
    values = []
    for assignment in itertools.product(*(list(itertools.permutations(item)) for item in items)):
        values.append(statistics.variance([statistics.mean(column) for column in zip(*assignment, strict=True)]))
    return values


def nearest_neighbours(x, k):
    x = double(x)
    distances = [[math.dist(a, b) for b in x] for a in x]
    return [sorted((j for j in range(len(x)) if j != i), key=lambda j: row[j])[:k] for i, row in enumerate(distances)]


def knn_preservation(x, y, k):
    pairs = zip(nearest_neighbours(x, k), nearest_neighbours(y, k), strict=True)
    return statistics.mean(len(set(a) & set(b)) / k for a, b in pairs)


def trustworthiness(x, y, k):
    n, total = len(x), 0
    for order, near in zip(nearest_neighbours(x, n - 1), nearest_neighbours(y, k), strict=True):
        total += sum(max(0, order.index(j) + 1 - k) for j in near)
    return 1 - 2 * total / (n * k * (2 * n - 3 * k - 1))


def leave_one_out_centroid(x, labels):
    right = 0
    for i, row in enumerate(double(x)):
        means = {}
        for label in set(labels):
            others = [double(x)[j] for j in range(len(x)) if labels[j] == label and j != i]
            means[label] = np.mean(others, axis=0)
        right += min(means, key=lambda label: math.dist(row, means[label])) == labels[i]
    return right / len(x)


def updates_to_recover(updates, scores, share=0.99):
    """The first of a million points along the straight lines between scores that reaches the share of the best."""
    fine = np.linspace(0, updates[-1], 1_000_001)
    return float(fine[np.argmax(np.interp(fine, updates, scores) >= share * max(scores) - 1e-12)])


def jaccard_chance(kept_a, kept_b, sizes):
    both = sum(a * b / n for a, b, n in zip(kept_a, kept_b, sizes, strict=True))
    return both / (sum(kept_a) + sum(kept_b) - both)


def restoration(dense, pruned, restored, alone):
    """(what one part gives back, what it costs alone, total) as means over items."""
    count = len(dense)
    back = sum(r - p for r, p in zip(restored, pruned, strict=True)) / count
    cost = sum(d - a for d, a in zip(dense, alone, strict=True)) / count
    return back, cost, sum(d - p for d, p in zip(dense, pruned, strict=True)) / count


def overconfidence(probabilities, labels):
    rows = [list(row) for row in double(probabilities)]
    return statistics.mean(max(row) - (row.index(max(row)) == y) for row, y in zip(rows, labels, strict=True))


def fertility(texts):
    """Tokens per unit of (tokens, units) pairs."""
    return sum(tokens for tokens, _ in texts) / sum(units for _, units in texts)


# -- scores of a whole set (M§5, M§6.1): the field's own scorers on items written out one by one ---------------------


def corpus_bleu(items) -> float:
    """Of (output, references)."""
    from sacrebleu.metrics import BLEU

    most = max(len(references) for _, references in items)
    streams = [[(*references, *[None] * most)[place] for _, references in items] for place in range(most)]
    return BLEU(force=True).corpus_score([output for output, _ in items], streams).score / 100


def corpus_chrf(items) -> float:
    """Of (output, references)."""
    from sacrebleu.metrics import CHRF

    most = max(len(references) for _, references in items)
    streams = [[(*references, *[None] * most)[place] for _, references in items] for place in range(most)]
    return CHRF().corpus_score([output for output, _ in items], streams).score / 100


def entity_f1(items) -> float:
    """Of (gold tags, predicted tags)."""
    from seqeval.metrics import f1_score

    return float(f1_score([gold for gold, _ in items], [found for _, found in items], zero_division=0))


def word_accuracy(items) -> float:
    """Of (gold tags, predicted tags)."""
    pairs = [pair for gold, found in items for pair in zip(gold, found, strict=True)]
    return sum(gold == found for gold, found in pairs) / len(pairs)


def word_macro_f1(items) -> float:
    """Of (gold tags, predicted tags)."""
    pairs = [pair for gold, found in items for pair in zip(gold, found, strict=True)]
    return class_macro_f1(pairs)


def class_macro_f1(items) -> float:
    """Of (gold class, predicted class), over the classes in gold."""
    from sklearn.metrics import f1_score

    gold, found = zip(*items, strict=True)
    return float(f1_score(gold, found, labels=sorted(set(gold)), average="macro", zero_division=0))


def class_matthews(items) -> float:
    """Of (gold class, predicted class)."""
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(*zip(*items, strict=True)))


def correlation(items) -> float:
    """Pearson, of (gold, predicted); 0 where a side is constant."""
    gold, found = zip(*items, strict=True)
    return 0.0 if len(set(gold)) == 1 or len(set(found)) == 1 else float(scipy.stats.pearsonr(gold, found).statistic)


def rank_correlation(items) -> float:
    """Spearman, of (gold, predicted); 0 where a side is constant."""
    gold, found = zip(*items, strict=True)
    return 0.0 if len(set(gold)) == 1 or len(set(found)) == 1 else float(scipy.stats.spearmanr(gold, found).statistic)


def mean_score(items) -> float:
    """Of plain numbers."""
    return math.fsum(items) / len(items)


def on_resample(score, seeds, seed_counts, item_counts) -> float:
    """Mean over the drawn seeds of a score on the drawn items, each as often as it was drawn; `seeds`: items of every seed."""
    values = []
    for items, times in zip(seeds, seed_counts, strict=True):
        drawn = [item for item, count in zip(items, item_counts, strict=True) for _ in range(int(count))]
        values += [score(drawn)] * int(times)
    return math.fsum(values) / len(values)


def jackknife_parts(score, items) -> list[float]:
    """What every item adds to a score: the score, plus how far it falls without the item beyond what it falls on average."""
    whole, n = score(items), len(items)
    without = [score(items[:place] + items[place + 1 :]) for place in range(n)]
    middle = math.fsum(without) / n
    return [whole + (n - 1) * (middle - value) for value in without]


def sign_flips_exact(differences) -> float:
    """Two-sided p over all 2^N sign patterns."""
    seen, above = abs(math.fsum(differences)), 0
    for signs in itertools.product((-1, 1), repeat=len(differences)):
        above += abs(math.fsum(s * d for s, d in zip(signs, differences, strict=True))) >= seen - 1e-12
    return above / 2 ** len(differences)
