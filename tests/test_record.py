"""The run folder: atomic writes, status last, packed masks, and clear words for what cannot be used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine import record
from engine.record import RecordError, Run

ROOT = Path(__file__).parent.parent


@pytest.fixture()
def run(tmp_path: Path) -> Run:
    found = Run(tmp_path / "store" / "study" / "magnitude-s3")
    found.path.mkdir(parents=True)
    return found


def test_names(run: Run) -> None:
    assert (run.study, run.method, run.seed) == ("study", "magnitude", 3)
    assert run.level(0.7).path.name == "0.7000"
    assert run.level(0.0, "-u120").updates == 120
    assert run.level(0.0, "-u120").sparsity == 0.0


def test_another_configuration_under_the_same_name_is_refused(run: Run) -> None:
    run.begin({"levels": [0.5]})
    run.begin({"levels": [0.5]})
    with pytest.raises(RecordError, match="holds another configuration"):
        run.begin({"levels": [0.7]})


def test_an_older_schema_is_refused(run: Run) -> None:
    record.write_json(run.path / "config.json", {"schema": 0})
    with pytest.raises(RecordError, match="schema must be 1; got 0"):
        run.config()


def test_states(run: Run) -> None:
    assert run.state() == "missing"
    run.begin({})
    assert run.state() == "queued"
    run.beat(step=1)
    assert run.state() == "running"
    assert run.state(now=10**12) == "lost"
    run.finish("failed", reason="x")
    assert run.state() == "failed"
    run.reopen()
    assert run.state() == "running"
    run.finish("done")
    with pytest.raises(RecordError, match="must not be reopened"):
        run.reopen()
    with pytest.raises(ValueError, match="state: must be one of"):
        run.finish("finished")


def test_a_dead_process_is_lost(run: Run) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    run.begin({})
    record.write_json(run.path / "heartbeat.json", {"time": __import__("time").time(), "pid": process.pid})
    assert run.state() == "lost"


@pytest.mark.parametrize("shape", [(3, 5), (8, 8), (1, 1), (7, 9)])
def test_masks_round_trip(run: Run, shape: tuple[int, int]) -> None:
    masks = {"a.b": np.random.default_rng(0).random(shape) < 0.3}
    level = run.level(0.7)
    level.write_masks(masks)
    assert np.array_equal(level.masks()["a.b"], masks["a.b"])
    packed = record.read_arrays(level.path / "masks.safetensors")["a.b"]
    assert np.array_equal(packed, np.packbits(masks["a.b"].reshape(-1)))
    assert json.loads(record.read_metadata(level.path / "masks.safetensors")["shapes"]) == {"a.b": list(shape)}


def test_atomic_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    record.write_json(target, {"a": 1})
    with pytest.raises(RuntimeError), record.atomic(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert record.read_json(target) == {"a": 1}
    assert os.listdir(tmp_path) == ["x.json"]


def test_nan_becomes_null(tmp_path: Path) -> None:
    record.write_json(tmp_path / "x.json", {"a": float("nan"), "b": [float("inf"), 1.5]})
    assert record.read_json(tmp_path / "x.json") == {"a": None, "b": [None, 1.5]}


def test_a_cut_line_is_left_out(run: Run) -> None:
    run.log("train", 1, 1, loss=0.5)
    with (run.path / "metrics.jsonl").open("a") as handle:
        handle.write('{"type": "tra')
    assert [line["step"] for line in run.metrics()] == [1]


def test_broken_files_are_named(run: Run) -> None:
    level = run.level(0.5)
    level.path.mkdir(parents=True)
    (level.path / "predictions.parquet").write_bytes(b"no parquet")
    with pytest.raises(RecordError, match=r"predictions\.parquet: must be a Parquet table"):
        level.frame("predictions")
    (level.path / "masks.safetensors").write_bytes(b"no tensors")
    with pytest.raises(RecordError, match="must be a safetensors file"):
        level.masks()
    (run.path / "status.json").write_text("{")
    with pytest.raises(RecordError, match="must be JSON"):
        run.status()


def test_levels_count_only_when_complete(run: Run) -> None:
    for value in (0.9, 0.5):
        run.level(value).write_frame("predictions", pd.DataFrame({"id": ["a"]}))
    assert run.levels() == []
    record.write_json(run.level(0.9).path / "size.json", {})
    assert [level.sparsity for level in run.levels()] == [0.9]


def test_find_run_lists_the_choices(run: Run) -> None:
    run.begin({})
    store = run.path.parent.parent
    assert record.find_run(store, "study/magnitude-s3") == run
    with pytest.raises(RecordError, match="must be one of study/magnitude-s3; got 'study/x-s0'"):
        record.find_run(store, "study/x-s0")
    for name in ("../x", "study", "study/x", "a/../b-s0"):
        with pytest.raises(RecordError, match="must look like"):
            record.find_run(store, name)


def test_listing_loads_nothing_heavy() -> None:
    code = "import sys, engine.record, engine.registry; print([m for m in ('torch', 'pandas', 'numpy', 'transformers') if m in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )
