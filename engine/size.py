"""Size and speed of a network (M§6.11), and the three denominators of a sparsity (M§1).

Zeros alone neither shrink a dense file nor speed up a dense kernel, so file size and latency are those of the dense
layout; what a sparse layout could save is left to whoever has a kernel for it. Whole heads and neurons can be cut out
(`engine.structured.compact`), which shrinks both.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.data import Encoded
from engine.model import Matrix, blocks, inputs

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn

LATENCY_BATCH, LATENCY_REPEATS = 32, 5


def size(
    model: nn.Module, matrices: Sequence[Matrix], removed: int, dense: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Counts with `removed` weights masked away: parameters, non-zeros and the sparsity of three wholes.

    `dense`: the counts of the dense model, for a model that was cut smaller: what is missing counts as removed, so that
    a student and a pruned model of equally many non-zeros have the same sparsity.
    """
    whole = sum(parameter.numel() for parameter in model.parameters())
    encoder = sum(parameter.numel() for block in blocks(model) for parameter in block.parameters())
    prunable = sum(matrix.module.weight.numel() for matrix in matrices)
    counts = {"parameters": whole, "encoder_parameters": encoder, "prunable_parameters": prunable}
    wholes = counts if dense is None else dense
    gone = {name: wholes[name] - count + removed for name, count in counts.items()}
    return {
        **counts,
        "removed": gone["prunable_parameters"],
        "nonzeros": whole - removed,
        "sparsity_prunable": gone["prunable_parameters"] / wholes["prunable_parameters"],
        "sparsity_encoder": gone["encoder_parameters"] / wholes["encoder_parameters"],
        "sparsity_model": gone["parameters"] / wholes["parameters"],
        "bytes_dense_fp32": 4 * whole,
        "macs_per_token_dense": prunable,
        "macs_per_token_nonzero": prunable - removed,
    }


def compacted(model: nn.Module, matrices: Sequence[Matrix], encoded: Encoded, handle: Accelerator) -> dict[str, Any]:
    """Size and speed of the compacted model: what removing whole heads and neurons really saves."""
    facts = size(model, matrices, 0)
    return {
        "parameters_compact": facts["parameters"],
        "bytes_compact_fp32": facts["bytes_dense_fp32"],
        "macs_per_token_compact": facts["macs_per_token_dense"],
        "latency_ms_batch32_compact": latency_ms(model, encoded, handle),
    }


def latency_ms(model: nn.Module, encoded: Encoded, handle: Accelerator) -> float:
    """Median milliseconds of one forward pass over a batch of examples of middle length (dense kernels)."""
    import torch

    middle = np.argsort(encoded.lengths(), kind="stable")
    start = max(0, len(middle) // 2 - LATENCY_BATCH // 2)
    batch = inputs(encoded.batch(middle[start : start + LATENCY_BATCH], handle.device))
    times = []
    model.eval()
    with torch.no_grad(), handle.autocast():
        for _ in range(LATENCY_REPEATS):
            started = time.perf_counter()
            model(**batch)
            if handle.device.type == "cuda":
                torch.cuda.synchronize(handle.device)
            times.append(1000 * (time.perf_counter() - started))
    return float(np.median(times))
