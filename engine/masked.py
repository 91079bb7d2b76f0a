"""The one stateful piece of pruning: masks attached to a model's matrices, kept applied, and taken from them (M§2.1).

Where a mask stays for a while (`zeroed`), removed weights are zeroed once, when the mask changes, and afterwards only
gradients are masked, before clipping. Under AdamW that equals zeroing weights and moments at every step, bit for bit,
at a third of the traffic, and clipping sees the survivors' gradient alone. Where removed weights may come back, either
they live on behind the mask (`shadow`: the network sees `m⊙w` through `seen`), or they are zeroed after every step and
keep their dense gradient (`zero_after_step`). Products are with float masks, because one with a bool mask is several
times slower.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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

    def set(self, masks_OI: Mapping[str, Tensor], zero: bool = True) -> None:
        """Take new boolean masks (outputs × inputs); `zero` the weights that they remove, or leave them behind the mask."""
        for matrix in self.matrices:
            weight = matrix.module.weight
            keep = matrix.orient(masks_OI[matrix.name]).to(weight.device)
            self._keep[matrix.name] = keep.to(weight.dtype).contiguous()
        if zero:
            self.zero()

    def lift(self) -> None:
        """Forget the masks: every weight may be trained again. The weights stay as they are."""
        self._keep.clear()

    def zero(self) -> None:
        """Zero the weights that the masks remove."""
        import torch

        if self._keep:
            with torch.no_grad():
                torch._foreach_mul_(
                    [matrix.module.weight for matrix in self.matrices], [self._keep[m.name] for m in self.matrices]
                )

    @contextmanager
    def seen(self, factors_OI: Mapping[str, Tensor] | None = None) -> Iterator[None]:
        """Inside, the network sees `factor⊙w` (default: the masks) and gradients are those of it; w itself stays."""
        import torch

        whole = [matrix.module.weight.data for matrix in self.matrices]
        if factors_OI is not None:
            factors = [matrix.orient(factors_OI[matrix.name]) for matrix in self.matrices]
        else:
            factors = [self._keep[matrix.name] for matrix in self.matrices] if self._keep else []
        if factors:
            for matrix, value in zip(self.matrices, torch._foreach_mul(whole, factors), strict=True):
                matrix.module.weight.data = value
        try:
            yield
        finally:
            for matrix, value in zip(self.matrices, whole, strict=True):
                matrix.module.weight.data = value

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
