"""Whole runs on a tiny checkpoint: files, equal budgets, exact counts, resume, refusals."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from engine import config, runner
from engine.record import Run
from engine.workbench import Workbench

METHODS = """
[[method]]
recipe = "random"
levels = [0.5, 0.9]
[[method]]
recipe = "magnitude"
levels = [0.5, 0.9]
[[method]]
recipe = "wanda"
levels = [0.5]
[[method]]
recipe = "alignreg_cosine"
levels = [0.5]
[[method]]
recipe = "sdp_cc"
levels = [0.5]
"""


def run_all(path: Path, store: Path) -> dict[str, Run]:
    study = config.load(path)
    bench = Workbench.open(study)
    jobs = runner.jobs(study, store)
    for job in jobs:
        runner.execute(job, bench)
    return {job.run.name: job.run for job in jobs}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path, tiny_checkpoint: Path) -> dict[str, Run]:
    from tests.conftest import STUDY

    folder = tmp_path_factory.mktemp("study")
    (folder / "study.toml").write_text(STUDY.format(checkpoint=tiny_checkpoint, data=tiny_data, methods=METHODS))
    return run_all(folder / "study.toml", folder / "store")


def test_every_run_is_done_and_complete(finished: dict[str, Run]) -> None:
    assert all(run.state() == "done" for run in finished.values())
    for run in finished.values():
        for name in ("config.json", "env.json", "metrics.jsonl", "log.txt", "text.parquet"):
            assert (run.path / name).exists(), (run.name, name)
        for level in run.levels():
            for name in (
                "predictions.parquet",
                "details.parquet",
                "probe.parquet",
                "activations.safetensors",
                "weights.parquet",
                "size.json",
            ):
                assert level.has(name), (run.name, level.path.name, name)
            assert level.has("masks.safetensors") == (run.method not in ("dense", "dense_continued"))
        assert not (run.path / "checkpoint.safetensors").exists()


def test_counts_are_exact_and_masks_nested(finished: dict[str, Run]) -> None:
    for method in ("random", "magnitude"):
        low, high = finished[f"{method}-s0"].levels()
        for level, share in ((low, 0.5), (high, 0.9)):
            masks = level.masks()
            total = sum(mask.size for mask in masks.values())
            assert sum(int((~mask).sum()) for mask in masks.values()) == int(share * total + 0.5)
            weights = level.arrays("weights")
            assert all((weights[f"{name}.weight"][~mask] == 0).all() for name, mask in masks.items())
        assert all((~low.masks()[name] <= ~high.masks()[name]).all() for name in low.masks())


def test_budgets_are_equal(finished: dict[str, Run]) -> None:
    dense = finished["dense-s0"].level(0.0).size()["updates"]
    levels = finished["magnitude-s0"].levels()
    spent = [level.size()["updates"] for level in levels]
    continued = [level.updates for level in finished["dense_continued-s0"].levels()]
    assert spent == continued
    assert spent[1] - spent[0] == spent[0] - dense > 0


def test_predictions_follow_the_contract(finished: dict[str, Run]) -> None:
    frame = finished["magnitude-s0"].level(0.9).frame("predictions")
    assert list(frame.columns) == ["language", "split", "id", "group_id", "score", "margin", "stats"]
    assert len(frame) == 96 and set(frame["language"]) == {"en", "de"}
    stats = np.stack(frame["stats"].to_list())
    assert np.array_equal(stats[:, 0], frame["score"])
    assert np.array_equal(stats[:, 0], (stats[:, 1] == stats[:, 2]).astype(float))
    assert ((frame["margin"] > 0) == (frame["score"] == 1)).all()
    arrays = finished["magnitude-s0"].level(0.9).arrays("activations")
    assert set(arrays) == {"en/mean", "en/first", "de/mean", "de/first"}
    assert arrays["en/mean"].shape == (12, 3, 32) and arrays["en/mean"].dtype == np.float16


def test_the_dense_model_learned(finished: dict[str, Run]) -> None:
    frame = finished["dense-s0"].level(0.0).frame("predictions")
    assert frame.loc[frame["language"] == "en", "score"].mean() > 0.6


def test_a_score_right_after_the_mask_is_logged(finished: dict[str, Run]) -> None:
    lines = [line for line in finished["magnitude-s0"].metrics() if line["type"] == "validation"]
    assert [line["cycle_step"] for line in lines if line["cycle"] == 1] == [0, 3, 6]


def test_objectives_leave_a_trace(finished: dict[str, Run]) -> None:
    lines = [line for line in finished["alignreg_cosine-s0"].metrics() if line["type"] == "train"]
    # Right after the mask w = w0, where R pulls nowhere (M§4.1); from the second update on it does.
    assert all(line["penalty"] > 0 for line in lines)
    assert lines[0]["penalty_ratio"] < 1e-3 and all(line["penalty_ratio"] > 0 for line in lines[1:])
    lines = [line for line in finished["sdp_cc-s0"].metrics() if line["type"] == "train"]
    # 86 examples leave a last batch of 6, too small to correlate (M§4.2).
    assert sum(line["loss"] > line["task_loss"] for line in lines) == len(lines) - 1


def _stop_after(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let the process 'die' at the count-th checkpoint that is saved inside a cycle."""
    from engine import trainer

    saved = trainer.snapshot
    seen = []

    def snapshot(*args: object) -> object:
        seen.append(1)
        if len(seen) == count + 1:
            raise runner.Cancelled
        return saved(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(trainer, "snapshot", snapshot)


# Updates after which the process stops: the dense run takes 36, dense_continued and magnitude 12 each, 6 an epoch.
@pytest.mark.parametrize("stop", [0, 6, 8, 40, 50, 54, 57])
def test_resume_is_bit_exact(stop: int, tiny_study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny_study()
    path.write_text(path.read_text().replace("evaluations = 2", "evaluations = 2\ncheckpoint_minutes = 1e-9"))
    whole = run_all(path, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        _stop_after(patch, stop)
        with pytest.raises(runner.Cancelled):
            run_all(path, tmp_path / "parts")
    stopped = [name for name, run in whole.items() if Run(tmp_path / "parts" / "tiny" / name).state() == "cancelled"]
    assert len(stopped) == 1
    parts = run_all(path, tmp_path / "parts")
    for name, run in whole.items():
        assert parts[name].state() == "done"
        for level, other in zip(run.levels(), parts[name].levels(), strict=True):
            assert level.frame("predictions")["margin"].tolist() == other.frame("predictions")["margin"].tolist()
            if level.has("weights.safetensors"):
                ours, theirs = level.arrays("weights"), other.arrays("weights")
                assert all(np.array_equal(ours[key], theirs[key]) for key in ours)


def test_two_stores_agree_bit_for_bit(tiny_study, tmp_path: Path) -> None:
    path = tiny_study()
    first, second = (run_all(path, tmp_path / name) for name in ("a", "b"))
    ours, theirs = (runs["magnitude-s0"].level(0.9).arrays("weights") for runs in (first, second))
    assert all(np.array_equal(ours[key], theirs[key]) for key in ours)


def test_a_level_of_zero_prunes_nothing(tiny_study, tmp_path: Path) -> None:
    path = tiny_study('[[method]]\nrecipe = "magnitude"\nlevels = [0.0]')
    runs = run_all(path, tmp_path / "store")
    pruned, continued = runs["magnitude-s0"].levels()[0], runs["dense_continued-s0"].levels()[0]
    assert pruned.size()["removed"] == 0
    assert pruned.frame("predictions")["margin"].tolist() == continued.frame("predictions")["margin"].tolist()


def test_a_failed_run_says_why_and_can_go_on(tiny_study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine import levels

    path = tiny_study()
    study = config.load(path)
    bench = Workbench.open(study)
    job = runner.jobs(study, tmp_path / "store")[0]
    with monkeypatch.context() as patch:
        patch.setattr(levels, "latency_ms", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError):
            runner.execute(job, bench)
    status = job.run.status()
    assert status and status["state"] == "failed" and "disk is full" in status["reason"]
    assert job.run.levels() == []
    assert runner.execute(job, bench) == "done"


def test_a_loss_that_is_not_finite_stops_the_run(tiny_study, tmp_path: Path) -> None:
    path = tiny_study()
    path.write_text(path.read_text().replace("learning_rate = 5e-3", "learning_rate = 1e-3"))
    study = config.load(path)
    bench = Workbench.open(study)
    job = runner.jobs(study, tmp_path / "store")[0]
    original = bench.data.type.loss
    steps: list[int] = []

    class Exploding:
        def __getattr__(self, name: str) -> object:
            return getattr(original.__self__, name)

        def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            steps.append(1)
            return original(logits, targets) * (float("nan") if len(steps) > 2 else 1.0)

    object.__setattr__(bench.data, "type", Exploding())
    with pytest.raises(Exception, match=r"the loss must stay finite; got nan at step 2"):
        runner.execute(job, bench)


def test_a_broken_dense_run_is_refused(tiny_study, tmp_path: Path) -> None:
    study = config.load(tiny_study())
    bench = Workbench.open(study)
    jobs = runner.jobs(study, tmp_path / "store")
    with pytest.raises(ValueError, match="tiny/dense-s0: must be done before"):
        runner.execute(jobs[2], bench)
    shutil.rmtree(tmp_path / "store")
