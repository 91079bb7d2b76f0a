"""Scores of a plan's criterion, and the masks that they give at a level: the step from what is known to what stays.

Data-driven criteria look at the calibration examples of the network as it is at that moment. Single weights are
chosen by `engine.mask`, heads and neurons by `engine.structured`, which writes them as masks of the same kind.
"""

from __future__ import annotations

import math
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
    """Chooses masks for one plan on one network; `calibration` gives the examples that data-driven criteria look at.

    `final` is the level that a schedule leads to, for which floors are meant.
    """

    plan: Plan
    model: nn.Module
    matrices: list[Matrix]
    bench: Workbench
    calibration: Callable[[], Encoded]
    seed: int
    final: float = 1.0

    def choose(
        self, scores: Mapping[str, Tensor] | None, level: float, keep: Mapping[str, Tensor] | None
    ) -> tuple[dict[str, Tensor], list[str]]:
        """(masks at a level within `keep`, what is remarkable about them); scores that training gathered, or None."""
        if self.plan.kinds:
            return self._units(scores, level, keep)
        found = self.scores() if scores is None else dict(scores)
        masks = dict(mask.select(found, level, self.plan.allocation, keep, self._floors(level), self.plan.ceilings))
        return masks, [f"layer collapse: {name} has no weight left at {level:g}" for name in mask.collapsed(masks)]

    def _floors(self, level: float) -> Mapping[str, float] | None:
        """Least sparsities: in full at the level, in proportion on the way there, where together they would not fit yet."""
        if not self.plan.floors or level >= self.final:
            return self.plan.floors
        # Rounded down, so that the floors' rounding up to whole weights never exceeds the total. Masks on the way are
        # not nested where there are floors (`engine.plan`), so that nothing stands against the full ones at the end.
        return {name: math.floor(1000 * least * level / self.final) / 1000 for name, least in self.plan.floors.items()}

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
