"""From hub, local or bundled data to tokenised, length-bucketed batches.

Reading is strict: every cell is a string, and what cannot be used (missing columns, empty cells, labels unknown to
training, duplicate ids, test items that stand in train) is reported for all files at once before any computing.
Caps and splits go by a hash of the id, so that every language keeps the same items.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine import checks
from engine.config import ConfigError, Study, TaskSection
from engine.reading import STREAM_ROWS, read_file, read_hub
from engine.tasks import TASKS
from engine.tasks.batches import Encoded as Encoded
from engine.tasks.languages import resolve
from engine.tasks.types import TaskType, task_type

VALIDATION_SHARE = 0.1
NO_ID, ROW_ID = "\0", "#row"
FEW = 4  # ids that languages must share to be called parallel; the fewest that debiased CKA takes
EXAMPLE_ROWS = 3  # offending rows named in a message
BUNDLED_DATA = Path(__file__).parent / "demo" / "data"


@dataclass(frozen=True)
class TaskData:
    """A task ready to use: frames of the type's columns by (split, language), and the label names in order."""

    type: TaskType
    labels: tuple[str, ...]
    sources: tuple[str, ...]
    languages: tuple[str, ...]
    frames: Mapping[tuple[str, str], pd.DataFrame]
    parallel: bool
    extra: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def with_labels(self, labels: tuple[str, ...]) -> TaskData:
        """The same data for a head whose outputs stand in another order."""
        return replace(self, labels=labels, type=self.type.fitted(labels, self.split("train", self.sources)))

    def baselines(self) -> dict[str, dict[str, dict[str, float]]]:
        """By split and language the headline's value for guessing (`chance`) and for the best constant answer (`majority`)."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for split in ("test", *self.extra):
            found[split] = {
                code: self.type.baselines(self.frames[split, code], self.labels)
                for code in self.languages
                if (split, code) in self.frames
            }
        return found

    def split(self, split: str, languages: Sequence[str]) -> pd.DataFrame:
        """The rows of a split over several languages, with a `language` column, in the order given."""
        frames = [self.frames[split, code].assign(language=code) for code in languages if (split, code) in self.frames]
        return pd.concat(frames, ignore_index=True)

    def digest(self) -> str:
        """Fingerprint of everything that was read: ids, texts and labels."""
        total = hashlib.sha256()
        for (split, language), frame in sorted(self.frames.items()):
            total.update(f"{split}/{language}".encode())
            # Lists and numbers are hashed as their JSON: pandas hashes strings only, and tuples differently in every process.
            plain = frame.map(lambda cell: cell if isinstance(cell, str) else json.dumps(cell))
            total.update(pd.util.hash_pandas_object(plain, index=False).to_numpy().tobytes())
        return total.hexdigest()[:16]


# -- loading a task --------------------------------------------------------------------------------------------


@dataclass
class _Reader:
    """One reading of a study's files: tables that several languages share, problems and notes so far."""

    task: TaskSection
    kind: TaskType
    base: Path
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tables: dict[Path, pd.DataFrame] = field(default_factory=dict)

    def table(self, path: Path, task: TaskSection, split: str) -> pd.DataFrame:
        """A file, read once however many languages are in it."""
        if path not in self.tables:
            limit = task.limits.get(split)  # type: ignore[call-overload]
            # Twice what is asked for, so that validation and the ids that all languages share can still be chosen from it.
            frame = read_file(path, task.format, 2 * limit if limit else None, task.columns.get("id", "id"))
            if "rows" in frame.attrs:
                hint = "" if limit else f" (give task.limits.{split} to choose another number than {STREAM_ROWS:,})"
                self.notes.append(
                    f"{path.name}: {len(frame):,} of {frame.attrs['rows']:,} rows kept of a large file{hint}"
                )
            self.tables[path] = frame
        return self.tables[path]


def load_task(study: Study) -> TaskData:
    """Read, check, cap and split the study's data; raise `ConfigError` with every problem found."""
    task = _as_custom(study.task)
    reader = _Reader(task, task_type(task.type or "sequence"), study.base)
    sources, languages = checks.languages_of(study.task)
    extra = TASKS[study.task.name].extra if study.task.name in TASKS else ()
    frames: dict[tuple[str, str], pd.DataFrame] = {}
    for split, code in _wanted(task, sources, languages, extra):
        frame = _load_split(reader, split, code)
        if frame is not None:
            frames[split, code] = frame
    whole = _inventory(reader.kind, frames, sources)
    notes = reader.notes + _prepare(frames, reader, sources, extra, whole)
    if reader.problems:
        raise ConfigError(list(dict.fromkeys(reader.problems)))
    # A tag that a cap cut off keeps its output; a class that it cut off would only be in the way.
    labels = _labels(whole if reader.kind.open_labels else _inventory(reader.kind, frames, sources), study.task.name)
    train = pd.concat([frames["train", code] for code in sources], ignore_index=True)
    kind = _headline(reader.kind.fitted(labels, train), study.task.name)
    return TaskData(
        kind, labels, tuple(sources), tuple(languages), frames, _parallel(task, frames), tuple(extra), tuple(notes)
    )


def load_calibration(study: Study, data: TaskData, languages: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Train examples in languages that are not trained on, for criteria that are calibrated on them (M§3).

    Raises ConfigError with every problem: files that are not there, labels that training does not have.
    """
    task = _as_custom(study.task)
    reader = _Reader(task, data.type, study.base)
    found: dict[str, pd.DataFrame] = {}
    for code in languages:
        frame = _load_split(reader, "train", code)
        if frame is None:
            continue
        if unknown := sorted(set(data.type.strict(frame)) - set(data.labels)) if data.labels else []:
            reader.problems.append(f"train {code}: labels must occur in train of the sources; got {', '.join(unknown)}")
        limit = task.limits.get("train")  # type: ignore[call-overload]
        found[code] = capped(frame, limit) if limit else frame
    if reader.problems:
        raise ConfigError(list(dict.fromkeys(reader.problems)))
    return found


def _headline(kind: TaskType, name: str) -> TaskType:
    """The metric that a row of the tasks table names, else the type's own."""
    return kind.with_metric(TASKS[name].metric) if name in TASKS else kind


def _as_custom(task: TaskSection) -> TaskSection:
    """A row of the tasks table written out as a custom task, so that there is one way to read data."""
    if task.name == "custom":
        return task
    row = TASKS[task.name]
    values: dict[str, Any] = {
        "type": row.type,
        "columns": dict(row.columns),
        "parallel": task.parallel if task.parallel is not None else row.parallel,
    }
    values |= {
        "source_languages": list(task.source_languages or row.source_languages),
        "languages": list(task.languages or row.languages),
    }
    if not row.bundled:
        values |= {"dataset": row.dataset, "config": row.config or None, "split": dict(row.split)}
        values |= {"revision": row.revision or None}
    else:
        folder = BUNDLED_DATA / row.name.removeprefix("bundled-")
        values |= {split: str(folder / f"{split}.{{language}}.tsv") for split in ("train", "validation", "test")}
    return task.model_copy(update=values)


def _part(task: TaskSection, split: str, language: str) -> TaskSection:
    """Where a split is read from: the task itself, or the row of the table that it is trained on."""
    row = TASKS.get(task.name)
    if row is None or not row.trains_on:
        return task
    if split not in ("train", "validation") and not (row.source_test and language in row.source_languages):
        return task
    return _as_custom(task.model_copy(update={"name": row.trains_on}))


def _wanted(
    task: TaskSection, sources: list[str], languages: list[str], extra: Sequence[str]
) -> Iterator[tuple[str, str]]:
    for split in ("train", "validation", "test", *extra):
        part = _part(task, split, sources[0])
        if split == "validation" and not (part.validation or (part.dataset and "validation" in (part.split or {}))):
            continue
        for code in sources if split in ("train", "validation") else languages:
            yield split, code


def _load_split(reader: _Reader, split: str, language: str) -> pd.DataFrame | None:
    """Read one split in one language and bring it to our columns; problems are collected and None comes back."""
    task, kind = _part(reader.task, split, language), reader.kind
    try:
        if task.dataset:
            where = f"{task.dataset} {split} {language}"
            frame = _columns(read_hub(task, split, language), task, kind, where, split, language)
        else:
            where = f"{split} {language}"
            files = checks.paths(task, split, language, reader.base) or [
                BUNDLED_DATA / kind_folder(task) / f"{split}.{language}.tsv"
            ]
            parts = [
                _columns(reader.table(path, task, split), task, kind, str(path), split, language) for path in files
            ]
            where = str(files[0]) if len(files) == 1 else where
            frame = parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)
        frame = _number(frame, task, language)
        if split in ("train", "validation") and (twice := int(frame["id"].duplicated().sum())):
            # Only test items are matched by id: here a repeated one is no mistake that anything depends on.
            reader.notes.append(f"{split} {language}: {twice} ids repeat others; rows are numbered instead")
            frame = _number(frame.assign(id=NO_ID), task, language)
        frame, problems = kind.prepare(frame, split, where)
        if problems:
            raise ConfigError(problems)
        return frame
    except ConfigError as error:
        reader.problems += error.problems
        return None


def _number(frame: pd.DataFrame, task: TaskSection, language: str) -> pd.DataFrame:
    """Make ids where the data has none: `language:row`, never parallel, or the bare row number where `id = "#row"` says
    that the rows of all languages correspond. The frame's index is the row's number in its file."""
    prefix = "" if task.columns.get("id") == ROW_ID else f"{language}:"
    numbers = pd.Series([f"{prefix}{row}" for row in frame.index], index=frame.index)
    return frame.assign(id=frame["id"].where(frame["id"] != NO_ID, numbers)).reset_index(drop=True)


def kind_folder(task: TaskSection) -> str:
    """The bundled folder of a written-out bundled task (its extra splits have no key of their own)."""
    return task.name.removeprefix("bundled-")


def _columns(
    frame: pd.DataFrame, task: TaskSection, kind: TaskType, where: str, split: str, language: str
) -> pd.DataFrame:
    """Rename to our columns, keep the language asked for, mark missing ids (only test needs its own), refuse what is empty."""
    known = (*kind.columns, *kind.optional, "id", "language")
    names = {column: task.columns.get(column, column) for column in known}
    has = f"it has {', '.join(map(str, frame.columns))}"
    # A column that is optional for the type is needed once the study names it.
    needed = [*kind.columns, *(column for column in (*kind.optional, "language") if column in task.columns)]
    problems = [
        f"{where}: must have the column {names[column]!r} (task.columns.{column}); {has}{_word_hint(column, task, where)}"
        for column in needed
        if not _has(frame, names[column])
    ]
    if unknown := [column for column in task.columns if column not in known]:
        problems.append(f"task.columns: must be among {', '.join(known)}; got {', '.join(unknown)}")
    if names["id"] != ROW_ID and "id" in task.columns and split == "test" and names["id"] not in frame.columns:
        problems.append(f"{where}: must have the column {names['id']!r} (task.columns.id); {has}")
    if problems:
        raise ConfigError(problems)
    if "language" in task.columns:
        # A file of several languages: an item's row is counted within its language.
        frame, where = _only(frame, names["language"], language, where), f"{where} ({language})"
    kept = [*kind.columns, *(column for column in kind.optional if _has(frame, names[column]))]
    found = pd.DataFrame({column: _cells(frame, names[column]) for column in kept}, index=frame.index)
    found.insert(0, "id", frame[names["id"]].astype(str) if names["id"] in frame.columns else NO_ID)
    if found.empty:
        raise ConfigError([f"{where}: must have at least one row; got none"])
    filled = [column for column in kind.columns if column not in kind.may_be_empty]
    blank = np.any([[len(cell) == 0 for cell in found[column]] for column in filled], axis=0)
    if blank.any():
        rows = ", ".join(str(row + 1) for row in found.index[blank][:EXAMPLE_ROWS])
        raise ConfigError(
            [f"{where}: must have no empty cell in {', '.join(filled)}; got {blank.sum()} rows, the first: {rows}"]
        )
    return found


def _parts(frame: pd.DataFrame, name: str) -> list[str]:
    """`a + b` means two columns, unless one is called that."""
    return [name] if name in frame.columns else name.split(" + ")


def _has(frame: pd.DataFrame, name: str) -> bool:
    return all(part in frame.columns for part in _parts(frame, name))


def _cells(frame: pd.DataFrame, name: str) -> pd.Series:
    """A column with its texts stripped; of several, the texts with a space between."""
    parts = _parts(frame, name)
    if len(parts) > 1:
        return frame[parts].agg(lambda row: " ".join(str(cell).strip() for cell in row).strip(), axis=1)
    return frame[name].map(lambda cell: cell.strip() if isinstance(cell, str) else cell)


def _word_hint(column: str, task: TaskSection, where: str) -> str:
    delimited = task.format == "auto" and not task.dataset
    return "; task.format = 'conll' reads one word per line" if delimited and column in ("tokens", "tags") else ""


def _only(frame: pd.DataFrame, column: str, language: str, where: str) -> pd.DataFrame:
    """The rows of one language, by its code here or any other code or name of it."""
    wanted = resolve(language).code
    same = {
        value: value == language or (bool(value) and resolve(value).code == wanted) for value in frame[column].unique()
    }
    if not any(same.values()):
        held = ", ".join(sorted(same)[:20])
        raise ConfigError([f"{where}: must have rows in {language} (column {column!r}); it has {held}"])
    return frame[frame[column].map(same).to_numpy()].reset_index(drop=True)


def _prepare(
    frames: dict[tuple[str, str], pd.DataFrame],
    reader: _Reader,
    sources: list[str],
    extra: Sequence[str],
    whole: Sequence[str],
) -> list[str]:
    """Split off validation, apply the caps, then check ids, labels and overlap. Changes `frames`; returns notes."""
    notes, task, kind = [], reader.task, reader.kind
    for code in sources:
        if ("train", code) in frames and ("validation", code) not in frames:
            notes.append(_split_validation(frames, code, kind))
    shared = {split: _common_ids(frames, split) for split in ("test", *extra)}
    capped: dict[tuple[str, int, int], list[str]] = {}
    for (split, code), frame in list(frames.items()):
        reader.problems += _id_problems(frame, split, code)
        limit = task.limits.get(split)  # type: ignore[call-overload]
        size = keys_of(frame).nunique() if "group" in frame else len(frame)
        if limit and size > limit:
            capped.setdefault((split, limit, size), []).append(code)
            frames[split, code] = _cap(frame, limit, shared.get(split, set()))
    notes += [
        f"{split} {' '.join(codes)}: {limit} of {size} examples (task.limits)"
        for (split, limit, size), codes in capped.items()
    ]
    reader.problems += _label_problems(frames, sources, task, kind, whole)
    notes += _label_notes(frames, kind, whole)
    notes += _parallel_notes(frames, task, kind)
    notes += _overlap_notes(frames, sources, extra, kind)
    return notes


def _common_ids(frames: Mapping[tuple[str, str], pd.DataFrame], split: str) -> set[str]:
    """Ids that every language of a split has."""
    found = [set(frame["id"]) for (name, _), frame in frames.items() if name == split]
    return set.intersection(*found) if found else set()


def hash_order(ids: pd.Series) -> np.ndarray:
    """Positions sorted by a hash of the id: the same choice in every language that has the same ids."""
    keys = [hashlib.sha256(f"prunoscope/{identity}".encode()).digest() for identity in ids]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def keys_of(frame: pd.DataFrame) -> pd.Series:
    """What is kept or left out as a whole: the item's id, or its group where items have one (the candidates of a query)."""
    return frame["group"] if "group" in frame else frame["id"]


def capped(frame: pd.DataFrame, limit: int) -> pd.DataFrame:
    """At most `limit` items (or groups), by a hash of their id, in the frame's order."""
    return _cap(frame, limit, set())


def _cap(frame: pd.DataFrame, limit: int, first: set[str]) -> pd.DataFrame:
    """Keep `limit` rows by a hash of the id, ids in `first` before others, so that all languages keep the same ones.

    Rows with a group are kept group by group, and the limit counts groups.
    """
    keys = keys_of(frame).drop_duplicates() if "group" in frame else frame["id"]
    order = hash_order(keys)
    late = ~keys.isin(first).to_numpy()[order]
    chosen = order[np.argsort(late, kind="stable")][:limit]
    if "group" in frame:
        return frame[frame["group"].isin(set(keys.iloc[chosen]))].reset_index(drop=True)
    return frame.iloc[np.sort(chosen)].reset_index(drop=True)


def _split_validation(frames: dict[tuple[str, str], pd.DataFrame], code: str, kind: TaskType) -> str:
    """Move a tenth of every label (never its last example) from train to validation, chosen by a hash of the id.

    Rows with a group move as whole groups, a tenth of the groups.
    """
    frame = frames["train", code]
    if "group" in frame:
        groups = frame["group"].drop_duplicates()
        count = min(max(1, round(VALIDATION_SHARE * len(groups))), len(groups) - 1)
        moved = frame["group"].isin(set(groups.iloc[hash_order(groups)[:count]]))
        taken, what = np.flatnonzero(moved.to_numpy()), "a tenth of the groups"
    else:
        order = hash_order(frame["id"])
        labels = kind.strata(frame).iloc[order]
        sizes = labels.map(labels.value_counts()).to_numpy()
        share = np.minimum(np.maximum(1, np.round(VALIDATION_SHARE * sizes)), sizes - 1)
        taken = np.sort(order[labels.groupby(labels).cumcount().to_numpy() < share])
        what = "a tenth of every label" if labels.iloc[0] else "a tenth"
    frames["validation", code] = frame.iloc[taken].reset_index(drop=True)
    frames["train", code] = frame.drop(index=taken).reset_index(drop=True)
    return f"validation {code}: {len(taken)} examples of train, {what}, chosen by a hash of the id"


def _id_problems(frame: pd.DataFrame, split: str, code: str) -> list[str]:
    twice = frame.loc[frame["id"].duplicated(), "id"]
    if twice.empty:
        return []
    return [
        f"{split} {code}: ids must be unique; {twice.nunique()} stand more than once, such as {', '.join(twice.unique()[:EXAMPLE_ROWS])}"
    ]


def _inventory(kind: TaskType, frames: Mapping[tuple[str, str], pd.DataFrame], sources: list[str]) -> list[str]:
    """All labels of train, in the type's order."""
    train = [frames["train", code] for code in sources if ("train", code) in frames]
    return kind.inventory(pd.concat(train, ignore_index=True)) if train else []


def _label_problems(
    frames: Mapping[tuple[str, str], pd.DataFrame],
    sources: list[str],
    task: TaskSection,
    kind: TaskType,
    whole: Sequence[str],
) -> list[str]:
    problems = []
    empty = [code for (split, code), frame in frames.items() if split == "validation" and frame.empty]
    problems += [f"validation {code}: train is too small to split one off; give task.validation" for code in empty]
    trained = set(whole if kind.open_labels else _inventory(kind, frames, sources))
    if not trained:
        return problems
    if len(trained) < 2 and any(kind.strata(frame).any() for frame in frames.values()):
        problems.insert(0, f"train: must have at least two labels; got {', '.join(trained)}")
    hint = " (task.limits.train may have cut them off)" if task.limits.get("train") else ""  # type: ignore[call-overload]
    for (split, code), frame in frames.items():
        if split != "train" and (unknown := sorted(set(kind.strict(frame)) - trained)):
            rows = int(kind.strata(frame).isin(unknown).sum())
            problems.append(
                f"{split} {code}: labels must occur in train ({', '.join(sorted(trained))}); got {', '.join(unknown)} in {rows} rows{hint}"
            )
    return problems


def _label_notes(frames: Mapping[tuple[str, str], pd.DataFrame], kind: TaskType, whole: Sequence[str]) -> list[str]:
    """Tags that are never predicted, because training does not have them: each such word counts as wrong."""
    if not kind.open_labels:
        return []
    return [
        f"{split} {code}: {', '.join(unknown[:EXAMPLE_ROWS])}{' …' if len(unknown) > EXAMPLE_ROWS else ''} do not occur in train and count as wrong"
        for (split, code), frame in frames.items()
        if split != "train" and (unknown := sorted(set(kind.inventory(frame)) - set(kind.strict(frame)) - set(whole)))
    ]


def _overlap_notes(
    frames: Mapping[tuple[str, str], pd.DataFrame], sources: list[str], extra: Sequence[str], kind: TaskType
) -> list[str]:
    """Test texts that also stand in train are said, not removed: the user's split is the user's."""
    notes = []
    for code in sources:
        if ("train", code) not in frames:
            continue
        seen = set(_normal(frames["train", code], kind))
        for split in ("test", *extra):
            if (split, code) in frames and (count := sum(text in seen for text in _normal(frames[split, code], kind))):
                notes.append(f"{split} {code}: {count} of {len(frames[split, code])} inputs also stand in train")
    return notes


def _normal(frame: pd.DataFrame, kind: TaskType) -> list[str]:
    texts = kind.texts(frame)
    return ["".join(letter for letter in text.casefold() if letter.isalnum() or letter == "\t") for text in texts]


def _labels(found: Sequence[str], name: str) -> tuple[str, ...]:
    """Label names: the table's order where a row gives one, else the type's. Order comes from names, never from numbers."""
    known = TASKS[name].labels if name in TASKS else ()
    return tuple(known) if known and set(found) <= set(known) else tuple(found)


def _parallel(task: TaskSection, frames: Mapping[tuple[str, str], pd.DataFrame]) -> bool:
    """Parallel unless denied, where the languages share at least `FEW` ids of test."""
    several = sum(split == "test" for split, _ in frames) > 1
    return task.parallel is not False and several and len(_common_ids(frames, "test")) >= FEW


def _parallel_notes(frames: Mapping[tuple[str, str], pd.DataFrame], task: TaskSection, kind: TaskType) -> list[str]:
    """What a user of parallel data would want to know: how many ids are shared, and labels that differ under one id."""
    common = len(_common_ids(frames, "test"))
    tests = {code: frame for (split, code), frame in frames.items() if split == "test"}
    longest = max((len(frame) for frame in tests.values()), default=0)
    notes = []
    if task.parallel and not _parallel(task, frames):
        notes.append(
            f"task.parallel: treated as not parallel, because all languages share only {common} test ids (at least {FEW} are needed)"
        )
    elif _parallel(task, frames) and common < longest:
        notes.append(
            f"test: {common} of {longest} ids stand in every language; paired comparisons between languages use these"
        )
    if _parallel(task, frames):
        by_id = [kind.strata(frame).set_axis(frame["id"]) for frame in tests.values()]
        labels = pd.concat([series[~series.index.duplicated()] for series in by_id], axis=1)
        differ = int((labels.nunique(axis=1) > 1).sum())
        notes += [f"test: {differ} ids have different labels in different languages"] if differ else []
    return notes


# -- probe and calibration -------------------------------------------------------------------------------------


def probe_frame(data: TaskData, examples: int, languages: Sequence[str] | None) -> pd.DataFrame:
    """The test items whose activations are kept: per language, stratified by label, the same ids where parallel."""
    codes = list(languages or data.languages)
    if not data.parallel:
        return pd.concat(
            [_stratified(data.frames["test", code].assign(language=code), examples, data.type) for code in codes],
            ignore_index=True,
        )
    common = set.intersection(*(set(data.frames["test", code]["id"]) for code in codes))
    reference = data.frames["test", codes[0]]
    chosen = set(_stratified(reference[reference["id"].isin(common)], examples, data.type)["id"])
    frames = [
        frame[frame["id"].isin(chosen)].sort_values("id").assign(language=code)
        for code in codes
        if (frame := data.frames["test", code]) is not None
    ]
    return pd.concat(frames, ignore_index=True)


def probe(data: TaskData, examples: int, languages: Sequence[str] | None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(items to encode, rows of `probe.parquet`): of the same length, or with several words of an item as rows."""
    return data.type.probe_rows(probe_frame(data, examples, languages), data.labels)


def _stratified(frame: pd.DataFrame, examples: int, kind: TaskType) -> pd.DataFrame:
    """At most `examples` rows, labels taken in turn, within a label by a hash of the id."""
    ordered = frame.iloc[hash_order(frame["id"])]
    label = kind.strata(ordered)
    turn = label.groupby(label).cumcount()
    chosen = ordered.assign(turn=turn.to_numpy(), stratum=label.to_numpy())
    chosen = chosen.sort_values(["turn", "stratum"], kind="stable").head(examples)
    return chosen.drop(columns=["turn", "stratum"]).sort_values("id").reset_index(drop=True)


# -- tokens and batches ----------------------------------------------------------------------------------------


def encode(data: TaskData, frame: pd.DataFrame, tokenizer: Any, max_length: int, segments: bool) -> Encoded:
    """Tokenise a frame; `segments` says whether the model tells the two texts of a pair apart by segment ids."""
    return data.type.encode(tokenizer, frame, data.labels, max_length, segments)


def training_batches(lengths: np.ndarray, batch_size: int, seed: Sequence[int], bucket: int = 50) -> list[np.ndarray]:
    """Item numbers of one epoch's batches: shuffled, then sorted by length within buckets of `bucket` batches.

    The order depends on `seed` (study seed and place of the epoch) alone, so all methods see the same batches (common
    random numbers). Padding falls from about half of all tokens to a few percent.
    """
    generator = np.random.default_rng([*seed, 1])
    order = generator.permutation(len(lengths))
    batches: list[np.ndarray] = []
    for first in range(0, len(order), bucket * batch_size):
        part = order[first : first + bucket * batch_size]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[start : start + batch_size] for start in range(0, len(part), batch_size)]
    generator.shuffle(batches)  # type: ignore[arg-type]
    return batches


def evaluation_batches(lengths: np.ndarray, tokens: int = 4096, rows: np.ndarray | None = None) -> list[np.ndarray]:
    """Item numbers sorted by length, cut where a padded batch would exceed `tokens`: all languages in one stream.

    `rows`: how many rows each item has (default one).
    """
    order = np.argsort(lengths, kind="stable")
    batches, start, held = [], 0, 0
    for stop in range(1, len(order) + 1):
        held += 1 if rows is None else int(rows[order[stop - 1]])
        more = 0 if stop == len(order) else 1 if rows is None else int(rows[order[stop]])
        if stop == len(order) or int(lengths[order[stop]]) * (held + more) > tokens:
            batches.append(order[start:stop])
            start, held = stop, 0
    return batches
