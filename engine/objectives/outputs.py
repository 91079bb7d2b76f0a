"""Output-space objectives: distillation, cross-correlation and contrast between student and teacher (M§4.2–§4.4).

Pure functions of tensors, differentiable in the student; the teacher is detached. Rows are the examples (or
tokens) that count: the caller has dropped padding and, for question answering, stacked start and end. Half
precision is widened to float32 and autocast is off inside: a bf16 correlation loses the differences it measures.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from engine.criteria.arguments import dimensions, finite, number, shaped

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = -100  # the label that token tasks give to positions without one


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.element_size() < 4 else tensor


def _exact(tensor: Tensor) -> AbstractContextManager[object]:
    """Autocast off, for products that must not be rounded to half precision."""
    import torch

    return torch.autocast(tensor.device.type, enabled=False)


def cross_correlation(student: Tensor, teacher: Tensor, off_diagonal: float = 0.1, normalise: bool = True) -> Tensor:
    """`ℓ = on + λ·off` of the student's and the teacher's states, B×D each; a scalar (M§4.2).

    With `C_ij = Σ_b z^S_bi z^T_bj / (‖z^S_·i‖‖z^T_·j‖)` on batch-centred states, `on = (1/D) Σ_i (1−C_ii)²` and
    `off = (B−1)/(D(D−1)) Σ_{i≠j} C_ij²`, so that λ means the same at every batch size and width; with
    `normalise=False` the plain sums (Barlow Twins). Not 0 at student = teacher. Features without variance in
    either state are left out of both, and D counts the others; 0 when none is left. Refuses B < 2.
    """
    number("off_diagonal", off_diagonal, 0)
    _check_states(student, teacher)
    on, off = cross_correlation_parts(student, teacher, normalise)
    return on + off_diagonal * off


def cross_correlation_parts(student: Tensor, teacher: Tensor, normalise: bool = True) -> tuple[Tensor, Tensor]:
    """The on- and the off-diagonal part of `cross_correlation`, before λ; values are not checked."""
    student, teacher = _wide(student), _wide(teacher.detach())
    with _exact(student):
        left, right = _varying(student - student.mean(0), teacher - teacher.mean(0), student, teacher)
        correlation = (left / left.norm(dim=0)).T @ (right / right.norm(dim=0))
        diagonal = correlation.diagonal()
        on = (1 - diagonal).square().sum()
        off = correlation.square().sum() - diagonal.square().sum()
    width, batch = len(diagonal), len(student)
    if not normalise:
        return on, off
    return on / max(width, 1), off * (batch - 1) / max(width * (width - 1), 1)


def _varying(left: Tensor, right: Tensor, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """The centred states without the features that are constant in either.

    Constancy is read from the states: centring leaves rounding errors, whose correlation would be noise.
    """
    import torch

    with torch.no_grad():
        live = (student.amax(0) != student.amin(0)) & (teacher.amax(0) != teacher.amin(0))
        live &= (left.norm(dim=0) != 0) & (right.norm(dim=0) != 0)
    return left[:, live], right[:, live]


def contrastive(
    anchors: Tensor, candidates: Tensor, positives: Tensor, temperature: float, valid: Tensor | None = None
) -> Tensor:
    """`−(1/|P(i)|) Σ_{j∈P(i)} log softmax_j(z_i·z_j/τ)`, averaged over the anchors that have positives (M§4.4).

    anchors: A×D; candidates: K×D; both are L2-normalised here. positives: bool A×K. valid: bool A×K, the
    candidates of each anchor; the others leave the softmax, and P(i) too. A scalar; 0 when no anchor has a positive.
    """
    number("temperature", temperature, 0, open_low=True)
    dimensions("anchors", anchors, 2, "anchors × width")
    dimensions("candidates", candidates, 2, "candidates × width")
    shaped("candidates", candidates, (len(candidates), anchors.shape[1]), "the anchors' width:")
    for name, flags in (("positives", positives), ("valid", valid)):
        if flags is not None:
            shaped(name, flags, (len(anchors), len(candidates)), "one flag per anchor and candidate:")
    finite("anchors", anchors)
    finite("candidates", candidates)
    wanted = positives.bool()
    allowed = wanted.new_ones(wanted.shape) if valid is None else valid.bool()
    return contrast(_wide(anchors), _wide(candidates), wanted & allowed, allowed, temperature)


def contrast(anchors: Tensor, candidates: Tensor, positives: Tensor, valid: Tensor, temperature: float) -> Tensor:
    """`contrastive` without its checks, for every training step; `positives` holds valid candidates only."""
    from torch.nn import functional

    used = positives.any(1)
    if not bool(used.any()):
        return anchors.sum() * 0.0
    # Anchors without positives go before the softmax: a row without valid candidates would be NaN.
    positives, valid = positives[used], valid[used]
    with _exact(anchors):
        products = functional.normalize(anchors[used], dim=1) @ functional.normalize(candidates, dim=1).T / temperature
    logs = products.masked_fill(~valid, -float("inf")).log_softmax(1)
    return -(logs.masked_fill(~positives, 0.0).sum(1) / positives.sum(1)).mean()


def self_regularised(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float = 2.0,
    weight: float | None = None,
) -> Tensor:
    """`mean_i [a_i·KD_i + (1−a_i)·CE_i]`, `KD = T²·KL(teacher ‖ student)` (M§4.3; Ren & Zhu 2023).

    `a_i = 1 − H(p_student,i)/log C`, detached, at temperature 1: a confident student listens to the teacher, an
    unsure one to the labels. `weight` fixes a instead. logits: N×C (or more leading axes), C ≥ 2; labels: class
    numbers, rows with −100 are left out; 0 when none is left.
    """
    number("temperature", temperature, 0, open_low=True)
    if weight is not None:
        number("weight", weight, 0, 1)
    _check_logits(student_logits, teacher_logits)
    shaped("labels", labels, student_logits.shape[:-1], "one label per row:")
    finite("student_logits", student_logits)
    finite("teacher_logits", teacher_logits)
    _check_labels(labels, student_logits.shape[-1])
    return self_regularised_loss(student_logits, teacher_logits, labels, temperature, weight)


def _check_labels(labels: Tensor, classes: int) -> None:
    bad = (labels != IGNORED) & ((labels < 0) | (labels >= classes))
    if bool(bad.any()):
        raise ValueError(f"labels: must be from 0 to {classes - 1} or {IGNORED}; got {int(labels[bad][0])}")


def self_regularised_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float = 2.0,
    weight: float | None = None,
) -> Tensor:
    """`self_regularised` without its checks, for every training step."""
    from torch.nn import functional

    counted = labels != IGNORED
    student, teacher = _wide(student_logits[counted]), _wide(teacher_logits.detach()[counted])
    if len(student) == 0:
        return student_logits.sum() * 0.0
    entropy_loss = functional.cross_entropy(student, labels[counted], reduction="none")
    share = confidence(student) if weight is None else weight
    return (share * _divergence(student, teacher, temperature) + (1 - share) * entropy_loss).mean()


def confidence(logits: Tensor) -> Tensor:
    """`1 − H(p)/log C` per row, from 0 (uniform) to 1 (certain), detached (M§4.3)."""
    logs = _wide(logits.detach()).log_softmax(-1)
    entropy = -(logs.exp() * logs).sum(-1)
    return (1 - entropy / math.log(logits.shape[-1])).clamp(0, 1)


def _divergence(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """`τ²·KL(teacher ‖ student)` per row, both softened by τ; τ² keeps the gradient's size (Hinton et al. 2015)."""
    student = (student_logits / temperature).log_softmax(-1)
    teacher = (teacher_logits / temperature).log_softmax(-1)
    return temperature**2 * (teacher.exp() * (teacher - student)).sum(-1)


def distillation_kl(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """`τ²·KL(teacher ‖ student)` averaged over rows, τ² included (M§4.2). logits: …×C, C ≥ 2."""
    number("temperature", temperature, 0, open_low=True)
    _check_logits(student_logits, teacher_logits)
    return _divergence(_wide(student_logits), _wide(teacher_logits.detach()), temperature).mean()


def soft_target_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """`distillation_kl` over classes; of a single output (regression) the mean squared error, which has no temperature (M§4)."""
    if student.shape[-1] > 1:
        return distillation_kl(student, teacher, temperature)
    shaped("teacher_logits", teacher, student.shape, "the student's shape")
    return (_wide(student) - _wide(teacher.detach())).square().mean()


def state_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """`mean_b ‖z^S_b − z^T_b‖²`: summed over the width, averaged over rows (M§4.2)."""
    _check_rows(student, teacher)
    return (_wide(student) - _wide(teacher.detach())).square().sum(-1).mean()


def state_cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """`mean_b (1 − cos(z^S_b, z^T_b))` (M§4.2); a zero state counts 1."""
    from torch.nn import functional

    _check_rows(student, teacher)
    return (1 - functional.cosine_similarity(_wide(student), _wide(teacher.detach()), dim=-1)).mean()


def _check_rows(student: Tensor, teacher: Tensor) -> None:
    dimensions("student", student, 2, "rows × width")
    shaped("teacher", teacher, student.shape, "the student's shape")
    if student.numel() == 0:
        raise ValueError(f"student: must not be empty; got shape {tuple(student.shape)}")


def _check_states(student: Tensor, teacher: Tensor) -> None:
    _check_rows(student, teacher)
    if len(student) < 2:
        raise ValueError(f"student: must have at least 2 rows to correlate over; got {len(student)}")
    finite("student", student)
    finite("teacher", teacher)


def _check_logits(student: Tensor, teacher: Tensor) -> None:
    shaped("teacher_logits", teacher, student.shape, "the student's shape")
    if student.dim() < 2 or student.shape[-1] < 2 or student.numel() == 0:
        raise ValueError(
            f"student_logits: must have rows of at least 2 classes (regression distils by mean squared error); got shape {tuple(student.shape)}"
        )
