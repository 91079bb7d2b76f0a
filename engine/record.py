"""The run folder: the only channel between engine and analysis (layout: README, "What a run leaves behind").

Plain files that other programs can read: JSON, Parquet and safetensors. Every file is written whole beside
its place and renamed into it, and `status.json` comes last, so that a reader sees a finished result or none.
This module loads neither torch nor pandas when imported: `python -m engine list` has to answer at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SCHEMA = 1  # raised when a reader of the older layout would misread the newer one
TERMINAL = ("done", "failed", "cancelled")
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
RUN = re.compile(rf"({NAME.pattern})/([a-z0-9][a-z0-9_-]*-s\d+)")
STALE_SECONDS = 60.0  # a heartbeat older than this belongs to a run that died


class Cancelled(BaseException):
    """A run was asked to stop. Not an Exception, so that no handler for failures swallows it."""


class RecordError(ValueError):
    """A run folder that cannot be used: what is wrong and what to do about it."""


def store_path(given: str | os.PathLike[str] | None = None) -> Path:
    """The store: what was given, else `$PRUNOSCOPE_STORE`, else `./runs`."""
    return Path(given or os.environ.get("PRUNOSCOPE_STORE") or "runs").expanduser().resolve()


def digest(value: Any) -> str:
    """A short, stable fingerprint of a JSON-like value: keys sorted, independent of the process."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes its place on success and vanishes on any error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; NaN becomes null, because JSON has no other word for it."""
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(_finite(value), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def read_json(path: Path) -> Any:
    """Read JSON; a file that is not JSON is reported with its path."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: must be JSON; {error}") from None


def level_name(sparsity: float) -> str:
    """The folder of a level: four decimals, `0.7000`."""
    return f"{sparsity:.4f}"


AXIS_FOLDERS = {"strength": "strength-", "sizes": "size-"}


def level_folder(axis: str, value: float) -> str:
    """The folder of one value of an axis: a sparsity as it is, `strength-4` or `size-0.1` on the others."""
    return f"{AXIS_FOLDERS[axis]}{value:g}" if axis in AXIS_FOLDERS else level_name(value)


@dataclass(frozen=True)
class Run:
    """One run folder, `STORE/<study>/<method>-s<seed>`. A value: it holds a path and reads or writes files."""

    path: Path

    @property
    def study(self) -> str:
        """The study's name: the parent folder."""
        return self.path.parent.name

    @property
    def name(self) -> str:
        """`<method>-s<seed>`."""
        return self.path.name

    @property
    def method(self) -> str:
        """The method's name in its study."""
        return self.name.rpartition("-s")[0]

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.name.rpartition("-s")[2])

    # -- what a run is ------------------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        """The resolved configuration of this run; refuses a layout that this version cannot read."""
        config = read_json(self.path / "config.json")
        if config.get("schema") != SCHEMA:
            raise RecordError(
                f"{self.path}: schema must be {SCHEMA}; got {config.get('schema')!r}: run the study again "
                "with this version, or open the folder with the version named in its env.json"
            )
        return dict(config)

    def begin(self, config: Mapping[str, Any]) -> None:
        """Write `config.json`, or refuse a folder that holds another configuration under the same name."""
        full = {"schema": SCHEMA, **config, "digest": digest(config)}
        path = self.path / "config.json"
        if path.exists():
            found = self.config()
            if found.get("digest") != full["digest"]:
                raise RecordError(
                    f"{self.study}/{self.name}: the folder holds another configuration (digest {found.get('digest')}, "
                    f"this one {full['digest']}): choose another study.name or delete {self.path}"
                )
            return
        write_json(path, full)

    def status(self) -> dict[str, Any] | None:
        """The terminal status (`state` done, failed or cancelled), or None while there is none."""
        path = self.path / "status.json"
        return dict(read_json(path)) if path.exists() else None

    def finish(self, state: str, **facts: Any) -> None:
        """Write `status.json`: the last file of a run, and the only one that makes it a result."""
        if state not in TERMINAL:
            raise ValueError(f"state: must be one of {', '.join(TERMINAL)}; got {state!r}")
        write_json(self.path / "status.json", {"state": state, "time": time.time(), **facts})

    def reopen(self) -> None:
        """Take a failed or cancelled status away before a new attempt; a finished run stays finished."""
        status = self.status()
        if status and status["state"] == "done":
            raise RecordError(f"{self.study}/{self.name}: the run is done and must not be reopened")
        for name in ("status.json", "stop"):
            (self.path / name).unlink(missing_ok=True)

    # -- a run that is on its way ---------------------------------------------------------------------------

    def beat(self, **facts: Any) -> None:
        """Say that the run is alive and how far it is (`heartbeat.json`)."""
        write_json(
            self.path / "heartbeat.json", {"time": time.time(), "pid": os.getpid(), "host": platform.node(), **facts}
        )

    def heartbeat(self) -> dict[str, Any] | None:
        """The last sign of life, or None."""
        path = self.path / "heartbeat.json"
        return dict(read_json(path)) if path.exists() else None

    def state(self, now: float | None = None) -> str:
        """done, failed or cancelled; else running while the heartbeat is fresh, else lost."""
        status = self.status()
        if status:
            return str(status["state"])
        beat = self.heartbeat()
        if beat is None:
            return "queued" if (self.path / "config.json").exists() else "missing"
        age = (time.time() if now is None else now) - float(beat["time"])
        return "running" if age < STALE_SECONDS and (not here(beat) or _alive(int(beat["pid"]))) else "lost"

    def ask_to_stop(self) -> None:
        """Ask a run to stop that this machine cannot signal: it looks for this mark at every sign of life."""
        with atomic(self.path / "stop"):
            pass

    def stop_asked(self) -> bool:
        """Was the run asked to stop by a mark in its folder?"""
        return (self.path / "stop").exists()

    def log(self, kind: str, step: int, attempt: int, **facts: Any) -> None:
        """Append one line to `metrics.jsonl`. A retried step appears again with a higher attempt: the last counts."""
        line = {"type": kind, "step": step, "attempt": attempt, "time": round(time.time(), 3), **facts}
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(_finite(line), ensure_ascii=False) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All whole lines of `metrics.jsonl`; a line that a killed process cut short is left out."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return []
        lines = []
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                continue
        return lines

    def say(self, text: str) -> None:
        """Append a line to the human-readable `log.txt`."""
        with (self.path / "log.txt").open("a", encoding="utf-8") as handle:
            handle.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def write_json(self, name: str, value: Any) -> None:
        """Write a value as `<name>.json`."""
        write_json(self.path / f"{name}.json", value)

    def write_frame(self, name: str, frame: pd.DataFrame) -> None:
        """Write a table as `<name>.parquet`."""
        write_frame(self.path / f"{name}.parquet", frame)

    # -- levels ---------------------------------------------------------------------------------------------

    def level(self, sparsity: float, suffix: str = "") -> Level:
        """The folder of a level; `suffix` is `-u<updates>` in a `dense_continued` run."""
        return Level(self.path / "levels" / f"{level_name(sparsity)}{suffix}")

    def sparsity_of(self, level: Level) -> float:
        """The sparsity that was asked for; where it is an outcome (strength, size), its mean over the seeds.

        The levels of all seeds are one level of the method, which needs one number.
        """
        if level.asked:
            return level.sparsity
        found = [
            float(read_json(path)["sparsity_prunable"])
            for path in self.path.parent.glob(f"{self.method}-s*/levels/{level.path.name}/size.json")
        ]
        return round(sum(found) / len(found), 4)

    def level_at(self, axis: str, value: float) -> Level:
        """The folder of a value of an axis (levels, strength or sizes)."""
        return Level(self.path / "levels" / level_folder(axis, value))

    def levels(self) -> list[Level]:
        """All finished levels, ascending."""
        folder = self.path / "levels"
        found = [Level(path) for path in folder.iterdir() if (path / "size.json").exists()] if folder.is_dir() else []
        return sorted(found, key=lambda level: (level.sparsity, level.updates or 0))


def here(beat: Mapping[str, Any]) -> bool:
    """Does this sign of life come from this machine, so that its process number means something here?"""
    return bool(beat.get("host", platform.node()) == platform.node())


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@dataclass(frozen=True)
class Level:
    """One level folder of a run: masks, predictions, activations, weights and what was measured from them."""

    path: Path

    @property
    def asked(self) -> bool:
        """Was this level's sparsity asked for? On the axes strength and size it is an outcome."""
        return not self.path.name.startswith(tuple(AXIS_FOLDERS.values()))

    @property
    def sparsity(self) -> float:
        """The requested sparsity, from the folder's name, or the measured one where none was requested."""
        if not self.asked:
            return round(float(self.size()["sparsity_prunable"]), 4)
        return float(self.path.name.partition("-u")[0])

    @property
    def updates(self) -> int | None:
        """Updates since the pretrained checkpoint, for the levels of `dense_continued`; else None."""
        if not self.asked:
            return None
        text = self.path.name.partition("-u")[2]
        return int(text) if text else None

    def write_frame(self, name: str, frame: pd.DataFrame) -> None:
        """Write a table as `<name>.parquet`."""
        write_frame(self.path / f"{name}.parquet", frame)

    def frame(self, name: str) -> pd.DataFrame:
        """Read `<name>.parquet`."""
        return read_frame(self.path / f"{name}.parquet")

    def write_arrays(self, name: str, arrays: Mapping[str, np.ndarray], **metadata: str) -> None:
        """Write arrays as `<name>.safetensors`."""
        write_arrays(self.path / f"{name}.safetensors", arrays, **metadata)

    def arrays(self, name: str, keys: list[str] | None = None) -> dict[str, np.ndarray]:
        """Read `<name>.safetensors`: all arrays, or those named."""
        return read_arrays(self.path / f"{name}.safetensors", keys)

    def write_masks(self, masks: Mapping[str, np.ndarray]) -> None:
        """Write boolean keep-masks as packed bits (numpy `packbits`: big-endian bits, row-major; shapes in the header)."""
        import numpy as np

        packed = {name: np.packbits(mask.reshape(-1)) for name, mask in masks.items()}
        shapes = {name: list(mask.shape) for name, mask in masks.items()}
        write_arrays(self.path / "masks.safetensors", packed, shapes=json.dumps(shapes))

    def masks(self) -> dict[str, np.ndarray]:
        """Read the boolean keep-masks."""
        import numpy as np

        path = self.path / "masks.safetensors"
        shapes = json.loads(read_metadata(path)["shapes"])
        packed = read_arrays(path)
        return {
            name: np.unpackbits(packed[name], count=int(np.prod(shape))).astype(bool).reshape(shape)
            for name, shape in shapes.items()
        }

    def has(self, name: str) -> bool:
        """Is this file there?"""
        return (self.path / name).exists()

    def write_size(self, facts: Mapping[str, Any]) -> None:
        """Write `size.json`, which makes the level complete."""
        write_json(self.path / "size.json", facts)

    def size(self) -> dict[str, Any]:
        """`size.json` (M§6.11): the last file of a level, so its presence says that the level is complete."""
        return dict(read_json(self.path / "size.json"))


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as Parquet, atomically and without an index."""
    with atomic(path) as temporary:
        frame.to_parquet(temporary, index=False)


def read_frame(path: Path) -> pd.DataFrame:
    """Read a Parquet table; a broken file is reported with its path."""
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: must be a Parquet table; {error}") from None


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], **metadata: str) -> None:
    """Write arrays as safetensors, atomically."""
    import numpy as np
    from safetensors.numpy import save_file

    with atomic(path) as temporary:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary, metadata or None)


def read_arrays(path: Path, keys: list[str] | None = None) -> dict[str, np.ndarray]:
    """Read safetensors as arrays: all of them, or those named; a missing key lists what is there."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as handle:
            names = list(handle.keys())
            missing = [key for key in keys or [] if key not in names]
            if missing:
                raise RecordError(f"{path}: has no {', '.join(missing)}; it holds {', '.join(names)}")
            return {name: handle.get_tensor(name) for name in (names if keys is None else keys)}
    except (SafetensorError, OSError) as error:
        raise RecordError(f"{path}: must be a safetensors file; {error}") from None


def read_metadata(path: Path) -> dict[str, str]:
    """The text header of a safetensors file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as handle:
            return dict(handle.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise RecordError(f"{path}: must be a safetensors file; {error}") from None


def studies(store: Path) -> list[str]:
    """Names of the studies in a store, sorted."""
    if not store.is_dir():
        return []
    return sorted(
        path.name for path in store.iterdir() if path.is_dir() and NAME.fullmatch(path.name) and runs(store, path.name)
    )


def runs(store: Path, study: str) -> list[Run]:
    """All runs of a study, sorted by name."""
    if not NAME.fullmatch(study):
        raise RecordError(f"study: must match [a-z0-9-]+; got {study!r}")
    folder = store / study
    if not folder.is_dir():
        return []
    return [Run(path) for path in sorted(folder.iterdir()) if RUN.fullmatch(f"{study}/{path.name}") and path.is_dir()]


def find_run(store: Path, name: str) -> Run:
    """The run called `<study>/<method>-s<seed>`; an unknown one lists the choices."""
    if not RUN.fullmatch(name):
        raise RecordError(f"RUN: must look like <study>/<method>-s<seed>; got {name!r}")
    run = Run(store / name)
    if not run.path.is_dir():
        known = [f"{study}/{other.name}" for study in studies(store) for other in runs(store, study)]
        raise RecordError(f"RUN: must be one of {', '.join(known) or 'none: the store is empty'}; got {name!r}")
    return run
