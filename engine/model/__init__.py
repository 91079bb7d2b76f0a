"""A checkpoint as the engine sees it: how it is loaded, what of it can be pruned, and its hidden states."""

from engine.model.architectures import ARCHITECTURES, Architecture, Heads
from engine.model.hidden import states
from engine.model.loading import (
    BUNDLED_MODEL,
    digest,
    has_segments,
    keep_order,
    load_config,
    load_masked_lm,
    load_model,
    load_tokenizer,
    longest_input,
    model_path,
    pooling_of,
)
from engine.model.parts import Matrix, blocks, matrices, neighbours, patterns_to_names
from engine.tasks.batches import inputs, pool

__all__ = [
    "ARCHITECTURES",
    "BUNDLED_MODEL",
    "Architecture",
    "Heads",
    "Matrix",
    "blocks",
    "digest",
    "has_segments",
    "inputs",
    "keep_order",
    "load_config",
    "load_masked_lm",
    "load_model",
    "load_tokenizer",
    "longest_input",
    "matrices",
    "model_path",
    "neighbours",
    "patterns_to_names",
    "pool",
    "pooling_of",
    "states",
]
