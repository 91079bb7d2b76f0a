"""Recipes: named compositions of criterion, granularity, allocation, schedule, objective, start and path (M§4.6).

A recipe is a row; `engine.plan.resolve` puts a study's overrides over it. `options` hold the parts: `criterion`,
`objective` and `schedule` name rows of their tables (or are pairs of a name and the parameters that the recipe sets);
`axis` and `values` where they are not levels given by the study; `rewind` as in `engine.plan.Plan`; `control` marks the
two runs that every study has; `checkpoint` one whose pruned model comes from a folder named in the method.
"""

from __future__ import annotations

from typing import Any

from engine.registry import Entry, Registry

CONTROLS = ("dense", "dense_continued")  # run in every study, whether listed or not


def _recipe(
    name: str, title: str, what: str, source: str, chosen: str = "", section: str = "M§4.6", **parts: Any
) -> Entry:
    options = {
        "criterion": "magnitude",
        "objective": "none",
        "schedule": "steps",
        "path": "iterative",
        "start": "dense",
        "control": False,
        **parts,
    }
    return Entry(name=name, title=title, what=what, section=section, source=source, chosen=chosen, options=options)


RECIPES: Registry[Entry] = Registry(
    "recipe",
    (
        _recipe("dense", "Dense", "The task-fine-tuned model without pruning: the reference of every drop.", "–",
                control=True, section="M§4.5"),
        _recipe("dense_continued", "Dense, trained on",
                "The dense model trained for as many updates as the pruned ones, at sparsity 0: what training alone changes.",
                "–", control=True, section="M§4.5"),
        _recipe("random", "Random", "Removes weights at random: the control that any criterion has to beat.", "control",
                criterion="random", section="M§3"),
        _recipe("magnitude", "Magnitude", "Removes the smallest weights, then retrains, level by level.",
                "Han et al. 2015, arXiv 1506.02626", section="M§3"),
        _recipe("lamp", "LAMP", "Magnitude with a score that accounts for what is left in the same matrix.",
                "Lee et al. 2021, arXiv 2010.07611", criterion="lamp", section="M§2.3"),
        _recipe("wanda", "Wanda", "Weight times the norm of its input on calibration text, ranked within each output row.",
                "Sun et al. 2024, arXiv 2306.11695", criterion="wanda", section="M§3",
                chosen="retraining follows every level, as for all methods here; the paper prunes once and does not train"),
        _recipe("lookahead", "Lookahead", "Magnitude weighted by the norms of the neighbouring matrices.",
                "Park et al. 2020, arXiv 2002.04809", criterion="lookahead", section="M§3"),
        _recipe("gradient_magnitude", "Gradient × magnitude", "Removes weights whose removal changes the loss least, to first order.",
                "Molchanov et al. 2017, arXiv 1611.06440", criterion="gradient_magnitude", section="M§3"),
        _recipe("fisher", "Fisher", "Removes weights of least diagonal second-order saliency.",
                "LeCun et al. 1990 (OBD); diagonal empirical Fisher", criterion="fisher", section="M§3"),
        _recipe("alignreg_cosine", "AlignReg (cosine)",
                "Magnitude pruning with a penalty on the angle between each surviving unit and its dense original.",
                "O'Neill, Dutta & Assem 2022, arXiv 2204.01385", objective="alignreg_cosine", section="M§4.1",
                chosen="λ = 0.1; summed over units, because the mean is too small to matter"),
        _recipe("alignreg_frobenius", "AlignReg (Frobenius)",
                "Magnitude pruning with a penalty on the relative distance between each matrix and its dense original.",
                "O'Neill, Dutta & Assem 2022, arXiv 2204.01385", objective="alignreg_frobenius", section="M§4.1",
                chosen="λ = 0.1; each matrix weighted by its number of units"),
        _recipe("l2_sp", "L2-SP", "Magnitude pruning with survivors pulled towards their dense values: the control of AlignReg.",
                "Li et al. 2018, arXiv 1802.01483", objective="l2_sp", section="M§4.1"),
        _recipe("sdp_cc", "SDP (cross-correlation)",
                "Magnitude pruning while the pruned network's states are decorrelated and matched with the dense network's.",
                "O'Neill, Dutta & Assem 2021, arXiv 2109.15014", objective="sdp_cc", section="M§4.2",
                chosen="normalised so that α does not depend on batch and width"),
        _recipe("sdp_kld", "SDP (KL)", "Magnitude pruning with the dense network's predictions as soft targets.",
                "O'Neill, Dutta & Assem 2021, arXiv 2109.15014", objective="sdp_kld", section="M§4.2"),
        _recipe("sdp_mse", "SDP (MSE)", "Magnitude pruning with the dense network's states as targets, squared distance.",
                "O'Neill, Dutta & Assem 2021, arXiv 2109.15014", objective="sdp_mse", section="M§4.2"),
        _recipe("sdp_cos", "SDP (cosine)", "Magnitude pruning with the dense network's states as targets, by angle.",
                "O'Neill, Dutta & Assem 2021, arXiv 2109.15014", objective="sdp_cos", section="M§4.2"),
        _recipe("l0", "L0", "Learns a gate for every weight under a penalty on the number of open ones.",
                "Louizos et al. 2018, arXiv 1712.01312", criterion="l0", section="M§3",
                chosen="the penalty is divided by the number of weights, so that a strength means the same in every model"),
        _recipe("movement", "Movement", "Removes the weights that training moves towards zero.",
                "Sanh et al. 2020, arXiv 2005.07683", criterion="movement", section="M§3",
                chosen="plain SGD on the scores, as in the paper's formula; starts from the fine-tuned model like every arm"),
        _recipe("soft_movement", "Soft movement", "Movement with a threshold on every score: matrices find their own sparsity.",
                "Sanh et al. 2020, arXiv 2005.07683", criterion="soft_movement", section="M§3",
                chosen="Adam on the scores, as in the released code"),
        _recipe("platon", "PLATON", "Keeps weights whose sensitivity is large or still uncertain, gathered while training.",
                "Zhang et al. 2022, arXiv 2206.12562", criterion="platon", section="M§3"),
        _recipe("pins", "PINS", "Principled importance under one gradient step, regularised by its own latest checkpoint.",
                "Ren & Zhu 2023, arXiv 2305.12394", criterion="pins", objective="self_regularised", section="M§4.3",
                chosen="the teacher is chosen on a slice held out of train, at 10 equal steps of the sparsity"),
        _recipe("cap_f", "CAP-f", "Contrastive pruning of heads and neurons by their first-order importance.",
                "Xu et al. 2022, arXiv 2112.07198", criterion="taylor_structured", granularity="structured",
                objective=("cap", {"temperature_kd": 1.0}), values=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9), section="M§4.4",
                chosen="the study's epochs a level, as for every arm; the paper takes 2"),
        _recipe("cap_m", "CAP-m", "Contrastive pruning with movement scores.",
                "Xu et al. 2022, arXiv 2112.07198", criterion="movement", objective="cap", section="M§4.4"),
        _recipe("cap_soft", "CAP-soft", "Contrastive pruning with soft movement.",
                "Xu et al. 2022, arXiv 2112.07198", criterion="soft_movement", objective="cap", section="M§4.4"),
        _recipe("super_ticket", "Super tickets", "Removes the heads and neurons of least sensitivity, puts the rest back to the pretrained weights and trains these.",
                "Liang et al. 2021, arXiv 2105.12002", criterion="head_sensitivity", granularity="structured", schedule="one_shot",
                path="independent", start="pretrained", rewind=True, section="M§4.6",
                chosen="trained for as many updates as every arm at that level"),
        _recipe("sds", "Sparse-dense-sparse", "Prunes, revives what was pruned under a penalty, and prunes again.",
                "M§4.6; after Han et al. 2017, arXiv 1607.04381", schedule="sparse_dense_sparse", section="M§4.6"),
        _recipe("distill", "Distilled student", "A small dense model, cut from the pretrained one, taught by the fine-tuned one.",
                "Hinton et al. 2015, arXiv 1503.02531; Sanh et al. 2019, arXiv 1910.01108", objective="sdp_kld", axis="sizes", path="independent",
                start="pretrained", schedule="one_shot", section="M§4.5",
                chosen="every k-th block, then the heads and neurons of smallest norm removed evenly"),
        _recipe("small", "Small model", "A small dense model, cut from the pretrained one and trained on the task alone.",
                "M§4.5", axis="sizes", path="independent", start="pretrained", schedule="one_shot", section="M§4.5",
                chosen="built like the distilled student, without a teacher"),
        _recipe("imported", "Imported", "A checkpoint that was pruned elsewhere, taken as it is: its zeros are the mask, nothing is trained.",
                "DESIGN §5", checkpoint=True,
                chosen="the measured sparsity is its level; updates made elsewhere are unknown and count 0"),
    ),
)  # fmt: skip
