"""Compare and Present, page by page: what is compared, what is kept, what is walked through, and what a server refuses."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from analysis import measures, storyboard
from analysis.measures import Request, Wish, compare
from pages.ui import arms, export, jobs, loading
from tests.conftest import ROOT
from tests.synthetic import Shape, write_store
from tests.test_measures import WITHOUT_UMAP, quiet
from tests.test_pages_run import texts

SHAPE = Shape(languages=3, seeds=2, items=40, natural=20, probe=24, classes=4, layers=2, width=16, methods=("random", "magnitude", "sdp_cc"), levels=(0.5, 0.9))  # fmt: skip
STUDY = SHAPE.study


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a measured and compared study, and another that is measured only."""
    store = write_store(tmp_path_factory.mktemp("share"), SHAPE)
    write_store(store, Shape(**{**vars(SHAPE), "study": "other", "methods": ("magnitude",)}))
    for study in (STUDY, "other"):
        assert measures.measure(store, study, WITHOUT_UMAP, workers=1, say=quiet) == []
    assert compare.compare(store, STUDY, say=quiet) == []
    measures.measure(store, STUDY, Wish(only=("map",), map=Request("pca")), workers=1, say=quiet)
    return store


@pytest.fixture()
def open_page(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def opened(name: str, store: Path | None = None, **query: Any) -> AppTest:
        monkeypatch.setenv("PRUNOSCOPE_STORE", str(store or shared))
        app = AppTest.from_file(str(ROOT / "pages" / f"{name}.py"), default_timeout=90)
        for key, value in query.items():
            app.query_params[key] = value
        return app.run()

    return opened


@pytest.fixture()
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands that pages would have started."""
    found: list[list[str]] = []
    monkeypatch.setattr(jobs.Job, "start", lambda self, arguments, about: found.append(arguments))
    return found


def figures(app: AppTest) -> list[dict[str, Any]]:
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]


def press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label).click().run()


# -- Compare -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["scores", "inside", "masks", "maps", "size", "suite", "settings"])
def test_every_view(open_page: Any, view: str) -> None:
    app = open_page("compare", studies=STUDY, view=view)
    assert not app.exception and not app.error
    assert len(figures(app)) == {"suite": 0, "settings": 0, "maps": 2}.get(view, 1)
    assert len(app.dataframe) == (view in ("size", "suite", "settings")) or view == "scores"


def test_scores_are_compared_with_the_plain_method(open_page: Any) -> None:
    app = open_page("compare", studies=STUDY)
    assert app.selectbox(key="compare.reference").value == f"{STUDY}/magnitude"
    names = {trace["name"] for trace in figures(app)[0]["data"]}
    assert names == {"random", "sdp_cc"} and "than magnitude on the zero-shot mean" in texts(app)


def test_settings_show_what_differs(open_page: Any) -> None:
    table = open_page("compare", studies=STUDY, view="settings").dataframe[0].value
    assert set(table["setting"]) >= {"recipe", "plan.criterion.name"} and "task.name" not in set(table["setting"])
    every = open_page("compare", studies=STUDY, view="settings", every="true").dataframe[0].value
    assert "task.name" in set(every["setting"])


def test_a_suite_has_an_average_where_every_study_has_the_method(open_page: Any) -> None:
    table = open_page("compare", studies=[STUDY, "other"], view="suite").dataframe[0].value.set_index("method")
    assert table.loc["magnitude", "average"] == pytest.approx(table.loc["magnitude", [STUDY, "other"]].mean())
    assert pd.isna(table.loc["sdp_cc", "average"])


def test_two_studies_that_were_not_compared_have_a_button(open_page: Any, started: list[list[str]]) -> None:
    app = open_page("compare", studies=[STUDY, "other"], arms=[f"{STUDY}/magnitude", "other/magnitude"])
    assert f"{STUDY} and other have not been compared yet" in texts(app).replace(
        "other and synthetic", "synthetic and other"
    )
    press(app, "Compute it now")
    assert started[0][:2] == ["analysis", "compare"] and "--against" in started[0]


@pytest.mark.parametrize("view", ["size", "suite"])
def test_a_study_that_was_not_measured_has_a_button(open_page: Any, tmp_path: Path, started: list[list[str]], view: str) -> None:  # fmt: skip
    store = write_store(tmp_path, Shape(**{**vars(SHAPE), "activations": False}))
    app = open_page("compare", store, studies=STUDY, view=view)
    assert not app.exception and not figures(app) and "have not been measured yet" in texts(app)
    press(app, "Compute it now")
    assert started[0][:2] == ["analysis", "measure"]


def test_at_most_eight_are_chosen_before_anyone_has_chosen() -> None:
    every = [(study, f"m{number}") for study in ("a", "b", "c") for number in range(9)]
    found = arms._spread_out(every, 3)
    assert len(found) <= arms.MOST and {study for study, _ in found} == {"a", "b", "c"}
    assert len(arms._spread_out(every[:9], 1)) == 8


def test_one_arm_is_no_comparison(open_page: Any) -> None:
    assert "needs two methods" in texts(open_page("compare", studies=STUDY, arms=f"{STUDY}/magnitude"))


def test_an_unknown_arm_is_said(open_page: Any) -> None:
    assert "arms = nobody: must be one of" in texts(open_page("compare", studies=STUDY, arms="nobody"))


# -- Present -------------------------------------------------------------------------------------------------------


def test_the_story_is_there_without_anything_kept(open_page: Any) -> None:
    app = open_page("present", study=STUDY)
    assert "What pruning costs" in texts(app) and not app.exception


def test_a_screen_has_one_figure_and_no_controls(open_page: Any) -> None:
    app = open_page("present", study=STUDY, mode="show", deck="story", slide="2")
    assert len(figures(app)) == 1 and "loses most" in app.title[0].value
    assert not app.selectbox and not app.multiselect and not app.sidebar.selectbox
    assert figures(app)[0]["layout"]["font"]["size"] >= 18
    press(app, "Next")
    assert app.query_params["slide"] == "3" and "2 of" not in texts(app)
    press(app, "Leave")
    assert app.query_params["mode"] == "edit"


def test_a_screen_that_is_not_there_is_said(open_page: Any) -> None:
    assert "slide = 99: must be one of" in texts(open_page("present", study=STUDY, mode="show", slide="99"))


def test_an_unmeasured_study_is_measured_on_request(open_page: Any, tmp_path: Path, started: list[list[str]]) -> None:
    write_store(tmp_path, Shape(**{**vars(SHAPE), "seeds": 1}))
    press(open_page("present", tmp_path), "Compute it now")
    assert started and started[0][:2] == ["analysis", "measure"]


def test_a_figure_is_kept_put_in_order_and_taken_out(open_page: Any, shared: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(shared, tmp_path / "store"))
    app = open_page("degradation", store, study=STUDY)
    app.session_state["export-degradation-lines"] = True
    press(app.run(), "Keep for presenting")
    app = open_page("compare", store, studies=STUDY)
    app.session_state["export-compare-scores"] = True
    press(app.run(), "Keep for presenting")
    kept = storyboard.read(store, STUDY)
    assert [slide.page for slide in kept] == ["degradation", "compare"]
    assert list(kept[0].query["study"]) == [STUDY]
    app = open_page("present", store, study=STUDY, deck="kept")
    press(app, "Down")
    assert [slide.page for slide in storyboard.read(store, STUDY)] == ["compare", "degradation"]
    app.text_input[0].set_value("Look here.").run()
    assert storyboard.read(store, STUDY)[0].sentence == "Look here."
    shown = open_page("present", store, study=STUDY, deck="kept", mode="show")
    assert shown.title[0].value.replace("\\", "") == "Look here." and len(figures(shown)) == 1
    press(app, "Take out")
    assert len(storyboard.read(store, STUDY)) == 1
    press(app, "Undo: put the view back")
    assert len(storyboard.read(store, STUDY)) == 2


def test_the_report_is_written_by_a_process_of_its_own(open_page: Any, started: list[list[str]]) -> None:
    app = open_page("present", study=STUDY)
    app.toggle(key="report-no-text").set_value(True).run()
    press(app, "Write the report")
    assert started[0][:2] == ["analysis", "report"] and started[0][-1] == "--no-text"


def test_a_report_with_sentences_is_not_handed_out_as_one_without(open_page: Any, shared: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(shared, tmp_path / "store"))
    (store / STUDY / "report.html").write_text("a corpus sentence", encoding="utf-8")
    app = open_page("present", store, study=STUDY)
    assert "Download the report" in [button.label for button in app.get("download_button")]
    app.toggle(key="report-no-text").set_value(True).run()
    assert not app.get("download_button")


def test_read_only_servers_keep_and_write_nothing(open_page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNOSCOPE_READONLY", "1")
    app = open_page("present", study=STUDY)
    assert next(button for button in app.button if button.label == "Write the report").disabled
    app = open_page("degradation", study=STUDY)
    app.session_state["export-degradation-lines"] = True
    assert next(button for button in app.run().button if button.label == "Keep for presenting").disabled


# -- exports -------------------------------------------------------------------------------------------------------


def test_tables_go_out_as_parquet_and_latex(tmp_path: Path) -> None:
    frame = pd.DataFrame({"method": ["a_b", "50% & more"], "mixed": ["–", 1.5], "value": [0.123456, float("nan")]})
    (tmp_path / "t.parquet").write_bytes(export.parquet(frame))
    back = pd.read_parquet(tmp_path / "t.parquet")
    assert list(back.columns) == list(frame.columns) and back["value"].iloc[0] == 0.123456
    text = export.latex(frame)
    assert r"a\_b" in text and r"50\% \& more" in text and "0.1235" in text and r"\begin{tabular}" in text


def test_every_figure_can_be_saved_as_a_picture(open_page: Any) -> None:
    app = open_page("degradation", study=STUDY)
    chart = app.get("plotly_chart")[0]
    assert json.loads(chart.proto.config)["toImageButtonOptions"]["format"] == "png"
    app.session_state["export-degradation-lines"] = True
    app.run()
    app.button_group(key="picture-degradation-lines").set_value("svg").run()
    assert json.loads(app.get("plotly_chart")[0].proto.config)["toImageButtonOptions"]["format"] == "svg"


@pytest.mark.parametrize(
    ("kaleido", "browser", "said"), [(False, True, "kaleido (pip install kaleido)"), (True, False, "a Chromium"), (True, True, "")]
)  # fmt: skip
def test_what_pictures_lack_is_said(open_page: Any, monkeypatch: pytest.MonkeyPatch, kaleido: bool, browser: bool, said: str) -> None:  # fmt: skip
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: (kaleido or None) if name == "kaleido" else real(name, *more))  # fmt: skip
    monkeypatch.setattr(export.shutil, "which", lambda name: "/usr/bin/x" if browser else None)
    monkeypatch.delenv("BROWSER_PATH", raising=False)
    app = open_page("degradation", study=STUDY)
    app.session_state["export-degradation-lines"] = True
    app.run()
    labels = {button.label for button in app.get("download_button")}
    assert {"CSV", "Parquet", "LaTeX", "HTML"} <= labels and ({"PNG", "SVG"} <= labels) is (not said)
    assert not said or said in texts(app).replace("\\", "")


def test_told_studies_follow_their_files(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNOSCOPE_STORE", str(shared))
    assert loading.told(STUDY) is loading.told(STUDY)
    assert loading.told("other").study == "other"


# -- two maps ------------------------------------------------------------------------------------------------------


def marked_in(figure: dict[str, Any]) -> set[tuple[str, str]]:
    """(language, id) of the points that a map marks; without a selection all are drawn alike."""
    return {
        (trace["customdata"][place][1], trace["customdata"][place][0])
        for trace in figure["data"]
        for place in trace.get("selectedpoints", ())
    }


def lasso(figure: dict[str, Any], count: int) -> tuple[dict[str, Any], set[tuple[str, str]]]:
    """A selection event of the first points of a map, and the examples in it."""
    data = [row for trace in figure["data"] for row in trace["customdata"]][:count]
    points = [{"customdata": {str(place): value for place, value in enumerate(row)}} for row in data]
    event = {"selection": {"points": points, "point_indices": [0], "box": [], "lasso": []}}
    return event, {(row[1], row[0]) for row in data}


def test_a_lasso_on_either_map_marks_the_same_examples_on_both(open_page: Any) -> None:
    app = open_page("compare", studies=STUDY, view="maps")
    assert not app.exception and [marked_in(figure) for figure in figures(app)] == [set(), set()]
    for side, count in (("right", 5), ("left", 3)):
        event, wanted = lasso(figures(app)[0], count)
        app.session_state[f"figure-compare-map-{side}"] = event
        app.run()
        assert [marked_in(figure) for figure in figures(app)] == [wanted, wanted]
        table = app.dataframe[0].value
        assert set(table["id"]) == {name for _, name in wanted} and {"text", "left says", "right says"} <= set(table)
    assert set(app.query_params["items"]) == {":".join(item) for item in wanted}
    press(app, "Clear the lasso")
    assert [marked_in(figure) for figure in figures(app)] == [set(), set()] and not app.dataframe


def test_a_link_restores_what_was_marked(open_page: Any) -> None:
    label = open_page("compare", studies=STUDY, view="maps").selectbox(key="compare.pick").options[1]
    app = open_page("compare", studies=STUDY, view="maps", pick=label)
    found = [marked_in(figure) for figure in figures(app)]
    assert found[0] == found[1] and found[0] and set(app.dataframe[0].value["label"]) == {label}
    language, name = sorted(found[0])[0]
    app = open_page("compare", studies=STUDY, view="maps", items=[f"{language}:{name}"], beside_level="0.5")
    assert [marked_in(figure) for figure in figures(app)] == [{(language, name)}] * 2
    app = open_page("compare", studies=STUDY, view="maps", items=[f"{language}:{name}"], translations="true")
    every = marked_in(figures(app)[0])
    assert len({code for code, _ in every}) == 3 and {one for _, one in every} == {name}


def test_sentences_are_marked_by_their_words(open_page: Any, shared: Path) -> None:
    text = str(loading_text(shared))
    app = open_page("compare", studies=STUDY, view="maps", find=text.upper())
    table = app.dataframe[0].value
    assert len(table) and all(all(word in found.casefold() for word in text.casefold().split()) for found in table["text"])  # fmt: skip
    assert len(marked_in(figures(app)[1])) == len(table)


def loading_text(store: Path) -> str:
    """The sentence of an example that is on the maps."""
    from engine import record

    level = record.Run(store / STUDY / "magnitude-s0").level(0.9)
    first = level.frame("probe").iloc[0]
    rows = level.frame("details")
    return str(rows[(rows["language"] == first["language"]) & (rows["id"] == first["id"])]["text"].iloc[0])


def test_an_item_that_is_on_no_map_is_said(open_page: Any) -> None:
    assert "None of the examples" in texts(open_page("compare", studies=STUDY, view="maps", items=["en:nobody"]))
    assert "must be" in texts(open_page("compare", studies=STUDY, view="maps", items=["nobody"]))


def test_a_map_that_has_not_been_made_has_a_button(open_page: Any, started: list[list[str]]) -> None:
    app = open_page("compare", studies=STUDY, view="maps", projection="umap")
    assert not figures(app)
    press(app, "Compute it now")
    assert started[0][:2] == ["analysis", "measure"] and "umap" in started[0]
