"""The table of claims (M§7): 32 directions of four papers, each with the control that isolates it."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.claims.measured import (
    Test,
    competitive,
    drop_and_alignment,
    extra_drop,
    gap,
    growth,
    language_spread,
    probing,
    ranking_changes,
    seeds,
)
from engine.registry import Registry


@dataclass(frozen=True)
class Claim:
    """One row of the board. A positive effect means that the direction holds; `view` is the page that shows it."""

    name: str
    paper: str
    what: str
    control: str
    unit: str
    test: Test
    view: str
    section: str = "M§7"

    @property
    def title(self) -> str:
        """The direction, as the tables of methods call it."""
        return self.what

    @property
    def source(self) -> str:
        """The paper."""
        return self.paper


ALIGNREG = "AlignReg (O'Neill, Dutta & Assem 2022)"
SDP = "SDP (O'Neill, Dutta & Assem 2021)"
PINS = "PINS (Ren & Zhu 2023)"
CAP = "CAP (Xu et al. 2022)"
POINTS, TAU = "points", "correlation"


CLAIMS: Registry[Claim] = Registry(
    "claim",
    (
        Claim("zero-shot-drops-more", ALIGNREG, "Magnitude pruning costs zero-shot languages more than the source language (90%).",
             "the same items in the source language", POINTS, Test(extra_drop, "magnitude", 0.9), "degradation"),
        Claim("languages-differ", ALIGNREG, "What magnitude pruning costs differs by language (90%).",
             "each item's drops shuffled among the languages", POINTS, Test(language_spread, "magnitude", 0.9), "degradation"),
        Claim("drop-follows-alignment", ALIGNREG, "Languages that drop more have lost more cross-lingual alignment (magnitude, 90%).",
             "languages as the units", TAU, Test(drop_and_alignment, "magnitude", 0.9), "alignment"),
        Claim("ranking-changes", ALIGNREG, "The order of criteria changes between the source and the zero-shot languages (90%).",
             "two halves of the items in one language", TAU, Test(ranking_changes, "magnitude", 0.9), "degradation"),
        Claim("cosine-zero-shot", ALIGNREG, "AlignReg (cosine) keeps more zero-shot accuracy than plain magnitude (90%).",
             "plain magnitude", POINTS, gap("alignreg_cosine", "magnitude", 0.9), "degradation"),
        Claim("cosine-source", ALIGNREG, "AlignReg (cosine) keeps more source accuracy than plain magnitude (90%).",
             "plain magnitude", POINTS, gap("alignreg_cosine", "magnitude", 0.9, "source"), "degradation"),
        Claim("frobenius-zero-shot", ALIGNREG, "AlignReg (Frobenius) keeps more zero-shot accuracy than plain magnitude (90%).",
             "plain magnitude", POINTS, gap("alignreg_frobenius", "magnitude", 0.9), "degradation"),
        Claim("frobenius-source", ALIGNREG, "AlignReg (Frobenius) keeps more source accuracy than plain magnitude (90%).",
             "plain magnitude", POINTS, gap("alignreg_frobenius", "magnitude", 0.9, "source"), "degradation"),
        Claim("cosine-not-just-l2", ALIGNREG, "AlignReg (cosine) keeps more zero-shot accuracy than a pull without alignment (90%).",
             "L2-SP", POINTS, gap("alignreg_cosine", "l2_sp", 0.9), "degradation"),
        Claim("cosine-unit-alignment", ALIGNREG, "AlignReg (cosine) keeps the units better aligned with the dense ones (90%).",
             "plain magnitude", "cosine", seeds("weights", "unit_cosine_mean", "alignreg_cosine", "magnitude", 0.9), "weights"),
        Claim("cosine-retrieval", ALIGNREG, "AlignReg (cosine) loses less cross-lingual alignment (90%).",
             "plain magnitude", POINTS, seeds("states", "retrieval", "alignreg_cosine", "magnitude", 0.9), "alignment"),
        Claim("cc-over-kld", SDP, "SDP-CC keeps more zero-shot accuracy than SDP-KLD at high sparsity (95%).",
             "SDP-KLD", POINTS, gap("sdp_cc", "sdp_kld", 0.95), "degradation"),
        Claim("kld-over-magnitude", SDP, "SDP-KLD keeps more zero-shot accuracy than plain magnitude at high sparsity (95%).",
             "plain magnitude", POINTS, gap("sdp_kld", "magnitude", 0.95), "degradation"),
        Claim("cc-over-magnitude", SDP, "SDP-CC keeps more zero-shot accuracy than plain magnitude at high sparsity (95%).",
             "plain magnitude", POINTS, gap("sdp_cc", "magnitude", 0.95), "degradation"),
        Claim("cc-separability", SDP, "SDP-CC separates the classes better than plain magnitude (90%).",
             "plain magnitude, same level", "R²", seeds("states", "r_squared", "sdp_cc", "magnitude", 0.9), "separability"),
        Claim("cc-snr", SDP, "SDP-CC has a higher signal-to-noise ratio than plain magnitude (90%).",
             "plain magnitude, same level", "ratio", seeds("states", "class_snr", "sdp_cc", "magnitude", 0.9), "separability"),
        Claim("cc-recovery", SDP, "SDP-CC needs fewer updates to recover after a pruning step (90%).",
             "plain magnitude, same level", "updates", seeds("recoveries", "updates_to_recover", "sdp_cc", "magnitude", 0.9, -1), "diagnose"),
        Claim("cc-survivors-sparser", SDP, "SDP-CC's surviving weights are sparser (90%).",
             "plain magnitude, same level", "Hoyer", seeds("weights", "hoyer", "sdp_cc", "magnitude", 0.9), "weights"),
        Claim("cc-favours-sparse", SDP, "The objective alone, without a mask, favours sparser weights.",
             "the dense model trained on", "Hoyer", seeds("weights", "hoyer", "sdp_cc-unpruned", "dense_continued", 0.0), "weights"),
        Claim("cc-over-small", SDP, "SDP-CC at 90% beats a small model with as many weights.",
             "a small model of 10%", POINTS, gap("sdp_cc", "small", 0.9), "compare"),
        Claim("cc-against-six-times", SDP, "SDP-CC at 90% is at most 2 points below a distilled model of six times its weights.",
             "a distilled model of 60%, less 2 points", POINTS, competitive("sdp_cc", "distill", 0.9, 0.4), "compare"),
        Claim("pins-over-platon", PINS, "PINS beats PLATON, both without self-regularisation (90%).",
             "PLATON", POINTS, gap("pins-alone", "platon", 0.9), "degradation"),
        Claim("pins-over-movement", PINS, "PINS beats movement, both without self-regularisation (90%).",
             "movement", POINTS, gap("pins-alone", "movement", 0.9), "degradation"),
        Claim("pins-self-over-platon-self", PINS, "PINS beats PLATON, both with self-regularisation (90%).",
             "PLATON with self-regularisation", POINTS, gap("pins", "platon-self", 0.9), "degradation"),
        Claim("pins-self-over-movement-self", PINS, "PINS beats movement, both with self-regularisation (90%).",
             "movement with self-regularisation", POINTS, gap("pins", "movement-self", 0.9), "degradation"),
        Claim("self-helps", PINS, "Self-regularisation helps PINS (95%).",
             "PINS without it", POINTS, gap("pins", "pins-alone", 0.95), "degradation"),
        Claim("self-helps-most-when-sparse", PINS, "Self-regularisation helps more at 95% than at 80%.",
             "the gain at 80%", POINTS, growth("pins", "pins-alone", 0.95, 0.8), "degradation"),
        Claim("cap-over-distillation", CAP, "Contrast helps magnitude pruning beyond distillation (95%).",
             "the same with the contrastive weights at 0", POINTS, gap("cap-magnitude", "cap-magnitude-off", 0.95), "degradation"),
        Claim("cap-most-when-sparse", CAP, "Contrast helps more at 95% than at 80%.",
             "the gain at 80%", POINTS, growth("cap-magnitude", "cap-magnitude-off", 0.95, 0.8), "degradation"),
        Claim("cap-structured", CAP, "Contrast helps structured pruning beyond distillation (90% of heads and neurons).",
             "the same with the contrastive weights at 0", POINTS, gap("cap_f", "cap_f-off", 0.9), "degradation"),
        Claim("cap-probing", CAP, "CAP's features serve another task better under a linear probe (95%).",
             "the same with the contrastive weights at 0", POINTS, probing("probe", "cap-magnitude", "cap-magnitude-off", 0.95), "diagnose"),
        Claim("cap-forgets-less", CAP, "CAP forgets less of the pretraining: lower masked-token loss (95%).",
             "the same with the contrastive weights at 0", "nats", probing("masked_token_loss", "cap-magnitude", "cap-magnitude-off", 0.95, -1), "diagnose"),
    ),
)  # fmt: skip
