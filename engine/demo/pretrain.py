"""Pretraining of the bundled encoder from scratch, on parallel text.

Masked-LM alone aligns no languages at this size and in minutes; what decides zero-shot transfer is the sum of
two losses on translation pairs (LAB.md has the comparison):

- translation LM: masked tokens of a concatenated pair, predicted from both sides;
- a symmetric contrastive loss on the first-token and the mean states of the two sentences encoded apart,
  `−log softmax(cos(a_i, b_j)/τ)_ii`, both directions, the rest of the batch being the negatives.

Which languages make a pair is drawn by resource level, so that rich languages are seen far more often.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import XLMRobertaForMaskedLM

BEGIN, PAD, END = 0, 1, 2
IGNORE = -100


@dataclass(frozen=True, slots=True)
class Recipe:
    """Every setting of the bundled encoder; the build reads no other.

    Lengths are in tokens, `batch` in translation pairs; `first`, `mean` and `translation` weigh the losses.
    """

    seed: int = 20
    vocabulary: int = 8000
    layers: int = 4
    hidden: int = 192
    heads: int = 6
    feed_forward: int = 768
    positions: int = 130
    dropout: float = 0.1
    per_template: int = 40
    steps: int = 4000
    batch: int = 64
    translation_batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.05
    clip: float = 1.0
    mask_rate: float = 0.2
    drop_rate: float = 0.1
    temperature: float = 0.07
    first: float = 1.0
    mean: float = 1.0
    translation: float = 1.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Token ids and attention masks.

    `sides` holds the left sentences and the right ones, sorted by length and cut in halves, so that little is padded;
    `places` says where the left ones, then the right ones, stand in that order. `joined` holds the pairs.
    """

    sides: tuple[Tensor, ...]
    places: Tensor
    joined: Tensor
    joined_mask: Tensor
    labels: Tensor


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
    rows: Mapping[str, Sequence[list[int]]],
    shares: Mapping[str, float],
    recipe: Recipe,
    report: Callable[[str], None] = print,
) -> None:
    """Train `model` in place. `rows` is language → token ids per parallel row, without begin and end."""
    import torch

    optimizer = torch.optim.AdamW(_groups(model, recipe.weight_decay), lr=recipe.learning_rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, recipe))
    model.eval()  # no dropout: drawing it costs a third of a step here, and hidden tokens are noise enough
    model.set_attn_implementation("eager")  # on short sequences 40 times faster backward than the fused kernel
    begun, recent = time.perf_counter(), []
    for step, batch in enumerate(batches(rows, shares, recipe, model.config.vocab_size), start=1):
        with autocast():
            losses = step_losses(model, batch, recipe)
        loss = recipe.first * losses[0] + recipe.mean * losses[1] + recipe.translation * losses[2]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        schedule.step()
        recent.append([float(value.detach()) for value in losses])
        if step % 500 == 0 or step == recipe.steps:
            first, mean, translation = np.mean(recent, axis=0)
            recent.clear()
            report(
                f"step {step}: first {first:.3f}, mean {mean:.3f}, translation {translation:.3f}, "
                f"{time.perf_counter() - begun:.0f} s"
            )


def autocast() -> torch.autocast:
    """bf16 where the CPU has instructions for it (2.5 times faster there, and many times slower elsewhere)."""
    import torch

    return torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu.get_capabilities().get("avx512_bf16", False))


def _groups(model: XLMRobertaForMaskedLM, decay: float) -> list[dict[str, object]]:
    """Weight decay on matrices only."""
    matrices = [value for value in model.parameters() if value.ndim > 1]
    vectors = [value for value in model.parameters() if value.ndim <= 1]
    return [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]


def _rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then linear decay to zero."""
    warm = max(1, round(recipe.warmup * recipe.steps))
    return min((step + 1) / warm, max(0.0, (recipe.steps - step) / max(1, recipe.steps - warm)))


def step_losses(model: XLMRobertaForMaskedLM, batch: Batch, recipe: Recipe) -> tuple[Tensor, Tensor, Tensor]:
    """Contrastive loss on first-token states, the same on mean states, and the translation-LM loss."""
    import torch
    from torch.nn.functional import cross_entropy

    pooled = [pool(model, ids) for ids in batch.sides]
    first, mean = (torch.cat(states)[batch.places] for states in zip(*pooled, strict=True))
    hidden = model.roberta(batch.joined, attention_mask=batch.joined_mask).last_hidden_state
    masked = batch.labels != IGNORE
    logits = model.lm_head(hidden[masked])  # the head on masked positions only: the vocabulary is the costly part
    return (
        contrast(first, recipe.temperature),
        contrast(mean, recipe.temperature),
        cross_entropy(logits.float(), batch.labels[masked]),
    )


def pool(model: XLMRobertaForMaskedLM, ids: Tensor) -> tuple[Tensor, Tensor]:
    """First-token and mean states of sentences (begin and end tokens count in the mean)."""
    mask = ids != PAD
    states = model.roberta(ids, attention_mask=mask).last_hidden_state.float()
    weights = mask.unsqueeze(-1).float()
    return states[:, 0], (states * weights).sum(1) / weights.sum(1)


def contrast(states: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE; row i of the first half of `states` and row i of the second translate each other."""
    import torch
    from torch.nn.functional import cross_entropy, normalize

    left, right = normalize(states, dim=-1).chunk(2)
    similarity = left @ right.T / temperature
    target = torch.arange(len(left))
    return (cross_entropy(similarity, target) + cross_entropy(similarity.T, target)) / 2


def batches(
    rows: Mapping[str, Sequence[list[int]]], shares: Mapping[str, float], recipe: Recipe, vocabulary: int
) -> Iterator[Batch]:
    """Yield `recipe.steps` batches of distinct rows, each in two different languages drawn by their shares."""
    rng = np.random.default_rng(recipe.seed)
    codes = list(rows)
    weights = np.array([shares[code] for code in codes])
    count = len(rows[codes[0]])
    order: list[int] = []
    for _ in range(recipe.steps):
        if len(order) < recipe.batch:
            order = rng.permutation(count).tolist()
        chosen, order = order[: recipe.batch], order[recipe.batch :]
        languages = draw_languages(weights, recipe.batch, rng)
        left = [rows[codes[a]][row] for (a, _), row in zip(languages, chosen, strict=True)]
        right = [rows[codes[b]][row] for (_, b), row in zip(languages, chosen, strict=True)]
        yield _batch(left, right, recipe, vocabulary, rng)


def draw_languages(weights: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `count` pairs of different languages, one after the other by weight (Gumbel top two): count × 2."""
    keys = np.log(weights) + rng.gumbel(size=(count, len(weights)))
    return np.argsort(-keys, axis=1)[:, :2]


def _batch(
    left: list[list[int]], right: list[list[int]], recipe: Recipe, vocabulary: int, rng: np.random.Generator
) -> Batch:
    import torch

    sequences = [[BEGIN, *ids, END] for ids in (*left, *right)]
    order = np.argsort([len(ids) for ids in sequences], kind="stable")
    halves = [_padded([sequences[at] for at in half], recipe) for half in np.array_split(order, 2)]
    noisy = [np.where(_inner(ids) & (rng.random(ids.shape) < recipe.drop_rate), vocabulary - 1, ids) for ids in halves]
    pairs = list(zip(left, right, strict=True))[: recipe.translation_batch]
    joined = _padded([[BEGIN, *first, END, END, *second, END] for first, second in pairs], recipe)
    ids, labels = _masked(joined, recipe.mask_rate, vocabulary, rng)
    return Batch(
        tuple(torch.from_numpy(ids) for ids in noisy),
        torch.from_numpy(np.argsort(order, kind="stable")),
        torch.from_numpy(ids),
        torch.from_numpy((joined != PAD).astype(np.int64)),
        torch.from_numpy(labels),
    )


def _padded(sequences: list[list[int]], recipe: Recipe) -> np.ndarray:
    longest = min(max(map(len, sequences)), recipe.positions - PAD - 1)
    return np.array([(ids + [PAD] * longest)[:longest] for ids in sequences], dtype=np.int64)


def _inner(ids: np.ndarray) -> np.ndarray:
    """Positions of ordinary tokens."""
    return (ids != PAD) & (ids != BEGIN) & (ids != END)


def _masked(
    ids: np.ndarray, rate: float, vocabulary: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Hide a share of the tokens: 8 in 10 by the mask (last id), 1 by a random token, 1 left as it is."""
    chosen = _inner(ids) & (rng.random(ids.shape) < rate)
    labels = np.where(chosen, ids, IGNORE)
    kind = rng.random(ids.shape)
    hidden = np.where(chosen & (kind < 0.8), vocabulary - 1, ids)
    other = chosen & (kind >= 0.8) & (kind < 0.9)
    return np.where(other, rng.integers(4, vocabulary - 1, ids.shape), hidden), labels
