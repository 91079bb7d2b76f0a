"""CAP: contrast of a batch with banks of stored representations, as pure functions (M§4.4; Xu et al. 2022).

An anchor is an example of the batch as the network sees it now. Its candidates are the other examples of the batch
(detached), what the bank holds of the batch, and what it holds of random other examples. Positives are the bank's
rows of the same example (unsupervised), or every candidate with the same label (supervised).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.criteria.arguments import dimensions, number, shaped
from engine.objectives.outputs import contrast, soft_target_loss

if TYPE_CHECKING:
    from torch import Tensor


def bank_contrast(
    anchors: Tensor,
    bank: Tensor,
    rows: Tensor,
    others: Tensor,
    labels: Tensor,
    temperature: float,
) -> tuple[Tensor, Tensor]:
    """(unsupervised, supervised) contrast of one batch with one bank, each as `contrastive` defines it (M§4.4).

    anchors: B×D. bank: N×s×D, s representations of every training example. rows: B, the batch's examples; others: K,
    random other examples (none of the batch). labels: N, class numbers of all training examples.
    """
    import torch

    dimensions("bank", bank, 3, "examples × representations × width")
    shaped("rows", rows, (len(anchors),), "one example per anchor:")
    number("temperature", temperature, 0, open_low=True)
    batch, per_example = len(anchors), bank.shape[1]
    stored = torch.cat([rows, others])
    candidates = torch.cat([anchors.detach(), bank[stored].reshape(-1, bank.shape[2]).to(anchors.dtype)])
    owners = torch.cat([rows, stored.repeat_interleave(per_example)])
    valid = torch.ones(batch, len(candidates), dtype=torch.bool, device=anchors.device)
    valid[:, :batch].fill_diagonal_(False)
    same_example = owners[None, :] == rows[:, None]
    same_example[:, :batch] = False
    same_label = labels[owners][None, :] == labels[rows][:, None]
    return (
        contrast(anchors, candidates, same_example, valid, temperature),
        contrast(anchors, candidates, same_label & valid, valid, temperature),
    )


def cap(
    task_loss: Tensor,
    student_logits: Tensor,
    student_states: Tensor,
    teacher_logits: Tensor,
    banks: Mapping[str, Tensor],
    rows: Tensor,
    others: Mapping[str, Tensor],
    labels: Tensor,
    unsupervised: float = 0.1,
    supervised: float = 0.01,
    temperature: float = 0.1,
    task: float = 0.1,
    distillation: float = 0.9,
    temperature_kd: float = 2.0,
    **_: Any,
) -> tuple[Tensor, dict[str, Tensor]]:
    """`w_ce·CE + w_kd·T²·KL + Σ_banks (w_u·L_u + w_s·L_s)` (M§4.4); a regression is distilled by its squared error (M§4).

    `banks`: name → N×s×D, those of the modules that are switched on and have something to contrast with; `others`:
    name → random other examples. The remaining parameters of the row steer what fills the banks.
    """
    divergence = soft_target_loss(student_logits, teacher_logits, temperature_kd)
    total = task * task_loss + distillation * divergence
    logged = {"divergence": divergence.detach()}
    for name, bank in banks.items():
        by_example, by_label = bank_contrast(student_states, bank, rows, others[name], labels, temperature)
        total = total + unsupervised * by_example + supervised * by_label
        logged |= {f"contrast_{name}": by_example.detach(), f"contrast_labels_{name}": by_label.detach()}
    return total, logged
