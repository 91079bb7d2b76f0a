"""Scores of a plan's criterion, and the masks that they give at a level: the step from what is known to what stays.

Data-driven criteria look at the calibration examples of the network as it is at that moment. Single weights are
chosen by `engine.mask`, heads and neurons by `engine.structured`, which writes them as masks of the same kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import mask, stats
from engine.criteria import CRITERIA, matrix_generator
from engine.model import Matrix
from engine.plan import Plan

if TYPE_CHECKING:
    from torch import Tensor, nn

    from engine.data import Encoded
    from engine.workbench import Workbench


@dataclass(frozen=True)
class Selector:
    """Chooses masks for one plan on one network; `calibration` gives the examples that data-driven criteria look at."""

    plan: Plan
    model: nn.Module
    matrices: list[Matrix]
    bench: Workbench
    calibration: Callable[[], Encoded]
    seed: int

    def choose(
        self, scores: Mapping[str, Tensor] | None, level: float, keep: Mapping[str, Tensor] | None
    ) -> tuple[dict[str, Tensor], list[str]]:
        """(masks at a level within `keep`, what is remarkable about them); scores that training gathered, or None."""
        if self.plan.kinds:
            return self._units(scores, level, keep)
        found = self.scores() if scores is None else dict(scores)
        masks = dict(mask.select(found, level, self.plan.allocation, keep, self.plan.floors, self.plan.ceilings))
        return masks, [f"layer collapse: {name} has no weight left at {level:g}" for name in mask.collapsed(masks)]

    def scores(self) -> dict[str, Tensor]:
        """The criterion's score of every weight, outputs × inputs."""
        row = CRITERIA[self.plan.criterion.name]
        assert row.function is not None
        known, function = self._statistics(row.needs), row.function
        parameters = self.plan.criterion.parameters
        return {
            matrix.name: function(matrix.weight_OI(), **known[matrix.name], **parameters) for matrix in self.matrices
        }

    def _statistics(self, needs: frozenset[str]) -> dict[str, dict[str, Any]]:
        if "generator" in needs:
            return {matrix.name: {"generator": matrix_generator(self.seed, matrix.name)} for matrix in self.matrices}
        if not needs & (stats.COLLECTED | {"neighbours"}):
            return {matrix.name: {} for matrix in self.matrices}
        bench = self.bench
        encoded = self.calibration() if needs & stats.COLLECTED else bench.train
        rows = np.arange(len(encoded)) if needs & stats.COLLECTED else np.array([], dtype=int)
        return stats.collect(self.model, bench.data.type, self.matrices, needs, encoded, rows, bench.handle.device)

    def _units(
        self, scores: Mapping[str, Tensor] | None, level: float, keep: Mapping[str, Tensor] | None
    ) -> tuple[dict[str, Tensor], list[str]]:
        """The same for heads and neurons: scored as units or by the mean over their weights, written as weight masks."""
        from engine import structured

        groups = structured.unit_groups(self.model, self.matrices, self.plan.kinds)
        row = CRITERIA[self.plan.criterion.name]
        if row.options.get("granularity") == "structured":
            bench, encoded = self.bench, self.calibration()
            rows = np.arange(len(encoded))
            found = stats.unit_scores(self.model, bench.data.type, groups, row, encoded, rows, bench.handle.device)
        else:
            found = structured.unit_scores(groups, self.scores() if scores is None else scores)
        before = None if keep is None else structured.unit_masks(groups, keep)
        units, _ = structured.select_units(found, level, before)
        shapes = {matrix.name: tuple(matrix.weight_OI().shape) for matrix in self.matrices}
        return dict(structured.weight_masks(groups, units, shapes)), structured.notes(found, level)
