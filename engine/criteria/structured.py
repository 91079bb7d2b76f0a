"""Scores of heads and FFN neurons from collected gradients, as pure functions (M§3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.criteria.arguments import dimensions, finite, shaped, wide

if TYPE_CHECKING:
    from torch import Tensor


def taylor_structured(mask_grad: Tensor) -> Tensor:
    """`Σ_batches |∂L/∂ξ|` of one layer's mask variables ξ = 1, L2-normalised within the layer (M§3; CAP's code).

    `mask_grad`: N×U, one row per calibration batch and one column per head (or per FFN neuron) of the layer,
    collected with dropout off. A caller that adds up |∂L/∂ξ| itself passes the sum as one row. Returns U scores, at
    least float32; a layer without any gradient scores 0. The norm makes layers comparable in the global ranking,
    heads and neurons apart.
    """
    dimensions("mask_grad", mask_grad, 2, "batches × units")
    finite("mask_grad", mask_grad)
    total = wide(mask_grad).abs().sum(0)
    norm = total.norm()
    return total / norm if norm > 0 else total


def head_sensitivity(outputs: Tensor, grads: Tensor, valid: Tensor | None = None) -> Tensor:
    """`Σ_t |⟨∂L/∂o_t, o_t⟩|` per head (M§3; Liang et al. 2021).

    `outputs`, `grads`: T×H×D, the heads' outputs per token and the loss gradient there; an FFN block is one head
    with D its width. `valid`: bool (T,), False at padding. The absolute value is taken per token: summed signed
    products of a head that helps some tokens and harms others would cancel. Returns H scores, at least float32;
    batches add up.
    """
    dimensions("outputs", outputs, 3, "tokens × heads × width")
    shaped("grads", grads, outputs.shape, "the outputs' shape")
    finite("outputs", outputs)
    finite("grads", grads)
    products = (wide(outputs) * wide(grads)).sum(2).abs()
    if valid is None:
        return products.sum(0)
    shaped("valid", valid, outputs.shape[:1], "one value per token")
    return products[valid.bool()].sum(0)
