"""Stored measures of the diagnosis: controls, Pareto, flips, slices, overlap, paths, restoration, correlates, findings."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import figures, findings, flips, inference, measures, tables, weights
from analysis.items import Items, collect
from analysis.measures import correlated, files, paths, plan
from analysis.measures.drops import MEAN
from engine.record import Run
from tests import reference
from tests.synthetic import Shape, write_store

NAME = "synthetic"
SHAPE = Shape(
    languages=6, seeds=2, levels=(0.5, 0.95), methods=("random", "magnitude"), items=80, natural=20, probe=24, classes=4, layers=2, width=8,
    kept=True, restored=True,
)  # fmt: skip
SMALL = {"items": 40, "natural": 0, "layers": 1, "levels": (0.9,), "restored": False, "kept": False}
WISH = measures.Wish(
    only=tuple(name for name in measures.NAMES if name not in ("map", "cka", "similarity", "separability"))
)


def run_measure(store: Path, wish: measures.Wish = WISH) -> list[str]:
    return measures.measure(store, NAME, wish, workers=1, say=lambda _: None)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = write_store(tmp_path_factory.mktemp("store"), SHAPE)
    assert run_measure(store) == []
    return store


@pytest.fixture(scope="module")
def items(store: Path) -> Items:
    return collect(store, NAME)


def study(store: Path, name: str, **wanted: object) -> pd.DataFrame:
    return only(measures.read_study(store, NAME, name), **wanted)


def only(frame: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    for column, value in wanted.items():
        frame = frame[frame[column] == value]
    return frame


# -- controls and Pareto -------------------------------------------------------------------------------------------


def test_controls_beside_every_drop(store: Path, items: Items) -> None:
    row = study(store, "controls", split="test", method="magnitude", sparsity=0.95, language="de").iloc[0]
    dense, state, random = items.dense, items.states["magnitude", 0.95], items.states["random", 0.95]
    assert dense is not None
    assert row["random_drop"] == pytest.approx((dense.score["de"] - random.score["de"]).mean())
    gain = inference.paired_bootstrap(state.score["de"], random.score["de"], 0)
    assert row["beyond_random"] == pytest.approx(gain[0]) and row["beyond_random_low"] == pytest.approx(
        gain[1], abs=0.03
    )
    noise = reference.rerun_noise(dense.score["de"].tolist())
    assert [row[f"rerun_{name}"] for name in noise] == pytest.approx(list(noise.values()))
    shuffled = inference.shuffled_labels(items.gold["de"], dense.answer["de"], state.answer["de"])
    assert [row["shuffled"], row["shuffled_low"], row["shuffled_high"]] == pytest.approx(shuffled)
    assert abs(row["shuffled"]) < 0.05 < row["random_drop"]


def test_controls_of_the_mean_and_of_random_itself(store: Path) -> None:
    mean = study(store, "controls", split="test", method="magnitude", sparsity=0.95, language=MEAN).iloc[0]
    one = study(store, "controls", split="test", method="magnitude", sparsity=0.95, source=False)
    assert mean["random_drop"] == pytest.approx(one.loc[one["language"] != MEAN, "random_drop"].mean())
    assert study(store, "controls", method="random")["beyond_random"].isna().all()


def test_one_seed_knows_no_rerun_noise(tmp_path: Path) -> None:
    write_store(tmp_path, Shape(**{**vars(SHAPE), **SMALL, "seeds": 1, "activations": False, "weights": False}))
    assert run_measure(tmp_path, measures.Wish(only=("controls", "flip_counts", "exemplars"))) == []
    assert study(tmp_path, "controls")["rerun_largest"].isna().all()
    assert study(tmp_path, "flip_counts")["pie"].isna().all() and study(tmp_path, "exemplars").empty


def test_pareto_points(store: Path) -> None:
    frame = study(store, "pareto", split="test")
    points = frame[["nonzeros", "mean", "worst"]].to_numpy().tolist()
    assert frame["front"].tolist() == reference.pareto(points)
    assert only(frame, method="dense")["nonzero_share"].tolist() == [1.0]
    degraded = study(store, "degradation", split="test", method="magnitude", sparsity=0.95, source=False)
    row = only(frame, method="magnitude", sparsity=0.95).iloc[0]
    assert row["mean"] == pytest.approx(degraded["pruned"].mean()) and row["worst"] == pytest.approx(
        degraded["pruned"].min()
    )
    assert len(frame) == 1 + 2 * len(SHAPE.levels)


# -- flips ---------------------------------------------------------------------------------------------------------


def test_flips_of_a_level_are_those_of_the_scores(store: Path, items: Items) -> None:
    frame = only(
        measures.read_levels(store, NAME, "flips"), run="magnitude-s1", sparsity=0.95, split="test", language="fr"
    )
    frame = frame.set_index("id").loc[items.ids["fr"]]
    assert items.dense is not None
    wanted = reference.outcomes(items.dense.score["fr"][1], items.states["magnitude", 0.95].score["fr"][1])
    assert frame["flip"].tolist() == [flips.NAMES[place] for place in wanted]
    assert (frame["dense"] == frame["label"]).tolist() == (items.dense.score["fr"][1] == 1).tolist()
    margins = items.dense.margin["fr"][1] - items.states["magnitude", 0.95].margin["fr"][1]
    assert frame["margin_lost"].to_numpy() == pytest.approx(margins)
    assert frame["dense_confidence"].between(0.25, 1).all()


def test_counts_add_up_to_the_drop(store: Path, items: Items) -> None:
    counts = study(store, "flip_counts", split="test")
    drops = study(store, "degradation", split="test").set_index(["method", "sparsity", "language"])["drop"]
    for row in counts.to_dict("records"):
        assert row["kept_right"] + row["broken"] + row["repaired"] + row["kept_wrong"] == pytest.approx(1)
        assert row["broken"] - row["repaired"] == pytest.approx(drops[row["method"], row["sparsity"], row["language"]])
        assert row["broken_here"] <= row["broken"]
    row = only(counts, method="random", sparsity=0.95, language="de").iloc[0]
    assert items.dense is not None
    answers = [side.answer["de"].astype(int).tolist() for side in (items.dense, items.states["random", 0.95])]
    assert row["pie"] == pytest.approx(np.mean(reference.identified(*answers)))


def test_identified_items_have_other_modes(store: Path) -> None:
    frame = study(store, "exemplars", split="test")
    assert len(frame) and (frame["dense"] != frame["pruned"]).all() and frame["languages"].max() <= SHAPE.languages
    counted = frame.groupby(["method", "sparsity", "language"]).size() / SHAPE.items
    shares = study(store, "flip_counts", split="test").set_index(["method", "sparsity", "language"])["pie"]
    assert all(counted[place] == pytest.approx(shares[place]) for place in counted.index)


def test_confusions_count_every_item(store: Path) -> None:
    frame = only(
        measures.read_levels(store, NAME, "confusion"), run="random-s0", sparsity=0.95, split="test", language="de"
    )
    assert frame["dense"].sum() == frame["pruned"].sum() == SHAPE.items
    whole = only(
        measures.read_levels(store, NAME, "flips"), run="random-s0", sparsity=0.95, split="test", language="de"
    )
    table = pd.crosstab(whole["label"], whole["pruned"]).stack()
    found = frame.set_index(["label", "answer"])["pruned"]
    assert all(found[place] == count for place, count in table.items() if count)


def test_slices_partition_the_items(store: Path) -> None:
    frame = study(store, "flip_slices", split="test", method="magnitude", sparsity=0.95)
    drops = study(store, "degradation", split="test", method="magnitude", sparsity=0.95).set_index("language")["drop"]
    for (language, _), group in frame.groupby(["language", "kind"]):
        assert group["n"].sum() == SHAPE.items
        assert np.average(group["drop"], weights=group["n"]) == pytest.approx(drops[language])
    assert set(frame["kind"]) == {"length", "fertility", "label"}
    row = frame[(frame["kind"] == "label") & (frame["language"] == "de")].iloc[0]
    assert row["drop_low"] <= row["drop"] <= row["drop_high"] and row["n"] == SHAPE.items / SHAPE.classes
    third = only(frame, kind="length", language="de")
    assert (third["to"].to_numpy()[:-1] < third["from"].to_numpy()[1:]).all()


def test_overconfidence_on_flips(store: Path) -> None:
    frame = only(
        measures.read_levels(store, NAME, "calibration"), run="magnitude-s0", sparsity=0.95, split="test", language="de"
    )
    whole = only(
        measures.read_levels(store, NAME, "flips"), run="magnitude-s0", sparsity=0.95, split="test", language="de"
    )
    broken = whole[whole["flip"] == "broken"]
    assert frame["flips_broken"].item() == pytest.approx(broken["pruned_confidence"].mean(), abs=1e-6)


# -- weights, paths, restoration -----------------------------------------------------------------------------------


def test_overlap_is_that_of_the_masks(store: Path) -> None:
    frame = study(store, "overlap", sparsity=0.5)
    assert set(frame["kind"]) == {"methods", "seeds"} and len(frame) == 4
    row = only(frame, kind="methods", seed_a=1).iloc[0]
    masks = [Run(store / NAME / f"{row[f'method_{side}']}-s1").level(0.5).masks() for side in "ab"]
    flat = [np.concatenate([mask.ravel() for mask in side.values()]) for side in masks]
    assert row["jaccard"] == pytest.approx(reference.jaccard(*flat)) and row["calibration_a"] == "en"
    counts = [[int(mask.sum()) for mask in side.values()] for side in masks]
    sizes = [mask.size for mask in masks[0].values()]
    assert row["chance"] == pytest.approx(weights.jaccard_chance(*counts, sizes))
    assert row["jaccard"] == pytest.approx(row["chance"], abs=0.05)  # random and magnitude agree by chance only


def test_distribution_of_the_survivors(store: Path) -> None:
    frame = measures.read_levels(store, NAME, "distribution")
    part = only(frame, run="magnitude-s0", sparsity=0.95, kind="query")
    assert part["share"].sum() == pytest.approx(1)
    arrays = Run(store / NAME / "magnitude-s0").level(0.95).arrays("weights")
    left = np.concatenate([value[value != 0] for name, value in arrays.items() if ".query." in name])
    assert part["survivors"].iloc[0] == left.size
    mean = float((part["share"] * (part["bin"] + part["width"] / 2)).sum())
    assert mean == pytest.approx(np.log10(np.abs(left)).mean(), abs=0.05)


def test_a_path_holds_the_same_examples_at_every_level(store: Path) -> None:
    frame = only(measures.read_levels(store, NAME, "path"), method="magnitude")
    assert sorted(frame["at"].unique()) == [0.0, *SHAPE.levels] and set(frame["seed"]) == {0}
    places = [set(map(tuple, group[["language", "id"]].to_numpy())) for _, group in frame.groupby("at")]
    assert all(place == places[0] for place in places)
    assert (only(frame, at=0.0)["displacement"] == 0).all() and (only(frame, at=0.95)["displacement"] > 0).all()
    assert frame["trustworthiness"].between(0, 1).all()


def test_aligned_path_on_request(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from analysis import projection

    def aligned(states: list[np.ndarray], seed: int, **_: object) -> list[np.ndarray]:
        return [np.asarray(state)[:, :2] for state in states]  # the layout itself is tested in test_projection

    monkeypatch.setattr(projection, "umap_aligned", aligned)
    write_store(tmp_path, Shape(**{**vars(SHAPE), **SMALL, "levels": (0.5, 0.9)}))
    wish = measures.Wish(only=("path",), runs=("random-s1",), path=paths.Request("aligned", "mean", 1, points=18))
    assert run_measure(tmp_path, wish) == []
    frame = measures.read_levels(tmp_path, NAME, "path")
    assert set(frame["projection"]) == {"aligned"} and set(frame["pooling"]) == {"mean"} and set(frame["layer"]) == {1}
    assert len(frame) == 3 * 18
    with pytest.raises(ValueError, match="projection: must be one of pca, aligned; got 'tsne'"):
        paths.make(None, {}, paths.Request("tsne"), True)  # type: ignore[arg-type]


def test_restored_parts_have_intervals_and_gaps(store: Path) -> None:
    frame = measures.read_levels(store, NAME, "restored")
    assert set(frame["run"]) == {"random-s0", "magnitude-s0"} and MEAN in set(frame["language"])
    part = only(frame, run="magnitude-s0", language="de", partition="modules", direction="restore")
    assert len(part) == 6
    assert part["gap_margin"].to_numpy() == pytest.approx(part["total_margin"].iloc[0] - part["effect_margin"].sum())
    assert (part["effect_low_margin"] <= part["effect_margin"]).all() and (
        part["effect_margin"] <= part["effect_high_margin"]
    ).all()
    assert part["share_margin"].iloc[0] == pytest.approx(part["effect_margin"].iloc[0] / part["total_margin"].iloc[0])
    mean = only(
        frame, run="magnitude-s0", language=MEAN, partition="modules", direction="restore", part="ffn_out"
    ).iloc[0]
    others = only(frame, run="magnitude-s0", source=False, partition="modules", direction="restore", part="ffn_out")
    assert mean["effect"] == pytest.approx(others.loc[others["language"] != MEAN, "effect"].mean())


def test_a_restoration_older_than_its_level_does_not_count(tmp_path: Path) -> None:
    import os

    write_store(tmp_path, Shape(**{**vars(SHAPE), **SMALL, "restored": True, "seeds": 1, "methods": ("magnitude",)}))
    level = Run(tmp_path / NAME / "magnitude-s0").level(0.9)
    path = next((level.path / "measures").glob("restoration_items-*.parquet"))
    os.utime(path, (1, 1))
    assert run_measure(tmp_path, measures.Wish(only=("restored",))) == []
    assert measures.read_levels(tmp_path, NAME, "restored").empty


# -- what goes together, and findings ------------------------------------------------------------------------------


def test_crosslingual_losses(store: Path) -> None:
    frame = measures.read_levels(store, NAME, "crosslingual")
    part = only(frame, run="random-s0", sparsity=0.95, pooling="mean", layer=2)
    dense = only(frame, run="dense-s0", pooling="mean", layer=2).set_index("language")
    for row in part.to_dict("records"):
        assert row["retrieval_dense"] == pytest.approx(dense.loc[row["language"], "retrieval"])
        assert row["retrieval_loss"] == pytest.approx(row["retrieval_dense"] - row["retrieval"])
        assert row["retrieval_loss_low"] <= row["retrieval_loss"] <= row["retrieval_loss_high"]
        assert row["cka_loss"] == pytest.approx(row["cka_dense"] - row["cka"])
    assert part["retrieval_loss"].mean() > 0


def test_correlates_say_what_one_language_does(store: Path) -> None:
    frame, table = (
        study(store, "correlates", split="test", method="magnitude", sparsity=0.95),
        study(store, "factors", split="test", method="magnitude", sparsity=0.95),
    )
    assert len(table) == SHAPE.languages - 1 and {"dense", "resource", "retrieval_loss", "tokens_per_character"} <= set(
        frame["factor"]
    )
    row = only(frame, factor="dense").iloc[0]
    assert row["rho"] == pytest.approx(reference.spearman(table["dense"], table["drop"]))
    assert (row["without_low"], row["without_high"]) == pytest.approx(
        reference.leave_one_out(table["dense"].tolist(), table["drop"].tolist())
    )
    assert row["decisive"] in set(table["language"]) and row["languages"] == len(table)


def beside(store: Path, name: str, **changes: object) -> Path:
    """A copy of the run magnitude-s0 as another method, with another configuration."""
    other = store / NAME / f"{name}-s0"
    shutil.copytree(store / NAME / "magnitude-s0", other)
    config = json.loads((other / "config.json").read_text())
    plan = {**config["plan"], "name": name, **changes.pop("plan", {})}  # type: ignore[dict-item]
    (other / "config.json").write_text(json.dumps({**config, "method": name, "plan": plan, **changes}))
    return other


def test_methods_that_differ_in_calibration_languages_only(tmp_path: Path) -> None:
    shape = Shape(
        **{**vars(SHAPE), **SMALL, "seeds": 1, "activations": False, "weights": False, "methods": ("magnitude",)}
    )
    write_store(tmp_path, shape)
    overrides = {"calibration": {"languages": ["de", "fr"]}}
    better = beside(tmp_path, "magnitude-de", overrides=overrides)
    beside(tmp_path, "magnitude-row", overrides=overrides, plan={"allocation": "row"})  # differs in more than languages
    for path in better.rglob("predictions.parquet"):  # what was looked at in German is kept
        rows = pd.read_parquet(path)
        right = (rows["language"] == "de") & (rows["split"] == "test")
        rows["score"] = rows["score"].where(~right, 1.0)
        rows["stats"] = [[1.0, *stats[1:]] if mine else stats for stats, mine in zip(rows["stats"], right, strict=True)]
        rows.to_parquet(path)
    assert run_measure(tmp_path, measures.Wish(only=("degradation", "calibration_matrix"))) == []
    frame = study(tmp_path, "calibration_matrix")
    assert dict(frame.groupby("method")["calibration"].first()) == {"magnitude": "en", "magnitude-de": "de, fr"}
    assert set(only(frame, own=True)[["method", "language"]].apply(tuple, axis=1)) == {
        ("magnitude", "en"),
        ("magnitude-de", "de"),
        ("magnitude-de", "fr"),
    }
    place = {"sparsity": 0.9, "split": "test", "language": "de"}
    german, other = (only(frame, method=name, **place).iloc[0] for name in ("magnitude-de", "magnitude"))
    drops = study(tmp_path, "degradation", **place).set_index("method")["drop"]
    assert german["advantage"] == pytest.approx(drops["magnitude"] - drops["magnitude-de"]) == -other["advantage"]
    assert german["advantage_low"] > 0 > other["advantage_high"]
    french = only(frame, method="magnitude-de", sparsity=0.9, split="test", language="fr").iloc[0]
    assert french[["advantage", "advantage_low", "advantage_high"]].tolist() == [0, 0, 0]
    shown = figures.calibration_heatmap(frame, 0.9)
    assert "surely keeps more of it in 1 of 3 cases" in shown.reading and "seed" in shown.caption
    drawn = "".join(map(str, shown.figure.data[0].text.ravel()))
    assert drawn.count("•") == 3 and "↑" in drawn and "↓" in drawn
    assert figures.calibration_heatmap(pd.DataFrame(), 0.9).data.empty


def test_one_way_to_calibrate_makes_no_matrix(store: Path) -> None:
    assert study(store, "calibration_matrix").empty


def test_resource_is_the_bundled_models_own() -> None:
    assert correlated.resource("sw", "bundled") == 0.08 and np.isnan(correlated.resource("fi", "bundled"))
    assert correlated.resource("sw", "xlm-roberta-base") == 1.6 and np.isnan(
        correlated.resource("nobody", "xlm-roberta-base")
    )


def test_no_card_for_a_drop_that_is_not_significant(store: Path) -> None:
    cards = only(measures.read_study(store, NAME, "findings"), split="test")
    degraded = study(store, "degradation", split="test")
    sure = degraded[(degraded["p_holm"] < 0.05) & ((degraded["drop_low"] > 0) | (degraded["drop_high"] < 0))]
    told = {tuple(row) for row in cards.loc[cards["language"] != MEAN, ["method", "sparsity", "language"]].to_numpy()}
    assert told == {tuple(row) for row in sure[["method", "sparsity", "language"]].to_numpy()} and 0 < len(told) < len(
        degraded
    )
    assert set(measures.read_study(store, NAME, "findings")["split"]) == {"test"}


def test_a_card_says_what_the_tables_say(store: Path) -> None:
    cards = only(
        measures.read_study(store, NAME, "findings"), split="test", method="random", sparsity=0.95, language="de"
    ).sort_values("place")
    row = study(store, "degradation", split="test", method="random", sparsity=0.95, language="de").iloc[0]
    said = dict(zip(cards["kind"], cards["text"], strict=True))
    assert (
        said["drop"]
        == f"German (de) drops {100 * row['drop']:.1f} points ({100 * row['drop_low']:.1f} to {100 * row['drop_high']:.1f})"
    )
    assert cards["place"].tolist() == list(range(len(cards))) and cards["place"].iloc[0] == 0
    assert "flips" in said and "restored" in said and "recovers" in said["restored"]
    query = json.loads(cards.loc[cards["kind"] == "drop", "query"].item())
    assert query == {
        "study": NAME,
        "method": "random",
        "level": "0.95",
        "split": "test",
        "view": "numbers",
        "language": "de",
    }


def one(**changes: object) -> dict[str, pd.DataFrame]:
    """A study of one source and one zero-shot language, as tables."""
    row = {"study": "s", "split": "test", "method": "m", "recipe": "magnitude", "sparsity": 0.9, "language": "de", "source": False, "drop": 0.1, "drop_low": 0.05,
           "drop_high": 0.15, "p_holm": 0.01, "did": 0.04, "did_low": 0.01, "did_high": 0.07, **changes}  # fmt: skip
    return {"degradation": pd.DataFrame([row, {**row, "language": "en", "source": True, "p_holm": 1.0}])}


def kinds(frames: dict[str, pd.DataFrame]) -> list[str]:
    return findings.cards(frames)["kind"].tolist()


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, ["drop", "did"]),
        ({"p_holm": 0.06}, []),
        ({"p_holm": np.nan}, []),
        ({"drop_low": -0.01}, []),
        ({"drop": -0.1, "drop_low": -0.2, "drop_high": -0.01}, ["drop"]),
        ({"did_low": -0.01}, ["drop"]),
        ({"did": -0.04, "did_low": -0.07, "did_high": -0.01}, ["drop", "did"]),
        ({"did": np.nan, "did_low": np.nan, "did_high": np.nan}, ["drop"]),
    ],
)
def test_rules(changes: dict[str, float], wanted: list[str]) -> None:
    assert kinds(one(**changes)) == wanted


def test_rules_of_controls_and_words_of_gains() -> None:
    frames = one(drop=0.02, drop_low=0.01, drop_high=0.03)
    control = {
        "split": "test",
        "method": "m",
        "sparsity": 0.9,
        "language": "de",
        "random_drop": 0.5,
        "beyond_random": 0.01,
    }
    noise = {"rerun_largest": 0.03, "beyond_random_low": -0.02, "beyond_random_high": 0.04}
    frames["controls"] = pd.DataFrame([{**control, **noise}])
    cards = findings.cards(frames)
    assert cards["kind"].tolist() == ["drop", "did", "rerun", "random"]
    assert "not shown to be better than random pruning (difference −2.0 to 4.0)" in cards["text"].tolist()
    gain = findings.cards(one(drop=-0.1, drop_low=-0.2, drop_high=-0.01))
    assert gain["text"].tolist() == ["German (de) gains 10.0 points (1.0 to 20.0)"] and gain["gain"].all()
    assert findings.cards({}).empty


# The rules attacked with made-up tables, in which the right words are known.


def mean_row(**changes: object) -> dict[str, object]:
    """The zero-shot mean of one method, surely lower and unequal over languages."""
    return {
        "study": "s", "split": "test", "method": "m", "recipe": "magnitude", "sparsity": 0.9, "language": MEAN, "drop": 0.1, "drop_low": 0.06,
        "drop_high": 0.14, "p_differ": 0.001, "worst_language": "sw", "worst": 0.3, "range": 0.25, "range_equal": 0.05, "source_drop": 0.02, **changes,
    }  # fmt: skip


def told(**frames: list[dict[str, object]]) -> dict[str, str]:
    """kind → words of all clauses."""
    found = findings.cards({name: pd.DataFrame(rows) for name, rows in frames.items()})
    return dict(zip(found["kind"], found["text"], strict=True))


def test_the_mean_over_languages_in_words() -> None:
    source = one()["degradation"].to_dict("records")[1:]
    said = told(spread=[mean_row()], degradation=source)
    assert (
        said["mean"]
        == "the zero-shot languages lose 10.0 points on average (6.0 to 14.0); English (en) loses 2.0 points"
    )
    assert "Swahili (sw) fares worst, it loses 30.0 points; drops span 25.0 points" in said["differ"]
    gain = {"drop": -0.1, "drop_low": -0.14, "drop_high": -0.06, "source_drop": -0.01}
    said = told(spread=[mean_row(**gain, worst=-0.02)], degradation=source)
    assert (
        said["mean"]
        == "the zero-shot languages gain 10.0 points on average (6.0 to 14.0); English (en) gains 1.0 points"
    )
    assert "Swahili (sw) fares worst, it gains 2.0 points" in said["differ"]  # the least gain is no greatest one
    assert set(told(spread=[mean_row(p_differ=0.2)])) == {"mean"}  # equal languages: nothing of a difference
    assert told(spread=[mean_row(drop_low=-0.01)]) == {}
    assert told(spread=[mean_row(split="natural")]) == {}
    two = [*source, {**source[0], "language": "de"}]
    assert "; the source languages lose 2.0 points" in told(spread=[mean_row()], degradation=two)["mean"]


def test_means_are_corrected_for_how_many_there_are() -> None:
    weak = mean_row(drop=0.02, drop_low=0.0005, drop_high=0.0395)  # p is just under .05
    assert "mean" in told(spread=[weak])
    assert told(spread=[weak, *({**weak, "method": f"m{number}", "drop_low": -0.01} for number in range(5))]) == {}


def test_a_score_that_is_not_right_or_wrong_is_tested_by_its_interval() -> None:
    rows = one(p_holm=np.nan)["degradation"].assign(p_holm=np.nan)
    assert findings.cards({"degradation": rows})["kind"].tolist() == [
        "drop",
        "did",
        "drop",
    ]  # both intervals are clear of 0
    wide = rows.assign(drop_low=0.001, drop_high=0.199)
    assert findings.cards({"degradation": wide}).empty  # .048 for one, and two languages are tested


@pytest.mark.parametrize(
    ("value", "low", "high", "wanted"),
    [
        (0.1, 0.05, 0.15, 8.9e-5),
        (0.0, -0.1, 0.1, 1.0),
        (1.0, 0.0, 2.0, 0.05),
        (-1.0, -2.0, 0.0, 0.05),
        (0.3, 0.3, 0.3, 0.0),
    ],
)
def test_p_values_of_intervals(value: float, low: float, high: float, wanted: float) -> None:
    from scipy.stats import norm

    assert inference.interval_p(value, low, high) == pytest.approx(wanted, rel=0.02)
    if high > low:
        assert inference.interval_p(value, low, high) == pytest.approx(
            2 * norm.sf(2 * norm.ppf(0.975) * abs(value) / (high - low))
        )
    assert np.isnan(inference.interval_p(value, np.nan, high))


def test_the_half_of_an_interval_that_faces_0_decides() -> None:
    for value, low, high in ((0.1, 0.001, 0.5), (0.1, -0.001, 0.101), (-0.2, -0.9, -0.001), (-0.2, -0.21, 0.01)):
        assert (inference.interval_p(value, low, high) < 0.05) is (low > 0 or high < 0)


def test_worse_than_random_pruning_is_said_so() -> None:
    frames = one()
    place = {
        "split": "test",
        "method": "m",
        "sparsity": 0.9,
        "language": "de",
        "random_drop": 0.02,
        "rerun_largest": np.nan,
    }
    frames["controls"] = pd.DataFrame(
        [{**place, "beyond_random": -0.08, "beyond_random_low": -0.12, "beyond_random_high": -0.04}]
    )
    text = findings.cards(frames)
    assert (
        text.loc[text["kind"] == "random", "text"].item()
        == "8.0 points more than under random pruning at the same sparsity (4.0 to 12.0)"
    )


def test_the_worst_of_many_labels_is_not_told_for_being_the_worst() -> None:
    frames, rng = one(), np.random.default_rng(0)
    place = {"split": "test", "method": "m", "sparsity": 0.9, "language": "de", "kind": "label", "n": 40}

    def slices(drops: np.ndarray) -> pd.DataFrame:
        facts = [
            {**place, "slice": f"c{number}", "drop": drop, "drop_low": drop - 0.1, "drop_high": drop + 0.1}
            for number, drop in enumerate(drops)
        ]
        return pd.DataFrame(facts)

    chance = 0.1 + rng.normal(0, 0.05, (300, 12))  # all labels drop alike, each known to ± .1
    cards = [kinds({**frames, "flip_slices": slices(drops)}) for drops in chance]
    assert np.mean(["slice" in card for card in cards]) < 0.06  # without the correction it is a quarter
    assert "slice" in kinds({**frames, "flip_slices": slices(np.array([0.5, *chance[0, 1:]]))})


def test_labels_are_compared_with_all_items_in_one_metric() -> None:
    frames = one(metric="macro_f1", drop=0.02, drop_low=0.01, drop_high=0.03)  # of accuracy all labels lose .3
    place = {"split": "test", "method": "m", "sparsity": 0.9, "language": "de", "kind": "label", "metric": "accuracy"}
    spread = [("a", 0.3), ("b", 0.3), ("c", 0.3)]

    def told(drops: list[tuple[str, float]]) -> pd.DataFrame:
        facts = [
            {**place, "slice": name, "n": 40, "drop": drop, "drop_low": drop - 0.1, "drop_high": drop + 0.1}
            for name, drop in drops
        ]
        return findings.cards({**frames, "flip_slices": pd.DataFrame(facts)})

    assert "slice" not in set(told(spread)["kind"])
    cards = told([*spread, ("d", 0.8)])
    assert "d: 80.0 points of accuracy (" in cards.loc[cards["kind"] == "slice", "text"].item()


def test_restored_parts_are_averaged_over_seeds_and_sure_in_each() -> None:
    place = {"method": "m", "sparsity": 0.9, "language": "de", "direction": "restore", "partition": "blocks"}

    def part(seed: int, name: str, effect: float, low: float) -> dict[str, object]:
        ends = {"effect_margin": effect, "effect_low_margin": low, "effect_high_margin": 2 * effect - low}
        return {**place, "seed": seed, "part": name, **ends, "share_margin": effect}

    rows = [
        part(0, "block 1", 0.6, 0.4),
        part(1, "block 1", 0.4, 0.3),
        part(0, "block 0", 0.9, 0.7),
        part(1, "block 0", 0.1, -0.1),
    ]
    cards = findings.cards({**one(), "restored": pd.DataFrame(rows)})
    row = cards[cards["kind"] == "restored"].iloc[0]
    assert row["text"] == "putting back the dense weights of block 1 recovers 50.0% of the margin that was lost"
    assert json.loads(row["query"])["seed"] == "0"
    harmful = [part(0, "block 0", -0.5, -0.7)]
    assert "restored" not in kinds({**one(), "restored": pd.DataFrame(harmful)})


def test_no_card_says_why(store: Path) -> None:
    said = " ".join(measures.read_study(store, NAME, "findings")["text"])
    assert not re.search(r"\b(because|due to|causes?d?|leads? to|explains?|thanks to|therefore|owing)\b", said)


def test_later_measures_follow_what_they_read(store: Path) -> None:
    assert run_measure(store) == []
    folder = files.of_study(store, NAME)
    before = {path.name for path in folder.glob("findings-*")}
    level = Run(store / NAME / "magnitude-s0").level(0.95)
    next(files.of_level(level).glob("calibration-*")).unlink()
    frame = tables.predictions(level)[0]
    assert len(frame)  # the level itself is as it was
    assert run_measure(store) == []
    assert {path.name for path in folder.glob("findings-*")} == before  # the same inputs give the same key
    assert set(plan.LATER) <= set(measures.NAMES)
