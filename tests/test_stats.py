"""Statistics for criteria: against plain loops, unchanged by padding, and no hooks or gradients left behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from engine import config, stats
from engine import model as models
from engine.data import Encoded
from engine.workbench import Workbench


@pytest.fixture()
def bench(tiny_study) -> Workbench:
    return Workbench.open(config.load(tiny_study()))


def test_input_norm_is_the_plain_sum_over_real_tokens(bench: Workbench) -> None:
    model = bench.pretrained(0)
    found = models.matrices(model)
    rows = np.arange(10)
    collected = stats.collect(
        model, bench.data.type, found, frozenset({"weight", "input_norm"}), bench.train, rows, torch.device("cpu")
    )
    seen: dict[str, torch.Tensor] = {}
    matrix = found[4]
    total = torch.zeros(matrix.weight_OI().shape[1], dtype=torch.float64)
    handle = matrix.module.register_forward_pre_hook(lambda _, args: seen.update(x=args[0].double()))
    with torch.no_grad():
        for row in rows:  # one by one, so that there is no padding at all
            model(**models.inputs(bench.train.batch([row], torch.device("cpu"))))
            total += (seen["x"] ** 2).sum((0, 1))
    handle.remove()
    assert torch.allclose(collected[matrix.name]["input_norm"].double(), total.sqrt(), rtol=1e-5)


def test_added_padding_changes_nothing(bench: Workbench) -> None:
    model = bench.pretrained(0)
    found = models.matrices(model)
    short = np.argsort(bench.train.lengths())[:4]
    longest = int(np.argmax(bench.train.lengths()))
    needs = frozenset({"weight", "input_norm"})

    def norms(rows: list[int]) -> torch.Tensor:
        out = stats.collect(model, bench.data.type, found, needs, bench.train, np.array(rows), torch.device("cpu"))
        return out[found[0].name]["input_norm"] ** 2

    together = norms([*short, longest])
    apart = norms(list(short)) + norms([longest])
    assert torch.allclose(together, apart, rtol=1e-4)


def test_gradients_are_sums_and_mean_squares_over_batches(bench: Workbench) -> None:
    model = bench.pretrained(0)
    found = models.matrices(model)
    rows = np.arange(40)  # 16 + 16 + 8
    collected = stats.collect(
        model, bench.data.type, found, frozenset({"grad", "grad_sq"}), bench.train, rows, torch.device("cpu")
    )
    grads = []
    for part in (rows[:16], rows[16:32], rows[32:]):
        model.zero_grad()
        batch = bench.train.batch(part, torch.device("cpu"))
        torch.nn.functional.cross_entropy(model(**models.inputs(batch)).logits, batch["targets"]).backward()
        grads.append(found[2].module.weight.grad.double().clone())
    assert torch.allclose(collected[found[2].name]["grad"].double(), sum(grads), atol=1e-6)
    assert torch.allclose(collected[found[2].name]["grad_sq"].double(), sum(g**2 for g in grads) / 3, atol=1e-9)


def test_nothing_is_left_behind(bench: Workbench) -> None:
    model = bench.pretrained(0)
    model.train()
    stats.collect(
        model,
        bench.data.type,
        models.matrices(model),
        frozenset({"grad", "input_norm"}),
        bench.train,
        np.arange(4),
        torch.device("cpu"),
    )
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(("equalise", "expected"), [("examples", {"a": 10, "b": 10}), ("tokens", {"a": 20, "b": 6})])
def test_calibration_gives_every_language_its_share(equalise: str, expected: dict[str, int]) -> None:
    frame = pd.DataFrame({"language": ["a"] * 100 + ["b"] * 100})
    lengths = np.array([5] * 100 + [15] * 100)
    order = np.random.default_rng(0).permutation(200)
    rows = stats.calibration_rows(frame, lengths, order, 20, equalise)
    counts = frame.iloc[rows]["language"].value_counts().to_dict()
    assert counts == expected
    if equalise == "tokens":
        totals = [lengths[rows][frame.iloc[rows]["language"] == code].sum() for code in expected]
        assert max(totals) - min(totals) <= 15


def test_encoded_batches_pad_to_their_own_longest() -> None:
    encoded = Encoded([[1, 2], [3, 4, 5], [6]], np.array([0, 1, 0]), pad=9)
    batch = encoded.batch([2, 0], torch.device("cpu"))
    assert batch["input_ids"].tolist() == [[6, 9], [1, 2]]
    assert batch["attention_mask"].tolist() == [[1, 0], [1, 1]]
    assert "token_type_ids" not in batch


def test_data_driven_recipes_run(tiny_study, tmp_path: Path) -> None:
    from engine import runner

    names = ("wanda", "fisher", "gradient_magnitude", "lookahead", "lamp")
    path = tiny_study("".join(f'[[method]]\nrecipe = "{name}"\nlevels = [0.6]\n' for name in names))
    study = config.load(path)
    bench = Workbench.open(study)
    for job in runner.jobs(study, tmp_path / "store"):
        runner.execute(job, bench)
        if job.plan:
            sparsity = job.run.levels()[0].size()["sparsity_prunable"]
            assert sparsity == pytest.approx(0.6, abs=0.02 if job.plan.allocation == "row" else 1e-4)
