"""Alignment of a level's states with the dense ones and between languages, and what kind of drift broke it (M§6.4).

Each function takes a `View` and returns one table. Examples are matched by id. A measure that has no value for some
states (all rows equal, as the first token's at layer 0) is NaN there.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import inference
from analysis import similarity as alike
from analysis.measures import bands
from analysis.measures.blocks import SEED, with_interval
from analysis.measures.states import Floats, Snapshot, View, matched, value_of

NEIGHBOURS = 10
RSA_EXAMPLES = 100  # evenly taken from the probe: 4,950 distances are enough for a rank correlation
VARIANTS = ("raw", "zscored")
COSTLY = {"rbf_cka": alike.rbf_cka, "svcca": alike.svcca, "pwcca": alike.pwcca}


def _variant(x_LND: Floats, y_LND: Floats, variant: str) -> tuple[Floats, Floats]:
    if variant == "raw":
        return x_LND, y_LND
    scaled = [[alike.zscore(values, y_ND) for values in (x_ND, y_ND)] for x_ND, y_ND in zip(x_LND, y_LND, strict=True)]
    x_LND, y_LND = (np.stack(side).astype(np.float32) for side in zip(*scaled, strict=True))
    return x_LND, y_LND


def cka(view: View) -> pd.DataFrame:
    """Debiased CKA of every layer with every layer of the reference (M§6.4), per language, pooling and variant.

    Columns language, pooling, variant (raw, or z-scored by the reference's statistics), layer_pruned, layer_dense,
    cka, n.
    """
    frames = []
    for language, pooling in view.shared():
        raw = view.pairs(language, pooling)
        if raw[0].shape[1] < 4:
            continue
        for variant in VARIANTS:
            pruned_LND, dense_LND = _variant(*raw, variant)
            values_LL = alike.cka_matrix(list(pruned_LND), list(dense_LND))
            pruned, dense = np.indices(values_LL.shape)
            columns = {
                "layer_pruned": pruned.ravel(),
                "layer_dense": dense.ravel(),
                "cka": values_LL.ravel(),
                "n": raw[0].shape[1],
            }
            frames.append(pd.DataFrame({"language": language, "pooling": pooling, "variant": variant, **columns}))
    return _joined(frames)


def similarity(view: View) -> pd.DataFrame:
    """Every layer with the same layer of the reference (M§6.4): one row per language, pooling, variant and layer.

    cka with its interval (cka_low, cka_high) and its permutation null (null_mean, null_low, null_high); procrustes,
    rsa, rbf_cka, svcca, pwcca and mutual_knn (with its chance level) for the task's pooling, pruned levels and the
    first seed, elsewhere NaN: they cost ten times as much (rsa on at most 100 examples). svcca and pwcca are NaN below
    4 examples per dimension that they keep. top_variance_pruned and top_variance_dense: the variance share of the
    three largest dimensions.
    """
    rows = []
    for language, pooling in view.shared():
        raw = view.pairs(language, pooling)
        if raw[0].shape[1] < 4:
            continue
        extras = view.full and view.role == "pruned" and pooling == view.poolings[0]
        for variant in VARIANTS:
            sides = _variant(*raw, variant)
            keys = {"language": language, "source": language in view.sources, "pooling": pooling, "variant": variant}
            rows += [
                {**keys, "layer": layer, **_alike(x, y, extras)}
                for layer, (x, y) in enumerate(zip(*sides, strict=True))
            ]
    return pd.DataFrame(rows)


def _alike(x_ND: Floats, y_ND: Floats, extras: bool) -> dict[str, float]:
    n = len(x_ND)
    k_NN, l_NN = (bands.u_centred(values) for values in (x_ND, y_ND))
    estimate, null = bands.cka_interval(k_NN, l_NN), bands.cka_null(k_NN, l_NN)
    row = {
        "n": n,
        **dict(
            zip(("cka", "cka_low", "cka_high", "null_mean", "null_low", "null_high"), (*estimate, *null), strict=True)
        ),
    }
    k = min(NEIGHBOURS, n - 1)
    row["procrustes"] = value_of(alike.procrustes, x_ND, y_ND) if extras else np.nan
    some = np.unique(np.linspace(0, n - 1, min(n, RSA_EXAMPLES)).astype(int))
    row["rsa"] = value_of(alike.rsa, x_ND[some], y_ND[some]) if extras else np.nan
    for name, function in COSTLY.items():
        row[name] = value_of(function, x_ND, y_ND) if extras else np.nan
    row["mutual_knn"] = value_of(alike.mutual_knn, x_ND, y_ND, k) if extras else np.nan
    row["mutual_knn_chance"] = k / (n - 1)
    row["top_variance_pruned"], row["top_variance_dense"] = (
        alike.top_variance_share(x_ND),
        alike.top_variance_share(y_ND),
    )
    return row


def crosslingual(view: View) -> pd.DataFrame:
    """How near translations are in this state (M§6.4): one row per language other than the source, pooling and layer.

    retrieval (accuracy of finding the translation, mean of both directions; chance 1/n) and cka between the source
    language and the other one, on the examples that both have. Beside the reference: retrieval_dense, retrieval_loss
    (dense − this state, with _low and _high by paired bootstrap over the examples), cka_dense, cka_loss. The first
    source language is the anchor. Empty for sets that are not parallel, and for states of words.
    """
    source = next((code for code in view.sources if code in view.state.keys), None)
    if source is None or not view.parallel or view.state.of_words:
        return pd.DataFrame()
    rows = []
    for language in view.state.languages:
        first, second = matched(view.state.keys[source], view.state.keys[language])
        if language == source or len(first) < 4:
            continue
        for pooling in view.poolings:
            x_LND, y_LND = view.state.layers(source, pooling, first), view.state.layers(language, pooling, second)
            keys = {
                "language": language,
                "source": source,
                "pooling": pooling,
                "n": len(first),
                "chance": 1 / len(first),
            }
            before = _before(view, source, language, pooling, first)
            rows += [
                {**keys, "layer": layer, **_near(x, y, before[layer] if before else None)}
                for layer, (x, y) in enumerate(zip(x_LND, y_LND, strict=True))
            ]
    return pd.DataFrame(rows)


def _before(
    view: View, source: str, language: str, pooling: str, rows: NDArray[np.int64]
) -> list[tuple[Floats, Floats]] | None:
    """The same examples' states in the reference, per layer; None where it lacks any of them."""
    codes = (source, language)
    if view.dense is None or any(f"{code}/{pooling}" not in view.dense.arrays for code in codes):
        return None
    wanted = view.state.keys[source][rows]
    places = [pd.Index(view.dense.keys[code]).get_indexer(wanted) for code in codes]
    if any((place < 0).any() for place in places):
        return None
    sides = [view.dense.layers(code, pooling, place) for code, place in zip(codes, places, strict=True)]
    return list(zip(*sides, strict=True))


LOSSES = ("retrieval_dense", "retrieval_loss", "retrieval_loss_low", "retrieval_loss_high", "cka_dense", "cka_loss")


def _near(x_ND: Floats, y_ND: Floats, before: tuple[Floats, Floats] | None) -> dict[str, float]:
    hits_N, value = _hits(x_ND, y_ND), _cka(x_ND, y_ND)
    row = {"retrieval": float(hits_N.mean()), "cka": value, **dict.fromkeys(LOSSES, np.nan)}
    if before is None:
        return row
    dense_N, dense = _hits(*before), _cka(*before)
    row |= {"retrieval_dense": float(dense_N.mean()), "cka_dense": dense, "cka_loss": dense - value}
    if not np.isnan(dense_N - hits_N).any():
        lost_N = dense_N - hits_N
        row |= with_interval("retrieval_loss", float(lost_N.mean()), _draws(len(lost_N)) @ lost_N)
    return row


def _hits(x_ND: Floats, y_ND: Floats) -> NDArray[np.float64]:
    try:
        return alike.retrieval_hits(x_ND, y_ND)
    except ValueError:  # a zero row has no direction
        return np.full(len(x_ND), np.nan)


def _cka(x_ND: Floats, y_ND: Floats) -> float:
    return float(alike.cka_matrix([x_ND], [y_ND])[0, 0])


@cache
def _draws(n: int) -> NDArray[np.float64]:
    return inference.resample_counts(n, inference.generator(SEED)) / n


def drift(view: View) -> pd.DataFrame:
    """What kind of displacement pruning made (M§6.4): shares of its sum of squares, per pooling and layer.

    grand (one shift) and item (each meaning alike in every language) keep cross-lingual alignment, language and
    interaction break it; `total` is the mean squared displacement of an example. On the examples that every language
    has; empty for sets that are not parallel and for a dense level.
    """
    codes = view.state.languages
    if view.dense is None or view.role == "other seed" or not view.parallel or len(codes) < 2:
        return pd.DataFrame()
    shared = set.intersection(
        *(set(snapshot.keys.get(code, ())) for code in codes for snapshot in (view.state, view.dense))
    )
    common = [key for key in view.state.keys[codes[0]] if key in shared]
    if len(common) < 2:
        return pd.DataFrame()
    rows = []
    for pooling in view.poolings:
        moved_LGND = np.stack([_moved(view.state, view.dense, code, pooling, common) for code in codes], axis=1)
        for layer, delta_GND in enumerate(moved_LGND):
            parts = alike.drift(delta_GND)
            total = sum(parts.values())
            shares = {name: part / total if total else np.nan for name, part in parts.items()}
            rows.append(
                {
                    "pooling": pooling,
                    "layer": layer,
                    "n": len(common),
                    **shares,
                    "total": total / (len(codes) * len(common)),
                }
            )
    return pd.DataFrame(rows)


def _moved(state: Snapshot, dense: Snapshot, language: str, pooling: str, common: list[Any]) -> Floats:
    first, second = (
        snapshot.layers(language, pooling, pd.Index(snapshot.keys[language]).get_indexer(common))
        for snapshot in (state, dense)
    )
    return first - second


def _joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
