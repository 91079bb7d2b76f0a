"""Batches of pretraining: which rows, in which languages, joined, hidden and padded how.

Which languages make a pair is drawn by resource level, so that rich languages are seen far more often.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.demo.matching import Trials
from engine.demo.recipe import Recipe

if TYPE_CHECKING:
    from torch import Tensor

BEGIN, PAD, END = 0, 1, 2
IGNORE = -100


@dataclass(frozen=True, slots=True)
class Corpus:
    """Parallel text as token ids without begin and end.

    `cased` and `lower` are language → sentences, row by row the same meaning; `splits` holds for every token id the
    pairs of tokens that spell the same; `trials` are of the matching loss.
    """

    cased: Mapping[str, Sequence[list[int]]]
    lower: Mapping[str, Sequence[list[int]]]
    splits: Sequence[Sequence[tuple[int, int]]]
    trials: Trials

    def sentence(self, code: str, row: int, recipe: Recipe, rng: np.random.Generator) -> list[int]:
        """One sentence, begun small or not, some tokens taken apart, at random."""
        text = (self.lower if rng.random() < recipe.lower_rate else self.cased)[code][row]
        chosen = rng.random(len(text)) < recipe.split_rate
        parts = [
            self.splits[token][int(rng.integers(len(self.splits[token])))] if cut and self.splits[token] else (token,)
            for token, cut in zip(text, chosen, strict=True)
        ]
        return [token for part in parts for token in part]


@dataclass(frozen=True, slots=True)
class Batch:
    """Token ids and attention masks.

    `sides` holds the left sentences and the right ones, sorted by length and cut in halves, so that little is padded;
    `places` says where the left ones, then the right ones, stand in that order. `joined` holds the pairs. `trials`
    holds joined pairs, sorted and halved likewise, and `matches` for each half whether a pair matches (1 or 0).
    """

    sides: tuple[Tensor, ...]
    places: Tensor
    joined: Tensor
    labels: Tensor
    trials: tuple[Tensor, ...]
    matches: tuple[Tensor, ...]


def batches(corpus: Corpus, shares: Mapping[str, float], recipe: Recipe) -> Iterator[Batch]:
    """Yield `recipe.steps` batches of distinct rows, each in two different languages drawn by their shares."""
    rng = np.random.default_rng(recipe.seed)
    codes = list(corpus.cased)
    weights = np.array([shares[code] for code in codes])
    order: list[int] = []
    for _ in range(recipe.steps):
        if len(order) < recipe.batch:
            order = rng.permutation(len(corpus.cased[codes[0]])).tolist()
        chosen, order = order[: recipe.batch], order[recipe.batch :]
        languages = draw_languages(weights, recipe.batch, rng)
        left, right = (
            [corpus.sentence(codes[at], row, recipe, rng) for at, row in zip(side, chosen, strict=True)]
            for side in languages.T
        )
        joined, matches = draw_trials(corpus, weights, recipe, rng)
        yield _batch(left, right, joined, matches, recipe, len(corpus.splits), rng)


def draw_trials(
    corpus: Corpus, weights: np.ndarray, recipe: Recipe, rng: np.random.Generator
) -> tuple[list[list[int]], list[int]]:
    """Draw `recipe.matching_batch` trials: joined pairs, a match and a near miss in turn, and 1 or 0 for each.

    The match and the near miss share the first sentence and both languages, so that neither alone gives them away.
    """
    codes = list(corpus.cased)
    joined: list[list[int]] = []
    for one, other in draw_languages(weights, recipe.matching_batch, rng):
        stated = rng.random() < recipe.stated and corpus.trials.statements
        second = one if rng.random() < recipe.alone else other
        kind = corpus.trials.statements if stated else corpus.trials.translations
        trial = kind[rng.integers(len(kind))]
        first = corpus.sentence(codes[one], trial.first, recipe, rng)
        misses = trial.wrong[rng.integers(len(trial.wrong))]
        for row in (trial.right, misses[rng.integers(len(misses))]):
            joined.append(join(first, corpus.sentence(codes[second], row, recipe, rng)))
    return joined, [1, 0] * recipe.matching_batch


def join(first: list[int], second: list[int]) -> list[int]:
    """A pair as XLM-R reads it."""
    return [BEGIN, *first, END, END, *second, END]


def draw_languages(weights: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `count` pairs of different languages, one after the other by weight (Gumbel top two): count × 2."""
    keys = np.log(weights) + rng.gumbel(size=(count, len(weights)))
    return np.argsort(-keys, axis=1)[:, :2]


def _batch(
    left: list[list[int]],
    right: list[list[int]],
    trials: list[list[int]],
    matches: list[int],
    recipe: Recipe,
    vocabulary: int,
    rng: np.random.Generator,
) -> Batch:
    import torch

    sequences = [[BEGIN, *ids, END] for ids in (*left, *right)]
    order, halves = _halved(sequences, recipe)
    noisy = [np.where(_inner(ids) & (rng.random(ids.shape) < recipe.drop_rate), vocabulary - 1, ids) for ids in halves]
    pairs = list(zip(left, right, strict=True))[: recipe.translation_batch]
    joined = _padded([join(first, second) for first, second in pairs], recipe)
    ids, labels = _masked(joined, recipe.mask_rate, vocabulary, rng)
    trial_order, trial_halves = _halved(trials, recipe)
    return Batch(
        tuple(torch.from_numpy(ids) for ids in noisy),
        torch.from_numpy(np.argsort(order, kind="stable")),
        torch.from_numpy(ids),
        torch.from_numpy(labels),
        tuple(torch.from_numpy(half) for half in trial_halves),
        tuple(torch.from_numpy(half) for half in np.array_split(np.array(matches, dtype=np.float32)[trial_order], 2)),
    )


def _halved(sequences: list[list[int]], recipe: Recipe) -> tuple[np.ndarray, list[np.ndarray]]:
    """The order by length, and the sequences in that order, padded half by half."""
    order = np.argsort([len(ids) for ids in sequences], kind="stable")
    return order, [_padded([sequences[at] for at in half], recipe) for half in np.array_split(order, 2)]


def _padded(sequences: list[list[int]], recipe: Recipe) -> np.ndarray:
    """Pad to a multiple of 4: of few different shapes the matrix kernels, made anew for each, cost less."""
    longest = min(-(-max(map(len, sequences)) // 4) * 4, recipe.positions - PAD - 1)
    return np.array([(ids + [PAD] * longest)[:longest] for ids in sequences], dtype=np.int64)


def _inner(ids: np.ndarray) -> np.ndarray:
    """Positions of ordinary tokens."""
    return (ids != PAD) & (ids != BEGIN) & (ids != END)


def _masked(ids: np.ndarray, rate: float, vocabulary: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Hide a share of the tokens: 8 in 10 by the mask (last id), 1 by a random token, 1 left as it is."""
    chosen = _inner(ids) & (rng.random(ids.shape) < rate)
    labels = np.where(chosen, ids, IGNORE)
    kind = rng.random(ids.shape)
    hidden = np.where(chosen & (kind < 0.8), vocabulary - 1, ids)
    other = chosen & (kind >= 0.8) & (kind < 0.9)
    return np.where(other, rng.integers(4, vocabulary - 1, ids.shape), hidden), labels
