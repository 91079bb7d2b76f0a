"""How large the sets of the tasks table are, for an estimate where they cannot be read (M§5).

Rounded counts as the sets' papers and cards give them: training examples of the source language, test examples of one
language, and tokens of a typical example. An estimate from them is right within tens of percent; `check` on the
machine itself counts and measures.
"""

from __future__ import annotations

from typing import NamedTuple


class Size(NamedTuple):
    """Training examples, test examples per language, tokens of an example."""

    train: int
    test: int
    tokens: int


SIZES = {
    "xnli": Size(392_700, 5_010, 40),
    "paws-x": Size(49_400, 2_000, 55),
    "xglue-nc": Size(100_000, 10_000, 256),
    "xglue-qadsm": Size(100_000, 10_000, 40),
    "xglue-qam": Size(100_000, 10_000, 70),
    "xglue-wpr": Size(100_000, 10_000, 60),
    "xglue-ner": Size(15_000, 3_300, 25),
    "xglue-pos": Size(25_400, 900, 30),
    "mnli": Size(392_700, 9_815, 40),
    "qqp": Size(363_800, 40_430, 30),
    "qnli": Size(104_700, 5_463, 50),
    "sst2": Size(67_300, 872, 15),
    "cola": Size(8_551, 1_043, 12),
    "stsb": Size(5_749, 1_500, 30),
    "mrpc": Size(3_668, 408, 55),
    "rte": Size(2_490, 277, 70),
    "squad": Size(88_500, 10_800, 180),
    "e2e": Size(42_000, 630, 60),
}
