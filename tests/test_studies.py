"""The ready studies: files and table agree, every one is accepted, and shrunk to a tiny model every suite runs on each task type."""

from __future__ import annotations

import json
import random
import tomllib
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import transformers

from engine import config, runner
from engine.config import Study, TaskSection
from engine.record import Run
from engine.studies import build
from engine.tasks import TASKS
from engine.workbench import Workbench
from tests.test_vocabulary import byte_level, unigram, word_piece

FILES = sorted(build.FOLDER.glob("*.toml"))
WORDS = [
    "river",
    "stone",
    "morning",
    "garden",
    "window",
    "letter",
    "music",
    "winter",
    "road",
    "bread",
    "paper",
    "silver",
]
SMALL = {"num_hidden_layers": 6, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 96}
ENDS = {"max_position_embeddings": 130, "type_vocab_size": 1, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
TAGS = {"token": ["O", "B-PER", "I-PER", "O"], "pos": ["DET", "NOUN", "VERB", "NOUN"]}


def test_the_files_are_those_of_the_table() -> None:
    assert {path: path.read_text(encoding="utf-8") for path in FILES} == build.files()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_study_is_accepted_and_named_by_its_file(path: Path) -> None:
    study = config.load(path)
    assert study.study.name == path.stem and len(study.study.seeds) >= 3
    assert study.task.name in TASKS and len(runner.plans(study)) >= 4


@pytest.mark.parametrize("suite", build.SUITES, ids=lambda suite: suite.name)
def test_a_suite_has_the_same_methods_on_every_task(suite: build.Suite) -> None:
    labels = [method.get("name", method["recipe"]) for method in suite.methods]
    assert len(set(labels)) == len(labels)
    for name, setting in suite.settings.items():
        raw = tomllib.loads(build.render(suite, name))
        found = [method.get("name", method["recipe"]) for method in raw["method"]]
        assert found == [label for label in labels if label not in setting.without]
        assert set(setting.without) <= set(labels)


def test_the_papers_tasks_are_there() -> None:
    rows = {suite.name: {setting.row for setting in suite.settings.values()} for suite in build.SUITES}
    glue = {"mnli", "qqp", "qnli", "sst2", "cola", "stsb", "mrpc", "rte"}
    xglue = {"xglue-nc", "xglue-qadsm", "xglue-qam", "xglue-wpr", "xglue-ner", "xglue-pos"}
    assert rows["alignreg"] == rows["sdp-xglue"] == {"xnli", "paws-x"} | xglue
    assert rows["sdp-glue"] == glue and rows["pins"] == glue | {"squad", "xglue-ner", "e2e"}
    assert rows["cap"] == {"mnli", "qqp", "sst2", "squad"}
    assert {0.8, 0.95} <= {level for method in build.PINS_METHODS for level in method["levels"]}
    assert {0.5, 0.97} <= {level for method in build.CAP_METHODS for level in method.get("levels", ())}


# -- shrunk ---------------------------------------------------------------------------------------------------------


def hub(task: TaskSection, split: str, language: str) -> pd.DataFrame:
    """Rows as the set on the hub has them: its own column names, labels by name, lists as JSON."""
    row = TASKS[task.name]
    rows = [cells(row, random.Random(f"{split}{language}{number}"), number) for number in range(64)]
    return pd.DataFrame(
        [{name: one[ours] for ours, given in row.columns.items() if given != "#row" for name in given.split(" + ")} for one in rows]
    )  # fmt: skip


def cells(row: Any, chooser: random.Random, number: int) -> dict[str, str]:
    """One item under our own column names."""
    first, second, name = (" ".join(chooser.sample(WORDS, 4)) for _ in range(3))
    tags = TAGS["pos" if row.metric == "token_accuracy" else "token"]
    labels = row.labels or ("0", "1")
    found = {"text": f"{first} {number}", "pair": second, "query": f"{WORDS[number // 6]} query", "id": str(number)}
    found |= {"tokens": json.dumps(first.split()), "tags": json.dumps(tags), "label": labels[number % len(labels)]}
    answer = {"text": [second.split()[0]], "answer_start": [len(first) + 1]}
    found |= {"context": f"{first} {second}", "question": f"{name} {number}?", "answers": json.dumps(answer)}
    if row.type == "regression":
        found["label"] = str(round(chooser.uniform(0, 5), 2))
    if row.type == "generation":
        found |= {"text": f"name[{first}], area[{number}]", "references": f"{first} is near {number}."}
    return found


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A random checkpoint of a few thousand weights in the place of each model that the studies name."""
    made = {
        build.XLMR: (unigram(), transformers.XLMRobertaModel, transformers.XLMRobertaConfig(**SMALL, **ENDS)),
        build.BERT: (word_piece(), transformers.BertModel, transformers.BertConfig(**SMALL, max_position_embeddings=130)),
        build.GPT2: (byte_level(transformers.GPT2Tokenizer, ["<|endoftext|>"]), transformers.GPT2LMHeadModel,
                     transformers.GPT2Config(n_layer=6, n_embd=32, n_head=4, n_positions=130, bos_token_id=0, eos_token_id=0)),
    }  # fmt: skip
    folders = {}
    for name, (tokenizer, kind, settings) in made.items():
        folders[name] = tmp_path_factory.mktemp("model")
        settings.vocab_size = len(tokenizer)
        torch.manual_seed(0)
        kind(settings).save_pretrained(folders[name])
        tokenizer.save_pretrained(folders[name])
    return folders


def shrunk(text: str, models: dict[str, Path]) -> dict[str, Any]:
    """The study on a tiny model: few examples and languages, one level of every method, one seed."""
    raw = tomllib.loads(text)
    raw["study"] |= {"seeds": [0], "device": "cpu", "precision": "fp32"}
    raw["model"]["name"] = str(models[raw["model"]["name"]])
    row = TASKS[raw["task"]["name"]]
    raw["task"] |= {"max_length": 48, "limits": {"train": 48, "test": 24}, "languages": list(row.languages[:2])}
    raw["train"] |= {"epochs": 1, "retrain_epochs": 1, "batch_size": 16, "learning_rate": 1e-3, "evaluations": 1}
    raw["probe"], raw["calibration"] = {"examples": 8}, {"examples": 16}
    for method in raw["method"]:
        for axis in ("levels", "strength", "sizes"):
            if axis in method:
                method[axis] = method[axis][-1:]
        if method["recipe"] == "cap_f":
            method["levels"] = [0.5]
        if method["recipe"] in ("platon", "pins"):
            method["criterion"] = {**method.get("criterion", {}), "window": 1}
    return raw


def one_per_type() -> list[Any]:
    """The first study of each task type in every suite."""
    found = {}
    for suite in build.SUITES:
        for name, setting in suite.settings.items():
            found.setdefault((suite.name, TASKS[setting.row].type), (suite, name))
    return [pytest.param(suite, name, id=f"{suite.name}-{name}") for suite, name in found.values()]


@pytest.mark.long
@pytest.mark.parametrize(("suite", "name"), one_per_type())
def test_a_shrunk_study_runs(
    suite: build.Suite, name: str, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.data.read_hub", hub)
    study: Study = config.build(shrunk(build.render(suite, name), models), tmp_path)
    bench = Workbench.open(study)
    bench.verify([plan for _, plan in runner.plans(study)])
    failed = {}
    for job in runner.jobs(study, tmp_path / "store"):
        try:
            runner.execute(job, bench)
        except Exception as error:
            failed[job.name] = repr(error)
    assert not failed
    for method, plan in runner.plans(study):
        run = Run(tmp_path / "store" / study.study.name / f"{method.label}-s0")
        assert [level.path.name for level in run.levels()] == list(plan.folders)
        assert len(run.levels()[0].frame("predictions")) >= 6
