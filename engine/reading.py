"""Data files and hub datasets as tables. Nothing here knows what a column means.

A cell is text, or a list or mapping where the source has one (JSONL, Parquet, CoNLL, hub). The index of a table is
the row's number in its file. Files above `STREAM_BYTES` are read in pieces, and at most so many rows are kept, chosen
by a hash of the id; `frame.attrs["rows"]` then says how many there were.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine import hub
from engine.config import ENDINGS, ConfigError, TaskSection
from engine.tasks import TASKS
from engine.tasks.row import PARQUET

STREAM_BYTES = 256 * 2**20
STREAM_ROWS = 1_000_000  # kept of a file above that size without a limit in the study
CHUNK_ROWS = 65_536
FAR = 2**64 - 1  # above every rank
_COMMENT = re.compile(r"#\s*([\w.-]+(?: [\w.-]+)*)\s*[:=]\s*(.*)")


def read_file(path: Path, form: str = "auto", most: int | None = None, key: str = "id", by: str = "") -> pd.DataFrame:
    """Read one local file. TSV has no quoting, CSV is RFC 4180, JSONL one object per line, "NA" is text.

    `most`, `key` (the id's column) and `by` (the language's, where a file holds several) matter for large files only:
    how many rows to keep, by what to choose them, and of what so many are kept each.
    """
    kind = ENDINGS[path.suffix.lower()] if form == "auto" else form
    try:
        if path.stat().st_size <= STREAM_BYTES:
            return _joined(list(_CHUNKS[kind](path))).reset_index(drop=True)
        return _kept(_CHUNKS[kind](path), most or STREAM_ROWS, key, by)
    except (ValueError, OSError) as error:  # a UnicodeDecodeError is a ValueError, and Arrow's errors are too
        if kind != "parquet" and (reason := _not_utf8(path)):
            raise ConfigError([f"{path}: must be UTF-8; {reason}"]) from None
        hint = "; is a quotation mark left open?" if kind == "csv" and '"' in str(error) else ""
        raise ConfigError([f"{path}: must be a {kind} file; {' '.join(str(error).split())}{hint}"]) from None


def _joined(chunks: list[pd.DataFrame]) -> pd.DataFrame:
    if len(chunks) < 2:
        return chunks[0] if chunks else pd.DataFrame()
    frame = pd.concat(chunks)
    return frame.where(frame.notna(), "") if len({tuple(chunk.columns) for chunk in chunks}) > 1 else frame


def _kept(chunks: Iterator[pd.DataFrame], most: int, key: str, by: str) -> pd.DataFrame:
    """The `most` rows of smallest hash of the id (of the row's number where there is none), in the file's order; with
    a column `by`, so many of each of its values.

    A row above the `most`-th smallest hash so far can never come back, so that after the first cut nearly all of a
    large file is dropped chunk by chunk, and at most `2·most` rows wait for the next cut.
    """
    total, waiting, held = 0, 0, _Rows({}, [])
    for chunk in chunks:
        chunk.index = pd.RangeIndex(total, total + len(chunk))
        total += len(chunk)
        ids = chunk[key] if key in chunk else pd.Series(chunk.index, index=chunk.index)
        groups = chunk[by].astype(str).to_numpy() if by in chunk else np.full(len(chunk), "")
        ranks = np.array([rank_of(identity) for identity in ids.astype(str).tolist()], dtype=np.uint64)
        waiting += held.take(chunk, ranks, groups)
        if waiting > most:
            held, waiting = held.cut(most), 0
    kept = held.cut(most).frame()
    kept.attrs["rows"] = total
    return kept


@dataclass
class _Rows:
    """Rows in hand with their ranks and groups, and of each full group the largest rank that is still of use."""

    bounds: dict[str, int]
    parts: list[tuple[pd.DataFrame, np.ndarray, np.ndarray]]

    def take(self, chunk: pd.DataFrame, ranks: np.ndarray, groups: np.ndarray) -> int:
        """Take what may stay; returns how many rows that are."""
        names, place = np.unique(groups, return_inverse=True)
        use = ranks <= np.array([self.bounds.get(str(name), FAR) for name in names], dtype=np.uint64)[place]
        if use.any():
            self.parts.append((chunk[use], ranks[use], groups[use]))
        return int(use.sum())

    def cut(self, most: int) -> _Rows:
        """The `most` rows of smallest rank of every group, in the order in which they came."""
        if not self.parts:
            return self
        ranks, groups = (np.concatenate([part[side] for part in self.parts]) for side in (1, 2))
        stay, bounds = np.zeros(len(ranks), dtype=bool), dict[str, int]()
        for group in np.unique(groups):
            own = np.flatnonzero(groups == group)
            chosen = own[np.argsort(ranks[own], kind="stable")[:most]]
            stay[chosen] = True
            if len(chosen) == most:
                bounds[str(group)] = int(ranks[chosen[-1]])
        return _Rows(bounds, [(self.frame()[stay], ranks[stay], groups[stay])])

    def frame(self) -> pd.DataFrame:
        """All rows in hand."""
        return _joined([part[0] for part in self.parts])


def rank_of(identity: str) -> int:
    """The first eight bytes of the hash by which rows are chosen: the same choice in every language with the same ids."""
    return int.from_bytes(hashlib.sha256(f"prunoscope/{identity}".encode()).digest()[:8], "big")


def _not_utf8(path: Path) -> str:
    """What is wrong with a file's encoding; "" where it is UTF-8."""
    with path.open("rb") as handle:
        start = handle.read(4)
        for mark, name in ((codecs.BOM_UTF16_LE, "UTF-16"), (codecs.BOM_UTF16_BE, "UTF-16")):
            if start.startswith(mark):
                return f"it begins with the mark of {name}: save it as UTF-8"
        handle.seek(0)
        decoder, place = codecs.getincrementaldecoder("utf-8")(), 0
        while block := handle.read(2**20):
            before = len(decoder.getstate()[0])
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                return f"{error.reason} at byte {place - before + error.start}"
            place += len(block)
    return ""


# -- formats -------------------------------------------------------------------------------------------------------


def _delimited(path: Path, delimiter: str, quoted: bool) -> Iterator[pd.DataFrame]:
    """Strict reading by Arrow: a row with more or fewer cells than the header is an error, not a guess."""
    from pyarrow import csv as arrow
    from pyarrow import string

    with path.open(encoding="utf-8-sig", newline="") as handle:
        header = next(
            csv.reader(handle, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE), []
        )
    if not header:
        return
    if len(set(header)) != len(header):
        raise ValueError(f"the header must name every column once; got {header}")
    options = {
        "read_options": arrow.ReadOptions(encoding="utf8"),
        "parse_options": arrow.ParseOptions(
            delimiter=delimiter, quote_char='"' if quoted else False, newlines_in_values=quoted
        ),
        "convert_options": arrow.ConvertOptions(
            column_types=dict.fromkeys(header, string()), strings_can_be_null=False
        ),
    }
    if path.stat().st_size <= STREAM_BYTES:
        yield arrow.read_csv(path, **options).to_pandas().astype(str)
        return
    with arrow.open_csv(path, **options) as reader:
        for batch in reader:
            yield batch.to_pandas().astype(str)


def _jsonl(path: Path) -> Iterator[pd.DataFrame]:
    rows: list[dict[str, Any]] = []
    with path.open(encoding="utf-8-sig", newline="\n") as handle:
        for number, line in enumerate(handle, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number}: {error.msg}") from None
            if not isinstance(row, dict):
                raise ValueError(f"line {number}: must be an object, got {type(row).__name__}")
            rows.append({key: _cell(value) for key, value in row.items()})
            if len(rows) == CHUNK_ROWS:
                yield _table(rows)
                rows = []
    if rows:
        yield _table(rows)


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, dtype=object)
    return frame.where(frame.notna(), "")


def _cell(value: Any) -> Any:
    """A value as text; nothing is an empty cell; lists and mappings stay, with plain values inside."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, (list, tuple, dict)):
        return value
    return json.dumps(value) if isinstance(value, (bool, int, float)) else str(value)


def _parquet(path: Path) -> Iterator[pd.DataFrame]:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(CHUNK_ROWS):
            yield _plain(batch.to_pydict())


def _plain(columns: Mapping[str, list[Any]]) -> pd.DataFrame:
    """Columns of Python values as cells."""
    return pd.DataFrame(
        {name: pd.Series([_cell(value) for value in values], dtype=object) for name, values in columns.items()}
    )


def _conll(path: Path) -> Iterator[pd.DataFrame]:
    """One sentence per row: `tokens`, `tags`, every column by its number ("1", "2", …), and comments `# key = value`
    by their key (`sent_id` as `id`).

    Columns are cut at tabs, or at spaces in a file without tabs. Of ten columns (CoNLL-U) the second and fourth are
    word and tag, and ranges and empty nodes are left out; else the first and the last. A line that starts with # is a
    comment only without a tab and with a `key =` or `key:`, because # is also a word.
    """
    rows: list[dict[str, Any]] = []
    words: list[list[str]] = []
    facts: dict[str, str] = {}
    width = 0
    with path.open(encoding="utf-8-sig", newline="\n") as handle:
        for number, line in enumerate(handle, 1):
            line = line.rstrip("\r\n")
            if not line.strip():
                if words:
                    rows.append(_sentence(words, facts))
                    words, facts = [], {}
                if len(rows) == CHUNK_ROWS:
                    yield _table(rows)
                    rows = []
            elif "\t" not in line and (comment := _COMMENT.match(line)):
                facts["id" if comment[1] == "sent_id" else comment[1]] = comment[2]
            elif not line.startswith("-DOCSTART-"):
                cells = line.split("\t") if "\t" in line else line.split()
                if width and len(cells) != width:
                    raise ValueError(
                        f"line {number}: must have {width} columns like the lines before; got {len(cells)}"
                    )
                width = len(cells)
                if width < 2:
                    raise ValueError(f"line {number}: must have a word and a tag; got {line[:40]!r}")
                if width != 10 or cells[0].isdigit():
                    words.append(cells)
    if words:
        rows.append(_sentence(words, facts))
    if rows:
        yield _table(rows)


def _sentence(words: list[list[str]], facts: Mapping[str, str]) -> dict[str, Any]:
    columns = [list(column) for column in zip(*words, strict=True)]
    word, tag = (1, 3) if len(columns) == 10 else (0, -1)
    numbered = {str(number): column for number, column in enumerate(columns, 1)} if len(columns) > 2 else {}
    return {**facts, "tokens": columns[word], "tags": columns[tag], **numbered}


_CHUNKS = {
    "csv": lambda path: _delimited(path, ",", quoted=True),
    "tsv": lambda path: _delimited(path, "\t", quoted=False),
    "jsonl": _jsonl,
    "parquet": _parquet,
    "conll": _conll,
}


# -- hub -----------------------------------------------------------------------------------------------------------


def read_hub(task: TaskSection, split: str, language: str) -> pd.DataFrame:
    """One split of a hub dataset; numbers become label names where the data set says what they mean."""
    import datasets

    row = TASKS.get(task.name)
    code = row.codes.get(language, language) if row else language
    names = {
        key: (value or "").replace("{language}", code)
        for key, value in (("dataset", task.dataset), ("config", task.config))
    }
    hub_split = (task.split or {}).get(split, split).replace("{language}", code)
    hub.settle()
    where: dict[str, Any] = {"name": names["config"] or None, "split": hub_split}
    if task.revision == PARQUET:
        # The copy has a folder per configuration and split and no card that names them, so that `datasets` sees one
        # configuration, "default", and refuses any other name.
        where = {"data_files": {split: f"{names['config'] or 'default'}/{hub_split}/*.parquet"}, "split": split}
    try:
        rows = datasets.load_dataset(names["dataset"], revision=task.revision, **where)
    except Exception as error:  # the hub client raises many kinds; each of them means that this split is not to be had
        raise ConfigError(
            [
                f"task.dataset: {names['dataset']} ({names['config'] or 'default'}, {hub_split}) could not be loaded: "
                f"{(str(error).splitlines() or [type(error).__name__])[0]}; on an offline machine download it elsewhere and give task.train and task.test as files"
            ]
        ) from None
    columns = rows[:]  # all at once: column by column every value would be decoded alone
    return _plain({name: [_named(value, rows.features[name]) for value in columns[name]] for name in rows.features})


def _named(value: Any, feature: Any) -> Any:
    """Class numbers as their names, inside lists too; −1 (no label) is an empty cell."""
    if hasattr(feature, "int2str"):
        return feature.int2str(int(value)) if value is not None and int(value) >= 0 else ""
    inner = getattr(feature, "feature", feature[0] if isinstance(feature, list) else None)
    if inner is not None and isinstance(value, list):
        return [_named(one, inner) for one in value]
    return value
