"""Is a state worse than another in the study's metric, item by item (M§6.1): the one test of drops and of pairs.

Of accuracy, the share of right items, McNemar's exact test of the changed items. Of every other metric (any F1, BLEU, a
correlation, graded answers), which may fall while as many items are right as before, a sign-flip test of what every item adds to the metric (`State.influence`): its
power falls where an exact test's would, its p has no floor that Holm's correction over hundreds of cells would turn
into 1, and unlike swapping the two models' answers it does not ask that their outputs be on one scale.
"""

from __future__ import annotations

from collections.abc import Sequence

from analysis import inference
from analysis.items import State
from engine.metrics import ITEM_SCORES

SEED = 0


def tests(first: State, second: State, code: str) -> dict[str, float]:
    """p of first against second in a language, over their seeds (`2·median`), and what these items could show.

    discordant: share of items that one answers rightly and the other wrongly, NaN where an item is neither.
    minimum_detectable: the smallest difference that these items show with 80% power.
    """
    parts_SN = first.influence[code] - second.influence[code]
    square = float((parts_SN**2).mean())  # of items that are right or wrong: the share of discordant ones
    row = {"discordant": float("nan"), "minimum_detectable": inference.detectable(parts_SN.shape[1], square)}
    item, (a_SN, b_SN) = ITEM_SCORES[first.metric], (first.score[code], second.score[code])
    if item.correct:
        row["discordant"] = float((a_SN != b_SN).mean())
    if item.exact:
        p_S = [inference.mcnemar(a_N, b_N) for a_N, b_N in zip(a_SN, b_SN, strict=True)]
    else:
        p_S = inference.sign_flips(parts_SN, SEED).tolist()
    return {"p": _over_seeds(p_S), **row}


def _over_seeds(p_S: Sequence[float]) -> float:
    return float(p_S[0]) if len(p_S) == 1 else inference.median_p(p_S)
