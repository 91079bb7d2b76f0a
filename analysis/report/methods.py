"""What a report says of methods and measures: sentence, formula, choice and source of every table row that was used."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from analysis.report.formula import mathml
from analysis.report.parts import Entry, Section
from engine.metrics import METRICS
from engine.registry import table as registry

if TYPE_CHECKING:
    from analysis.report.document import Report

PARTS = ("criterion", "objective", "schedule")  # of a method's plan; each names a row of its table
TABLE_OF = {"criterion": "criteria", "objective": "objectives", "schedule": "schedules"}


def methods(report: Report) -> Section:
    """Every recipe, criterion and objective that the study used, from the tables that the engine runs on."""
    wanted: dict[tuple[str, str], str] = {}
    for config in report.configs.values():
        wanted.setdefault(("recipes", str(config["recipe"])), "")
        plan = config.get("plan") or {}
        for part in PARTS:
            name = plan.get(part, {}).get("name") if isinstance(plan.get(part), dict) else None
            if name and name != "none":
                wanted.setdefault((TABLE_OF[part], str(name)), part)
    found = []
    for (kind, name), part in wanted.items():
        if row := _entry(kind, name):
            found.append(replace(row, title=f"{row.title} ({part or 'recipe'})"))
    line = (
        "Every method is fine-tuned, pruned and retrained on the source language alone and scored on every language. Level k of every arm costs the same number "
        "of updates, and the arm “dense, trained on” spends them without a mask. Sparsity is the fraction of the prunable weights: the linear maps of the blocks."
    )
    return Section("methods", "Methods", [line], entries=found)


def measures(report: Report) -> Section:
    """The study's score and every measure that a figure shows."""
    names = dict.fromkeys(name for entry, _ in report.shown for name in entry.measures)
    metric = str(next(iter(report.configs.values()))["metric"])
    found = [_entry("measures", name) for name in names]
    if metric in METRICS:
        found.insert(0, _entry("scores", metric))
    return Section("measures", "Measures", entries=[row for row in found if row])


def _entry(kind: str, name: str) -> Entry | None:
    rows = registry(kind)
    if name not in rows:
        return None
    row = rows[name]
    parts = dict.fromkeys((getattr(row, "section", ""), getattr(row, "source", "")))
    source = "; ".join(part for part in parts if part not in ("", "–"))
    formula = getattr(row, "formula", "")
    return Entry(row.title, row.what, mathml(formula) if formula else "", getattr(row, "chosen", ""), source)
