"""What a report says beside the results: data and licence, caveats, the command that makes it again, every run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd

from analysis import tables, theme
from analysis.figures.drops import named
from analysis.report.parts import Section, table
from engine import record
from engine.registry import table as registry

if TYPE_CHECKING:
    from analysis.report.document import Report


def data(report: Report) -> Section:
    """Task, data with its licence, model, languages, fingerprints."""
    config = next(iter(report.configs.values()))
    task = str(config["task"]["name"])
    rows, facts = registry("tasks"), [("task", task), ("type", str(config["type"]))]
    if task in rows:
        facts += [("data", rows[task].source), ("licence of the data", rows[task].licence)]
    else:
        facts += [("licence of the data", "the study's own files: ask whoever gave them")]
    facts += [
        ("model", str(config["model"]["name"])),
        ("trained on", ", ".join(map(theme.language_name, config["sources"]))),
        ("scored on", ", ".join(map(theme.language_name, theme.ordered(config["languages"], config["sources"])))),
        ("parallel", "the same id is the same item in every language" if config["parallel"] else "no"),
        ("fingerprint of the data", str(config.get("data_digest", "unknown"))),
        ("fingerprint of the model", str(config.get("model_digest", "unknown"))),
    ]
    return Section("data", "Data and model", facts=facts)


def caveats(report: Report) -> Section:
    """What a reader must know before believing a number; every line is computed from the study."""
    told, rows = report.told, report.told.degradation
    seeds, n = int(rows["seeds"].min()), int(rows["n"].min())
    lines = []
    if seeds < 5:
        lines.append(
            f"{seeds} seed{'s' if seeds > 1 else ''}: under 5 the intervals cover less than the 95% that they say."
        )
    least = rows.loc[(rows["sparsity"] == told.level) & (rows["split"] == told.split), "minimum_detectable"].median()
    if least == least:
        lines.append(
            f"With {n} items per language a drop under about {theme.points(float(least))} cannot be told from none."
        )
    if "random" not in set(rows["recipe"]):
        lines.append("There is no control at the same sparsity (random pruning) in this study.")
    if rows["continued"].isna().all():
        lines.append("There is no dense model trained on for as many updates (dense_continued) to compare with.")
    lines += list(
        dict.fromkeys(f"Note: {note}" for config in report.configs.values() for note in config.get("notes", []))
    )
    if told.degradation["chance"].notna().any() and (rows["dense_low"] <= rows["chance"]).any():
        codes = theme.ordered(rows.loc[rows["dense_low"] <= rows["chance"], "language"].tolist())
        lines.append(f"Already the dense model is not above chance on {theme.listed([named(code) for code in codes])}.")
    if any(str(config["model"]["name"]) == "bundled" for config in report.configs.values()):
        lines.append("The bundled encoder is a small one whose languages were aligned explicitly in pretraining: it shows how the tool works, not what large models do.")  # fmt: skip
    lines.append("Zeros alone neither shrink a dense file nor speed up a dense kernel.")
    lines.append("A map in two dimensions shows neighbours, not distances.")
    if report.problems:
        lines += [f"Left out: {problem}" for problem in report.problems]
    return Section("caveats", "Caveats", warnings=lines)


def reproduce(report: Report) -> Section:
    """Seeds, versions, the commands, and the study file where it was kept."""
    folder = report.told.store / report.study
    text = (folder / "study.toml").read_text(encoding="utf-8") if (folder / "study.toml").exists() else ""
    environments = [
        record.read_json(run.path / "env.json") for run in report.configs if (run.path / "env.json").exists()
    ]
    first = environments[0] if environments else {}
    facts = [
        ("seeds", ", ".join(map(str, sorted({run.seed for run in report.configs})))),
        ("device", f"{first.get('device', 'unknown')} ({first.get('device_type', 'unknown')}), {first.get('precision', 'unknown')}"),
        ("bit-exact on the same machine", "yes" if environments and all(one.get("bit_exact") for one in environments) else "no"),
        ("Python", str(first.get("python", "unknown"))),
        *sorted((name, str(value)) for name, value in dict(first.get("versions", {})).items()),
    ]  # fmt: skip
    commands = [f"python -m engine run {report.study}.toml --store runs", f"python -m analysis measure runs --study {report.study}",
                f"python -m analysis report runs --study {report.study} --to {report.study}.html{'' if report.text else ' --no-text'}"]  # fmt: skip
    code = ["\n".join(commands), *([text.strip()] if text else [])]
    line = (
        f"Save the study file below as {report.study}.toml and run:"
        if text
        else "The study file was not kept with these runs."
    )
    return Section("reproduce", "How to reproduce it", [line], facts=facts, code=code)


def runs(report: Report) -> Section:
    """Every run with its state and the digest of its configuration."""
    frame = tables.runs(report.told.store, report.study, [])
    digests = {run.name: str(config.get("digest", "")) for run, config in report.configs.items()}
    shown = pd.DataFrame(list(_run_rows(frame, digests)))
    return Section("runs", "Runs", tables=[table("", shown, most=500)])


def _run_rows(frame: pd.DataFrame, digests: dict[str, str]) -> Iterator[dict[str, str]]:
    for row in frame.to_dict("records"):
        seconds = row["seconds"]
        yield {
            "run": row["run"], "recipe": row["recipe"] or "–", "state": row["state"], "minutes": "–" if seconds != seconds else f"{seconds / 60:.1f}",
            "levels": str(len(row["levels"])), "configuration": digests.get(row["run"], "–"),
        }  # fmt: skip
