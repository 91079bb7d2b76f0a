"""Export round trip: the folder loads with stock transformers and predicts the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import transformers

from engine import config, runner, structured
from engine.commands.kept import keep_file
from engine.config import ConfigError
from engine.export import apply_masks, export, find_level
from engine.masked import Masked
from engine.model import matrices
from engine.record import Level, RecordError, Run, read_arrays
from engine.workbench import Workbench
from tests.conftest import STUDY


def finish(path: Path, store: Path) -> tuple[Run, Workbench]:
    """Run a study and give its last run."""
    study = config.load(path)
    bench = Workbench.open(study)
    for job in runner.jobs(study, store):
        runner.execute(job, bench)
    keep_file(path, store / study.study.name, study.base)
    return job.run, bench


@pytest.fixture(scope="module")
def finished(tiny_checkpoint: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run with weights at 0.9, whose data is gone."""
    folder = tmp_path_factory.mktemp("export")
    shutil.copytree(tiny_data, folder / "data")
    methods = '[[method]]\nrecipe = "magnitude"\nlevels = [0.5, 0.9]\nkeep_weights = [0.9]'
    text = STUDY.format(checkpoint=tiny_checkpoint, data=folder / "data", methods=methods)
    (folder / "study.toml").write_text(text.replace("epochs = 6", "epochs = 2"), encoding="utf-8")
    run, _ = finish(folder / "study.toml", folder / "store")
    shutil.rmtree(folder / "data")
    return run


def test_round_trip_without_the_data(finished: Run, tmp_path: Path) -> None:
    size = export(finished, 0.9, tmp_path / "out")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "out", dtype=torch.float32
    ).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    details = finished.level(0.9).frame("details")
    batch = tokenizer(
        list(details["text"]), padding=True, truncation=True, max_length=32, return_tensors="pt", return_token_type_ids=False
    )  # fmt: skip
    with torch.no_grad():
        logits = model(**batch).logits
    assert len(details) == 96
    assert [model.config.id2label[int(index)] for index in logits.argmax(1)] == list(details["predicted"])
    assert np.allclose(logits.softmax(1).numpy(), np.stack(details["probabilities"].to_list()), atol=1e-5)
    packed, stored = (
        read_arrays(folder / "masks.safetensors") for folder in (tmp_path / "out", finished.level(0.9).path)
    )
    assert all(np.array_equal(packed[name], stored[name]) for name in stored)
    assert size == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())


def test_the_card_says_what_it_is(finished: Run, tmp_path: Path) -> None:
    export(finished, 0.9, tmp_path / "out")
    card, study = ((tmp_path / "out" / name).read_text() for name in ("README.md", "study.toml"))
    assert study in card and study == (finished.path.parent / "study.toml").read_text()
    assert "90% sparsity" in card and 'language: ["en", "de"]' in card and "torch 2." in card
    rows = finished.level(0.9).frame("predictions").query("language == 'de'")
    dense = Run(finished.path.parent / "dense-s0").level(0.0).frame("predictions").query("language == 'de'")
    assert f"| de | test | 48 | {dense['score'].mean():.3f} | {rows['score'].mean():.3f} |" in card
    assert "| en (source) | test |" in card and "your own data" in card
    weights = (tmp_path / "out" / "model.safetensors").stat().st_size
    assert f"| `model.safetensors` | {weights / 1e6:.2f} |" in card and "as large as a dense one" in card


def test_an_exported_folder_is_a_model_for_a_study(finished: Run, tiny_study, tmp_path: Path) -> None:
    """`head = "keep"`, `epochs = 0`: the checkpoint as it is, all items scored as before the export."""
    export(finished, 0.9, tmp_path / "out")
    path = tiny_study('[[method]]\nrecipe = "magnitude"\nlevels = [0.95]', name="again.toml")
    text = (
        path.read_text()
        .replace('name = "tiny"', 'name = "again"')
        .replace("\nepochs = 6", "\nepochs = 0\nretrain_epochs = 0")
    )
    head, _, tail = text.partition("[model]\n")
    path.write_text(head + f'[model]\nhead = "keep"\nname = "{tmp_path / "out"}"\n' + tail.partition("\n")[2])
    again, bench = finish(path, tmp_path / "store")
    dense = Run(again.path.parent / "dense-s0").level(0.0)
    pd.testing.assert_frame_equal(dense.frame("predictions"), finished.level(0.9).frame("predictions"))
    stored, kept = dense.arrays("weights"), finished.level(0.9).arrays("weights")
    assert all(np.array_equal(stored[name], kept[name]) for name in kept)
    assert dense.size()["updates"] == 0 and list(bench.data.labels) == again.config()["labels"]


def test_a_level_of_another_axis_goes_by_its_folder(finished: Run, tmp_path: Path) -> None:
    """On the axes strength and size the sparsity is an outcome: the folder's name finds the level, and so does that."""
    shutil.copytree(finished.path.parent, tmp_path / "store" / "tiny")
    run = Run(tmp_path / "store" / "tiny" / finished.name)
    run.level(0.9).path.rename(run.level_at("strength", 4.0).path)
    assert find_level(run, "strength-4") == find_level(run, 0.9) == run.level_at("strength", 4.0)
    with pytest.raises(RecordError, match=r"level: must be one of strength-4; got strength-5"):
        find_level(run, "strength-5")
    export(run, "strength-4", tmp_path / "out")
    assert "at 90% sparsity" in (tmp_path / "out" / "README.md").read_text()


def test_masks_on_a_fresh_checkpoint(finished: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    export(finished, 0.9, tmp_path / "out")
    masks = finished.level(0.9).masks()
    for kind in (transformers.AutoModelForTokenClassification, transformers.AutoModel):
        fresh, before = kind.from_pretrained(tiny_checkpoint), kind.from_pretrained(tiny_checkpoint).state_dict()
        assert apply_masks(fresh, tmp_path / "out") == sum(int((~mask).sum()) for mask in masks.values())
        for name, value in fresh.state_dict().items():
            full = name if name.startswith("roberta.") else f"roberta.{name}"
            keep = masks.get(full.removesuffix(".weight"))
            if not name.startswith("classifier"):
                wanted = before[name] if keep is None else before[name] * torch.from_numpy(keep)
                assert torch.equal(value, wanted)
    config = transformers.XLMRobertaConfig.from_pretrained(tiny_checkpoint, intermediate_size=48)
    other = transformers.XLMRobertaModel(config)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"model: must have a matrix roberta.* of shape \(64, 32\); got shape \(48, 32\)"
    ):
        apply_masks(other, tmp_path / "out")
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


def test_refusals_leave_nothing(finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecordError, match=r"level: must be one of 0.9; got 0.5"):
        export(finished, 0.5, tmp_path / "other")
    with pytest.raises(RecordError, match=r"level: must be one of 0.9; got half"):
        export(finished, "half", tmp_path / "other")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("kept")
    with pytest.raises(ConfigError, match="must be a new or empty folder"):
        export(finished, 0.9, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["file"]
    monkeypatch.setattr("engine.export.models.digest", lambda path: "another")
    with pytest.raises(RecordError, match="was made from another checkpoint"):
        export(finished, 0.9, tmp_path / "other")
    shutil.copytree(finished.path.parent, tmp_path / "store" / "tiny")
    (tmp_path / "store" / "tiny" / "study.toml").unlink()
    with pytest.raises(RecordError, match="must have its study file in the store"):
        export(Run(tmp_path / "store" / "tiny" / finished.name), 0.9, tmp_path / "other")
    assert not (tmp_path / "other").exists() and not list(tmp_path.glob(".*"))


def test_compacted_round_trip(tiny_study, tmp_path: Path) -> None:
    """A level whose masks remove whole heads and neurons; one that removes single weights has nothing to cut out."""
    path = tiny_study('[[method]]\nrecipe = "magnitude"\nlevels = [0.3]\nkeep_weights = [0.3]')
    run, bench = finish(path, tmp_path / "store")
    with pytest.raises(
        ConfigError, match=r"compact: needs a level that removes whole heads or neurons; magnitude at 0\.3"
    ):
        export(run, 0.3, tmp_path / "none", compact=True)
    assert not (tmp_path / "none").exists()
    masked = cut_units(run.level(0.3), bench)
    export(run, 0.3, tmp_path / "out", compact=True)
    small = structured.load(tmp_path / "out")
    assert structured.shape_of(small)["heads"] == [2, 2] and structured.shape_of(small)["neurons"] == [32, 32]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    batch = tokenizer(["play loud song", "rufe mutter"], padding=True, return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        assert torch.allclose(small(**batch).logits, masked(**batch).logits, atol=1e-5, rtol=0)
    assert small.config.id2label == masked.config.id2label
    card = (tmp_path / "out" / "README.md").read_text()
    assert "are cut out" in card and 'structured.load("out")' in card and "as large as a dense one" not in card
    assert not (tmp_path / "out" / "masks.safetensors").exists()
    with pytest.raises(OSError, match="model.safetensors"):
        transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")


def cut_units(level: Level, bench: Workbench) -> torch.nn.Module:
    """Make the stored level one that removed half of the heads and of the neurons; its masked model."""
    model = bench.pretrained(0)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in level.arrays("weights").items()})
    masked, groups = Masked(matrices(model)), structured.unit_groups(model)
    units = {group.key: torch.arange(group.count) % 2 == 0 for group in groups}
    masked.set(structured.weight_masks(groups, units, {m.name: m.weight_OI().shape for m in masked.matrices}))
    level.write_masks(masked.arrays())
    level.write_arrays("weights", {name: value.numpy() for name, value in model.state_dict().items()})
    return model


def test_doctor_finds_nothing_wrong() -> None:
    from engine.doctor import examine

    findings = {finding.name: finding for finding in examine("cpu")}
    assert all(finding.good for finding in findings.values()), findings
