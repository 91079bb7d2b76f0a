"""The ready studies: files and table agree, every one is accepted, and shrunk to a tiny model every suite runs on each task type."""

from __future__ import annotations

import json
import math
import random
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers

from engine import config, runner, structured
from engine import hub as hub_module
from engine.commands.kept import keep
from engine.config import Study, TaskSection
from engine.export import apply_masks, export
from engine.plan import Plan, longest_arm
from engine.planned import planned, unreachable
from engine.record import Run
from engine.studies import build
from engine.tasks import TASKS
from engine.tasks.sizes import SIZES
from engine.workbench import Workbench
from tests.test_cli import engine
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


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_study_is_estimated_without_the_hub(path: Path) -> None:
    """Counted by hand: updates of all cycles, batch by batch."""
    study = config.load(path)
    found = planned(study)
    assert found is not None and found.runs == len(runner.jobs(study, Path("x")))
    batches = math.ceil(SIZES[study.task.name].train / study.train.batch_size)
    per_seed = study.train.epochs + longest_arm(study) * study.train.retrain_epochs
    for _, plan in runner.plans(study):
        per_seed += sum(plan.epochs(number + 1, study.train) for number, _ in enumerate(plan.values))
    assert found.updates == len(study.study.seeds) * per_seed * batches
    assert found.prunable == 12 * (4 * 768 * 768 + 2 * 768 * 3072) < found.parameters
    assert 60 < found.seconds < 3600 * 24 * 30 and found.memory_bytes > 20 * found.parameters


def test_check_of_an_offline_machine_counts_and_says_so(tmp_path: Path) -> None:
    done = engine("check", build.FOLDER / "pins-rte.toml", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0 and found["runs"] == 30 and "nyu-mll/glue" in found["notes"][0]
    text = (build.FOLDER / "pins-rte.toml").read_text().replace(build.BERT, "nobody/knows-this")
    (tmp_path / "other.toml").write_text(text)
    done = engine("check", tmp_path / "other.toml")
    assert done.returncode == 2 and "on an offline machine" in done.stderr
    assert planned(config.load(tmp_path / "other.toml")) is None
    assert not unreachable(config.ConfigError(["task.dataset: x; on an offline machine", "train: labels"]))


def test_the_hub_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it does not answer its clients are set offline; where it does, whatever it says, they stay as they are."""
    import datasets
    import huggingface_hub
    from huggingface_hub import constants

    asked = []

    class Session:
        def __init__(self, answers: bool) -> None:
            self.answers = answers

        def head(self, address: str, timeout: float) -> None:
            asked.append(address)
            if not self.answers:
                raise OSError("no name")

    for answers in (True, False):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub.utils, "get_session", lambda answers=answers: Session(answers))
        hub_module.settle.cache_clear()
        assert hub_module.settle() is answers and hub_module.settle() is answers
        assert constants.HF_HUB_OFFLINE is datasets.config.HF_HUB_OFFLINE is not answers
    assert asked == [constants.ENDPOINT] * 2
    hub_module.settle.cache_clear()


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


@pytest.mark.long
@pytest.mark.parametrize(
    ("suite", "name"),
    [(suite, name) for suite in build.SUITES for name in suite.settings],
    ids=lambda value: getattr(value, "name", value),
)
def test_a_shrunk_study_runs(
    suite: build.Suite, name: str, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.data.reader.read_hub", hub)
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
    keep("", tmp_path / "store" / study.study.name, tmp_path)
    for method, plan in runner.plans(study):
        run = Run(tmp_path / "store" / study.study.name / f"{method.label}-s0")
        assert [level.path.name for level in run.levels()] == list(plan.folders)
        assert len(run.levels()[0].frame("predictions")) >= 6
        exported(run, plan, bench, tmp_path / "out" / method.label)


def exported(run: Run, plan: Plan, bench: Workbench, target: Path) -> None:
    """Every kind of level of every task type goes to a folder and comes back with the weights of the level."""
    level, small = run.levels()[-1], plan.axis == "sizes"
    export(run, plan.folders[-1], target, compact=small)
    if small:
        model = structured.load(target)
    else:
        model, _ = bench.data.type.load(str(target), dtype=torch.float32, output_loading_info=True)
    stored, found = level.arrays("weights"), model.state_dict()
    assert set(stored) == set(found) and all(np.array_equal(stored[name], found[name].numpy()) for name in stored)
    rows = level.frame("predictions")
    count = int(((rows["language"] == "en") & (rows["split"] == "test")).sum())
    assert f"| en (source) | test | {count} |" in (target / "README.md").read_text()
    if plan.axis != "sizes":
        masks = level.masks()
        fresh = bench.pretrained(0)
        assert apply_masks(fresh, target) == sum(int((~mask).sum()) for mask in masks.values())
