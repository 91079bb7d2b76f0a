"""Slow, plain re-implementations of the engine's formulas, written from the methods reference alone.

Loops over Python floats and fractions, no torch and no code of the engine: two routes to one number. Arrays come
in as anything NumPy reads; results are lists or arrays of float64.
"""

from __future__ import annotations

import itertools
import math
from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction

import numpy as np


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
