"""Methods against each other: paired differences, contrasts of what happened inside, mask overlap, and their figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis import inference, measures, pairs, tables
from analysis import weights as weights_of
from analysis.figures import compare as figures
from analysis.measures import compare, files
from tests import reference
from tests.synthetic import Shape, write_store
from tests.test_measures import WITHOUT_UMAP, quiet

SHAPE = Shape(
    study="first", languages=3, seeds=2, items=60, natural=20, probe=32, classes=4, layers=2, width=16,
    methods=("random", "magnitude", "sdp_cc"), levels=(0.5, 0.9),
)  # fmt: skip
FIRST, SECOND = ("first", "magnitude"), ("second", "magnitude")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies on the same items; the second has a language less, other methods and another level."""
    folder = write_store(tmp_path_factory.mktemp("store"), SHAPE)
    write_store(folder, replace(SHAPE, study="second", languages=2, methods=("magnitude",), levels=(0.9, 0.95)))
    for study in ("first", "second"):
        assert measures.measure(folder, study, WITHOUT_UMAP, workers=1, say=quiet) == []
    for arguments in (("first",), ("second",), ("first", "second")):
        assert compare.compare(folder, *arguments, say=quiet) == []
    return folder


def test_differences_are_those_of_the_paired_bootstrap(store: Path) -> None:
    frame = files.read_study(store, "first", "pairs")
    row = frame[(frame["split"] == "test") & (frame["sparsity"] == 0.9) & (frame["language"] == "de")
                & (frame["method_a"] == "magnitude") & (frame["method_b"] == "sdp_cc")].iloc[0]  # fmt: skip
    items = tables.items(store, "first")
    a, b = (items.states[name, 0.9].score["de"] for name in ("magnitude", "sdp_cc"))
    value, low, high = inference.paired_bootstrap(a, b, 0)
    assert row["difference"] == pytest.approx(value) == pytest.approx(row["a"] - row["b"])
    assert (row["low"], row["high"]) == pytest.approx((low, high), abs=0.02)
    assert row["p"] == inference.median_p([inference.mcnemar(*pair) for pair in zip(a, b, strict=True)])
    assert row["n"] == 60 and row["seeds"] == 2


def test_holm_is_over_all_pairs_of_the_test_split(store: Path) -> None:
    frame = files.read_study(store, "first", "pairs")
    own = frame[frame["study_b"] == "first"]
    tested = own[(own["split"] == "test") & (own["language"] != pairs.MEAN)]
    assert len(tested) == 3 * 2 * 3  # pairs × levels × languages
    assert tested["p_holm"].to_numpy() == pytest.approx(inference.holm(tested["p"]))
    assert own.loc[own["split"] == "natural", "p_holm"].isna().all()


def test_two_studies_meet_on_what_they_share(store: Path) -> None:
    frame = files.read_study(store, "first", "pairs")
    across = frame[(frame["study_b"] == "second") & (frame["split"] == "test")]
    assert set(across["language"]) == {"en", "de", pairs.MEAN}
    assert set(across.loc[across["method_a"] != "dense", "sparsity"]) == {0.9}
    same = across[(across["method_a"] == "magnitude") & (across["method_b"] == "magnitude")]
    dense = across[(across["method_a"] == "dense") & (across["method_b"] == "dense")]
    assert len(same) == len(dense) == 3  # both languages and their zero-shot mean
    first, second = (tables.items(store, study).states["magnitude", 0.9].score["de"] for study in ("first", "second"))
    assert same.set_index("language").loc["de", "difference"] == pytest.approx(float(first.mean() - second.mean()))


def test_items_are_matched_by_id_across_studies(store: Path) -> None:
    first, second = tables.items(store, "first"), tables.items(store, "second")
    order = np.random.default_rng(0).permutation(60)
    mixed = second.states["magnitude", 0.9]
    mixed = mixed.take(dict.fromkeys(second.languages, order))
    shuffled = replace(
        second,
        ids={code: ids[order] for code, ids in second.ids.items()},
        states={("magnitude", 0.9): mixed},
        dense=None,
    )
    kept = ["language", "difference", "low", "high", "p"]
    one, other = (
        frame[(frame["method_a"] == "magnitude") & (frame["sparsity"] == 0.9)][kept].reset_index(drop=True)
        for frame in (pairs.score_pairs(first, second), pairs.score_pairs(first, shuffled))
    )
    pd.testing.assert_frame_equal(one, other)


def test_studies_without_a_common_language_have_no_pairs(store: Path) -> None:
    first = tables.items(store, "first")
    foreign = replace(first, languages=("xx",), ids={"xx": first.ids["de"]})
    assert pairs.score_pairs(first, foreign).empty


def test_contrasts_average_what_both_have(store: Path) -> None:
    frame = files.read_study(store, "first", "contrasts")
    row = frame[(frame["measure"] == "r_squared") & (frame["layer"] == 2) & (frame["sparsity"] == 0.9)
                & (frame["method_a"] == "magnitude") & (frame["method_b"] == "sdp_cc") & (frame["study_b"] == "first")].iloc[0]  # fmt: skip
    levels = files.read_levels(store, "first", "separability")
    part = levels[(levels["sparsity"] == 0.9) & (levels["layer"] == 2) & (levels["pooling"] == "first")]
    means = part.groupby("method")["r_squared"].mean()
    assert row["difference"] == pytest.approx(means["magnitude"] - means["sdp_cc"])
    assert row["low"] < row["difference"] < row["high"]
    assert (row["seeds"], row["languages"]) == (2, 3)
    assert {"cka", "pruning_snr_db", "class_snr", "retrieval", "updates_to_recover"} <= set(frame["measure"])


@pytest.mark.parametrize("shape", [(2, 5), (1, 4), (3, 1)])
def test_interval_over_seeds_and_languages(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(1).normal(size=shape)
    assert pairs.crossed_interval(values, 0, 200) == pytest.approx(reference.crossed_interval(values, 0, 200))


def test_one_value_has_no_interval_and_nonsense_is_refused() -> None:
    assert np.isnan(pairs.crossed_interval([[0.5]])).all()
    for wrong in ([0.5], [[]], [[np.nan, 1.0]]):
        with pytest.raises(ValueError, match="values: must be finite, seeds × languages"):
            pairs.crossed_interval(wrong)


def test_overlap_is_that_of_the_masks(store: Path) -> None:
    frame = files.read_study(store, "first", "mask_pairs")
    row = frame[(frame["seed"] == 1) & (frame["sparsity"] == 0.9) & (frame["method_a"] == "magnitude") & (frame["method_b"] == "random")].iloc[0]  # fmt: skip
    from engine import record

    masks = [record.Run(store / "first" / f"{name}-s1").level(0.9).masks() for name in ("magnitude", "random")]
    flat = [np.concatenate([mask.ravel() for mask in found.values()]) for found in masks]
    assert row["jaccard"] == pytest.approx(weights_of.jaccard(*flat))
    assert 0 < row["chance"] < 0.2


def test_what_is_stored_is_not_made_again(store: Path) -> None:
    said: list[str] = []
    assert compare.compare(store, "first", "second", said.append) == [] and said == []


# -- figures -------------------------------------------------------------------------------------------------------


def test_every_difference_is_arm_less_reference(store: Path) -> None:
    frame = files.read_study(store, "first", "pairs")
    arms = [("first", name) for name in ("random", "magnitude", "sdp_cc")]
    rows = figures.against(frame[(frame["sparsity"] == 0.9) & (frame["split"] == "test")], arms[1], arms)
    assert set(rows["method"]) == {"random", "sdp_cc"}
    assert (rows["value"] - rows["reference"]).to_numpy() == pytest.approx(rows["difference"].to_numpy())
    assert ((rows["low"] <= rows["difference"]) & (rows["difference"] <= rows["high"])).all()
    assert rows.loc[(rows["method"] == "random") & (rows["language"] == pairs.MEAN), "difference"].item() < 0


@pytest.mark.parametrize("dark", [False, True])
def test_figures_say_what_they_show(store: Path, dark: bool) -> None:
    arms = [FIRST, ("first", "sdp_cc"), SECOND]
    read = {name: files.read_study(store, "first", name) for name in compare.NAMES}
    shown = [
        figures.difference_dots(read["pairs"], FIRST, arms, 0.9, dark=dark),
        figures.inside_dots(read["contrasts"], FIRST, arms, 0.9, 2, dark),
        figures.overlap_heatmap(read["mask_pairs"], arms, 0.9, dark),
    ]
    for one in shown:
        assert one.figure.data and one.reading.endswith(".") and "seed" in one.caption and len(one.data)
    assert "first/sdp_cc" in shown[0].reading or "second/magnitude" in shown[0].reading


def test_the_front_is_that_of_pareto() -> None:
    frame = pd.DataFrame(
        {"study": "s", "method": ["a", "b", "c"], "recipe": ["magnitude", "sdp_cc", "random"], "split": "test", "nonzeros": [1e6, 1e6, 2e6],
         "pruned": [0.8, 0.7, 0.75], "pruned_low": 0.6, "pruned_high": 0.9, "dense": 0.9, "worst": [0.1, 0.2, 0.3], "n": 10, "seeds": 2, "metric": "accuracy"}
    )  # fmt: skip
    shown = figures.size_lines(frame, [("s", name) for name in "abc"])
    front = next(trace for trace in shown.figure.data if trace.name == "not dominated")
    assert list(front.x) == [1.0] and list(front.y) == [80.0] and shown.reading.startswith("a holds the front")


def test_nothing_to_compare_is_said() -> None:
    empty = pd.DataFrame()
    for shown in (
        figures.difference_dots(empty, FIRST, [FIRST, SECOND], 0.9),
        figures.inside_dots(empty, FIRST, [FIRST, SECOND], 0.9, 1),
        figures.overlap_heatmap(empty, [FIRST, SECOND], 0.9),
        figures.size_lines(empty, [FIRST]),
    ):
        assert shown.data.empty and shown.caption


def test_the_axis_follows_the_methods_and_not_the_control(store: Path) -> None:
    rows = files.read_study(store, "first", "pairs")
    arms = [("first", name) for name in ("magnitude", "sdp_cc", "random")]
    far, control = rows.copy(), (rows["method_a"] == "random") | (rows["method_b"] == "random")
    far.loc[control, ["difference", "low", "high"]] += 10 * np.sign(far.loc[control, ["difference"]].to_numpy())
    shown = figures.difference_dots(far, arms[0], arms, 0.9)
    low, high = shown.figure.layout.xaxis.range
    own = figures.against(far[(far["sparsity"] == 0.9) & (far["split"] == "test")], arms[0], arms[:2])
    assert low <= 100 * own["low"].min() and high >= 100 * own["high"].max() and high - low < 300
    assert "random lies outside the axis" in shown.caption.lower() and "double click" in shown.caption
    near = figures.difference_dots(rows, arms[0], arms[:2], 0.9)
    assert near.figure.layout.xaxis.range is None and "outside" not in near.caption
