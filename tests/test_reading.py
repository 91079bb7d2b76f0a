"""Files of every format, one file or folder for several languages, files too large for memory, and complete complaints."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from engine import config, data, reading
from engine.config import ConfigError


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def study(folder: Path, kind: str, task: str, languages: tuple[str, ...] = ("en", "de")) -> config.Study:
    codes = ", ".join(f'"{code}"' for code in languages)
    text = f"""
[study]
name = "x"
[task]
name = "custom"
type = "{kind}"
source_languages = ["en"]
languages = [{codes}]
{task}
[[method]]
recipe = "magnitude"
levels = [0.5]
"""
    return config.parse(text, folder)


# -- formats -----------------------------------------------------------------------------------------------------


def test_conll_with_tabs_keeps_words_that_look_like_comments(tmp_path: Path) -> None:
    text = "\ufeff# sent_id = s1\n# intent: weather/find\n#\tO\nNew York\tB-LOC\r\n\n\n# sent_id = s2\na\tO\n"
    frame = reading.read_file(write(tmp_path, "a.conll", text))
    assert frame["id"].tolist() == ["s1", "s2"] and frame["intent"].tolist() == ["weather/find", ""]
    assert frame["tokens"].tolist() == [["#", "New York"], ["a"]] and frame["tags"].tolist() == [["O", "B-LOC"], ["O"]]


def test_conll_2003_and_conllu(tmp_path: Path) -> None:
    text = "-DOCSTART- -X- -X- O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n"
    frame = reading.read_file(write(tmp_path, "a.conll", text))
    assert frame["tags"].tolist() == [["B-ORG", "O"]] and frame["2"].tolist() == [["NNP", "VBZ"]]
    rows = [
        "1-2\tzum\t" + "_\t" * 7 + "_",
        "1\tzu\tzu\tADP\t" + "_\t" * 5 + "_",
        "2\tdem\tder\tDET\t" + "_\t" * 5 + "_",
        "2.1\tx\tx\tX\t" + "_\t" * 5 + "_",
    ]
    frame = reading.read_file(write(tmp_path, "a.conllu", "# sent_id = 1\n" + "\n".join(rows) + "\n"))
    assert frame["tokens"].tolist() == [["zu", "dem"]] and frame["tags"].tolist() == [["ADP", "DET"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tO\nb\tO\tX\n", "line 2: must have 2 columns like the lines before; got 3"),
        ("word\n", "line 1: must have a word and a tag"),
    ],
)
def test_broken_conll(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        reading.read_file(write(tmp_path, "a.conll", text))


def test_nested_cells_stay_nested(tmp_path: Path) -> None:
    rows = [{"id": 1, "answers": {"text": ["a"], "answer_start": [0]}, "flag": True}, {"id": 2, "answers": []}]
    frame = reading.read_file(write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows))))
    assert frame["answers"].tolist() == [{"text": ["a"], "answer_start": [0]}, []] and frame["flag"].tolist() == [
        "true",
        "",
    ]
    pd.DataFrame({"tokens": [["a", "b"], None], "n": [1.5, 2.0]}).to_parquet(tmp_path / "a.parquet")
    frame = reading.read_file(tmp_path / "a.parquet")
    assert frame["tokens"].tolist() == [["a", "b"], ""] and frame["n"].tolist() == ["1.5", "2.0"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"id\ttext\n" + b"1\tabc\n" * 200_000 + b"2\t\xe4\n",
            r"invalid \w+ byte at byte 1200010|invalid continuation byte at byte 1200010",
        ),
        ("id\ttext\n1\tä\n".encode("utf-16"), "it begins with the mark of UTF-16: save it as UTF-8"),
    ],
)
def test_the_place_of_a_wrong_byte_is_named_however_far_down(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=f"must be UTF-8; ({message})"):
        reading.read_file(write(tmp_path, "a.tsv", content))


@pytest.mark.parametrize("name", ["a.tsv", "a.csv", "a.jsonl", "a.parquet"])
def test_large_files_are_read_in_pieces_and_cut_by_the_hash_of_the_id(tmp_path: Path, name: str, monkeypatch) -> None:
    frame = pd.DataFrame(
        {"id": [f"i{n}" for n in range(500)], "text": [f"text {n}" for n in range(500)], "label": ["a", "b"] * 250}
    )
    path = tmp_path / name
    if name.endswith("parquet"):
        frame.to_parquet(path)
    elif name.endswith("jsonl"):
        path.write_text("\n".join(json.dumps(row) for row in frame.to_dict("records")))
    else:
        frame.to_csv(path, sep="," if name.endswith("csv") else "\t", index=False)
    monkeypatch.setattr(reading, "STREAM_BYTES", 100)
    monkeypatch.setattr(reading, "CHUNK_ROWS", 64)
    kept = reading.read_file(path, most=40)
    assert kept.attrs["rows"] == 500 and len(kept) == 40
    ranks = sorted(frame["id"], key=reading.rank_of)[:40]
    assert set(kept["id"]) == set(ranks) and kept.index.tolist() == sorted(kept.index)
    assert kept["text"].tolist() == [f"text {n}" for n in kept.index]
    whole = data.capped(frame, 40)
    assert whole["id"].tolist() == kept["id"].tolist()  # the same rows as without streaming


def test_a_large_file_is_capped_with_the_count_shown(tmp_path: Path, monkeypatch) -> None:
    rows = "".join(f"{n}\tsentence {n}\t{'ab'[n % 2]}\n" for n in range(400))
    write(tmp_path, "train.tsv", "id\ttext\tlabel\n" + rows)
    write(tmp_path, "test.en.tsv", "id\ttext\tlabel\n" + rows.replace("sentence", "other"))
    write(tmp_path, "test.de.tsv", "id\ttext\tlabel\n" + rows.replace("sentence", "anders"))
    monkeypatch.setattr(reading, "STREAM_BYTES", 100)
    task = 'train = "train.tsv"\ntest = "test.{language}.tsv"\nlimits = { train = 50, test = 20 }'
    found = data.load_task(study(tmp_path, "sequence", task))
    assert "train.tsv: 100 of 400 rows kept of a large file" in found.notes
    assert len(found.frames["train", "en"]) == 50 and found.parallel
    assert set(found.frames["test", "en"]["id"]) == set(found.frames["test", "de"]["id"])


# -- where languages are ------------------------------------------------------------------------------------------


def test_one_file_with_a_language_column(tmp_path: Path) -> None:
    rows = [f"{n},{code},text {n} {code},{'ab'[n % 2]}" for n in range(40) for code in ("eng_Latn", "German", "fr")]
    write(tmp_path, "all.csv", "id,lang,text,label\n" + "\n".join(rows))
    task = 'train = "all.csv"\ntest = "all.csv"\ncolumns = { language = "lang", id = "id" }'
    found = data.load_task(study(tmp_path, "sequence", task))
    assert found.parallel and found.frames["test", "de"]["text"].str.endswith("German").all()
    assert len(found.frames["test", "de"]) == 40
    with pytest.raises(ConfigError, match=r"must have rows in sw \(column 'lang'\); it has German, eng_Latn, fr"):
        data.load_task(study(tmp_path, "sequence", task, ("en", "sw")))
    plain = task.replace(', id = "id"', "").replace('language = "lang"', 'language = "lang", id = "#row"')
    assert data.load_task(study(tmp_path, "sequence", plain)).parallel


def test_a_folder_of_files(tmp_path: Path) -> None:
    for code in ("en", "de"):
        for split, part in (("train", "train"), ("dev", "validation"), ("test", "test")):
            rows = "".join(f"{part}{n}\t{code} {part} {n}\t{'ab'[n % 2]}\n" for n in range(12))
            write(tmp_path / "set", f"{code}.{split}.tsv", "id\ttext\tlabel\n" + rows)
    write(tmp_path / "set", "README.md", "not data")
    task = 'train = "set"\nvalidation = "set"\ntest = "set"'
    found = data.load_task(study(tmp_path, "sequence", task))
    assert set(found.frames) == {("train", "en"), ("validation", "en"), ("test", "en"), ("test", "de")}
    assert found.frames["validation", "en"]["id"].str.startswith("validation").all()
    with pytest.raises(ConfigError, match="task.test: the folder must hold a file for fr"):
        study(tmp_path, "sequence", task, ("en", "fr"))


# -- complaints ---------------------------------------------------------------------------------------------------


def test_every_problem_of_token_data_at_once(tmp_path: Path) -> None:
    write(tmp_path, "train.conll", "a\tB-X\nb\tO\n\nc\tO\n" * 9)
    write(tmp_path, "test.en.jsonl", json.dumps({"tokens": ["a", "b"], "tags": ["O"]}))
    write(tmp_path, "test.de.jsonl", json.dumps({"tokens": [], "tags": []}))
    write(tmp_path, "test.fr.jsonl", json.dumps({"words": ["a"]}))
    with pytest.raises(ConfigError) as caught:
        data.load_task(
            study(tmp_path, "token", 'train = "train.conll"\ntest = "test.{language}.jsonl"', ("en", "de", "fr"))
        )
    text = str(caught.value)
    for part in (
        "test.en.jsonl: tokens and tags must be equally many; got 2 and 1 in row 1 (1 such rows)",
        "test.de.jsonl: must have no empty cell in tokens, tags; got 1 rows",
        "test.fr.jsonl: must have the column 'tokens' (task.columns.tokens); it has words",
    ):
        assert part in text


def test_tags_that_train_lacks_are_said_and_kept(tmp_path: Path) -> None:
    write(tmp_path, "train.conll", "".join(f"w{n}\tB-X\nb\tO\n\n" for n in range(40)) + "z\tB-RARE\n")
    for code in ("en", "de"):
        write(tmp_path, f"test.{code}.conll", "".join(f"# sent_id = {n}\nq{n}\tB-NEW\n\n" for n in range(6)))
    task = 'train = "train.conll"\ntest = "test.{language}.conll"\nlimits = { train = 5 }'
    found = data.load_task(study(tmp_path, "token", task))
    assert "test de: B-NEW do not occur in train and count as wrong" in found.notes
    assert found.labels == ("B-RARE", "B-X", "O") and found.type.metric == "f1" and found.parallel


def test_an_intent_that_train_lacks_is_refused(tmp_path: Path) -> None:
    write(
        tmp_path,
        "train.tsv",
        "intent\ttokens\ttags\n" + "".join(f"{'ab'[n % 2]}\tsay x{n}\tO B-s\n" for n in range(20)),
    )
    for code in ("en", "de"):
        write(tmp_path, f"test.{code}.tsv", "intent\ttokens\ttags\nc\tsay\tO\n")
    with pytest.raises(ConfigError, match="test en: labels must occur in train .*; got c in 1 rows"):
        data.load_task(study(tmp_path, "joint", 'train = "train.tsv"\ntest = "test.{language}.tsv"'))


def test_repeated_ids_of_train_are_replaced_and_said(tmp_path: Path) -> None:
    rows = "".join(f"{n // 2}\tsentence {n}\t{'ab'[n % 2]}\n" for n in range(20))
    write(tmp_path, "train.tsv", "id\ttext\tlabel\n" + rows)
    for code in ("en", "de"):
        write(tmp_path, f"test.{code}.tsv", "id\ttext\tlabel\n" + "".join(f"{n}\tx {n}\ta\n" for n in range(5)))
    found = data.load_task(study(tmp_path, "sequence", 'train = "train.tsv"\ntest = "test.{language}.tsv"'))
    assert "train en: 10 ids repeat others; rows are numbered instead" in found.notes
    assert found.frames["train", "en"]["id"].is_unique


def test_only_plain_spaces_part_words() -> None:
    from engine.tasks.words import as_list

    assert as_list("明天　早上  七点\u00a0钟 x") == ("明天　早上", "", "七点\u00a0钟", "x")


def test_groups_are_never_split(tmp_path: Path) -> None:
    lines = [f"query {n // 5}\tdocument {n}\t{n % 3}" for n in range(200)]
    for name in ("train.tsv", "test.en.tsv", "test.de.tsv"):
        write(tmp_path, name, "query\ttext\tlabel\n" + "\n".join(lines))
    task = 'train = "train.tsv"\ntest = "test.{language}.tsv"\nlimits = { train = 7, test = 3 }'
    found = data.load_task(study(tmp_path, "ranking", task))
    assert {split: found.frames[split, "en"].groupby("group").size().tolist() for split in ("train", "validation", "test")} == {
        "train": [5] * 7, "validation": [5] * 4, "test": [5] * 3,
    }  # fmt: skip
    assert "test en de: 3 of 40 examples (task.limits)" in found.notes


def test_word_per_line_files_hint_at_the_format(tmp_path: Path) -> None:
    for name in ("train.tsv", "test.en.tsv", "test.de.tsv"):
        write(tmp_path, name, "a\tO\nb\tO\n")
    with pytest.raises(ConfigError, match="task.format = 'conll' reads one word per line"):
        data.load_task(study(tmp_path, "token", 'train = "train.tsv"\ntest = "test.{language}.tsv"'))


def test_two_columns_may_be_joined(tmp_path: Path) -> None:
    rows = "".join(f"title {n}\tbody\t{'ab'[n % 2]}\n" for n in range(20))
    for name in ("train.tsv", "test.en.tsv", "test.de.tsv"):
        write(tmp_path, name, "title\tbody\tlabel\n" + rows)
    task = 'train = "train.tsv"\ntest = "test.{language}.tsv"\ncolumns = { text = "title + body" }'
    assert data.load_task(study(tmp_path, "sequence", task)).frames["test", "de"]["text"][3] == "title 3 body"


# -- hub ----------------------------------------------------------------------------------------------------------


def test_rows_of_the_table_are_read_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []
    tags = datasets.Features(
        {
            "tokens": datasets.Sequence(datasets.Value("string")),
            "ner_tags": datasets.Sequence(datasets.ClassLabel(names=["O", "B-PER", "I-PER"])),
        }
    )

    def load_dataset(name: str, revision: str, data_files: dict[str, str], split: str) -> object:
        asked.append((name, data_files[split], revision))
        rows = [{"tokens": [f"{data_files}{n}", "b"], "ner_tags": [n % 3, 0]} for n in range(30)]
        return datasets.Dataset.from_list(rows, features=tags)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    text = '[study]\nname = "x"\n[task]\nname = "uner-pud"\nlanguages = ["en", "de"]\n[[method]]\nrecipe = "magnitude"\nlevels = [0.5]\n'
    found = data.load_task(config.parse(text, tmp_path))
    assert found.labels == ("B-PER", "I-PER", "O") and found.type.metric == "f1"
    name = "universalner/universal_ner"
    assert asked == [
        (name, f"{files}/*.parquet", "refs/convert/parquet")
        for files in ("en_ewt/train", "en_ewt/validation", "en_pud/test", "de_pud/test")
    ]


def test_codes_and_the_source_language_of_another_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def read_hub(task: config.TaskSection, split: str, language: str) -> pd.DataFrame:
        asked.append((task.dataset, split, language))
        rows = [
            {"premise": f"{split} {n}", "hypothesis": "h", "label": ("entailment", "neutral", "contradiction")[n % 3]}
            for n in range(30)
        ]
        return pd.DataFrame(rows)

    monkeypatch.setattr("engine.data.reader.read_hub", read_hub)
    text = '[study]\nname = "x"\n[task]\nname = "americas-nli"\nlanguages = ["en", "ay"]\n[[method]]\nrecipe = "magnitude"\nlevels = [0.5]\n'
    found = data.load_task(config.parse(text, tmp_path))
    assert found.labels == ("entailment", "neutral", "contradiction")
    assert ("facebook/xnli", "test", "en") in asked and ("nala-cub/americas_nli", "test", "ay") in asked


def test_the_hubs_parquet_copy_is_read_by_its_folders(tmp_path: Path) -> None:
    """It has no card: asked for a configuration by name, `datasets` would say that there is only "default"."""
    import datasets

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["Bad", "Good"]), "tags": datasets.Sequence(datasets.ClassLabel(names=["O", "B-X"]))}
    )  # fmt: skip
    for config_name in ("qam", "ner"):
        for split in ("train", "test.de", "test.en"):
            rows = {"text": [f"{config_name} {split}", "second"], "label": [1, 0], "tags": [[0, 1], []]}
            folder = tmp_path / "set" / config_name / split
            folder.mkdir(parents=True)
            datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "0000.parquet")
    task = config.TaskSection(
        name="custom", type="sequence", dataset=str(tmp_path / "set"), config="qam", revision="refs/convert/parquet", split={"train": "train", "test": "test.{language}"}
    )  # fmt: skip
    found = reading.read_hub(task, "test", "de")
    assert found["text"].tolist() == ["qam test.de", "second"] and found["label"].tolist() == ["Good", "Bad"]
    assert found["tags"].tolist() == [["O", "B-X"], []]
    assert reading.read_hub(task, "train", "en")["text"][0] == "qam train"
    with pytest.raises(
        ConfigError, match=r"task.dataset: .*set \(qam, test.fr\) could not be loaded: .*give task.train"
    ):
        reading.read_hub(task, "test", "fr")
    with pytest.raises(ValueError, match="BuilderConfig 'qam' not found"):  # why the rows cannot ask by name
        datasets.load_dataset(str(tmp_path / "set"), "qam", split="train")


def test_a_further_test_split_has_tests_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_hub(task: config.TaskSection, split: str, language: str) -> pd.DataFrame:
        names = ("entailment", "neutral", "contradiction")
        return pd.DataFrame([{"premise": f"{split} {n}", "hypothesis": "h", "label": names[n % 3]} for n in range(30)])

    monkeypatch.setattr("engine.data.reader.read_hub", read_hub)
    text = '[study]\nname = "x"\n[task]\nname = "mnli"\nlimits = { test = 9 }\n[[method]]\nrecipe = "magnitude"\nlevels = [0.5]\n'
    found = data.load_task(config.parse(text, tmp_path))
    assert found.extra == ("mismatched",) and len(found.frames["mismatched", "en"]) == 9
    assert found.frames["mismatched", "en"]["text"].str.startswith("mismatched").all()
    assert set(found.baselines()) == {"test", "mismatched"}


def test_class_numbers_become_names_inside_lists_too() -> None:
    label = SimpleNamespace(int2str=lambda value: "abc"[value])
    assert reading._named(1, label) == "b" and reading._named(-1, label) == ""
    assert reading._named([0, 2], SimpleNamespace(feature=label)) == ["a", "c"] and reading._named([1], [label]) == [
        "b"
    ]


def test_a_row_without_a_readable_set_says_how_to_get_it(tmp_path: Path) -> None:
    text = '[study]\nname = "x"\n[task]\nname = "xsid"\n[[method]]\nrecipe = "magnitude"\nlevels = [0.5]\n'
    with pytest.raises(
        ConfigError, match=r"task.name: xsid has no set that the hub's client reads; take the \.conll files"
    ):
        config.parse(text, tmp_path)


def test_every_row_of_the_table_is_whole() -> None:
    from engine.metrics import ASKED, SCORES
    from engine.tasks import TASKS
    from engine.tasks.languages import UNKNOWN, resolve
    from engine.tasks.types import task_type

    for row in TASKS.values():
        kind = task_type(row.type)
        assert (
            row.metric in (*SCORES[row.type], *ASKED.get(row.type, ())) and row.licence and row.source and row.what
        ), row.name
        assert set(row.columns) <= {*kind.columns, *kind.optional, "id", "language"}, row.name
        spared = {column for name in row.columns for column in dict(kind.instead).get(name, ())}
        assert row.bundled or row.recipe or set(kind.columns) - spared <= set(row.columns), row.name
        assert row.bundled or set(row.extra) <= set(row.split), row.name
        assert set(row.source_languages) <= set(row.languages) and len(set(row.languages)) == len(row.languages), (
            row.name
        )
        assert set(row.codes) <= set(row.languages), row.name
        assert not row.trains_on or (
            TASKS[row.trains_on].type == row.type and set(row.source_languages) <= set(TASKS[row.trains_on].languages)
        )
        assert row.tried == row.bundled, row.name
        assert all(resolve(code).family != UNKNOWN for code in row.languages), row.name
