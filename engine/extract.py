"""Model and probe examples → pooled activations of every layer, for all measures of representation (M§6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from engine import processes
from engine.data import Encoded, evaluation_batches
from engine.model import inputs, states
from engine.tasks.batches import Ragged
from engine.tasks.types import TaskType

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn

# Half precision holds up to 65,504. States beyond it (outlier dimensions of large encoders come near) are cut, not lost to
# infinity, and the run says so.
HALF_MAX = float(np.finfo(np.float16).max)


def activations(
    model: nn.Module,
    kind: TaskType,
    encoded: Encoded,
    poolings: tuple[str, ...],
    handle: Accelerator,
    last_only: bool = False,
) -> tuple[dict[str, np.ndarray], int]:
    """Pooled states per pooling, `N × L+1 × D` float16 (layer 0 is the embedding output), and how many values were cut.

    N counts the rows that the type pools to: items, or the probed words; `last_only` gives the last layer alone,
    N × 1 × D. Computed in float32 without autocast: bfloat16 rounding would itself lower the similarity of equal
    states.
    """
    import torch

    model.eval()

    def own() -> list[tuple[list[np.ndarray], int, np.ndarray, np.ndarray]]:
        found = []
        with torch.no_grad(), states(model, last_only) as collected:
            for items in processes.dealt(evaluation_batches(encoded.lengths(), rows=encoded.counts)):
                batch = encoded.batch(items, handle.device)
                model(**inputs(batch))
                chunks, cut = [], 0
                for how in poolings:
                    layers = [kind.pooled(hidden, batch, how) for hidden in collected]
                    pooled = torch.stack([layer.values for layer in layers], dim=1).float().cpu().numpy()
                    cut += int((np.abs(pooled) > HALF_MAX).sum())
                    chunks.append(np.clip(pooled, -HALF_MAX, HALF_MAX).astype(np.float16))
                found.append((chunks, cut, layers[0].counts.cpu().numpy(), items))
        return found

    parts, cuts, counts, order = zip(*(batch for part in processes.shared(own) for batch in part), strict=True)
    by_pooling = zip(poolings, zip(*parts, strict=True), strict=True)
    return {how: Ragged.of(chunks, counts, np.concatenate(order)).values for how, chunks in by_pooling}, sum(cuts)


def by_language(found: dict[str, np.ndarray], frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Split into the keys of `activations.safetensors`, `language/pooling`, rows in the order of `probe.parquet`."""
    languages = frame["language"].to_numpy()
    return {
        f"{code}/{how}": values[languages == code] for code in dict.fromkeys(languages) for how, values in found.items()
    }
