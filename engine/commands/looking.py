"""Commands that compute nothing that stays: what a study would cost, what there is, whether this machine is sound."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from engine import record
from engine.commands import Debug, Store, StudyFile, app, guarded, quiet


@app.command()
@guarded
def check(
    study_file: StudyFile,
    store: Store = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
    debug: Debug = False,
) -> None:
    """Validate a study and its data, and estimate time, memory and disk."""
    from engine import config

    study = config.load(study_file)
    quiet()
    from engine.estimate import estimate
    from engine.planned import planned, unreachable

    try:
        found = estimate(study, record.store_path(store))
    except config.ConfigError as error:
        guess = planned(study) if unreachable(error) else None
        if guess is None:
            raise
        _print_planned(guess._asdict(), error.problems, as_json)
        return
    if as_json:
        print(json.dumps(found.record(), indent=1))
        return
    for note in found.notes:
        print(f"note: {note}")
    print(f"runs {found.runs}, updates {found.updates}, about {found.seconds / 60:.1f} min on this machine")
    print(f"memory about {found.memory_bytes / 2**30:.2f} GiB, disk about {found.disk_bytes / 2**30:.2f} GiB")
    print(
        f"parameters {found.parameters:,}, of which prunable {found.prunable:,} ({found.prunable / found.parameters:.0%})"
    )


def _print_planned(guess: dict[str, Any], problems: list[str], as_json: bool) -> None:
    """A study whose model or data is out of reach: what is wrong here, and its cost from published sizes."""
    note = f"counted from published sizes for one GPU, nothing was read or measured: {problems[0]}"
    if as_json:
        print(json.dumps({**guess, "notes": [note]}, indent=1))
        return
    print(f"note: {note}")
    print(f"runs {guess['runs']}, updates {guess['updates']:,}, about {guess['seconds'] / 3600:.0f} h on one GPU")
    print(f"memory about {guess['memory_bytes'] / 2**30:.1f} GiB, disk about {guess['disk_bytes'] / 2**30:.0f} GiB")
    print(f"parameters {guess['parameters']:,}, of which prunable {guess['prunable']:,}")


@app.command()
@guarded
def methods(as_json: Annotated[bool, typer.Option("--json")] = False, debug: Debug = False) -> None:
    """List criteria, allocations, schedules, objectives, recipes and tasks with their sources."""
    from engine.registry import table

    kinds = ("criteria", "allocations", "schedules", "objectives", "recipes", "tasks")
    if as_json:
        print(
            json.dumps(
                {kind: [_row(row) for row in table(kind).values()] for kind in kinds}, indent=1, ensure_ascii=False
            )
        )
        return
    for kind in kinds:
        print(f"\n{kind}")
        for row in table(kind).values():
            print(f"  {row.name:20} {row.what} [{row.section}; {row.source}]")


def _row(row: Any) -> dict[str, Any]:
    shown = {key: getattr(row, key) for key in ("name", "title", "what", "section", "source")}
    if hasattr(row, "parameters"):
        shown |= {"needs": sorted(row.needs), "chosen": row.chosen, "formula": row.formula}
        shown["parameters"] = {parameter.name: parameter.default for parameter in row.parameters}
        shown["options"] = {
            key: value for key, value in row.options.items() if isinstance(value, (str, int, float, bool, type(None)))
        }
    return shown


@app.command()
@guarded
def doctor(
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto", debug: Debug = False
) -> None:
    """Check with known answers that this machine computes what is promised."""
    quiet()
    from engine.doctor import examine

    findings = list(examine(device))
    for finding in findings:
        print(f"{'ok  ' if finding.good else 'FAIL'} {finding.name}: {finding.seen}")
    if not all(finding.good for finding in findings):
        raise typer.Exit(1)
