"""The command line of the analysis: `python -m analysis table | measure | compare | report | claims | summary | glossary`.

Exit codes: 0 done, 1 the work failed (in part), 2 the input is wrong. Problems go to stderr, one unwrapped line each.
Heavy imports stand inside the commands.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engine.record import RecordError, atomic, write_json

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Measure and show what pruning did, from run folders.",
)

Store = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of runs.")]
StudyName = Annotated[str, typer.Option("--study", help="Name of the study.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
FORMATS = ("json", "csv", "parquet")


def fail(lines: list[str], code: int) -> typer.Exit:
    """Print one unwrapped line per problem to stderr and give the exit to raise."""
    for line in lines:
        print(" ".join(line.split()), file=sys.stderr)
    return typer.Exit(code)


def guarded(command: Callable[..., Any]) -> Callable[..., Any]:
    """Wrong input becomes a line and exit 2, failed work a line and exit 1; a traceback only with --debug."""

    @wraps(command)
    def inner(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.BadParameter):
            raise
        except KeyboardInterrupt:
            raise fail(["interrupted: what was finished is kept"], 1) from None
        except Exception as error:
            if kwargs.get("debug"):
                raise
            wrong_input = isinstance(error, RecordError)
            raise fail(
                [str(error) if wrong_input else f"{type(error).__name__}: {error}"], 2 if wrong_input else 1
            ) from None

    return inner


@app.command()
@guarded
def table(
    store: Store,
    study: Annotated[str | None, typer.Option("--study", help="Only this study.")] = None,
    form: Annotated[str, typer.Option("--format", help=", ".join(FORMATS))] = "json",
    to: Annotated[Path | None, typer.Option("--to", help="Write to this file instead of the terminal.")] = None,
    metric: Annotated[list[str] | None, typer.Option("--metric", help="Only these scores; default: all.")] = None,
    debug: Debug = False,
) -> None:
    """Print the scores of all finished levels: one row per method, seed, level, language, split and metric."""
    from analysis import tables
    from engine.metrics import FUNCTIONS

    if form not in FORMATS:
        raise RecordError(f"--format: must be one of {', '.join(FORMATS)}; got {form!r}")
    if form == "parquet" and to is None:
        raise RecordError("--to: must name a file for --format parquet, which is no text; got nothing")
    if unknown := [name for name in metric or () if name not in FUNCTIONS]:
        raise RecordError(f"--metric: must be among {', '.join(FUNCTIONS)}; got {', '.join(unknown)}")
    problems: list[str] = []
    frame = tables.scores(store, study, metric or None, problems)
    if to is None:
        sys.stdout.write(_text(frame, form))
    else:
        _write(frame, form, to)
    if problems:
        raise fail(problems, 1)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain dictionaries in which NaN is None, since JSON has no other word for it."""
    rows: list[dict[str, Any]] = [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]
    return [
        {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}
        for row in rows
    ]


def _text(frame: pd.DataFrame, form: str) -> str:
    if form == "csv":
        return frame.to_csv(index=False, lineterminator="\n")
    return json.dumps(records(frame), indent=1, ensure_ascii=False) + "\n"


def _write(frame: pd.DataFrame, form: str, path: Path) -> None:
    if not path.parent.is_dir():
        raise RecordError(f"--to: must be a file in a folder that exists; got {path}")
    with atomic(path) as temporary:
        if form == "parquet":
            frame.to_parquet(temporary, index=False)
        else:
            temporary.write_text(_text(frame, form), encoding="utf-8")


@app.command()
@guarded
def measure(
    store: Store,
    study: StudyName,
    only: Annotated[list[str] | None, typer.Option("--only", help="Only these measures.")] = None,
    run: Annotated[list[str] | None, typer.Option("--run", help="Only these runs, <method>-s<seed>.")] = None,
    level: Annotated[list[float] | None, typer.Option("--level", help="Only these sparsities.")] = None,
    path: Annotated[
        bool, typer.Option("--path", help="A map through all levels of a run, instead of one level's.")
    ] = False,
    projection: Annotated[
        str | None, typer.Option("--projection", help="Of a map on request: pca or umap; of a path: pca or aligned.")
    ] = None,
    pooling: Annotated[str, typer.Option("--pooling", help="Of a map on request; default: the task's.")] = "",
    layer: Annotated[int, typer.Option("--layer", help="Of a map on request; -1 is the last.")] = -1,
    points: Annotated[
        int | None, typer.Option("--points", help="Of a map on request: most points.", min=8, max=20000)
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Processes; default: one per core, at most 8.", min=1)
    ] = None,
    debug: Debug = False,
) -> None:
    """Compute derived measures and store them beside the runs; what is there already is not computed again."""
    from analysis import measures
    from analysis.measures import maps, paths

    known = paths.PROJECTIONS if path else maps.PROJECTIONS
    if projection is not None and projection not in known:
        raise RecordError(f"--projection: must be one of {', '.join(known)}; got {projection!r}")
    asked = projection is not None or pooling or layer != -1 or points is not None
    request = (
        maps.Request(projection or "umap", pooling, layer, points=points or maps.POINTS) if asked and not path else None
    )
    way = paths.Request(projection or "aligned", pooling, layer, points=points or paths.POINTS) if path else None
    default = ["path"] if path else ["map"] if asked else []
    wish = measures.Wish(tuple(only or default), tuple(run or ()), tuple(level or ()), request, way)
    problems = measures.measure(store, study, wish, workers, lambda line: print(line, flush=True))
    if wish == measures.Wish():
        problems += _compare(store, study)
    if problems:
        raise fail(list(dict.fromkeys(problems)), 1)


def _compare(store: Path, study: str, other: str | None = None) -> list[str]:
    from analysis.measures import compare

    return compare.compare(store, study, other, lambda line: print(line, flush=True))


@app.command()
@guarded
def compare(
    store: Store,
    study: StudyName,
    against: Annotated[str | None, typer.Option("--against", help="Another study; default: inside this one.")] = None,
    debug: Debug = False,
) -> None:
    """Compute and store the pairs of methods of a study, or of two studies: differences, tests, mask overlap."""
    if against == study:
        raise RecordError(f"--against: must be another study than --study; got {against!r}")
    if problems := _compare(store, study, against):
        raise fail(problems, 1)


@app.command()
@guarded
def report(
    store: Store,
    study: StudyName,
    to: Annotated[Path, typer.Option("--to", help="The HTML file to write.")],
    no_text: Annotated[bool, typer.Option("--no-text", help="Leave every corpus sentence out.")] = False,
    debug: Debug = False,
) -> None:
    """Write one HTML file with everything about a study: figures, tables, methods, caveats; it opens offline and prints."""
    from analysis import report as reports

    problems = reports.write(store, study, to, text=not no_text)
    print(f"{to}: {to.stat().st_size / 1e6:.1f} MB")
    if problems:
        raise fail(problems, 1)


@app.command()
@guarded
def claims(
    store: Store,
    study: StudyName,
    to: Annotated[Path | None, typer.Option("--to", help="Write the outcome as JSON to this file.")] = None,
    debug: Debug = False,
) -> None:
    """Test what the papers claim on a study with the arms of engine/demo/claims.toml, and print the board."""
    import datetime

    from analysis import claims as board

    outcome = {"date": datetime.date.today().isoformat(), **board.board(store, study)}
    print(board.markdown(outcome))
    if to is not None:
        if not to.parent.is_dir():
            raise RecordError(f"--to: must be a file in a folder that exists; got {to}")
        write_json(to, outcome)


@app.command()
@guarded
def summary(
    store: Store,
    study: StudyName,
    split: Annotated[str, typer.Option("--split", help="Evaluated split.")] = "test",
    debug: Debug = False,
) -> None:
    """Show every language's score and drop at the highest level, and say what the differences mean."""
    from analysis import summary as summaries

    problems = summaries.show(store, study, split)
    if problems:
        raise fail(problems, 1)


@app.command()
@guarded
def glossary(debug: Debug = False) -> None:
    """Print the methods reference (`docs/methods.md`) as Markdown, from the tables."""
    from analysis.glossary import markdown

    print(markdown(), end="")


if __name__ == "__main__":
    app()
