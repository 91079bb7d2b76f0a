"""Files that come through the browser: checked by what is in them, kept under the store, never anywhere else.

A file is called `<split>.<language>.<ending>`, such as `test.de.tsv`. Together the files of a study are kept in one
folder, `STORE/.uploads/<name>/`, and the study names them with `{language}` in the path.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from engine import record
from engine.config import ENDINGS, ConfigError
from pages.ui import loading

NAME = re.compile(
    r"(?P<split>train|validation|test)\.(?P<language>[a-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})?)\.(?P<ending>[a-z]+)"
)
MOST_BYTES = 50_000_000


class Given(Protocol):
    """An uploaded file as Streamlit hands it over."""

    name: str
    size: int

    def getvalue(self) -> bytes:
        """Its content."""


@dataclass
class Found:
    """What the files are: per split its path with `{language}` and its languages; and what is wrong with them."""

    paths: dict[str, str] = field(default_factory=dict)
    languages: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def folder(name: str) -> Path:
    """Where the files of a study are kept; refuses a name that could lead out of the store."""
    if not record.NAME.fullmatch(name):
        raise ValueError(f"study.name: must match [a-z0-9-]+; got {name!r}")
    return loading.store() / ".uploads" / name


def keep(name: str, given: Iterable[Given]) -> Found:
    """Check the files and keep the good ones; every problem is named with its file, and a bad file is not kept."""
    found = Found()
    target = folder(name)
    for file in given:
        if line := _problem(file):
            found.problems.append(line)
            continue
        path = target / file.name
        with record.atomic(path) as temporary:
            temporary.write_bytes(file.getvalue())
        if line := _content(path):
            path.unlink()
            found.problems.append(line)
    return _described(target, found)


def _problem(file: Given) -> str:
    parts = NAME.fullmatch(file.name)
    if parts is None:
        return f"{file.name}: must be called <split>.<language>.<ending>, such as train.en.tsv or test.de.tsv"
    if f".{parts['ending']}" not in ENDINGS:
        return f"{file.name}: must end in {', '.join(ENDINGS)}"
    if file.size > MOST_BYTES:
        return f"{file.name}: must have at most {MOST_BYTES / 1e6:.0f} MB; give larger files by their path"
    return ""


def _content(path: Path) -> str:
    from engine.reading import read_file

    try:
        frame = read_file(path)
    except ConfigError as error:
        return error.problems[0].replace(str(path), path.name)
    if frame.empty:
        return f"{path.name}: must have at least one row; got none"
    return ""


def _described(target: Path, found: Found) -> Found:
    for path in sorted(target.glob("*")) if target.is_dir() else ():
        parts = NAME.fullmatch(path.name)
        if parts:
            split = parts["split"]
            pattern = str(target / f"{split}.{{language}}.{parts['ending']}")
            if found.paths.setdefault(split, pattern) != pattern:
                found.problems.append(f"{path.name}: all {split} files must have the same ending; take the others away")
                continue
            found.languages.setdefault(split, []).append(parts["language"])
    return found


def clear(name: str) -> None:
    """Take the files of a study away."""
    shutil.rmtree(folder(name), ignore_errors=True)
