"""Which items pruning changed, from per-item scores and answers (M§6.9): per level, and over seeds for the study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import calibration as confidence
from analysis import flips as atlas
from analysis import text
from analysis.items import State, metric_values
from analysis.measures.blocks import Block, crossed, stacked, with_interval
from analysis.measures.drops import keys
from analysis.measures.states import View
from analysis.tables import CONTROLS
from engine.metrics import ITEM_SCORES
from engine.record import Level

Floats = NDArray[np.float64]

THIRDS = ("short", "middle", "long")
PIECES = ("few pieces", "middle", "many pieces")
KEYS = ["split", "language", "id"]


# -- one level -----------------------------------------------------------------------------------------------------


def flips(view: View) -> pd.DataFrame:
    """One row per item: split, language, id, flip (`analysis.flips.NAMES`), margin_lost, and for classes label,
    dense and pruned (the answers), dense_confidence and pruned_confidence.

    An item is right where its score is 1: all of it is right. Empty without a reference, and where items are only
    better or worse (a value that is predicted, a text that is generated).
    """
    both = _both(view)
    if both.empty:
        return both
    outcome_N = atlas.outcomes(both["score_dense"] >= 1, both["score"] >= 1)
    columns = {
        "flip": np.array(atlas.NAMES, dtype=object)[outcome_N],
        "margin_lost": both["margin_dense"] - both["margin"],
    }
    if "label" in both:
        columns |= {"label": both["label"], "dense": both["predicted_dense"], "pruned": both["predicted"]}
        columns |= {
            "dense_confidence": _surest(both["probabilities_dense"]),
            "pruned_confidence": _surest(both["probabilities"]),
        }
    return both[KEYS].assign(**columns)


def confusion(view: View) -> pd.DataFrame:
    """One row per split, language, gold label and answer that occurs: counts of the dense and the pruned state."""
    both = _both(view)
    if both.empty or "label" not in both:
        return pd.DataFrame()
    counts = [
        both.groupby(["split", "language", "label", column], sort=False)
        .size()
        .rename_axis(["split", "language", "label", "answer"])
        for column in ("predicted_dense", "predicted")
    ]
    return pd.concat(counts, axis=1, keys=["dense", "pruned"]).fillna(0).astype(int).reset_index()


def _both(view: View) -> pd.DataFrame:
    """The items that the level and its reference have, side by side."""
    if view.reference is None or not view.whole:
        return pd.DataFrame()
    return _items(view.level).merge(_items(view.reference), on=KEYS, suffixes=("", "_dense"))


def _items(level: Level) -> pd.DataFrame:
    frame = level.frame("predictions")[[*KEYS, "score", "margin"]]
    if not level.has("details.parquet"):
        return frame
    details = level.frame("details")
    wanted = [name for name in ("label", "predicted", "probabilities") if name in details]
    return frame.merge(details[[*KEYS, *wanted]], on=KEYS) if len(wanted) == 3 else frame


def _surest(probabilities: pd.Series) -> Floats:
    return np.asarray(np.stack(probabilities.to_list()).max(1), dtype=np.float64)


def overconfidence(view: View, labels: Sequence[str]) -> pd.DataFrame:
    """Mean confidence less accuracy of the pruned state on the items that flipped and on those that did not.

    One row per split and language: flips_broken, flips_repaired, flips_kept (NaN where there is no such item).
    """
    if view.reference is None or not view.reference.has("details.parquet"):
        return pd.DataFrame(columns=["split", "language"])
    wanted = [*KEYS, "label", "predicted", "probabilities"]
    both = view.level.frame("details")[wanted].merge(
        view.reference.frame("details")[[*KEYS, "predicted"]], on=KEYS, suffixes=("", "_dense")
    )
    outcome_N = atlas.outcomes(both["predicted_dense"] == both["label"], both["predicted"] == both["label"])
    place = {label: index for index, label in enumerate(labels)}
    kinds = {"broken": (atlas.BROKEN,), "repaired": (atlas.REPAIRED,), "kept": (atlas.KEPT_RIGHT, atlas.KEPT_WRONG)}
    rows = []
    for (split, language), index in both.groupby(["split", "language"], sort=False).indices.items():
        part, outcome = both.iloc[index], outcome_N[index]
        row: dict[str, Any] = {"split": split, "language": language}
        for kind, codes in kinds.items():
            rows_of = part[np.isin(outcome, codes)]
            row[f"flips_{kind}"] = (
                confidence.overconfidence(np.stack(rows_of["probabilities"].to_list()), rows_of["label"].map(place))
                if len(rows_of)
                else np.nan
            )
        rows.append(row)
    return pd.DataFrame(rows)


# -- the study -----------------------------------------------------------------------------------------------------


def counts(blocks: Sequence[Block]) -> pd.DataFrame:
    """One row per split, method, level and language: shares of the four outcomes, means over seeds.

    kept_right, broken, repaired, kept_wrong; broken_here: broken in this language and no other (parallel items); pie:
    identified items by modal disagreement (NaN under 2 seeds); rerun: broken plus repaired between two dense models of
    different seeds, which is what rerunning alone flips. Nothing where items are only better or worse.
    """
    whole = [block for block in blocks if ITEM_SCORES[block.items.metric].whole]
    return pd.DataFrame([row for block in whole for row in _count_rows(block)])


def _count_rows(block: Block) -> Iterator[dict[str, Any]]:
    items, dense = block.items, block.states[0]
    for state in block.pruned():
        outcome = {code: atlas.outcomes(dense.score[code] >= 1, state.score[code] >= 1) for code in items.languages}
        alone = _alone(block, outcome)
        for code, outcome_SN in outcome.items():
            row: dict[str, Any] = {
                **keys(block, state),
                "language": code,
                "source": code in items.sources,
                "n": outcome_SN.shape[1],
            }
            row |= {
                name.replace(" ", "_"): float((outcome_SN == place).mean()) for place, name in enumerate(atlas.NAMES)
            }
            yield {
                **row,
                "broken_here": alone.get(code, np.nan),
                "pie": _pie_share(dense, state, code),
                "rerun": _rerun(block, code),
            }


def _alone(block: Block, outcome: dict[str, NDArray[np.int64]]) -> dict[str, float]:
    codes = list(outcome)
    if not block.items.aligned or len(codes) < 2:
        return {}
    broken_GSN = np.stack([outcome[code] == atlas.BROKEN for code in codes])
    alone_GSN = np.stack([atlas.in_one_language(broken_GSN[:, seed]) for seed in range(broken_GSN.shape[1])], axis=1)
    return {code: float(alone_GSN[place].mean()) for place, code in enumerate(codes)}


def _pie_share(dense: State, state: State, code: str) -> float:
    if code not in dense.answer or min(len(dense.seeds), len(state.seeds)) < 2:
        return float("nan")
    return float(atlas.identified(dense.answer[code], state.answer[code]).mean())


def _rerun(block: Block, code: str) -> float:
    dense = block.items.dense
    if dense is None or len(dense.seeds) < 2:
        return float("nan")
    right_SN = dense.score[code] >= 1
    first, second = np.triu_indices(len(right_SN), 1)
    return float((right_SN[first] != right_SN[second]).mean())


def exemplars(blocks: Sequence[Block]) -> pd.DataFrame:
    """The identified items themselves: one row per split, method, level, language and item, with the modal answers.

    Columns label, dense, pruned (the most frequent answers over seeds), languages (in how many languages it is one).
    """
    rows = [row for block in blocks if len(block.seeds) > 1 for row in _exemplar_rows(block)]
    frame = pd.DataFrame(rows)
    if frame.empty:
        return frame
    frame["languages"] = frame.groupby(["split", "method", "sparsity", "id"])["language"].transform("count")
    return frame


def _exemplar_rows(block: Block) -> Iterator[dict[str, Any]]:
    items, dense = block.items, block.states[0]
    names = np.array(items.labels, dtype=object)
    for state in block.pruned():
        for code in state.answer:
            found = np.flatnonzero(atlas.identified(dense.answer[code], state.answer[code]))
            sides = [atlas.modal(side.answer[code]) for side in (dense, state)]
            for place in found:
                answers = {
                    "label": names[int(items.gold[code][place])],
                    "dense": names[sides[0][place]],
                    "pruned": names[sides[1][place]],
                }
                yield {**keys(block, state), "language": code, "id": items.ids[code][place], **answers}


# -- slices --------------------------------------------------------------------------------------------------------


def slices(blocks: Sequence[Block], texts: pd.DataFrame) -> pd.DataFrame:
    """Which kinds of items drop: one row per split, method, level, language, kind and slice (M§6.9).

    kind: length (tokens), fertility (tokens per word, per character where no spaces are written), each in thirds of
    equal mass within the language; label. Columns from, to (the values of a third), n, dense, pruned, drop (with _low,
    _high over seeds and items), broken, repaired (NaN where items are only better or worse).

    `metric` says what they are in: the share of right items where an item is right or wrong (the correlation of a slice
    by label would not exist), else the study's metric on the items of the slice.
    """
    return pd.DataFrame(
        [row for block in blocks for code in block.items.languages for row in _slice_rows(block, code, texts)]
    )


def _slice_rows(block: Block, code: str, texts: pd.DataFrame) -> Iterator[dict[str, Any]]:
    item = ITEM_SCORES[block.items.metric]
    metric = "accuracy" if item.correct else block.items.metric
    places = [(place, state) for place, state in enumerate(block.states) if state.method not in CONTROLS]
    kept = stacked(block.states, "score" if item.correct else "stats")[code]
    for kind, name, low, high, rows in _slices(block, code, texts):
        part = kept[:, :, rows, None] if item.correct else kept[:, :, rows]
        values_K = [float(metric_values(metric, stats).mean()) for stats in part]
        values_BK = crossed({code: part}, aligned=True, metric=metric)[code]
        for place, state in places:
            row = {
                **keys(block, state),
                "metric": metric,
                "language": code,
                "kind": kind,
                "slice": name,
                "from": low,
                "to": high,
                "n": len(rows),
            }
            row |= {"dense": values_K[0], "pruned": values_K[place]}
            row |= with_interval("drop", row["dense"] - row["pruned"], values_BK[:, 0] - values_BK[:, place])
            yield {**row, **_changed(block.states[0].score[code][:, rows], state.score[code][:, rows], item.whole)}


def _changed(dense_SN: Floats, pruned_SN: Floats, whole: bool) -> dict[str, float]:
    if not whole:
        return {"broken": float("nan"), "repaired": float("nan")}
    outcome = atlas.outcomes(dense_SN >= 1, pruned_SN >= 1)
    return {
        "broken": float((outcome == atlas.BROKEN).mean()),
        "repaired": float((outcome == atlas.REPAIRED).mean()),
    }


def _slices(block: Block, code: str, texts: pd.DataFrame) -> Iterator[tuple[str, str, float, float, NDArray[np.int64]]]:
    """(kind, name, least and largest value, rows) of every slice that has items."""
    items = block.items
    own = texts[(texts["split"] == items.split) & (texts["language"] == code)].drop_duplicates("id").set_index("id")
    own = own.reindex(items.ids[code])
    unit = "words" if text.spaced(code) else "characters"
    for kind, names, values in (("length", THIRDS, own["tokens"]), ("fertility", PIECES, own["tokens"] / own[unit])):
        value_N = values.to_numpy(dtype=np.float64)
        if not len(value_N) or not np.isfinite(value_N).all():
            continue
        bin_N = atlas.equal_mass(value_N, len(names))
        for place, name in enumerate(names):
            if len(rows := np.flatnonzero(bin_N == place)):
                yield kind, name, float(value_N[rows].min()), float(value_N[rows].max()), rows
    for label in np.unique(items.gold[code]) if code in items.gold else ():
        yield "label", items.labels[int(label)], np.nan, np.nan, np.flatnonzero(items.gold[code] == label)
