"""engine.restore: complete partitions, both directions, resuming, and the command."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis import measures
from engine import config, estimate, evaluate, restore, runner
from engine.__main__ import app
from engine.commands.kept import keep_file
from engine.config import RestorationSection
from engine.model import load_model, matrices
from engine.record import Cancelled, RecordError, Run, read_frame
from engine.tasks.types import task_type
from engine.workbench import Workbench
from tests.conftest import STUDY


@pytest.fixture(scope="module")
def done(tiny_data: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Workbench]:
    """A finished run of one level with its dense run; tests tell their results apart by the cap of items."""
    folder = tmp_path_factory.mktemp("restore")
    methods = '[[method]]\nrecipe = "magnitude"\nlevels = [0.5, 0.9]\nkeep_weights = [0.9]'
    text = STUDY.format(checkpoint=tiny_checkpoint, data=tiny_data, methods=methods).replace("epochs = 6", "epochs = 2")
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    study = config.load(path)
    bench = Workbench.open(study)
    jobs = [job for job in runner.jobs(study, folder / "store") if job.run.method != "dense_continued"]
    for job in jobs:
        runner.execute(job, bench)
    keep_file(path, folder / "store" / "tiny", study.base)
    return jobs[-1].run, bench


def test_partitions_are_complete(tiny_checkpoint: Path) -> None:
    model = load_model(str(tiny_checkpoint), task_type("sequence"), ("a", "b", "c"))
    every = set(model.state_dict())
    found = restore.parts(model)
    for partition in ("blocks", "modules"):
        names = [name for part in found if part.partition == partition for name in part.names]
        assert len(names) == len(set(names)) and set(names) == every
    kinds = {part.part: part.names for part in found if part.partition == "modules"}
    assert set(kinds) == {*(matrix.kind for matrix in matrices(model)), restore.REST["modules"]}
    assert len(kinds["query"]) == 4  # weight and bias of two blocks
    assert [part.part for part in found if part.partition == "blocks"] == ["block 0", "block 1", restore.REST["blocks"]]


def test_mixed_states() -> None:
    import torch

    base, other = {"a": torch.zeros(2), "b": torch.zeros(2)}, {"a": torch.ones(2), "b": torch.ones(2)}
    assert [value.sum().item() for value in restore.mixed(base, other, frozenset({"b"})).values()] == [0, 2]
    with pytest.raises(ValueError, match="names: must be parameters of the state; got c"):
        restore.mixed(base, other, frozenset({"c"}))


def test_items_are_capped_and_the_same_in_every_language() -> None:
    ids = [f"i{number}" for number in range(30)]
    frame = pd.concat(
        [pd.DataFrame({"language": code, "split": split, "id": ids if code == "en" else ids[10:]}) for split in ("test", "natural") for code in ("en", "de")],
        ignore_index=True,
    )  # fmt: skip
    part = frame.iloc[restore.chosen(frame, True, 8)]
    assert set(part["split"]) == {"test"} and part.groupby("language").size().tolist() == [8, 8]
    assert len({frozenset(group["id"]) for _, group in part.groupby("language")}) == 1
    assert len(restore.chosen(frame, True, 1000)) == 50
    with pytest.raises(config.ConfigError, match="--items: must be at least 1; got 0"):
        restore.chosen(frame, True, 0)


def test_restoration_of_a_run(done: tuple[Run, Workbench]) -> None:
    run, bench = done
    means = restore.restore(run, 0.9, bench, 16)
    folder = run.level(0.9).path / "measures"
    items = read_frame(next(folder.glob("restoration_items-*.parquet")))
    level, dense = (
        run.level(0.9).frame("predictions"),
        Run(run.path.parent / "dense-s0").level(0.0).frame("predictions"),
    )
    for part, whole in (("pruned", level), ("dense", dense)):
        rows = items[items["part"] == part].merge(
            whole[whole["split"] == "test"], on=["language", "id"], suffixes=("", "_whole")
        )
        assert len(rows) == 32 and np.allclose(rows["margin"], rows["margin_whole"], atol=1e-5)
    one = means[(means["part"] == "block 1") & (means["direction"] == "restore") & (means["language"] == "de")].iloc[0]
    assert one["effect_margin"] == pytest.approx(one["changed_margin"] - one["pruned_margin"])
    assert one["total_margin"] == pytest.approx(one["dense_margin"] - one["pruned_margin"])
    same = means[(means["partition"] == "blocks") & (means["direction"] == "restore") & (means["language"] == "de")]
    assert one["gap_margin"] == pytest.approx(one["total_margin"] - same["effect_margin"].sum())
    assert set(means["direction"]) == set(restore.DIRECTIONS) and not (folder / "restoration.partial.parquet").exists()
    assert all(len(line) for line in restore.lines(means))
    pd.testing.assert_frame_equal(restore.restore(run, 0.9, bench, 16), means)  # stored: nothing is computed again


def test_the_dense_weights_of_every_part_give_the_dense_model(done: tuple[Run, Workbench]) -> None:
    run, bench = done
    states = [restore._weights(side) for side in (run.level(0.9), Run(run.path.parent / "dense-s0").level(0.0))]
    model = bench.pretrained(0)
    state = states[0]
    for part in restore.parts(model)[:3]:
        state = restore.mixed(state, states[1], part.names)
    assert all((state[name] == states[1][name]).all() for name in state)


def test_an_interrupted_restoration_goes_on(done: tuple[Run, Workbench], monkeypatch: pytest.MonkeyPatch) -> None:
    run, bench = done
    folder, count = run.level(0.9).path / "measures", 0
    before = set(folder.glob("restoration-*.parquet"))
    score = evaluate.score

    def counted(*args: object) -> object:
        nonlocal count
        count += 1
        if count == 5:
            raise KeyboardInterrupt
        return score(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluate, "score", counted)
    with pytest.raises(KeyboardInterrupt):
        restore.restore(run, 0.9, bench, 8)
    assert (folder / "restoration.partial.parquet").exists() and set(folder.glob("restoration-*.parquet")) == before
    means = restore.restore(run, 0.9, bench, 8)
    whole = 2 + 2 * len(restore.parts(bench.pretrained(0)))
    assert count == 5 + whole - 4  # the four that were done are not done again
    fresh = restore.restore(run, 0.9, bench, 9)  # another cap is another result
    assert len(fresh) == len(means) and fresh["n"].max() == 9


def restoring(done: tuple[Run, Workbench], folder: Path, **asked: object) -> tuple[Workbench, list[runner.Job]]:
    """The same study with a restoration in it, in a store of its own where everything but the arm is done."""
    run, bench = done
    section = bench.study.restoration.model_copy(update=asked)
    study = bench.study.model_copy(update={"restoration": section})
    for name in ("dense-s0", "dense_continued-s0"):
        if (run.path.parent / name).exists():
            shutil.copytree(run.path.parent / name, folder / "tiny" / name)
    return dataclasses.replace(bench, study=study), runner.jobs(study, folder)


def test_a_study_may_ask_for_it(done: tuple[Run, Workbench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, jobs = restoring(done, tmp_path, levels="last", items=6)
    job, seen = jobs[-1], []
    monkeypatch.setattr(evaluate, "score", _stopping(evaluate.score, items=12, after=4))
    with pytest.raises(Cancelled):
        runner.execute(job, bench)
    assert job.run.state() == "cancelled" and len(job.run.levels()) == 2  # levels stand, the restoration is begun
    partial = job.run.level(0.9).path / "measures" / "restoration.partial.parquet"
    assert read_frame(partial)["part"].nunique() == 3  # pruned, dense, and block 0 both ways
    monkeypatch.undo()
    runner.execute(job, bench, lambda name, fraction, phase: seen.append(phase))
    assert job.run.state() == "done" and any(text.startswith("restoring 0.9000, 5 of") for text in seen)
    assert not any(text.startswith("training") for text in seen)  # nothing is trained again
    found = read_frame(next((job.run.level(0.9).path / "measures").glob("restoration-*.parquet")))
    assert found["n"].max() == 6 and "restored part by part, 6 items" in (job.run.path / "log.txt").read_text()
    assert not list((job.run.level(0.5).path / "measures").glob("restoration*"))


def _stopping(score: Any, items: int, after: int) -> Any:
    """`score`, which is asked to stop after so many calls with as many items as a restoration has."""
    calls = iter(range(after))

    def limited(*args: Any) -> Any:
        if len(args[2]) == items and next(calls, None) is None:
            raise Cancelled
        return score(*args)

    return limited


def test_what_is_due(done: tuple[Run, Workbench]) -> None:
    run, asked = done[0], RestorationSection(levels="all")
    assert [level.path.name for level in restore.due(run, asked, [0, 1])] == ["0.9000"]  # 0.5 kept no weights
    assert restore.due(run, asked, [3, 0])  # the least seed is the first, as for maps
    assert not restore.due(run, RestorationSection(), [0])
    assert not restore.due(Run(run.path.parent / "dense-s0"), asked, [0])
    other = Run(run.path.parent / "magnitude-s1")
    assert not restore.due(other, asked, [0, 1]) and not restore.due(other, RestorationSection(levels="last"), [0, 1])


def test_the_estimate_includes_it(done: tuple[Run, Workbench], tmp_path: Path) -> None:
    bench = restoring(done, tmp_path, levels="all", items=6)[0]
    model = bench.pretrained(0)
    count = estimate._restored(bench.study, bench, model, 1000)
    assert count == 1 * 1 * (2 + 2 * len(restore.parts(model))) * 12  # one kept level, one seed, 6 items of 2 languages
    assert estimate._restored(done[1].study, bench, model, 1000) == 0


def test_the_command_and_what_it_refuses(done: tuple[Run, Workbench]) -> None:
    where = done[0].path.parent.parent
    store = str(where)
    said = CliRunner().invoke(
        app, ["restore", "tiny/magnitude-s0", "--level", "0.9", "--items", "7", "--store", store, "--no-measure"]
    )
    assert said.exit_code == 0, said.output
    assert "blocks: block 0 put back: margin" in said.output
    assert measures.measure(where, "tiny", measures.Wish(only=("restored",)), workers=1, say=lambda _: None) == []
    frame = measures.read_levels(where, "tiny", "restored")
    assert set(frame["language"]) == {"en", "de"} and (frame["effect_low"] <= frame["effect_high"]).all()
    again = ["run", str(where.parent / "study.toml"), "--store", store, "--no-measure", "--restore"]
    continued = next(job for job in runner.jobs(done[1].study, where) if job.run.method == "dense_continued")
    runner.execute(continued, done[1])
    said = CliRunner().invoke(app, again)  # everything is done but the restoration
    assert said.exit_code == 0 and "tiny/magnitude-s0: restored part by part at 0.9" in said.output, said.output
    import torch

    with pytest.raises(RecordError, match="must have matrices of the dense model's shapes"):
        restore._refuse_other_shapes(done[0], {"a": torch.zeros(2)}, {"a": torch.zeros(3)})
    wrong = CliRunner().invoke(app, ["restore", "tiny/magnitude-s0", "--level", "0.5", "--store", store])
    assert wrong.exit_code == 2 and "level: must be one of 0.9; got 0.5" in wrong.output
    with pytest.raises(RecordError, match="must be a pruned run whose dense run has weights"):
        restore.restore(Run(where / "tiny" / "dense-s0"), 0.0, done[1])
