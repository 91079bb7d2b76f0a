"""The recipe of the bundled encoder."""

from __future__ import annotations

from dataclasses import dataclass


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
    steps: int = 7000
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
    matching: float = 2.0
