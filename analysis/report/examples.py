"""The one place of a report with corpus sentences: items that the dense model has right and the pruned one breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from analysis import theme
from analysis.report.parts import Section, table
from engine import record

if TYPE_CHECKING:
    from analysis.report.document import Report

EXAMPLES = 12


def examples(report: Report) -> Section | None:
    """Items that the dense model has right in most languages and the pruned one breaks: the only place with corpus text."""
    told = report.told
    seeds = sorted(run.seed for run in report.configs if run.method == told.method)
    folders = [record.Run(told.store / told.study / f"{name}-s{seeds[0]}") for name in ("dense", told.method)] if seeds else []  # fmt: skip
    levels = [folder.level(level) for folder, level in zip(folders, (0.0, told.level), strict=False)]
    if len(levels) < 2 or not all(level.has("details.parquet") for level in levels):
        return None
    dense, pruned = (level.frame("details") for level in levels)
    keys = ["language", "split", "id"]
    if not {"label", "predicted", "text"} <= set(dense.columns):
        return None
    both = dense.merge(pruned[[*keys, "predicted"]], on=keys, suffixes=("", "_pruned"))
    both = both[(both["split"] == told.split) & (both["predicted"] == both["label"]) & (both["predicted_pruned"] != both["label"])]  # fmt: skip
    if both.empty:
        return None
    count = both.groupby("id")["language"].transform("size")
    worst = both.assign(broken=count).sort_values(["broken", "id", "language"], ascending=[False, True, True])
    worst = worst.drop_duplicates("language").head(EXAMPLES)
    frame = pd.DataFrame(
        {"language": worst["language"].map(theme.language_name), "text": worst["text"], "label": worst["label"],
         "pruned says": worst["predicted_pruned"], "languages in which it breaks": worst["broken"]}
    )  # fmt: skip
    line = f"Right in the dense model, wrong under {told.method} at {theme.level(told.level)} (seed {seeds[0]}): per language the item that breaks in most languages."
    return Section("examples", "Examples that break", [line], tables=[table("", frame, texts=["text"])])
