"""Pretraining of the bundled encoder from scratch, on parallel text.

Masked-LM alone aligns no languages at this size and in minutes; what decides zero-shot transfer is the sum of
losses on translation pairs (LAB.md has the comparison):

- translation LM: masked tokens of a concatenated pair, predicted from both sides;
- a symmetric contrastive loss on the first-token states, the mean states and the mean word embeddings of the two
  sentences encoded apart, `−log softmax(cos(a_i, b_j)/τ)_ii`, both directions, the rest of the batch being the
  negatives. On the embeddings it aligns words, which carries over to sentences never seen;
- matching: two joined sentences, do they match or is the second a near miss (`matching`)? Cross-entropy of a linear
  map of the first state, which is thrown away afterwards. Without it the encoder never looks from one sentence into
  the other, and pair tasks stay out of reach.

Which languages make a pair is drawn by resource level, so that rich languages are seen far more often.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.demo.matching import Trials

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import XLMRobertaForMaskedLM

BEGIN, PAD, END = 0, 1, 2
IGNORE = -100
LOSSES = ("first", "mean", "words", "translation", "matching")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every setting of the bundled encoder; the build reads no other.

    Lengths are in tokens; `batch` and `translation_batch` in translation pairs, `matching_batch` in trials of two
    joined pairs each, of which `stated` is the share of statements and `alone` that of trials in one language.
    `first`, `mean`, `words`, `translation` and `matching` weigh the losses. Rates are of tokens: predicted by the
    translation LM (`mask`), hidden from the contrastive loss (`drop`), taken apart (`split`); `lower` is the share of
    sentences that begin with a small letter.
    """

    seed: int = 20
    vocabulary: int = 8000
    layers: int = 4
    hidden: int = 192
    heads: int = 6
    feed_forward: int = 768
    positions: int = 130
    dropout: float = 0.1
    per_template: int = 15
    steps: int = 3500
    batch: int = 48
    translation_batch: int = 12
    matching_batch: int = 20
    stated: float = 0.5
    alone: float = 0.5
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    clip: float = 1.0
    mask_rate: float = 0.2
    drop_rate: float = 0.1
    split_rate: float = 0.1
    lower_rate: float = 0.3
    temperature: float = 0.07
    first: float = 1.0
    mean: float = 1.0
    words: float = 1.0
    translation: float = 1.0
    matching: float = 1.0


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


def new_model(recipe: Recipe, vocabulary: int) -> XLMRobertaForMaskedLM:
    """An untrained encoder with its language-model head; the embeddings are tied."""
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

    torch.manual_seed(recipe.seed)
    config = XLMRobertaConfig(
        vocab_size=vocabulary,
        hidden_size=recipe.hidden,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        intermediate_size=recipe.feed_forward,
        max_position_embeddings=recipe.positions,
        hidden_dropout_prob=recipe.dropout,
        attention_probs_dropout_prob=recipe.dropout,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        bos_token_id=BEGIN,
        pad_token_id=PAD,
        eos_token_id=END,
    )
    return XLMRobertaForMaskedLM(config)


def pretrain(
    model: XLMRobertaForMaskedLM,
    corpus: Corpus,
    shares: Mapping[str, float],
    recipe: Recipe,
    report: Callable[[str], None] = print,
) -> None:
    """Train `model` in place. `shares` is language → resource level."""
    import torch

    torch.manual_seed(recipe.seed)
    head = torch.nn.Linear(recipe.hidden, 1)
    groups = _groups([*model.parameters(), *head.parameters()], recipe.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, recipe))
    model.eval()  # no dropout: drawing it costs a third of a step here, and hidden tokens are noise enough
    model.set_attn_implementation("eager")  # on short sequences 40 times faster backward than the fused kernel
    begun, recent = time.perf_counter(), []
    for step, batch in enumerate(batches(corpus, shares, recipe), start=1):
        with autocast():
            losses = step_losses(model, head, batch, recipe)
        weights = (recipe.first, recipe.mean, recipe.words, recipe.translation, recipe.matching)
        loss = sum(weight * value for weight, value in zip(weights, losses, strict=True))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        schedule.step()
        recent.append([float(value.detach()) for value in losses])
        if step % 500 == 0 or step == recipe.steps:
            means = ", ".join(
                f"{name} {value:.3f}" for name, value in zip(LOSSES, np.mean(recent, axis=0), strict=True)
            )
            recent.clear()
            report(f"step {step}: {means}, {time.perf_counter() - begun:.0f} s")


def autocast() -> torch.autocast:
    """bf16 where the CPU has instructions for it (2.5 times faster there, and many times slower elsewhere)."""
    import torch

    return torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu.get_capabilities().get("avx512_bf16", False))


def _groups(parameters: Sequence[Tensor], decay: float) -> list[dict[str, object]]:
    """Weight decay on matrices only."""
    matrices = [value for value in parameters if value.ndim > 1]
    vectors = [value for value in parameters if value.ndim <= 1]
    return [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]


def _rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then linear decay to zero."""
    warm = max(1, round(recipe.warmup * recipe.steps))
    return min((step + 1) / warm, max(0.0, (recipe.steps - step) / max(1, recipe.steps - warm)))


def step_losses(model: XLMRobertaForMaskedLM, head: torch.nn.Linear, batch: Batch, recipe: Recipe) -> list[Tensor]:
    """The losses named in `LOSSES`: three contrastive ones, translation LM, and matching with `head` as its map."""
    import torch
    from torch.nn.functional import cross_entropy

    pooled = zip(*(pool(model, ids) for ids in batch.sides), strict=True)
    hidden = model.roberta(batch.joined, attention_mask=batch.joined != PAD).last_hidden_state
    masked = batch.labels != IGNORE
    logits = model.lm_head(hidden[masked])  # the head on masked positions only: the vocabulary is the costly part
    return [
        *(contrast(torch.cat(states)[batch.places], recipe.temperature) for states in pooled),
        cross_entropy(logits.float(), batch.labels[masked]),
        match(model, head, batch.trials, batch.matches),
    ]


def match(
    model: XLMRobertaForMaskedLM, head: torch.nn.Linear, trials: Sequence[Tensor], matches: Sequence[Tensor]
) -> Tensor:
    """Mean binary cross-entropy of `head` on the first states of joined pairs against `matches`."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    states = [model.roberta(ids, attention_mask=ids != PAD).last_hidden_state[:, 0] for ids in trials]
    scores = head(torch.cat(states)).squeeze(-1).float()
    return binary_cross_entropy_with_logits(scores, torch.cat(list(matches)))


def pool(model: XLMRobertaForMaskedLM, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """First-token states, mean states and mean word embeddings of sentences (begin and end tokens count)."""
    mask = ids != PAD
    states = model.roberta(ids, attention_mask=mask).last_hidden_state.float()
    words = model.get_input_embeddings()(ids)
    weights = mask.unsqueeze(-1) / mask.sum(1)[:, None, None]
    return states[:, 0], (states * weights).sum(1), (words * weights).sum(1)


def contrast(states: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE; row i of the first half of `states` and row i of the second translate each other."""
    import torch
    from torch.nn.functional import cross_entropy, normalize

    left, right = normalize(states, dim=-1).chunk(2)
    similarity = left @ right.T / temperature
    target = torch.arange(len(left))
    return (cross_entropy(similarity, target) + cross_entropy(similarity.T, target)) / 2


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
        tuple(torch.from_numpy(half) for half in np.array_split(np.float32(matches)[trial_order], 2)),
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
