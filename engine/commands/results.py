"""Commands that make something of a finished level, or of a model: folders to ship, and where the damage lies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine import record
from engine.commands import Debug, RunName, Store, app, fail, guarded, quiet
from engine.commands.kept import stored


@app.command()
@guarded
def export(
    name: RunName,
    to: Annotated[Path, typer.Option("--to", help="A new folder.")],
    level: Annotated[str, typer.Option("--level", help="Its sparsity, or its folder such as strength-4 or size-0.1.")],
    store: Store = None,
    compact: Annotated[bool, typer.Option("--compact", help="Cut out removed heads and neurons.")] = False,
    debug: Debug = False,
) -> None:
    """Write a level as a Hugging Face folder with masks and a model card."""
    run = record.find_run(record.store_path(store), name)
    quiet()
    from engine.export import export as write

    print(f"written to {to}: {write(run, level, to, compact) / 1e6:.1f} MB")


@app.command()
@guarded
def vocabulary(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="bundled, a hub id or a folder with safetensors.")],
    more: Annotated[list[Path] | None, typer.Argument(hidden=True)] = None,
    text: Annotated[
        list[Path] | None, typer.Option("--text", help="One or more files; .csv, .tsv, .jsonl and .parquet are tables.")
    ] = None,
    to: Annotated[Path, typer.Option("--to", help="A new folder.")] = ...,  # type: ignore[assignment]
    column: Annotated[list[str] | None, typer.Option("--column", help="Column of tables; may be repeated.")] = None,
    debug: Debug = False,
) -> None:
    """Keep the embedding rows and tokenizer pieces that the given texts use."""
    quiet()
    from engine.vocabulary import prune

    found = prune(name, [*(text or []), *(more or [])], column or [], to)
    why = ", ".join(f"{reason} {count:,}" for reason, count in found.reasons.items())
    print(f"{found.texts:,} texts; their token ids map one to one")
    print(f"rows {found.rows_before:,} -> {found.rows_after:,} ({why})")
    print(
        f"weight files {found.files_before / 1e6:.1f} MB -> {found.files_after / 1e6:.1f} MB: {found.bytes_saved / 1e6:.1f} MB saved"
    )
    print(f"written to {to}")


@app.command()
@guarded
def restore(
    name: RunName,
    level: Annotated[str, typer.Option("--level", help="Its sparsity, or its folder such as strength-4.")],
    store: Store = None,
    items: Annotated[int | None, typer.Option("--items", help="Most items per language; default 64.", min=1)] = None,
    measure: Annotated[bool, typer.Option(help="Compute intervals afterwards.")] = True,
    debug: Debug = False,
) -> None:
    """Find which block or kind of matrix carries a level's damage: put its dense weights back, and prune it alone."""
    where = record.store_path(store)
    run = record.find_run(where, name)
    study = stored(where, run.study)
    from engine import queue
    from engine.export import find_level

    find_level(run, level)
    quiet()
    from engine import restore as restoration
    from engine.workbench import Workbench

    def report(done: int, of: int, what: str) -> None:
        print(f"{done}/{of} {what}", flush=True)

    means = restoration.restore(run, level, Workbench.open(study), items or restoration.ITEMS, report)
    for line in restoration.lines(means):
        print(line)
    if measure and queue.measure(where, run.study):
        raise fail([f"measures of {run.study} failed: see {where / run.study / 'measure.log'}"], 1)
