"""Commands that do runs in this process: `run`, `import`, and what a worker starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from engine import record
from engine.commands import Debug, RunName, Store, StudyFile, app, fail, guarded, quiet
from engine.commands.foreground import foreground


@app.command()
@guarded
def run(
    study_file: StudyFile,
    store: Store = None,
    executor: Annotated[str, typer.Option(help="local: one run at a time, here; ray: on a Ray cluster.")] = "local",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with interrupted runs.")] = False,
    measure: Annotated[bool, typer.Option(help="Compute derived measures afterwards.")] = True,
    restore: Annotated[
        bool, typer.Option("--restore", help="Then find which parts carry the damage: see restore.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Run a study in the foreground, all its runs in one process or as tasks of a cluster, then measure."""
    from engine import config

    study = config.load(study_file)
    if executor not in ("local", "ray"):
        raise config.ConfigError([f"executor: must be local or ray; got {executor!r}"])
    text = study_file.read_text(encoding="utf-8-sig")
    foreground(study, text, record.store_path(store), resume, measure, restore, executor == "ray")


@app.command("import")
@guarded
def import_pair(
    study_file: StudyFile,
    dense: Annotated[Path, typer.Option("--dense", help="Folder of the fine-tuned dense model.")],
    pruned: Annotated[Path, typer.Option("--pruned", help="Folder of the model pruned from it.")],
    name: Annotated[str, typer.Option("--name", help="The method's name in tables and paths.")] = "imported",
    store: Store = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with interrupted runs.")] = False,
    measure: Annotated[bool, typer.Option(help="Compute derived measures afterwards.")] = True,
    debug: Debug = False,
) -> None:
    """Bring in a dense and a pruned model made elsewhere as a finished method; STUDY.toml says task and languages."""
    from engine import config

    quiet()
    from engine.imported import complete

    text = complete(study_file, dense, pruned, name)
    study = config.parse(text, study_file.resolve().parent, str(study_file))
    foreground(study, text, record.store_path(store), resume, measure)


@app.command(hidden=True)
@guarded
def execute(
    name: RunName,
    store: Store = None,
    device: Annotated[str, typer.Option(help="The worker's device; auto takes the study's.")] = "auto",
    debug: Debug = False,
) -> None:
    """Do one run of a stored study in this process (what the worker starts)."""
    from engine import runner

    try:
        runner.execute_stored(record.store_path(store), name, device, quiet)
    except record.Cancelled:
        raise fail([f"{name}: cancelled"], 1) from None
