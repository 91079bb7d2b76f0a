"""Export round trip: the folder loads with stock transformers and predicts the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from engine import config, runner
from engine.config import ConfigError
from engine.export import export
from engine.record import RecordError, read_arrays
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


def test_doctor_finds_nothing_wrong() -> None:
    from engine.doctor import examine

    findings = {finding.name: finding for finding in examine("cpu")}
    assert all(finding.good for finding in findings.values()), findings
