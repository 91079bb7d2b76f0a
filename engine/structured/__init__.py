"""Heads and FFN neurons: which go, the weight masks that express it, and smaller dense models without them (M§1, §2).

A removed unit is an ordinary weight mask: a head's rows of query, key and value and its columns of the attention
output are False, a neuron's row of FFN in and its column of FFN out. Zero columns make the output the same as masking
what flows into the projection, whatever the unit's biases say, so that `Masked` works as it is. The usual way is

    groups = unit_groups(model)                      # or kinds=("head", "ffn"), what a criterion's row names
    scores = unit_scores(groups, weight_scores)      # or stats.unit_scores for criteria of granularity "structured"
    units, reached = select_units(scores, sparsity, keep)
    masked.set(weight_masks(groups, units, shapes))
    small = compact(model, units)                    # the same logits from fewer weights
"""

from __future__ import annotations

from engine.structured.compaction import compact, dense_blocks, keep_blocks, reshape, shape_of
from engine.structured.folder import FILE, load, save
from engine.structured.selection import notes, select_units, unit_scores
from engine.structured.student import shrink, student_shape
from engine.structured.units import Group, unit_groups, unit_masks, units_left, weight_masks

__all__ = [
    "FILE",
    "Group",
    "compact",
    "dense_blocks",
    "keep_blocks",
    "load",
    "notes",
    "reshape",
    "save",
    "select_units",
    "shape_of",
    "shrink",
    "student_shape",
    "unit_groups",
    "unit_masks",
    "unit_scores",
    "units_left",
    "weight_masks",
]
