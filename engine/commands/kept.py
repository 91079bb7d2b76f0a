"""A study's own text in the store: written so that it can be resumed, read again, and never replaced by another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine import record

if TYPE_CHECKING:
    from engine.config import Study


def keep_file(study_file: Path, folder: Path, base: Path) -> None:
    """Keep the study's own text in the store, so that it can be resumed."""
    keep(study_file.read_text(encoding="utf-8-sig"), folder, base)


def keep(text: str, folder: Path, base: Path) -> None:
    """Write a study's text with the folder that its paths start from."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        from engine.config import ConfigError

        raise ConfigError(
            [f"--store: must be a folder that can be written; got {folder.parent}: {error.strerror}"]
        ) from None
    with record.atomic(folder / "study.toml") as temporary:
        temporary.write_text(text, encoding="utf-8")
    record.write_json(folder / "study.json", {"schema": record.SCHEMA, "base": str(base)})


def stored(store: Path, name: str) -> Study:
    """A study from its copy in the store."""
    from engine import runner  # where a worker and a cluster's task read it, too

    return runner.stored_study(store, name)


def refuse_another(study: Study, store: Path) -> None:
    """A study may gain methods and seeds; anything else under the same name would change what finished runs mean."""
    from engine.config import ConfigError

    if not (store / study.study.name / "study.toml").is_file():
        return
    before = stored(store, study.study.name)
    changed = [
        name
        for name in ("model", "task", "train", "calibration", "probe")
        if getattr(study, name) != getattr(before, name)
    ]
    known = {method.label: method for method in before.method}
    changed += [f"method {new.label}" for new in study.method if new.label in known and known[new.label] != new]
    if changed:
        raise ConfigError(
            [
                f"study.name: {study.study.name!r} holds another configuration in this store ({', '.join(changed)} differ): choose another name"
            ]
        )
