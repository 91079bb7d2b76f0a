"""analysis.measures: what is stored and when, and that its numbers are those of the plain functions."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from typer.testing import CliRunner

from analysis import inference, measures, separability, similarity, tables
from analysis.__main__ import app
from analysis.items import Items, collect
from analysis.measures import bands, blocks, drops, files, maps, plan, work
from analysis.measures.classes import SHUFFLES, leave_one_out_centroid
from analysis.measures.states import Snapshot, matched
from engine.record import RecordError, Run
from tests.synthetic import Shape, World, write_run, write_store

SMALL = Shape(
    languages=3,
    seeds=2,
    levels=(0.5, 0.9),
    methods=("random", "magnitude", "sdp_cc"),
    items=60,
    natural=20,
    probe=24,
    classes=4,
    layers=1,
    width=8,
)
WITHOUT_UMAP = measures.Wish(only=tuple(name for name in measures.NAMES if name != "map"))
NAME = "synthetic"


def quiet(_: str) -> None:
    """Say nothing."""


def run_measure(store: Path, wish: measures.Wish = WITHOUT_UMAP) -> list[str]:
    return measures.measure(store, NAME, wish, workers=1, say=quiet)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = write_store(tmp_path_factory.mktemp("store"), SMALL)
    assert run_measure(store) == []
    return store


@pytest.fixture(scope="module")
def items(store: Path) -> Items:
    return collect(store, NAME)


def level_of(store: Path, run: str, sparsity: float) -> tuple[Run, Path]:
    found = Run(store / NAME / run)
    return found, found.level(sparsity).path


def row_of(frame: pd.DataFrame, **wanted: object) -> pd.Series:
    for column, value in wanted.items():
        frame = frame[frame[column] == value]
    assert len(frame) == 1
    return frame.iloc[0]


# -- degradation ---------------------------------------------------------------------------------------------------


def test_drops_are_those_of_the_paired_bootstrap(store: Path, items: Items) -> None:
    frame = measures.read_study(store, NAME, "degradation")
    assert len(frame) == 2 * 3 * 2 * 3
    for method, code in (("magnitude", "de"), ("random", "en")):
        row = row_of(frame, split="test", method=method, sparsity=0.9, language=code)
        assert items.dense is not None
        dense, pruned = items.dense.score[code], items.states[method, 0.9].score[code]
        value, low, high = inference.paired_bootstrap(dense, pruned, 0)
        assert row["drop"] == pytest.approx(value) and row["dense"] == pytest.approx(dense.mean())
        # Not the same draws (one margin axis more), but the same distribution: 2,000 resamples agree to a point or so.
        assert row["drop_low"] == pytest.approx(low, abs=0.02) and row["drop_high"] == pytest.approx(high, abs=0.02)
        continued = items.continued[2].score[code]
        assert row["drop_continued"] == pytest.approx((continued - pruned).mean())
        p = inference.median_p([inference.mcnemar(a, b) for a, b in zip(dense, pruned, strict=True)])
        assert row["p"] == pytest.approx(p) and row["p_holm"] >= row["p"]
        assert row["per_seed"].tolist() == pytest.approx(pruned.mean(1).tolist())


def test_bootstrap_means_match_inference_draw_by_draw() -> None:
    rng = np.random.default_rng(1)
    sets = {code: rng.normal(size=(3, 2, 40)) for code in ("en", "de")}
    found = blocks.crossed(sets, aligned=True, seed=5, resamples=200)
    expected = inference.replicates([values[state] for values in sets.values() for state in range(3)], 5, 200)
    np.testing.assert_allclose(np.hstack([found["en"], found["de"]]), expected)


def test_sets_that_are_not_parallel_draw_items_apart_but_seeds_together() -> None:
    rng = np.random.default_rng(2)
    same = rng.normal(size=(1, 4, 50))
    found = blocks.crossed({"en": same, "de": same}, aligned=False, resamples=400)
    assert not np.allclose(found["en"], found["de"])
    only_seeds = np.repeat(np.array([0.0, 1.0, 2.0, 3.0])[None, :, None], 50, axis=2)
    found = blocks.crossed({"en": only_seeds, "de": only_seeds[:, :, :20]}, aligned=False, resamples=400)
    np.testing.assert_allclose(found["en"], found["de"])


def test_intervals_and_differences_are_sane(store: Path) -> None:
    frame = measures.read_study(store, NAME, "degradation")
    for name in ("dense", "continued", "pruned", "drop", "drop_continued"):
        assert ((frame[f"{name}_low"] <= frame[name]) & (frame[name] <= frame[f"{name}_high"])).all(), name
    assert frame.loc[frame["source"], "did"].isna().all() and frame.loc[~frame["source"], "did"].notna().all()
    source = frame[frame["source"]].set_index(["split", "method", "sparsity"])["drop"]
    other = frame[~frame["source"]].set_index(["split", "method", "sparsity"])
    assert (other["did"] - (other["drop"] - source.reindex(other.index))).abs().max() < 1e-12
    assert (frame.loc[frame["split"] == "natural", "p_holm"].isna()).all()
    assert set(frame["seeds"]) == {2} and set(frame.loc[frame["split"] == "test", "n"]) == {60}
    np.testing.assert_allclose(frame["retention"], frame["pruned"] / frame["dense"])


def test_holm_is_over_the_whole_test_split(store: Path) -> None:
    frame = measures.read_study(store, NAME, "degradation")
    tested = frame[frame["split"] == "test"]
    np.testing.assert_allclose(tested["p_holm"], inference.holm(tested["p"]))


def test_spread_is_the_mean_of_the_zero_shot_languages(store: Path) -> None:
    spread, degraded = (measures.read_study(store, NAME, name) for name in ("spread", "degradation"))
    row = row_of(spread, split="test", method="magnitude", sparsity=0.9)
    rows = degraded[(degraded["split"] == "test") & (degraded["method"] == "magnitude") & (degraded["sparsity"] == 0.9)]
    zero_shot = rows[~rows["source"]]
    for name in ("dense", "continued", "pruned", "drop", "drop_continued"):
        assert row[name] == pytest.approx(zero_shot[name].mean())
        assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
    assert row["language"] == drops.MEAN and row["languages"] == 2
    assert row["worst"] == pytest.approx(zero_shot["drop"].max())
    assert row["worst_language"] == zero_shot.loc[zero_shot["drop"].idxmax(), "language"]
    assert row["range"] == pytest.approx(np.ptp(zero_shot["drop"])) and 0 < row["p_differ"] <= 1
    assert row["source_drop"] == pytest.approx(rows.loc[rows["source"], "drop"].iloc[0])
    # The mean of languages is surer than one of them: its interval is narrower than the widest.
    assert row["drop_high"] - row["drop_low"] < (zero_shot["drop_high"] - zero_shot["drop_low"]).max()


def test_safe_levels_follow_the_upper_bounds(store: Path) -> None:
    safe, degraded = (measures.read_study(store, NAME, name) for name in ("safe", "degradation"))
    assert set(safe["tolerance"]) == {0.01, 0.02, 0.05} and set(safe["levels"]) == {2}
    for _, row in safe[(safe["split"] == "test") & (safe["language"] != drops.MEAN)].iterrows():
        own = degraded[
            (degraded["split"] == "test")
            & (degraded["method"] == row["method"])
            & (degraded["language"] == row["language"])
        ]
        kept = own[own["sparsity"] <= row["safe"]]
        assert (kept["drop_high"] < row["tolerance"]).all()


def test_no_changed_item_among_few_is_not_safe() -> None:
    frame = pd.DataFrame({"study": "s", "split": "test", "method": "m", "recipe": "m", "language": "de", "source": False,
                          "sparsity": [0.5], "drop_low": [0.0], "drop_high": [0.0], "n": [20]})  # fmt: skip
    assert set(drops.safe(frame, pd.DataFrame())["safe"]) == {0.0}
    assert set(drops.safe(frame.assign(n=2000), pd.DataFrame())["safe"]) == {0.5}


def test_ranking_leaves_the_control_out(store: Path) -> None:
    frame = measures.read_study(store, NAME, "ranking")
    assert set(frame["methods"]) == {2} and set(frame["language"]) == {"de", "fr"}
    assert frame["tau"].dropna().between(-1, 1).all() and set(frame["sparsity"]) == {0.5, 0.9}


def test_a_method_with_one_seed_is_compared_on_that_seed(tmp_path: Path) -> None:
    shape = Shape(**{**SMALL.__dict__, "activations": False, "weights": False, "methods": ("magnitude",), "natural": 0})
    store = write_store(tmp_path, shape)
    write_run(store, World(shape), "random", 1)
    degraded = work.study_frames(store, NAME)["degradation"]
    assert set(degraded.loc[degraded["method"] == "random", "seeds"]) == {1}
    assert set(degraded.loc[degraded["method"] == "magnitude", "seeds"]) == {2}
    items = collect(store, NAME)
    assert items.dense is not None
    expected = items.dense.on([1]).score["de"].mean()
    assert degraded.loc[
        (degraded["method"] == "random") & (degraded["language"] == "de"), "dense"
    ].tolist() == pytest.approx([expected] * 2)


def test_sets_without_shared_items_have_no_difference_in_differences(tmp_path: Path) -> None:
    shape = Shape(
        **{
            **SMALL.__dict__,
            "activations": False,
            "weights": False,
            "methods": ("magnitude",),
            "natural": 0,
            "parallel": False,
            "seeds": 1,
        }
    )
    frames = work.study_frames(write_store(tmp_path, shape), NAME)
    assert frames["degradation"]["did"].isna().all() and frames["degradation"]["drop"].notna().all()
    assert frames["spread"]["p_differ"].notna().all()


def test_partly_shared_items_give_differences_on_the_shared_ones(tmp_path: Path) -> None:
    shape = Shape(
        **{
            **SMALL.__dict__,
            "activations": False,
            "weights": False,
            "methods": ("magnitude",),
            "natural": 0,
            "seeds": 1,
        }
    )
    store = write_store(tmp_path, shape)
    for run in ("dense-s0", "dense_continued-s0", "magnitude-s0"):
        for level in Run(store / NAME / run).levels():
            frame = level.frame("predictions")
            level.write_frame("predictions", frame[(frame["language"] != "fr") | (frame["id"] < "test-00040")])
    items = collect(store, NAME)
    found = drops.frames(*drops.resampled([items]))["degradation"]
    row = row_of(found, method="magnitude", sparsity=0.9, language="de")
    common = items.common()
    assert common.dense is not None
    own, source = (common.dense.score[code] - common.states["magnitude", 0.9].score[code] for code in ("de", "en"))
    assert row["n"] == 60 and row["did"] == pytest.approx(own.mean() - source.mean())


# -- states --------------------------------------------------------------------------------------------------------


def test_cka_is_that_of_the_matched_states(store: Path) -> None:
    frame = measures.read_levels(store, NAME, "cka")
    state, dense = (Run(store / NAME / name).level(level) for name, level in (("magnitude-s0", 0.9), ("dense-s0", 0.0)))
    x, y = (tables.activations(level, "de", "mean", [1])[:, 0] for level in (state, dense))
    keys = {"run": "magnitude-s0", "sparsity": 0.9, "language": "de", "pooling": "mean"}
    row = row_of(frame, **keys, variant="raw", layer_pruned=1, layer_dense=1)
    assert row["cka"] == pytest.approx(similarity.linear_cka(x, y), abs=1e-5)
    scaled = similarity.zscore(x, y), similarity.zscore(y, y)
    row = row_of(frame, **keys, variant="zscored", layer_pruned=1, layer_dense=1)
    assert row["cka"] == pytest.approx(similarity.linear_cka(*scaled), abs=1e-5)
    assert (
        frame.loc[(frame["pooling"] == "first") & (frame["layer_dense"] == 0), "cka"].isna().all()
    )  # one state for all texts


def test_similarity_carries_interval_null_and_ceiling(store: Path) -> None:
    frame = measures.read_levels(store, NAME, "similarity")
    known = frame[frame["cka"].notna()]
    assert ((known["cka_low"] <= known["cka"] + 1e-6) & (known["cka"] <= known["cka_high"] + 1e-6)).all()
    assert (known["null_low"] < 0).all() and (known["null_high"] > 0).all() and (known["null_mean"] == 0).all()
    assert set(frame["role"]) == {"pruned", "continued", "other seed"}
    assert set(frame.loc[frame["run"] == "dense-s0", "against"]) == {"dense-s1"}
    extras = frame[frame["rsa"].notna()]
    assert set(extras["seed"]) == {0} and set(extras["pooling"]) == {"first"} and set(extras["role"]) == {"pruned"}
    assert set(frame.loc[frame["seed"] == 1, "pooling"]) == {"first"}  # the second pooling for the first seed alone
    assert extras["mutual_knn"].between(0, 1).all() and extras["procrustes"].between(0, 1).all()


def test_states_are_matched_by_id_when_rows_are_shuffled(store: Path, tmp_path: Path) -> None:
    shape = Shape(**{**SMALL.__dict__, "shuffle": True, "seeds": 1, "methods": ("magnitude",), "weights": False})
    other = write_store(tmp_path, shape)
    assert run_measure(other, measures.Wish(only=("cka", "crosslingual", "separability", "drift"))) == []
    columns = {"cka": ["cka"], "crosslingual": ["retrieval", "cka"], "separability": ["r_squared", "pruning_snr_db"]}
    for name, values in {**columns, "drift": ["item", "total"]}.items():
        mine, theirs = (measures.read_levels(where, NAME, name) for where in (store, other))
        mine = mine[mine["run"] == "magnitude-s0"]
        theirs = theirs[theirs["run"] == "magnitude-s0"]
        np.testing.assert_allclose(mine[values].to_numpy(float), theirs[values].to_numpy(float), atol=1e-4)


def test_separability_is_that_of_the_functions(store: Path) -> None:
    frame = measures.read_levels(store, NAME, "separability")
    level, dense = (Run(store / NAME / name).level(at) for name, at in (("magnitude-s0", 0.9), ("dense-s0", 0.0)))
    probe = tables.probe(level)
    labels = probe.loc[probe["language"] == "fr", "label"].to_numpy()
    x, y = (tables.activations(where, "fr", "mean", [1])[:, 0] for where in (level, dense))
    row = row_of(frame, run="magnitude-s0", sparsity=0.9, language="fr", pooling="mean", layer=1)
    assert row["r_squared"] == pytest.approx(separability.r_squared(x, labels))
    assert row["class_snr"] == pytest.approx(separability.class_snr(x, labels))
    assert row["pruning_snr_db"] == pytest.approx(separability.pruning_snr_db(y, x))
    assert row["control_low"] <= row["control"] <= row["control_high"] < row["r_squared"]
    own = row_of(frame, run="dense-s0", language="fr", pooling="mean", layer=1)
    for name, measure in (("class_snr", separability.class_snr), ("nearest_centroid", leave_one_out_centroid)):
        ends = separability.shuffled_control(measure, y, labels, 0, SHUFFLES)[1:]
        assert (own[f"{name}_control_low"], own[f"{name}_control_high"]) == pytest.approx(ends)
        assert np.isnan(row[f"{name}_control_low"])  # once per dense state
    assert row["n"] == 24 and row["classes"] == 4 and row["left_out"] == ""
    assert frame.loc[frame["method"] == "dense", "pruning_snr_db"].isna().all()


def test_small_classes_are_left_out_and_named(tmp_path: Path) -> None:
    shape = Shape(**{**SMALL.__dict__, "seeds": 1, "methods": ("magnitude",), "weights": False, "levels": (0.9,)})
    store = write_store(tmp_path, shape)
    level = Run(store / NAME / "magnitude-s0").level(0.9)
    probe = tables.probe(level)
    rare = (probe["label"] == "intent-03") & (probe["id"] > "test-00015")
    level.write_frame("probe", probe.assign(label=probe["label"].where(~rare, "intent-00")))
    run_measure(store, measures.Wish(only=("separability",), runs=("magnitude-s0",)))
    frame = measures.read_levels(store, NAME, "separability")
    assert set(frame["left_out"]) == {"intent-03"} and set(frame["classes"]) == {3} and set(frame["n"]) == {20}


def test_leave_one_out_centroid_by_hand() -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(30, 5)), np.arange(30) % 3
    hits = []
    for i in range(30):
        rest = np.arange(30) != i
        centroids = [x[rest & (labels == c)].mean(0) for c in range(3)]
        hits.append(int(np.argmin([((x[i] - centroid) ** 2).sum() for centroid in centroids])) == labels[i])
    assert leave_one_out_centroid(x, labels) == np.mean(hits)


def test_crosslingual_and_drift(store: Path) -> None:
    frame = measures.read_levels(store, NAME, "crosslingual")
    level = Run(store / NAME / "magnitude-s0").level(0.9)
    x, y = (tables.activations(level, code, "mean", [1])[:, 0] for code in ("en", "de"))
    row = row_of(frame, run="magnitude-s0", sparsity=0.9, language="de", pooling="mean", layer=1)
    assert row["retrieval"] == pytest.approx(similarity.retrieval(x, y)) and row["chance"] == pytest.approx(1 / 24)
    assert set(frame["source"]) == {"en"} and "en" not in set(frame["language"]) and "dense" in set(frame["method"])
    drift = measures.read_levels(store, NAME, "drift")
    assert "dense" not in set(drift["method"])
    np.testing.assert_allclose(drift[["grand", "item", "language", "interaction"]].sum(axis=1), 1.0)


def test_calibration_matches_the_details(store: Path) -> None:
    from analysis.calibration import ece

    frame = measures.read_levels(store, NAME, "calibration")
    run, path = level_of(store, "random-s0", 0.9)
    details = pd.read_parquet(path / "details.parquet")
    part = details[(details["split"] == "test") & (details["language"] == "de")]
    place = {label: index for index, label in enumerate(run.config()["labels"])}
    expected = ece(np.stack(part["probabilities"].to_list()), part["label"].map(place).to_numpy())
    assert row_of(frame, run="random-s0", sparsity=0.9, split="test", language="de")["ece"] == pytest.approx(expected)


def test_matched_rows() -> None:
    a, b = np.array(["x", "y", "z"], dtype=object), np.array(["z", "q", "x"], dtype=object)
    first, second = matched(a, b)
    assert a[first].tolist() == b[second].tolist() == ["x", "z"]


# -- intervals and nulls of CKA ------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.7, 2.0])
def test_null_agrees_with_permutations(decay: float) -> None:
    rng = np.random.default_rng(3)
    scale = np.arange(1, 41.0) ** -decay
    x, y = rng.normal(size=(80, 40)) * scale, rng.normal(size=(80, 40)) * scale
    estimate, (mean, low, high) = bands.around(x, y)
    assert estimate[0] == pytest.approx(similarity.linear_cka(x, y))
    expected = similarity.permutation_null(x, y, 3000, 0)
    spread = np.sqrt(2 / (80 * 77))
    assert mean == 0 and abs(expected[0]) < 0.1 * spread
    assert low == pytest.approx(expected[1], abs=0.25 * spread) and high == pytest.approx(
        expected[2], abs=0.25 * spread
    )


def test_null_variance_is_exact() -> None:
    rng = np.random.default_rng(4)
    first, second = (bands.u_centred(rng.normal(size=(12, 3))) for _ in range(2))
    values = [
        float((first * second[np.ix_(order, order)]).sum()) for order in (rng.permutation(12) for _ in range(40_000))
    ]
    assert np.mean(values) == pytest.approx(0, abs=0.01)
    assert np.var(values) == pytest.approx(2 / (12 * 9), rel=0.05)


def test_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(5)
    scale = np.arange(1, 31.0) ** -0.5

    def pair(n: int) -> tuple[np.ndarray, np.ndarray]:
        x = rng.normal(size=(n, 30)) * scale
        return x, x + rng.normal(size=x.shape) * scale

    truth = similarity.linear_cka(*pair(4000))
    found = [bands.around(*pair(120))[0] for _ in range(150)]
    assert np.mean([low <= truth <= high for _, low, high in found]) > 0.9
    assert np.mean([high - low for _, low, high in found]) < 0.25  # not by being wide


def test_leaving_one_out_is_exact() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(15, 6))
    y = x + rng.normal(size=x.shape)
    value, low, high = bands.around(x, y)[0]
    without = np.array([similarity.linear_cka(np.delete(x, i, 0), np.delete(y, i, 0)) for i in range(15)])
    error = np.sqrt(14 / 15 * ((without - without.mean()) ** 2).sum())
    half = norm.ppf(0.975) * error / (1 - value**2)
    assert (low, high) == pytest.approx((np.tanh(np.arctanh(value) - half), np.tanh(np.arctanh(value) + half)))


def test_equal_and_constant_sets() -> None:
    x = np.random.default_rng(7).normal(size=(20, 4))
    assert bands.around(x, x)[0] == pytest.approx((1.0, 1.0, 1.0))
    assert np.isnan(bands.around(x, np.ones((20, 4)))).all()


# -- maps ----------------------------------------------------------------------------------------------------------


def test_map_of_one_level(store: Path) -> None:
    study = plan.Study.read(store, NAME)
    frame = maps.make(study.view("magnitude-s0", "0.9000"), maps.Request("pca", points=48))
    assert set(frame["state"]) == {"dense", "pruned"} and len(frame) == 2 * 3 * 8 and set(frame["layer"]) == {1}
    ids = frame.groupby(["state", "language"])["id"].apply(tuple)
    assert ids.nunique() == 1  # the same examples in every language and state
    assert frame["shown"].iloc[0] == 24 and frame["available"].iloc[0] == 72
    row = frame[frame["state"] == "pruned"].iloc[3]
    states = []
    for run, level in (("dense-s0", 0.0), ("magnitude-s0", 0.9)):
        found = Run(store / NAME / run).level(level)
        place = Snapshot.of(found).keys[row["language"]].tolist().index(row["id"])
        states.append(tables.activations(found, row["language"], "first", [1])[place, 0].astype(float))
    assert row["displacement"] == pytest.approx(np.linalg.norm(states[0] - states[1]))
    cosine = states[0] @ states[1] / np.linalg.norm(states[0]) / np.linalg.norm(states[1])
    assert row["cosine_distance"] == pytest.approx(1 - cosine)
    assert frame["trustworthiness"].between(0, 1).all()


def test_map_requests_are_checked(store: Path) -> None:
    view = plan.Study.read(store, NAME).view("magnitude-s0", "0.9000")
    for request, name in (
        (maps.Request("tsne"), "projection"),
        (maps.Request(layer=9), "layer"),
        (maps.Request(pooling="last"), "pooling"),
    ):
        with pytest.raises(ValueError, match=f"{name}: must be"):
            maps.make(view, request)


@pytest.mark.long
def test_umap_of_one_level(store: Path) -> None:
    view = plan.Study.read(store, NAME).view("magnitude-s0", "0.9000")
    first, second = (maps.make(view, maps.Request("umap", points=36)) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)  # seeded
    assert len(first) == 36 and np.isfinite(first[["x", "y"]].to_numpy()).all()


def test_default_maps_and_one_on_request(tmp_path: Path) -> None:
    store = write_store(
        tmp_path, Shape(**{**SMALL.__dict__, "levels": (0.5, 0.8, 0.9), "methods": ("magnitude",), "weights": False})
    )
    jobs = plan.missing(plan.Study.read(store, NAME), measures.Wish(only=("map",)))
    assert sorted((job.run, job.level, job.request.projection) for job in jobs if job.request) == [
        ("magnitude-s0", "0.5000", "pca"), ("magnitude-s0", "0.5000", "umap"), ("magnitude-s0", "0.8000", "pca"),
        ("magnitude-s0", "0.9000", "pca"), ("magnitude-s0", "0.9000", "umap"),
    ]  # fmt: skip
    arguments = [
        "measure",
        str(store),
        "--study",
        NAME,
        "--run",
        "magnitude-s1",
        "--level",
        "0.8",
        "--layer",
        "0",
        "--pooling",
        "mean",
        "--projection",
        "pca",
    ]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    frame = measures.read_levels(store, NAME, "map")
    assert set(frame["run"]) == {"magnitude-s1"} and set(frame["layer"]) == {0} and set(frame["pooling"]) == {"mean"}


# -- storing -------------------------------------------------------------------------------------------------------


def stamps(store: Path) -> dict[str, int]:
    return {str(path.relative_to(store)): path.stat().st_mtime_ns for path in store.rglob("measures/*.parquet")}


def test_measuring_twice_computes_nothing(store: Path) -> None:
    before, said = stamps(store), []
    assert measures.measure(store, NAME, WITHOUT_UMAP, workers=1, say=said.append) == []
    assert stamps(store) == before and said == [f"{NAME}: everything is measured"]


def test_a_changed_level_is_measured_again_and_the_old_result_goes(tmp_path: Path) -> None:
    store = write_store(
        tmp_path, Shape(**{**SMALL.__dict__, "seeds": 1, "methods": ("magnitude",), "weights": False, "natural": 0})
    )
    wish = measures.Wish(only=("degradation", "calibration"))
    run_measure(store, wish)
    before = stamps(store)
    _, path = level_of(store, "magnitude-s0", 0.9)
    size = (path / "size.json").read_text(encoding="utf-8")
    (path / "size.json").write_text(
        size.replace('"latency_ms_batch32": 8.0', '"latency_ms_batch32": 9.0'), encoding="utf-8"
    )
    run_measure(store, wish)
    after = stamps(store)
    changed = set(before) ^ set(after)
    assert len(before) == len(after)
    assert {Path(name).parent.parent.name for name in changed} == {"0.9000", NAME}
    assert all(after[name] == before[name] for name in set(before) & set(after))


def test_one_broken_run_does_not_stop_the_rest(tmp_path: Path) -> None:
    store = write_store(tmp_path, Shape(**{**SMALL.__dict__, "seeds": 1, "weights": False, "natural": 0}))
    _, path = level_of(store, "random-s0", 0.5)
    (path / "activations.safetensors").write_bytes(b"no tensors")
    _, path = level_of(store, "sdp_cc-s0", 0.5)
    (path / "predictions.parquet").write_bytes(b"no table")
    only = [argument for name in ("degradation", "cka", "calibration") for argument in ("--only", name)]
    done = CliRunner().invoke(app, ["measure", str(store), "--study", NAME, "--workers", "1", *only])
    assert done.exit_code == 1
    lines = done.stderr.strip().splitlines()
    assert (
        len(lines) == 2 and "random-s0/0.5000: cka" in lines[0] + lines[1] and "sdp_cc-s0/0.5000" in lines[0] + lines[1]
    )
    assert set(measures.read_levels(store, NAME, "cka")["run"]) >= {"magnitude-s0", "sdp_cc-s0"}
    degraded = measures.read_study(store, NAME, "degradation")
    assert set(degraded.loc[degraded["method"] == "sdp_cc", "sparsity"]) == {0.9}
    assert set(degraded.loc[degraded["method"] == "magnitude", "sparsity"]) == {0.5, 0.9}


def test_a_level_waits_for_its_dense_run(tmp_path: Path) -> None:
    store = write_store(
        tmp_path, Shape(**{**SMALL.__dict__, "seeds": 1, "weights": False, "natural": 0, "methods": ("magnitude",)})
    )
    _, path = level_of(store, "dense-s0", 0.0)
    hidden = path.with_name("hidden")
    (path / "size.json").replace(hidden)
    assert run_measure(store, measures.Wish(only=("cka", "degradation"))) == []
    assert measures.read_levels(store, NAME, "cka").empty and measures.read_study(store, NAME, "degradation").empty
    hidden.replace(path / "size.json")
    assert run_measure(store, measures.Wish(only=("cka", "degradation"))) == []
    assert len(measures.read_levels(store, NAME, "cka")) and len(measures.read_study(store, NAME, "degradation"))


def test_several_processes_give_the_same_results(store: Path, tmp_path: Path) -> None:
    other = write_store(tmp_path, SMALL)
    wish = measures.Wish(only=("degradation", "separability"))
    assert measures.measure(other, NAME, wish, workers=2, say=quiet) == []
    pd.testing.assert_frame_equal(
        measures.read_study(store, NAME, "degradation"), measures.read_study(other, NAME, "degradation")
    )
    first, second = (measures.read_levels(where, NAME, "separability") for where in (store, other))
    pd.testing.assert_frame_equal(first, second, rtol=1e-5)


def test_two_processes_do_not_measure_at_once(store: Path) -> None:
    from threading import Thread

    from filelock import FileLock

    said: list[str] = []
    lock = FileLock(files.of_study(store, NAME) / ".lock")
    lock.acquire()
    thread = Thread(target=lambda: measures.measure(store, NAME, WITHOUT_UMAP, workers=1, say=said.append))
    thread.start()
    deadline = time.monotonic() + 30
    while not said and time.monotonic() < deadline:
        time.sleep(0.02)
    assert said == ["another process is measuring this study: waiting for it"]
    lock.release()
    thread.join(timeout=60)
    assert said[-1] == f"{NAME}: everything is measured"


def test_files_are_read_newest_first_and_by_variant(tmp_path: Path) -> None:
    one, two = pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]})
    files.write(tmp_path, "map-pca-task-last", files.key("x"), one)
    files.write(tmp_path, "map-umap-task-last", files.key("x"), two)
    files.write(tmp_path, "mapped", files.key("x"), pd.DataFrame({"a": [9]}))
    assert sorted(files.read(tmp_path, "map")["a"]) == [1, 2]
    files.write(tmp_path, "map-pca-task-last", files.key("y"), two)
    assert files.read(tmp_path, "map")["a"].tolist() == [2, 2] and len(list(tmp_path.glob("map-pca-*"))) == 1
    assert files.read(tmp_path / "absent", "map").empty
    calls: list[int] = []

    def compute() -> pd.DataFrame:
        calls.append(1)
        return one

    for _ in range(2):
        assert files.keep(tmp_path, "kept", files.key("z"), compute)["a"].tolist() == [1]
    assert calls == [1]


def test_wishes_are_checked(store: Path) -> None:
    with pytest.raises(RecordError, match="only: must be among degradation"):
        run_measure(store, measures.Wish(only=("beauty",)))
    with pytest.raises(RecordError, match="must be one of synthetic"):
        measures.measure(store, "nope", say=quiet)


def test_summary_on_the_terminal(store: Path) -> None:
    done = CliRunner().invoke(app, ["summary", str(store), "--study", NAME])
    assert done.exit_code == 0
    assert "English (en) (source)" in done.stdout and drops.MEAN in done.stdout and "magnitude 90%" in done.stdout
    row = row_of(measures.read_study(store, NAME, "spread"), split="test", method="sdp_cc", sparsity=0.9)
    assert (
        f"{100 * row['drop']:.1f}" in done.stdout and "loses least" in done.stdout and "anguages differ" in done.stdout
    )
    lines = [line for line in done.stdout.splitlines() if "(en)" in line or "(de)" in line]
    assert "English" in lines[0]  # the source comes first


def test_summary_merges_what_is_said_of_every_language(tmp_path: Path) -> None:
    notes = [
        "train en: 90 of 100 examples (task.limits)",
        *(
            f"{split} {code}: 60 of 90 examples (task.limits)"
            for split in ("test", "natural")
            for code in ("en", "de", "fr")
        ),
    ]
    shape = Shape(
        **{
            **SMALL.__dict__,
            "activations": False,
            "weights": False,
            "methods": ("magnitude",),
            "seeds": 1,
            "extra": {"notes": notes},
        }
    )
    done = CliRunner().invoke(app, ["summary", str(write_store(tmp_path, shape)), "--study", NAME])
    said = [line for line in done.stdout.splitlines() if line.startswith("Note:")]
    assert said == [
        "Note: train, en: 90 of 100 examples (task.limits)",
        "Note: test, every language: 60 of 90 examples (task.limits)",
    ]


def test_a_task_that_fails_as_a_whole_is_named() -> None:
    def broken() -> work.Done:
        raise MemoryError("no room")

    done = work._guarded("synthetic/magnitude-s0", broken)
    assert done.problems == ("synthetic/magnitude-s0: MemoryError: no room",) and done.count == 0
