"""How alike the masks of runs are, beside what chance gives (M§6.8): pairs of methods on a seed, pairs of seeds of a method."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.measures.calibrated import languages_of
from analysis.measures.plan import Study
from analysis.weights import jaccard_chance
from engine import record
from engine.record import Level

Packed = dict[str, NDArray[np.uint8]]


def overlap(study: Study) -> pd.DataFrame:
    """One row per level and pair of runs with masks: jaccard and chance (from each matrix's own counts), matrices.

    kind: methods (two methods, one seed) or seeds (one method, two seeds). calibration_a, calibration_b: the languages
    that data-driven criteria looked at. Masks are compared as packed bits, eight weights a byte.
    """
    rows: list[dict[str, Any]] = []
    by_level: dict[float, list[tuple[str, int, Level, str]]] = {}
    for run, config, levels in study.runs.values():
        for level, facts in levels.values():
            if level.has("masks.safetensors"):
                by_level.setdefault(facts["sparsity"], []).append(
                    (run.method, run.seed, level, ", ".join(languages_of(config)))
                )
    for sparsity, found in sorted(by_level.items()):
        masks = [Masks.read(level) for _, _, level, _ in found]
        for one, other in _pairs(found):
            rows.append(
                {
                    "study": study.name,
                    "sparsity": sparsity,
                    **_facts(found[one], found[other]),
                    **shared(masks[one], masks[other]),
                }
            )
    return pd.DataFrame(rows)


def _pairs(found: list[tuple[str, int, Level, str]]) -> Iterator[tuple[int, int]]:
    for one, other in combinations(range(len(found)), 2):
        if (found[one][1] == found[other][1]) != (found[one][0] == found[other][0]):
            yield one, other


def _facts(a: tuple[str, int, Level, str], b: tuple[str, int, Level, str]) -> dict[str, Any]:
    kind = "methods" if a[1] == b[1] else "seeds"
    return {
        "kind": kind,
        "method_a": a[0],
        "seed_a": a[1],
        "method_b": b[0],
        "seed_b": b[1],
        "calibration_a": a[3],
        "calibration_b": b[3],
    }


@dataclass(frozen=True)
class Masks:
    """The masks of a level as packed bits, with the shape of every matrix."""

    bits: Packed
    shapes: dict[str, tuple[int, ...]]

    @classmethod
    def read(cls, level: Level) -> Masks:
        """Those of a level that has `masks.safetensors`."""
        shapes = json.loads(record.read_metadata(level.path / "masks.safetensors")["shapes"])
        bits = {name: np.asarray(packed, dtype=np.uint8) for name, packed in level.arrays("masks").items()}
        return cls(bits, {name: tuple(shape) for name, shape in shapes.items()})


def shared(a: Masks, b: Masks) -> dict[str, Any]:
    """jaccard of what both kept, chance from each matrix's own counts, and how many matrices both have.

    Eight weights a byte, and nothing is unpacked. NaN where no matrix has the same name and shape in both.
    """
    names = [name for name, shape in a.shapes.items() if b.shapes.get(name) == shape]
    if not names:
        return {"jaccard": np.nan, "chance": np.nan, "matrices": 0}
    both, kept_a, kept_b = (
        np.array([_ones(bits) for bits in sides], dtype=np.float64)
        for sides in (
            [a.bits[name] & b.bits[name] for name in names],
            [a.bits[name] for name in names],
            [b.bits[name] for name in names],
        )
    )
    union = float((kept_a + kept_b - both).sum())
    return {
        "jaccard": float(both.sum()) / union if union else np.nan,
        "chance": jaccard_chance(kept_a, kept_b, [int(np.prod(a.shapes[name])) for name in names]),
        "matrices": len(names),
    }


def _ones(bits: NDArray[np.uint8]) -> int:
    return int(np.bitwise_count(bits).sum())  # the bits that fill the last byte are 0
