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
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from engine.demo.batches import BEGIN, END, IGNORE, PAD, Batch, Corpus, batches
from engine.demo.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import XLMRobertaForMaskedLM

LOSSES = ("first", "mean", "words", "translation", "matching")


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
