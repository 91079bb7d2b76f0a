"""Probes on other tasks and the masked-token loss (M§6.10): frozen features, the same hidden tokens in every state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine import config, probing, structured
from engine.model import load_masked_lm
from engine.workbench import Workbench

STUDY = """
[study]
name = "x"
seeds = [0]
device = "cpu"
precision = "fp32"
[task]
name = "bundled-intent"
languages = ["en", "de", "sw"]
max_length = 48
limits = { train = 64, test = 24, natural = 4 }
[probe]
examples = 8
[probing]
tasks = ["bundled-pair"]
[[method]]
recipe = "magnitude"
levels = [0.5]
"""


@pytest.fixture(scope="module")
def bench() -> Workbench:
    return Workbench.open(config.parse(STUDY, Path()))


def test_every_language_of_the_other_task_is_probed(bench: Workbench) -> None:
    items = probing.probing_items(bench, bench.pretrained(0))
    assert list(items.columns) == probing.ITEMS and not items.duplicated(["task", "language", "id"]).any()
    frame = probing.means(items)
    assert list(frame.columns) == probing.COLUMNS
    probes = frame[frame["kind"] == "probe"]
    assert set(probes["task"]) == {"bundled-pair"} and len(probes) == 12 and (probes["n"] == probing.MOST_TEST).all()
    assert probes["value"].between(0, 1).all()
    losses = frame[frame["kind"] == "masked_token_loss"]
    assert set(losses["language"]) == {"en", "de", "sw"} and (losses["value"] > 0).all()


def test_the_same_state_gives_the_same_numbers_and_damage_raises_the_loss(bench: Workbench) -> None:
    model = bench.pretrained(0)
    first, again = (_losses(bench, model) for _ in range(2))
    assert first == again
    with torch.no_grad():
        for parameter in model.base_model.encoder.parameters():
            parameter.mul_(0.2)
    harmed = _losses(bench, model)
    assert all(harmed[code] > first[code] for code in first)


def test_the_loss_is_the_plain_one_of_the_checkpoint(bench: Workbench) -> None:
    whole = load_masked_lm(bench.path)
    assert whole is not None
    frame, encoded = bench.probe_items, bench.probe[1]
    total, count = {}, {}
    for item, (code, name) in enumerate(zip(frame["language"], frame["id"], strict=True)):
        ids = encoded.tokens[item]
        batch = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        hidden = probing._hidden(frame.iloc[[item]], batch, bench.tokenizer)[0].numpy()
        seen = [bench.tokenizer.mask_token_id if gone else token for token, gone in zip(ids, hidden, strict=True)]
        with torch.no_grad():
            logs = whole(torch.tensor([seen])).logits[0].double().log_softmax(-1)
        for place in np.flatnonzero(hidden):
            total[code] = total.get(code, 0.0) - float(logs[place, ids[place]])
            count[code] = count.get(code, 0) + 1
        assert hidden.any() and not hidden[0] and not hidden[-1], name
    found = _losses(bench, bench.pretrained(0))
    assert found == pytest.approx({code: total[code] / count[code] for code in total}, abs=1e-4)


def test_a_small_student_is_measured_under_a_head_on_its_own_shape(bench: Workbench) -> None:
    student = structured.shrink(bench.pretrained(0), 0.2)
    assert all(np.isfinite(value) for value in _losses(bench, student).values())


@pytest.mark.parametrize(
    ("tasks", "message"),
    [('["bundled-tags"]', "probing.tasks: must be among"), ('["none.toml"]', "probing.tasks: must be a study file; got none.toml")],
)  # fmt: skip
def test_tasks_that_cannot_be_probed_are_refused(tasks: str, message: str) -> None:
    with pytest.raises(config.ConfigError) as caught:
        config.parse(STUDY.replace('["bundled-pair"]', tasks), Path())
    assert any(line.startswith(message) for line in caught.value.problems)


def _losses(bench: Workbench, model: torch.nn.Module) -> dict[str, float]:
    return probing.means(probing._masked_token_loss(bench, model)).set_index("language")["value"].to_dict()
