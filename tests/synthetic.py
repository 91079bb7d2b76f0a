"""A synthetic store of run folders: complete, made of numpy alone, of any size, and with known effects inside.

Written through `engine.record`, file by file as the engine does it. Every language has its own quality, every method
its own robustness: the drop grows with sparsity, faster in poor languages and under `random`. States of one seed share
their items, classes and noise, so that pairing by id matters. For the tests of analysis and pages, and for benchmarks
of big stores:

    write_store(folder, Shape(languages=15, seeds=3, items=5000, layers=12, width=768, activations=False))
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine import record
from engine.probing import means
from engine.record import Level, Run
from engine.structured import Group
from engine.weights import heads, summary

LANGUAGES = ("en", "de", "fr", "es", "ru", "tr", "ar", "hi", "sw", "zh", "vi", "el", "th", "ur", "bg")
# Harm at full sparsity: the smaller, the better the method.
METHODS = {"random": 9.0, "magnitude": 5.0, "alignreg_cosine": 4.4, "sdp_cc": 3.8}
HARM = {**METHODS, "lamp": 4.7}
KINDS = ("query", "key", "value", "attention_output", "ffn_in", "ffn_out")
UPDATES = (240, 80)  # dense fine-tuning, and retraining after each level


@dataclass(frozen=True)
class Shape:
    """How big the store is. `natural` is the size of the second evaluated split, 0 for none."""

    study: str = "synthetic"
    languages: int = 4
    seeds: int = 2
    levels: tuple[float, ...] = (0.5, 0.9, 0.95)
    methods: tuple[str, ...] = tuple(METHODS)
    items: int = 120
    natural: int = 40
    probe: int = 64
    classes: int = 8
    layers: int = 2
    width: int = 32
    activations: bool = True
    weights: bool = True
    parallel: bool = True
    kept: bool = False  # weights of every level
    heads: int = 4  # attention heads per block; 0 as in runs of older versions
    probed: bool = False  # items of a probe on another task and of hidden tokens
    restored: bool = False  # items of a restoration beside the highest level of every method's first seed
    shuffle: bool = False  # write the rows of every level in another order
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def codes(self) -> tuple[str, ...]:
        return LANGUAGES[: self.languages]


def _rng(*parts: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32("/".join(map(str, parts)).encode()))


@dataclass
class World:
    """What all runs of a store share: items, their classes and difficulty, the dense weights of each seed."""

    shape: Shape

    @cached_property
    def splits(self) -> dict[str, np.ndarray]:
        """Ids per split."""
        sizes = {"test": self.shape.items, "natural": self.shape.natural}
        return {
            name: np.array([f"{name}-{number:05d}" for number in range(size)], dtype=object)
            for name, size in sizes.items()
            if size
        }

    def ids(self, split: str, code: str) -> np.ndarray:
        """The ids of a language: shared where the set is parallel."""
        ids = self.splits[split]
        return ids if self.shape.parallel else np.array([f"{code}:{name}" for name in ids], dtype=object)

    def gold(self, split: str) -> np.ndarray:
        return np.arange(len(self.splits[split])) % self.shape.classes

    def logits(self, split: str, code: str, seed: int, harm: float) -> np.ndarray:
        """Logits `N×C`: the gold class leads by the language's quality less the item's difficulty, shrunk by `harm`."""
        size, classes = len(self.splits[split]), self.shape.classes
        place = self.shape.codes.index(code)
        lead = 4.5 - 2.2 * place / max(1, len(LANGUAGES) - 1) - (0.8 if split == "natural" else 0.0)
        difficulty = _rng(split, "item").normal(0, 1.2, size)
        noise = _rng(split, code, seed).normal(0, 1, (size, classes))
        noise += 0.25 * harm * _rng(split, code, seed, round(harm, 3)).normal(0, 1, (size, classes))
        kept = np.exp(-harm * (0.14 + 0.12 * place / len(LANGUAGES)))  # towards guessing, never below it
        noise[np.arange(size), self.gold(split)] += (lead - difficulty) * kept
        return noise

    def states(self, code: str, seed: int, change: float, salt: str) -> np.ndarray:
        """Activations `N × L+1 × D` of the probe items: class centre, item and language parts, and noise of size `change`."""
        shape = self.shape
        depth, size, width = shape.layers + 1, shape.probe, shape.width
        gold = self.gold("test")[:size]
        centres = (
            _rng("centre").normal(0, 1, (depth, shape.classes, width)) * np.linspace(0.3, 1.5, depth)[:, None, None]
        )
        items = _rng("probe item").normal(0, 1, (depth, size, width))
        turn = _rng("seed", seed).normal(0, 1, (depth, width, width)) / np.sqrt(width) * 0.4 + np.eye(width)
        base = centres[:, gold] + items + _rng("language", code).normal(0, 0.7, (depth, 1, width))
        base = base + 0.5 * _rng("own", code).normal(0, 1, (depth, size, width))
        noise = _rng("noise", code, seed, salt).normal(0, 1, (depth, size, width))
        return np.ascontiguousarray(
            np.swapaxes((1 - 0.5 * change) * (base @ turn) + 1.6 * change * noise, 0, 1)
        ).astype(np.float16)

    def matrices(self, seed: int) -> dict[str, tuple[Any, np.ndarray]]:
        """Dense weights by name, with what `engine.weights.summary` asks of a matrix."""
        found = {}
        for layer in range(self.shape.layers):
            for kind in KINDS:
                rows, columns = {"ffn_in": (4, 1), "ffn_out": (1, 4)}.get(kind, (1, 1))
                size = (rows * self.shape.width, columns * self.shape.width)
                weight = _rng("weight", seed, layer, kind).standard_t(5, size).astype(np.float32) * 0.02
                found[f"encoder.layer.{layer}.{kind}"] = (_Matrix(layer, kind), weight)
        return found

    def heads(self) -> list[Group]:
        """Where the heads of every block lie in its matrices."""
        width, names = (
            self.shape.width // self.shape.heads,
            [f"encoder.layer.{layer}" for layer in range(self.shape.layers)],
        )
        return [
            Group(layer, "head", self.shape.heads, width, {f"{name}.{kind}": (0,) for kind in ("query", "key", "value")}, {f"{name}.attention_output": (0,)})
            for layer, name in enumerate(names)
        ]  # fmt: skip


@dataclass(frozen=True)
class _Matrix:
    layer: int
    kind: str


def write_store(folder: Path, shape: Shape | None = None) -> Path:
    """Write the study into the store `folder` and return it."""
    shape = shape or Shape()
    world = World(shape)
    for seed in range(shape.seeds):
        write_run(folder, world, "dense", seed)
        write_run(folder, world, "dense_continued", seed)
        for method in shape.methods:
            write_run(folder, world, method, seed)
    (folder / shape.study / "study.toml").write_text(_study_text(shape), encoding="utf-8")
    record.write_json(folder / shape.study / "study.json", {"schema": record.SCHEMA, "base": str(folder)})
    return folder


def write_run(
    folder: Path, world: World, method: str, seed: int, state: str | None = "done", levels: int | None = None
) -> Run:
    """Write one run; `state` None leaves it without a status, `levels` writes only the first ones."""
    shape = world.shape
    run = Run(folder / shape.study / f"{method}-s{seed}")
    run.path.mkdir(parents=True, exist_ok=True)
    run.begin(_config(shape, method, seed))
    record.write_json(
        run.path / "env.json",
        {"python": "3.11", "versions": {}, "device": "cpu", "device_type": "cpu", "bit_exact": True},
    )
    record.write_frame(run.path / "text.parquet", _text(world))
    run.say("attempt 1 on cpu")
    for number, level, sparsity in _levels(run, method, shape)[:levels]:
        _validation(run, method, number, sparsity, seed)
        _level(world, level, method, seed, number, sparsity)
    run.beat(step=1, total=1, phase="done", attempt=1)
    if state:
        run.finish(state, seconds=12.5)
    return run


def _config(shape: Shape, method: str, seed: int) -> dict[str, Any]:
    control = method in ("dense", "dense_continued")
    facts: dict[str, Any] = {
        "study": shape.study, "method": method, "seed": seed, "model": {"name": "bundled", "head": "new"},
        "task": {"name": "bundled-intent"}, "train": {"epochs": 3, "evaluations": 4}, "calibration": {}, "probe": {"examples": shape.probe},
        "precision": "fp32", "type": "sequence", "metric": "accuracy", "labels": _labels(shape), "languages": list(shape.codes),
        "sources": ["en"], "splits": ["test", "natural"] if shape.natural else ["test"], "parallel": shape.parallel, "notes": [],
        "data_digest": "0" * 16, "max_length": 64, "recipe": method,
    }  # fmt: skip
    if control:
        return {
            **facts,
            "levels": [0.0],
            "cycles": len(shape.levels) if method == "dense_continued" else 0,
            **shape.extra,
        }
    criterion = "random" if method == "random" else "magnitude"
    plan = {
        "name": method,
        "recipe": method,
        "criterion": {"name": criterion, "parameters": {}},
        "allocation": "global",
        "levels": list(shape.levels),
    }
    return {**facts, "levels": list(shape.levels), "plan": plan, "overrides": {}, **shape.extra}


def _labels(shape: Shape) -> list[str]:
    return [f"intent-{number:02d}" for number in range(shape.classes)]


def _levels(run: Run, method: str, shape: Shape) -> list[tuple[int, Level, float]]:
    """(cycle, folder, sparsity) of every level in order."""
    if method == "dense":
        return [(0, run.level(0.0), 0.0)]
    if method == "dense_continued":
        return [(k, run.level(0.0, f"-u{_updates(k)}"), 0.0) for k in range(1, len(shape.levels) + 1)]
    return [(k, run.level(sparsity), sparsity) for k, sparsity in enumerate(shape.levels, 1)]


def _updates(cycle: int) -> int:
    return UPDATES[0] + cycle * UPDATES[1]


def harm(method: str, sparsity: float, seed: int) -> float:
    """How much a method harms at a sparsity (0: not at all); a little of it depends on the seed."""
    if method not in HARM:
        return 0.0
    return HARM[method] * sparsity**4 * (1 + 0.05 * (seed % 3))


def _level(world: World, level: Level, method: str, seed: int, cycle: int, sparsity: float) -> None:
    shape = world.shape
    lost = harm(method, sparsity, seed) - (0.05 * cycle if method == "dense_continued" else 0.0)
    order = _rng("order", method, seed, cycle) if shape.shuffle else None
    rows, details = _predictions(world, seed, lost, order)
    level.write_frame("predictions", rows)
    level.write_frame("details", details)
    if shape.activations:
        change = 0.12 * lost + (0.05 * cycle if method == "dense_continued" else 0.0)
        frame, arrays = _probe(world, seed, min(0.95, change), f"{method}/{cycle}", order)
        level.write_frame("probe", frame)
        level.write_arrays("activations", arrays)
    if shape.probed:
        items = _probed(world, seed, lost)
        level.write_frame("probing_items", items)
        level.write_frame("probing", means(items))
        if method == "dense":
            level.write_frame("probing_pretrained", _probed(world, seed, -0.3))
    removed, total = _write_weights(world, level, method, seed, sparsity)
    record.write_json(level.path / "size.json", _size(level, removed, total, sparsity, _updates(cycle)))
    if shape.restored and sparsity == max(shape.levels) and seed == 0:
        record.write_frame(
            level.path / "measures" / f"restoration_items-{'0' * 16}.parquet", _restoration(world, method, sparsity)
        )


def _predictions(
    world: World, seed: int, lost: float, order: np.random.Generator | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    keys, scored = [], []
    for split in world.splits:
        gold = world.gold(split)
        for code in world.shape.codes:
            logits = world.logits(split, code, seed, lost)
            others = logits.copy()
            others[np.arange(len(gold)), gold] = -np.inf
            predicted = logits.argmax(1)
            exponents = np.exp(logits - logits.max(1, keepdims=True))
            ids = world.ids(split, code)
            keys.append(pd.DataFrame({"language": code, "split": split, "id": ids}))
            scored.append(
                (
                    gold,
                    predicted,
                    logits[np.arange(len(gold)), gold] - others.max(1),
                    exponents / exponents.sum(1, keepdims=True),
                )
            )
    gold, predicted, margin, probabilities = (np.concatenate(part) for part in zip(*scored, strict=True))
    correct = (gold == predicted).astype(np.float64)
    labels = np.array(_labels(world.shape), dtype=object)
    frame = pd.concat(keys, ignore_index=True)
    rows = frame.assign(
        group_id=frame["id"],
        score=correct,
        margin=margin,
        stats=list(np.stack([correct, gold, predicted], 1).astype(np.float64)),
    )
    text = [f"{code} text {name}" for code, name in zip(frame["language"], frame["id"], strict=True)]
    details = frame.assign(
        label=labels[gold], predicted=labels[predicted], probabilities=list(probabilities.astype(np.float32)), text=text
    )
    if order is not None:
        shuffled = order.permutation(len(frame))
        return rows.iloc[shuffled], details.iloc[shuffled]
    return rows, details


def _probe(
    world: World, seed: int, change: float, salt: str, order: np.random.Generator | None
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    labels, gold = np.array(_labels(world.shape), dtype=object), world.gold("test")[: world.shape.probe]
    frames, arrays = [], {}
    for code in world.shape.codes:
        rows = np.arange(world.shape.probe) if order is None else order.permutation(world.shape.probe)
        ids = world.ids("test", code)[: world.shape.probe]
        frames.append(pd.DataFrame({"language": code, "id": ids[rows], "label": labels[gold][rows], "word": -1}))
        states = world.states(code, seed, change, salt)
        arrays[f"{code}/mean"] = states[rows]
        first = states * np.float16(0.5)
        first[:, 0] = first[0, 0]  # the first token is the same in every text before the first block
        arrays[f"{code}/first"] = first[rows]
    return pd.concat(frames, ignore_index=True), arrays


def _probed(world: World, seed: int, lost: float) -> pd.DataFrame:
    """A probe that answers less the more was lost, and hidden tokens that cost more; both harm later languages more."""
    frames = []
    for place, code in enumerate(world.shape.codes):
        ids = [f"other-{number:03d}" for number in range(world.shape.probe)]
        draw, noise = (_rng("probed", code, *more).random(len(ids)) for more in ((), (seed, round(lost, 3))))
        right = (draw + 0.1 * noise < 0.75 - 0.08 * lost * (1 + place)).astype(float)
        hidden = _rng("hidden", code).integers(1, 5, len(ids)).astype(float)
        labels = [f"label-{number % 3}" for number in range(len(ids))]
        for task, kind, value, weight, label in (
            ("other-task", "probe", right, 1.0, labels),
            (
                "pretraining",
                "masked_token_loss",
                hidden * (3 + 0.2 * lost * (1 + place) + draw + 0.2 * noise),
                hidden,
                "",
            ),
        ):
            facts = {
                "task": task,
                "kind": kind,
                "language": code,
                "id": ids,
                "label": label,
                "value": value,
                "weight": weight,
            }
            frames.append(pd.DataFrame(facts))
    return pd.concat(frames, ignore_index=True)


def _write_weights(world: World, level: Level, method: str, seed: int, sparsity: float) -> tuple[int, int]:
    """Masks and `weights.parquet` of a level; returns (weights removed, weights in all)."""
    dense = world.matrices(seed)
    total = sum(weight.size for _, weight in dense.values())
    if not world.shape.weights:
        return round(sparsity * total), total
    scores = {
        name: _rng(method, seed, name).random(weight.shape) if method == "random" else np.abs(weight)
        for name, (_, weight) in dense.items()
    }
    pooled = np.concatenate([score.ravel() for score in scores.values()])
    count = round(sparsity * total)
    bound = np.partition(pooled, count)[count] if count else -np.inf
    masks = {name: score >= bound for name, score in scores.items()}
    pruned = {name: (matrix, weight * masks[name]) for name, (matrix, weight) in dense.items()}
    reference = None if method == "dense" else {name: weight for name, (_, weight) in dense.items()}
    level.write_frame("weights", summary(pruned, reference))
    if world.shape.heads:
        level.write_frame("heads", heads(world.heads(), pruned, reference))
    if sparsity:
        level.write_masks(masks)
    if world.shape.kept:
        level.write_arrays("weights", {f"{name}.weight": weight for name, (_, weight) in pruned.items()})
    return int(sum((~mask).sum() for mask in masks.values())), total


def _restoration(world: World, method: str, sparsity: float) -> pd.DataFrame:
    """Items as `engine.restore` writes them: the last block, and the FFN, carry most of the damage; parts overlap a little."""
    shape = world.shape
    most = min(32, shape.items)
    partitions = {"blocks": [f"block {number}" for number in range(shape.layers)], "modules": list(KINDS)}
    models: list[tuple[tuple[str, str, int, str], float]] = [
        (("whole", "pruned", 0, "whole"), 1.0),
        (("whole", "dense", 0, "whole"), 0.0),
    ]
    for partition, names in partitions.items():
        shares = np.linspace(0.5, 1.5, len(names)) / len(names)
        for place, (name, share) in enumerate(zip(names, shares, strict=True)):
            models.append(((partition, name, place, "restore"), 1 - 0.9 * share))
            models.append(((partition, name, place, "prune_only"), 0.7 * share))
    frames = []
    for keys, harmed in models:
        for code in shape.codes:
            logits = world.logits("test", code, 0, harm(method, sparsity, 0) * harmed)[:most]
            gold = world.gold("test")[:most]
            others = logits.copy()
            others[np.arange(most), gold] = -np.inf
            margin = logits[np.arange(most), gold] - others.max(1)
            columns = dict(zip(("partition", "part", "place", "direction"), keys, strict=True))
            scored = {"id": world.ids("test", code)[:most], "score": (margin > 0).astype(float), "margin": margin}
            frames.append(pd.DataFrame({"language": code, **scored, **columns}))
    return pd.concat(frames, ignore_index=True)


def _size(level: Level, removed: int, total: int, sparsity: float, updates: int) -> dict[str, Any]:
    whole, encoder = 4 * total, total + total // 100
    return {
        "parameters": whole, "encoder_parameters": encoder, "prunable_parameters": total, "removed": removed, "nonzeros": whole - removed,
        "sparsity_prunable": removed / total, "sparsity_encoder": removed / encoder, "sparsity_model": removed / whole,
        "bytes_dense_fp32": 4 * whole, "macs_per_token_dense": total, "macs_per_token_nonzero": total - removed, "updates": updates,
        "requested_sparsity": sparsity, "latency_ms_batch32": 8.0, "bytes_weights": 0,
        "bytes_masks": (level.path / "masks.safetensors").stat().st_size if level.has("masks.safetensors") else 0,
    }  # fmt: skip


def _validation(run: Run, method: str, cycle: int, sparsity: float, seed: int) -> None:
    """The validation and training lines of one cycle, the score rising from right after the mask to its best."""
    updates = UPDATES[1] if cycle else UPDATES[0]
    before = _updates(cycle) - updates
    best, start = (
        (0.95 - 0.04 * harm(method, sparsity, seed), 0.9 - 0.08 * harm(method, sparsity, seed))
        if cycle
        else (0.95, 0.1)
    )
    for point in np.linspace(0, updates, 5).round().astype(int).tolist():
        score = best - (best - start) * np.exp(-4 * point / updates)
        run.log("validation", before + point, 1, level=sparsity, cycle=cycle, cycle_step=point, score=float(score))
        if point:
            run.log(
                "train",
                before + point,
                1,
                level=sparsity,
                cycle=cycle,
                cycle_step=point,
                loss=float(1.2 - score),
                examples_per_second=900.0,
            )


def _text(world: World) -> pd.DataFrame:
    frames = []
    for split in world.splits:
        for place, code in enumerate(world.shape.codes):
            ids = world.ids(split, code)
            words = (
                1 + _rng(split, "words").integers(3, 9, len(ids))
                if code not in ("zh", "th")
                else np.ones(len(ids), dtype=np.int64)
            )
            characters = 6 * (1 + _rng(split, "words").integers(3, 9, len(ids)))
            tokens = 2 + np.ceil(characters / 6 * (1.1 + 0.08 * place)).astype(np.int64)
            columns = {
                "tokens": tokens,
                "words": words,
                "characters": characters,
                "truncated": tokens > 15 + place // 4,
                "unknown": (tokens > 14).astype(int),
            }
            frames.append(pd.DataFrame({"language": code, "split": split, "id": ids, **columns}))
    return pd.concat(frames, ignore_index=True)


def _study_text(shape: Shape) -> str:
    lines = [
        "[study]",
        f'name = "{shape.study}"',
        f"seeds = {list(range(shape.seeds))}",
        'device = "cpu"',
        "[task]",
        'name = "bundled-intent"',
    ]
    for method in shape.methods:
        lines += ["[[method]]", f'recipe = "{method}"', f"levels = {list(shape.levels)}"]
    return "\n".join(lines) + "\n"


BIG = Shape(
    study="big", languages=12, seeds=3, levels=(0.3, 0.5, 0.7, 0.8, 0.9, 0.95), methods=tuple(HARM), items=400, natural=100, probe=96,
    classes=12, layers=4, width=48, restored=True,
)  # fmt: skip


def main() -> None:
    """`make big-store`: a store of 12 languages × 5 methods × 6 levels × 3 seeds, measured but for UMAP maps."""
    import sys

    from analysis.measures import NAMES, Request, Wish, measure

    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m tests.synthetic STORE")
    store = Path(sys.argv[1])
    write_store(store, BIG)
    print(f"{store / BIG.study} written", flush=True)
    problems = measure(store, BIG.study, Wish(only=tuple(name for name in NAMES if name != "map")))
    problems += measure(store, BIG.study, Wish(only=("map",), map=Request("pca")))
    if problems:
        raise SystemExit("\n".join(problems))


if __name__ == "__main__":
    main()
