"""The texts that a vocabulary is pruned to: lines of plain files, or named columns of tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from engine.config import ENDINGS, ConfigError
from engine.reading import read_file

CHUNK = 1000  # texts in memory at a time


def check(paths: Sequence[Path], columns: Sequence[str]) -> None:
    """Raise ConfigError with everything that is wrong with the files, before anything is computed."""
    problems = [f"text: must be a file; got {path}" for path in paths if not path.is_file()]
    problems += [
        f"column: must name a column of {path}, which is a table"
        for path in paths
        if path.suffix.lower() in ENDINGS and not columns
    ]
    if problems or not paths:
        raise ConfigError(problems or ["text: must name at least one file"])


def read(paths: Sequence[Path], columns: Sequence[str]) -> Iterator[list[str]]:
    """All texts, in lists of at most 1,000; blank ones are left out. Table cells are stripped, as a study does it."""
    chunk: list[str] = []
    for path in paths:
        for text in _table(path, columns) if path.suffix.lower() in ENDINGS else _lines(path):
            if text.strip():
                chunk.append(text)
            if len(chunk) == CHUNK:
                yield chunk
                chunk = []
    if chunk:
        yield chunk


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as handle:
            for line in handle:
                yield line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: must be UTF-8; {error.reason} at byte {error.start}"]) from None


def _table(path: Path, columns: Sequence[str]) -> Iterator[str]:
    frame = read_file(path)
    missing = [column for column in columns if column not in frame]
    if missing:
        raise ConfigError([f"column: must be one of {', '.join(frame.columns)} in {path}; got {', '.join(missing)}"])
    for column in columns:
        yield from frame[column].str.strip()
