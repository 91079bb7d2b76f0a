"""Importance scores of one weight matrix, as pure functions: statistics in, scores of the same shape out (M§3).

Higher means keep. Matrices are O×I (rows are output units); a caller whose layer stores I×O (GPT-2's `Conv1D`)
transposes before and after. Selecting belongs to `engine.mask`: a criterion never sees a sparsity. Half-precision
statistics are widened to float32 first. Every function refuses empty or non-finite input and wrong shapes with
`ValueError`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from engine.criteria.arguments import choice, dimensions, finite, non_negative, number, shaped, wide

if TYPE_CHECKING:
    from torch import Generator, Tensor


LAST = 0xFFFFFFFF  # the largest position that a 32-bit half of a sorting key holds


def matrix_generator(seed: int, name: str) -> Generator:
    """A CPU generator seeded by (seed, matrix name), for `random`.

    The name is part of the seed, so that a matrix gets the same draw whatever stands before it in the model; the
    digest replaces Python's `hash`, which differs from process to process.
    """
    import torch

    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def random(weight: Tensor, generator: Generator) -> Tensor:
    """Independent uniform scores in [0, 1), float32: the control that any criterion has to beat (M§3).

    Drawn on the CPU whatever the weight's device, so that the masks are the same everywhere.
    """
    import torch

    finite("weight", weight)
    return torch.rand(weight.shape, generator=generator, dtype=torch.float32).to(weight.device)


def magnitude(weight: Tensor) -> Tensor:
    """`|w|`, in the weight's own precision (M§3; Han et al. 2015)."""
    finite("weight", weight)
    return weight.detach().abs()


def lamp(weight: Tensor) -> Tensor:
    """LAMP: `w[u]² / Σ_{v≥u} w[v]²` with the matrix's weights in ascending order of magnitude (M§2.3; Lee et al. 2021).

    The share of what would be left if everything smaller were removed, which makes one ranking over all matrices
    fair to small ones. The largest weight scores 1, an all-zero matrix 0. Among equal magnitudes the later index
    comes first in the order, so that the earlier scores higher and is kept. Float64, and summed on the CPU: the
    order in which a GPU adds would change the last bits, and with them a mask.
    """
    finite("weight", weight)
    return lamp_transform(weight.detach().abs())


def lamp_transform(scores: Tensor) -> Tensor:
    """`lamp` of any non-negative scores, unchecked: float64, same shape and device."""
    import torch

    flat = scores.detach().reshape(-1).cpu()
    ordered, order = _descending_doubles(flat) if flat.dtype == torch.float64 else _descending(flat.float())
    squares = ordered.square_()
    sums = squares.cumsum(0)
    shares = torch.where(sums > 0, squares / sums.clamp_min(torch.finfo(sums.dtype).tiny), 0.0)
    return torch.empty_like(shares).scatter_(0, order, shares).view(scores.shape).to(scores.device)


def _descending_doubles(flat: Tensor) -> tuple[Tensor, Tensor]:
    """Values from high to low, the earlier of equal ones first, and where they stood.

    Scaled by a power of two, which is exact and keeps the squares of extreme values finite.
    """
    import torch

    ordered, order = flat.sort(descending=True, stable=True)
    return torch.ldexp(ordered, -torch.frexp(ordered[0]).exponent), order


def _descending(flat: Tensor) -> tuple[Tensor, Tensor]:
    """The same for float32, as float64 values, several times faster.

    The bits of non-negative floats order like the floats, so that value and position together make one integer key
    without ties, and integers sort faster than pairs.
    """
    import numpy as np
    import torch

    bits = flat.numpy().view(np.uint32)  # those of -0.0 are large, but wherever it stands it adds and scores 0
    keys = (bits.astype(np.uint64) << 32) | (LAST - np.arange(bits.size, dtype=np.uint64))
    keys.sort()
    keys = keys[::-1]
    values = (keys >> 32).astype(np.uint32).view(np.float32).astype(np.float64)
    return torch.from_numpy(values), torch.from_numpy((LAST - (keys & LAST)).astype(np.int64))


def wanda(weight: Tensor, input_norm: Tensor) -> Tensor:
    """`|w[o,i]| · ‖x_i‖₂` (M§3; Sun et al. 2024), meant to be ranked within each row.

    `input_norm`: one L2 norm per input over the non-padding tokens of the calibration text, shape (I,).
    """
    dimensions("weight", weight, 2, "outputs × inputs")
    shaped("input_norm", input_norm, weight.shape[1:], "one value per input")
    finite("weight", weight)
    finite("input_norm", input_norm)
    non_negative("input_norm", input_norm)
    return wide(weight).abs() * wide(input_norm)


def lookahead(weight: Tensor, before: Tensor | None, after: Tensor | None) -> Tensor:
    """`|w[k,j]| · ‖W_before[j,:]‖₂ · ‖W_after[:,k]‖₂` (M§3; Park et al. 2020).

    How much of the chain of three linear maps runs through the weight. `before` (I×·) feeds this matrix, `after`
    (·×O) reads it; one that is None counts as factor 1.
    """
    dimensions("weight", weight, 2, "outputs × inputs")
    finite("weight", weight)
    scores = wide(weight).abs()
    if before is not None:
        scores = scores * _norms("before", before, 0, weight.shape[1])
    if after is not None:
        scores = scores * _norms("after", after, 1, weight.shape[0])[:, None]
    return scores


def _norms(name: str, matrix: Tensor, axis: int, size: int) -> Tensor:
    """L2 norms of a neighbour's rows (axis 0) or columns (axis 1), whose number must fit the weight."""
    dimensions(name, matrix, 2, "outputs × inputs")
    if matrix.shape[axis] != size:
        raise ValueError(
            f"{name}: axis {axis} must have length {size}, as the weight's; got shape {tuple(matrix.shape)}"
        )
    finite(name, matrix)
    return wide(matrix).norm(dim=1 - axis)


def gradient_magnitude(weight: Tensor, grad: Tensor) -> Tensor:
    """`|w · Σ_b g_b|` (M§3; Molchanov et al. 2017): the first-order change of the loss if the weight goes.

    `grad`: the signed sum of the calibration batches' gradients. Taking the absolute value before the sum would
    measure noise as importance.
    """
    _pair(weight, "grad", grad)
    return (wide(weight) * wide(grad)).abs()


def fisher(weight: Tensor, grad_sq: Tensor) -> Tensor:
    """`½ w² · mean_b g_b²` (M§3; diagonal optimal brain damage with the empirical Fisher).

    `grad_sq`: the mean over calibration batches of the squared batch gradient.
    """
    _pair(weight, "grad_sq", grad_sq)
    non_negative("grad_sq", grad_sq)
    return 0.5 * wide(weight).square() * wide(grad_sq)


def pins(weight: Tensor, grad: Tensor, lr: float, sign: str = "abs") -> Tensor:
    """`S = −w·g + η·g²` of one step, or `|S|` with `sign="abs"` (M§3; Ren & Zhu 2023).

    To first order, keeping the k largest signed S minimises the loss after one SGD step of size `lr` and masking.
    The released code ranks |S|, the default here; `signed` is experimental: a dead weight scores ηg² ≥ 0, above
    about half of the live ones. `grad` is the gradient after clipping and `weight` stands before the step.
    """
    choice("sign", sign, ("abs", "signed"))
    number("lr", lr, 0)
    _pair(weight, "grad", grad)
    return pins_step(weight, grad, lr, sign)


def pins_step(weight: Tensor, grad: Tensor, lr: float, sign: str) -> Tensor:
    """`pins` without its checks, as `g·(ηg − w)`: one temporary less in a loop that runs at every step."""
    gradient = wide(grad)
    score = (gradient * lr).sub_(wide(weight)).mul_(gradient)
    return score.abs_() if sign == "abs" else score


def _pair(weight: Tensor, name: str, other: Tensor) -> None:
    shaped(name, other, weight.shape)
    finite("weight", weight)
    finite(name, other)
