"""The store that this server shows, and fingerprints of its files: the keys of every cache of this package."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from engine import record


def store() -> Path:
    """The store that this server shows."""
    return record.store_path()


def studies() -> list[str]:
    """Names of the studies in the store."""
    return record.studies(store())


def stamp(paths: Iterable[Path]) -> str:
    """A fingerprint of files by name, time and size; those that are not there count as absent."""
    facts = []
    for path in paths:
        try:
            found = path.stat()
            facts.append((str(path), found.st_mtime_ns, found.st_size))
        except OSError:
            facts.append((str(path), 0, 0))
    return record.digest(facts)


def _study_files(study: str) -> Iterator[Path]:
    """Whether a level is finished is not asked: every run of a page needs the times of hundreds of files."""
    for run in record.runs(store(), study):
        levels = run.path / "levels"
        yield from (run.path / "config.json", run.path / "status.json", levels)
        for level in sorted(levels.iterdir()) if levels.is_dir() else ():
            yield from (level / "size.json", level / "measures")
    yield store() / study / "measures"


_STAMPS: ContextVar[dict[tuple[str, str], str] | None] = ContextVar("stamps", default=None)


@contextmanager
def one_look() -> Iterator[None]:
    """While a page is drawn every study is looked at once: a large one has hundreds of files, and pages ask repeatedly."""
    token = _STAMPS.set({})
    try:
        yield
    finally:
        _STAMPS.reset(token)


def study_stamp(study: str) -> str:
    """Changes whenever a level, a run or a measure of the study is finished."""
    seen, key = _STAMPS.get(), (str(store()), study)
    if seen is None:  # a fragment that looks again by itself
        return stamp(_study_files(study))
    if key not in seen:
        seen[key] = stamp(_study_files(study))
    return seen[key]
