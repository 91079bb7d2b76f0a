"""analysis.tables, analysis.items and the command `table`: contract columns, intervals, ids, broken folders."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis import recovery, tables, text
from analysis.__main__ import app
from analysis.items import collect
from engine.record import RecordError, Run
from engine.registry import table as registry_table
from tests.synthetic import LANGUAGES, Shape, World, write_run, write_store

SMALL = Shape(
    languages=3,
    seeds=2,
    levels=(0.5, 0.9),
    methods=("random", "magnitude"),
    items=60,
    natural=20,
    probe=24,
    classes=4,
    layers=1,
    width=8,
)
CONTRACT = [
    "study",
    "method",
    "recipe",
    "seed",
    "sparsity",
    "measured_sparsity",
    "language",
    "split",
    "metric",
    "value",
    "n",
    "low",
    "high",
    "updates",
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("store"), SMALL)


def fresh(folder: Path, **changes: object) -> Path:
    return write_store(folder, Shape(**{**SMALL.__dict__, "activations": False, "weights": False, **changes}))  # type: ignore[arg-type]


# -- scores --------------------------------------------------------------------------------------------------------


def test_scores_have_the_contract(store: Path) -> None:
    frame = tables.scores(store)
    assert list(frame.columns) == CONTRACT
    keys = ["study", "method", "seed", "sparsity", "updates", "language", "split", "metric"]
    assert not frame.duplicated(keys).any()
    # (1 dense + 2 continued + 2 methods × 2 levels) × 2 seeds × 3 languages × 2 splits × 3 scores
    assert len(frame) == 7 * 2 * 3 * 2 * 3
    assert set(frame["metric"]) == {"accuracy", "macro_f1", "matthews"}
    dense = frame[frame["method"] == "dense"]
    assert set(dense["recipe"]) == {"dense"} and set(dense["sparsity"]) == {0.0} and set(dense["updates"]) == {240}
    continued = frame[frame["method"] == "dense_continued"]
    assert set(continued["updates"]) == {320, 400} and set(continued["sparsity"]) == {0.0}
    assert frame.loc[frame["method"] == "magnitude", "updates"].isna().all()


def test_scores_are_those_of_the_predictions(store: Path) -> None:
    frame = tables.scores(store, "synthetic", metrics=["accuracy"])
    predictions = Run(store / "synthetic" / "magnitude-s1").level(0.9).frame("predictions")
    expected = predictions[predictions["split"] == "test"].groupby("language")["score"].mean()
    rows = frame[
        (frame["method"] == "magnitude")
        & (frame["seed"] == 1)
        & (frame["sparsity"] == 0.9)
        & (frame["split"] == "test")
    ]
    assert rows.set_index("language")["value"].to_dict() == pytest.approx(expected.to_dict())
    assert set(rows["n"]) == {60}


def test_intervals_hold_the_value_and_have_the_right_width(store: Path) -> None:
    frame = tables.scores(store, metrics=["accuracy"])
    assert ((frame["low"] <= frame["value"]) & (frame["value"] <= frame["high"])).all()
    rows = frame[(frame["value"] > 0.3) & (frame["value"] < 0.7) & (frame["n"] == 60)]
    normal = 2 * 1.96 * np.sqrt(rows["value"] * (1 - rows["value"]) / 60)
    assert len(rows) and ((rows["high"] - rows["low"]) / normal).between(0.8, 1.2).all()
    pd.testing.assert_frame_equal(frame, tables.scores(store, metrics=["accuracy"]))  # seeded


def test_unfinished_levels_are_not_read(tmp_path: Path) -> None:
    store = fresh(tmp_path, seeds=1)
    run = Run(store / "synthetic" / "magnitude-s0")
    (run.path / "status.json").unlink()
    (run.level(0.9).path / "size.json").unlink()
    frame = tables.scores(store)
    assert set(frame.loc[frame["method"] == "magnitude", "sparsity"]) == {0.5}
    listed = tables.runs(store).set_index("method")
    assert listed.loc["magnitude", "levels"] == ["0.5000"] and listed.loc["magnitude", "state"] != "done"
    assert listed.loc["random", "levels"] == ["0.5000", "0.9000"] and listed.loc["random", "seconds"] == 12.5


@pytest.mark.parametrize("damage", ["config", "predictions", "missing predictions", "size"])
def test_one_broken_run_is_named_and_the_rest_is_read(tmp_path: Path, damage: str) -> None:
    store = fresh(tmp_path, seeds=1)
    run = Run(store / "synthetic" / "magnitude-s0")
    level = run.level(0.5).path
    target = {"config": run.path / "config.json", "size": level / "size.json"}.get(
        damage, level / "predictions.parquet"
    )
    target.unlink() if damage.startswith("missing") else target.write_text("{ broken", encoding="utf-8")
    problems: list[str] = []
    frame = tables.scores(store, problems=problems)
    assert len(problems) == 1 and "synthetic/magnitude-s0" in problems[0] and "\n" not in problems[0]
    assert {"dense", "dense_continued", "random"} <= set(frame["method"])
    assert 0.5 not in set(frame.loc[frame["method"] == "magnitude", "sparsity"])
    with pytest.raises(RecordError, match="magnitude-s0"):
        tables.scores(store)


def test_broken_runs_stay_in_the_list_of_runs(tmp_path: Path) -> None:
    store = fresh(tmp_path, seeds=1)
    (store / "synthetic" / "random-s0" / "config.json").write_text("[", encoding="utf-8")
    (store / "synthetic" / "magnitude-s7").mkdir()
    listed = tables.runs(store, "synthetic").set_index("run")
    assert listed.loc["random-s0", "state"] == "broken"
    assert listed.loc["magnitude-s7", "state"] == "missing"


def test_unknown_study_and_store_are_refused(store: Path) -> None:
    with pytest.raises(RecordError, match="must be one of synthetic; got 'nope'"):
        tables.scores(store, "nope")
    with pytest.raises(RecordError, match="STORE: must be a folder"):
        tables.runs(store / "absent")
    with pytest.raises(ValueError, match="metrics: must be among"):
        tables.scores(store, metrics=["speed"])


# -- items ---------------------------------------------------------------------------------------------------------


def test_items_are_matched_by_id_when_rows_are_shuffled(store: Path, tmp_path: Path) -> None:
    ordered = collect(store, "synthetic")
    shuffled = collect(fresh(tmp_path, shuffle=True), "synthetic")
    assert ordered.languages == shuffled.languages == LANGUAGES[:3]
    for code in ordered.languages:
        place = pd.Index(shuffled.ids[code]).get_indexer(ordered.ids[code])
        assert ordered.dense is not None and shuffled.dense is not None
        np.testing.assert_array_equal(ordered.dense.score[code], shuffled.dense.score[code][:, place])
        for key, state in ordered.states.items():
            np.testing.assert_array_equal(state.margin[code], shuffled.states[key].margin[code][:, place])


def test_items_hold_seeds_steps_and_controls(store: Path) -> None:
    items = tables.items(store, "synthetic")
    assert set(items.states) == {(method, level) for method in ("random", "magnitude") for level in (0.5, 0.9)}
    assert [items.states["magnitude", level].step for level in (0.5, 0.9)] == [1, 2]
    assert sorted(items.continued) == [1, 2]
    assert items.dense is not None and items.dense.seeds == (0, 1)
    assert items.dense.score["de"].shape == (2, 60)
    assert items.zero_shot == ("de", "fr") and items.parallel and items.aligned
    assert items.chance["en"] == pytest.approx(0.25)


def test_items_that_one_state_lacks_are_left_out_of_all(tmp_path: Path) -> None:
    store = fresh(tmp_path)
    level = Run(store / "synthetic" / "random-s1").level(0.9)
    frame = level.frame("predictions")
    level.write_frame("predictions", frame[(frame["language"] != "de") | (frame["id"] != "test-00007")])
    items = collect(store, "synthetic")
    assert "test-00007" not in items.ids["de"] and "test-00007" in items.ids["en"]
    assert items.states["magnitude", 0.5].score["de"].shape == (2, 59)
    assert not items.aligned and items.common().aligned
    assert items.common().states["magnitude", 0.5].score["en"].shape == (2, 59)
    assert items.notes == ("de: 59 of 60 items are in every level; only these count",)


def test_sets_that_are_not_parallel_are_not_aligned(tmp_path: Path) -> None:
    items = collect(fresh(tmp_path, parallel=False), "synthetic")
    assert not items.parallel and not items.aligned and items.common() is items


def test_repeated_ids_are_refused(tmp_path: Path) -> None:
    store = fresh(tmp_path, seeds=1)
    level = Run(store / "synthetic" / "random-s0").level(0.5)
    frame = level.frame("predictions")
    level.write_frame("predictions", pd.concat([frame, frame.head(1)]))
    problems: list[str] = []
    collect(store, "synthetic", problems=problems)
    assert len(problems) == 1 and "ids must be unique" in problems[0]


# -- other readers -------------------------------------------------------------------------------------------------


def test_activations_are_read_by_layer(store: Path) -> None:
    level = Run(store / "synthetic" / "dense-s0").level(0.0)
    whole = tables.activations(level, "de", "mean")
    assert whole.shape == (24, 2, 8) and whole.dtype == np.float32
    np.testing.assert_array_equal(tables.activations(level, "de", "mean", [1]), whole[:, 1:])
    assert len(tables.probe(level)) == 3 * 24
    with pytest.raises(RecordError, match="layers: must be from 0 to 1; got 5"):
        tables.activations(level, "de", "mean", [5])
    with pytest.raises(RecordError, match="has no xx/mean"):
        tables.activations(level, "xx", "mean")


def test_heads_of_every_level_and_none_of_older_runs(tmp_path: Path) -> None:
    small = Shape(**{**SMALL.__dict__, "activations": False, "seeds": 1})
    heads = tables.heads(write_store(tmp_path / "new", small), "synthetic")
    assert len(heads) == 7 * small.layers * small.heads * 5 and set(heads["part"]) >= {
        "all",
        "query",
        "attention_output",
    }
    level = heads[
        (heads["method"] == "magnitude") & (heads["part"] == "all") & (heads["sparsity"] == max(small.levels))
    ]
    whole = tables.weights(tmp_path / "new", "synthetic").merge(level[["method", "sparsity"]].drop_duplicates())
    attention = whole[~whole["kind"].str.startswith("ffn")]
    assert level["removed"].sum() == attention["removed"].sum()  # every attention weight belongs to one head
    old = write_store(tmp_path / "old", Shape(**{**small.__dict__, "heads": 0}))
    assert tables.heads(old, "synthetic").empty and "study" in tables.heads(old, "synthetic")


def test_weights_and_sizes_cover_every_level(store: Path) -> None:
    weights, sizes = tables.weights(store, "synthetic"), tables.sizes(store, "synthetic")
    assert len(sizes) == 7 * 2 and len(weights) == 7 * 2 * 6
    rows = weights[(weights["method"] == "magnitude") & (weights["sparsity"] == 0.9)]
    removed = rows["removed"].sum() / (rows["outputs"] * rows["inputs"]).sum()
    assert removed == pytest.approx(0.9, abs=0.01) and (rows["measured_sparsity"] - 0.9).abs().max() < 0.01
    assert (weights.loc[weights["method"] == "dense", "unit_cosine_mean"] > 0.999).all()


def test_the_last_attempt_of_a_validation_line_counts(tmp_path: Path) -> None:
    store = fresh(tmp_path, seeds=1)
    run = Run(store / "synthetic" / "magnitude-s0")
    run.log("validation", 260, 2, level=0.5, cycle=1, cycle_step=20, score=0.125)
    lines = tables.recovery_lines(store, "synthetic")
    points = lines[(lines["run"] == "magnitude-s0") & (lines["cycle"] == 1)]
    assert points["cycle_step"].tolist() == [0, 20, 40, 60, 80]
    assert points.loc[points["cycle_step"] == 20, "score"].tolist() == [0.125]


def test_a_run_that_has_just_begun_is_passed_over(tmp_path: Path) -> None:
    store = fresh(tmp_path, seeds=1)
    (store / "synthetic" / "magnitude-s5").mkdir()
    write_run(store, World(SMALL), "random", 3, state=None, levels=1)
    problems: list[str] = []
    frame = tables.scores(store, problems=problems)
    assert problems == [] and set(frame.loc[frame["seed"] == 3, "sparsity"]) == {0.5}


# -- recovery and text ---------------------------------------------------------------------------------------------


def test_recovery_by_hand() -> None:
    updates, scores = [0, 10, 20, 40], [0.2, 0.6, 0.9, 1.0]
    assert recovery.after_mask(updates, scores) == 0.2
    assert recovery.updates_to_recover(updates, scores) == pytest.approx(20 + 20 * 0.9)
    assert recovery.score_after(updates, scores, 0.25) == pytest.approx(0.6)
    assert recovery.score_after(updates, scores, 0.1) == pytest.approx(0.36)
    assert recovery.updates_to_recover([0, 5], [0.8, 0.8]) == 0.0
    assert np.isnan(recovery.updates_to_recover([0, 5], [-0.1, 0.0]))
    # A dip after the first reach does not count: the first time is asked for.
    assert recovery.updates_to_recover([0, 10, 20], [0.0, 1.0, 0.5]) == pytest.approx(9.9)


@pytest.mark.parametrize(
    ("updates", "scores"),
    [([0, 1], [0.5]), ([1, 2], [0.1, 0.2]), ([0, 2, 2], [0.1, 0.2, 0.3]), ([0, 1], [0.1, np.nan]), ([], [])],
)
def test_recovery_refuses_what_is_no_cycle(updates: list[float], scores: list[float]) -> None:
    with pytest.raises(ValueError, match="updates|scores"):
        recovery.updates_to_recover(updates, scores)


def test_recovery_table_leaves_out_the_dense_cycle(store: Path) -> None:
    frame = recovery.recovery(tables.recovery_lines(store, "synthetic"))
    assert "dense" not in set(frame["method"]) and len(frame) == 2 * (2 + 2 * 2)
    assert (frame["after_mask"] <= frame["after_10"]).all() and (frame["after_50"] <= frame["best"]).all()
    assert frame["recovered_share"].between(0, 1).all()


def test_fertility_counts_words_or_characters() -> None:
    assert text.fertility([4, 2], [2, 2]) == 1.5
    assert text.spaced("de") and not text.spaced("zh") and not text.spaced("th") and text.spaced("unheard-of")
    with pytest.raises(ValueError, match="same texts"):
        text.fertility([1, 2], [1])
    assert np.isnan(text.fertility([1], [0]))


def test_tokenizer_table(tmp_path: Path) -> None:
    store = fresh(tmp_path, seeds=1, languages=10)
    found = text.tokenizer(tables.text(store, "synthetic"))
    rows = found[found["split"] == "test"].set_index("language")
    assert rows.loc["zh", "unit"] == "character" and rows.loc["de", "unit"] == "word"
    assert rows.loc["zh", "fertility"] == pytest.approx(rows.loc["zh", "tokens_per_character"])
    assert rows.loc["sw", "fertility"] > rows.loc["en", "fertility"]
    assert rows["truncated"].between(0, 1).all() and rows["unknown"].between(0, 1).all()


def test_rank_correlation_against_scipy() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=12), rng.normal(size=12)
    rho, low, high = text.rank_correlation(x, y, 0)
    assert rho == pytest.approx(spearmanr(x, y).statistic) and low < rho < high
    assert text.rank_correlation(np.arange(5), np.arange(5) ** 3, 0)[:1] == (1.0,)
    assert np.isnan(text.rank_correlation(np.ones(5), np.arange(5), 0)).all()
    with pytest.raises(ValueError, match="4 or more languages"):
        text.rank_correlation([1, 2], [1, 2], 0)


def test_every_measure_is_described() -> None:
    rows = registry_table("measures")
    assert rows is tables.MEASURES and {"drop", "linear_cka", "r_squared", "ece", "after_mask", "fertility"} <= set(
        rows
    )
    assert all(row.what and row.section.startswith("M§") and row.formula and row.page for row in rows.values())


# -- the command line ----------------------------------------------------------------------------------------------

RUNNER = CliRunner()


def test_table_as_json_csv_and_parquet(store: Path, tmp_path: Path) -> None:
    printed = RUNNER.invoke(app, ["table", str(store), "--metric", "accuracy"])
    assert printed.exit_code == 0
    rows = json.loads(printed.stdout)
    assert list(rows[0]) == CONTRACT and "NaN" not in printed.stdout
    assert {row["updates"] for row in rows} == {None, 240.0, 320.0, 400.0}
    csv = RUNNER.invoke(app, ["table", str(store), "--metric", "accuracy", "--format", "csv"])
    assert csv.stdout.splitlines()[0] == ",".join(CONTRACT) and len(csv.stdout.splitlines()) == len(rows) + 1
    for form in ("json", "csv", "parquet"):
        path = tmp_path / f"table.{form}"
        done = RUNNER.invoke(
            app,
            ["table", str(store), "--study", "synthetic", "--metric", "accuracy", "--format", form, "--to", str(path)],
        )
        assert done.exit_code == 0 and path.stat().st_size > 0
    assert len(pd.read_parquet(tmp_path / "table.parquet")) == len(rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table", "{store}", "--study", "nope"], "study: must be one of synthetic; got 'nope'"),
        (["table", "{store}/absent"], "STORE: must be a folder of runs"),
        (["table", "{store}", "--format", "xml"], "--format: must be one of json, csv, parquet; got 'xml'"),
        (["table", "{store}", "--format", "parquet"], "--to: must name a file"),
        (["table", "{store}", "--metric", "speed"], "--metric: must be among accuracy"),
        (["table", "{store}", "--to", "{store}/no/where.json"], "--to: must be a file in a folder that exists"),
        (["summary", "{store}", "--study", "nope"], "study: must be one of synthetic"),
        (
            ["summary", "{store}", "--study", "synthetic", "--split", "dev"],
            "split: must be one of test, natural; got 'dev'",
        ),
        (["measure", "{store}", "--study", "nope"], "study: must be one of synthetic"),
        (["measure", "{store}", "--study", "synthetic", "--only", "beauty"], "only: must be among degradation"),
        (["measure", "{store}", "--study", "synthetic", "--run", "magnitude-s9"], "run: must be among"),
        (
            ["measure", "{store}", "--study", "synthetic", "--level", "0.33"],
            "level: must be among 0.0, 0.5, 0.9; got 0.33",
        ),
        (
            ["measure", "{store}", "--study", "synthetic", "--projection", "tsne"],
            "--projection: must be one of pca, umap",
        ),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(store: Path, arguments: list[str], message: str) -> None:
    done = RUNNER.invoke(app, [argument.format(store=store) for argument in arguments])
    assert done.exit_code == 2
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr


def test_a_broken_run_makes_exit_1_and_leaves_the_rest(tmp_path: Path) -> None:
    store = fresh(tmp_path, seeds=1)
    (store / "synthetic" / "random-s0" / "config.json").write_text("{", encoding="utf-8")
    done = RUNNER.invoke(app, ["table", str(store), "--metric", "accuracy"])
    assert done.exit_code == 1 and "synthetic/random-s0" in done.stderr
    assert {row["method"] for row in json.loads(done.stdout)} == {"dense", "dense_continued", "magnitude"}


def test_an_empty_store_is_an_empty_table(tmp_path: Path) -> None:
    done = RUNNER.invoke(app, ["table", str(tmp_path)])
    assert done.exit_code == 0 and json.loads(done.stdout) == []
