"""Keeping order: names, tags, notes, archive, delete with a way back, and run folders that go out and come in."""

from __future__ import annotations

import io
import json
import shutil
import time
import zipfile
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from analysis import storyboard
from engine import queue, record
from engine.record import RecordError
from pages.ui import keeping, tour
from tests.conftest import ROOT
from tests.synthetic import Shape, World, write_run, write_store
from tests.test_pages_run import SMALL, texts

RUN = f"{SMALL.study}/magnitude-s0"


@pytest.fixture()
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = write_store(tmp_path / "store", SMALL)
    monkeypatch.setenv("PRUNOSCOPE_STORE", str(folder))
    return folder


def open_page(name: str, **query: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "pages" / f"{name}.py"), default_timeout=90)
    for key, value in query.items():
        app.query_params[key] = value
    return app.run()


def ticked(app: AppTest, *rows: int) -> AppTest:
    app.session_state["runs-table"] = {"selection": {"rows": list(rows), "columns": [], "cells": []}}
    return app.run()


def press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label).click().run()


# -- room ----------------------------------------------------------------------------------------------------------


def test_room_is_that_of_the_files(store: Path) -> None:
    total = sum(path.stat().st_size for path in (store / RUN).rglob("*") if path.is_file())
    assert keeping.disk(*RUN.split("/")) == total == keeping.size(store / RUN)
    (store / RUN / "away").symlink_to("/usr")
    assert keeping.size(store / RUN) < total + 10_000


# -- delete --------------------------------------------------------------------------------------------------------


def test_what_is_deleted_comes_back_as_it_was(store: Path) -> None:
    before = {path.relative_to(store): path.read_bytes() for path in (store / RUN).rglob("*") if path.is_file()}
    one = keeping.delete(RUN)
    assert not (store / RUN).exists() and record.studies(store) == [SMALL.study]
    assert [(found.name, found.folder) for found in keeping.thrown()] == [(RUN, one.folder)]
    keeping.put_back(one)
    assert {path.relative_to(store): path.read_bytes() for path in (store / RUN).rglob("*") if path.is_file()} == before
    assert keeping.thrown() == []


def test_a_whole_study_goes_and_comes_back(store: Path) -> None:
    one = keeping.delete(SMALL.study)
    assert record.studies(store) == [] and one.name == SMALL.study
    keeping.put_back(one)
    assert record.studies(store) == [SMALL.study]


def test_what_runs_or_waits_is_not_deleted(store: Path) -> None:
    run = write_run(store, World(SMALL), "random", 0, state=None)
    run.beat(step=1, total=9, phase="training", attempt=1)
    queue.submit(store, [RUN])
    for name in (f"{SMALL.study}/random-s0", RUN, SMALL.study):
        with pytest.raises(RecordError, match="cancel it before"):
            keeping.delete(name)
    assert (store / RUN).is_dir()


@pytest.mark.parametrize("name", ["..", "../x", "", "a/../b", ".trash", f"{SMALL.study}/../x", "/etc"])
def test_nothing_outside_is_deleted(store: Path, name: str) -> None:
    with pytest.raises(RecordError, match=r"must be a study or|there is no such folder"):
        keeping.delete(name)


def test_a_place_that_is_taken_is_not_overwritten(store: Path) -> None:
    one = keeping.delete(RUN)
    write_run(store, World(SMALL), "magnitude", 0)
    with pytest.raises(RecordError, match="its place is taken"):
        keeping.put_back(one)
    keeping.destroy(one)
    assert keeping.thrown() == [] and (store / RUN).is_dir()


# -- archives ------------------------------------------------------------------------------------------------------


def test_a_run_goes_out_and_comes_in_whole(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = keeping.pack(RUN, heavy=True)
    monkeypatch.setenv("PRUNOSCOPE_STORE", str(tmp_path / "other"))
    assert keeping.unpack(io.BytesIO(data)) == RUN
    for path in (store / RUN).rglob("*"):
        if path.is_file():
            assert (tmp_path / "other" / path.relative_to(store)).read_bytes() == path.read_bytes()
    assert [path.name for path in (tmp_path / "other").iterdir()] == [SMALL.study]
    with pytest.raises(RecordError, match="is in this store already"):
        keeping.unpack(io.BytesIO(data))


def test_a_folder_of_the_server_comes_in(store: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(store / RUN, tmp_path / "elsewhere"))
    keeping.destroy(keeping.delete(RUN))
    assert keeping.from_server(str(source)) == RUN
    with pytest.raises(RecordError, match="a run folder with a config.json"):
        keeping.from_server(str(tmp_path))


def archive(entries: dict[str, bytes], link: str = "") -> io.BytesIO:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as made:
        for name, data in entries.items():
            info = zipfile.ZipInfo(name)
            if name == link:
                info.external_attr = 0o120777 << 16
            made.writestr(info, data)
    target.seek(0)
    return target


CONFIG = json.dumps({"schema": record.SCHEMA, "study": "bad", "method": "magnitude", "seed": 0}).encode()


@pytest.mark.parametrize(("entries", "link", "rule"), [
    ({"../out/config.json": CONFIG}, "", "paths inside it only"),
    ({"/etc/config.json": CONFIG}, "", "paths inside it only"),
    ({"a/config.json": CONFIG, "a/x.json": b"/etc/passwd"}, "a/x.json", "no links"),
    ({"a/config.json": CONFIG, "a/weights.bin": b"x"}, "", "files only"),
    ({"a/config.json": CONFIG, "a/evil.pkl": b"x"}, "", "files only"),
    ({"a/status.json": b"{}"}, "", "one run folder"),
    ({"a/config.json": CONFIG, "b/config.json": CONFIG}, "", "one run folder"),
    ({"a/config.json": b"{no"}, "", "must be JSON"),
    ({"a/config.json": CONFIG, "a/status.json": b"{no"}, "", "must be JSON"),
    ({"a/config.json": CONFIG.replace(b'"bad"', b'"../up"')}, "", "must name a study"),
    ({"a/config.json": CONFIG.replace(b'"schema": 1', b'"schema": 99')}, "", "schema must be"),
])  # fmt: skip
def test_bad_archives_leave_nothing_behind(store: Path, entries: dict[str, bytes], link: str, rule: str) -> None:
    before = sorted(path.name for path in store.parent.rglob("*"))
    with pytest.raises(RecordError, match=rule):
        keeping.unpack(archive(entries, link))
    assert sorted(path.name for path in store.parent.rglob("*")) == before


def test_what_is_no_archive_is_said(store: Path) -> None:
    with pytest.raises(RecordError, match="must be a zip file"):
        keeping.unpack(io.BytesIO(b"not a zip"))


def test_light_archives_leave_weights_and_activations_out(store: Path) -> None:
    write_run(store, World(Shape(**{**vars(SMALL), "activations": True})), "magnitude", 5)
    names = {
        heavy: {path.name for path in keeping.files(f"{SMALL.study}/magnitude-s5", heavy)} for heavy in (True, False)
    }
    assert names[True] - names[False] == {"activations.safetensors"} and "predictions.parquet" in names[False]


# -- the page ------------------------------------------------------------------------------------------------------


def test_the_page_lists_runs_with_their_room(store: Path) -> None:
    app = open_page("runs")
    frame = app.dataframe[0].value
    assert set(frame["run"]) == {f"{SMALL.study}/{name}-s0" for name in ("dense", "dense_continued", "magnitude")}
    assert (frame["disk"] > 0).all() and "Bring in" in str([button.label for button in app.button])


def test_a_run_is_named_tagged_archived_and_found(store: Path) -> None:
    app = open_page("runs")
    place = app.dataframe[0].value["run"].tolist().index(RUN)
    ticked(app, place)
    for label, value in (("Name", "My best"), ("Tags", "paper, final")):
        next(field for field in app.text_input if field.label == label).set_value(value)
    next(field for field in app.text_area if field.label == "Note").set_value("careful")
    press(app, "Save")
    assert storyboard.labels(store, SMALL.study, "magnitude-s0") == {
        "title": "My best",
        "tags": ["paper", "final"],
        "note": "careful",
    }
    app = open_page("runs", tag="paper")
    assert app.dataframe[0].value["run"].tolist() == [RUN]
    press(ticked(app, 0), "Archive")
    assert RUN not in open_page("runs").dataframe[0].value["run"].tolist()
    assert RUN in open_page("runs", archived="true").dataframe[0].value["run"].tolist()


def test_a_run_is_deleted_and_put_back(store: Path) -> None:
    app = open_page("runs")
    ticked(app, app.dataframe[0].value["run"].tolist().index(RUN))
    press(app, "Delete")
    assert not (store / RUN).exists() and "1 deleted" in texts(app)
    press(app, "Put back")
    assert (store / RUN).is_dir() and "is back" in texts(app)


def test_read_only_servers_change_nothing(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNOSCOPE_READONLY", "1")
    app = ticked(open_page("runs"), 0)
    acting = [button for button in app.button if button.label in ("Delete", "Archive", "Save", "Bring in")]
    assert len(acting) >= 3 and all(button.disabled for button in acting)


def test_archived_studies_leave_home_until_asked_for(store: Path) -> None:
    storyboard.label(store, SMALL.study, title="The good one", archived=True)
    assert "The good one" not in texts(open_page("home"))
    assert "The good one" in texts(open_page("home", archived="true"))


def test_a_damaged_label_file_hides_nothing(store: Path) -> None:
    (store / SMALL.study / storyboard.LABELS).write_text("{not json")
    assert SMALL.study in texts(open_page("home")) and len(open_page("runs").dataframe[0].value) == 3


def test_two_hundred_runs_open_within_three_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = Shape(languages=2, seeds=1, items=4, natural=0, classes=2, activations=False, weights=False, methods=("magnitude",), levels=(0.5, 0.9))  # fmt: skip
    template = write_store(tmp_path / "template", shape) / shape.study
    for number in range(67):
        shutil.copytree(template, tmp_path / "store" / f"study-{number:03d}")
    monkeypatch.setenv("PRUNOSCOPE_STORE", str(tmp_path / "store"))
    times = {}
    for name in ("home", "runs", "monitor"):
        started = time.monotonic()
        app = open_page(name)
        times[name] = time.monotonic() - started
        assert not app.exception
    assert max(times.values()) < 3, times


# -- the tour ------------------------------------------------------------------------------------------------------


def test_every_stop_of_the_tour_is_on_its_page(store: Path) -> None:
    for number, step in enumerate(tour.STEPS, 1):
        app = open_page(step.page, tour=str(number))
        assert not app.exception and f"Tour, {number} of {len(tour.STEPS)}" in texts(app), step
        assert app.query_params.get("tour") in (str(number), [str(number)])


def test_a_stop_of_another_page_is_said(store: Path) -> None:
    app = open_page("weights", tour="1")
    assert "is no stop of the tour on this page" in texts(app) and "Tour, 1" not in texts(app)


# -- the model -----------------------------------------------------------------------------------------------------


def test_an_exported_model_is_handed_out_whole(store: Path) -> None:
    level = record.Run(store / RUN).levels()[-1]
    (level.path / "weights.safetensors").write_bytes(b"0")
    target = store / ".exports" / f"{RUN.replace('/', '--')}--{level.path.name}"
    (target / "masks").mkdir(parents=True)
    for name, data in {"config.json": b"{}", "model.safetensors": b"abc", "masks/masks.safetensors": b"de"}.items():
        (target / name).write_bytes(data)
    app = ticked(open_page("runs"), open_page("runs").dataframe[0].value["run"].tolist().index(RUN))
    assert "Download the model as a zip file" in [one.label for one in app.get("download_button")]
    assert next(button for button in app.button if button.label == "Export the pruned model").disabled
    with zipfile.ZipFile(io.BytesIO(keeping.pack_folder(target))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            f"{target.name}/config.json": b"{}",
            f"{target.name}/model.safetensors": b"abc",
            f"{target.name}/masks/masks.safetensors": b"de",
        }


def test_results_of_a_run_open_with_its_method(store: Path) -> None:
    found = open_page("runs").dataframe[0].value.set_index("run")["open"]
    assert found[RUN] == f"degradation?study={SMALL.study}&method=magnitude"
    assert found[f"{SMALL.study}/dense-s0"] == f"degradation?study={SMALL.study}"
