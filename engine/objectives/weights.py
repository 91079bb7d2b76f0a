"""Weight-space regularizers: AlignReg and its control, with closed-form gradients (M§4.1).

Each takes one matrix (rows are output units): `reference` w0, `weight` w, `mask` m (bool or 0/1 floats), and
returns `(R, ∇R)`: R at `ŵ = m⊙w` as a 0-d tensor and its gradient with respect to `weight`, which is 0 where m is.
No autograd graph is built: the gradient is added to `.grad` before clipping. Everything is at least float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from engine.criteria.arguments import choice, dimensions, finite, number, shaped, wide

if TYPE_CHECKING:
    from torch import Tensor

TILE = 1 << 17  # weights per stretch on a CPU: the temporaries of one stretch stay in the cache


def alignreg_cosine(reference: Tensor, weight: Tensor, mask: Tensor, per: str = "unit") -> tuple[Tensor, Tensor]:
    """`R = Σ_o [1 − cos(w0[o], ŵ[o])]` over the units, or `1 − cos` of the flattened matrix with `per="layer"` (M§4.1).

    A fully pruned row counts 1 and has gradient 0, and so has a row whose reference is zero: there is no angle.
    """
    choice("per", per, ("unit", "layer"))
    _check(reference, weight, mask)
    return _cosine(reference, weight, mask, per=per)


def alignreg_frobenius(reference: Tensor, weight: Tensor, mask: Tensor, squared: bool = True) -> tuple[Tensor, Tensor]:
    """`R = O·‖w0 − ŵ‖²_F / ‖w0‖²_F`, or `O·‖w0 − ŵ‖_F / ‖w0‖_F` with `squared=False` (M§4.1).

    O, the number of rows, puts it on the scale of `alignreg_cosine`, which sums over units. Unsquared, the gradient
    is 0 where the gap is. An all-zero reference has no scale and is refused.
    """
    _check(reference, weight, mask)
    if not bool(reference.any()):
        raise ValueError("reference: must not be all zero: the distance is measured in units of its norm")
    return _frobenius(reference, weight, mask, squared=squared)


def l2_sp(reference: Tensor, weight: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """`R = ‖m⊙(w0 − w)‖²`: the distance of the survivors alone, AlignReg's control (M§4.1; Li et al. 2018)."""
    _check(reference, weight, mask)
    return _l2(reference, weight, mask)


def _check(reference: Tensor, weight: Tensor, mask: Tensor) -> None:
    dimensions("weight", weight, 2, "outputs × inputs")
    shaped("reference", reference, weight.shape)
    shaped("mask", mask, weight.shape)
    finite("reference", reference)
    finite("weight", weight)


# The formulas without checks, on stacks of matrices (…×O×I): R is summed over the stack, the gradient is per matrix.


def _cosine(reference: Tensor, weight: Tensor, mask: Tensor, per: str = "unit") -> tuple[Tensor, Tensor]:
    """`1 − cos = ½‖d‖²` with d the difference of the unit vectors; its gradient is `−(d + ½‖d‖²·v̂)/‖v‖`.

    Exact algebra, and unlike `1 − cos` and `cos·v̂ − r̂` it does not cancel when the two are nearly parallel.
    """
    import torch

    kept, present = _kept(weight, mask)
    axes = -1 if per == "unit" else (-2, -1)
    target = wide(reference)
    target_norm, kept_norm = (torch.linalg.vector_norm(x, dim=axes, keepdim=True) for x in (target, kept))
    live = (target_norm > 0) & (kept_norm > 0)
    inverse = live / kept_norm.masked_fill(~live, 1.0)
    gap = (target * (live / target_norm.masked_fill(~live, 1.0))).addcmul_(kept, inverse, value=-1)
    half = 0.5 * torch.linalg.vector_norm(gap, dim=axes, keepdim=True).square()
    value = torch.where(live, half, 1.0).sum()
    return value, gap.addcmul_(kept, half * inverse).mul_(-inverse).mul_(present)


def _frobenius(
    reference: Tensor, weight: Tensor, mask: Tensor, squared: bool = True, scale: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`scale`: O/‖w0‖² (squared) of the whole matrix, for a caller that passes only some of its rows."""
    import torch

    kept, present = _kept(weight, mask)
    gap = kept.sub_(wide(reference))
    size = torch.linalg.vector_norm(gap, dim=(-2, -1), keepdim=True)
    if squared:
        scale = _frobenius_scale(reference) if scale is None else scale
        return (scale * size.square()).sum(), gap.mul_(present).mul_(2 * scale)
    scale = _frobenius_scale(reference).mul(reference.shape[-2]).sqrt()
    return (scale * size).sum(), gap.mul_(present).mul_(torch.where(size > 0, scale / size, 0.0))


def _frobenius_scale(reference: Tensor) -> Tensor:
    import torch

    norm = torch.linalg.vector_norm(wide(reference), dim=(-2, -1), keepdim=True)
    return reference.shape[-2] / norm.square()


def _l2(reference: Tensor, weight: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    import torch

    gap = (wide(weight) - wide(reference)).mul_(_factor(mask, wide(weight)))
    return torch.linalg.vector_norm(gap).square(), gap.mul_(2)


def _kept(weight: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """`m⊙w` as a new tensor, and m as its factor."""
    factor = _factor(mask, wide(weight))
    return wide(weight) * factor, factor


def _factor(mask: Tensor, like: Tensor) -> Tensor:
    # A product with a bool mask is several times slower on a CPU than one with floats.
    return mask.to(like.dtype)


Kernel = Callable[..., "tuple[Tensor, Tensor]"]
KERNELS: dict[str, Kernel] = {"alignreg_cosine": _cosine, "alignreg_frobenius": _frobenius, "l2_sp": _l2}


def alignreg_step(
    name: str,
    references: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    grads: Mapping[str, Tensor],
    strength: float,
    **shape: Any,
) -> tuple[Tensor, Tensor]:
    """Add `strength·∇R` of every matrix to `grads`, in place; return R and ‖∇R‖ over all matrices (M§4.1).

    `name` is a row of `OBJECTIVES` that needs "reference" and `shape` its own parameters (`per`, `squared`). The
    same sums as one call per matrix, fast enough for every training step: a CPU works through stretches of rows
    that stay in the cache, an accelerator through stacks of equal shapes, and values are not checked. Nothing is
    read back from the device.
    """
    import torch

    choice("name", name, tuple(KERNELS))
    number("strength", strength, 0)
    cpu = next(iter(weights.values())).device.type == "cpu"
    stretches = (_tiles if cpu else _stacks)(name, references, weights, masks, grads, shape)

    def work(stretch: Stretch) -> tuple[Tensor, Tensor]:
        target, weight, mask, gradients, extra = stretch
        value, gradient = KERNELS[name](target, weight, mask, **shape, **extra)
        torch._foreach_add_(gradients, list(gradient.to(gradients[0].dtype)), alpha=strength)
        return value, torch.linalg.vector_norm(gradient).square()

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        values, squares = zip(*(pool.map if cpu else map)(work, stretches), strict=True)
    return torch.stack(values).sum(), torch.stack(squares).sum().sqrt()


Stretch = tuple["Tensor", "Tensor", "Tensor", "list[Tensor]", dict[str, Any]]
Group = Mapping[str, "Tensor"]


def _tiles(
    name: str, references: Group, weights: Group, masks: Group, grads: Group, shape: Mapping[str, Any]
) -> Iterator[Stretch]:
    """Some rows at a time where R is a sum over rows, otherwise a matrix at a time; each as a stack of one."""
    apart = shape.get("per", "unit") == "unit" and shape.get("squared", True)
    for key, weight in weights.items():
        extra = {"scale": _frobenius_scale(references[key])} if name == "alignreg_frobenius" and apart else {}
        rows = max(1, TILE // weight.shape[1]) if apart else weight.shape[0]
        for start in range(0, weight.shape[0], rows):
            part = slice(start, start + rows)
            target, kept, mask = (group[key].detach()[None, part] for group in (references, weights, masks))
            yield target, kept, mask, [grads[key][part]], extra


def _stacks(
    name: str, references: Group, weights: Group, masks: Group, grads: Group, shape: Mapping[str, Any]
) -> Iterator[Stretch]:
    """All matrices of one shape at a time, so that a few kernels serve a whole model."""
    import torch

    by_shape: dict[tuple[int, ...], list[str]] = {}
    for key, weight in weights.items():
        by_shape.setdefault(tuple(weight.shape), []).append(key)
    for keys in by_shape.values():
        target, kept, mask = (
            torch.stack([group[key].detach() for key in keys]) for group in (references, weights, masks)
        )
        yield target, kept, mask, [grads[key] for key in keys], {}
