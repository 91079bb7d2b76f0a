"""Objectives: what is added to the task loss while retraining (M§4), and the table that describes them.

How a row of `OBJECTIVES` is called:

- with "reference" in `needs` (weight space): `value, gradient = row.function(reference, weight, mask, **shape)` for
  one matrix, where `shape` holds the parameters named in `options["shape"]`. `strength` (λ) scales the gradient,
  which is added to `.grad` before clipping; the parameter `reference` says whose weights w0 are: those of the
  fine-tuned dense model or of the pretrained one. `alignreg_step` does all matrices of a model at once.
- with "latest_teacher" in `needs`: `loss = row.function(student_logits, teacher_logits, labels, **parameters)`, where
  the teacher is the network's own latest checkpoint (`engine.guidance.SelfRegularised`).
- with "banks" in `needs`: `loss, logged = row.function(task_loss, student_logits, student_states, teacher_logits, banks,
  rows, others, labels, **parameters)`, see `engine.objectives.cap`.
- otherwise (output space): `loss, logged = row.function(task_loss, student_logits, student_states, teacher_logits,
  teacher_states, **parameters)`, where tensors that `needs` does not name may be None. `logged` holds detached 0-d
  tensors by name. Non-finite values pass through to the loss, for the training loop to report with step and batch.

`options["divergence"]`: compares distributions over classes, which a task that predicts numbers has not (M§4).
`options["batch_coupled"]`: the loss depends on which examples share a batch, so that a batch must not be split.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.objectives.cap import bank_contrast, cap
from engine.objectives.outputs import (
    contrastive,
    cross_correlation,
    cross_correlation_parts,
    distillation_kl,
    self_regularised,
    self_regularised_loss,
    soft_target_loss,
    state_cosine,
    state_mse,
)
from engine.objectives.weights import alignreg_constants, alignreg_cosine, alignreg_frobenius, alignreg_step, l2_sp
from engine.registry import Entry, Parameter, Registry

if TYPE_CHECKING:
    from torch import Tensor

    Output = tuple[Tensor, dict[str, Tensor]]

__all__ = [
    "OBJECTIVES",
    "alignreg_constants",
    "alignreg_cosine",
    "alignreg_frobenius",
    "alignreg_step",
    "bank_contrast",
    "cap",
    "contrastive",
    "cross_correlation",
    "cross_correlation_parts",
    "distillation_kl",
    "l2_sp",
    "self_regularised",
    "self_regularised_loss",
    "soft_target_loss",
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
    divergence = soft_target_loss(student_logits, teacher_logits, temperature)
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
BEFORE = Parameter(
    "before_mask",
    False,
    "Also stay near the pretrained weights while the dense model is fine-tuned: which weights fall later changes.",
)
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
                BEFORE,
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
                BEFORE,
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
        Entry(
            name="self_regularised",
            title="Self-regularisation",
            what="Learns from its own latest checkpoint of increasing sparsity, the more the surer it is.",
            section="M§4.3",
            source="Ren & Zhu 2023, arXiv 2305.12394",
            function=self_regularised_loss,
            needs=frozenset({"latest_teacher"}),
            parameters=(
                Parameter("temperature", 2.0, "T, how much the predictions are softened.", low=0, open_low=True),
                Parameter(
                    "weight",
                    None,
                    "A fixed share of the teacher; left out: 1 − H(p)/log C of each example.",
                    low=0,
                    high=1,
                ),
            ),
            formula=r"\mathrm{mean}_i [a_i T^2\,\mathrm{KL}_i + (1 - a_i)\,\mathrm{CE}_i],\quad a_i = 1 - H(p_i) / \log C",
            chosen="the teacher is chosen on a twentieth of train, held out (at most 256 examples), and renewed at 10 equal steps of "
            "the sparsity, or at every level of an iterative path",
            options={"divergence": True},
        ),
        Entry(
            name="cap",
            title="CAP",
            what="Contrasts each example with what the pretrained, the earlier and the fine-tuned model made of it and of others.",
            section="M§4.4",
            source="Xu et al. 2022, arXiv 2112.07198",
            function=cap,
            needs=frozenset({"teacher_logits", "teacher_states", "banks"}),
            parameters=(
                Parameter("pretrained", True, "PrC: contrast with the pretrained model."),
                Parameter("snapshots", True, "SnC: contrast with snapshots of lower sparsity."),
                Parameter("finetuned", True, "FiC: contrast with the fine-tuned model."),
                Parameter("unsupervised", 0.1, "Weight of the contrast by example.", low=0),
                Parameter("supervised", 0.01, "Weight of the contrast by label.", low=0),
                Parameter("temperature", 0.1, "τ of the contrast.", low=0, open_low=True),
                Parameter("task", 0.1, "Weight of the task loss.", low=0),
                Parameter("distillation", 0.9, "Weight of the fine-tuned model's soft targets.", low=0),
                Parameter("temperature_kd", 2.0, "T of the soft targets.", low=0, open_low=True),
                Parameter(
                    "negatives", 4096, "Stored representations of other examples that an example is told from.", low=1
                ),
                Parameter("most_snapshots", 4, "Snapshots kept at most, the latest.", low=1),
            ),
            formula=r"w_{ce}\,\mathrm{CE} + w_{kd} T^2\,\mathrm{KL} + \sum_{\mathrm{PrC, SnC, FiC}} (w_u L_u + w_s L_s)",
            chosen="w_u = 0.1, w_s = 0.01, because the released code divides twice; at most 4 snapshots",
            options={"batch_coupled": True},
        ),
    ),
)
