"""Data files and hub datasets as tables of strings. Nothing here knows what a column means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from engine.config import ENDINGS, ConfigError, TaskSection


def read_file(path: Path, form: str = "auto") -> pd.DataFrame:
    """Read one local file as strings. TSV has no quoting, CSV is RFC 4180, JSONL one object per line, "NA" is text."""
    kind = ENDINGS[path.suffix.lower()] if form == "auto" else form
    try:
        frame = _READERS[kind](path)
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: must be UTF-8; {error.reason} at byte {error.start}"]) from None
    except (ValueError, OSError) as error:
        raise ConfigError([f"{path}: must be a {kind} file; {' '.join(str(error).split())}"]) from None
    return frame


def _read_delimited(path: Path, delimiter: str, quoted: bool) -> pd.DataFrame:
    """Strict reading by Arrow: a row with more or fewer cells than the header is an error, not a guess."""
    import csv

    from pyarrow import csv as arrow
    from pyarrow import string

    with path.open(encoding="utf-8-sig", newline="") as handle:
        header = next(
            csv.reader(handle, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE), []
        )
    if len(set(header)) != len(header) or not header:
        raise ValueError(f"the header must name every column once; got {header}")
    table = arrow.read_csv(
        path,
        read_options=arrow.ReadOptions(encoding="utf8"),
        parse_options=arrow.ParseOptions(
            delimiter=delimiter, quote_char='"' if quoted else False, newlines_in_values=quoted
        ),
        convert_options=arrow.ConvertOptions(column_types=dict.fromkeys(header, string()), strings_can_be_null=False),
    )
    return table.to_pandas().astype(str)


def _read_jsonl(path: Path) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number}: {error.msg}") from None
        if not isinstance(row, dict):
            raise ValueError(f"line {number}: must be an object, got {type(row).__name__}")
        rows.append({key: _cell(value) for key, value in row.items()})
    return pd.DataFrame(rows, dtype=object).fillna("").astype(str)


def _cell(value: Any) -> str:
    """A JSON value as text; null is an empty cell."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _strings(frame: pd.DataFrame) -> pd.DataFrame:
    """Every cell as text, a missing one as empty (and not as the word for it)."""
    return frame.astype(object).where(frame.notna(), "").astype(str)


_READERS = {
    "csv": lambda path: _read_delimited(path, ",", quoted=True),
    "tsv": lambda path: _read_delimited(path, "\t", quoted=False),
    "jsonl": _read_jsonl,
    "parquet": lambda path: _strings(pd.read_parquet(path)),
}


def read_hub(task: TaskSection, split: str, language: str) -> pd.DataFrame:
    """One split of a hub dataset; numbers become label names where the data set says what they mean."""
    import datasets

    names = {
        key: (value or "").replace("{language}", language)
        for key, value in (("dataset", task.dataset), ("config", task.config))
    }
    hub_split = (task.split or {}).get(split, split).replace("{language}", language)
    try:
        rows = datasets.load_dataset(names["dataset"], names["config"] or None, split=hub_split, revision=task.revision)
    except Exception as error:  # the hub client raises many kinds; each of them means that this split is not to be had
        raise ConfigError(
            [
                f"task.dataset: {names['dataset']} ({names['config'] or 'default'}, {hub_split}) could not be loaded: "
                f"{(str(error).splitlines() or [type(error).__name__])[0]}; on an offline machine download it elsewhere and give task.train and task.test as files"
            ]
        ) from None
    frame = rows.to_pandas()
    for name, feature in rows.features.items():
        if isinstance(feature, datasets.ClassLabel):
            frame[name] = [feature.int2str(int(value)) if value >= 0 else "" for value in frame[name]]
    return _strings(frame)
