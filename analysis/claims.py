"""What the papers claim, tested on a study that has the arms for it: the claims board (M§7).

A claim is a row: a direction in words, the number that measures it (positive: the direction holds), the control that
isolates it and the views that show it. The number comes with a 95% interval; the verdict follows from the interval alone
and is never written by hand. Scores are resampled over items and seeds; what has one number per seed (separability,
recovery, weights) gets Student's t over the seeds, which is wide with three of them. Beside the verdict, which takes
one direction at a time, stands what remains after correcting for the number of directions (Holm over all tested ones).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis import inference, recovery, separability, similarity, tables, theme
from analysis.items import Items, State
from engine import record
from engine.registry import Registry

Floats = NDArray[np.float64]
Interval = tuple[float, float, float]


class Student(NamedTuple):
    """An interval by Student's t, with its degrees of freedom: far fewer than a bootstrap's, so that the tails are fat."""

    effect: float
    low: float
    high: float
    degrees: int


VERDICTS = ("holds", "does not hold", "undecided")
SPLITS, COMPETITIVE, CERTAIN = 200, 0.02, 0.05
NEAR = 0.03  # a size reaches the sparsity that it is compared at within 2 points


@dataclass(frozen=True)
class Evidence:
    """A claims study as the rows read it: items, states and tables, each read once."""

    store: Path
    study: str
    seed: int = 0

    @cached_property
    def items(self) -> Items:
        """Per-item scores, of the items that every language has."""
        return tables.items(self.store, self.study).common()

    @cached_property
    def weights(self) -> pd.DataFrame:
        """One row per method, seed, level and matrix."""
        return tables.weights(self.store, self.study)

    @cached_property
    def recoveries(self) -> pd.DataFrame:
        """One row per cycle."""
        return recovery.recovery(tables.recovery_lines(self.store, self.study))

    @cached_property
    def states(self) -> pd.DataFrame:
        """Separability, signal-to-noise ratio and retrieval of every state, last layer, mean over languages."""
        rows = []
        for run, config in tables.readable(self.store, self.study):
            for level, facts in tables.finished(run, config):
                rows.append({**facts, **_state_measures(level, config)})
        return pd.DataFrame(rows)

    @cached_property
    def probing(self) -> pd.DataFrame:
        """Linear probes on other tasks and the masked-token loss, one row per state, task and language (M§6.10)."""
        return tables.probing(self.store, self.study)

    def state(self, method: str, level: float) -> State:
        """A method's state at a level; where levels are outcomes (sizes), the nearest within `NEAR`."""
        return self.items.states[
            method, _nearest(method, level, [at for name, at in self.items.states if name == method])
        ]

    # -- numbers ---------------------------------------------------------------------------------------------------

    def languages(self, which: str) -> tuple[str, ...]:
        """Codes of the source languages or of the zero-shot ones."""
        return self.items.sources if which == "source" else self.items.zero_shot

    def mean_score(self, state: State, which: str = "zero-shot") -> Floats:
        """Scores averaged over languages, seeds × items."""
        return np.mean([state.score[code] for code in self.languages(which)], axis=0)

    def gap(self, a: tuple[str, float], b: tuple[str, float], which: str = "zero-shot") -> Interval:
        """Mean score of state a less that of b, on the seeds that both have."""
        first, second = _on_common_seeds([self.state(*a), self.state(*b)])
        return inference.paired_bootstrap(self.mean_score(first, which), self.mean_score(second, which), self.seed)

    def gap_growth(self, a: str, b: str, high: float, low: float) -> Interval:
        """How much larger the gap a − b is at the higher level."""
        states = _on_common_seeds([self.state(method, level) for level in (high, low) for method in (a, b)])
        a_high, b_high, a_low, b_low = (self.mean_score(state) for state in states)
        return inference.paired_bootstrap(a_high - b_high, a_low - b_low, self.seed)

    def per_seed(self, frame: pd.DataFrame, column: str, a: tuple[str, float], b: tuple[str, float]) -> Student:
        """Mean over seeds of a − b with Student's interval, of a column averaged within each seed."""
        values = []
        for method, level in (a, b):
            rows = frame[frame["method"] == method]
            if method == "dense_continued":
                rows = rows[rows["step"] == 1]
            else:
                rows = rows[rows["sparsity"] == _nearest(method, level, rows["sparsity"].tolist())]
            values.append(rows.groupby("seed")[column].mean())
        return student(np.asarray((values[0] - values[1]).dropna(), dtype=float))


def _nearest(method: str, level: float, levels: Sequence[float]) -> float:
    """The level that a claim means; a method that has none there has not been tested, whatever its other levels say."""
    near = [at for at in levels if abs(at - level) <= NEAR]
    if not near:
        raise KeyError(f"{method}: has no finished level near {level:g}")
    return min(near, key=lambda at: abs(at - level))


def _on_common_seeds(states: Sequence[State]) -> list[State]:
    """The states on the seeds that all of them have, in one order: differences pair seed with seed."""
    seeds = [seed for seed in states[0].seeds if all(seed in state.seeds for state in states)]
    if not seeds:
        raise KeyError(f"{', '.join(dict.fromkeys(state.method for state in states))}: have no seed in common")
    return [state.on(seeds) for state in states]


def student(values: Floats) -> Student:
    """Mean with its 95% interval by Student's t; the limits are infinite with fewer than two values."""
    degrees = len(values) - 1
    if degrees < 0:
        return Student(float("nan"), float("nan"), float("nan"), 0)
    if degrees == 0:
        return Student(float(values[0]), -np.inf, np.inf, 0)
    half = float(stats.t.ppf(0.975, degrees)) * float(np.std(values, ddof=1)) / np.sqrt(len(values))
    return Student(float(np.mean(values)), float(np.mean(values)) - half, float(np.mean(values)) + half, degrees)


def interval_p(found: Interval | Student) -> float:
    """The two-sided p value that a 95% interval implies (Altman & Bland 2011, BMJ 343:d2304).

    `2·P(T > t₉₇₅·|effect| / half)` with the half of the interval that faces 0, so that p < .05 exactly where the interval
    excludes 0; T is normal, or Student's t with the interval's degrees of freedom. A bootstrap's own p value ends at two
    over its resamples, too coarse to be corrected for thirty directions.
    """
    effect, low, high = found[:3]
    half = effect - low if effect > 0 else high - effect
    if not np.isfinite(half):
        return 1.0
    if half <= 0:
        return 1.0 if effect == 0 else 0.0
    shape = stats.t(found.degrees) if isinstance(found, Student) else stats.norm
    return float(2 * shape.sf(shape.ppf(0.975) * abs(effect) / half))


def _state_measures(level: record.Level, config: Mapping[str, Any]) -> dict[str, float]:
    """R², class SNR and retrieval accuracy of the last layer's mean states, averaged over languages."""
    probe = tables.probe(level)
    found: dict[str, list[float]] = {"r_squared": [], "class_snr": [], "retrieval": []}
    source = config["sources"][0]
    anchors = tables.activations(level, source, "mean", layers=[-1 + _depth(level, source)])[:, 0]
    ids = probe.loc[probe["language"] == source, "id"].to_numpy()
    for code in dict.fromkeys(probe["language"]):
        rows = probe[probe["language"] == code]
        x = tables.activations(level, code, "mean", layers=[_depth(level, code) - 1])[:, 0].astype(np.float64)
        counts = rows["label"].value_counts()
        kept = rows["label"].isin(counts[counts >= 5].index).to_numpy()
        if rows.loc[kept, "label"].nunique() > 1:
            found["r_squared"].append(separability.r_squared(x[kept], rows["label"].to_numpy()[kept]))
            found["class_snr"].append(separability.class_snr(x[kept], rows["label"].to_numpy()[kept]))
        if code != source and config["parallel"] and len(ids) == len(rows) and (ids == rows["id"].to_numpy()).all():
            found["retrieval"].append(similarity.retrieval(anchors, x))
            found[f"retrieval/{code}"] = [found["retrieval"][-1]]
    return {name: float(np.mean(values)) if values else np.nan for name, values in found.items()}


def _depth(level: record.Level, code: str) -> int:
    return int(level.arrays("activations", [f"{code}/mean"])[f"{code}/mean"].shape[1])


# -- the claims ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Test:
    """How a claim is measured: `run(evidence)` gives (effect, low, high); where to look at it: `arm` beside `other`, `level`."""

    run: Callable[[Evidence], Interval | Student]
    arm: str
    level: float
    other: str = ""


@dataclass(frozen=True)
class Claim:
    """One row of the board. A positive effect means that the direction holds; `view` is the page that shows it."""

    name: str
    paper: str
    what: str
    control: str
    unit: str
    test: Test
    view: str
    section: str = "M§7"

    @property
    def title(self) -> str:
        """The direction, as the tables of methods call it."""
        return self.what

    @property
    def source(self) -> str:
        """The paper."""
        return self.paper


def _pruned(evidence: Evidence) -> tuple[State, State]:
    """(dense, magnitude at 90%) on the seeds that both have."""
    state, dense = evidence.state("magnitude", 0.9), evidence.items.dense
    if dense is None:
        raise KeyError("dense: has no finished run")
    first, second = _on_common_seeds([dense, state])
    return first, second


def _extra_drop(evidence: Evidence) -> Interval:
    dense, state = _pruned(evidence)
    others, source = (
        evidence.mean_score(dense, which) - evidence.mean_score(state, which) for which in ("zero-shot", "source")
    )
    return inference.paired_bootstrap(others, source, evidence.seed)


def _language_spread(evidence: Evidence) -> Interval:
    """Standard deviation of the languages' drops less what shuffling the drops among languages gives (M§6.1)."""
    dense, state = _pruned(evidence)
    drops = [(dense.score[code] - state.score[code]).mean(0) for code in evidence.items.zero_shot]
    shuffled_PG = inference.shuffled_drops(drops, evidence.seed, parallel=evidence.items.aligned)
    seen = float(np.std([drop.mean() for drop in drops]))
    chance = np.std(shuffled_PG, axis=1)
    low, high = np.quantile(seen - chance, [CERTAIN / 2, 1 - CERTAIN / 2])
    return seen - float(chance.mean()), float(low), float(high)


def _drop_and_alignment(evidence: Evidence) -> Interval:
    """Spearman over zero-shot languages of the drop with the loss of retrieval; interval by Fisher's transform.

    Its standard error is `√(1.06/(G−3))` (Fieller et al. 1957): up to three languages say nothing.
    """
    dense, state = _pruned(evidence)
    codes = evidence.items.zero_shot
    drops = [float((dense.score[code] - state.score[code]).mean()) for code in codes]
    rows = evidence.states
    before = rows[rows["method"] == "dense"]
    after = rows[(rows["method"] == "magnitude") & np.isclose(rows["sparsity"], 0.9)]
    losses = [float(before[f"retrieval/{code}"].mean() - after[f"retrieval/{code}"].mean()) for code in codes]
    rho = float(stats.spearmanr(drops, losses).statistic)
    if len(codes) <= 3:
        return rho, -1.0, 1.0
    half = 1.96 * np.sqrt(1.06 / (len(codes) - 3))
    centre = np.arctanh(np.clip(rho, -0.999999, 0.999999))
    return rho, float(np.tanh(centre - half)), float(np.tanh(centre + half))


def _ranking_changes(evidence: Evidence) -> Interval:
    """How much less the criteria's order on a language agrees with that on the source than each agrees with itself.

    All agreements are Kendall's τ between one half of the items and the other. A language whose scores are noisier has
    a lower τ with everything, so the cross agreement is held against the mean of the source's own and the language's own.
    """
    criteria = [name for name in ("magnitude", "lamp", "wanda", "fisher", "random") if _has(evidence, name)]
    states = _on_common_seeds([evidence.state(name, 0.9) for name in criteria])
    source_MSN = np.stack([evidence.mean_score(state, "source") for state in states])
    others = [np.stack([state.score[code] for state in states]) for code in evidence.items.zero_shot]
    return ranking_gap(source_MSN, others, evidence.seed)


def ranking_gap(source_MSN: Floats, others: Sequence[Floats], seed: int) -> Interval:
    """`mean_l[(τ(src₁,src₂) + τ(l₁,l₂))/2 − τ(src₁,l₂)]` over random halves of the items: (mean, low, high).

    Arrays: methods × seeds × items, the same items in all. Seeds are drawn with replacement, and items within each half,
    after the halves are made: an item that stood in both would make a language agree with itself for that reason alone.
    """
    rng = inference.generator(seed)
    seeds, items = source_MSN.shape[1:]
    gaps = []
    for _ in range(SPLITS):
        drawn = rng.integers(seeds, size=seeds)
        halves = [rng.choice(half, len(half)) for half in np.array_split(rng.permutation(items), 2)]
        (first, second), *rest = (
            [scores[:, drawn][:, :, half].mean((1, 2)) for half in halves] for scores in (source_MSN, *others)
        )
        same = _tau(first, second)
        gaps.append(np.mean([(same + _tau(one, two)) / 2 - _tau(first, two) for one, two in rest]))
    low, high = np.nanquantile(gaps, [0.025, 0.975])
    return float(np.nanmean(gaps)), float(low), float(high)


def _tau(a: Floats, b: Floats) -> float:
    return float(stats.kendalltau(a, b).statistic)


def _has(evidence: Evidence, method: str) -> bool:
    return any(name == method for name, _ in evidence.items.states)


def _gap(a: str, b: str, level: float, which: str = "zero-shot") -> Test:
    return Test(lambda evidence: evidence.gap((a, level), (b, level), which), a, level, b)


def _growth(a: str, b: str, high: float, low: float) -> Test:
    return Test(lambda evidence: evidence.gap_growth(a, b, high, low), a, high, b)


def _seeds(table: str, column: str, a: str, b: str, level: float, sign: int = 1) -> Test:
    def run(evidence: Evidence) -> Student:
        return _signed(evidence.per_seed(getattr(evidence, table), column, (a, level), (b, level)), sign)

    return Test(run, a, level, b)


def _competitive(a: str, b: str, level: float, other: float) -> Test:
    def run(evidence: Evidence) -> Interval:
        mean, low, high = evidence.gap((a, level), (b, other))
        return mean + COMPETITIVE, low + COMPETITIVE, high + COMPETITIVE

    return Test(run, a, level, b)


def _probing(kind: str, a: str, b: str, level: float, sign: int = 1) -> Test:
    def run(evidence: Evidence) -> Student:
        rows = evidence.probing
        if not len(rows):
            raise KeyError("the study has no probing results")
        return _signed(evidence.per_seed(rows[rows["kind"] == kind], "value", (a, level), (b, level)), sign)

    return Test(run, a, level, b)


def _signed(found: Student, sign: int) -> Student:
    return found if sign > 0 else Student(-found.effect, -found.high, -found.low, found.degrees)


ALIGNREG = "AlignReg (O'Neill, Dutta & Assem 2022)"
SDP = "SDP (O'Neill, Dutta & Assem 2021)"
PINS = "PINS (Ren & Zhu 2023)"
CAP = "CAP (Xu et al. 2022)"
POINTS, TAU = "points", "correlation"


CLAIMS: Registry[Claim] = Registry(
    "claim",
    (
        Claim("zero-shot-drops-more", ALIGNREG, "Magnitude pruning costs zero-shot languages more than the source language (90%).",
             "the same items in the source language", POINTS, Test(_extra_drop, "magnitude", 0.9), "degradation"),
        Claim("languages-differ", ALIGNREG, "What magnitude pruning costs differs by language (90%).",
             "each item's drops shuffled among the languages", POINTS, Test(_language_spread, "magnitude", 0.9), "degradation"),
        Claim("drop-follows-alignment", ALIGNREG, "Languages that drop more have lost more cross-lingual alignment (magnitude, 90%).",
             "languages as the units", TAU, Test(_drop_and_alignment, "magnitude", 0.9), "alignment"),
        Claim("ranking-changes", ALIGNREG, "The order of criteria changes between the source and the zero-shot languages (90%).",
             "two halves of the items in one language", TAU, Test(_ranking_changes, "magnitude", 0.9), "degradation"),
        Claim("cosine-zero-shot", ALIGNREG, "AlignReg (cosine) keeps more zero-shot accuracy than plain magnitude (90%).",
             "plain magnitude", POINTS, _gap("alignreg_cosine", "magnitude", 0.9), "degradation"),
        Claim("cosine-source", ALIGNREG, "AlignReg (cosine) keeps more source accuracy than plain magnitude (90%).",
             "plain magnitude", POINTS, _gap("alignreg_cosine", "magnitude", 0.9, "source"), "degradation"),
        Claim("frobenius-zero-shot", ALIGNREG, "AlignReg (Frobenius) keeps more zero-shot accuracy than plain magnitude (90%).",
             "plain magnitude", POINTS, _gap("alignreg_frobenius", "magnitude", 0.9), "degradation"),
        Claim("frobenius-source", ALIGNREG, "AlignReg (Frobenius) keeps more source accuracy than plain magnitude (90%).",
             "plain magnitude", POINTS, _gap("alignreg_frobenius", "magnitude", 0.9, "source"), "degradation"),
        Claim("cosine-not-just-l2", ALIGNREG, "AlignReg (cosine) keeps more zero-shot accuracy than a pull without alignment (90%).",
             "L2-SP", POINTS, _gap("alignreg_cosine", "l2_sp", 0.9), "degradation"),
        Claim("cosine-unit-alignment", ALIGNREG, "AlignReg (cosine) keeps the units better aligned with the dense ones (90%).",
             "plain magnitude", "cosine", _seeds("weights", "unit_cosine_mean", "alignreg_cosine", "magnitude", 0.9), "weights"),
        Claim("cosine-retrieval", ALIGNREG, "AlignReg (cosine) loses less cross-lingual alignment (90%).",
             "plain magnitude", POINTS, _seeds("states", "retrieval", "alignreg_cosine", "magnitude", 0.9), "alignment"),
        Claim("cc-over-kld", SDP, "SDP-CC keeps more zero-shot accuracy than SDP-KLD at high sparsity (95%).",
             "SDP-KLD", POINTS, _gap("sdp_cc", "sdp_kld", 0.95), "degradation"),
        Claim("kld-over-magnitude", SDP, "SDP-KLD keeps more zero-shot accuracy than plain magnitude at high sparsity (95%).",
             "plain magnitude", POINTS, _gap("sdp_kld", "magnitude", 0.95), "degradation"),
        Claim("cc-over-magnitude", SDP, "SDP-CC keeps more zero-shot accuracy than plain magnitude at high sparsity (95%).",
             "plain magnitude", POINTS, _gap("sdp_cc", "magnitude", 0.95), "degradation"),
        Claim("cc-separability", SDP, "SDP-CC separates the classes better than plain magnitude (90%).",
             "plain magnitude, same level", "R²", _seeds("states", "r_squared", "sdp_cc", "magnitude", 0.9), "separability"),
        Claim("cc-snr", SDP, "SDP-CC has a higher signal-to-noise ratio than plain magnitude (90%).",
             "plain magnitude, same level", "ratio", _seeds("states", "class_snr", "sdp_cc", "magnitude", 0.9), "separability"),
        Claim("cc-recovery", SDP, "SDP-CC needs fewer updates to recover after a pruning step (90%).",
             "plain magnitude, same level", "updates", _seeds("recoveries", "updates_to_recover", "sdp_cc", "magnitude", 0.9, -1), "diagnose"),
        Claim("cc-survivors-sparser", SDP, "SDP-CC's surviving weights are sparser (90%).",
             "plain magnitude, same level", "Hoyer", _seeds("weights", "hoyer", "sdp_cc", "magnitude", 0.9), "weights"),
        Claim("cc-favours-sparse", SDP, "The objective alone, without a mask, favours sparser weights.",
             "the dense model trained on", "Hoyer", _seeds("weights", "hoyer", "sdp_cc-unpruned", "dense_continued", 0.0), "weights"),
        Claim("cc-over-small", SDP, "SDP-CC at 90% beats a small model with as many weights.",
             "a small model of 10%", POINTS, _gap("sdp_cc", "small", 0.9), "compare"),
        Claim("cc-against-six-times", SDP, "SDP-CC at 90% is at most 2 points below a distilled model of six times its weights.",
             "a distilled model of 60%, less 2 points", POINTS, _competitive("sdp_cc", "distill", 0.9, 0.4), "compare"),
        Claim("pins-over-platon", PINS, "PINS beats PLATON, both without self-regularisation (90%).",
             "PLATON", POINTS, _gap("pins-alone", "platon", 0.9), "degradation"),
        Claim("pins-over-movement", PINS, "PINS beats movement, both without self-regularisation (90%).",
             "movement", POINTS, _gap("pins-alone", "movement", 0.9), "degradation"),
        Claim("pins-self-over-platon-self", PINS, "PINS beats PLATON, both with self-regularisation (90%).",
             "PLATON with self-regularisation", POINTS, _gap("pins", "platon-self", 0.9), "degradation"),
        Claim("pins-self-over-movement-self", PINS, "PINS beats movement, both with self-regularisation (90%).",
             "movement with self-regularisation", POINTS, _gap("pins", "movement-self", 0.9), "degradation"),
        Claim("self-helps", PINS, "Self-regularisation helps PINS (95%).",
             "PINS without it", POINTS, _gap("pins", "pins-alone", 0.95), "degradation"),
        Claim("self-helps-most-when-sparse", PINS, "Self-regularisation helps more at 95% than at 80%.",
             "the gain at 80%", POINTS, _growth("pins", "pins-alone", 0.95, 0.8), "degradation"),
        Claim("cap-over-distillation", CAP, "Contrast helps magnitude pruning beyond distillation (95%).",
             "the same with the contrastive weights at 0", POINTS, _gap("cap-magnitude", "cap-magnitude-off", 0.95), "degradation"),
        Claim("cap-most-when-sparse", CAP, "Contrast helps more at 95% than at 80%.",
             "the gain at 80%", POINTS, _growth("cap-magnitude", "cap-magnitude-off", 0.95, 0.8), "degradation"),
        Claim("cap-structured", CAP, "Contrast helps structured pruning beyond distillation (90% of heads and neurons).",
             "the same with the contrastive weights at 0", POINTS, _gap("cap_f", "cap_f-off", 0.9), "degradation"),
        Claim("cap-probing", CAP, "CAP's features serve another task better under a linear probe (95%).",
             "the same with the contrastive weights at 0", POINTS, _probing("probe", "cap-magnitude", "cap-magnitude-off", 0.95), "diagnose"),
        Claim("cap-forgets-less", CAP, "CAP forgets less of the pretraining: lower masked-token loss (95%).",
             "the same with the contrastive weights at 0", "nats", _probing("masked_token_loss", "cap-magnitude", "cap-magnitude-off", 0.95, -1), "diagnose"),
    ),
)  # fmt: skip

TOY = (
    "The bundled encoder was aligned across languages explicitly, which pretrained encoders were not, it has 3 million parameters, and an arm has "
    "a few dozen updates a level: a direction that does not show here may show on a large model, and the other way round."
)


def verdict(low: float, high: float) -> str:
    """What a 95% interval says about a direction (M§7)."""
    if low > 0:
        return "holds"
    return "does not hold" if high < 0 else "undecided"


def board(store: Path, study: str, names: Sequence[str] | None = None) -> dict[str, Any]:
    """The outcome of every claim on a finished study: what `engine/demo/claims.json` holds.

    A claim whose arms are missing has no numbers and says what is missing.
    """
    evidence = Evidence(store, study)
    configs = [config for _, config in tables.readable(store, study)]
    rows = [_outcome(CLAIMS[name], evidence) for name in names or CLAIMS]
    return {
        "study": study,
        "seeds": sorted({int(config["seed"]) for config in configs}),
        "digest": record.digest(sorted(config["digest"] for config in configs)),
        "model_digest": configs[0].get("model_digest"),
        "languages": list(evidence.items.languages),
        "items": len(next(iter(evidence.items.ids.values()))),
        "toy": TOY,
        "rows": corrected(rows),
    }


def _outcome(claim: Claim, evidence: Evidence) -> dict[str, Any]:
    row: dict[str, Any] = {field.name: getattr(claim, field.name) for field in fields(claim) if field.name != "test"}
    row |= {"arm": claim.test.arm, "other": claim.test.other, "level": claim.test.level}
    row |= dict.fromkeys(("effect", "low", "high", "p", "p_holm"))
    try:
        found = claim.test.run(evidence)
        effect, low, high = found[:3]
    except (KeyError, IndexError, ValueError) as error:
        return {**row, "verdict": "not tested", "text": str(error).strip("'")}
    if np.isnan([effect, low, high]).any():
        return {**row, "verdict": "not tested", "text": "no number came out"}
    row |= {"effect": effect, "low": low, "high": high, "p": interval_p(found), "verdict": verdict(low, high)}
    shown = [number(value, claim.unit) for value in (effect, low, high)]
    return {**row, "text": f"{shown[0]} ({shown[1]} to {shown[2]}) {claim.unit}"}


def corrected(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with `p_holm`: Holm's adjusted p over all directions that were tested, None for the others (M§6.1)."""
    tested = [row["p"] for row in rows if row["p"] is not None]
    adjusted = iter(inference.holm(tested).tolist() if tested else [])
    return [{**row, "p_holm": None if row["p"] is None else next(adjusted)} for row in rows]


def markdown(outcome: Mapping[str, Any]) -> str:
    """The board as a Markdown table, for LAB.md."""
    lines = ["| paper | direction | effect (95%) | control | verdict | Holm p |", "|---|---|---|---|---|---|"]
    for row in outcome["rows"]:
        paper = row["paper"].split(" (")[0]
        lines.append(
            f"| {paper} | {row['what']} | {row['text']} | {row['control']} | {row['verdict']} | {_adjusted(row)} |"
        )
    return "\n".join(lines)


def _adjusted(row: Mapping[str, Any]) -> str:
    return "–" if row["p_holm"] is None else theme.p_value(row["p_holm"])


def number(value: float, unit: str) -> str:
    """A number in its unit, signed; points are hundredths of an accuracy."""
    if not np.isfinite(value):
        return "∞" if value > 0 else "−∞"
    text = f"{100 * value:+.1f}" if unit == POINTS else f"{value:+.3g}"
    return text.replace("-", "−")
