"""Model and probe examples → pooled activations of every layer, for all measures of representation (M§6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

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

    found: dict[str, list[np.ndarray]] = {how: [] for how in poolings}
    counts: list[np.ndarray] = []
    batches = evaluation_batches(encoded.lengths(), rows=encoded.counts)
    cut = 0
    model.eval()
    with torch.no_grad(), states(model, last_only) as collected:
        for items in batches:
            batch = encoded.batch(items, handle.device)
            model(**inputs(batch))
            for how, chunks in found.items():
                layers = [kind.pooled(hidden, batch, how) for hidden in collected]
                pooled = torch.stack([layer.values for layer in layers], dim=1).float().cpu().numpy()
                cut += int((np.abs(pooled) > HALF_MAX).sum())
                chunks.append(np.clip(pooled, -HALF_MAX, HALF_MAX).astype(np.float16))
            counts.append(layers[0].counts.cpu().numpy())
    order = np.concatenate(batches)
    return {how: Ragged.of(chunks, counts, order).values for how, chunks in found.items()}, cut


def by_language(found: dict[str, np.ndarray], frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Split into the keys of `activations.safetensors`, `language/pooling`, rows in the order of `probe.parquet`."""
    languages = frame["language"].to_numpy()
    return {
        f"{code}/{how}": values[languages == code] for code in dict.fromkeys(languages) for how, values in found.items()
    }
