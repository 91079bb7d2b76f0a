"""Importance criteria: which weights matter (M§3), and the table that describes them.

A criterion is a pure function of one matrix's statistics, so that it can be tested against a slow reference, and
knows nothing of sparsity, which belongs to `engine.mask`.

How a row of `CRITERIA` is called:

- without "training" in `needs`: `scores = row.function(weight, **statistics, **parameters)`, where `statistics` has
  one item for every other name in `needs`. `weight` is O×I and the scores have its shape. The statistics:
  `grad` the signed sum of gradients over calibration batches; `grad_sq` the mean of squared batch gradients;
  `input_norm` the L2 norm of every input over non-padding tokens, shape (I,); `neighbours` the pair
  (matrix that feeds this one, matrix that reads it), None where there is none; `generator` what
  `matrix_generator(seed, name)` returns.
- with "training" in `needs`: `state = row.function(**parameters)`, then at every training step
  `state.update(name, **values)` for every matrix, where `values` has `weight`, `grad` and what else `needs` names
  (`lr`), and `state.scores()` when a mask is wanted and `state.ready`. `options["update"]` says when in the step:
  `after_backward` (before masking and clipping), `before_step` or `after_step` of the optimiser; `options["masking"]`
  which mode of M§2.1 the scores ask for. Rows whose `options["axis"]` is "strength" learn gates instead of scores and
  decide for themselves what to remove: see `engine.criteria.learned`.

- with `options["granularity"] == "structured"` the row scores units and not weights: `stats.unit_scores` calls
  `row.function` for each group of units with `mask_grad` (batches × units), or batch by batch with `unit_outputs`
  (outputs, gradients, real tokens) and adds up; `options["units"]` names the kinds of units it ranks.

`options["allocation"]` is the allocation that belongs to the criterion, where it is not global.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.criteria.gates import hard_concrete, hard_concrete_penalty, soft_movement_penalty, soft_threshold_mask
from engine.criteria.learned import L0, SoftMovement
from engine.criteria.scores import (
    fisher,
    gradient_magnitude,
    lamp,
    lookahead,
    magnitude,
    matrix_generator,
    pins,
    random,
    wanda,
)
from engine.criteria.states import Movement, Pins, Platon
from engine.criteria.structured import head_sensitivity, taylor_structured
from engine.registry import Entry, Parameter, Registry

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "CRITERIA",
    "L0",
    "Movement",
    "Pins",
    "Platon",
    "SoftMovement",
    "fisher",
    "gradient_magnitude",
    "hard_concrete",
    "hard_concrete_penalty",
    "head_sensitivity",
    "lamp",
    "lookahead",
    "magnitude",
    "matrix_generator",
    "pins",
    "random",
    "soft_movement_penalty",
    "soft_threshold_mask",
    "taylor_structured",
    "wanda",
]


def _lookahead(weight: Tensor, neighbours: tuple[Tensor | None, Tensor | None]) -> Tensor:
    """`lookahead` with its two neighbours as the one statistic that the table names."""
    return lookahead(weight, *neighbours)


SMOOTHING = (
    Parameter("beta1", 0.85, "How much of the smoothed importance the next window keeps.", low=0, high=1),
    Parameter("beta2", 0.95, "How much of the smoothed uncertainty the next window keeps.", low=0, high=1),
    Parameter("window", 10, "Steps averaged before smoothing.", low=1),
)

GATE_RATE = Parameter(
    "lr", 1e-2, "Learning rate of the gates, under the schedule of the weights' own.", low=0, open_low=True
)

CRITERIA: Registry[Entry] = Registry(
    "criterion",
    (
        Entry(
            name="random",
            title="Random",
            what="Draws every score at random: the control that any criterion has to beat.",
            section="M§3",
            source="control",
            function=random,
            needs=frozenset({"weight", "generator"}),
            formula=r"S \sim U(0, 1)",
            chosen="seeded by (seed, matrix name) and drawn on the CPU, so that the masks are the same on every device",
        ),
        Entry(
            name="magnitude",
            title="Magnitude",
            what="Keeps the largest weights.",
            section="M§3",
            source="Han et al. 2015, arXiv 1506.02626",
            function=magnitude,
            needs=frozenset({"weight"}),
            formula=r"|w|",
        ),
        Entry(
            name="lookahead",
            title="Lookahead",
            what="Weighs each weight by the norms of the matrix rows and columns it connects.",
            section="M§3",
            source="Park et al. 2020, arXiv 2002.04809",
            function=_lookahead,
            needs=frozenset({"weight", "neighbours"}),
            formula=r"|w_{kj}| \cdot \|W^{-}_{j,:}\|_2 \cdot \|W^{+}_{:,k}\|_2",
            chosen="a missing neighbour gives factor 1",
        ),
        Entry(
            name="gradient_magnitude",
            title="Gradient × magnitude",
            what="Keeps the weights whose removal would change the loss most, to first order.",
            section="M§3",
            source="Molchanov et al. 2017, arXiv 1611.06440",
            function=gradient_magnitude,
            needs=frozenset({"weight", "grad"}),
            formula=r"\left|w \sum_b g_b\right|",
        ),
        Entry(
            name="fisher",
            title="Fisher",
            what="Keeps the weights of largest second-order saliency, the Hessian approximated by squared gradients.",
            section="M§3",
            source="LeCun et al. 1990 (optimal brain damage), diagonal empirical Fisher",
            function=fisher,
            needs=frozenset({"weight", "grad_sq"}),
            formula=r"\tfrac{1}{2} w^2 \cdot \tfrac{1}{B} \sum_b g_b^2",
        ),
        Entry(
            name="wanda",
            title="Wanda",
            what="Weight times the norm of its input on calibration text, ranked within each output row.",
            section="M§3",
            source="Sun et al. 2024, arXiv 2306.11695",
            function=wanda,
            needs=frozenset({"weight", "input_norm"}),
            formula=r"|w_{oi}| \cdot \|x_i\|_2",
            options={"allocation": "row"},
        ),
        Entry(
            name="lamp",
            title="LAMP",
            what="Magnitude, ranked by each weight's share of what would be left in its matrix.",
            section="M§2.3",
            source="Lee et al. 2021, arXiv 2010.07611",
            function=magnitude,
            needs=frozenset({"weight"}),
            formula=r"w_u^2 \big/ \sum_{v \ge u} w_v^2",
            options={"allocation": "lamp"},
        ),
        Entry(
            name="platon",
            title="PLATON",
            what="Smoothed sensitivity times its uncertainty, gathered while training.",
            section="M§3",
            source="Zhang et al. 2022, arXiv 2206.12562",
            function=Platon,
            needs=frozenset({"weight", "grad", "training"}),
            parameters=SMOOTHING,
            formula=r"\bar I \cdot \bar U,\quad s = |w_{t+1} g_t|",
            options={"update": "after_step", "masking": "zero_after_step", "path": "independent"},
        ),
        Entry(
            name="pins",
            title="PINS",
            what="The weights that one gradient step and masking would harm least, smoothed while training.",
            section="M§3",
            source="Ren & Zhu 2023, arXiv 2305.12394",
            function=Pins,
            needs=frozenset({"weight", "grad", "lr", "training"}),
            parameters=(
                *SMOOTHING,
                Parameter(
                    "sign",
                    "abs",
                    "abs ranks |S| as the released code does; signed ranks S (experimental).",
                    choices=("abs", "signed"),
                ),
            ),
            formula=r"S = -w g + \eta g^2",
            options={"update": "before_step", "masking": "zero_after_step", "path": "independent"},
        ),
        Entry(
            name="movement",
            title="Movement",
            what="Keeps the weights that training moves away from zero.",
            section="M§3",
            source="Sanh et al. 2020, arXiv 2005.07683",
            function=Movement,
            needs=frozenset({"weight", "grad", "training"}),
            parameters=(
                Parameter("lr", 1e-2, "Learning rate of the scores.", low=0, open_low=True),
                Parameter(
                    "optimiser",
                    "sgd",
                    "sgd as in the paper's formula, adam as in the released code.",
                    choices=("sgd", "adam"),
                ),
            ),
            formula=r"S = -\mathrm{lr} \sum_t w g",
            chosen="plain SGD on the scores, as in the paper's formula, fed before clipping; top-k per matrix",
            options={
                "update": "after_backward",
                "masking": "shadow",
                "path": "independent",
                "allocation": "layerwise",
                "signed": True,
            },
        ),
        Entry(
            name="soft_movement",
            title="Soft movement",
            what="Movement scores against a rising threshold, under a penalty: every matrix finds its own sparsity.",
            section="M§3",
            source="Sanh et al. 2020, arXiv 2005.07683",
            function=SoftMovement,
            needs=frozenset({"weight", "grad", "training"}),
            parameters=(
                GATE_RATE,
                Parameter("threshold", 0.1, "Final threshold τ on σ(S).", low=0, high=1, open_low=True),
            ),
            formula=r"m = \sigma(S) > \tau_t,\quad \lambda_t \cdot \mathrm{mean}\,\sigma(S),\quad \lambda_t = \lambda_f \tau_t / \tau_f",
            chosen="Adam on the scores, as in the released code; the threshold follows the schedule",
            options={"masking": "shadow", "path": "independent", "axis": "strength"},
        ),
        Entry(
            name="l0",
            title="L0",
            what="A hard concrete gate on every weight, under a penalty on the expected number of open ones.",
            section="M§3",
            source="Louizos et al. 2018, arXiv 1712.01312",
            function=L0,
            needs=frozenset({"weight", "grad", "training"}),
            parameters=(GATE_RATE,),
            formula=r"z = \mathrm{clip}\left(\sigma\left(\tfrac{\log u - \log(1-u) + \log\alpha}{\beta}\right)(\zeta-\gamma)+\gamma, 0, 1\right)",
            chosen="the penalty is divided by the number of weights; Adam on log α from 2.197, as in Sanh et al.'s code",
            options={"masking": "shadow", "path": "independent", "axis": "strength"},
        ),
        Entry(
            name="taylor_structured",
            title="Taylor, heads and neurons",
            what="Keeps the heads and FFN neurons whose removal would change the loss most, to first order.",
            section="M§3",
            source="Xu et al. 2022 (CAP), arXiv 2112.07198, released code; Michel et al. 2019, arXiv 1905.10650",
            function=taylor_structured,
            needs=frozenset({"mask_grad"}),
            formula=r"\sum_b \left|\partial L_b / \partial \xi\right|, \text{ L2-normalised within each layer}",
            options={"granularity": "structured", "units": ("head", "neuron")},
        ),
        Entry(
            name="head_sensitivity",
            title="Head sensitivity",
            what="Keeps the heads and whole FFN blocks whose outputs the loss is most sensitive to, token by token.",
            section="M§3",
            source="Liang et al. 2021 (Super Tickets), arXiv 2105.12002",
            function=head_sensitivity,
            needs=frozenset({"unit_outputs"}),
            formula=r"\sum_t \left|\langle \partial L / \partial o_t, o_t \rangle\right|",
            chosen="heads and FFN blocks are ranked globally, separately, without a norm per layer; of a removed FFN block the first neuron stays",
            options={"granularity": "structured", "units": ("head", "ffn")},
        ),
    ),
)
