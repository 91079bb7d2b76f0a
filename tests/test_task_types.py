"""One contract for every task type: a whole study, its files, and a teacher whose cache equals a live pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine import config, metrics, runner
from engine.model import states
from engine.tasks.batches import thinned
from engine.tasks.types import TYPES, task_type
from engine.teacher import MOST_BYTES, Seen, Teacher
from engine.workbench import Workbench
from tests import tiny_tasks

METHODS = "".join(
    f'[[method]]\nrecipe = "{name}"\nlevels = [0.5]\n' for name in ("magnitude", "fisher", "wanda", "sdp_cc", "sdp_kld")
)


def model_for(kind: str, request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue("tiny_gpt2" if kind == "generation" else "tiny_checkpoint")


@pytest.fixture(scope="module", params=list(TYPES))
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    kind = request.param
    folder = tmp_path_factory.mktemp(kind)
    study = config.load(tiny_tasks.study(folder, kind, model_for(kind, request), METHODS))
    bench = Workbench.open(study)
    jobs = runner.jobs(study, folder / "store")
    for job in jobs:
        assert runner.execute(job, bench) == "done"
    return kind, bench, {job.run.name: job.run for job in jobs}


def test_predictions_follow_the_contract(finished) -> None:
    kind, _, runs = finished
    level = runs["magnitude-s0"].level(0.5)
    frame, details = level.frame("predictions"), level.frame("details")
    assert list(frame.columns) == ["language", "split", "id", "group_id", "score", "margin", "stats"]
    assert len(frame) == len(details) == (12 if kind == "ranking" else 48) and set(frame["language"]) == {"en", "de"}
    assert not frame.duplicated(["language", "split", "id"]).any()
    assert np.isfinite(frame["score"]).all() and np.isfinite(frame["margin"]).all()
    stats = np.stack(frame["stats"].to_list())
    assert stats.shape[1] >= len(metrics.STATS[kind]) and np.isfinite(stats).all()
    for name in metrics.SCORES[kind]:
        row, value = metrics.METRICS[name], metrics.FUNCTIONS[name](stats)
        assert np.isnan(value) or row.low <= value <= row.high
    assert {"language", "split", "id", "predicted"} <= set(details.columns) or kind == "ranking"


def test_activations_have_the_rows_of_the_probe(finished) -> None:
    kind, bench, runs = finished
    level = runs["magnitude-s0"].level(0.5)
    rows, arrays = level.frame("probe"), level.arrays("activations")
    assert list(rows.columns) == ["language", "id", "label", "word"]
    for name, array in arrays.items():
        assert array.shape == (sum(rows["language"] == name.split("/")[0]), 3, 32) and array.dtype == np.float16
    assert {name.split("/")[1] for name in arrays} == {"mean", bench.data.type.pooling}
    assert (rows["word"] >= 0).all() == (kind == "token")


def test_the_headline_and_the_baselines_are_recorded(finished) -> None:
    kind, _, runs = finished
    facts = runs["dense-s0"].config()
    assert facts["metric"] in metrics.SCORES[kind] and facts["type"] == kind
    for values in facts["baselines"]["test"].values():
        assert 0 <= values["chance"] <= 1 and values["majority"] >= values["chance"] - 1e-9
    lines = [line for line in runs["dense-s0"].metrics() if line["type"] == "evaluation"]
    frame = runs["dense-s0"].level(0.0).frame("predictions")
    for line in lines:
        stats = np.stack(frame.loc[frame["language"] == line["language"], "stats"].to_list())
        assert line["value"] == pytest.approx(np.nan_to_num(metrics.FUNCTIONS[facts["metric"]](stats)))


@pytest.mark.parametrize("most", [MOST_BYTES, 0], ids=["kept", "running along"])
def test_a_teacher_gives_what_a_pass_gives(finished, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, bench, _ = finished
    model, task = bench.pretrained(0), bench.data.type
    monkeypatch.setattr("engine.teacher.MOST_BYTES", most)
    teacher = Teacher.of(model, bench.train, task, bench.handle)
    items = np.random.default_rng(0).permutation(len(bench.train))[:7]
    batch = bench.train.batch(items, bench.handle.device)
    with torch.no_grad(), states(model, last_only=True) as collected:
        logits = task.logits(model, batch)
        rows = task.rows(logits, batch)
        z = task.representation(collected[-1], batch)
    seen = Seen(task, logits, collected[-1], batch, items)
    assert seen.item_states().shape == (len(items), model.config.hidden_size)
    assert len(z.counts) == len(items) and int(z.counts.sum()) == len(z.values)
    assert torch.allclose(teacher.states(seen), z.values, atol=1e-5)
    assert len(thinned(z.values, 5)) == min(5, len(z.values))
    if rows is None:
        assert kind == "regression" and torch.allclose(teacher.logits(seen), logits, atol=1e-5)
        return
    assert len(rows.counts) == len(items) and int(rows.counts.sum()) == len(rows.values) == len(task.row_labels(batch))
    cached = teacher.logits(seen)
    assert torch.allclose(cached.softmax(-1), rows.values.softmax(-1), atol=1e-5)
    # The rows and their labels are what the loss is made of.
    loss = torch.nn.functional.cross_entropy(rows.values, task.row_labels(batch), reduction="none")
    assert torch.isfinite(loss).all()
    if kind not in ("joint",):
        assert task.loss(logits, batch).item() == pytest.approx(loss.mean().item(), rel=1e-5)


def test_outputs_do_not_depend_on_the_batch(finished) -> None:
    _, bench, _ = finished
    model, task = bench.pretrained(0), bench.data.type
    _, encoded = bench.test
    items = np.arange(6)
    with torch.no_grad():
        together = task.outputs(model, encoded.batch(items, bench.handle.device))
        alone = [task.outputs(model, encoded.batch([item], bench.handle.device)) for item in items]
    assert together.counts.tolist() == [int(one.counts.sum()) for one in alone]
    assert torch.allclose(together.values, torch.cat([one.values for one in alone]), atol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("kind", [name for name in TYPES if name not in ("generation", "regression")])
def test_every_type_can_learn(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    path = tiny_tasks.study(
        tmp_path, kind, model_for(kind, request), '[[method]]\nrecipe = "magnitude"\nlevels = [0.5]', 25
    )
    study = config.load(path)
    bench = Workbench.open(study)
    job = runner.jobs(study, tmp_path / "store")[0]
    runner.execute(job, bench)
    frame = job.run.level(0.0).frame("predictions")
    english = np.stack(frame.loc[frame["language"] == "en", "stats"].to_list())
    value = metrics.FUNCTIONS[bench.data.type.metric](english)
    assert value > bench.data.baselines()["test"]["en"]["majority"] + 0.1, value


def test_an_unknown_type_lists_the_choices() -> None:
    with pytest.raises(ValueError, match="type: must be one of sequence, pair, choice"):
        task_type("tagging")
