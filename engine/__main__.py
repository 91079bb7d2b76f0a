"""The command line of the engine. Exit codes: 0 done, 1 the work failed, 2 the input is wrong.

Heavy imports stand inside the commands: `list` has to answer at once.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine import record

if TYPE_CHECKING:
    from engine.config import Study
    from engine.progress import Display
    from engine.runner import Job

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Prune multilingual transformers, language by language.",
)

Store = Annotated[Path | None, typer.Option("--store", help="Folder of runs; default $PRUNOSCOPE_STORE, else ./runs.")]
StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="<study>/<method>-s<seed>")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


GRACE_SECONDS = 3.0


def fail(lines: list[str], code: int) -> typer.Exit:
    """Print one unwrapped line per problem to stderr and give the exit to raise."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and (number := int(os.environ.get("RANK", "0"))):
        # Mostly every process finds the same. The main one says it, and its end ends this one before it repeats it.
        time.sleep(GRACE_SECONDS)
        lines = [f"process {number}: {line}" for line in lines]
    for line in lines:
        print(" ".join(line.split()), file=sys.stderr)
    return typer.Exit(code)


def guarded(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn a user's mistake into lines and exit 2, a failed run into a line and exit 1; tracebacks only with --debug."""

    @wraps(command)
    def inner(*args: Any, **kwargs: Any) -> Any:
        from engine.config import ConfigError

        try:
            return command(*args, **kwargs)
        except ConfigError as error:
            raise fail(error.problems, 2) from None
        except record.RecordError as error:
            raise fail([str(error)], 2) from None
        except (KeyboardInterrupt, record.Cancelled):
            raise fail(["interrupted: what was finished is kept; --resume goes on"], 1) from None
        except (typer.Exit, typer.BadParameter):
            raise
        except Exception as error:
            if kwargs.get("debug"):
                raise
            raise fail([f"{type(error).__name__}: {error}" if str(error) else type(error).__name__], 1) from None

    return inner


def _quiet() -> None:
    """Keep the terminal for our own words: libraries' progress bars and advice off."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning)


def _copy(study_file: Path, folder: Path, base: Path) -> None:
    """Keep the study's own text in the store, so that it can be resumed."""
    _keep(study_file.read_text(encoding="utf-8-sig"), folder, base)


def _keep(text: str, folder: Path, base: Path) -> None:
    """Write a study's text with the folder that its paths start from."""
    folder.mkdir(parents=True, exist_ok=True)
    with record.atomic(folder / "study.toml") as temporary:
        temporary.write_text(text, encoding="utf-8")
    record.write_json(folder / "study.json", {"schema": record.SCHEMA, "base": str(base)})


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
    _foreground(study, text, record.store_path(store), resume, measure, restore, executor == "ray")


def _foreground(
    study: Study, text: str, where: Path, resume: bool, measure: bool, restore: bool = False, on_cluster: bool = False
) -> None:
    """Do all runs of a study in this process, or watch a cluster do them, then measure; `text` is kept as the study's file."""
    from engine import cluster, processes, queue, runner

    jobs = runner.jobs(study, where)
    ray = cluster.connect() if on_cluster else None
    _refuse_interrupted(jobs, resume)
    _refuse_another_study(study, where)
    _quiet()
    from engine.progress import Display
    from engine.workbench import Workbench

    # What the cluster's machines compute with need not be here.
    here = study if ray is None else runner.on_device(study, "cpu")
    bench = Workbench.open(here, several=not restore and ray is None)
    bench.verify([job.plan for job in jobs if job.plan and job.run.seed == study.study.seeds[0]])
    jobs = runner.watched(jobs)
    for job in jobs:
        if ray is None and (job.run.path / "config.json").exists():
            job.run.begin(runner.run_config(job, bench))
    if processes.main():
        _keep(text, where / study.study.name, study.base)
    with Display(len(jobs), quiet=not processes.main()) as display:
        for note in bench.data.notes:
            display.note(note)
        failed = _run_all(jobs, bench, display) if ray is None else cluster.run_all(ray, jobs, where, study, display)
    failed += _restore_all(jobs, bench) if restore else []
    if measure and processes.main() and queue.measure(where, study.study.name):
        failed.append(f"measures of {study.study.name} failed: see {where / study.study.name / 'measure.log'}")
    if failed:
        raise fail(failed, 1)
    processes.leave()


def _refuse_another_study(study: Study, store: Path) -> None:
    """A study may gain methods and seeds; anything else under the same name would change what finished runs mean."""
    from engine.config import ConfigError

    if not (store / study.study.name / "study.toml").is_file():
        return
    from engine import runner

    stored = runner.stored_study(store, study.study.name)
    changed = [
        name
        for name in ("model", "task", "train", "calibration", "probe")
        if getattr(study, name) != getattr(stored, name)
    ]
    before = {method.label: method for method in stored.method}
    changed += [f"method {new.label}" for new in study.method if new.label in before and before[new.label] != new]
    if changed:
        raise ConfigError(
            [
                f"study.name: {study.study.name!r} holds another configuration in this store ({', '.join(changed)} differ): choose another name"
            ]
        )


def _refuse_interrupted(jobs: list[Job], resume: bool) -> None:
    from engine.config import ConfigError

    states = {job.name: job.run.state() for job in jobs}
    if running := [name for name, state in states.items() if state == "running"]:
        raise ConfigError([f"{name}: is running in another process: wait for it or cancel it" for name in running])
    begun = [name for name, state in states.items() if state in ("lost", "failed", "cancelled", "queued")]
    if begun and not resume:
        raise ConfigError([f"{name}: was interrupted ({states[name]}): add --resume to go on" for name in begun])


def _run_all(jobs: list[Job], bench: Any, display: Display) -> list[str]:
    """Run every job; one line per failed run. A failed dense run stops its methods."""
    from engine import runner

    failed: list[str] = []
    for job in jobs:
        display.show(job.name, 0.0, "waiting")
        try:
            runner.execute(job, bench, display.show)
        except Exception as error:
            failed.append(f"{job.name}: {error}")
            if not runner.in_step(error):
                break
        display.end(job.name, job.run.state())
    return failed


def _restore_all(jobs: list[Job], bench: Any) -> list[str]:
    """Causal restoration of every finished method's last level with weights, first seed; returns a line per failure."""
    from engine import restore as restoration

    first, failed = min(job.run.seed for job in jobs), []
    for job in jobs:
        kept = [level for level in job.run.levels() if level.has("weights.safetensors")]
        if job.plan is None or job.run.seed != first or not kept or job.run.state() != "done":
            continue
        if "shape" in kept[-1].size():
            continue  # a student is another network: it has no parts to exchange with the dense one
        try:
            restoration.restore(job.run, kept[-1].path.name, bench)
            print(f"{job.name}: restored part by part at {kept[-1].sparsity:.4g}", flush=True)
        except Exception as error:
            failed.append(f"{job.name}: restoration: {error}")
    return failed


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

    _quiet()
    from engine.imported import complete

    text = complete(study_file, dense, pruned, name)
    study = config.parse(text, study_file.resolve().parent, str(study_file))
    _foreground(study, text, record.store_path(store), resume, measure)


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
        runner.execute_stored(record.store_path(store), name, device, _quiet)
    except record.Cancelled:
        raise fail([f"{name}: cancelled"], 1) from None


@app.command()
@guarded
def submit(
    study_file: StudyFile,
    store: Store = None,
    worker: Annotated[bool, typer.Option(help="Start a worker if none runs.")] = True,
    debug: Debug = False,
) -> None:
    """Queue a study's runs; finished ones are left out."""
    from engine import config, queue, runner

    study = config.load(study_file)
    where = record.store_path(store)
    _refuse_another_study(study, where)
    waiting = [job for job in runner.jobs(study, where) if job.run.state() not in ("done", "running")]
    _copy(study_file, where / study.study.name, study.base)
    for job in waiting:
        job.run.path.mkdir(parents=True, exist_ok=True)
        job.run.reopen()
    queue.submit(where, [job.name for job in waiting])
    print(f"{len(waiting)} runs queued")
    if worker:
        queue.ensure_worker(where, study.study.device)


@app.command()
@guarded
def worker(
    store: Store = None,
    device: Annotated[str, typer.Option(help="One worker per device.")] = "auto",
    until_idle: Annotated[bool, typer.Option("--until-idle", help="Stop when nothing waits.")] = False,
    debug: Debug = False,
) -> None:
    """Run what is queued, one run at a time."""
    from engine import queue

    if not queue.work(record.store_path(store), device, until_idle):
        print(f"another worker holds {device}")


@app.command("list")
@guarded
def list_runs(
    store: Store = None, as_json: Annotated[bool, typer.Option("--json")] = False, debug: Debug = False
) -> None:
    """List all runs of the store with their state."""
    where = record.store_path(store)
    found = [
        (f"{study}/{run.name}", _state(run)) for study in record.studies(where) for run in record.runs(where, study)
    ]
    if as_json:
        print(json.dumps([{"run": name, "state": state} for name, state in found], indent=1))
        return
    for name, state in found:
        print(f"{state:10} {name}")


def _state(run: record.Run) -> str:
    """A run's state; one whose files cannot be read is named on stderr and hides no other."""
    try:
        return run.state()
    except record.RecordError as error:
        print(error, file=sys.stderr)
        return "broken"


@app.command()
@guarded
def cancel(name: RunName, store: Store = None, debug: Debug = False) -> None:
    """Stop a run; what it finished stays, and `resume` goes on."""
    from engine import queue

    print(queue.cancel(record.store_path(store), name))


@app.command()
@guarded
def resume(name: RunName, store: Store = None, debug: Debug = False) -> None:
    """Queue a lost, failed or cancelled run again; it goes on from its checkpoint."""
    from engine import queue, runner

    where = record.store_path(store)
    run = record.find_run(where, name)
    if (state := run.state()) in ("done", "running"):
        raise record.RecordError(f"RUN: must be lost, failed, cancelled or queued; {name} is {state}")
    run.reopen()
    queue.submit(where, [name])
    queue.ensure_worker(where, runner.stored_study(where, run.study).study.device)
    print("queued")


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
    _quiet()
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
    _quiet()
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
    _quiet()
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
    from engine import queue, runner

    study = runner.stored_study(where, run.study)
    from engine.export import find_level

    find_level(run, level)
    _quiet()
    from engine import restore as restoration
    from engine.workbench import Workbench

    def report(done: int, of: int, what: str) -> None:
        print(f"{done}/{of} {what}", flush=True)

    means = restoration.restore(run, level, Workbench.open(study), items or restoration.ITEMS, report)
    for line in restoration.lines(means):
        print(line)
    if measure and queue.measure(where, run.study):
        raise fail([f"measures of {run.study} failed: see {where / run.study / 'measure.log'}"], 1)


@app.command()
@guarded
def doctor(
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")] = "auto", debug: Debug = False
) -> None:
    """Check with known answers that this machine computes what is promised."""
    _quiet()
    from engine.doctor import examine

    findings = list(examine(device))
    for finding in findings:
        print(f"{'ok  ' if finding.good else 'FAIL'} {finding.name}: {finding.seen}")
    if not all(finding.good for finding in findings):
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
