"""A dense and a pruned model made elsewhere, brought in by the command: a finished method like any other."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from streamlit.testing.v1 import AppTest

from engine import config, runner
from engine.config import ConfigError
from engine.export import export
from engine.imported import complete
from engine.model import matrices
from engine.record import Run
from engine.workbench import Workbench
from tests.conftest import ROOT
from tests.test_cli import engine

LABELS = ["light", "play", "call"]  # not in the order that a study would give them
STUDY = """
[study]
name = "elsewhere"
seeds = [0]
device = "cpu"
precision = "fp32"
[task]
name = "custom"
type = "sequence"
source_languages = ["en"]
languages = ["en", "de"]
train = "{data}/train.{{language}}.tsv"
test = "{data}/test.{{language}}.tsv"
max_length = 32
[probe]
examples = 12
"""


def save(model: torch.nn.Module, tokenizer: Path, folder: Path) -> Path:
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    return folder


def classifier(checkpoint: Path, labels: list[str] = LABELS) -> torch.nn.Module:
    torch.manual_seed(0)
    names = dict(enumerate(labels))
    return transformers.AutoModelForSequenceClassification.from_pretrained(
        checkpoint, num_labels=len(labels), id2label=names, label2id={name: index for index, name in names.items()}
    )


def prune(model: torch.nn.Module, fraction: float = 0.6) -> torch.nn.Module:
    """As another tool would: the smallest weights of every matrix to zero, the survivors moved, half precision."""
    with torch.no_grad():
        for matrix in matrices(model):
            weight = matrix.module.weight
            bound = weight.abs().flatten().kthvalue(int(fraction * weight.numel())).values
            weight.mul_((weight.abs() > bound) * 1.25)
    return model


@pytest.fixture(scope="module")
def pair(tiny_checkpoint: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `dense`, `pruned` and a study file that says the task alone."""
    folder = tmp_path_factory.mktemp("pair")
    save(classifier(tiny_checkpoint), tiny_checkpoint, folder / "dense")
    save(prune(classifier(tiny_checkpoint)).half(), tiny_checkpoint, folder / "pruned")
    (folder / "study.toml").write_text(STUDY.format(data=tiny_data), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def store(pair: Path) -> Path:
    """The store after the command, measured."""
    arguments = ("--dense", pair / "dense", "--pruned", pair / "pruned", pair / "study.toml")
    done = engine("import", *arguments, store=pair / "store")
    assert done.returncode == 0, done.stderr
    return pair / "store"


def test_the_pair_is_a_finished_study(store: Path, pair: Path) -> None:
    states = {row["run"]: row["state"] for row in json.loads(engine("list", "--json", store=store).stdout)}
    assert states == dict.fromkeys(
        ("elsewhere/dense-s0", "elsewhere/dense_continued-s0", "elsewhere/imported-s0"), "done"
    )
    run = Run(store / "elsewhere" / "imported-s0")
    level = run.levels()[0]
    pruned = transformers.AutoModelForSequenceClassification.from_pretrained(pair / "pruned", dtype=torch.float32)
    found = {matrix.name: matrix.module.weight.detach().numpy() for matrix in matrices(pruned)}
    zeros = sum((weight == 0).sum() for weight in found.values())
    total = sum(weight.size for weight in found.values())
    assert level.sparsity == round(zeros / total, 4) and level.size()["removed"] == zeros
    assert level.size()["updates"] == 0 and run.config()["recipe"] == "imported"
    masks = level.masks()
    assert masks.keys() == found.keys() and all(np.array_equal(masks[name], found[name] != 0) for name in found)
    stored = level.arrays("weights")
    assert all(np.array_equal(stored[name], value.numpy()) for name, value in pruned.state_dict().items())
    assert {"activations.safetensors", "weights.parquet", "probe.parquet"} <= {
        path.name for path in level.path.iterdir()
    }


@pytest.mark.parametrize(("method", "folder"), [("dense", "dense"), ("imported", "pruned")])
def test_predictions_are_those_of_the_checkpoint_itself(store: Path, pair: Path, method: str, folder: str) -> None:
    """By label names: the checkpoint has them in an order of its own."""
    level = Run(store / "elsewhere" / f"{method}-s0").levels()[0]
    model = transformers.AutoModelForSequenceClassification.from_pretrained(pair / folder, dtype=torch.float32).eval()
    details = level.frame("details")
    tokens = transformers.AutoTokenizer.from_pretrained(pair / folder)(
        list(details["text"]), padding=True, truncation=True, max_length=32, return_tensors="pt", return_token_type_ids=False
    )  # fmt: skip
    with torch.no_grad():
        logits = model(**tokens).logits
    assert len(details) == 96
    assert [LABELS[place] for place in logits.argmax(1)] == list(details["predicted"])
    right = [LABELS[place] == gold for place, gold in zip(logits.argmax(1), details["label"], strict=True)]
    assert list(level.frame("predictions")["score"]) == [float(value) for value in right]


def test_tables_measures_and_pages_take_it(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-m", "analysis", "table", str(store), "--format", "json"]
    rows = pd.DataFrame(
        json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    )
    assert set(rows["method"]) == {"dense", "dense_continued", "imported"}
    assert set(rows[rows["method"] == "imported"]["measured_sparsity"].round(4)) == {
        Run(store / "elsewhere" / "imported-s0").levels()[0].sparsity
    }
    assert list((store / "elsewhere" / "measures").glob("*.parquet"))
    monkeypatch.setenv("PRUNOSCOPE_STORE", str(store))
    for page in ("home", "monitor", "degradation", "separability", "alignment", "map", "weights", "methods"):
        app = AppTest.from_file(str(ROOT / "pages" / f"{page}.py"), default_timeout=120).run()
        assert not app.exception, (page, app.exception[0].stack_trace)


def test_it_resumes_exports_and_is_not_done_twice(store: Path, pair: Path, tmp_path: Path) -> None:
    run = Run(store / "elsewhere" / "imported-s0")
    export(run, run.levels()[0].sparsity, tmp_path / "out")
    assert "by the recipe `imported`" in (tmp_path / "out" / "README.md").read_text()
    before = run.levels()[0].path.joinpath("size.json").stat().st_mtime_ns
    arguments = ("--dense", pair / "dense", "--pruned", pair / "pruned", pair / "study.toml", "--no-measure")
    assert engine("import", *arguments, store=store).returncode == 0
    assert run.levels()[0].path.joinpath("size.json").stat().st_mtime_ns == before
    shutil.copytree(store, tmp_path / "store")
    again = Run(tmp_path / "store" / "elsewhere" / "imported-s0")
    rows = again.levels()[0].frame("predictions")
    for name in ("status.json", "levels", "heartbeat.json"):
        path = again.path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    study = config.load(tmp_path / "store" / "elsewhere" / "study.toml")
    bench = Workbench.open(study)
    for job in runner.jobs(study, tmp_path / "store"):
        runner.execute(job, bench)
    pd.testing.assert_frame_equal(again.levels()[0].frame("predictions"), rows)


def test_other_methods_may_stand_beside_it(pair: Path, tmp_path: Path) -> None:
    study = pair / "beside.toml"
    method = '[train]\nepochs = 0\nretrain_epochs = 1\n[[method]]\nrecipe = "magnitude"\nlevels = [0.6]\n'
    study.write_text((pair / "study.toml").read_text() + method)
    found = config.parse(complete(study, pair / "dense", pair / "pruned", "theirs"), pair, "beside.toml")
    assert [method.label for method in found.method] == ["magnitude", "theirs"]
    assert found.train.retrain_epochs == 1 and found.model.head == "keep"
    assert [plan.epochs(1, found.train) for _, plan in runner.plans(found)] == [1, 0]


def refuse(pair: Path, target: Path, match: str, *, dense: Path | None = None, pruned: Path | None = None, text: str = "") -> None:  # fmt: skip
    """The command's checks refuse before any run folder is written."""
    path = target / "study.toml"
    path.write_text((pair / "study.toml").read_text() + text)
    with pytest.raises(ConfigError, match=match):
        done = complete(path, dense or pair / "dense", pruned or pair / "pruned", "imported")
        study = config.parse(done, path.parent, path.name)
        Workbench.open(study).verify([plan for _, plan in runner.plans(study)])


def test_what_is_no_pair_is_refused(pair: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    refuse(pair, tmp_path, "pruned: must be a folder; got .*nowhere", pruned=tmp_path / "nowhere")
    both = r"dense: must be a folder; got .*\n?.*pruned: must be a folder"
    refuse(pair, tmp_path, both, dense=tmp_path / "absent", pruned=tmp_path / "nowhere")
    refuse(pair, tmp_path, "model: must be left out", text='[model]\nname = "bundled"\n')
    refuse(pair, tmp_path, "train.epochs: must be 0", text="[train]\nbatch_size = 8\n")
    refuse(pair, tmp_path, r"pruned: must have zeros .* has 0.00% zeros", pruned=pair / "dense")
    order = save(prune(classifier(tiny_checkpoint, ["call", "light", "play"])), tiny_checkpoint, tmp_path / "order")
    refuse(pair, tmp_path, "checkpoint: must have its labels in the order of", pruned=order)
    names = save(prune(classifier(tiny_checkpoint, ["a", "b", "c"])), tiny_checkpoint, tmp_path / "names")
    refuse(pair, tmp_path, "model.head: keep needs a checkpoint whose labels are call, light, play", dense=names)
    wide = transformers.AutoConfig.from_pretrained(pair / "dense", intermediate_size=48)
    wider = prune(transformers.XLMRobertaForSequenceClassification(wide))
    refuse(pair, tmp_path, r"checkpoint: must have the dense model's shapes; .*intermediate.* \(48", pruned=save(wider, tiny_checkpoint, tmp_path / "wide"))  # fmt: skip
    words = json.loads((pair / "pruned" / "tokenizer.json").read_text())
    vocabulary = words["model"]["vocab"]
    first, second = sorted(vocabulary, key=vocabulary.get)[30:32]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    shutil.copytree(pair / "pruned", tmp_path / "words")
    (tmp_path / "words" / "tokenizer.json").write_text(json.dumps(words))
    refuse(pair, tmp_path, "checkpoint: must have the tokenizer of", pruned=tmp_path / "words")


def test_a_study_that_names_it_by_hand(pair: Path, tmp_path: Path) -> None:
    text = complete(pair / "study.toml", pair / "dense", pair / "pruned", "imported")

    def problems(old: str, new: str) -> str:
        with pytest.raises(ConfigError) as error:
            config.parse(text.replace(old, new), tmp_path, "x")
        return str(error.value)

    level = text.partition("levels = ")[2].partition("\n")[0]
    assert "model.head: must be 'keep'" in problems('head = "keep"', 'head = "new"')
    assert "method[0].checkpoint: must be given" in problems("checkpoint = ", "# ")
    assert "method[0].levels: must be the one sparsity" in problems(level, "[0.1, 0.2]")
    assert "criterion: must be left out for imported" in problems(
        "checkpoint =", 'criterion = { name = "lamp" }\ncheckpoint ='
    )
    assert "checkpoint: must be left out for magnitude" in problems('recipe = "imported"', 'recipe = "magnitude"')
    assert "method[0].checkpoint: must be a folder" in problems(str(pair / "pruned"), "/nowhere/at/all")
    study = config.parse(text.replace(level, "[0.5]"), tmp_path, "x")
    with pytest.raises(ConfigError, match=r"levels: must be \[0\.\d+\], the measured sparsity .*; got \[0.5\]"):
        Workbench.open(study).verify([plan for _, plan in runner.plans(study)])
