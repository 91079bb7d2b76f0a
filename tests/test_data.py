"""Reading is strict and complete in its complaints; caps, splits and batches are the same in every language and run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine import config, data, reading
from engine.config import ConfigError


def write(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", 'id\ttext\tlabel\n1\tsay "hi", NA\tNA\n2\tnull\tx\n'),
        ("a.csv", 'id,text,label\n1,"say ""hi"", NA",NA\n2,null,x\n'),
        (
            "a.jsonl",
            '{"id": "1", "text": "say \\"hi\\", NA", "label": "NA"}\n\n{"id": 2, "text": "null", "label": "x"}\n',
        ),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_every_cell_is_a_string(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    frame = reading.read_file(write(tmp_path, name, text, encoding))
    assert frame.to_dict("list") == {"id": ["1", "2"], "text": ['say "hi", NA', "null"], "label": ["NA", "x"]}


def test_parquet(tmp_path: Path) -> None:
    pd.DataFrame({"id": [1], "text": ["a"], "label": ["b"]}).to_parquet(tmp_path / "a.parquet")
    assert reading.read_file(tmp_path / "a.parquet").iloc[0].tolist() == ["1", "a", "b"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.tsv", "id\ttext\n1\ta\tb\n2\tc\n", "must be a tsv file"),
        ("a.tsv", "id\ttext\tlabel\n1\ta\n", "Expected 3 columns, got 2"),
        ("a.jsonl", '{"id": 1}\n[1]\n', "line 2: must be an object"),
        ("a.jsonl", "{", "line 1"),
        ("a.parquet", "text", "must be a parquet file"),
    ],
)
def test_broken_files(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        reading.read_file(write(tmp_path, name, text))


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be UTF-8"):
        reading.read_file(write(tmp_path, "a.tsv", "id\ttext\n1\tÄ\n", "latin-1"))


def study(tmp_path: Path, train: str, tests: dict[str, str], extra: str = "") -> config.Study:
    write(tmp_path, "train.tsv", train)
    for code, text in tests.items():
        write(tmp_path, f"test.{code}.tsv", text)
    codes = ", ".join(f'"{code}"' for code in tests)
    text = f"""
[study]
name = "x"
[task]
name = "custom"
type = "sequence"
source_languages = ["en"]
languages = [{codes}]
train = "train.tsv"
test = "test.{{language}}.tsv"
{extra}
[[method]]
recipe = "magnitude"
levels = [0.5]
"""
    return config.parse(text, tmp_path)


HEADER = "id\ttext\tlabel\n"
TRAIN = HEADER + "".join(f"t{n}\tsentence number {n}\t{'ab'[n % 2]}\n" for n in range(40))
TEST = HEADER + "".join(f"{n}\tother {n}\t{'ab'[n % 2]}\n" for n in range(20))


def test_validation_is_split_off_and_labels_are_sorted(tmp_path: Path) -> None:
    found = data.load_task(study(tmp_path, TRAIN, {"en": TEST, "de": TEST}))
    assert found.labels == ("a", "b")
    assert found.parallel
    assert found.frames["validation", "en"]["label"].tolist().count("a") == 2
    assert len(found.frames["validation", "en"]) == 4
    assert not set(found.frames["validation", "en"]["id"]) & set(found.frames["train", "en"]["id"])


def test_caps_choose_the_same_ids_in_every_language(tmp_path: Path) -> None:
    shuffled = HEADER + "".join(reversed(TEST.splitlines(keepends=True)[1:]))
    found = data.load_task(study(tmp_path, TRAIN, {"en": TEST, "de": shuffled}, "limits = { test = 7 }"))
    assert set(found.frames["test", "en"]["id"]) == set(found.frames["test", "de"]["id"])
    assert len(found.frames["test", "en"]) == 7
    assert "test en de: 7 of 20 examples (task.limits)" in found.notes


def test_every_problem_of_the_data_at_once(tmp_path: Path) -> None:
    bad = HEADER + "1\tx\ta\n1\ty\tc\n"
    empty = HEADER
    with pytest.raises(ConfigError) as caught:
        data.load_task(
            study(tmp_path, TRAIN, {"en": bad, "de": empty, "fr": HEADER + "1\t \ta\n", "ru": "id\ttext\n1\tx\n"})
        )
    text = str(caught.value)
    for part in (
        "test en: ids must be unique; 1 stand more than once, such as 1", "test en: labels must occur in train (a, b); got c in 1 rows",
        "test.de.tsv: must have at least one row", "test.fr.tsv: must have no empty cell", "test.ru.tsv: must have the column 'label' (task.columns.label); it has id, text",
    ):  # fmt: skip
        assert part in text


def test_without_ids_nothing_is_parallel(tmp_path: Path) -> None:
    plain = "text\tlabel\nx\ta\ny\tb\n"
    found = data.load_task(study(tmp_path, TRAIN, {"en": plain, "de": plain}))
    assert not found.parallel
    assert found.frames["test", "de"]["id"].tolist() == ["de:0", "de:1"]


def test_overlap_with_train_is_said(tmp_path: Path) -> None:
    found = data.load_task(study(tmp_path, TRAIN, {"en": HEADER + "1\tSentence, number 4\ta\n2\tnew\tb\n"}))
    assert any("1 of 2 inputs also stand in train" in note for note in found.notes)


def test_probe_is_stratified_and_shared(tmp_path: Path) -> None:
    found = data.load_task(study(tmp_path, TRAIN, {"en": TEST, "de": TEST}))
    frame = data.probe_frame(found, 6, None)
    assert frame.groupby(["language", "label"]).size().tolist() == [3, 3, 3, 3]
    ids = [frame.loc[frame["language"] == code, "id"].tolist() for code in ("en", "de")]
    assert ids[0] == ids[1]


def test_training_batches_hold_every_row_once_and_depend_on_the_seed_alone() -> None:
    lengths = np.random.default_rng(0).integers(3, 40, 333)
    first = data.training_batches(lengths, 32, (1, 2), bucket=4)
    again = data.training_batches(lengths, 32, (1, 2), bucket=4)
    other = data.training_batches(lengths, 32, (1, 3), bucket=4)
    assert sorted(np.concatenate(first)) == list(range(333))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_evaluation_batches_hold_every_row_once_within_the_budget() -> None:
    lengths = np.random.default_rng(0).integers(3, 40, 500)
    batches = data.evaluation_batches(lengths, tokens=256)
    assert sorted(np.concatenate(batches)) == list(range(500))
    assert all(len(rows) == 1 or len(rows) * lengths[rows].max() <= 256 for rows in batches)
    assert data.evaluation_batches(np.array([1000]), tokens=256)[0].tolist() == [0]


def test_missing_values_are_empty_and_not_words(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"id": "1", "text": null, "label": "x"}\n{"id": "2", "label": "x"}\n')
    assert reading.read_file(path)["text"].tolist() == ["", ""]
    pd.DataFrame({"id": ["1"], "text": [None], "label": ["b"]}).to_parquet(tmp_path / "a.parquet")
    assert reading.read_file(tmp_path / "a.parquet")["text"].tolist() == [""]


def test_a_rare_label_never_leaves_train(tmp_path: Path) -> None:
    found = data.load_task(study(tmp_path, TRAIN + "rare\tone of a kind\tc\n", {"en": TEST, "de": TEST}))
    assert "c" in set(found.frames["train", "en"]["label"])


def test_common_ids_come_first_under_a_cap(tmp_path: Path) -> None:
    part = HEADER + "".join(TEST.splitlines(keepends=True)[8:])
    found = data.load_task(study(tmp_path, TRAIN, {"en": TEST, "de": part}, "limits = { test = 9 }"))
    assert set(found.frames["test", "en"]["id"]) == set(found.frames["test", "de"]["id"])


def test_row_numbers_as_ids(tmp_path: Path) -> None:
    plain = "text\tlabel\n" + "".join(f"x{n}\t{'ab'[n % 2]}\n" for n in range(6))
    found = data.load_task(study(tmp_path, TRAIN, {"en": plain, "de": plain}, 'columns = { id = "#row" }'))
    assert found.parallel and found.frames["test", "de"]["id"].tolist() == list("012345")


def test_the_demo_study_loads() -> None:
    path = Path(config.__file__).parent / "demo" / "study.toml"
    found = data.load_task(config.load(path))
    assert len(found.labels) == 16 and found.parallel and ("natural", "sw") in found.frames
