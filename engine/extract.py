"""Model and probe examples → pooled activations of every layer, for all measures of representation (M§6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from engine.data import Encoded, evaluation_batches
from engine.model import inputs, pool, states

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn

# Half precision holds up to 65,504. States beyond it (outlier dimensions of large encoders come near) are cut, not lost to
# infinity, and the run says so.
HALF_MAX = float(np.finfo(np.float16).max)


def activations(
    model: nn.Module, encoded: Encoded, poolings: tuple[str, ...], handle: Accelerator, last_only: bool = False
) -> tuple[dict[str, np.ndarray], int]:
    """Pooled states per pooling, `N × L+1 × D` float16 (layer 0 is the embedding output), and how many values were cut.

    `last_only` gives the last layer alone, N × 1 × D.

    Computed in float32 without autocast: bfloat16 rounding would itself lower the similarity of equal states.
    """
    import torch

    found: dict[str, np.ndarray] = {}
    cut = 0
    model.eval()
    with torch.no_grad(), states(model, last_only) as collected:
        for rows in evaluation_batches(encoded.lengths()):
            batch = encoded.batch(rows, handle.device)
            model(**inputs(batch))
            for how in poolings:
                pooled = (
                    torch.stack([pool(hidden, batch["attention_mask"], how) for hidden in collected], dim=1)
                    .float()
                    .cpu()
                    .numpy()
                )
                cut += int((np.abs(pooled) > HALF_MAX).sum())
                target = found.setdefault(how, np.empty((len(encoded), *pooled.shape[1:]), dtype=np.float16))
                target[rows] = np.clip(pooled, -HALF_MAX, HALF_MAX)
    return found, cut


def by_language(found: dict[str, np.ndarray], frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Split into the keys of `activations.safetensors`, `language/pooling`, rows in the order of `probe.parquet`."""
    languages = frame["language"].to_numpy()
    return {
        f"{code}/{how}": values[languages == code] for code in dict.fromkeys(languages) for how, values in found.items()
    }
