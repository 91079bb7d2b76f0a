"""From hub, local or bundled data to tokenised, length-bucketed batches.

Reading is strict: every cell is a string, and what cannot be used (missing columns, empty cells, labels unknown to
training, duplicate ids, test items that stand in train) is reported for all files at once before any computing.
Caps and splits go by a hash of the id, so that every language keeps the same items.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from engine import checks
from engine.config import ConfigError, Study, TaskSection
from engine.reading import read_file, read_hub
from engine.tasks import TASKS
from engine.tasks.types import TaskType, task_type

if TYPE_CHECKING:
    import torch

VALIDATION_SHARE = 0.1
NO_ID, ROW_ID = "\0", "#row"
FEW = 4  # ids that languages must share to be called parallel; the fewest that debiased CKA takes
EXAMPLE_ROWS = 3  # offending rows named in a message
BUNDLED_DATA = Path(__file__).parent / "demo" / "data"


@dataclass(frozen=True)
class TaskData:
    """A task ready to use: frames of id, text, [pair], label by (split, language), and the label names in order."""

    type: TaskType
    labels: tuple[str, ...]
    sources: tuple[str, ...]
    languages: tuple[str, ...]
    frames: Mapping[tuple[str, str], pd.DataFrame]
    parallel: bool
    extra: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def split(self, split: str, languages: Sequence[str]) -> pd.DataFrame:
        """The rows of a split over several languages, with a `language` column, in the order given."""
        frames = [self.frames[split, code].assign(language=code) for code in languages if (split, code) in self.frames]
        return pd.concat(frames, ignore_index=True)

    def digest(self) -> str:
        """Fingerprint of everything that was read: ids, texts and labels."""
        total = hashlib.sha256()
        for (split, language), frame in sorted(self.frames.items()):
            total.update(f"{split}/{language}".encode())
            total.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
        return total.hexdigest()[:16]


# -- loading a task --------------------------------------------------------------------------------------------


def load_task(study: Study) -> TaskData:
    """Read, check, cap and split the study's data; raise `ConfigError` with every problem found."""
    task = _as_custom(study.task)
    kind = task_type(task.type or "sequence")
    sources, languages = checks.languages_of(study.task)
    extra = TASKS[study.task.name].extra if study.task.name in TASKS else ()
    problems: list[str] = []
    frames: dict[tuple[str, str], pd.DataFrame] = {}
    for split, code in _wanted(task, sources, languages, extra):
        frame = _load_split(task, kind, split, code, study.base, problems)
        if frame is not None:
            frames[split, code] = frame
    notes = _prepare(frames, task, sources, extra, problems)
    if problems:
        raise ConfigError(problems)
    labels = _labels(frames, sources, task, study.task.name)
    return TaskData(
        kind, labels, tuple(sources), tuple(languages), frames, _parallel(task, frames), tuple(extra), tuple(notes)
    )


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
    if row.dataset:
        values |= {"dataset": row.dataset, "config": row.config or None, "split": dict(row.split)}
    else:
        folder = BUNDLED_DATA / row.name.removeprefix("bundled-")
        values |= {split: str(folder / f"{split}.{{language}}.tsv") for split in ("train", "validation", "test")}
    return task.model_copy(update=values)


def _wanted(
    task: TaskSection, sources: list[str], languages: list[str], extra: Sequence[str]
) -> Iterator[tuple[str, str]]:
    for split in ("train", "validation", "test", *extra):
        if split == "validation" and not (task.validation or (task.dataset and "validation" in (task.split or {}))):
            continue
        for code in sources if split in ("train", "validation") else languages:
            yield split, code


def _load_split(
    task: TaskSection, kind: TaskType, split: str, language: str, base: Path, problems: list[str]
) -> pd.DataFrame | None:
    """Read one split in one language and bring it to our columns; problems are collected and None comes back."""
    try:
        if task.dataset:
            where = f"{task.dataset} {split} {language}"
            return _number(
                _columns(read_hub(task, split, language), task, kind, where, split, language), task, language
            )
        files = checks.paths(task, split, language, base) or [
            BUNDLED_DATA / kind_folder(task) / f"{split}.{language}.tsv"
        ]
        parts = [_columns(read_file(path, task.format), task, kind, str(path), split, language) for path in files]
        return _number(pd.concat(parts, ignore_index=True), task, language)
    except ConfigError as error:
        problems += error.problems
        return None


def _number(frame: pd.DataFrame, task: TaskSection, language: str) -> pd.DataFrame:
    """Make ids where the data has none: `language:row`, never parallel, or the bare row number where `id = "#row"` says
    that the rows of all languages correspond."""
    prefix = "" if task.columns.get("id") == ROW_ID else f"{language}:"
    numbers = pd.Series([f"{prefix}{row}" for row in range(len(frame))])
    return frame.assign(id=frame["id"].where(frame["id"] != NO_ID, numbers))


def kind_folder(task: TaskSection) -> str:
    """The bundled folder of a written-out bundled task (its extra splits have no key of their own)."""
    return task.name.removeprefix("bundled-")


def _columns(
    frame: pd.DataFrame, task: TaskSection, kind: TaskType, where: str, split: str, language: str
) -> pd.DataFrame:
    """Rename to our columns, make ids where there are none (only test needs its own), and refuse what is empty."""
    names = {column: task.columns.get(column, column) for column in (*kind.columns, "id")}
    problems = [
        f"{where}: must have the column {names[column]!r} (task.columns.{column}); it has {', '.join(frame.columns)}"
        for column in kind.columns
        if names[column] not in frame.columns
    ]
    if unknown := [column for column in task.columns if column not in (*kind.columns, "id")]:
        problems.append(f"task.columns: must be among {', '.join((*kind.columns, 'id'))}; got {', '.join(unknown)}")
    if names["id"] != ROW_ID and "id" in task.columns and split == "test" and names["id"] not in frame.columns:
        problems.append(
            f"{where}: must have the column {names['id']!r} (task.columns.id); it has {', '.join(frame.columns)}"
        )
    if problems:
        raise ConfigError(problems)
    found = pd.DataFrame({column: frame[names[column]].astype(str).str.strip() for column in kind.columns})
    if names["id"] in frame.columns:
        found.insert(0, "id", frame[names["id"]].astype(str))
    else:
        found.insert(0, "id", NO_ID)
    if found.empty:
        raise ConfigError([f"{where}: must have at least one row; got none"])
    blank = (found == "").any(axis=1).to_numpy()
    if blank.any():
        rows = ", ".join(str(row + 1) for row in np.flatnonzero(blank)[:EXAMPLE_ROWS])
        raise ConfigError(
            [
                f"{where}: must have no empty cell in {', '.join(kind.columns)}; got {blank.sum()} rows, the first: {rows}"
            ]
        )
    return found.reset_index(drop=True)


def _prepare(
    frames: dict[tuple[str, str], pd.DataFrame],
    task: TaskSection,
    sources: list[str],
    extra: Sequence[str],
    problems: list[str],
) -> list[str]:
    """Split off validation, apply the caps, then check ids, labels and overlap. Changes `frames`; returns notes."""
    notes = []
    for code in sources:
        if ("train", code) in frames and ("validation", code) not in frames:
            notes.append(_split_validation(frames, code))
    shared = {split: _common_ids(frames, split) for split in ("test", *extra)}
    capped: dict[tuple[str, int, int], list[str]] = {}
    for (split, code), frame in list(frames.items()):
        problems += _id_problems(frame, split, code)
        limit = task.limits.get(split)  # type: ignore[call-overload]
        if limit and len(frame) > limit:
            capped.setdefault((split, limit, len(frame)), []).append(code)
            frames[split, code] = _cap(frame, limit, shared.get(split, set()))
    notes += [
        f"{split} {' '.join(codes)}: {limit} of {whole} examples (task.limits)"
        for (split, limit, whole), codes in capped.items()
    ]
    problems += _label_problems(frames, sources, task)
    notes += _parallel_notes(frames, task)
    notes += _overlap_notes(frames, sources, extra)
    return notes


def _common_ids(frames: Mapping[tuple[str, str], pd.DataFrame], split: str) -> set[str]:
    """Ids that every language of a split has."""
    found = [set(frame["id"]) for (name, _), frame in frames.items() if name == split]
    return set.intersection(*found) if found else set()


def hash_order(ids: pd.Series) -> np.ndarray:
    """Positions sorted by a hash of the id: the same choice in every language that has the same ids."""
    keys = [hashlib.sha256(f"prunoscope/{identity}".encode()).digest() for identity in ids]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def _cap(frame: pd.DataFrame, limit: int, first: set[str]) -> pd.DataFrame:
    """Keep `limit` rows by a hash of the id, ids in `first` before others, so that all languages keep the same ones."""
    order = hash_order(frame["id"])
    late = ~frame["id"].isin(first).to_numpy()[order]
    chosen = order[np.argsort(late, kind="stable")][:limit]
    return frame.iloc[np.sort(chosen)].reset_index(drop=True)


def _split_validation(frames: dict[tuple[str, str], pd.DataFrame], code: str) -> str:
    """Move a tenth of every label (never its last example) from train to validation, chosen by a hash of the id."""
    frame = frames["train", code]
    order = hash_order(frame["id"])
    labels = frame["label"].iloc[order]
    sizes = labels.map(labels.value_counts()).to_numpy()
    share = np.minimum(np.maximum(1, np.round(VALIDATION_SHARE * sizes)), sizes - 1)
    taken = np.sort(order[labels.groupby(labels).cumcount().to_numpy() < share])
    frames["validation", code] = frame.iloc[taken].reset_index(drop=True)
    frames["train", code] = frame.drop(index=taken).reset_index(drop=True)
    return f"validation {code}: {len(taken)} examples of train, a tenth of every label, chosen by a hash of the id"


def _id_problems(frame: pd.DataFrame, split: str, code: str) -> list[str]:
    twice = frame.loc[frame["id"].duplicated(), "id"]
    if twice.empty:
        return []
    return [
        f"{split} {code}: ids must be unique; {twice.nunique()} stand more than once, such as {', '.join(twice.unique()[:EXAMPLE_ROWS])}"
    ]


def _label_problems(frames: Mapping[tuple[str, str], pd.DataFrame], sources: list[str], task: TaskSection) -> list[str]:
    trained = {label for code in sources if ("train", code) in frames for label in frames["train", code]["label"]}
    if not trained:
        return []
    problems = [] if len(trained) > 1 else [f"train: must have at least two labels; got {', '.join(trained)}"]
    empty = [code for (split, code), frame in frames.items() if split == "validation" and frame.empty]
    problems += [f"validation {code}: train is too small to split one off; give task.validation" for code in empty]
    hint = " (task.limits.train may have cut them off)" if task.limits.get("train") else ""  # type: ignore[call-overload]
    for (split, code), frame in frames.items():
        if split != "train" and (unknown := sorted(set(frame["label"]) - trained)):
            rows = int(frame["label"].isin(unknown).sum())
            problems.append(
                f"{split} {code}: labels must occur in train ({', '.join(sorted(trained))}); got {', '.join(unknown)} in {rows} rows{hint}"
            )
    return problems


def _overlap_notes(
    frames: Mapping[tuple[str, str], pd.DataFrame], sources: list[str], extra: Sequence[str]
) -> list[str]:
    """Test texts that also stand in train are said, not removed: the user's split is the user's."""
    notes = []
    for code in sources:
        if ("train", code) not in frames:
            continue
        seen = set(_normal(frames["train", code]))
        for split in ("test", *extra):
            if (split, code) in frames and (count := sum(text in seen for text in _normal(frames[split, code]))):
                notes.append(f"{split} {code}: {count} of {len(frames[split, code])} inputs also stand in train")
    return notes


def _normal(frame: pd.DataFrame) -> list[str]:
    columns = [column for column in ("text", "pair") if column in frame]
    joined = frame[columns].agg("\t".join, axis=1)
    return ["".join(letter for letter in text.casefold() if letter.isalnum() or letter == "\t") for text in joined]


def _labels(
    frames: Mapping[tuple[str, str], pd.DataFrame], sources: list[str], task: TaskSection, name: str
) -> tuple[str, ...]:
    """Label names: the table's order where a row gives one, else sorted. Order comes from names, never from numbers."""
    known = TASKS[name].labels if name in TASKS else ()
    found = {label for code in sources for label in frames["train", code]["label"]}
    return tuple(known) if known and found <= set(known) else tuple(sorted(found))


def _parallel(task: TaskSection, frames: Mapping[tuple[str, str], pd.DataFrame]) -> bool:
    """Parallel unless denied, where the languages share at least `FEW` ids of test."""
    several = sum(split == "test" for split, _ in frames) > 1
    return task.parallel is not False and several and len(_common_ids(frames, "test")) >= FEW


def _parallel_notes(frames: Mapping[tuple[str, str], pd.DataFrame], task: TaskSection) -> list[str]:
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
        labels = pd.concat([frame.set_index("id")["label"] for frame in tests.values()], axis=1)
        differ = int((labels.nunique(axis=1) > 1).sum())
        notes += [f"test: {differ} ids have different labels in different languages"] if differ else []
    return notes


# -- probe and calibration -------------------------------------------------------------------------------------


def probe_frame(data: TaskData, examples: int, languages: Sequence[str] | None) -> pd.DataFrame:
    """The test rows whose activations are kept: per language, stratified by label, the same ids where parallel."""
    codes = list(languages or data.languages)
    if not data.parallel:
        return pd.concat(
            [_stratified(data.frames["test", code].assign(language=code), examples) for code in codes],
            ignore_index=True,
        )
    common = set.intersection(*(set(data.frames["test", code]["id"]) for code in codes))
    reference = data.frames["test", codes[0]]
    chosen = set(_stratified(reference[reference["id"].isin(common)], examples)["id"])
    frames = [
        frame[frame["id"].isin(chosen)].sort_values("id").assign(language=code)
        for code in codes
        if (frame := data.frames["test", code]) is not None
    ]
    return pd.concat(frames, ignore_index=True)


def _stratified(frame: pd.DataFrame, examples: int) -> pd.DataFrame:
    """At most `examples` rows, labels taken in turn, within a label by a hash of the id."""
    ordered = frame.iloc[hash_order(frame["id"])]
    turn = ordered.groupby("label").cumcount()
    chosen = ordered.assign(turn=turn.to_numpy()).sort_values(["turn", "label"], kind="stable").head(examples)
    return chosen.drop(columns="turn").sort_values("id").reset_index(drop=True)


# -- tokens and batches ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Encoded:
    """Tokenised examples: token ids (and segment ids where the model has them) and targets, in the frame's order."""

    tokens: list[list[int]]
    targets: np.ndarray
    pad: int
    segments: list[list[int]] | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: np.ndarray) -> Encoded:
        """Some of the examples."""
        segments = None if self.segments is None else [self.segments[row] for row in rows]
        return Encoded([self.tokens[row] for row in rows], self.targets[rows], self.pad, segments)

    def lengths(self) -> np.ndarray:
        """Tokens per example."""
        return np.array([len(tokens) for tokens in self.tokens], dtype=np.int64)

    def batch(self, rows: Sequence[int] | np.ndarray, device: torch.device) -> dict[str, torch.Tensor]:
        """Pad the given rows to their own longest: input_ids, attention_mask, [token_type_ids], targets."""
        import torch

        width = max(len(self.tokens[row]) for row in rows)
        tokens = np.full((len(rows), width), self.pad, dtype=np.int64)
        attention = np.zeros((len(rows), width), dtype=np.int64)
        segments = np.zeros((len(rows), width), dtype=np.int64)
        for line, row in enumerate(rows):
            length = len(self.tokens[row])
            tokens[line, :length] = self.tokens[row]
            attention[line, :length] = 1
            if self.segments is not None:
                segments[line, :length] = self.segments[row]
        arrays = {"input_ids": tokens, "attention_mask": attention, "targets": self.targets[np.asarray(rows)]}
        if self.segments is not None:
            arrays["token_type_ids"] = segments
        return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


def encode(data: TaskData, frame: pd.DataFrame, tokenizer: Any, max_length: int, segments: bool) -> Encoded:
    """Tokenise a frame; `segments` says whether the model tells the two texts of a pair apart by segment ids."""
    tokens = data.type.encode(tokenizer, frame, max_length)
    kinds = data.type.segments(tokenizer, frame, max_length) if segments else None
    pad = tokenizer.pad_token_id
    return Encoded(tokens, data.type.targets(frame, data.labels), pad, kinds)


def training_batches(lengths: np.ndarray, batch_size: int, seed: Sequence[int], bucket: int = 50) -> list[np.ndarray]:
    """Row numbers of one epoch's batches: shuffled, then sorted by length within buckets of `bucket` batches.

    The order depends on `seed` (study seed, level, epoch) alone, so all methods see the same batches (common
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


def evaluation_batches(lengths: np.ndarray, tokens: int = 4096) -> list[np.ndarray]:
    """Row numbers sorted by length, cut where a padded batch would exceed `tokens`: all languages in one stream."""
    order = np.argsort(lengths, kind="stable")
    batches, start = [], 0
    for stop in range(1, len(order) + 1):
        if stop == len(order) or int(lengths[order[stop]]) * (stop + 1 - start) > tokens:
            batches.append(order[start:stop])
            start = stop
    return batches
