"""Every kind of bad input ends in one clear line before any computing; what is only odd is said in a note."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine import config, data
from engine.config import ConfigError

HEADER = "id\ttext\tlabel\n"
TRAIN = HEADER + "".join(f"t{n}\tsentence number {n}\t{'ab'[n % 2]}\n" for n in range(40))
TEST = HEADER + "".join(f"{n}\tother {n}\t{'ab'[n % 2]}\n" for n in range(20))


def study(folder: Path, ending: str, german: str | bytes, extra: str, train: str, english: str) -> config.Study:
    """Train in TSV; test in one file per language, the German one as given."""
    rows = [dict(zip(("id", "text", "label"), line.split("\t"), strict=True)) for line in english.splitlines()[1:]]
    texts = {"tsv": english, "csv": english.replace("\t", ","), "jsonl": "\n".join(map(json.dumps, rows))}
    (folder / "train.tsv").write_text(train, encoding="utf-8")
    (folder / f"test.en.{ending}").write_text(texts[ending], encoding="utf-8")
    (folder / f"test.de.{ending}").write_bytes(german if isinstance(german, bytes) else german.encode())
    return config.parse(
        f"""[study]
name = "x"
[task]
name = "custom"
type = "sequence"
source_languages = ["en"]
languages = ["en", "de"]
train = "train.tsv"
test = "test.{{language}}.{ending}"
{extra}
[[method]]
recipe = "magnitude"
levels = [0.5]
""",
        folder,
    )


def german(count: int = 20, first: int = 0, prefix: str = "", label: str = "ab") -> str:
    return HEADER + "".join(f"{prefix}{n + first}\tanders {n}\t{label[n % 2]}\n" for n in range(count))


OPEN = """test.de.csv: must be a csv file; CSV parse error: Expected 3 columns, got 2: 1,"abc,a 2,x,b; is a quotation mark left open?"""
TWICE = '{"id": 1, "text": "q", "label": "a"}\n{"id": "1", "text": "r", "label": "b"}\n'
PROBLEMS = {
    "latin-1 in TSV": ("tsv", TEST.replace("other", "öther").encode("latin-1"), "test.de.tsv: must be UTF-8; invalid start byte at byte 16"),
    "latin-1 in CSV": ("csv", "id,text,label\n1,ö,a\n".encode("latin-1"), "test.de.csv: must be UTF-8; invalid start byte at byte 16"),
    "UTF-16": ("tsv", TEST.encode("utf-16"), "test.de.tsv: must be UTF-8; it begins with the mark of UTF-16: save it as UTF-8"),
    "no byte at all": ("tsv", "", "test.de.tsv: must have at least one row; the file is empty"),
    "a mark and no more": ("csv", "\ufeff", "test.de.csv: must have at least one row; the file is empty"),
    "blank lines": ("jsonl", "\n \n", "test.de.jsonl: must have at least one row; the file is empty"),
    "a header alone": ("tsv", HEADER, "test.de.tsv: must have at least one row; got none"),
    "another delimiter": ("tsv", "id;text;label\n1;x;a\n", "test.de.tsv: must have the column 'text' (task.columns.text); it has id;text;label"),
    "a column twice": ("tsv", "id\ttext\ttext\n1\ta\tb\n", "test.de.tsv: must be a tsv file; the header must name every column once; got ['id', 'text', 'text']"),
    "a short row": ("tsv", HEADER + "1\tx\n", "test.de.tsv: must be a tsv file; CSV parse error: Expected 3 columns, got 2: 1 x"),
    "an open quotation mark": ("csv", 'id,text,label\n1,"abc,a\n2,x,b\n', OPEN),
    "no object": ("jsonl", '{"id": 1, "text": "x", "label": "a"}\n[1]\n', "test.de.jsonl: must be a jsonl file; line 2: must be an object, got list"),
    "an empty cell": ("tsv", HEADER + "1\tx\ta\n2\t \tb\n", "test.de.tsv: must have no empty cell in text, label; got 1 rows, the first: 2"),
    "ids twice": ("tsv", TEST + "3\tagain\ta\n", "test de: ids must be unique; 1 stand more than once, such as 3"),
    "an id as number and as text": ("jsonl", TWICE, "test de: ids must be unique; 1 stand more than once, such as 1"),
    "an unknown label": ("tsv", HEADER + "1\tx\tA\n2\ty\tb\n", "test de: labels must occur in train (a, b); got A in 1 rows"),
}  # fmt: skip


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_cannot_be_used_is_refused(tmp_path: Path, name: str) -> None:
    ending, text, line = PROBLEMS[name]
    with pytest.raises(ConfigError) as caught:
        data.load_task(study(tmp_path, ending, text, "", TRAIN, TEST))
    assert line in [problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("train", "extra", "line"),
    [
        (HEADER + "1\tx\ta\n2\ty\tb\n", "", "validation en: train is too small to split one off; give task.validation"),
        (HEADER + "1\tx\ta\n2\ty\ta\n", "", "train: must have at least two labels; got a"),
        (TRAIN, 'columns = { txt = "text" }', "task.columns: must be among text, label, id, language; got txt"),
        (TRAIN, 'columns = { id = "key" }', "test.en.tsv: must have the column 'key' (task.columns.id); it has id, text, label"),
        (TRAIN, 'columns = { language = "text" }', "test.de.tsv: must have rows in de (column 'text'); it has anders 0, anders 1"),
    ],
)  # fmt: skip
def test_what_the_study_asks_for_must_be_there(tmp_path: Path, train: str, extra: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        data.load_task(study(tmp_path, "tsv", german(2), extra, train, TEST))
    assert line in [problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems]


NOTES = {
    "no id in common": (german(prefix="z"), "parallel = true", "task.parallel: treated as not parallel, because all languages share only 0 test ids (at least 4 are needed)"),
    "some ids in common": (german(first=10), "", "test: 10 of 20 ids stand in every language; paired comparisons between languages use these"),
    "labels that differ": (german(label="ba"), "", "test: 20 ids have different labels in different languages"),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTES)
def test_ids_that_do_not_fit_are_said(tmp_path: Path, name: str) -> None:
    text, extra, note = NOTES[name]
    found = data.load_task(study(tmp_path, "tsv", text, extra, TRAIN, TEST))
    assert note in found.notes and found.parallel == (name != "no id in common")


def test_overlap_and_repeated_ids_of_train_are_said(tmp_path: Path) -> None:
    train = TRAIN + "t1\tone more\ta\n"
    english = HEADER + "1\tSentence number 4!\ta\n2\tnew\tb\n"
    found = data.load_task(study(tmp_path, "tsv", german(), "", train, english))
    assert "train en: 1 ids repeat others; rows are numbered instead" in found.notes
    assert "test en: 1 of 2 inputs also stand in train" in found.notes


@pytest.mark.parametrize(
    ("ending", "text", "cells"),
    [
        ("csv", '\ufeffid,text,label\r\n1,"two\nlines, ""quoted""",a\r\n2,NA,b\r\n', ['two\nlines, "quoted"', "NA"]),
        ("tsv", '\ufeffid\ttext\tlabel\n1\t"open\ta\n2\tshut"\tb\n', ['"open', 'shut"']),
        ("jsonl", '\ufeff{"id": "1", "text": "a\\"b", "label": "a"}\n\n{"id": "2", "text": 7, "label": "b"}', ['a"b', "7"]),
    ],
)  # fmt: skip
def test_marks_quotes_and_line_ends_are_read_as_each_format_has_them(
    tmp_path: Path, ending: str, text: str, cells: list[str]
) -> None:
    found = data.load_task(study(tmp_path, ending, text, "", TRAIN, TEST))
    assert found.frames["test", "de"]["text"].tolist() == cells
    assert found.frames["test", "de"]["id"].tolist() == ["1", "2"]
