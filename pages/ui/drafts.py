"""Study files that the app writes: `STORE/.studies/<name>.toml`, and what was found out about each by a check."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from engine import config, record
from pages.ui import loading
from pages.ui.jobs import Job

STARTER = """[study]
name = "my-study"
seeds = [0, 1]

[[method]]
recipe = "random"
levels = [0.5, 0.9]

[[method]]
recipe = "magnitude"
levels = [0.5, 0.9]
"""
LONGEST = 60
PAPERS = Path(__file__).parent.parent.parent / "engine" / "studies"  # the papers' own experiments


def folder() -> Path:
    """Where study files are kept; no study of the store can have this name."""
    return loading.store() / ".studies"


def path(name: str) -> Path:
    """The file of a draft; refuses a name that could lead out of the folder."""
    if not record.NAME.fullmatch(name) or len(name) > LONGEST:
        raise ValueError(f"study.name: must match [a-z0-9-]+ and have at most {LONGEST} characters; got {name!r}")
    return folder() / f"{name}.toml"


def names() -> list[str]:
    """Drafts that were saved, newest first."""
    found = [file for file in folder().glob("*.toml") if record.NAME.fullmatch(file.stem)] if folder().is_dir() else []
    return [file.stem for file in sorted(found, key=lambda file: -file.stat().st_mtime)]


def starts() -> list[str]:
    """What a new study can start from: nothing, a draft, a study of the store, or one of the papers' experiments."""
    studies = [name for name in loading.studies() if (loading.store() / name / "study.toml").is_file()]
    return [
        "new",
        *(f"draft:{name}" for name in names()),
        *(f"study:{name}" for name in studies),
        *(f"paper:{file.stem}" for file in sorted(PAPERS.glob("*.toml"))),
    ]


def label(start: str) -> str:
    """A start in words."""
    kind, _, name = start.partition(":")
    words = {"new": "an empty study", "draft": f"the draft {name}", "study": f"the study {name}"}
    return {**words, "paper": f"a paper's experiment: {name}"}.get(kind, start)


def read(start: str) -> str:
    """The text to start from. A copy of a study gets a name of its own, because the store keeps one study per name."""
    kind, _, name = start.partition(":")
    if kind == "draft":
        return path(name).read_text(encoding="utf-8")
    if kind == "study":
        text = (loading.store() / name / "study.toml").read_text(encoding="utf-8")
        return text.replace(f'"{name}"', f'"{fresh(name)}"', 1)
    if kind == "paper" and start in starts():
        return (PAPERS / f"{name}.toml").read_text(encoding="utf-8")
    return STARTER.replace("my-study", fresh("my-study")) if "my-study" in loading.studies() else STARTER


def fresh(name: str) -> str:
    """The name with a number behind it that no study or draft of the store has yet."""
    taken = {*loading.studies(), *names()}
    number = 2
    while f"{name[: LONGEST - 5]}-{number}" in taken:
        number += 1
    return f"{name[: LONGEST - 5]}-{number}"


def save(name: str, text: str) -> Path:
    """Write a draft, whole or not at all."""
    file = path(name)
    with record.atomic(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return file


def problems(text: str) -> list[str]:
    """Everything wrong with a study's text that can be seen without loading data or model."""
    try:
        config.parse(text, folder(), "study")
    except config.ConfigError as error:
        return error.problems
    return []


def raw(text: str) -> dict[str, Any] | None:
    """The text as nested dictionaries, or None where it is no TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def name_of(text: str) -> str:
    """The study's name in its text; empty where it has none that may be used."""
    section = (raw(text) or {}).get("study")
    name = section.get("name") if isinstance(section, dict) else None
    return name if isinstance(name, str) and record.NAME.fullmatch(name) and len(name) <= LONGEST else ""


def fresh_name(text: str) -> str:
    """The name under which things of a draft are kept: the study's own, or a stand-in while it has none."""
    return name_of(text) or "unnamed"


def preview(name: str) -> Job:
    """The reading of a draft's data: `python -m pages.ui.preview`, in a process of its own."""
    return Job(folder() / f"{name}.preview")


def check(name: str) -> Job:
    """The check of a draft: `python -m engine check`, in a process of its own."""
    return Job(folder() / f"{name}.check")


def about(text: str) -> str:
    """What a check was asked about, so that an estimate of an older text is not shown for a newer one."""
    return record.digest(text)
