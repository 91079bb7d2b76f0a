"""The runs of a study on a Ray cluster: order, resources, retries, stopping; with a stand-in for ray, and once with ray itself."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from engine import cluster, config, queue, record, runner
from engine.config import ConfigError
from engine.progress import Display
from engine.record import Run

ROOT = Path(__file__).parent.parent
TAKES = {"num_cpus": 1, "num_gpus": 0}


# -- a stand-in -----------------------------------------------------------------------------------------------------


class Promise:
    """The result of a task, computed when it is waited for."""

    def __init__(self, name: str, work: Callable[[], Any]) -> None:
        self.name, self._work, self._result, self.over = name, work, None, False

    def result(self) -> Any:
        if not self.over:
            self.over = True
            try:
                self._result = self._work()
            except Exception as error:
                self._result = error
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


class FakeRay(ModuleType):
    """What `engine.cluster` uses of ray: tasks that run when they are waited for, their arguments first."""

    def __init__(self, gpus: float = 0, missing: str = "") -> None:
        super().__init__("ray")
        self.gpus, self.missing = gpus, missing
        self.submitted: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = []
        self.addresses: list[str] = []
        self.cancelled: list[str] = []
        self.interrupt_after: int | None = None

    def is_initialized(self) -> bool:
        return bool(self.addresses) and not self.missing

    def init(self, address: str, **_: Any) -> None:
        self.addresses.append(address)
        if self.missing:
            raise ConnectionError(self.missing)

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 4.0} | ({"GPU": self.gpus} if self.gpus else {})

    def remote(self, **options: Any) -> Callable[[Callable[..., Any]], Any]:
        fake = self

        class Remote:
            def __init__(self, function: Callable[..., Any], name: str = "") -> None:
                self.function, self.name = function, name

            def options(self, name: str) -> Remote:
                return Remote(self.function, name)

            def remote(self, *arguments: Any) -> Promise:
                fake.submitted.append((self.name, options, arguments))

                def work() -> Any:
                    return self.function(*(a.result() if isinstance(a, Promise) else a for a in arguments))

                return Promise(self.name, work)

        return Remote

    def wait(self, promises: list[Promise], num_returns: int, timeout: float) -> tuple[list[Promise], list[Promise]]:
        if timeout == 0:
            return [p for p in promises if p.over], [p for p in promises if not p.over]
        ended = []
        for promise in promises[:num_returns]:
            if self.interrupt_after == 0:
                self.interrupt_after = None
                raise KeyboardInterrupt
            if self.interrupt_after:
                self.interrupt_after -= 1
            if promise.name not in self.cancelled:
                try:
                    promise.result()
                except Exception:  # the caller asks for it by `get`
                    assert promise.over
            ended.append(promise)
        return ended, [promise for promise in promises if promise not in ended]

    def get(self, promise: Promise) -> Any:
        return promise.result()

    def cancel(self, promise: Promise) -> None:
        self.cancelled.append(promise.name)


@pytest.fixture()
def study(tiny_study: Callable[..., Path]) -> config.Study:
    return config.load(tiny_study())


def finish(run: Run, state: str, **facts: Any) -> None:
    run.path.mkdir(parents=True, exist_ok=True)
    run.finish(state, **facts)


# -- what is planned ------------------------------------------------------------------------------------------------


def test_dense_runs_come_first_and_the_others_wait_for_their_own(
    tiny_study: Callable[..., Path], tmp_path: Path
) -> None:
    study = config.load(tiny_study())
    study = study.model_copy(update={"study": study.study.model_copy(update={"seeds": [0, 1]})})
    jobs = runner.jobs(study, tmp_path)
    found = [(task.name, task.after) for task in cluster.tasks(jobs, TAKES)]
    assert found[:2] == [("tiny/dense-s0", None), ("tiny/dense-s1", None)] and len(found) == 6
    assert dict(found)["tiny/magnitude-s1"] == dict(found)["tiny/dense_continued-s1"] == "tiny/dense-s1"
    finish(jobs[0].run, "done")
    left = [(task.name, task.after) for task in cluster.tasks(jobs, TAKES)]
    assert ("tiny/magnitude-s0", None) in left and ("tiny/magnitude-s1", "tiny/dense-s1") in left and len(left) == 5


@pytest.mark.parametrize(
    ("device", "gpus", "found"),
    [
        ("auto", 0, ("cpu", {"num_cpus": 1, "num_gpus": 0})),
        ("auto", 8, ("cuda", {"num_cpus": 1, "num_gpus": 1})),
        ("cuda", 1, ("cuda", {"num_cpus": 1, "num_gpus": 1})),
        ("cpu", 8, ("cpu", {"num_cpus": 1, "num_gpus": 0})),
    ],
)
def test_a_run_takes_a_gpu_or_a_core(device: str, gpus: float, found: Any) -> None:
    assert cluster.resources(device, gpus) == found


@pytest.mark.parametrize(
    ("device", "gpus", "words"),
    [("cuda:1", 8, "must be auto, cpu or cuda on a cluster"), ("cuda", 0, "must be auto or cpu on this cluster")],
)
def test_devices_that_a_cluster_cannot_give(device: str, gpus: float, words: str) -> None:
    with pytest.raises(ConfigError, match=f"study.device: {words}"):
        cluster.resources(device, gpus)


# -- how it is reached ------------------------------------------------------------------------------------------------


def test_without_ray_the_command_says_how_to_get_it(
    tiny_study: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from engine.__main__ import app

    monkeypatch.setitem(sys.modules, "ray", None)
    asked = ["run", str(tiny_study()), "--store", str(tmp_path / "store"), "--executor"]
    done = CliRunner().invoke(app, [*asked, "ray"])
    assert done.exit_code == 2 and "pip install -r requirements-cluster.txt" in done.stderr
    done = CliRunner().invoke(app, [*asked, "slurm"])
    assert done.exit_code == 2 and "executor: must be local or ray; got 'slurm'" in done.stderr
    assert not (tmp_path / "store").exists()
    assert "ray==" in (ROOT / "requirements-cluster.txt").read_text()


@pytest.mark.parametrize(("variable", "address"), [("ray://head:10001", "ray://head:10001"), ("", "auto")])
def test_the_cluster_is_the_one_that_is_named_or_here(
    variable: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setenv("RAY_ADDRESS", variable)
    assert cluster.connect() is fake and fake.addresses == [address]
    assert cluster.connect() is fake and fake.addresses == [address]


def test_no_cluster_is_a_mistake_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", FakeRay(missing="nobody there"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(
        ConfigError, match=r"a running cluster at 'auto'; nobody there: start one with `ray start --head`"
    ):
        cluster.connect()


# -- what a task does -------------------------------------------------------------------------------------------------


def stored(study: config.Study, store: Path) -> list[runner.Job]:
    from engine.commands.kept import keep

    text = (study.base / "study.toml").read_text(encoding="utf-8")
    keep(text, store / study.study.name, study.base)
    jobs = runner.jobs(study, store)
    for job in jobs:
        job.run.path.mkdir(parents=True)
    return jobs


def test_a_task_does_a_run_and_says_how_it_ended(study: config.Study, tmp_path: Path) -> None:
    dense, _, method = stored(study, tmp_path)
    assert cluster.perform(str(tmp_path), dense.name, "cpu") == "done"
    assert dense.run.state() == "done" and dense.run.levels()
    assert cluster.perform(str(tmp_path), method.name, "cpu", "failed") == "failed"
    status = method.run.status()
    assert status and status["reason"] == "tiny/dense-s0 is failed: resume it first"


def test_what_has_ended_is_not_tried_again(
    study: config.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense = stored(study, tmp_path)[0]
    monkeypatch.setattr(runner, "execute_stored", lambda *_: pytest.fail("must not run"))
    finish(dense.run, "cancelled")
    assert cluster.perform(str(tmp_path), dense.name, "cpu") == "cancelled"
    dense.run.reopen()
    dense.run.ask_to_stop()
    assert cluster.perform(str(tmp_path), dense.name, "cpu") == "cancelled"
    assert dense.run.state() == "cancelled"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), record.Cancelled()])
def test_a_stopped_task_is_no_reason_to_try_again(
    error: BaseException, study: config.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense = stored(study, tmp_path)[0]
    monkeypatch.setattr(runner, "execute", lambda *_: (_ for _ in ()).throw(error))
    assert cluster.perform(str(tmp_path), dense.name, "cpu") == "cancelled"
    assert dense.run.state() == "cancelled"


def test_a_failure_is_written_and_not_raised(
    study: config.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense = stored(study, tmp_path)[0]
    monkeypatch.setattr(runner, "execute", lambda *_: (_ for _ in ()).throw(ValueError("no sense")))
    assert cluster.perform(str(tmp_path), dense.name, "cpu") == "failed"
    status = dense.run.status()
    assert status and status["reason"] == "no sense"


def test_a_store_that_is_not_shared_is_said(tmp_path: Path) -> None:
    with pytest.raises(record.RecordError, match="store: must be on a file system that all machines share"):
        cluster.perform(str(tmp_path), "tiny/dense-s0", "cpu")


# -- the driver ---------------------------------------------------------------------------------------------------------


def drive(
    fake: FakeRay, study: config.Study, store: Path, monkeypatch: pytest.MonkeyPatch, perform: Callable[..., str]
) -> list[str]:
    monkeypatch.setattr(cluster, "perform", perform)
    jobs = runner.jobs(study, store)
    with Display(len(jobs)) as display:
        return cluster.run_all(fake, jobs, store, study, display)


def test_tasks_carry_their_options_and_wait_for_the_dense_run(
    study: config.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake, calls = FakeRay(), []
    monkeypatch.setenv("HF_HOME", "/shared/hub")

    def perform(store: str, name: str, device: str, before: str) -> str:
        calls.append((name, device, before))
        finish(Run(Path(store) / name), "done")
        return "done"

    assert drive(fake, study, tmp_path, monkeypatch, perform) == []
    assert calls == [(f"tiny/{name}-s0", "cpu", "done") for name in ("dense", "dense_continued", "magnitude")]
    assert [name for name, _, _ in fake.submitted] == [name for name, _, _ in calls]
    for _, options, _ in fake.submitted:
        assert options["max_retries"] == cluster.RETRIES > 0 and options["max_calls"] == 1
        assert options["num_gpus"] == 0 and options["num_cpus"] == 1
        variables = options["runtime_env"]["env_vars"]
        assert variables["HF_HOME"] == "/shared/hub" and variables["PYTHONPATH"] == str(ROOT)
    assert isinstance(fake.submitted[1][2][3], Promise) and fake.submitted[0][2][3] == "done"
    assert "3/3 tiny/magnitude-s0: done" in capsys.readouterr().out
    again = FakeRay()
    assert drive(again, study, tmp_path, monkeypatch, perform) == [] and not again.submitted


def test_runs_that_fail_or_die_are_named_with_their_reason(
    study: config.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def perform(store: str, name: str, device: str, before: str) -> str:
        run = Run(Path(store) / name)
        if run.method == "dense":
            finish(run, "failed", reason="the disk is full")
            return "failed"
        if run.method == "magnitude":
            raise RuntimeError("The node died.\n\nThe worker was lost 4 times")
        finish(run, "failed", reason=f"dense is {before}")
        return "failed"

    assert drive(FakeRay(), study, tmp_path, monkeypatch, perform) == [
        "tiny/dense-s0: the disk is full",
        "tiny/dense_continued-s0: dense is failed",
        "tiny/magnitude-s0: The worker was lost 4 times",
    ]
    assert Run(tmp_path / "tiny" / "magnitude-s0").state() == "failed"


def test_the_keyboard_stops_every_task(study: config.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeRay()
    fake.interrupt_after = 1

    def perform(store: str, name: str, device: str, before: str) -> str:
        finish(Run(Path(store) / name), "done")
        return "done"

    with pytest.raises(KeyboardInterrupt):
        drive(fake, study, tmp_path, monkeypatch, perform)
    states = {job.run.method: job.run.state() for job in runner.jobs(study, tmp_path)}
    assert states == {"dense": "done", "dense_continued": "cancelled", "magnitude": "cancelled"}
    assert fake.cancelled == ["tiny/dense_continued-s0", "tiny/magnitude-s0"]
    assert Run(tmp_path / "tiny" / "magnitude-s0").stop_asked()


# -- stopping a run on another machine ------------------------------------------------------------------------------------


def test_a_run_elsewhere_is_asked_by_a_mark_and_stops(
    study: config.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.workbench import Workbench

    monkeypatch.setattr("engine.context.BEAT_SECONDS", 0.0)  # a tiny run may end within one beat
    job = runner.jobs(study, tmp_path)[0]
    seen: list[str] = []

    def report(name: str, fraction: float, phase: str) -> None:
        seen.append(phase)
        if phase.startswith("training") and not job.run.stop_asked():
            job.run.ask_to_stop()

    with pytest.raises(record.Cancelled):
        runner.execute(job, Workbench.open(study), report)
    assert job.run.state() == "cancelled" and seen
    assert runner.execute(job, Workbench.open(study)) == "done" and not job.run.stop_asked()


def test_another_machines_process_numbers_mean_nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path / "tiny" / "dense-s0")
    run.beat(step=1, total=2)
    beat = run.heartbeat()
    assert beat and record.here(beat)
    record.write_json(run.path / "heartbeat.json", {**beat, "host": "another", "pid": 2**22 + 1})
    assert run.state() == "running" and run.state(time.time() + 100) == "lost"
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("must not signal a stranger"))
    assert queue.cancel(tmp_path, "tiny/dense-s0") == "stopping" and run.stop_asked()


# -- with ray itself --------------------------------------------------------------------------------------------------


LOCAL = """
import sys, ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
from engine.__main__ import app
app()
"""


@pytest.fixture()
def on_ray(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the command on a cluster of this machine with two cores, in a process of its own."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed: pip install -r requirements-cluster.txt")
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"}
        command = [sys.executable, "-c", LOCAL, *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **pipes))  # type: ignore[call-overload]
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait(condition: Callable[[], Any], process: subprocess.Popen[str], seconds: float = 400) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)


@pytest.mark.long
def test_a_study_on_a_cluster_survives_a_dead_worker(
    tiny_study: Callable[..., Path], tmp_path: Path, on_ray: Callable[..., subprocess.Popen[str]]
) -> None:
    path, store = tiny_study(), tmp_path / "store"
    text = path.read_text().replace("epochs = 6", "epochs = 60\nretrain_epochs = 1\ncheckpoint_minutes = 1e-9")
    path.write_text(text)
    process = on_ray("run", path, "--store", store, "--executor", "ray")
    dense = Run(store / "tiny" / "dense-s0")
    wait(lambda: (dense.path / "checkpoint.safetensors").exists(), process)
    beat = dense.heartbeat()
    assert beat
    os.kill(int(beat["pid"]), signal.SIGKILL)
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err
    assert "3/3 tiny/" in out
    runs = [Run(store / "tiny" / f"{name}-s0") for name in ("dense", "dense_continued", "magnitude")]
    assert [run.state() for run in runs] == ["done"] * 3
    assert {line["attempt"] for line in dense.metrics()} == {1, 2} and "resumed at cycle 0" in (
        dense.path / "log.txt"
    ).read_text()
    assert list((store / "tiny" / "measures").glob("*.parquet"))
    assert json.loads((dense.path / "env.json").read_text())["device_type"] == "cpu"


@pytest.mark.long
def test_an_interrupted_driver_leaves_cancelled_runs(
    tiny_study: Callable[..., Path], tmp_path: Path, on_ray: Callable[..., subprocess.Popen[str]]
) -> None:
    path, store = tiny_study(), tmp_path / "store"
    path.write_text(path.read_text().replace("epochs = 6", "epochs = 1000"))
    process = on_ray("run", path, "--store", store, "--executor", "ray", "--no-measure")
    dense = Run(store / "tiny" / "dense-s0")
    wait(lambda: any(line["type"] == "train" for line in dense.metrics()), process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 1 and "interrupted: what was finished is kept; --resume goes on" in err
    states = {name: Run(store / "tiny" / f"{name}-s0").state() for name in ("dense", "dense_continued", "magnitude")}
    assert set(states.values()) == {"cancelled"}, states
