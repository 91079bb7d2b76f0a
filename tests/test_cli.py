"""The command line as other programs call it: exit codes, one line per problem, no traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine import queue, record
from engine.record import Run

ROOT = Path(__file__).parent.parent


def engine(*arguments: object, store: Path | None = None) -> subprocess.CompletedProcess[str]:
    where = ["--store", str(store)] if store else []
    command = [sys.executable, "-m", "engine", *map(str, arguments), *where]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)


def wait(condition, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)


def test_methods_as_json() -> None:
    done = engine("methods", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert {"criteria", "allocations", "schedules", "objectives", "recipes", "tasks"} == set(found)
    assert all(
        row["source"] and row["what"] and row["section"].startswith("M§") for kind in found for row in found[kind]
    )


def test_a_wrong_study_ends_with_two_and_nothing_written(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(
        '[study]\nname = "x"\nseeds = []\n[train]\nepochz = 1\n[[method]]\nrecipe = "magnitud"\nlevels = [2]\n'
    )
    done = engine("run", path, store=tmp_path / "store")
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert any(line.startswith("study.seeds: must have at least 1 item") for line in lines) and any(
        line.startswith("train.epochz: unknown key; choices: epochs") for line in lines
    )
    assert any(line.startswith("method[0].levels.0: must be below 1; got 2") for line in lines)
    assert not (tmp_path / "store").exists()


@pytest.mark.long
def test_run_skips_what_is_done_and_names_what_was_interrupted(tiny_study, tmp_path: Path) -> None:
    path, store = tiny_study(), tmp_path / "store"
    first = engine("run", path, "--no-measure", store=store)
    assert first.returncode == 0, first.stderr
    rows = json.loads(engine("list", "--json", store=store).stdout)
    assert [row["state"] for row in rows] == ["done"] * 3
    again = time.monotonic()
    assert engine("run", path, "--no-measure", store=store).returncode == 0
    assert time.monotonic() - again < 60
    (store / "tiny" / "magnitude-s0" / "status.json").unlink()
    (store / "tiny" / "magnitude-s0" / "heartbeat.json").unlink()
    refused = engine("run", path, "--no-measure", store=store)
    assert refused.returncode == 2 and "tiny/magnitude-s0: was interrupted" in refused.stderr
    assert engine("run", path, "--resume", "--no-measure", store=store).returncode == 0
    path.write_text(path.read_text().replace("levels = [0.5, 0.9]", "levels = [0.6]"))
    other = engine("run", path, "--no-measure", store=store)
    assert other.returncode == 2 and "holds another configuration" in other.stderr


def test_check_estimates(tiny_study) -> None:
    done = engine("check", tiny_study(), "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0 and found["runs"] == 3 and found["updates"] == 6 * 6 + 2 * 6 + 2 * 6
    assert found["seconds"] > 0 and found["memory_bytes"] > 4 * found["parameters"] and found["disk_bytes"] > 0


@pytest.mark.parametrize("name", ["x/y-s0", "../etc-s0", "nonsense"])
def test_unknown_runs(name: str, tmp_path: Path) -> None:
    for command in ("cancel", "resume"):
        done = engine(command, name, store=tmp_path)
        assert done.returncode == 2 and done.stderr.startswith("RUN: must")


@pytest.mark.long
def test_submit_runs_in_the_background_and_measures(tiny_study, tmp_path: Path) -> None:
    store = tmp_path / "store"
    done = engine("submit", tiny_study(), store=store)
    assert done.returncode == 0 and "3 runs queued" in done.stdout, done.stderr
    wait(lambda: all(row.state == "done" for row in queue.rows(store)))
    assert [Run(store / row.name).state() for row in queue.rows(store)] == ["done"] * 3
    wait(lambda: any((store / "tiny" / "measures").glob("*.parquet")))


LONG = '[[method]]\nrecipe = "magnitude"\nlevels = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]'


@pytest.mark.long
def test_cancel_and_resume(tiny_study, tmp_path: Path) -> None:
    path, store = tiny_study(LONG), tmp_path / "store"
    path.write_text(path.read_text().replace("evaluations = 2", "evaluations = 2\nretrain_epochs = 40"))
    assert engine("submit", path, store=store).returncode == 0
    run = Run(store / "tiny" / "dense_continued-s0")
    wait(lambda: run.levels())
    waiting = engine("cancel", "tiny/magnitude-s0", store=store)
    assert waiting.stdout.strip() == "cancelled"
    assert engine("cancel", "tiny/dense_continued-s0", store=store).stdout.strip() == "stopping"
    wait(lambda: run.state() == "cancelled")
    kept = len(run.levels())
    assert kept >= 1
    assert engine("resume", "tiny/dense_continued-s0", store=store).returncode == 0
    wait(lambda: len(run.levels()) > kept)
    assert engine("cancel", "tiny/dense_continued-s0", store=store).returncode == 0
    wait(lambda: run.state() == "cancelled")


@pytest.mark.long
def test_a_killed_run_is_lost_and_goes_on(tiny_study, tmp_path: Path) -> None:
    path, store = tiny_study(LONG), tmp_path / "store"
    path.write_text(path.read_text().replace("epochs = 6", "epochs = 6\nretrain_epochs = 20"))
    process = subprocess.Popen(
        [sys.executable, "-m", "engine", "run", str(path), "--store", str(store), "--no-measure"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    run = Run(store / "tiny" / "magnitude-s0")
    wait(lambda: run.levels())
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert run.state() == "lost" and record.read_json(run.path / "config.json")
    assert engine("run", path, "--no-measure", "--resume", store=store).returncode == 0
    assert run.state() == "done" and len(run.levels()) == 9


def test_a_study_runs_from_file_to_table(tiny_study, tmp_path: Path) -> None:
    """The main job once, through the two commands that other programs call."""
    store = tmp_path / "store"
    assert (
        engine(
            "run", tiny_study('[[method]]\nrecipe = "magnitude"\nlevels = [0.9]'), "--no-measure", store=store
        ).returncode
        == 0
    )
    done = subprocess.run(
        [sys.executable, "-m", "analysis", "table", str(store), "--format", "json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    rows = json.loads(done.stdout)
    keys = [
        "study",
        "method",
        "recipe",
        "seed",
        "sparsity",
        "measured_sparsity",
        "language",
        "split",
        "metric",
        "value",
        "n",
        "low",
        "high",
    ]
    assert all(list(row)[: len(keys)] == keys for row in rows)
    assert {(row["method"], row["sparsity"]) for row in rows} == {
        ("dense", 0.0),
        ("dense_continued", 0.0),
        ("magnitude", 0.9),
    }
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)


def test_a_store_that_cannot_be_written_is_wrong_input(tmp_path: Path) -> None:
    from engine.commands.kept import keep
    from engine.config import ConfigError

    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="--store: must be a folder that can be written; got .*file"):
        keep("", tmp_path / "file" / "study", tmp_path)
