"""What a report says of methods and measures: sentence, formula, choice and source of every table row that was used."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis import theme
from analysis.report.formula import mathml
from analysis.report.parts import Entry, Section, Table, cell, table
from engine.metrics import METRICS
from engine.registry import table as registry

if TYPE_CHECKING:
    from analysis.report.document import Report

# Part of a method's plan -> the table that has its row.
TABLE_OF = {"criterion": "criteria", "allocation": "allocations", "objective": "objectives", "schedule": "schedules"}
SETTINGS = ("granularity", "path", "start")


def methods(report: Report) -> Section:
    """How every arm was set, and each recipe and part that the study used, from the tables that the engine runs on."""
    wanted: dict[tuple[str, str], str] = {}
    for config in report.configs.values():
        wanted.setdefault(("recipes", str(config["recipe"])), "")
        plan = config.get("plan") or {}
        for part, table_name in TABLE_OF.items():
            name = _part(plan.get(part))[0]
            if name and name != "none":
                wanted.setdefault((table_name, name), part)
    found = []
    for (kind, name), part in wanted.items():
        if row := _entry(kind, name):
            found.append(replace(row, title=f"{row.title} ({part or 'recipe'})"))
    line = (
        "Every method is fine-tuned, pruned and retrained on the source language alone and scored on every language. Level k of every arm costs the same number "
        "of updates, and the arm “dense, trained on” spends them without a mask. Sparsity is the fraction of the prunable weights: the linear maps of the blocks."
    )
    return Section("methods", "Methods", [line], tables=_arms(report), entries=found)


def _arms(report: Report) -> list[Table]:
    """One row per arm that prunes: what it is made of, with the values of its settings."""
    rows = {}
    for run, config in report.configs.items():
        plan = config.get("plan") or {}
        if run.method not in rows and plan:
            parts = {part: _set(plan.get(part)) for part in TABLE_OF}
            values = ", ".join(map(theme.level, plan.get("values") or []))
            objective = {"objective": parts.pop("objective")}  # the longest, and therefore last
            settings = {name: str(plan.get(name) or "–") for name in SETTINGS}
            rows[run.method] = {"arm": run.method, str(plan.get("axis", "levels")): values, **parts, **settings, **objective}  # fmt: skip
    frame = pd.DataFrame(rows.values()).fillna("–")
    return [table("The arms and their settings", frame, texts=["objective"])] if len(frame) else []


def _part(part: Any) -> tuple[str, dict[str, Any]]:
    """(name, parameters) of a part of a plan, which is a name alone or both."""
    if isinstance(part, dict):
        return str(part.get("name") or ""), dict(part.get("parameters") or {})
    return str(part or ""), {}


def _set(part: Any) -> str:
    name, parameters = _part(part)
    values = ", ".join(f"{key} {cell(value)}" for key, value in parameters.items())
    return f"{name or '–'}{f' ({values})' if values else ''}".replace("none", "–")


def measures(report: Report) -> Section:
    """The study's score and every measure that a figure shows."""
    names = dict.fromkeys(name for entry, _ in report.shown for name in entry.defined(report.told))
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
