"""Keeping order in a store: what takes how much room, deleting with a way back, taking runs out and bringing them in.

Deleting moves a folder to `STORE/.trash/`, from where it can be put back until it is deleted for good. Archives are
plain zip files of a run folder; one that is brought in is checked file by file before anything of it is used.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import streamlit as st

from analysis import storyboard
from engine import queue, record
from engine.record import RecordError
from pages.ui import loading

ENDINGS = (".json", ".jsonl", ".txt", ".toml", ".parquet", ".safetensors", ".log")  # what a run folder is made of
HEAVY = ("weights.safetensors", "activations.safetensors")
MOST_DOWNLOAD = 500_000_000  # bytes that are handed out through the browser; more is copied on the server
MOST_UNPACKED = 20_000_000_000
MOST_FILES = 20_000


# -- room ----------------------------------------------------------------------------------------------------------


def disk(study: str, run: str = "") -> int:
    """Bytes of a run folder, or of a whole study."""
    folder = loading.store() / study / run if run else loading.store() / study
    return _disk(str(folder), loading.study_stamp(study) if run or study else "")


@st.cache_data(max_entries=1024, show_spinner=False)
def _disk(folder: str, stamp: str) -> int:
    return size(Path(folder))


def size(folder: Path) -> int:
    """Bytes of all files below a folder; links are not followed."""
    total = 0
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as found:
                for entry in found:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total


# -- deleting and putting back -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Thrown:
    """Something in the trash: its folder there, what it was, and when it was thrown away."""

    folder: Path
    name: str
    when: float


def trash() -> Path:
    """Where deleted folders wait; no study of the store can have this name."""
    return loading.store() / ".trash"


def delete(name: str) -> Thrown:
    """Move a run (`study/run`) or a study to the trash; refuses what runs or waits."""
    folder = _inside(name)
    busy = [row.name for row in queue.rows(loading.store()) if row.state in ("queued", "running")]
    running = [run for run in _runs(name) if run in busy or record.Run(loading.store() / run).state() == "running"]
    if running:
        raise RecordError(f"{running[0]} runs or waits: cancel it before it is deleted")
    when = time.time()
    target = trash() / f"{int(1000 * when)}-{name.replace('/', '--')}"
    target.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(target)
    return Thrown(target, name, when)


def _runs(name: str) -> list[str]:
    study, _, run = name.partition("/")
    return [name] if run else [f"{study}/{one.name}" for one in record.runs(loading.store(), study)]


def _inside(name: str) -> Path:
    """The folder of a run or study of this store; refuses every other name."""
    study, _, run = name.partition("/")
    if not record.NAME.fullmatch(study) or (run and not record.RUN.fullmatch(name)):
        raise RecordError(f"name: must be a study or <study>/<method>-s<seed>; got {name!r}")
    folder = loading.store() / name
    if not folder.is_dir():
        raise RecordError(f"{name}: there is no such folder in this store any more")
    return folder


def thrown() -> list[Thrown]:
    """What lies in the trash, newest first."""
    found = []
    for folder in trash().iterdir() if trash().is_dir() else ():
        stamp, _, name = folder.name.partition("-")
        if stamp.isdigit() and name:
            found.append(Thrown(folder, name.replace("--", "/", 1), int(stamp) / 1000))
    return sorted(found, key=lambda one: -one.when)


def put_back(one: Thrown) -> None:
    """Undo a deletion; refuses where something else has taken the place."""
    target = loading.store() / one.name
    if target.exists():
        raise RecordError(f"{one.name}: its place is taken by another; delete or rename that first")
    target.parent.mkdir(parents=True, exist_ok=True)
    one.folder.rename(target)


def destroy(one: Thrown) -> None:
    """Delete for good."""
    if one.folder.parent != trash():
        raise RecordError(f"{one.folder}: does not lie in the trash")
    shutil.rmtree(one.folder)


# -- archives ------------------------------------------------------------------------------------------------------


def files(run: str, heavy: bool) -> list[Path]:
    """The files of a run folder that go into an archive; `heavy`: weights and activations too."""
    folder = _inside(run)
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix in ENDINGS)
    return [path for path in found if (heavy or path.name not in HEAVY) and not path.name.startswith(".")]


def pack(run: str, heavy: bool) -> bytes:
    """A zip file of a run folder, under `<study>/<run>/`; not compressed again, since its files are."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in files(run, heavy):
            archive.write(path, f"{run}/{path.relative_to(loading.store() / run)}")
    return target.getvalue()


def pack_folder(folder: Path) -> bytes:
    """A zip file of an exported model, under the folder's name."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(path, f"{folder.name}/{path.relative_to(folder)}")
    return target.getvalue()


def unpack(data: io.BufferedIOBase | io.BytesIO | Path) -> str:
    """Bring in an archived run; returns its name. Nothing is written outside the store, and nothing over what is there.

    Raises `RecordError` with the reason for anything that is not exactly one run folder of this schema.
    """
    store = loading.store()
    store.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(data) as archive, tempfile.TemporaryDirectory(prefix=".import-", dir=store) as folder:
            names = _checked(archive)
            for member in names:
                _extract(archive, member, Path(folder))
            return _settle(Path(folder), names)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise RecordError(f"the archive: must be a zip file of a run folder; {error}") from None


def _checked(archive: zipfile.ZipFile) -> list[str]:
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(entries) > MOST_FILES or sum(entry.file_size for entry in entries) > MOST_UNPACKED:
        raise RecordError(f"the archive: must hold at most {MOST_FILES:,} files and {MOST_UNPACKED / 1e9:.0f} GB")
    for entry in entries:
        path = PurePosixPath(entry.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or ":" in entry.filename:
            raise RecordError(f"the archive: must have paths inside it only; got {entry.filename!r}")
        if (entry.external_attr >> 16) & 0o170000 == 0o120000:
            raise RecordError(f"the archive: must have no links; got {entry.filename!r}")
        if path.suffix not in ENDINGS:
            raise RecordError(f"the archive: must hold {', '.join(ENDINGS)} files only; got {entry.filename!r}")
    return [entry.filename for entry in entries]


def _extract(archive: zipfile.ZipFile, member: str, folder: Path) -> None:
    target = folder / member
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink)


def _settle(folder: Path, names: list[str]) -> str:
    configs = [Path(name) for name in names if Path(name).name == "config.json"]
    if len(configs) != 1:
        raise RecordError(f"the archive: must hold one run folder, with its config.json; got {len(configs)} of them")
    inside = folder / configs[0].parent
    config = record.Run(inside).config()
    name = f"{config.get('study')}/{config.get('method')}-s{config.get('seed')}"
    if not record.RUN.fullmatch(name):
        raise RecordError(f"the archive: config.json must name a study, method and seed; got {name!r}")
    for path in [*inside.rglob("*.json")]:
        record.read_json(path)
    target = loading.store() / name
    if target.exists():
        raise RecordError(f"{name}: is in this store already; delete it first to bring in the other")
    target.parent.mkdir(parents=True, exist_ok=True)
    inside.rename(target)
    return name


def from_server(path: str) -> str:
    """Bring in a zip file or a run folder that lies on the server."""
    source = Path(path).expanduser()
    if source.is_file():
        return unpack(source)
    if not (source / "config.json").is_file():
        raise RecordError(f"path: must be a zip file or a run folder with a config.json on this server; got {path}")
    store = loading.store()
    with tempfile.TemporaryDirectory(prefix=".import-", dir=store) as folder:
        for found in _plain(source):
            target = Path(folder) / "run" / found.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found, target)
        return _settle(Path(folder), ["run/config.json"])


def _plain(source: Path) -> Iterator[Path]:
    for path in sorted(source.rglob("*")):
        if path.is_symlink():
            raise RecordError(f"path: must hold no links; got {path}")
        if path.is_file() and path.suffix in ENDINGS and not path.name.startswith("."):
            yield path


def labels(study: str, run: str = "") -> dict[str, Any]:
    """What people wrote about a run or study; nothing where the file is damaged."""
    try:
        return storyboard.labels(loading.store(), study, run)
    except RecordError:
        return {}


def tags(text: str) -> list[str]:
    """`paper, final` as a list without repeats."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))[:20]


def as_text(value: object) -> str:
    """Tags as they stand in a field."""
    return ", ".join(map(str, value)) if isinstance(value, list) else json.dumps(value) if value else ""
