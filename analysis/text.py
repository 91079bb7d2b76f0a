"""What the tokenizer does to each language, and whether the drop goes with it (M§6.9).

A language that the vocabulary knows badly is cut into more pieces, is truncated earlier and has more unknown pieces.
That goes along with how much pretraining text it had, and with much else: a correlation here is no cause, and it is
taken over a dozen languages, so its interval is wide and always shown.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from analysis.inference import RESAMPLES, generator
from engine.metrics import finite
from engine.registry import Metric
from engine.tasks.languages import resolve

Floats = NDArray[np.float64]

# Scripts that set no space between words: their words cannot be counted by spaces, so pieces per character are given.
UNSPACED = frozenset({"Han", "Japanese", "Thai", "Lao", "Khmer", "Burmese", "Tibetan"})
LEAST = 4  # languages that a rank correlation needs here


def spaced(code: str) -> bool:
    """Whether this language writes spaces between words."""
    return resolve(code).script not in UNSPACED


def fertility(tokens: ArrayLike, units: ArrayLike) -> float:
    """Tokens per unit, `Σ tokens / Σ units`: units are words, or characters where no spaces are written (M§6.9).

    The ratio of sums, so that a long text counts by its length. `tokens` are what the model reads, its special
    tokens included. NaN where there is no unit at all.
    """
    tokens_N, units_N = finite("tokens", tokens, 1), finite("units", units, 1)
    if len(tokens_N) != len(units_N):
        raise ValueError(f"tokens, units: must be of the same texts; got {len(tokens_N)} and {len(units_N)}")
    if tokens_N.min() < 0 or units_N.min() < 0:
        raise ValueError(f"tokens, units: must not be negative; got {tokens_N.min():g} and {units_N.min():g}")
    total = float(units_N.sum())
    return float(tokens_N.sum()) / total if total else float("nan")


COLUMNS = ("language", "split", "n", "unit", "fertility", "tokens_per_character", "tokens", "truncated", "unknown")


def tokenizer(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per language and split of `analysis.tables.text`: columns `COLUMNS`.

    `unit` says what `fertility` counts by: word or character. `tokens_per_character` exists for every language, so
    it is what a comparison over all languages takes. `tokens`: mean per text; `truncated`: share of texts that were
    cut; `unknown`: share of the tokens that are unknown.
    """
    rows = [
        _row(str(code), str(split), group) for (split, code), group in frame.groupby(["split", "language"], sort=False)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(code: str, split: str, group: pd.DataFrame) -> dict[str, object]:
    unit = "words" if spaced(code) else "characters"
    tokens = float(group["tokens"].sum())
    return {
        "language": code,
        "split": split,
        "n": len(group),
        "unit": unit.removesuffix("s"),
        "fertility": fertility(group["tokens"], group[unit]),
        "tokens_per_character": fertility(group["tokens"], group["characters"]),
        "tokens": tokens / len(group),
        "truncated": float(group["truncated"].mean()),
        "unknown": float(group["unknown"].sum()) / tokens if tokens else float("nan"),
    }


def rank_correlation(x: ArrayLike, y: ArrayLike, seed: int, resamples: int = RESAMPLES) -> tuple[float, float, float]:
    """Spearman correlation over languages with its 95% percentile bootstrap: (ρ, low, high) (M§6.9).

    Languages are resampled, since they are what the claim is about. Needs 4 of them; NaN where a side is constant.
    Resamples in which a side is constant say nothing and are left out.
    """
    x_G, y_G = finite("x", x, 1), finite("y", y, 1)
    if len(x_G) != len(y_G) or len(x_G) < LEAST:
        raise ValueError(f"x, y: must be of the same {LEAST} or more languages; got {len(x_G)} and {len(y_G)}")
    drawn_BG = generator(seed).integers(len(x_G), size=(resamples, len(x_G)))
    values_B = spearman(x_G[drawn_BG], y_G[drawn_BG])
    kept_B = values_B[~np.isnan(values_B)]
    value = float(spearman(x_G[None], y_G[None])[0])
    if np.isnan(value) or not kept_B.size:
        return value, float("nan"), float("nan")
    low, high = np.quantile(kept_B, [0.025, 0.975])
    return value, float(low), float(high)


def spearman(x_BG: Floats, y_BG: Floats) -> Floats:
    """Spearman's ρ of every row of two stacks; NaN where a side is constant."""
    x_BG, y_BG = (rankdata(values, axis=1) for values in (x_BG, y_BG))
    x_BG, y_BG = (values - values.mean(1, keepdims=True) for values in (x_BG, y_BG))
    own_B = np.sqrt((x_BG**2).sum(1) * (y_BG**2).sum(1))
    return np.asarray(np.divide((x_BG * y_BG).sum(1), own_B, out=np.full(len(own_B), np.nan), where=own_B > 0))


# fmt: off
ROWS: tuple[Metric, ...] = (
    Metric("fertility", "Fertility", "Tokens per word, or per character in languages that write no spaces.", "M§6.9",
           "Rust et al. 2021, arXiv 2012.15613", "tokens", "neither", 0.0, None, r"\frac{\sum_i \mathrm{tokens}_i}{\sum_i \mathrm{words}_i}",
           "Diagnose"),
    Metric("tokens_per_character", "Tokens per character", "Tokens per character: comparable over all languages of one script.",
           "M§6.9", "standard", "tokens", "neither", 0.0, None, r"\frac{\sum_i \mathrm{tokens}_i}{\sum_i \mathrm{characters}_i}", "Diagnose"),
    Metric("truncated", "Truncated", "The share of texts that are longer than the model may read.", "M§6.9", "standard", "fraction",
           "lower", 0.0, 1.0, r"\frac1N\sum_i[\mathrm{tokens}_i > \mathrm{limit}]", "Diagnose"),
    Metric("unknown", "Unknown tokens", "The share of tokens that the vocabulary does not have.", "M§6.9", "standard", "fraction",
           "lower", 0.0, 1.0, r"\frac{\sum_i \mathrm{unknown}_i}{\sum_i \mathrm{tokens}_i}", "Diagnose"),
    Metric("rank_correlation", "Rank correlation with the drop", "Whether languages that rank high here also drop more; not a cause.",
           "M§6.9", "Spearman 1904", "correlation", "neither", -1.0, 1.0, r"\mathrm{spearman}(f_l, \Delta_l)", "Diagnose"),
)
# fmt: on
