"""Which items pruning changed: flips, items that it singles out, confusions, slices (M§6.9).

Correctness is boolean, answers are class indices; axes are seeds S, languages G and items N.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.metrics import finite
from engine.registry import Direction, Metric

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

KEPT_RIGHT, BROKEN, REPAIRED, KEPT_WRONG = range(4)
NAMES = ("kept right", "broken", "repaired", "kept wrong")
NO_MODE = -1


def _boolean(name: str, values: ArrayLike) -> NDArray[np.bool_]:
    array = finite(name, values)
    if not np.isin(array, (0.0, 1.0)).all():
        raise ValueError(f"{name}: must be true or false for every item; got {array[~np.isin(array, (0, 1))][0]:g}")
    return array.astype(bool)


def _whole(name: str, values: ArrayLike, ndim: int) -> Integers:
    array = finite(name, values, ndim)
    if (array % 1 != 0).any() or array.min() < 0:
        raise ValueError(f"{name}: must be class indices, whole and not negative; got {array.min():g}")
    return array.astype(np.int64)


def _alike(first: NDArray[np.generic], second: NDArray[np.generic], names: str) -> None:
    if first.shape != second.shape:
        raise ValueError(f"{names}: must be the same items; got shapes {first.shape} and {second.shape}")


def outcomes(dense: ArrayLike, pruned: ArrayLike) -> Integers:
    """What became of every item: `KEPT_RIGHT`, `BROKEN`, `REPAIRED` or `KEPT_WRONG`, in the shape given (M§6.9).

    `dense`, `pruned`: correctness of the same items. Broken less repaired, over all items, is the drop: two models
    may score alike and still answer differently.
    """
    dense_, pruned_ = _boolean("dense", dense), _boolean("pruned", pruned)
    _alike(dense_, pruned_, "dense, pruned")
    return np.where(dense_, np.where(pruned_, KEPT_RIGHT, BROKEN), np.where(pruned_, REPAIRED, KEPT_WRONG))


def in_one_language(broken: ArrayLike) -> NDArray[np.bool_]:
    """Which items broke in this language and in no other, G×N (M§6.9). Parallel items; 2 languages or more.

    An item that breaks everywhere says something of its meaning, one that breaks in one language something of that
    language.
    """
    broken_GN = _boolean("broken", broken)
    if broken_GN.ndim != 2 or len(broken_GN) < 2:
        raise ValueError(f"broken: must be 2 or more languages × items; got shape {broken_GN.shape}")
    return np.asarray(broken_GN & (broken_GN.sum(0) == 1))


def modal(answers: ArrayLike) -> Integers:
    """The most frequent answer of every item over seeds S×N, `NO_MODE` where several are most frequent (M§6.9).

    A tie has no mode: any rule that picks one would call items identified by chance alone, of two seeds most of all.
    """
    answer_SN = _whole("answers", answers, 2)
    classes = int(answer_SN.max()) + 1
    count_CN = (answer_SN[None] == np.arange(classes)[:, None, None]).sum(1)
    most_N = count_CN.max(0)
    return np.where((count_CN == most_N).sum(0) == 1, count_CN.argmax(0), NO_MODE)


def identified(dense: ArrayLike, pruned: ArrayLike) -> NDArray[np.bool_]:
    """Pruning-identified exemplars (PIE): items whose modal answer over seeds differs between the states (M§6.9).

    `dense`, `pruned`: predicted classes S×N, 2 seeds or more on each side: one seed's disagreement is a flip, which
    rerunning the dense model makes too. Items without a mode on either side are none. (Hooker et al. 2019.)
    """
    dense_SN, pruned_SN = _whole("dense", dense, 2), _whole("pruned", pruned, 2)
    if min(len(dense_SN), len(pruned_SN)) < 2:
        raise ValueError(f"dense, pruned: need 2 or more seeds each; got {len(dense_SN)} and {len(pruned_SN)}")
    if dense_SN.shape[1] != pruned_SN.shape[1]:
        raise ValueError(f"dense, pruned: must be the same items; got {dense_SN.shape[1]} and {pruned_SN.shape[1]}")
    before_N, after_N = modal(dense_SN), modal(pruned_SN)
    return (before_N != after_N) & (before_N != NO_MODE) & (after_N != NO_MODE)


def confusion(gold: ArrayLike, predicted: ArrayLike, classes: int) -> Integers:
    """How often class c was answered with k, C×C counts: rows are gold, columns predicted (M§6.9)."""
    gold_N, predicted_N = _whole("gold", gold, 1), _whole("predicted", predicted, 1)
    _alike(gold_N, predicted_N, "gold, predicted")
    if max(gold_N.max(), predicted_N.max()) >= classes:
        raise ValueError(
            f"classes: must be above every class index; got {classes} with {max(gold_N.max(), predicted_N.max())}"
        )
    return np.bincount(gold_N * classes + predicted_N, minlength=classes**2).reshape(classes, classes)


def equal_mass(values: ArrayLike, bins: int) -> Integers:
    """The bin of every value among `bins` of equal mass: `⌊bins·r/N⌋`, r the number of strictly lower values.

    Equal values so share a bin, whatever the order of items; a bin may stay empty.
    """
    value_N = finite("values", values, 1)
    if bins < 1 or bins != int(bins):
        raise ValueError(f"bins: must be a whole number of at least 1; got {bins}")
    lower_N = np.searchsorted(np.sort(value_N), value_N, side="left")
    return np.asarray(int(bins) * lower_N // len(value_N))


# fmt: off
def _row(name: str, title: str, what: str, formula: str, direction: Direction, source: str = "standard") -> Metric:
    return Metric(name, title, what, "M§6.9", source, "fraction", direction, 0.0, 1.0, formula, "Flips")


ROWS: tuple[Metric, ...] = (
    _row("broken", "Broken", "The share of items that the dense model answers rightly and the pruned one does not.",
         r"\frac1N\sum_i[d_i=1\wedge p_i=0]", "lower"),
    _row("repaired", "Repaired", "The share of items that only the pruned model answers rightly.",
         r"\frac1N\sum_i[d_i=0\wedge p_i=1]", "higher"),
    _row("kept_right", "Kept right", "The share of items that both models answer rightly.", r"\frac1N\sum_i[d_i=1\wedge p_i=1]", "higher"),
    _row("kept_wrong", "Kept wrong", "The share of items that both models answer wrongly.", r"\frac1N\sum_i[d_i=0\wedge p_i=0]", "lower"),
    _row("broken_here", "Broken only here", "The share of parallel items that broke in this language and in no other.",
         r"\frac1N\sum_i[b_{l,i}=1\wedge\sum_k b_{k,i}=1]", "lower"),
    _row("pie", "Pruning-identified items", "The share of items whose most frequent answer over seeds is another one after pruning.",
         r"\frac1N\sum_i[\mathrm{mode}_s\,d_{s,i}\ne\mathrm{mode}_s\,p_{s,i}]", "lower", "Hooker et al. 2019, arXiv 1911.05248"),
    _row("confusion", "Confusions", "How often one class is answered with another.", r"n_{ck}=\sum_i[y_i=c\wedge\hat y_i=k]", "neither"),
)
# fmt: on
