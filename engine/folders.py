"""A folder that appears whole or not at all: written beside its place and renamed into it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.config import ConfigError


@contextmanager
def new_folder(target: Path, key: str = "to") -> Iterator[Path]:
    """Yield a temporary folder that takes the place of `target` on success and vanishes on any error.

    Refuses a target that holds anything, naming `key`: nothing that a user has is ever written over.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError([f"{key}: must be a new or empty folder; got {target}"])
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
