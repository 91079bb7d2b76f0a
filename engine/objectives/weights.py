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

Found = tuple["Tensor", "Tensor", "Tensor"]  # R, and its gradient as a tensor and the factor still to multiply with
TILE = (
    1 << 19
)  # weights per stretch on a CPU: few enough for the third-level cache, and so many that no thread waits for Python


def alignreg_cosine(reference: Tensor, weight: Tensor, mask: Tensor, per: str = "unit") -> tuple[Tensor, Tensor]:
    """`R = Σ_o [1 − cos(w0[o], ŵ[o])]` over the units, or `1 − cos` of the flattened matrix with `per="layer"` (M§4.1).

    A fully pruned row counts 1 and has gradient 0, and so has a row whose reference is zero: there is no angle.
    """
    choice("per", per, ("unit", "layer"))
    _check(reference, weight, mask)
    return _whole(_cosine(reference, weight, mask, per=per))


def alignreg_frobenius(reference: Tensor, weight: Tensor, mask: Tensor, squared: bool = True) -> tuple[Tensor, Tensor]:
    """`R = O·‖w0 − ŵ‖²_F / ‖w0‖²_F`, or `O·‖w0 − ŵ‖_F / ‖w0‖_F` with `squared=False` (M§4.1).

    O, the number of rows, puts it on the scale of `alignreg_cosine`, which sums over units. Unsquared, the gradient
    is 0 where the gap is. An all-zero reference has no scale and is refused.
    """
    _check(reference, weight, mask)
    if not bool(reference.any()):
        raise ValueError("reference: must not be all zero: the distance is measured in units of its norm")
    return _whole(_frobenius(reference, weight, mask, squared=squared))


def l2_sp(reference: Tensor, weight: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """`R = ‖m⊙(w0 − w)‖²`: the distance of the survivors alone, AlignReg's control (M§4.1; Li et al. 2018)."""
    _check(reference, weight, mask)
    return _whole(_l2(reference, weight, mask))


def _check(reference: Tensor, weight: Tensor, mask: Tensor) -> None:
    dimensions("weight", weight, 2, "outputs × inputs")
    shaped("reference", reference, weight.shape)
    shaped("mask", mask, weight.shape)
    finite("reference", reference)
    finite("weight", weight)


# The formulas without checks, on stacks of matrices (…×O×I): R is summed over the stack, the gradient is per matrix.
# The gradient comes as a new tensor and what to multiply it with, which adding it to another does in the same pass.
# `known` is what depends on the reference alone (`CONSTANTS`), for a caller that calls at every step.


def _cosine(reference: Tensor, weight: Tensor, mask: Tensor, per: str = "unit", known: Tensor | None = None) -> Found:
    """`1 − cos = ½‖d‖²` with d the difference of the unit vectors; its gradient is `−(d + ½‖d‖²·v̂)/‖v‖`.

    Exact algebra, and unlike `1 − cos` and `cos·v̂ − r̂` it does not cancel when the two are nearly parallel. It is
    worked out on `‖w0‖·d`, so that the reference itself need not be scaled.
    """
    import torch

    kept, present = _kept(weight, mask)
    norm = _norm(reference, per) if known is None else known
    kept_norm = _norm(kept, per)
    live = (norm > 0) & (kept_norm > 0)
    ratio = torch.where(live, norm / kept_norm, 0.0)
    gap = torch.addcmul(wide(reference), kept, ratio, value=-1)
    half = torch.where(live, 0.5 * (_norm(gap, per) / norm).square(), 1.0)
    factor = torch.where(live, -1 / (norm * kept_norm), 0.0)
    return half.sum(), gap.addcmul_(kept, half * ratio).mul_(present), factor


def _norm(values: Tensor, per: str) -> Tensor:
    import torch

    return torch.linalg.vector_norm(wide(values), dim=-1 if per == "unit" else (-2, -1), keepdim=True)


def _frobenius(
    reference: Tensor, weight: Tensor, mask: Tensor, squared: bool = True, known: Tensor | None = None
) -> Found:
    """`known`: O/‖w0‖² of the whole matrix, also where only some of its rows are passed."""
    import torch

    kept, present = _kept(weight, mask)
    gap = kept.sub_(wide(reference))
    size = torch.linalg.vector_norm(gap, dim=(-2, -1), keepdim=True)
    scale = _frobenius_scale(reference) if known is None else known
    if squared:
        return (scale * size.square()).sum(), gap.mul_(present), 2 * scale
    scale = scale.mul(reference.shape[-2]).sqrt()
    return (scale * size).sum(), gap.mul_(present), torch.where(size > 0, scale / size, 0.0)


def _frobenius_scale(reference: Tensor) -> Tensor:
    return reference.shape[-2] / _norm(reference, "layer").square()


def _l2(reference: Tensor, weight: Tensor, mask: Tensor) -> Found:
    import torch

    gap = (wide(weight) - wide(reference)).mul_(_factor(mask, wide(weight)))
    return torch.linalg.vector_norm(gap).square(), gap, gap.new_full((1, 1), 2.0)


def _whole(found: Found) -> tuple[Tensor, Tensor]:
    value, gap, factor = found
    return value, gap.mul_(factor)


def _kept(weight: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """`m⊙w` as a new tensor, and m as its factor."""
    factor = _factor(mask, wide(weight))
    return wide(weight) * factor, factor


def _factor(mask: Tensor, like: Tensor) -> Tensor:
    # A product with a bool mask is several times slower on a CPU than one with floats.
    return mask.to(like.dtype)


KERNELS: dict[str, Callable[..., Found]] = {"alignreg_cosine": _cosine, "alignreg_frobenius": _frobenius, "l2_sp": _l2}
CONSTANTS: dict[str, Callable[..., Tensor]] = {
    "alignreg_cosine": lambda reference, per="unit": _norm(reference, per),
    "alignreg_frobenius": lambda reference, squared=True: _frobenius_scale(reference),
}


def alignreg_constants(name: str, references: Mapping[str, Tensor], **shape: Any) -> dict[str, Tensor]:
    """What of R and its gradient depends on the references alone: a small tensor per matrix, for `alignreg_step`."""
    find = CONSTANTS.get(name)
    return {} if find is None else {key: find(reference.detach(), **shape) for key, reference in references.items()}


def alignreg_step(
    name: str,
    references: Mapping[str, Tensor],
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    grads: Mapping[str, Tensor],
    strength: float,
    constants: Mapping[str, Tensor] | None = None,
    **shape: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """Add `strength·∇R` of every matrix to `grads`, in place; return R, ‖∇R‖ and ‖grads as they were‖ (M§4.1).

    `name` is a row of `OBJECTIVES` that needs "reference" and `shape` its own parameters (`per`, `squared`);
    `constants` are those of `alignreg_constants`, found here where they are left out. The same sums as one call per
    matrix, fast enough for every training step: a CPU works through stretches of rows that stay in the cache, an
    accelerator through stacks of equal shapes, and values are not checked. Nothing is read back from the device.
    """
    import torch

    choice("name", name, tuple(KERNELS))
    number("strength", strength, 0)
    cpu = next(iter(weights.values())).device.type == "cpu"
    known = alignreg_constants(name, references, **shape) if constants is None else constants
    stretches = list((_tiles if cpu else _stacks)(references, weights, masks, grads, known, shape))

    def work(part: list[Stretch]) -> list[Found]:
        return [_add(KERNELS[name], stretch, strength, shape) for stretch in part]

    threads = torch.get_num_threads() if cpu else 1
    if threads == 1:
        sums = work(stretches)
    else:
        with ThreadPoolExecutor(threads, initializer=_alone) as pool:
            parts = [stretches[first::threads] for first in range(threads)]
            sums = [found for some in pool.map(work, parts) for found in some]
    values, own, task = (torch.stack(column).sum() for column in zip(*sums, strict=True))
    return values, own.sqrt(), task.sqrt()


def _alone() -> None:
    """One thread of torch's for each of ours, or as many again would fight for the cores. It holds for this thread."""
    import torch

    torch.set_num_threads(1)


Stretch = tuple["Tensor", "Tensor", "Tensor", "list[Tensor]", dict[str, Any]]
Group = Mapping[str, "Tensor"]


def _add(kernel: Callable[..., Found], stretch: Stretch, strength: float, shape: Mapping[str, Any]) -> Found:
    """Add one stretch's gradient; R, and the squares of its gradient and of those that it was added to."""
    import torch

    target, weight, mask, gradients, extra = stretch
    value, gap, factor = kernel(target, weight, mask, **shape, **extra)
    task = torch.stack(torch._foreach_norm(gradients)).square().sum()
    own = (torch.linalg.vector_norm(gap, dim=-1, keepdim=True) * factor).square().sum()
    if gap.dim() == gradients[0].dim() and gap.dtype == gradients[0].dtype:
        gradients[0].addcmul_(gap, factor, value=strength)
    else:
        found = gap.mul_(factor).to(gradients[0].dtype)
        torch._foreach_add_(gradients, list(found) if found.dim() > gradients[0].dim() else [found], alpha=strength)
    return value, own, task


def _tiles(
    references: Group, weights: Group, masks: Group, grads: Group, known: Group, shape: Mapping[str, Any]
) -> Iterator[Stretch]:
    """Some rows at a time where R is a sum over rows, otherwise a matrix at a time."""
    apart = shape.get("per", "unit") == "unit" and shape.get("squared", True)
    for key, weight in weights.items():
        rows = max(1, TILE // weight.shape[1]) if apart else weight.shape[0]
        whole = [group[key].detach() for group in (references, weights, masks)]
        constant = known.get(key)
        for start in range(0, weight.shape[0], rows):
            part = slice(start, start + rows)
            target, kept, mask = (values[part] for values in whole)
            extra = {} if constant is None else {"known": constant if len(constant) == 1 else constant[part]}
            yield target, kept, mask, [grads[key][part]], extra


def _stacks(
    references: Group, weights: Group, masks: Group, grads: Group, known: Group, shape: Mapping[str, Any]
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
        extra = {"known": torch.stack([known[key] for key in keys])} if known else {}
        yield target, kept, mask, [grads[key] for key in keys], extra
