"""Learned gates: soft movement and L0, as pure functions of their scores (M§3).

Both train a score per weight (`S`, `log α`) by autograd through these functions; the sparsity they reach is an
outcome, steered by the penalty's strength. Each formula stands twice: with its arguments checked, and bare for every
step of a training, where checking each matrix would wait for an accelerator dozens of times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.criteria.arguments import finite, number, shaped

if TYPE_CHECKING:
    from torch import Tensor

GAMMA, ZETA, BETA = -0.1, 1.1, 2 / 3  # the stretch and the temperature of Louizos et al. 2018


def soft_threshold_mask(scores: Tensor, threshold: float, least: float = 0.005) -> Tensor:
    """Soft movement's keep-mask `σ(S) > τ` of one matrix, bool (M§3; Sanh et al. 2020).

    At least the fraction `least` of the matrix stays (rounded up): where fewer pass, the highest scores do, the
    earlier among equals. The mask has no gradient of its own: the caller passes the gradient straight through.
    """
    finite("scores", scores)
    number("threshold", threshold, 0, 1)
    number("least", least, 0, 1)
    return soft_masks([scores], threshold, least)[0]


def soft_masks(scores: Sequence[Tensor], threshold: float, least: float = 0.005) -> list[Tensor]:
    """`soft_threshold_mask` of many matrices, bare; one read back from the device tells which keep too few."""
    import torch

    masks = [score.detach().sigmoid() > threshold for score in scores]
    kept = torch.stack([mask.sum() for mask in masks]).tolist()
    needed = [math.ceil(least * score.numel()) for score in scores]
    return [
        mask if count >= least_count else _highest(score.detach(), least_count)
        for mask, score, count, least_count in zip(masks, scores, kept, needed, strict=True)
    ]


def _highest(scores: Tensor, count: int) -> Tensor:
    """Bool: the `count` highest scores, the earlier among equals."""
    import torch

    best = scores.reshape(-1).sort(descending=True, stable=True).indices[:count]
    chosen = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    return chosen.index_fill_(0, best, True).view(scores.shape)


def soft_movement_penalty(scores: Tensor, threshold: float, final_threshold: float, strength: float) -> Tensor:
    """`λ_t · mean σ(S)` of one matrix with `λ_t = λ_f·τ_t/τ_f`, differentiable (M§3; Sanh et al. 2020).

    The penalty grows with the threshold, so that early scores are not pushed below a threshold they cannot see.
    """
    finite("scores", scores)
    number("final_threshold", final_threshold, 0, 1, open_low=True)
    number("threshold", threshold, 0, final_threshold)
    number("strength", strength, 0)
    return growing_penalty(scores, threshold, final_threshold, strength)


def growing_penalty(scores: Tensor, threshold: float, final_threshold: float, strength: float) -> Tensor:
    """`soft_movement_penalty`, bare."""
    return strength * threshold / final_threshold * scores.sigmoid().mean()


def hard_concrete(log_alpha: Tensor, uniform: Tensor | None = None) -> Tensor:
    """Hard concrete gates `z = clip(σ((log u − log(1−u) + log α)/β)(ζ−γ)+γ, 0, 1)` (M§3; Louizos et al. 2018).

    `uniform`: draws in the open interval (0, 1), same shape. Without it the gates of evaluation,
    `clip(σ(log α)(ζ−γ)+γ, 0, 1)`, which use no noise and no temperature. γ = −0.1, ζ = 1.1, β = 2/3: the stretch
    puts real mass on 0 and 1 exactly. Differentiable in `log_alpha`.
    """
    finite("log_alpha", log_alpha)
    if uniform is not None:
        shaped("uniform", uniform, log_alpha.shape, "log_alpha's shape")
        if not bool(((uniform > 0) & (uniform < 1)).all()):
            raise ValueError(
                f"uniform: must lie between 0 and 1, both excluded; got {uniform.min():g} to {uniform.max():g}"
            )
    return concrete(log_alpha, uniform)


def concrete(log_alpha: Tensor, uniform: Tensor | None = None) -> Tensor:
    """`hard_concrete`, bare."""
    if uniform is None:
        return (log_alpha.sigmoid() * (ZETA - GAMMA) + GAMMA).clamp(0, 1)
    noise = uniform.log() - (-uniform).log1p()
    return (((noise + log_alpha) / BETA).sigmoid() * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def hard_concrete_penalty(log_alpha: Tensor) -> Tensor:
    """`Σ σ(log α − β·log(−γ/ζ))`: the expected number of gates that are not 0, differentiable (M§3; Louizos et al. 2018)."""
    finite("log_alpha", log_alpha)
    return expected_open(log_alpha)


def expected_open(log_alpha: Tensor) -> Tensor:
    """`hard_concrete_penalty`, bare."""
    return (log_alpha - BETA * math.log(-GAMMA / ZETA)).sigmoid().sum()
