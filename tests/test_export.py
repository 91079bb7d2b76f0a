"""Export round trip: the folder loads with stock transformers and predicts the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from engine import config, runner, structured
from engine.config import ConfigError
from engine.export import export
from engine.masked import Masked
from engine.model import matrices
from engine.record import Level, RecordError, read_arrays
from engine.workbench import Workbench


def test_round_trip(tiny_study, tmp_path: Path) -> None:
    path = tiny_study('[[method]]\nrecipe = "magnitude"\nlevels = [0.5, 0.9]\nkeep_weights = [0.9]')
    study = config.load(path)
    bench = Workbench.open(study)
    for job in runner.jobs(study, tmp_path / "store"):
        runner.execute(job, bench)
    run = job.run
    export(run, 0.9, tmp_path / "out", bench, path.read_text())
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "out", dtype=torch.float32
    ).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    details = run.level(0.9).frame("details").query("language == 'de'")
    batch = tokenizer(list(details["text"]), padding=True, return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        logits = model(**batch).logits
    assert [model.config.id2label[int(index)] for index in logits.argmax(1)] == list(details["predicted"])
    assert np.allclose(logits.softmax(1).numpy(), np.stack(details["probabilities"].to_list()), atol=1e-5)
    packed, stored = (read_arrays(folder / "masks.safetensors") for folder in (tmp_path / "out", run.level(0.9).path))
    assert all(np.array_equal(packed[name], stored[name]) for name in stored)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "90% sparsity" in card and "| en (source) | test |" in card and 'recipe = "magnitude"' in card
    with pytest.raises(RecordError, match=r"level: must be one of 0.9; got 0.5"):
        export(run, 0.5, tmp_path / "other", bench, "")
    with pytest.raises(ConfigError, match="must be a new or empty folder"):
        export(run, 0.9, tmp_path / "out", bench, "")
    assert not (tmp_path / "other").exists()


def test_compacted_round_trip(tiny_study, tmp_path: Path) -> None:
    """A level whose masks remove whole heads and neurons; one that removes single weights has nothing to cut out."""
    path = tiny_study('[[method]]\nrecipe = "magnitude"\nlevels = [0.3]\nkeep_weights = [0.3]')
    study = config.load(path)
    bench = Workbench.open(study)
    for job in runner.jobs(study, tmp_path / "store"):
        runner.execute(job, bench)
    level = job.run.level(0.3)
    with pytest.raises(
        ConfigError, match=r"compact: needs a level that removes whole heads or neurons; magnitude at 0\.3"
    ):
        export(job.run, 0.3, tmp_path / "none", bench, "", compact=True)
    masked = cut_units(level, bench)
    export(job.run, 0.3, tmp_path / "out", bench, path.read_text(), compact=True)
    small = structured.load(tmp_path / "out")
    assert structured.shape_of(small)["heads"] == [2, 2] and structured.shape_of(small)["neurons"] == [32, 32]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    batch = tokenizer(["play loud song", "rufe mutter"], padding=True, return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        assert torch.allclose(small(**batch).logits, masked(**batch).logits, atol=1e-5, rtol=0)
    assert small.config.id2label == masked.config.id2label
    card = (tmp_path / "out" / "README.md").read_text()
    assert "are cut out" in card and "structured.load" in card and "as large as a dense one" not in card
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
