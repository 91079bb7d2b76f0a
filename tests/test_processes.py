"""One run over several processes: the one-process gradient, masks and scores, one writer, errors on all, resume."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine import config, device, processes, queue, runner
from engine.config import ConfigError
from engine.mirror import Mirror
from engine.record import Run
from engine.workbench import Workbench
from tests import pair, tiny_tasks
from tests.conftest import STUDY

ROOT = Path(__file__).parent.parent
METHODS = {
    "sequence": (
        "magnitude",
        "wanda",
        "fisher",
        "alignreg_cosine",
        "sdp_cc",
        "sdp_kld",
        "pins",
        "cap_m",
        "cap_f",
        "l0",
    ),
    "token": ("magnitude", "sdp_mse", "pins"),
    "joint": ("magnitude",),
    "choice": ("magnitude", "sdp_kld"),
    "qa": ("sdp_kld",),
}
AXES = {"l0": "strength = [1.0]", "cap_f": "levels = [0.5]"}


def methods(names: tuple[str, ...]) -> str:
    return "".join(f'[[method]]\nrecipe = "{name}"\n{AXES.get(name, "levels = [0.5]")}\n' for name in names)


def together(module: str, folder: Path, count: int = 2) -> list[subprocess.CompletedProcess[str]]:
    """Start processes that know one another, as a launcher does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    started = []
    for number in range(count):
        environment = {**os.environ, **{key: str(value) for key, value in world.items()}}
        environment |= {"RANK": str(number), "LOCAL_RANK": str(number), "OMP_NUM_THREADS": "1"}
        with (folder / f"err-{number}.txt").open("w") as log:
            command = [sys.executable, "-m", module, str(folder)]
            started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log))
    for process in started:
        process.wait(timeout=500)
    assert [process.returncode for process in started] == [0] * count, (folder / "err-0.txt").read_text()[-4000:]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path, tiny_checkpoint: Path) -> Path:
    """A folder with what two processes found, and the studies that they worked on."""
    folder = tmp_path_factory.mktemp("pair")
    for kind, names in METHODS.items():
        where = folder / f"gradients-{kind}"
        where.mkdir()
        study = config.load(tiny_tasks.study(where, kind, tiny_checkpoint, methods(names), epochs=1))
        assert runner.execute(runner.jobs(study, where / "store")[0], Workbench.open(study)) == "done"
    (folder / "runs").mkdir()
    text = STUDY.format(checkpoint=tiny_checkpoint, data=tiny_data, methods=methods(("fisher",)))
    text = text.replace("epochs = 6", "epochs = 1\ncheckpoint_minutes = 1e-9")
    (folder / "runs" / "study.toml").write_text(text, encoding="utf-8")
    together("tests.pair", folder)
    return folder


def found(done: Path, check: str, number: int) -> dict[str, Any]:
    path = done / f"{check}-{number}.npz"
    if path.exists():
        with np.load(path) as arrays:
            return dict(arrays)
    return dict(json.loads((done / f"{check}-{number}.json").read_text(encoding="utf-8")))


@pytest.mark.long
@pytest.mark.parametrize("kind", METHODS)
def test_masks_gradients_and_losses_are_those_of_one_process(kind: str, done: Path) -> None:
    compared = 0
    for name, alone in pair.gradients(done / f"gradients-{kind}" / "study.toml"):
        first, second = (found(done, f"{kind}-{name}", number) for number in (0, 1))
        assert first.keys() == second.keys() == alone.keys()
        largest = max(np.abs(value).max() for key, value in alone.items() if "/" not in key)
        for key, value in alone.items():
            assert np.array_equal(first[key], second[key]), (name, key)
            if key.startswith("mask/"):
                assert np.array_equal(first[key], value), (name, key)
                continue
            scale = np.abs(value).max()
            # Gradients that are sums to zero (a shift of all logits) are all rounding.
            assert np.abs(first[key] - value).max() <= 1e-5 * scale + 1e-6 * largest, (name, key, scale)
            compared += key.endswith("weight") and scale > 1e-4 * largest
    assert compared > 20 * len(METHODS[kind])


@pytest.mark.long
def test_dropout_is_every_process_own_and_repeats(done: Path) -> None:
    first, second = (found(done, "dropout", number) for number in (0, 1))
    for number, here in enumerate((first, second)):
        assert np.array_equal(here["logits/first"], here["logits/again"]), number
        assert not np.array_equal(here["logits/first"][0], here["logits/first"][1])  # one item, two processes
        assert np.array_equal(here["common/first"], first["common/again"])


@pytest.mark.long
def test_what_fails_on_one_fails_on_all(done: Path) -> None:
    first, second = (found(done, "failures", number) for number in (0, 1))
    for here in (first, second):
        for how in ("shared", "nested"):
            assert here[f"memory/{how}"] == "OutOfMemoryError: process 1: OutOfMemoryError: no room"
            assert here[f"other/{how}"] == "ProcessError: process 1: ValueError: no sense"
        assert "weights must be the same on all processes; those of processes 0 and 1 differ" in here["different"]
    assert (first["dealt"], second["dealt"]) == ("[1, 3]", "[2]")
    assert (first["share"], second["share"]) == ("[0, 1]", "[2]")


@pytest.mark.long
def test_a_lack_of_memory_on_one_parts_the_batch_on_all(done: Path) -> None:
    first, second = (found(done, "memory", number) for number in (0, 1))
    assert first["parts"] == second["parts"] == [8, 4, 4] and first["accumulate"] == second["accumulate"] == 2
    assert first["loss"] == second["loss"]


def levels(done: Path, store: str) -> list[tuple[str, Any]]:
    folder = done / "runs" / store / "tiny"
    return [
        (f"{path.name}/{level.path.name}", level) for path in sorted(folder.iterdir()) for level in Run(path).levels()
    ]


@pytest.mark.long
def test_runs_are_written_once_and_whole(done: Path) -> None:
    names = ["dense-s0", "dense_continued-s0", "fisher-s0"]
    assert found(done, "whole", 0) == found(done, "whole", 1) == dict.fromkeys(names, "done")
    for name in names:
        run = Run(done / "runs" / "whole" / "tiny" / name)
        assert run.state() == "done" and not (run.path / "checkpoint.safetensors").exists()
        assert json.loads((run.path / "env.json").read_text())["processes"] == 2
        steps = [line["cycle_step"] for line in run.metrics() if line["type"] == "validation"]
        assert steps == [0, 3, 6], name
        assert not [path for path in run.path.rglob(".*") if path.is_file()]
    for name, level in levels(done, "whole"):
        frame = level.frame("predictions")
        assert len(frame) == 96 and not frame.duplicated(["language", "split", "id"]).any(), name
        assert level.has("size.json") and level.size()["latency_ms_batch32"] > 0


@pytest.mark.long
def test_resume_is_bit_exact_over_two_processes(done: Path) -> None:
    assert "cancelled" in found(done, "stopped", 0).values()
    assert found(done, "resumed", 0) == found(done, "whole", 0)
    whole, parts = levels(done, "whole"), levels(done, "parts")
    assert [name for name, _ in whole] == [name for name, _ in parts] and len(whole) == 3
    for (name, ours), (_, theirs) in zip(whole, parts, strict=True):
        assert ours.frame("predictions")["margin"].tolist() == theirs.frame("predictions")["margin"].tolist(), name
    log = (done / "runs" / "parts" / "tiny" / "dense-s0" / "log.txt").read_text()
    assert "resumed at cycle 0, update" in log


@pytest.mark.long
def test_a_failure_of_one_ends_the_run_with_its_reason(done: Path) -> None:
    words = "ProcessError: process 1: ZeroDivisionError: division by zero; in step True"
    assert found(done, "broken", 0) == found(done, "broken", 1) == {"dense-s0": words}
    status = Run(done / "runs" / "broken" / "tiny" / "dense-s0").status()
    assert status and status["state"] == "failed" and status["reason"].startswith("process 1: ZeroDivisionError")


# -- one process, and what is refused --------------------------------------------------------------------------------


def test_one_process_does_its_work_and_nothing_more() -> None:
    assert processes.count() == 1 and processes.main()
    assert processes.dealt([1, 2, 3]) == [1, 2, 3] and processes.share(np.arange(3)).tolist() == [0, 1, 2]
    assert processes.shared(lambda: 4) == [4] and processes.in_step(lambda: 5) == 5
    tensor = torch.ones(2)
    processes.add_up([tensor])
    processes.check_same([tensor], "weights")
    assert tensor.tolist() == [1, 1]
    error = ValueError("as it is")
    with pytest.raises(ValueError, match="as it is"):
        processes.in_step(lambda: (_ for _ in ()).throw(error))


@pytest.mark.parametrize("kinds", [["a", "a", "b"], ["a"]])
def test_buckets_keep_order_and_type(kinds: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "BUCKET", 5)
    types = {"a": torch.float32, "b": torch.float64}
    tensors = [torch.ones(3, dtype=types[kind]) for kind in kinds] + [torch.ones(9)]
    buckets = list(processes._buckets(tensors))
    assert [tensor for bucket in buckets for tensor in bucket] == tensors
    assert all(len({tensor.dtype for tensor in bucket}) == 1 for bucket in buckets)
    assert all(len(bucket) == 1 or sum(tensor.numel() for tensor in bucket) <= 5 for bucket in buckets)


@pytest.mark.parametrize(("key", "word"), [("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")])
def test_launches_that_cut_matrices_are_refused(key: str, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(key, "true")
    with pytest.raises(ConfigError, match=f"must leave the model whole on every process; {word} cuts its matrices up"):
        device.accelerator("cpu", "fp32", False)


def test_a_numbered_device_is_refused_for_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"study.device: must be auto, cpu or cuda under accelerate launch"):
        device._refuse_launch("cuda:1")


def test_other_commands_want_one_process(tiny_study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="accelerate launch: must start one process, except for `run`"):
        Workbench.open(config.load(tiny_study()))


def test_a_configured_accumulation_does_not_scale_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    weight = torch.ones(1, requires_grad=True)
    device.accelerator("cpu", "fp32", False).backward(3 * weight)
    assert weight.grad is not None and weight.grad.item() == 3


def test_a_mirror_writes_nothing(tmp_path: Path) -> None:
    import pandas as pd

    run = Mirror(tmp_path / "tiny" / "dense-s0")
    run.begin({}), run.beat(step=0), run.log("x", 0, 0), run.say("x"), run.reopen(), run.finish("done")
    run.write_json("x", {}), run.write_frame("x", pd.DataFrame())
    for level in (run.level(0.5), run.level_at("levels", 0.5), run.level_at("strength", 2)):
        level.write_frame("x", pd.DataFrame()), level.write_arrays("x", {}), level.write_masks({}), level.write_size({})
    assert not list(tmp_path.iterdir()) and not run.stop_asked()


# -- as a user starts it ------------------------------------------------------------------------------------------------


def launcher(*arguments: object, count: int = 2) -> list[str]:
    """`accelerate launch`; --multi_gpu starts the processes on a machine without GPUs, too."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(count)]
    command += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    return [*command, "-m", "engine", *map(str, arguments)]


def launch(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        launcher(*arguments), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500, check=False
    )


@pytest.mark.long
def test_a_launched_study_equals_that_of_one_process(tiny_study: Callable[..., Path], tmp_path: Path) -> None:
    from transformers import AutoModel

    path = tiny_study(methods(("magnitude", "fisher", "sdp_cc")) + '[restoration]\nlevels = "last"\nitems = 6\n')
    calm = tmp_path / "calm"  # without dropout, which has to differ between processes
    model = AutoModel.from_pretrained(config.load(path).model.name, use_safetensors=True)
    model.config.hidden_dropout_prob = model.config.attention_probs_dropout_prob = 0.0
    model.save_pretrained(calm)
    for file in Path(config.load(path).model.name).glob("tokenizer*"):
        (calm / file.name).write_bytes(file.read_bytes())
    text = path.read_text().replace(config.load(path).model.name, str(calm)).replace("epochs = 6", "epochs = 2")
    path.write_text(text)
    launched = launch("run", path, "--store", tmp_path / "two")
    assert launched.returncode == 0, launched.stderr[-3000:]
    assert launched.stdout.count("5/5 tiny/sdp_cc-s0: done") == 1
    study = config.load(path)
    bench = Workbench.open(study)
    for job in runner.jobs(study, tmp_path / "one"):
        runner.execute(job, bench)
        other = Run(tmp_path / "two" / "tiny" / job.run.name)
        assert other.state() == "done"
        for ours, theirs in zip(job.run.levels(), other.levels(), strict=True):
            if ours.has("masks.safetensors"):
                masks = theirs.masks()
                assert all(np.array_equal(mask, masks[name]) for name, mask in ours.masks().items()), job.name
            margins = [level.frame("predictions")["margin"].to_numpy() for level in (ours, theirs)]
            assert np.abs(margins[0] - margins[1]).max() < 1e-3
            assert ours.frame("predictions")["id"].tolist() == theirs.frame("predictions")["id"].tolist()
            assert len(list(theirs.path.glob("measures/restoration-*"))) == (job.plan is not None)
    assert list((tmp_path / "two" / "tiny" / "measures").glob("*.parquet"))


@pytest.mark.long
def test_mistakes_are_said_once_and_sharding_is_refused(
    tiny_study: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    refused = launch("run", tiny_study(), "--store", tmp_path / "store")
    lines = [line for line in refused.stderr.splitlines() if "FSDP cuts its matrices up" in line]
    assert refused.returncode != 0 and len([line for line in lines if line.startswith("accelerate launch: must")]) == 1
    assert all(line.startswith(("accelerate launch", "process 1: ")) for line in lines)
    assert not (tmp_path / "store").exists()


@pytest.mark.long
@pytest.mark.parametrize("whole_group", [True, False])
def test_the_word_to_stop_reaches_every_process(
    whole_group: bool, tiny_study: Callable[..., Path], tmp_path: Path
) -> None:
    """The keyboard's goes to all processes at once, that of `cancel` to the main one, whose end ends the others."""
    path, store = tiny_study(), tmp_path / "store"
    path.write_text(path.read_text().replace("epochs = 6", "epochs = 1000"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = Run(store / "tiny" / "dense-s0")
    with (tmp_path / "out.txt").open("w") as log:
        command = launcher("run", path, "--store", store, "--no-measure")
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            end = time.monotonic() + 300
            while not any(line["type"] == "train" for line in run.metrics()):
                assert process.poll() is None and time.monotonic() < end, (tmp_path / "out.txt").read_text()
                time.sleep(0.2)
            if whole_group:
                os.killpg(process.pid, signal.SIGINT)
            else:
                assert queue.cancel(store, "tiny/dense-s0") == "stopping"
            assert process.wait(timeout=100) != 0
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    assert run.state() == "cancelled", (tmp_path / "out.txt").read_text()
    assert Run(store / "tiny" / "magnitude-s0").state() == "missing"
