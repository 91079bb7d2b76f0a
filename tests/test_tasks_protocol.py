"""The zero-shot protocol end to end: one or several source languages, selection on their validation alone, the rest apart."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from analysis import measures, tables
from analysis.measures.drops import MEAN
from analysis.measures.work import study_frames
from engine import config, evaluate, runner
from engine.workbench import Workbench
from tests import tiny_tasks
from tests.conftest import WORDS

LANGUAGES = ("en", "de", "fr")
STUDY = """
[study]
name = "several"
seeds = [0]
device = "cpu"
precision = "fp32"
[model]
name = "{model}"
[task]
name = "custom"
type = "{kind}"
source_languages = {sources}
languages = ["en", "de", "fr"]
train = "train.{{language}}.jsonl"
test = "test.{{language}}.jsonl"
max_length = 24
[train]
epochs = 2
batch_size = 8
learning_rate = 5e-3
evaluations = 2
[probe]
examples = 8
[[method]]
recipe = "magnitude"
levels = [0.5]
[[method]]
recipe = "random"
levels = [0.5]
"""


@pytest.fixture()
def several(tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., config.Study]:
    """A study over three languages, French being German spelled backwards; call with the type and the source languages."""
    french = {label: " ".join(word[::-1] for word in text.split()) for label, text in WORDS["de"].items()}
    monkeypatch.setitem(WORDS, "fr", french)

    def make(kind: str, *sources: str) -> config.Study:
        tiny_tasks.write(tmp_path, kind)
        text = STUDY.format(model=tiny_checkpoint, kind=kind, sources=json.dumps(sources))
        (tmp_path / "study.toml").write_text(text, encoding="utf-8")
        return config.load(tmp_path / "study.toml")

    return make


def done(study: config.Study, store: Path) -> tuple[Workbench, dict[str, runner.Job]]:
    """Run all jobs of a study."""
    bench = Workbench.open(study)
    jobs = {job.run.name: job for job in runner.jobs(study, store)}
    assert [runner.execute(job, bench) for job in jobs.values()] == ["done"] * len(jobs)
    return bench, jobs


@pytest.mark.parametrize("kind", ["sequence", "joint"])
def test_two_source_languages(several, tmp_path: Path, kind: str) -> None:
    store = tmp_path / "store"
    bench, jobs = done(several(kind, "en", "de"), store)
    # Trained and selected on both, on nothing else; a translation of a training example is never in validation.
    frame, _ = bench.validation
    assert bench.train_frame["language"].value_counts().to_dict().keys() == {"en", "de"}
    assert set(frame["language"]) == {"en", "de"}
    assert not set(frame["id"]) & set(bench.train_frame["id"])
    run = jobs["magnitude-s0"].run
    facts = run.config()
    assert facts["sources"] == ["en", "de"] and facts["languages"] == list(LANGUAGES)
    lines = [line for line in jobs["dense-s0"].run.metrics() if line["type"] == "validation"]
    assert lines and all(0 <= line["score"] <= 1 for line in lines)
    # Chance and majority beside every score, of supervised and zero-shot languages alike.
    assert set(facts["baselines"]["test"]) == set(LANGUAGES)
    assert all(set(values) == {"chance", "majority"} for values in facts["baselines"]["test"].values())
    scores = tables.scores(store, "several")
    assert (
        set(scores["language"]) == set(LANGUAGES)
        and scores.groupby(["method", "sparsity", "metric"]).size().eq(3).all()
    )
    frames = study_frames(store, "several")
    own = frames["degradation"]
    own = own[own["method"] == "magnitude"].set_index("language")
    assert own["source"].to_dict() == {"en": True, "de": True, "fr": False}
    over = frames["spread"]
    row = over[(over["method"] == "magnitude") & (over["language"] == MEAN)].iloc[0]
    assert row["languages"] == 1 and row["drop"] == pytest.approx(own.loc["fr", "drop"])


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.long)], ids=["frames", "all measures"])
def test_translate_train_is_every_language_as_a_source(several, tmp_path: Path, whole: bool) -> None:
    """Nothing is zero-shot then: the tables say so by its absence, and nothing breaks on it."""
    store = tmp_path / "store"
    bench, _ = done(several("sequence", *LANGUAGES), store)
    assert bench.train_frame["language"].value_counts().nunique() == 1
    if whole:
        assert measures.measure(store, "several") == []
    frames = study_frames(store, "several")
    assert frames["degradation"]["source"].all() and set(frames["degradation"]["language"]) == set(LANGUAGES)
    assert frames["spread"].empty


def test_the_model_kept_is_the_best_on_source_validation(
    several, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zero-shot validation never enters: it is not even read where files of it lie beside the others."""
    study = several("sequence", "en", "de")
    for code in LANGUAGES:
        rows = [{"id": f"v-{n}", **tiny_tasks.sequence(code, n, random.Random(n))} for n in range(12)]
        (tmp_path / f"valid.{code}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    text = (
        (tmp_path / "study.toml").read_text().replace("max_length", 'validation = "valid.{language}.jsonl"\nmax_length')
    )
    study = config.parse(text, tmp_path)
    bench = Workbench.open(study)
    assert {key for key in bench.data.frames if key[0] != "test"} == {("train", "en"), ("train", "de"), ("validation", "en"), ("validation", "de")}  # fmt: skip
    frame, encoded = bench.validation
    assert len(frame) == len(encoded) == 24 and frame["language"].value_counts().to_dict() == {"en": 12, "de": 12}
    job = runner.jobs(study, tmp_path / "store")[0]
    runner.execute(job, bench)
    model = bench.pretrained(0)
    model.load_state_dict(
        {name: torch.from_numpy(array) for name, array in job.run.level(0.0).arrays("weights").items()}
    )
    scored = evaluate.score(model, bench.data.type, frame, encoded, bench.data.labels, bench.handle)
    line = [line["score"] for line in job.run.metrics() if line["type"] == "validation"]
    assert evaluate.value(bench.data.type, list(scored.stats)) == pytest.approx(max(line))
    # The same number from the items themselves, both languages weighing by their items.
    assert np.mean(scored.score) == pytest.approx(max(line))
