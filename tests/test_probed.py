"""Probes and masked-token loss against dense (M§6.10): the measure, its intervals, and what older runs lack."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from analysis import inference, probing
from analysis.measures.plan import Study
from analysis.measures.probed import MEAN, probed
from engine.record import Run
from tests import reference
from tests.synthetic import Shape, write_store

SHAPE = Shape(
    languages=3, seeds=2, items=24, natural=0, probe=60, classes=4, layers=1, width=8, levels=(0.5, 0.95), methods=("random", "magnitude"),
    activations=False, weights=False, probed=True,
)  # fmt: skip


def sides(seeds: int = 2, items: int = 80) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    weights = rng.integers(1, 6, items).astype(float)
    dense = weights * (2 + rng.random((seeds, items)))
    return dense, dense + weights * (0.3 + rng.normal(0, 0.4, (seeds, items))), weights


def test_contributions_average_to_the_ratio_and_its_interval() -> None:
    dense, state, weights = sides()
    found = probing.contributions(dense, state, weights, -1.0)
    assert found.shape == dense.shape
    assert found.mean() == pytest.approx(reference.probing_lost(dense, state, weights, -1.0), abs=1e-12)
    values = inference.replicates([found], 0)[:, 0]
    wanted = reference.ratio_interval(dense, state, weights, better=-1.0)
    assert np.quantile(values, [0.025, 0.975]) == pytest.approx(wanted, abs=0.02)
    ones = np.ones(dense.shape[1])
    assert probing.contributions(dense, state, ones) == pytest.approx(
        dense - state
    )  # unit weights: the plain difference
    assert (probing.contributions(dense, dense, weights) == 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": np.zeros(80)}, "weights: must be above 0; got 0"),
        ({"weights": np.ones(3)}, r"must be S×N, S×N and N; got \(2, 80\), \(2, 80\) and \(3,\)"),
        ({"state": np.full((2, 80), np.nan)}, "state: must be finite"),
    ],
)
def test_contributions_refuse(change: dict[str, np.ndarray], message: str) -> None:
    dense, state, weights = sides()
    with pytest.raises(ValueError, match=message):
        probing.contributions(**{"dense": dense, "state": state, "weights": weights, **change})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store"), SHAPE)


def test_every_language_beside_dense(store: Path) -> None:
    frame = probed(Study.read(store, SHAPE.study))
    assert len(frame) == 2 * 2 * 2 * 4  # methods, levels, kinds, three languages and their mean
    row = frame.query(
        "method == 'magnitude' and sparsity == 0.95 and kind == 'masked_token_loss' and language == 'de'"
    ).iloc[0]
    items = {
        name: [Run(store / SHAPE.study / f"{name}-s{seed}").level(level).frame("probing_items") for seed in (0, 1)]
        for name, level in (("dense", 0.0), ("magnitude", 0.95))
    }
    values = {
        name: np.array([part[(part["kind"] == "masked_token_loss") & (part["language"] == "de")].sort_values("id")["value"] for part in parts])
        for name, parts in items.items()
    }  # fmt: skip
    part = items["dense"][0]
    weights = part[(part["kind"] == "masked_token_loss") & (part["language"] == "de")].sort_values("id")["weight"]
    assert row["lost"] == pytest.approx(reference.probing_lost(values["dense"], values["magnitude"], weights, -1.0))
    assert (
        row["lost"] == pytest.approx(row["value"] - row["dense"]) and row["lost_low"] < row["lost"] < row["lost_high"]
    )
    low, high = reference.ratio_interval(values["dense"], values["magnitude"], weights, better=-1.0)
    assert (row["lost_low"], row["lost_high"]) == pytest.approx((low, high), abs=0.02)
    assert row["pretrained"] < row["dense"] and not np.isnan(row["continued"]) and np.isnan(row["chance"])
    probes = frame[frame["kind"] == "probe"]
    assert np.allclose(probes["lost"], probes["dense"] - probes["value"]) and set(probes["chance"].round(3)) == {0.333}
    mean = frame[frame["language"] == MEAN].iloc[0]
    same = frame[
        (frame["method"] == mean["method"]) & (frame["sparsity"] == mean["sparsity"]) & (frame["kind"] == mean["kind"])
    ]
    others = same[~same["language"].isin([MEAN, "en"])]
    assert len(others) == 2 and mean["lost"] == pytest.approx(others["lost"].mean())


def test_runs_that_kept_means_only_have_no_intervals(tmp_path: Path) -> None:
    old = write_store(tmp_path, dataclasses.replace(SHAPE, seeds=1))
    for path in [*old.rglob("probing_items.parquet"), *old.rglob("probing_pretrained.parquet")]:
        path.unlink()
    frame = probed(Study.read(old, SHAPE.study))
    assert len(frame) == 2 * 2 * 2 * 4 and frame["lost"].notna().all() and frame["lost_low"].isna().all()
    assert (frame["n"] > 1).all() and frame[["pretrained", "chance"]].isna().all(axis=None)


def test_a_study_that_two_versions_ran_is_compared_by_its_means(tmp_path: Path) -> None:
    mixed = write_store(tmp_path, dataclasses.replace(SHAPE, seeds=1))
    whole = probed(Study.read(mixed, SHAPE.study)).set_index(["method", "sparsity", "kind", "language"])
    for path in mixed.glob(f"{SHAPE.study}/dense-s*/levels/*/probing_items.parquet"):
        path.unlink()
    frame = probed(Study.read(mixed, SHAPE.study)).set_index(whole.index.names)
    assert np.allclose(frame["lost"], whole.loc[frame.index, "lost"], atol=1e-6) and len(frame) == len(whole)
    assert frame["lost_low"].isna().all()


def test_a_study_that_probes_nothing_has_no_rows(tmp_path: Path) -> None:
    store = write_store(tmp_path, dataclasses.replace(SHAPE, seeds=1, probed=False))
    assert probed(Study.read(store, SHAPE.study)).empty
