"""The analysis pages in every state of a store: none, one run, many, broken, not measured yet, no kept states."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from analysis import theme
from analysis.figures.drops import MEAN, named
from analysis.measures import NAMES, Request, Wish, measure, read_study
from engine import record
from pages.ui import jobs, loading, show
from pages.ui.loading import reading
from tests.conftest import ROOT
from tests.synthetic import Shape, World, write_run, write_store
from tests.test_pages_run import texts

PAGES = ("degradation", "flips", "separability", "alignment", "map", "weights", "diagnose")
SHAPE = Shape(
    languages=3,
    seeds=2,
    items=60,
    natural=20,
    probe=24,
    classes=4,
    layers=2,
    width=16,
    methods=("random", "magnitude"),
    levels=(0.5, 0.9),
    kept=True,
    restored=True,
    probed=True,
)
STUDY = SHAPE.study
Open = Callable[..., AppTest]


def small(**changes: Any) -> Shape:
    """The shape with other values."""
    return Shape(**{**vars(SHAPE), **changes})


def measured(store: Path, study: str = STUDY) -> None:
    """Measure everything but UMAP maps, whose first fit in a process compiles for ten seconds."""
    names = tuple(name for name in NAMES if name != "map")
    assert not [
        problem
        for problem in measure(store, study, Wish(only=names), workers=1, say=lambda line: None)
        if "s0: " not in problem
    ]
    measure(store, study, Wish(only=("map",), map=Request("pca")), workers=1, say=lambda line: None)


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one measured study."""
    store = write_store(tmp_path_factory.mktemp("many"), SHAPE)
    measured(store)
    return store


@pytest.fixture(scope="session")
def stores(many: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stores by the state that they are in."""
    found = {name: tmp_path_factory.mktemp(name) for name in ("none", "one", "unmeasured", "stateless")}
    write_run(found["one"], World(SHAPE), "dense", 0)
    write_store(found["unmeasured"], SHAPE)
    write_store(found["stateless"], small(activations=False, parallel=False, seeds=1))
    found["many"], found["broken"] = many, tmp_path_factory.mktemp("broken") / "store"
    shutil.copytree(many, found["broken"])
    study = found["broken"] / STUDY
    (study / "random-s0" / "config.json").write_text("{not json")
    (study / "magnitude-s1" / "config.json").write_text(json.dumps({"schema": 99}))
    next((study / "dense_continued-s0" / "levels").iterdir()).joinpath("size.json").write_text("[")
    return found


@pytest.fixture()
def page(stores: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Open:
    """Open a page on a store with the parameters of a link; `state` is put into the session before."""

    def opened(name: str, store: str | Path, state: dict[str, Any] | None = None, **query: str | list[str]) -> AppTest:
        monkeypatch.setenv("PRUNOSCOPE_STORE", str(stores[store] if isinstance(store, str) else store))
        app = AppTest.from_file(str(ROOT / "pages" / f"{name}.py"), default_timeout=60)
        for key, value in query.items():
            app.query_params[key] = value
        for key, value in (state or {}).items():
            app.session_state[key] = value
        app.run()
        assert not app.exception, app.exception[0].stack_trace
        return app

    return opened


@pytest.fixture()
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that pages start, instead of their processes."""
    found: list[list[str]] = []
    monkeypatch.setattr(jobs.Job, "start", lambda self, arguments, about: found.append(list(arguments)))
    return found


def figures(app: AppTest) -> list[dict[str, Any]]:
    """The Plotly figures of a page."""
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]


def press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label).click().run()


def table(app: AppTest, *columns: str) -> pd.DataFrame:
    """The only table of a page that has these columns."""
    found = [frame.value for frame in app.dataframe if set(columns) <= set(frame.value.columns)]
    assert len(found) == 1
    return found[0]


# -- every page ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["none", "one", "unmeasured", "stateless", "many", "broken"])
@pytest.mark.parametrize("name", PAGES)
def test_every_page_in_every_state(page: Open, name: str, store: str) -> None:
    app = page(name, store)
    assert len(app.title) == 1
    if store == "many" and name != "diagnose":  # which begins with findings in words
        assert figures(app)


@pytest.mark.parametrize("name", PAGES)
def test_empty_states_name_what_is_missing_and_the_next_click(page: Open, name: str) -> None:
    none, one = page(name, "none"), page(name, "one")
    assert "There is no study in this store yet" in texts(none)
    assert "No pruned level of this study is finished yet." in texts(one)
    assert [len(app.get("page_link")) for app in (none, one)] == [1, 1]
    assert not figures(none) and not figures(one)


@pytest.mark.parametrize("name", ["degradation", "flips", "separability", "alignment", "diagnose"])
def test_an_unmeasured_study_is_measured_on_request(
    page: Open, stores: dict[str, Path], started: list[list[str]], name: str
) -> None:
    app = page(name, "unmeasured")
    assert "have not been measured yet" in texts(app) and not figures(app)
    press(app, "Compute it now")
    assert started == [["analysis", "measure", str(stores["unmeasured"]), "--study", STUDY]]


@pytest.mark.parametrize("name", ["degradation", "flips", "separability", "alignment", "map", "diagnose"])
def test_read_only_servers_start_nothing(
    page: Open, monkeypatch: pytest.MonkeyPatch, started: list[list[str]], name: str
) -> None:
    monkeypatch.setenv("PRUNOSCOPE_READONLY", "1")
    app = page(name, "unmeasured")
    assert [button.disabled for button in app.button if button.label == "Compute it now"] == [True]


@pytest.mark.parametrize("name", ["separability", "alignment", "map"])
def test_a_study_without_states_says_what_would_keep_them(page: Open, name: str) -> None:
    assert "kept no" in texts(page(name, "stateless")) or "kept activations" in texts(page(name, "stateless"))


def test_broken_folders_are_named_and_the_rest_is_shown(page: Open) -> None:
    app = page("weights", "broken", method="magnitude", level="0.9")
    said = texts(app)
    assert "random-s0" in said and "magnitude-s1" in said
    assert figures(app)


@pytest.mark.parametrize("name", PAGES)
def test_the_address_holds_the_whole_view_and_restores_it(page: Open, name: str) -> None:
    app = page(name, "many", method="random", level="0.5")
    query = dict(app.query_params)
    again = page(name, "many", **query)
    assert dict(again.query_params) == dict(app.query_params)
    assert not again.warning
    assert figures(again) == figures(app)


@pytest.mark.parametrize(("name", "query"), [
    ("degradation", {"level": "0.77"}), ("separability", {"measure": "beauty"}), ("alignment", {"variant": "doubled"}),
    ("map", {"projection": "tsne"}), ("weights", {"method": "nobody"}), ("flips", {"view": "flops"}), ("diagnose", {"level": "0.1"}),
])  # fmt: skip
def test_what_a_link_cannot_have_is_said(page: Open, name: str, query: dict[str, str]) -> None:
    app = page(name, "many", **query)
    key, value = next(iter(query.items()))
    assert f"{key} = {value}: must be one of" in texts(app)


# -- Degradation --------------------------------------------------------------------------------------------------


def test_the_headline_says_who_loses_and_whether_languages_differ(page: Open) -> None:
    app = page("degradation", "many", method="random", level="0.9")
    said = texts(app)
    frame = loading.measure(STUDY, "degradation")
    assert frame is not None
    here = frame[(frame["method"] == "random") & (frame["sparsity"] == 0.9) & (frame["split"] == "test")]
    worst = here.loc[here["drop"].idxmax()]
    assert f"({100 * worst['drop']:.1f} points)" in said
    assert (
        "between the zero-shot languages is real" in said or "That the zero-shot languages differ is not shown" in said
    )
    assert "Under 5 seeds intervals are too narrow; there are 2. Read" in said
    assert "two dense models of different seeds differ by up to" in said and "with shuffled labels the drop is" in said
    labels = [metric.label.replace("\\", "") for metric in app.metric]
    assert (
        labels[0] == "Mean zero-shot drop"
        and labels[1] == "Source: English (en)"
        and labels[3] == "Do languages differ?"
    )
    assert all(metric.help for metric in app.metric)


def test_a_sparsity_is_shown_under_three_denominators(page: Open) -> None:
    for name in ("degradation", "weights"):
        said = texts(page(name, "many", level="0.9"))
        assert "of the encoder and" in said and "of the whole model" in said
        assert "Zeros alone neither shrink a dense file nor speed up a dense kernel" in said


def test_lines_carry_references_and_controls(page: Open) -> None:
    drawn = figures(page("degradation", "many"))[0]
    names = {trace.get("name") for trace in drawn["data"]}
    words = {note["text"] for note in drawn["layout"]["annotations"]}
    assert {"random", "magnitude", "dense, trained on"} <= names
    assert any(word.startswith("dense") for word in words) and any(word.startswith("chance") for word in words)


@pytest.mark.parametrize("split", ["test", "natural"])
@pytest.mark.parametrize("view", ["bars", "heatmap", "did", "controls", "pareto", "safe", "ranking", "numbers"])
def test_every_view_of_degradation(page: Open, view: str, split: str) -> None:
    app = page("degradation", "many", view=view, split=split)
    assert app.query_params["view"] in (view, [view])
    assert len(figures(app)) == (2 if view in ("bars", "heatmap", "did", "controls", "pareto") else 1)


def test_the_table_of_a_level_holds_every_number(page: Open) -> None:
    found = table(page("degradation", "many", view="numbers", level="0.9"), "Holm p")
    assert len(found) == 2 * SHAPE.languages
    assert {
        "drop (points)",
        "p",
        "Holm p",
        "retention (%)",
        "above chance (%)",
        "detectable (points)",
        "n",
        "seeds",
    } <= set(found)
    assert found["language"].iloc[0] == "English (en)" and (found["seeds"] == 2).all()


def test_the_last_safe_sparsity_depends_on_the_tolerance(page: Open) -> None:
    strict = table(page("degradation", "many", view="safe", tolerance="0.01"), "language", "magnitude")
    loose = table(page("degradation", "many", view="safe", tolerance="0.05"), "language", "magnitude")
    assert strict["language"].iloc[-1] == named(MEAN)
    assert (loose["magnitude"] >= strict["magnitude"]).all()


def test_the_ranking_of_two_methods(page: Open, tmp_path: Path) -> None:
    write_store(
        tmp_path,
        small(methods=("random", "magnitude", "sdp_cc"), levels=(0.9,), activations=False, restored=False, kept=False),
    )
    measured(tmp_path)
    found = table(page("degradation", tmp_path, view="ranking"), "τ")
    assert found["language"].tolist() == ["German (de)", "French (fr)"] and (found["methods"] == 2).all()


def test_hidden_methods_leave_figures_and_tables(page: Open) -> None:
    app = page("degradation", "many", methods=["magnitude"], view="numbers")
    assert set(table(app, "Holm p")["method"]) == {"magnitude"}
    assert "random" not in {trace.get("name") for trace in figures(app)[0]["data"]}
    assert not page("degradation", "many", methods=[""], view="numbers").exception


def test_newer_levels_are_announced(page: Open, many: Path, tmp_path: Path, started: list[list[str]]) -> None:
    store = Path(shutil.copytree(many, tmp_path / "store"))
    assert "finished after these numbers" not in texts(page("degradation", store))
    size = store / STUDY / "magnitude-s0" / "levels" / "0.9000" / "size.json"
    os.utime(size, (time.time() + 60, time.time() + 60))
    app = page("degradation", store)
    assert "1 level was finished after these numbers were made" in texts(app) and figures(app)
    press(app, "Compute it now")
    assert started[0][:2] == ["analysis", "measure"]


def test_another_score_comes_from_the_tidy_table(
    page: Open, many: Path, tmp_path: Path, started: list[list[str]]
) -> None:
    store = Path(shutil.copytree(many, tmp_path / "store"))
    app = page("degradation", store, metric="macro_f1")
    press(app, "Compute it now")
    command = started[0]
    assert command == [
        "analysis",
        "table",
        str(store),
        "--study",
        STUDY,
        "--format",
        "parquet",
        "--to",
        str(loading.scores_path(STUDY)),
    ]
    assert jobs.call(command) == (0, [])
    app = page("degradation", store, metric="macro_f1", level="0.9", seed="1", language="de")
    assert "Of Macro F1 there are values" in texts(app)
    found = table(app, "pruned_low")
    scores = pd.read_parquet(loading.scores_path(STUDY))
    wanted = scores[
        (scores["metric"] == "macro_f1")
        & (scores["seed"] == 1)
        & (scores["sparsity"] == 0.9)
        & (scores["split"] == "test")
    ]
    assert sorted(found["pruned"]) == sorted(wanted["value"]) and len(found) == 6
    assert len(figures(app)) == 1


# -- Separability -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["r_squared", "fisher_ratio", "class_snr", "silhouette", "nearest_centroid", "pruning_snr_db"]
)
def test_a_separability_is_never_shown_without_the_score(page: Open, name: str) -> None:
    drawn = figures(page("separability", "many", measure=name, pooling="mean"))
    assert len(drawn) == (2 if name == "pruning_snr_db" else 4)
    titles = [figure["layout"]["yaxis"]["title"]["text"] for figure in drawn]
    assert sum(title.startswith(("Accuracy", "Drop")) for title in titles) == len(drawn) // 2


def test_separability_carries_shuffled_labels_and_dense(page: Open) -> None:
    app = page("separability", "many", measure="r_squared", pooling="mean")
    assert "shuffled labels" in texts(app)
    assert "dense" in {trace.get("name") for trace in figures(app)[0]["data"]}


def test_separability_without_scores_says_so(page: Open, many: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(many, tmp_path / "store"))
    for path in (store / STUDY / "measures").glob("degradation-*"):
        path.unlink()
    assert "task score belongs beside" in texts(page("separability", store, pooling="mean"))


# -- Alignment ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["raw", "zscored"])
@pytest.mark.parametrize("view", ["layers", "depth", "sparsity", "translations", "drift"])
def test_every_view_of_alignment(page: Open, view: str, variant: str) -> None:
    app = page("alignment", "many", view=view, variant=variant, pooling="mean")
    assert len(figures(app)) == (2 if view == "translations" else 1)
    assert ("three largest dimensions hold" in texts(app)) == (view in ("layers", "depth"))


def test_few_dominant_dimensions_are_a_warning(page: Open, many: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(many, tmp_path / "store"))
    assert "Compare the z-scored states" not in texts(page("alignment", store))
    for path in (store / STUDY).glob("magnitude-s*/levels/*/measures/similarity-*.parquet"):
        record.write_frame(path, pd.read_parquet(path).assign(top_variance_dense=0.9))
    assert "Compare the z-scored states" in texts(page("alignment", store))


def test_depth_carries_null_ceiling_and_the_other_seed(page: Open) -> None:
    app = page("alignment", "many", view="depth", pooling="mean")
    names = {trace.get("name") for trace in figures(app)[0]["data"]}
    assert {"50%", "90%", "dense, trained on", "dense, another seed"} <= names
    assert "pairings at random" in texts(app)


@pytest.mark.parametrize("data", [[1, 2, 0.5], {"0": 1, "1": 2, "2": 0.5}])  # the second is how typed arrays come back
def test_a_clicked_cell_opens_its_details_until_another_is_chosen(page: Open, data: Any) -> None:
    clicked = {"selection": {"points": [{"customdata": data}], "point_indices": [5], "box": [], "lasso": []}}
    app = page("alignment", "many", {"figure-alignment-layers": clicked}, pooling="first")
    assert (app.selectbox(key="alignment.cell_pruned").value, app.selectbox(key="alignment.cell_dense").value) == (1, 2)
    found = table(app, "language", "seed 0")
    assert list(found) == ["language", "seed 0", "seed 1"] and len(found) == SHAPE.languages
    frame = loading.level_rows(STUDY, "cka", ("magnitude",), (0.9,), pooling="first", variant="raw", language="de")
    assert frame is not None
    row = frame[(frame["layer_pruned"] == 1) & (frame["layer_dense"] == 2) & (frame["seed"] == 1)]
    assert found.set_index("language").loc["German (de)", "seed 1"] == row["cka"].item()
    app.selectbox(key="alignment.cell_pruned").select(2).run()
    assert app.selectbox(key="alignment.cell_pruned").value == 2
    assert "Procrustes distance" in str([frame.value for frame in app.dataframe])


def test_a_cell_stands_in_the_address(page: Open) -> None:
    app = page("alignment", "many", pooling="mean", cell_pruned="0", cell_dense="1")
    assert (app.selectbox(key="alignment.cell_pruned").value, app.selectbox(key="alignment.cell_dense").value) == (0, 1)


def test_sets_that_are_not_parallel_have_no_translations(page: Open, tmp_path: Path) -> None:
    write_store(tmp_path, small(parallel=False, seeds=1, methods=("magnitude",), levels=(0.5,)))
    measured(tmp_path)
    for view in ("translations", "drift"):
        assert "needs a parallel set" in texts(page("alignment", tmp_path, view=view))
    assert "parallel items" in texts(page("degradation", tmp_path, view="did"))


# -- Map ----------------------------------------------------------------------------------------------------------


def test_a_map_prints_how_far_it_can_be_trusted(page: Open) -> None:
    app = page("map", "many", projection="pca")
    assert "Trustworthiness 0." in texts(app) and "neighbours kept" in texts(app)
    assert {trace["type"] for trace in figures(app)[0]["data"]} == {"scattergl"}


@pytest.mark.parametrize("colour", ["label", "language", "family", "displacement", "cosine_distance"])
def test_every_colour(page: Open, colour: str) -> None:
    drawn = figures(page("map", "many", projection="pca", colour=colour))[0]
    assert {point[3] for trace in drawn["data"] for point in trace["customdata"]} == {"dense", "pruned"}


@pytest.mark.parametrize("states", ["dense", "pruned"])
def test_one_state_alone(page: Open, states: str) -> None:
    drawn = figures(page("map", "many", projection="pca", states=states, languages="de"))[0]
    points = [point for trace in drawn["data"] for point in trace["customdata"]]
    assert {point[3] for point in points} == {states} and {point[1] for point in points} == {"de"}


def test_selected_points_list_their_sentences(page: Open) -> None:
    points = [{"customdata": ["test-00001", "de", "intent-01", state]} for state in ("dense", "pruned")]
    points.append({"customdata": ["test-00003", "fr", "intent-03", "pruned"]})
    chosen = {"selection": {"points": points, "point_indices": [1, 2, 3], "box": [], "lasso": []}}
    app = page("map", "many", {"figure-map": chosen}, projection="pca", level="0.9")
    found = table(app, "text")
    assert found["text"].tolist() == ["de text test-00001", "fr text test-00003"]
    assert found["state"].tolist() == ["dense, pruned", "pruned"] and found["displacement"].notna().all()
    details = loading.details(STUDY, "magnitude-s0", "0.9000")
    assert details is not None
    said = details[(details["language"] == "de") & (details["id"] == "test-00001")]["predicted"].item()
    assert found["pruned says"].iloc[0] == said and found["dense says"].notna().all()
    assert "de text" not in texts(app)  # corpus text never passes through Markdown


def test_a_missing_map_has_a_button_that_has_it_made(
    page: Open, stores: dict[str, Path], started: list[list[str]]
) -> None:
    app = page("map", "many", projection="umap", level="0.5", method="random")
    assert "There is no UMAP map of layer 2 (first-token pooling) for random at 50%, seed 0 yet." in texts(app)
    press(app, "Compute it now")
    wish = ["--only", "map", "--run", "random-s0", "--level", "0.5", "--projection", "umap", "--layer", "-1"]
    assert started == [["analysis", "measure", str(stores["many"]), "--study", STUDY, *wish]]


def test_a_map_of_another_layer_and_pooling_is_made_and_found(
    page: Open, many: Path, tmp_path: Path, started: list[list[str]]
) -> None:
    store = Path(shutil.copytree(many, tmp_path / "store"))
    query = {"projection": "pca", "level": "0.9", "method": "magnitude", "layer": "1", "pooling": "mean", "seed": "1"}
    press(page("map", store, **query), "Compute it now")
    command = started[0]
    assert jobs.call(command) == (0, [])
    app = page("map", store, **query)
    assert "layer 1, mean pooling, seed 1" in texts(app)


# -- Weights ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["matrix_sparsity", "norm_kept", "unit_cosine_mean", "hoyer", "kurtosis"])
def test_every_measure_of_weights(page: Open, name: str) -> None:
    app = page("weights", "many", measure=name, level="0.9", method="magnitude")
    assert len(figures(app)) == 3


@pytest.mark.parametrize("view", ["training", "heads", "distribution", "overlap"])
def test_every_view_of_weights(page: Open, view: str) -> None:
    drawn = figures(page("weights", "many", view=view, level="0.9", method="magnitude"))
    assert len(drawn) == 3
    if view == "overlap":
        assert "random and magnitude" in texts(
            page("weights", "many", view=view, level="0.9")
        ) or "magnitude and random" in texts(page("weights", "many", view=view, level="0.9"))


def test_heads_and_what_older_runs_lack(page: Open, tmp_path: Path) -> None:
    app = page("weights", "many", view="heads", level="0.9", method="magnitude", part="value", measure="hoyer")
    assert "Hoyer sparsity of heads (value) under magnitude at 90%" in texts(app)
    assert "Under random pruning heads span" in texts(app)
    store = write_store(tmp_path, small(heads=0, activations=False, seeds=1))
    assert "has no measures of its attention heads" in texts(page("weights", store, view="heads"))


def test_sizes_of_survivors_through_the_levels(page: Open) -> None:
    app = page("weights", "many", view="distribution", across="levels", method="magnitude")
    assert "of magnitude: dense " in texts(app)


def test_weights_of_one_seed_and_sizes_of_every_level(page: Open) -> None:
    app = page("weights", "many", seeds="1", method="magnitude")
    assert "seed 1" in texts(app).casefold()
    sizes = table(app, "of the whole model")
    assert sizes["level"].tolist() == [50, 50, 90, 90]
    assert (sizes["of the whole model"] < sizes["of the encoder"]).all()


# -- reading ------------------------------------------------------------------------------------------------------


def test_only_the_levels_asked_for_are_read(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNOSCOPE_STORE", str(many))
    opened: list[str] = []
    read = reading.part
    monkeypatch.setattr(reading, "part", lambda path, only: opened.append(path) or read(path, only))
    frame = loading.level_rows(STUDY, "cka", ("random",), (0.9,), (1,), language="fr")
    assert frame is not None and set(frame["language"]) == {"fr"} and set(frame["seed"]) == {1}
    assert len(opened) == 1
    assert loading.level_rows(STUDY, "cka", ("nobody",)) is None


def test_definitions_are_there_for_what_the_pages_show() -> None:
    names = ("drop", "worst", "languages_differ", "mcnemar", "holm", "retention", "normalised_retention", "minimum_detectable_drop", "linear_cka",
             "last_safe_sparsity", "ranking_agreement", "difference_in_differences", "top_variance_share", "retrieval", "drift_item", "pruning_snr_db",
             "trustworthiness", "knn_preservation", "displacement", "weight_sparsity", "norm_kept", "unit_cosine", "hoyer", "kurtosis")  # fmt: skip
    assert not [name for name in names if show.find(name) is None]


# -- Flips --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["test", "natural"])
@pytest.mark.parametrize("view", ["atlas", "languages", "slices", "confusion", "exemplars"])
def test_every_view_of_flips(page: Open, view: str, split: str) -> None:
    app = page("flips", "many", view=view, split=split, method="random", level="0.9")
    assert not app.warning
    assert len(figures(app)) == (0 if view == "exemplars" else 1)


def test_items_are_rows_and_languages_columns(page: Open) -> None:
    app = page("flips", "many", method="random", level="0.9", seed="1", items="all")
    grid = table(app, "en", "de", "fr")
    assert len(grid) == SHAPE.items and set(grid["de"]) <= set("✓✗↑·")
    frame = loading.level_rows(STUDY, "flips", ("random",), (0.9,), (1,), split="test", language="de")
    assert frame is not None
    broken = frame.loc[frame["flip"] == "broken", "id"]
    assert set(grid.loc[grid["de"] == "✗", "id"]) == set(broken)
    chosen = grid["id"].iloc[3]
    one = table(
        page("flips", "many", method="random", level="0.9", seed="1", items="all", item=chosen), "flip", "margin_lost"
    )
    assert one["language"].tolist()[0] == "English (en)" and len(one) == 3
    assert one["text"].tolist() == [f"{code} text {chosen}" for code in ("en", "de", "fr")] or set(one["text"]) == {
        f"{code} text {chosen}" for code in ("en", "de", "fr")
    }


def test_items_broken_in_one_language_only(page: Open) -> None:
    grid = table(page("flips", "many", method="random", level="0.9", items="alone"), "en", "de", "fr")
    assert ((grid[["en", "de", "fr"]] == "✗").sum(axis=1) == 1).all() and len(grid)


def test_a_clicked_row_becomes_the_item(page: Open) -> None:
    grid = table(page("flips", "many", method="random", level="0.9"), "en", "de", "fr")
    clicked = {"table-flips-items": {"selection": {"rows": [2], "columns": [], "cells": []}}}
    app = page("flips", "many", clicked, method="random", level="0.9")
    assert app.selectbox(key="flips.item").value == grid["id"].iloc[2]


def test_identified_items_need_two_seeds(page: Open) -> None:
    assert "need two seeds or more" in texts(page("flips", "stateless", view="exemplars"))


def test_sets_that_are_not_parallel_have_no_atlas_across(page: Open, tmp_path: Path) -> None:
    write_store(tmp_path, small(parallel=False, seeds=1, methods=("magnitude",), levels=(0.9,), activations=False))
    measured(tmp_path)
    app = page("flips", tmp_path, items="all")
    assert "This set is not parallel" in texts(app) and figures(app)
    assert figures(page("flips", tmp_path, view="languages"))


# -- Diagnose -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("view", "drawn"),
    [
        ("findings", 0),
        ("restoration", 2),
        ("recovery", 2),
        ("together", 0),
        ("probing", 2),
        ("calibration", 1),
        ("text", 1),
    ],
)
def test_every_view_of_diagnose(page: Open, view: str, drawn: int) -> None:
    app = page("diagnose", "many", view=view, method="random", level="0.9")
    assert not app.warning
    assert len(figures(app)) == drawn  # two zero-shot languages are too few for a correlation


def test_every_clause_opens_the_view_that_it_rests_on(page: Open, many: Path) -> None:
    cards = read_study(many, STUDY, "findings")
    kinds = cards.drop_duplicates("kind")
    assert {"drop", "mean", "flips", "restored"} <= set(kinds["kind"])
    for clause in kinds.to_dict("records"):
        query = json.loads(clause["query"])
        app = page(clause["page"], "many", **query)
        assert not app.error and not app.warning, (
            clause["kind"],
            texts(app),
        )  # no parameter that the page does not know
        assert figures(app) or clause["kind"] == "drop", clause["kind"]
        kept = {name: app.query_params[name] for name in query if name in app.query_params}
        assert all(query[name] in (value, *value) for name, value in kept.items()), clause[
            "kind"
        ]  # nothing was replaced


def test_probes_by_language_and_what_a_study_without_them_lacks(page: Open, tmp_path: Path) -> None:
    app = page(
        "diagnose", "many", view="probing", probe="masked_token_loss:pretraining", language="de", method="magnitude"
    )
    shown = texts(app)
    assert "masked-token loss in nats against dense" in shown and "before fine-tuning" in str(figures(app)[0])
    assert "95% interval leaves 0 out" in shown
    store = write_store(tmp_path, small(probed=False, activations=False, seeds=1))
    app = page("diagnose", store, view="probing")
    assert "This study probes nothing" in texts(app) and "tasks" in texts(app)


def test_findings_have_cards_for_significant_drops_only(page: Open) -> None:
    app = page("diagnose", "many", method="random", level="0.9")
    frame = loading.measure(STUDY, "degradation")
    assert frame is not None
    here = frame[(frame["method"] == "random") & (frame["sparsity"] == 0.9) & (frame["split"] == "test")]
    sure = here[here["p_holm"] < 0.05]
    said = texts(app)
    assert f"{len(sure)} of 3 languages change significantly" in said and len(sure)
    for row in here.to_dict("records"):
        words = f"{theme.language_name(row['language'])} drops {100 * row['drop']:.1f} points"
        assert (words in said) == (row["p_holm"] < 0.05)


def test_nothing_significant_is_said_so(page: Open, many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNOSCOPE_STORE", str(many))
    frame = loading.measure(STUDY, "degradation")
    assert frame is not None
    here = frame[(frame["method"] == "magnitude") & (frame["sparsity"] == 0.5) & (frame["split"] == "test")]
    assert not (here["p_holm"] < 0.05).any()
    said = texts(page("diagnose", "many", method="magnitude", level="0.5"))
    assert "0 of 3 languages change significantly" in said and "drops" not in said.replace("drops or", "")
    assert "split test only" in texts(page("diagnose", "many", method="magnitude", level="0.5", split="natural"))


def test_every_clause_links_to_a_view_that_exists(page: Open, many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNOSCOPE_STORE", str(many))
    frame = loading.measure(STUDY, "findings")
    assert frame is not None
    seen: set[tuple[str, str]] = set()
    for kind, place, query in frame[["kind", "page", "query"]].itertuples(index=False):
        wanted = json.loads(query)
        if (kind, place) in seen:
            continue
        seen.add((kind, place))
        app = page(place, "many", **wanted)
        assert not app.warning, (kind, wanted, app.warning[0].value)
        assert all(app.query_params[name] in (value, [value]) for name, value in wanted.items()), kind
    assert {"drop", "mean", "flips", "random", "restored", "retrieval"} <= {kind for kind, _ in seen}


def test_a_level_that_was_not_restored_has_a_button(
    page: Open, stores: dict[str, Path], started: list[list[str]]
) -> None:
    app = page("diagnose", "many", view="restoration", method="magnitude", level="0.5")
    assert "has not been taken apart yet" in texts(app) and not figures(app)
    press(app, "Compute it now")
    assert started == [["engine", "restore", f"{STUDY}/magnitude-s0", "--level", "0.5", "--store", str(stores["many"])]]


def test_few_languages_have_no_correlation(page: Open, tmp_path: Path) -> None:
    assert "at least four zero-shot" in texts(page("diagnose", "many", view="together"))
    write_store(
        tmp_path,
        small(languages=6, natural=0, seeds=1, methods=("magnitude",), levels=(0.9,), restored=False, kept=False),
    )
    measured(tmp_path)
    app = page("diagnose", tmp_path, view="together", factor="dense")
    assert len(figures(app)) == 2 and "cause" in texts(app)


# -- Map through sparsity -----------------------------------------------------------------------------------------


def test_a_path_has_a_slider_over_the_levels(page: Open) -> None:
    app = page("map", "many", view="path", method="random", at="0.5", trails="5")
    drawn = figures(app)[0]
    points = [point for trace in drawn["data"] for point in trace.get("customdata", [])]
    assert {point[3] for point in points} == {"0.5"} and app.query_params["at"] in ("0.5", ["0.5"])
    ways = next(trace for trace in drawn["data"] if trace["mode"] == "lines")
    assert sum(value is None for value in ways["x"]) == 5
    dense = figures(page("map", "many", view="path", method="random", at="0"))[0]
    assert dense["layout"]["xaxis"]["range"] == drawn["layout"]["xaxis"]["range"]


def test_a_path_lists_sentences(page: Open) -> None:
    chosen = {
        "selection": {
            "points": [{"customdata": ["test-00001", "de", "intent-01", "0.9"]}],
            "point_indices": [0],
            "box": [],
            "lasso": [],
        }
    }
    app = page("map", "many", {"figure-map-path": chosen}, view="path", method="random")
    found = table(app, "text")
    assert found["text"].tolist() == ["de text test-00001"] and found["displacement"].notna().all()


def test_a_missing_path_is_made_on_request(page: Open, stores: dict[str, Path], started: list[list[str]]) -> None:
    press(page("map", "many", view="path", method="random", projection="aligned", seed="1"), "Compute it now")
    wish = ["--path", "--run", "random-s1", "--projection", "aligned"]
    assert started == [["analysis", "measure", str(stores["many"]), "--study", STUDY, *wish]]


# -- Alignment, more similarities ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rbf_cka", "svcca", "pwcca"])
def test_more_similarities_by_depth(page: Open, name: str) -> None:
    app = page("alignment", "many", view="depth", measure=name, method="magnitude", pooling="first")
    drawn = figures(app)
    assert len(drawn) == 1
    assert "has no value with" in texts(app) or any(trace.get("y") for trace in drawn[0]["data"])


def test_translations_lost_stand_below_those_found(page: Open) -> None:
    drawn = figures(page("alignment", "many", view="translations", level="0.9"))
    assert [figure["layout"]["yaxis"]["title"]["text"] for figure in drawn] == [
        "Translations found (%)",
        "Translations lost (points), layer 2",
    ]
