"""Causal restoration (M§6.6): which part of a network carries the damage, by putting its dense weights back.

Two partitions of the parameters, each complete, so that single effects can be compared with the total one: `blocks`
(every repeated block with its norms and biases, and everything outside them) and `modules` (every kind of prunable
map with its bias, and all the rest). Of every part two models are evaluated: the pruned one with this part's dense
weights (`restore`), and the dense one with this part's pruned weights (`prune_only`). Both sides are needed, because
parts interact: what one restores may need another.

Written to the level's `measures/`: `restoration_items-<key>.parquet`, one row per model and item, from which analysis
makes intervals, and `restoration-<key>.parquet`, its means per language. What was computed before an interruption
stands in `restoration.partial.parquet` and is not computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from engine import evaluate, processes, record
from engine.config import ConfigError, RestorationSection
from engine.data import hash_order
from engine.export import find_level
from engine.model import blocks, matrices
from engine.recipes import CONTROLS
from engine.record import Level, RecordError, Run

if TYPE_CHECKING:
    from torch import Tensor, nn

    from engine.workbench import Workbench

VERSION = 1
ITEMS = RestorationSection().items  # per language: a block's effect is then known to about a tenth of its spread
DIRECTIONS = ("restore", "prune_only")
WHOLE = "whole"
REST = {"blocks": "outside the blocks", "modules": "norms, biases, embeddings, head"}
KEYS = ["partition", "part", "place", "direction"]
Report = Callable[[int, int, str], None]  # (done, of, what)


@dataclass(frozen=True)
class Part:
    """One part of a partition: the names of its parameters in the model's state."""

    partition: str
    part: str
    place: int
    names: frozenset[str]


def parts(model: nn.Module) -> list[Part]:
    """Both partitions of the model's state; every name is in exactly one part of each."""
    every = frozenset(model.state_dict())
    by_block = [(f"block {number}", _inside(model, block)) for number, block in enumerate(blocks(model))]
    by_kind: dict[str, set[str]] = {}
    for matrix in matrices(model):
        own = {name for name in every if name.rpartition(".")[0] == matrix.name}
        by_kind.setdefault(matrix.kind, set()).update(own)
    return [*_partition("blocks", by_block, every), *_partition("modules", list(by_kind.items()), every)]


def _inside(model: nn.Module, block: nn.Module) -> set[str]:
    prefix = next(name for name, module in model.named_modules() if module is block)
    return {name for name in model.state_dict() if name.startswith(f"{prefix}.")}


def _partition(name: str, found: list[tuple[str, set[str]]], every: frozenset[str]) -> Iterator[Part]:
    rest = every.difference(*(names for _, names in found))
    for place, (part, names) in enumerate([*found, (REST[name], rest)]):
        yield Part(name, part, place, frozenset(names))


def mixed(base: Mapping[str, Tensor], other: Mapping[str, Tensor], names: frozenset[str]) -> dict[str, Tensor]:
    """The state `base` with the parameters `names` taken from `other`."""
    if unknown := names.difference(base):
        raise ValueError(f"names: must be parameters of the state; got {', '.join(sorted(unknown)[:3])}")
    return {name: other[name] if name in names else value for name, value in base.items()}


def chosen(frame: pd.DataFrame, parallel: bool, most: int) -> np.ndarray:
    """Rows of the test split to evaluate: at most `most` items per language, chosen by a hash of the id.

    Where the set is parallel, ids that every language has come first, so that all languages get the same items.
    """
    if most < 1:
        raise ConfigError([f"--items: must be at least 1; got {most}"])
    rows = []
    test = frame[frame["split"] == "test"]
    common = set.intersection(*(set(group["id"]) for _, group in test.groupby("language"))) if parallel else set()
    for _, group in test.groupby("language", sort=False):
        order = hash_order(group["id"])
        first = group["id"].isin(common).to_numpy()[order]
        rows.append(group.index.to_numpy()[np.concatenate([order[first], order[~first]])[:most]])
    return np.sort(np.concatenate(rows))


def due(run: Run, asked: RestorationSection, seeds: Sequence[int]) -> list[Level]:
    """The finished levels of a run that a study asks to have taken apart.

    Those that kept their weights; none of a control, of a small student (which has no parts to exchange with the dense
    model), or of another seed than the first where only that is asked for.
    """
    if asked.levels == "none" or run.method in CONTROLS or (asked.seeds == "first" and run.seed != min(seeds)):
        return []
    kept = [level for level in run.levels() if level.has("weights.safetensors") and "shape" not in level.size()]
    return kept if asked.levels == "all" else kept[-1:]


def mixtures(model: nn.Module) -> int:
    """How many models a restoration evaluates: dense, pruned, and every part both ways."""
    return 2 + len(DIRECTIONS) * len(parts(model))


def restore(
    run: Run, sparsity: float | str, bench: Workbench, most: int = ITEMS, report: Report = lambda *_: None
) -> pd.DataFrame:
    """Measure every part of a level both ways and store the tables; returns the means per language.

    Needs the level's weights and those of its dense run, of the same shape: a student has no parts to exchange. A result
    that is stored already is returned as it is.
    """
    level = find_level(run, sparsity)
    _refuse_students(run, level)
    dense = _dense_level(run)
    folder = level.path / "measures"
    key = record.digest([VERSION, run.config().get("digest"), level.size(), dense.size(), most])
    final = folder / f"restoration-{key}.parquet"
    if final.exists():
        return record.read_frame(final)
    states = [_weights(side) for side in (level, dense)]
    _refuse_other_shapes(run, *states)
    tested = evaluate.test_frame(bench.data)
    frame = tested.iloc[chosen(tested, bench.data.parallel, most)].reset_index(drop=True)
    items = _evaluate(run, folder / "restoration.partial.parquet", key, states, frame, bench, report)
    means = summary(items)
    facts = {"study": run.study, "run": run.name, "method": run.method, "seed": run.seed, "level": level.path.name}
    facts["sparsity"] = level.sparsity
    tables = {
        name: pd.concat([pd.DataFrame(facts, index=table.index), table], axis=1)
        for name, table in (("restoration_items", items), ("restoration", means))
    }
    if processes.main():
        _store(folder, tables, key)
    return tables["restoration"]


def _store(folder: Path, tables: Mapping[str, pd.DataFrame], key: str) -> None:
    """Write the finished tables in the place of older ones."""
    for name, table in tables.items():
        record.write_frame(folder / f"{name}-{key}.parquet", table)
        _remove_older(folder, name, key)
    (folder / "restoration.partial.parquet").unlink(missing_ok=True)


def _dense_level(run: Run) -> Level:
    dense = Run(run.path.parent / f"dense-s{run.seed}").level(0.0)
    if run.method == "dense" or not dense.has("weights.safetensors"):
        raise RecordError(f"RUN: must be a pruned run whose dense run has weights; got {run.study}/{run.name}")
    return dense


def _refuse_students(run: Run, level: Level) -> None:
    if "shape" in level.size():
        raise RecordError(
            f"RUN: must have pruned the dense model's own matrices; {run.name} is a small model of other shapes, whose parts cannot be put back"
        )


def _weights(level: Level) -> dict[str, Tensor]:
    import torch

    return {name: torch.from_numpy(value) for name, value in level.arrays("weights").items()}


def _refuse_other_shapes(run: Run, pruned: Mapping[str, Tensor], dense: Mapping[str, Tensor]) -> None:
    shapes = [{name: tuple(value.shape) for name, value in side.items()} for side in (pruned, dense)]
    if shapes[0] != shapes[1]:
        raise RecordError(
            f"RUN: must have matrices of the dense model's shapes; {run.study}/{run.name} is another network"
        )


def _remove_older(folder: Path, name: str, key: str) -> None:
    for path in folder.glob(f"{name}-*.parquet"):
        if path.name != f"{name}-{key}.parquet":
            path.unlink(missing_ok=True)


def _evaluate(
    run: Run, partial: Path, key: str, states: list[dict[str, Tensor]], frame: pd.DataFrame, bench: Workbench,
    report: Report,
) -> pd.DataFrame:  # fmt: skip
    """Score every mixture that is not in `partial` yet; each is written there as soon as it is known."""
    model, encoded = bench.pretrained(run.seed), bench.encode(frame)
    pruned, dense = states
    work: list[tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor], frozenset[str]]] = []
    for name, state in (("pruned", pruned), ("dense", dense)):
        work.append(({"partition": WHOLE, "part": name, "place": 0, "direction": WHOLE}, state, state, frozenset()))
    for part in parts(model):
        keys = {"partition": part.partition, "part": part.part, "place": part.place}
        work.append(({**keys, "direction": "restore"}, pruned, dense, part.names))
        work.append(({**keys, "direction": "prune_only"}, dense, pruned, part.names))
    done = _begun(partial, key)
    known = set(zip(*(done[name] for name in KEYS), strict=True)) if len(done) else set()
    for number, (keys, base, other, names) in enumerate(work):
        report(number, len(work), f"{keys['part']}, {str(keys['direction']).replace('_', ' ')}")
        if tuple(keys[name] for name in KEYS) in known:
            continue
        model.load_state_dict(mixed(base, other, names))
        scored = evaluate.score(model, bench.data.type, frame, encoded, bench.data.labels, bench.handle)
        rows = evaluate.predictions(scored, frame)[0][["language", "id", "score", "margin"]].assign(**keys)
        done = pd.concat([done, rows], ignore_index=True) if len(done) else rows
        if processes.main():
            record.write_frame(partial, done.assign(key=key))
    report(len(work), len(work), "done")
    return done[[*KEYS, "language", "id", "score", "margin"]]


def _begun(partial: Path, key: str) -> pd.DataFrame:
    """What an interrupted restoration of the very same inputs left; a broken file counts as nothing."""
    try:
        found = record.read_frame(partial) if partial.exists() else pd.DataFrame()
    except RecordError:
        return pd.DataFrame()
    return found[found["key"] == key].drop(columns="key") if len(found) else found


def summary(items: pd.DataFrame) -> pd.DataFrame:
    """Means per part, direction and language: n, and score and margin of the dense, pruned and changed model.

    effect (and effect_margin): changed − pruned where the part was restored, dense − changed where it alone was
    pruned: positive where this part carries damage. total: dense − pruned; gap: total less the sum of the single
    effects of the partition, what the parts do together only.
    """
    means = items.groupby([*KEYS, "language"], sort=False)[["score", "margin"]].mean().reset_index()
    counts = items[items["part"] == "dense"].groupby("language").size()
    whole = means[means["partition"] == WHOLE].pivot(index="language", columns="part", values=["score", "margin"])
    rows = means[means["partition"] != WHOLE].copy()
    rows["n"] = rows["language"].map(counts)
    for kind, suffix in (("score", ""), ("margin", "_margin")):
        dense, pruned = (rows["language"].map(whole[(kind, side)]) for side in ("dense", "pruned"))
        restored = rows["direction"] == "restore"
        rows[f"dense{suffix}"], rows[f"pruned{suffix}"] = dense, pruned
        rows[f"changed{suffix}"] = rows[kind]
        rows[f"effect{suffix}"] = np.where(restored, rows[kind] - pruned, dense - rows[kind])
        rows[f"total{suffix}"] = dense - pruned
        together = rows.groupby(["partition", "direction", "language"])[f"effect{suffix}"].transform("sum")
        rows[f"gap{suffix}"] = rows[f"total{suffix}"] - together
    return rows.drop(columns=["score", "margin"]).reset_index(drop=True)


def lines(means: pd.DataFrame) -> Iterator[str]:
    """What the terminal says: per part the share of the lost margin that it recovers, mean over languages."""
    over = means.groupby(KEYS, sort=False)[["effect_margin", "total_margin", "effect", "total"]].mean().reset_index()
    for row in over.to_dict("records"):
        verb = "put back" if row["direction"] == "restore" else "pruned alone"
        share = (
            f"{row['effect_margin'] / row['total_margin']:.0%} of it" if row["total_margin"] > 0 else "nothing was lost"
        )
        yield (
            f"{row['partition']}: {row['part']} {verb}: margin {row['effect_margin']:+.3f} of {row['total_margin']:+.3f} ({share}), "
            f"score {100 * row['effect']:+.1f} of {100 * row['total']:+.1f} points"
        )
