"""The one stateful piece around masks: set them, keep them applied while training, hand them out (M§2.1).

Mode `zeroed`: setting a mask zeroes the weights and both optimiser moments once; afterwards only gradients are masked,
before clipping. Under AdamW that equals zeroing weights and moments at every step, bit for bit, at a third of the
traffic, and clipping sees the survivors' gradient alone. Gradients are multiplied by float masks, because a product
with a bool mask is several times slower.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from engine.model import Matrix

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor


class Masked:
    """Masks over the prunable matrices of one model. Without masks set, every method leaves the model as it is."""

    def __init__(self, matrices: Sequence[Matrix]) -> None:
        self.matrices = list(matrices)
        self._keep: dict[str, Tensor] = {}  # in each module's own layout, of its weight's dtype

    def set(self, masks_OI: Mapping[str, Tensor]) -> None:
        """Take new boolean masks (outputs × inputs) and zero the weights that they remove."""
        import torch

        for matrix in self.matrices:
            weight = matrix.module.weight
            keep = matrix.orient(masks_OI[matrix.name]).to(weight.device)
            self._keep[matrix.name] = keep.to(weight.dtype).contiguous()
            with torch.no_grad():
                weight.mul_(self._keep[matrix.name])

    def zero_moments(self, optimizer: torch.optim.Optimizer) -> None:
        """Zero the optimiser's moments of removed weights (for a mask that changes inside a cycle)."""
        for matrix in self.matrices:
            for value in optimizer.state.get(matrix.module.weight, {}).values():
                if matrix.name in self._keep and getattr(value, "shape", None) == matrix.module.weight.shape:
                    value.mul_(self._keep[matrix.name])

    def mask_gradients(self) -> None:
        """Zero the gradients of removed weights; call it after backward and before clipping."""
        import torch

        pairs = [
            (m.module.weight.grad, self._keep[m.name])
            for m in self.matrices
            if m.name in self._keep and m.module.weight.grad is not None
        ]
        if pairs:
            torch._foreach_mul_([grad for grad, _ in pairs], [keep for _, keep in pairs])

    def masks_OI(self) -> dict[str, Tensor] | None:
        """The boolean masks as outputs × inputs, or None before the first."""
        if not self._keep:
            return None
        return {matrix.name: matrix.orient(self._keep[matrix.name]) != 0 for matrix in self.matrices}

    def factors_OI(self) -> dict[str, Tensor]:
        """The masks as 0/1 factors of the weights' dtype, outputs × inputs; all ones before the first."""
        import torch

        return {
            matrix.name: matrix.orient(self._keep[matrix.name])
            if matrix.name in self._keep
            else torch.ones_like(matrix.weight_OI())
            for matrix in self.matrices
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Boolean masks in each module's own layout, for `masks.safetensors`."""
        return {name: (keep != 0).cpu().numpy() for name, keep in self._keep.items()}
