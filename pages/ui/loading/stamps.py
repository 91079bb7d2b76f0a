"""The store that this server shows, and fingerprints of its files: the keys of every cache of this package."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from engine import record


@dataclass
class _Look:
    """What has been looked at while a page is drawn: the store, and the stamps of studies."""

    store: Path
    stamps: dict[str, str] = field(default_factory=dict)


_LOOK: ContextVar[_Look | None] = ContextVar("look", default=None)


@contextmanager
def one_look() -> Iterator[None]:
    """While a page is drawn every study is looked at once: a large one has hundreds of files, and pages ask repeatedly."""
    token = _LOOK.set(_Look(record.store_path()))
    try:
        yield
    finally:
        _LOOK.reset(token)


def store() -> Path:
    """The store that this server shows."""
    look = _LOOK.get()
    return look.store if look else record.store_path()


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


def study_stamp(study: str) -> str:
    """Changes whenever a level, a run or a measure of the study is finished."""
    look = _LOOK.get()
    if look is None:  # a fragment that looks again by itself
        return stamp(_study_files(study))
    if study not in look.stamps:
        look.stamps[study] = stamp(_study_files(study))
    return look.stamps[study]
