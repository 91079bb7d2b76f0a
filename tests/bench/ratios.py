"""`make bench`: the budgets as ratios of two things timed in turn in one process, medians, on this machine.

Not a test: nothing here passes or fails, because a busy machine is no defect. Sizes are those of XLM-R base unless
`--small` is given.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

SMALL = "--small" in sys.argv


@dataclass(frozen=True)
class Row:
    """One line of the table: what was measured, against what, the ratio (or seconds) and the budget."""

    work: str
    against: str
    value: float
    budget: float
    unit: str = "×"


def medians(first: Callable[[], object], second: Callable[[], object], repeats: int = 5) -> tuple[float, float]:
    """Median seconds of each, timed in turn after one round to warm up."""
    times: tuple[list[float], list[float]] = ([], [])
    for round_ in range(repeats + 1):
        for work, kept in zip((first, second), times, strict=True):
            started = time.perf_counter()
            work()
            if round_:
                kept.append(time.perf_counter() - started)
    return statistics.median(times[0]), statistics.median(times[1])


def selection() -> Iterator[Row]:
    """Exact global selection and masking against torch's own pruning, and against one read of the weights."""
    from torch.nn.utils import prune

    from engine import mask

    width, blocks = (256, 2) if SMALL else (768, 12)
    generator = torch.Generator().manual_seed(0)
    shapes = [(width, width)] * 4 + [(4 * width, width), (width, 4 * width)]
    weights = {
        f"{block}.{index}": torch.randn(shape, generator=generator)
        for block in range(blocks)
        for index, shape in enumerate(shapes)
    }
    scores = {name: weight.abs() for name, weight in weights.items()}

    def ours() -> None:
        mask.zero_removed(weights, mask.select(scores, 0.9))

    def theirs() -> None:
        layers = []
        for weight in weights.values():
            layer = torch.nn.Linear(1, 1, bias=False)
            layer.weight = torch.nn.Parameter(weight)
            layers.append((layer, "weight"))
        prune.global_unstructured(layers, prune.L1Unstructured, amount=0.9)

    def read() -> None:
        for weight in weights.values():
            weight.sum()

    mine, other = medians(ours, theirs, 3)
    yield Row("select + mask, global, 90%", "torch.nn.utils.prune.global_unstructured", mine / other, 1 / 200)
    mine, once = medians(ours, read, 5)
    yield Row("select + mask, global, 90%", "one read of the weights", mine / once, 10)


def _workbench() -> tuple[object, ...]:
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    from engine import model as models
    from engine.data import Encoded
    from engine.device import accelerator
    from engine.masked import Masked
    from engine.tasks.types import task_type

    width, layers = (192, 4) if SMALL else (768, 12)
    config = XLMRobertaConfig(
        vocab_size=8000, hidden_size=width, num_hidden_layers=layers, num_attention_heads=width // 64 * 2 or 2, intermediate_size=4 * width,
        max_position_embeddings=130, type_vocab_size=1, pad_token_id=1, num_labels=16,
    )  # fmt: skip
    torch.manual_seed(0)
    model = XLMRobertaForSequenceClassification(config)
    model.set_attn_implementation("eager")
    generator = np.random.default_rng(0)
    encoded = Encoded(
        [generator.integers(5, 8000, 64).tolist() for _ in range(32)], generator.integers(0, 16, 32), pad=1
    )
    masked = Masked(models.matrices(model))
    return model, task_type("sequence"), encoded, masked, accelerator


def steps() -> Iterator[Row]:
    """Masked training steps with objectives against the plain step of the same precision."""
    from engine import guidance, trainer
    from engine.criteria import CRITERIA
    from engine.masked import Masked
    from engine.objectives import OBJECTIVES
    from engine.plan import Part
    from engine.pruning import Gradual, Pruning
    from engine.teacher import Teacher

    model, kind, encoded, masked, accelerator = _workbench()
    settings = trainer.Settings(1, 32, 1e-5, 0.01, 0.1, 1.0, 8, 5)
    rows = np.arange(32)
    handle = accelerator("cpu", "auto", False)
    teacher = Teacher.of(model, encoded, kind, handle)
    reference = guidance.reference_weights(model, masked.matrices)
    optimizer = trainer.make_optimizer(model, settings)
    model.train()

    def step(guide: guidance.Guidance, pruning: Pruning, how: object) -> Callable[[], object]:
        return lambda: trainer._step(
            model, kind, encoded, rows, settings, guide, pruning, how, optimizer, 0, 10, 1
        )  # fmt: skip

    def part(name: str) -> Part:
        return Part(name, OBJECTIVES[name].defaults())

    nothing = guidance.Guidance(part("none"))
    plain = step(nothing, Pruning(Masked([])), handle)
    masks = {matrix.name: torch.rand(matrix.weight_OI().shape) > 0.5 for matrix in masked.matrices}
    masked.set(masks)
    pins = CRITERIA["pins"]
    state = pins.function(**pins.defaults())
    shared = (model, encoded, kind, handle)
    own = guidance.SelfRegularised(part("self_regularised"), *shared, np.arange(32), 32, lambda rows: 0.0, True)
    own.teacher = teacher
    many = 4096 + len(rows)  # as many others as the contrast asks for
    banks = {name: torch.randn(many, model.config.hidden_size).half() for name in ("pretrained", "finetuned")}
    cap = guidance.Contrasted(
        part("cap"), model, range(many), kind, handle, teacher, banks, np.arange(many) % 16, iterative=True
    )  # fmt: skip
    cases = (
        ("none", nothing, Pruning(masked), 1.03),
        ("alignreg_cosine", guidance.Anchored(part("alignreg_cosine"), reference), Pruning(masked), 1.05),
        ("sdp_cc", guidance.Distilled(part("sdp_cc"), teacher), Pruning(masked), 1.05),
        ("pins", own, Gradual(masked, pins, state, lambda *_: masks, lambda _: 0.5, [10**9]), 1.10),
        ("cap", cap, Pruning(masked), 1.15),
    )
    for name, guide, pruning, budget in cases:
        mine, other = medians(step(guide, pruning, handle), plain)
        yield Row(f"masked training step, {name}", "plain step, same precision", mine / other, budget)
    precision = handle.mixed_precision  # Accelerate's state is one for the process: the next handle changes it
    full = accelerator("cpu", "fp32", False)
    mine, other = medians(plain, step(nothing, Pruning(Masked([])), full))
    yield Row(f"training step, precision auto ({precision})", "fp32 step", mine / other, 0.5)


def compaction() -> Iterator[Row]:
    """A model without half of its heads and neurons against the dense one, on the blocks of XLM-R base, 32 × 64 tokens."""
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    from engine import structured

    width, layers = (192, 4) if SMALL else (768, 12)
    config = XLMRobertaConfig(
        vocab_size=8000, hidden_size=width, num_hidden_layers=layers, num_attention_heads=width // 32 if SMALL else width // 64,
        intermediate_size=4 * width, max_position_embeddings=130, type_vocab_size=1, pad_token_id=1, num_labels=16,
    )  # fmt: skip
    torch.manual_seed(0)
    dense = XLMRobertaForSequenceClassification(config).eval()
    dense.set_attn_implementation("eager")
    groups = structured.unit_groups(dense)
    compact = structured.compact(dense, {group.key: torch.arange(group.count) % 2 == 0 for group in groups})
    tokens = {"input_ids": torch.randint(5, 8000, (32, 64)), "attention_mask": torch.ones(32, 64, dtype=torch.long)}
    with torch.no_grad():
        mine, other = medians(lambda: compact(**tokens), lambda: dense(**tokens))
    yield Row("half of heads and neurons compacted away", "dense latency", mine / other, 0.55)


def alignment() -> Iterator[Row]:
    """13 × 13 debiased CKA against its 26 Gram products alone."""
    from analysis.similarity import cka_matrix

    generator = np.random.default_rng(0)
    n, width, layers = (128, 192, 5) if SMALL else (512, 768, 13)
    xs = generator.normal(size=(layers, n, width)).astype(np.float32)
    ys = generator.normal(size=(layers, n, width)).astype(np.float32)

    def grams() -> None:
        for x in (*xs, *ys):
            x @ x.T

    mine, other = medians(lambda: cka_matrix(list(xs), list(ys)), grams)
    yield Row(f"{layers} × {layers} debiased CKA, n={n}, D={width}", "its Gram products alone", mine / other, 2)


def start() -> Iterator[Row]:
    """`python -m engine list`, a cold process each time."""

    def run() -> None:
        subprocess.run([sys.executable, "-m", "engine", "list", "--store", "none"], check=True, capture_output=True)

    mine, _ = medians(run, lambda: None)
    yield Row("python -m engine list", "–", mine, 0.3, "s")


def main() -> None:
    """Measure and print."""
    table = Table(title=f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    for column in ("work", "measured against", "value", "budget"):
        table.add_column(column)
    for measure in (start, alignment, compaction, selection, steps):
        for row in measure():
            print(
                f"{row.work}: {row.value:.4f} {row.unit}", flush=True
            )  # a run that is cut short has said what it knew
            table.add_row(row.work, row.against, f"{row.value:.4f} {row.unit}", f"{row.budget:.4f} {row.unit}")
    Console().print(table)


if __name__ == "__main__":
    main()
