"""Objectives: what is added to the task loss while retraining (M§4), and the table that describes them.

How a row of `OBJECTIVES` is called:

- with "reference" in `needs` (weight space): `value, gradient = row.function(reference, weight, mask, **shape)` for
  one matrix, where `shape` holds the parameters named in `options["shape"]`. `strength` (λ) scales the gradient,
  which is added to `.grad` before clipping; the parameter `reference` says whose weights w0 are: those of the
  fine-tuned dense model or of the pretrained one. `alignreg_step` does all matrices of a model at once.
- otherwise (output space): `loss, logged = row.function(task_loss, student_logits, student_states, teacher_logits,
  teacher_states, **parameters)`, where tensors that `needs` does not name may be None. `logged` holds detached 0-d
  tensors by name. Non-finite values pass through to the loss, for the training loop to report with step and batch.

`options["batch_coupled"]`: the loss depends on which examples share a batch, so that a batch must not be split.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.objectives.outputs import (
    contrastive,
    cross_correlation,
    cross_correlation_parts,
    distillation,
    distillation_kl,
    self_regularised,
    state_cosine,
    state_mse,
)
from engine.objectives.weights import alignreg_cosine, alignreg_frobenius, alignreg_step, l2_sp
from engine.registry import Entry, Parameter, Registry

if TYPE_CHECKING:
    from torch import Tensor

    Output = tuple[Tensor, dict[str, Tensor]]

__all__ = [
    "OBJECTIVES",
    "alignreg_cosine",
    "alignreg_frobenius",
    "alignreg_step",
    "contrastive",
    "cross_correlation",
    "cross_correlation_parts",
    "distillation",
    "distillation_kl",
    "l2_sp",
    "self_regularised",
    "state_cosine",
    "state_mse",
]

SMALLEST_BATCH = 8  # below it a cross-correlation says more about the batch than about the states (M§4.2)


def task_only(
    task_loss: Tensor,
    student_logits: Tensor | None = None,
    student_states: Tensor | None = None,
    teacher_logits: Tensor | None = None,
    teacher_states: Tensor | None = None,
) -> Output:
    """The task loss as it is."""
    return task_loss, {}


def sdp_cc(
    task_loss: Tensor,
    student_logits: Tensor | None,
    student_states: Tensor,
    teacher_logits: Tensor | None,
    teacher_states: Tensor,
    alpha: float = 0.5,
    off_diagonal: float = 0.1,
    normalise: bool = True,
) -> Output:
    """`CE + α·ℓ` with `cross_correlation`; a batch under 8 rows has the task loss only (M§4.2)."""
    if len(student_states) < SMALLEST_BATCH:
        return task_loss, {}
    on, off = cross_correlation_parts(student_states, teacher_states, normalise)
    logged = {"on_diagonal": on.detach(), "off_diagonal": off.detach()}
    return task_loss + alpha * (on + off_diagonal * off), logged


def sdp_kld(
    task_loss: Tensor,
    student_logits: Tensor,
    student_states: Tensor | None,
    teacher_logits: Tensor,
    teacher_states: Tensor | None,
    alpha: float = 0.5,
    temperature: float = 2.0,
) -> Output:
    """`(1−α)·CE + α·τ²·KL(teacher ‖ student)` (M§4.2); regression is distilled by its squared error (M§4)."""
    divergence = distillation(student_logits, teacher_logits, temperature)
    return (1 - alpha) * task_loss + alpha * divergence, {"divergence": divergence.detach()}


def sdp_mse(
    task_loss: Tensor,
    student_logits: Tensor | None,
    student_states: Tensor,
    teacher_logits: Tensor | None,
    teacher_states: Tensor,
    alpha: float = 0.5,
) -> Output:
    """`CE + α·mean‖z^S − z^T‖²` (M§4.2)."""
    distance = state_mse(student_states, teacher_states)
    return task_loss + alpha * distance, {"state_mse": distance.detach()}


def sdp_cos(
    task_loss: Tensor,
    student_logits: Tensor | None,
    student_states: Tensor,
    teacher_logits: Tensor | None,
    teacher_states: Tensor,
    alpha: float = 0.5,
) -> Output:
    """`CE + α·mean(1 − cos(z^S, z^T))` (M§4.2)."""
    distance = state_cosine(student_states, teacher_states)
    return task_loss + alpha * distance, {"state_cosine": distance.detach()}


STRENGTH = Parameter("strength", 0.1, "λ, the regularizer's weight beside the task loss.", low=0)
REFERENCE = Parameter(
    "reference", "finetuned", "Whose weights to stay near: the task-fine-tuned dense model's or the pretrained ones.",
    choices=("finetuned", "pretrained"),
)  # fmt: skip
ALPHA = Parameter("alpha", 0.5, "α, the weight of the distillation term beside the task loss.", low=0)
ALIGNREG = "O'Neill, Dutta & Assem 2022, arXiv 2204.01385"
SDP = "O'Neill, Dutta & Assem 2021, arXiv 2109.15014"

OBJECTIVES: Registry[Entry] = Registry(
    "objective",
    (
        Entry(
            name="none",
            title="Task loss only",
            what="Adds nothing to the task loss.",
            section="M§4",
            source="–",
            function=task_only,
        ),
        Entry(
            name="alignreg_cosine",
            title="AlignReg, cosine",
            what="Penalises the angle between each surviving unit and its dense original.",
            section="M§4.1",
            source=ALIGNREG,
            function=alignreg_cosine,
            needs=frozenset({"reference"}),
            parameters=(
                STRENGTH,
                REFERENCE,
                Parameter("per", "unit", "One angle per unit (row), or one per matrix.", choices=("unit", "layer")),
            ),
            formula=r"\sum_l \sum_o \left[1 - \frac{\langle w^0_{l,o}, \hat w_{l,o} \rangle}{\|w^0_{l,o}\| \|\hat w_{l,o}\|}\right]",
            chosen="λ = 0.1; summed over units, because the mean is too small to matter",
            options={"shape": ("per",)},
        ),
        Entry(
            name="alignreg_frobenius",
            title="AlignReg, Frobenius",
            what="Penalises the relative distance between each matrix and its dense original.",
            section="M§4.1",
            source=ALIGNREG,
            function=alignreg_frobenius,
            needs=frozenset({"reference"}),
            parameters=(
                STRENGTH,
                REFERENCE,
                Parameter("squared", True, "Squared distance, or the distance itself."),
            ),
            formula=r"\sum_l O_l \frac{\|w^0_l - \hat w_l\|_F^2}{\|w^0_l\|_F^2}",
            chosen="λ = 0.1; each matrix weighted by its number of units",
            options={"shape": ("squared",)},
        ),
        Entry(
            name="l2_sp",
            title="L2-SP",
            what="Pulls the survivors towards their dense values: the control of AlignReg.",
            section="M§4.1",
            source="Li et al. 2018, arXiv 1802.01483",
            function=l2_sp,
            needs=frozenset({"reference"}),
            parameters=(STRENGTH, REFERENCE),
            formula=r"\|m \odot (w^0 - w)\|^2",
            chosen="λ = 0.1",
            options={"shape": ()},
        ),
        Entry(
            name="sdp_cc",
            title="SDP, cross-correlation",
            what="Matches every feature of the pruned network's states with the dense network's and decorrelates the rest.",
            section="M§4.2",
            source=SDP,
            function=sdp_cc,
            needs=frozenset({"teacher_states"}),
            parameters=(
                ALPHA,
                Parameter("off_diagonal", 0.1, "Weight of the off-diagonal part.", low=0),
                Parameter("normalise", True, "Scale both parts so that they do not depend on batch and width."),
            ),
            formula=r"\mathrm{CE} + \alpha \left[\tfrac{1}{D} \sum_i (1 - C_{ii})^2 + \lambda \tfrac{B-1}{D(D-1)} \sum_{i \ne j} C_{ij}^2\right]",
            chosen="α = 0.5; normalised so that α does not depend on batch and width",
            options={"batch_coupled": True},
        ),
        Entry(
            name="sdp_kld",
            title="SDP, KL divergence",
            what="Takes the dense network's predictions as soft targets.",
            section="M§4.2",
            source=SDP,
            function=sdp_kld,
            needs=frozenset({"teacher_logits"}),
            parameters=(
                Parameter("alpha", 0.5, "α, the share of the soft targets; the labels have the rest.", low=0, high=1),
                Parameter("temperature", 2.0, "τ, how much the predictions are softened.", low=0, open_low=True),
            ),
            formula=r"(1 - \alpha)\,\mathrm{CE} + \alpha \tau^2\,\mathrm{KL}(\mathrm{teacher} \,\|\, \mathrm{student})",
            chosen="α = 0.5, τ = 2",
        ),
        Entry(
            name="sdp_mse",
            title="SDP, squared distance",
            what="Takes the dense network's states as targets, by squared distance.",
            section="M§4.2",
            source=SDP,
            function=sdp_mse,
            needs=frozenset({"teacher_states"}),
            parameters=(ALPHA,),
            formula=r"\mathrm{CE} + \alpha \cdot \mathrm{mean} \|z^S - z^T\|^2",
            chosen="α = 0.5",
        ),
        Entry(
            name="sdp_cos",
            title="SDP, cosine",
            what="Takes the dense network's states as targets, by angle.",
            section="M§4.2",
            source=SDP,
            function=sdp_cos,
            needs=frozenset({"teacher_states"}),
            parameters=(ALPHA,),
            formula=r"\mathrm{CE} + \alpha \cdot \mathrm{mean}(1 - \cos(z^S, z^T))",
            chosen="α = 0.5",
        ),
    ),
)
