"""The command line of the engine, by rooms; `engine.__main__` opens them. Exit codes: 0 done, 1 the work failed, 2 the input is wrong.

A command reads its arguments, calls what does the work and says what came of it. Heavy imports stand inside: `list` has
to answer at once.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from engine import record

GRACE_SECONDS = 10.0

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


def fail(lines: list[str], code: int) -> typer.Exit:
    """Print one unwrapped line per problem to stderr and give the exit to raise."""
    from engine import device

    if device.launched() > 1 and (number := device.launch_number()):
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


def quiet() -> None:
    """Keep the terminal for our own words: libraries' progress bars and advice off."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning)
