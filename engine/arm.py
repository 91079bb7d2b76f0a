"""What an arm of a study consists of while it runs: the dense model it starts from, its network, masks and objective.

`engine.arms` visits the levels; this says for each where the network starts (`begin`), what happens to its masks
(`pruning`) and what it is compared with (`guidance`). Everything goes by the plan and by what rows say they need.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from engine import mask
from engine.config import ConfigError
from engine.criteria import CRITERIA
from engine.data import hash_order
from engine.guidance import Anchored, Contrasted, Distilled, Guidance, SelfRegularised, reference_weights
from engine.masked import Masked
from engine.model import matrices, patterns_to_names
from engine.objectives import OBJECTIVES
from engine.plan import Plan
from engine.pruning import Gates, Gradual, Pruning, Revival, renewal_points
from engine.record import Level, RecordError, Run
from engine.schedule import RAMP_NAMES, SCHEDULES
from engine.selection import Selector
from engine.teacher import Teacher, item_bank
from engine.trainer import Progress, RunError, updates

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

    from engine.context import Context
    from engine.data import Encoded

NEAR = 0.02  # rounding within rows and patterns moves a measured sparsity this far at most


@dataclass
class Dense:
    """The study's dense model of one seed: its weights, those of its matrices as arrays, updates, and sizes."""

    level: Level
    updates: int
    reference: dict[str, np.ndarray]
    sizes: dict[str, Any]

    @classmethod
    def of(cls, context: Context) -> Dense:
        """Read the finished dense run; refuse to start before it is there."""
        run = Run(context.run.path.parent / f"dense-s{context.run.seed}")
        status = run.status()
        if not status or status["state"] != "done":
            raise RecordError(
                f"{run.study}/{run.name}: must be done before {context.run.name} can start; it is {run.state()}"
            )
        level = run.level(0.0)
        facts = level.size()
        found = cls(level, int(facts["updates"]), {}, facts)
        model = found.model(context)
        found.reference = {m.name: m.weight_OI().float().cpu().numpy().copy() for m in matrices(model)}
        return found

    def model(self, context: Context) -> nn.Module:
        """A fresh model with the dense weights."""
        model = context.bench.pretrained(context.run.seed)
        weights = self.level.arrays("weights")
        model.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
        return model


@dataclass
class Arm:
    """A method's run while it lasts: the network, its masks, and what they are compared with."""

    context: Context
    plan: Plan
    overrides: dict[str, Any]
    dense: Dense
    model: nn.Module
    masked: Masked
    _guide: Guidance | None = None
    _own_dense: dict[str, Tensor] | None = None  # matrices of a dense model that this arm alone has
    _held_out: tuple[pd.DataFrame, Encoded] | None = None

    @classmethod
    def of(cls, context: Context) -> Arm:
        """From the job's plan; patterns are spelled out on the real matrices."""
        plan, section = context.job.plan, context.job.method
        if plan is None or section is None:
            raise ConfigError([f"RUN: {context.job.name} has no plan in this study"])
        dense_ = Dense.of(context)
        model = dense_.model(context)
        found = matrices(model, plan.include, plan.exclude)
        names = [matrix.name for matrix in found]
        floors, ceilings = (patterns_to_names(getattr(plan, key), names, key) for key in ("floors", "ceilings"))
        plan = replace(plan, floors=floors, ceilings=ceilings)
        return cls(context, plan, dict(section.train), dense_, model, Masked(found))

    # -- the dense stage of a method that changes it ------------------------------------------------------------------

    @property
    def own_dense_updates(self) -> int:
        """Updates of a dense fine-tuning of its own, for objectives that act before the first mask (M§4.1)."""
        bench = self.context.bench
        if not self.plan.objective.parameters.get("before_mask"):
            return 0
        return updates(len(bench.train), bench.settings(self.overrides, bench.study.train.epochs))

    def begin_dense(self) -> Guidance:
        """Go back to the pretrained checkpoint, which the objective then pulls towards."""
        self.use(self.context.bench.pretrained(self.context.run.seed))
        return Anchored(self.plan.objective, reference_weights(self.model, self.masked.matrices))

    # -- one level ------------------------------------------------------------------------------------------------------

    def begin(self, number: int, boundary: Progress | None) -> None:
        """Bring the network to where the cycle of a level starts; `boundary` is a checkpoint made between two cycles."""
        afresh = self.plan.path == "independent" or number == 1
        if afresh and not (number == 1 and self.own_dense_updates):
            self.use(self._start(number))
        if boundary is not None and self.plan.path == "iterative":
            self.model.load_state_dict(boundary.part("model", self.context.bench.handle.device))
            masks = boundary.part("mask", self.context.bench.handle.device)
            if masks:
                self.masked.set(masks)
        if number == 1 and self.own_dense_updates:
            self._own_dense = reference_weights(self.model, self.masked.matrices)

    def _start(self, number: int) -> nn.Module:
        bench, plan = self.context.bench, self.plan
        if plan.axis == "sizes":
            from engine import structured

            return structured.shrink(bench.pretrained(self.context.run.seed), plan.values[number - 1])
        return self.dense.model(self.context) if plan.start == "dense" else bench.pretrained(self.context.run.seed)

    def use(self, model: nn.Module) -> None:
        """Take another network, without masks."""
        self.model = model
        self.masked = Masked(matrices(model, self.plan.include, self.plan.exclude))

    def target(self, number: int, value: float, total: int) -> Callable[[int], float]:
        """Update → sparsity in the cycle of a level (0 to 1 where the sparsity is an outcome)."""
        plan = self.plan
        schedule = SCHEDULES[plan.schedule.name]
        if "levels" in schedule.needs or plan.axis == "sizes" or total == 0:
            return lambda done: value
        ramp = {key: value for key, value in plan.schedule.parameters.items() if key in RAMP_NAMES}
        before, final = ramp.pop("initial", 0.0), value
        if plan.path == "iterative" and number > 1:
            before = plan.values[number - 2]
        if plan.axis == "strength":
            before, final = 0.0, 1.0
        assert schedule.function is not None
        function = schedule.function
        return lambda done: float(function(done, total, before, final, **ramp))

    def pruning(self, number: int, value: float, total: int, resumed: bool) -> Pruning:
        """What happens to the masks in this cycle; a mask that comes before the first update is set here."""
        plan = self.plan
        schedule, criterion = SCHEDULES[plan.schedule.name], CRITERIA[plan.criterion.name]
        if plan.axis == "sizes":
            return Pruning(self.masked)
        target = self.target(number, value, total)
        learns = "training" in criterion.needs
        state = criterion.function(**plan.criterion.parameters) if learns and criterion.function else None
        if plan.axis == "strength":
            return Gates(self.masked, state, value, target)
        choose = self._choose(value)
        lifts = bool(schedule.options.get("lifts"))
        if lifts or (target(0) == value and not learns):
            nested = plan.path == "iterative" and not lifts
            if not resumed:
                self.masked.set(choose(None, value, self.masked.masks_OI() if nested else None))
            return (
                Revival(self.masked, choose, target, plan.schedule.parameters["l1"]) if lifts else Pruning(self.masked)
            )
        points = renewal_points(plan.schedule.parameters, total, regrows=learns)
        if target(0) > 0 and self.masked.masks_OI() is None and not resumed:
            # A schedule that begins above 0 has pruned before the first update (its scores need no training).
            self.masked.set(choose(None, target(0), None))
        return Gradual(self.masked, criterion, state, choose, target, points)

    def _choose(self, final: float) -> Callable[..., dict[str, Tensor]]:
        """Scores → masks on the network (a rewinding arm: on the dense one), saying in the log what is remarkable.

        `final` is the sparsity of the level, on the way to which floors hold in proportion.
        """
        context, plan = self.context, self.plan
        section = context.job.method
        examples = cache(lambda: context.bench.calibration(section.calibration if section else {}))
        model = self.dense.model(context) if plan.rewind else self.model
        selector = Selector(
            plan, model, matrices(model, plan.include, plan.exclude), context.bench, examples, context.run.seed, final
        )

        def choose(scores: Any, level: float, keep: Any) -> dict[str, Tensor]:
            masks, remarks = selector.choose(scores, level, keep)
            for text in remarks:
                context.run.say(text)
                context.log("event", 0, level=level, text=text)
            return masks

        return choose

    def guidance(self) -> Guidance:
        """The objective with what it compares with: kept over an iterative path, made anew for a new network."""
        if self._guide is None or self.plan.path == "independent":
            self._guide = self._build()
        return self._guide

    def _build(self) -> Guidance:
        part, context, bench = self.plan.objective, self.context, self.context.bench
        needs = OBJECTIVES[part.name].needs
        shared = (part, self.model, bench.train, bench.data.type, bench.handle)
        iterative = self.plan.path == "iterative"
        if "banks" in needs:
            labels = bench.train_classes()
            return Contrasted(*shared, teacher=self._teacher(), banks=self._banks(), labels=labels, iterative=iterative)
        if "latest_teacher" in needs:
            order, size = hash_order(bench.train_frame["id"]), bench.settings(self.overrides, 0).batch_size
            return SelfRegularised(
                *shared, order=order, batch_size=size, score=self._held_out_score, iterative=iterative
            )
        if needs & {"teacher_logits", "teacher_states"}:
            return Distilled(part, self._teacher())
        if "reference" in needs:
            finetuned = part.parameters["reference"] == "finetuned"
            own = finetuned and self.own_dense_updates > 0
            if own and self._own_dense is not None:
                return Anchored(part, self._own_dense, own)
            source = self.dense.model(context) if finetuned else bench.pretrained(context.run.seed)
            return Anchored(part, reference_weights(source, self.masked.matrices), own)
        return Guidance(part)

    def _teacher(self) -> Teacher:
        return self.context.bench.teacher(self.context.run.seed, lambda: self.dense.model(self.context))

    def _banks(self) -> dict[str, Tensor]:
        """What the pretrained and the fine-tuned model make of every training example, as far as the contrast asks."""
        context, bench, wanted = self.context, self.context.bench, self.plan.objective.parameters
        models = {
            "pretrained": lambda: bench.pretrained(context.run.seed),
            "finetuned": lambda: self.dense.model(context),
        }
        return {
            name: item_bank(load(), bench.train, bench.data.type, bench.handle)
            for name, load in models.items()
            if wanted[name]
        }

    def _held_out_score(self, rows: np.ndarray) -> float:
        """The network's headline score on some training examples; leaves it in training mode."""
        bench = self.context.bench
        if self._held_out is None:
            frame = bench.train_frame.iloc[rows].reset_index(drop=True)
            self._held_out = frame, bench.encode(frame)
        found = bench.score(self.model, *self._held_out)
        self.model.train()
        return found

    def check(self, value: float) -> None:
        """Refuse to call a level done that its schedule did not reach (units may fall short, which the log says)."""
        masks = self.masked.masks_OI()
        if self.plan.axis != "levels" or self.plan.kinds:
            return
        found = mask.measured(masks) if masks else 0.0
        if abs(found - value) > NEAR:
            name = self.plan.schedule.name
            raise RunError(
                f"method.schedule: {name} must reach {value:g} within the cycle's updates; it reached {found:g}"
            )
