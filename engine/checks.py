"""What a study means: tables, levels, languages and files, checked before anything is computed.

`meaning` sees only the sections whose shape was right, so that one pass reports every problem of a study file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.config import ENDINGS, TASK_TYPES, CalibrationSection, MethodSection, TaskSection, TrainSection, validate
from engine.criteria import CRITERIA
from engine.objectives import OBJECTIVES
from engine.plan import Plan, resolve
from engine.recipes import CONTROLS
from engine.tasks import TASKS

# A method may change how it trains, not how much: every arm costs the same (M§4.7).
SHARED = {"epochs", "retrain_epochs", "batch_size", "freeze_embeddings", "evaluations"}
NUMBERS = ("regression",)  # task types whose head gives one number
PROBED = ("sequence", "pair")  # task types with one label per example, which a linear probe can learn
FILE_KEYS = ("type", "train", "validation", "test", "dataset", "config", "revision", "split", "columns", "format")


def meaning(sections: dict[str, Any], base: Path) -> list[str]:
    """Every problem in the meaning of the given (well-formed) sections."""
    problems: list[str] = []
    if "task" in sections:
        problems += task_problems(sections["task"], base)
        problems += _language_problems(sections, base)
    if "model" in sections:
        problems += _model_problems(sections["model"].name, base)
        problems += [
            line.replace("model.name", f"method[{index}].checkpoint").replace(
                "bundled, a hub id or a folder", "a folder"
            )
            for index, method in _well_formed(sections)
            if method.checkpoint is not None
            for line in _model_problems(method.checkpoint, base)
        ]
        if any(method.checkpoint for _, method in _well_formed(sections)) and sections["model"].head == "new":
            problems.append(
                "model.head: must be 'keep' with a method that has a checkpoint, whose head is its own; got 'new'"
            )
    if "probing" in sections:
        problems += _probing_problems(sections["probing"].tasks, base)
    if (
        "train" in sections
        and "model" in sections
        and sections["train"].epochs == 0
        and sections["model"].head == "new"
    ):
        problems.append("train.epochs: must be at least 1 with model.head = 'new', whose head is untrained; got 0")
    problems += _method_problems(sections, base)
    methods = [method for _, method in _well_formed(sections)]
    asks = "restoration" in sections and sections["restoration"].levels != "none"
    if asks and methods and all(method.keep_weights == [] for method in methods):
        asked = sections["restoration"].levels
        problems.append(f"restoration.levels: must be 'none' where every method has keep_weights = []; got {asked!r}")
    return problems


def task_problems(task: TaskSection, base: Path) -> list[str]:
    """Problems of `[task]`: an unknown row, missing keys of a custom task, files that are not there."""
    if task.name != "custom":
        return _row_problems(task)
    problems = []
    if task.type not in TASK_TYPES:
        problems.append(f"task.type: must be one of {', '.join(TASK_TYPES)}; got {task.type!r}")
    for key in ("source_languages", "languages"):
        if getattr(task, key) is None:
            problems.append(f"task.{key}: must be given for a custom task, such as ['en', 'de']")
    if task.dataset:
        return problems + [
            f"task.{split}: must be left out with task.dataset" for split in ("train", "test") if getattr(task, split)
        ]
    for split in ("train", "test"):
        if not getattr(task, split):
            problems.append(f"task.{split}: must be given for a custom task: a path, a list of paths, or task.dataset")
    return problems + list(_file_problems(task, base))


def _row_problems(task: TaskSection) -> list[str]:
    if task.name not in TASKS:
        return [f"task.name: must be one of {', '.join(TASKS)}, custom; got {task.name!r}"]
    given = [key for key in FILE_KEYS if key in task.model_fields_set]
    problems = [f"task.{key}: must be left out for the row {task.name!r}: only a custom task has it" for key in given]
    row = TASKS[task.name]
    if not row.bundled and not row.dataset:
        problems.append(f"task.name: {task.name} has no set that the hub's client reads; {row.recipe}")
    known = row.languages
    for key in ("source_languages", "languages"):
        if unknown := [code for code in getattr(task, key) or () if code not in known]:
            problems.append(f"task.{key}: must be among {', '.join(known)}; got {', '.join(unknown)}")
    return problems


def paths(task: TaskSection, split: str, language: str, base: Path) -> list[Path]:
    """The files of a split in one language; none where the study names none. A folder stands for its files."""
    given = getattr(task, split, None)
    names = [given] if isinstance(given, str) else given or []
    found = [base / Path(name.replace("{language}", language)).expanduser() for name in names]
    bare = ["{language}" not in name for name in names]
    return [
        file
        for path, whole in zip(found, bare, strict=True)
        for file in (_in_folder(path, task, split, language if whole else "") if path.is_dir() else [path])
    ]


SPLIT_NAMES = {"train": {"train"}, "validation": {"validation", "valid", "val", "dev"}, "test": {"test"}}


def _in_folder(folder: Path, task: TaskSection, split: str, language: str) -> list[Path]:
    """The data files of a folder whose names hold the language (a part between `.` or `_`), and the split where any does.

    No language is asked for where the path itself holds it, where a column says it, or where only one is read and no
    file is named after it.
    """
    parts = {
        path: set(re.split(r"[._]", path.stem.casefold()))
        for path in sorted(folder.iterdir())
        if path.is_file()
        and (task.format != "auto" or path.suffix.lower() in ENDINGS)
        and not path.name.upper().startswith(("README", "LICENSE", "."))
    }
    if language and "language" not in task.columns:
        own = {path: names for path, names in parts.items() if language.casefold() in names}
        parts = own if own or len(split_languages(task, split)) > 1 else parts
    known = set().union(*SPLIT_NAMES.values())
    if any(names & known for names in parts.values()):
        parts = {path: names for path, names in parts.items() if names & SPLIT_NAMES.get(split, {split})}
    return list(parts)


def split_languages(task: TaskSection, split: str) -> list[str]:
    """Languages that a split is read in: the sources for training and selection, all for testing."""
    return list((task.languages if split == "test" else task.source_languages) or [])


def _file_problems(task: TaskSection, base: Path) -> Iterator[str]:
    for split in ("train", "validation", "test"):
        given = getattr(task, split)
        names = [given] if isinstance(given, str) else given or []
        languages = split_languages(task, split)
        folders = any((base / Path(name).expanduser()).is_dir() for name in names)
        if (
            len(languages) > 1
            and names
            and not folders
            and "language" not in task.columns
            and not any("{language}" in name for name in names)
        ):
            yield (
                f"task.{split}: must hold {{language}}, or task.columns must name the column of the language, because "
                f"{len(languages)} languages are read; got {given!r}"
            )
            continue
        for code in languages if names else ():
            if not paths(task, split, code, base):
                yield f"task.{split}: the folder must hold a file for {code}, with the language between dots or underscores in its name; got {given!r}"
        for path in dict.fromkeys(path for code in languages for path in paths(task, split, code, base)):
            if not path.is_file():
                yield f"task.{split}: must be a file; got {path}, which is not there"
            elif task.format == "auto" and path.suffix.lower() not in ENDINGS:
                yield f"task.{split}: must end in {', '.join(ENDINGS)} or task.format must say what it is; got {path.name}"


def languages_of(task: TaskSection) -> tuple[list[str], list[str]]:
    """(source languages, languages) with the row's own as defaults."""
    row = TASKS.get(task.name)
    sources = list(task.source_languages or (row.source_languages if row else ()))
    return sources, list(task.languages or (row.languages if row else ()))


def _language_problems(sections: dict[str, Any], base: Path) -> Iterator[str]:
    sources, languages = languages_of(sections["task"])
    if not languages:
        return
    if missing := [code for code in sources if code not in languages]:
        yield f"task.languages: must hold every source language; {', '.join(missing)} is missing"
    for key, codes in (("source_languages", sources), ("languages", languages)):
        if len(set(codes)) != len(codes):
            yield f"task.{key}: must be unique; got {codes}"
    probe = sections["probe"].languages or [] if "probe" in sections else []
    if unknown := [code for code in probe if code not in languages]:
        yield f"probe.languages: must be among {', '.join(languages)}; got {', '.join(unknown)}"
    if "calibration" in sections:
        yield from _calibration_problems(sections["calibration"], sections["task"], base, "calibration")


def _calibration_problems(calibration: CalibrationSection, task: TaskSection, base: Path, key: str) -> Iterator[str]:
    """Calibration reads train examples: of a language that is not trained on, it needs a training file all the same."""
    sources, _ = languages_of(task)
    for code in (code for code in calibration.languages or () if code not in sources):
        if task.name in TASKS:
            if code not in TASKS[task.name].languages:
                yield f"{key}.languages: must be among {', '.join(TASKS[task.name].languages)}; got {code!r}"
        elif task.dataset is None and "{language}" not in str(task.train) and "language" not in task.columns:
            yield f"{key}.languages: must be among the source languages {', '.join(sources)}, unless task.train holds {{language}}; got {code!r}"
        else:
            for path in paths(task, "train", code, base):
                if not path.is_file():
                    yield f"{key}.languages: {code!r} must have a training file; {path} is not there"


def _probing_problems(tasks: list[str], base: Path) -> Iterator[str]:
    for name in tasks:
        if name.endswith(".toml"):
            if not (base / name).is_file():
                yield f"probing.tasks: must be a study file; got {name}, which is not there"
        elif name not in TASKS or TASKS[name].type not in PROBED:
            able = [row.name for row in TASKS.values() if row.type in PROBED]
            yield f"probing.tasks: must be among {', '.join(able)} or a study file; got {name!r}"


def _model_problems(name: str, base: Path) -> list[str]:
    if name == "bundled":
        return []
    folder = (base / name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            return [f"model.name: the folder must hold config.json; {folder} does not"]
        if not any(folder.glob("*.safetensors")):
            return [
                f"model.name: the folder must hold *.safetensors (pickle checkpoints are refused: they can run code); {folder} has none"
            ]
        return []
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        return [f"model.name: must be bundled, a hub id or a folder; got {name!r}, which is not there"]
    return []


def _well_formed(sections: dict[str, Any]) -> list[tuple[int, MethodSection]]:
    """The methods whose shape was right, with their numbers in the file."""
    return [(index, method) for index, method in enumerate(sections.get("method", ())) if method is not None]


def _method_problems(sections: dict[str, Any], base: Path) -> list[str]:
    problems: list[str] = []
    methods = _well_formed(sections)
    pruning = len(sections.get("method", ())) - len(methods)  # what an ill-shaped one wanted, nobody knows
    for index, method in methods:
        key = f"method[{index}]"
        plan, found = resolve(method, key)
        problems += found
        if plan and "train" in sections:
            problems += _budget_problems(plan, sections["train"], key)
        pruning += plan is not None or bool(found)
        problems += _override_problems(method, key, sections, base)
        if plan and "task" in sections:
            problems += _divergence_problems(plan, sections["task"], key)
        if method.label in CONTROLS and method.recipe != method.label:
            problems.append(f"{key}.name: must not be {method.label!r}, which every study has")
    labels = [method.label for _, method in methods]
    for label in dict.fromkeys(labels):
        if labels.count(label) > 1:
            problems.append(f"method.name: must be unique in the study; {label!r} stands {labels.count(label)} times")
    if not pruning:
        problems.append(
            "method: must have at least one [[method]] with a pruning recipe, such as recipe = 'magnitude' and levels = [0.5]"
        )
    return problems


def _budget_problems(plan: Plan, train: TrainSection, key: str) -> Iterator[str]:
    """What scores or learns while it trains needs updates to do it in, and so does an objective."""
    criterion = CRITERIA[plan.criterion.name]
    if plan.axis != "sizes" and "training" in criterion.needs and not plan.epochs(1, train):
        yield (
            f"{key}.criterion.name: must not need training with train.retrain_epochs = 0, which only prunes; "
            f"got {plan.criterion.name!r}"
        )
    updates = plan.epochs(1, train) or (plan.objective.parameters.get("before_mask") and train.epochs)
    if OBJECTIVES[plan.objective.name].needs and not updates:
        yield (
            f"{key}.objective.name: must be none where no update follows for it to act in: train.retrain_epochs is 0; "
            f"got {plan.objective.name!r}"
        )


def _divergence_problems(plan: Plan, task: TaskSection, key: str) -> Iterator[str]:
    """A divergence needs classes: what predicts a number distils by squared error (M§4)."""
    kind = TASKS[task.name].type if task.name in TASKS else task.type
    if kind in NUMBERS and OBJECTIVES[plan.objective.name].options.get("divergence"):
        able = [name for name, row in OBJECTIVES.items() if not row.options.get("divergence")]
        yield (
            f"{key}.objective.name: must be one of {', '.join(able)} for a {kind} task, whose predictions are numbers and not classes; "
            f"got {plan.objective.name!r}"
        )


def _override_problems(method: MethodSection, key: str, sections: dict[str, Any], base: Path) -> list[str]:
    problems: list[str] = []
    problems += [
        f"{key}.train.{name}: must be left out: the dense model and the budget of every level are shared by all methods of a study"
        for name in sorted(set(method.train) & SHARED)
    ]
    if method.train:
        validate(TrainSection, method.train, f"{key}.train", problems)
    if method.calibration:
        value = validate(CalibrationSection, method.calibration, f"{key}.calibration", problems)
        if value and "task" in sections:
            problems += _calibration_problems(value, sections["task"], base, f"{key}.calibration")
    return problems
