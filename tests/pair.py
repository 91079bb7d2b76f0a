"""What each of several processes does in `test_processes.py`: `python -m tests.pair FOLDER` under RANK and WORLD_SIZE.

Every check writes arrays or words to FOLDER as `<check>-<number>.npz` or `.json`, so that the test can compare them
with each other and with what one process computes, by the same functions.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

# Rows of a batch, and the parts it is added up from: shares alike, one more on the first process, one process idle.
BATCHES = {"even": (list(range(8)), 1), "odd": ([5, 0, 2], 1), "one": ([4], 1), "parts": (list(range(8)), 2)}


def open_bench(path: Path) -> Any:
    from engine import config
    from engine.workbench import Workbench

    return Workbench.open(config.load(path), several=True)


def gradients(path: Path) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Per method of a study and batch of `BATCHES`: masks of the first level, gradients and logged facts, dropout off.

    Needs the study's dense runs. What the method compares with is that of its arm.
    """
    from engine import runner, trainer
    from engine.arm import Arm
    from engine.context import Context
    from engine.device import reseed

    bench = open_bench(path)
    for job in runner.watched(runner.jobs(bench.study, path.parent / "store")):
        if job.plan is None:
            continue
        arm = Arm.of(Context(job, bench, lambda *_: None, 1))
        arm.begin(1, None)
        value = arm.plan.values[0]
        pruning, guidance = arm.pruning(1, value, 12, False), arm.guidance()
        guidance.cycle_begins(12, value, arm.target(1, value, 12))
        if hasattr(guidance, "_teach"):
            guidance._teach(arm.model.state_dict())  # as after a refresh: at first there is no teacher to compare with
        masks = {f"mask/{name}": keep.numpy() for name, keep in (pruning.masked.masks_OI() or {}).items()}
        arm.model.eval()  # dropout differs between processes, and has to
        for name, (rows, parts) in BATCHES.items():
            reseed("pair")
            arm.model.zero_grad(set_to_none=True)
            with pruning.view(training=True):
                facts = trainer._gradients(
                    arm.model, bench.data.type, bench.train, np.array(rows), guidance, bench.handle, parts
                )
            found = {key: p.grad.numpy().copy() for key, p in arm.model.named_parameters() if p.grad is not None}
            yield f"{job.run.method}-{name}", masks | found | {f"fact/{key}": np.array(x) for key, x in facts.items()}


def dropout(path: Path) -> dict[str, np.ndarray]:
    """Outputs in training mode, of the same item on every process, and what the common generator gives afterwards."""
    import torch

    from engine import processes
    from engine.device import reseed

    bench = open_bench(path)
    model = bench.pretrained(0)
    model.train()
    found = {}
    for turn in ("first", "again"):
        reseed("pair")
        # Two items: one for each process.
        logits, _, _ = processes.network(model, bench.data.type, bench.train, np.array([3, 3]), bench.handle)
        found[f"logits/{turn}"] = logits.detach().numpy().copy()
        found[f"common/{turn}"] = torch.rand(3).numpy()
    return found


def failures(path: Path) -> dict[str, str]:
    """What every process hears of a failure, and of a lack of memory, on the second one."""
    import torch

    from engine import processes

    def fails(error: Exception) -> Any:
        def work() -> int:
            if processes.number() == 1:
                raise error
            return 1

        return work

    found = {}
    for name, error in (("memory", torch.OutOfMemoryError("no room")), ("other", ValueError("no sense"))):
        for how in ("shared", "nested"):
            work = fails(error)
            try:
                processes.in_step(work if how == "shared" else lambda work=work: processes.in_step(work))
            except Exception as caught:
                found[f"{name}/{how}"] = f"{type(caught).__name__}: {caught}"
    different = torch.ones(2) + processes.number()
    try:
        processes.check_same([different], "weights")
    except processes.ProcessError as caught:
        found["different"] = str(caught)
    found["dealt"] = repr(processes.dealt([1, 2, 3]))
    found["share"] = repr(processes.share(np.arange(3)).tolist())
    return found


def memory(path: Path) -> dict[str, Any]:
    """A step whose second process once lacks memory: both halve the batch and go on."""
    import torch

    from engine import processes, trainer
    from engine.guidance import Guidance
    from engine.masked import Masked
    from engine.plan import Part
    from engine.pruning import Pruning

    bench = open_bench(path)
    model = bench.pretrained(0).eval()
    kind, settings, seen = bench.data.type, bench.settings({}, 1), []

    class Tight(Guidance):
        def loss(self, task_loss: Any, seen_: Any) -> Any:
            seen.append(len(seen_.items))
            if processes.number() == 1 and len(seen) == 1:
                raise torch.OutOfMemoryError("no room")
            return task_loss, {}

    step = trainer._step(
        model, kind, bench.train, np.arange(8), settings, Tight(Part("none", {})), Pruning(Masked([])), bench.handle,
        trainer.make_optimizer(model, settings), 0, 10, 1,
    )  # fmt: skip
    return {"parts": seen, "accumulate": step[1], "loss": step[0]["loss"]}


def runs(path: Path, store: str, stop: int | None = None, fail: str = "") -> dict[str, str]:
    """Do a study's runs; stop at the given checkpoint, or let evaluation fail on the second process."""
    from engine import evaluate, processes, runner, trainer
    from engine.record import Cancelled

    bench, whole, count = open_bench(path), trainer.snapshot, []
    if stop is not None:

        def snapshot(*args: Any) -> Any:
            count.append(1)
            if len(count) == stop:
                raise Cancelled
            return whole(*args)

        trainer.snapshot = snapshot  # type: ignore[assignment]
    scoring = evaluate.score
    if fail and processes.number() == 1:

        def broken(*args: Any) -> Any:
            processes.in_step(lambda: 1 / 0)

        evaluate.score = broken  # type: ignore[assignment]
    elif fail:

        def working(*args: Any) -> Any:
            processes.in_step(lambda: 1)

        evaluate.score = working  # type: ignore[assignment]
    found = {}
    try:
        for job in runner.watched(runner.jobs(bench.study, path.parent / store)):
            try:
                found[job.run.name] = runner.execute(job, bench)
            except Cancelled:
                found[job.run.name] = "cancelled"
                break
            except Exception as error:
                found[job.run.name] = f"{type(error).__name__}: {error}; in step {runner.in_step(error)}"
                break
    finally:
        trainer.snapshot, evaluate.score = whole, scoring  # type: ignore[assignment]
    processes.wait()
    return found


def main(folder: Path) -> None:
    """Do all checks that the folder has studies for."""
    warnings.simplefilter("error")
    from engine import processes

    number = None

    def say(check: str, found: Any) -> None:
        arrays = any(isinstance(value, np.ndarray) for value in found.values())
        if arrays:
            np.savez(folder / f"{check}-{number}.npz", **found)
        else:
            (folder / f"{check}-{number}.json").write_text(json.dumps(found), encoding="utf-8")

    for study in sorted(folder.glob("gradients-*/study.toml")):
        open_bench(study)
        number = processes.number()
        kind = study.parent.name.partition("-")[2]
        for name, found in gradients(study):
            say(f"{kind}-{name}", found)
    study = folder / "runs" / "study.toml"
    say("dropout", dropout(study))
    say("failures", failures(study))
    say("memory", memory(study))
    say("whole", runs(study, "whole"))
    say("stopped", runs(study, "parts", stop=5))
    say("resumed", runs(study, "parts"))
    say("broken", runs(study, "broken", fail="evaluation"))
    processes.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
