"""The Run section and Methods, page by page, in every state of a store: none, one run, many runs, a broken one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from analysis.measures import files
from engine import queue, record
from pages.ui import controls, drafts, form, jobs, live, loading, measuring, navigation, show, toml, uploads
from tests.conftest import ROOT
from tests.synthetic import Shape, World, write_run, write_store

PAGES = ("home", "new-study", "monitor", "methods")
SMALL = Shape(
    languages=3,
    seeds=1,
    items=24,
    natural=0,
    probe=12,
    classes=3,
    activations=False,
    methods=("magnitude",),
    levels=(0.5, 0.9),
)
Open = Callable[..., AppTest]


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stores in the four states."""
    found = {name: tmp_path_factory.mktemp(name) for name in ("none", "one", "many", "broken")}
    write_run(found["one"], World(SMALL), "dense", 0)
    write_store(found["many"], SMALL)
    other = World(Shape(**{**vars(SMALL), "study": "other", "methods": ("magnitude", "random")}))
    write_run(found["many"], other, "dense", 0)
    write_run(found["many"], other, "magnitude", 0, state="failed", levels=1)
    write_run(found["many"], other, "random", 0, state=None, levels=1)
    write_run(found["broken"], World(SMALL), "dense", 0)
    for run, text in (("magnitude-s0", "{not json"), ("random-s0", json.dumps({"schema": 99}))):
        (found["broken"] / SMALL.study / run).mkdir()
        (found["broken"] / SMALL.study / run / "config.json").write_text(text)
    return found


@pytest.fixture()
def page(stores: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> Open:
    """Open a page on a store, with the parameters of a link."""

    def opened(name: str, store: str | Path, **query: str) -> AppTest:
        monkeypatch.setenv("PRUNOSCOPE_STORE", str(stores[store] if isinstance(store, str) else store))
        app = AppTest.from_file(str(ROOT / "pages" / f"{name}.py"), default_timeout=90)
        for key, value in query.items():
            app.query_params[key] = value
        return app.run()

    return opened


def texts(app: AppTest) -> str:
    """Everything that a page says, with Markdown's escapes taken away."""
    kinds = (
        app.markdown,
        app.caption,
        app.error,
        app.warning,
        app.info,
        app.success,
        app.subheader,
        app.text,
        app.code,
    )
    return "\n".join(str(element.value) for kind in kinds for element in kind).replace("\\", "")


@pytest.mark.parametrize("store", ["none", "one", "many", "broken"])
@pytest.mark.parametrize("name", PAGES)
def test_every_page_in_every_state(page: Open, name: str, store: str) -> None:
    app = page(name, store)
    assert not app.exception
    assert len(app.title) == 1


def test_home_says_how_to_get_a_first_study(page: Open) -> None:
    assert "make demo" in texts(page("home", "none"))


def test_home_lists_studies_with_their_states(page: Open) -> None:
    said = texts(page("home", "many"))
    assert "synthetic" in said and "other" in said
    assert "1 method (magnitude) · sparsity 50%, 90% · 1 seed · 3 languages" in said


def test_home_names_broken_folders(page: Open) -> None:
    app = page("home", "broken")
    assert "2 run folders cannot be read" in texts(app)
    assert "magnitude-s0" in texts(app)


# -- Monitor ------------------------------------------------------------------------------------------------------


@pytest.fixture()
def busy(tmp_path: Path) -> Path:
    """A store with a run of a terminal (not in the queue), one waiting run and a lost one."""
    world = World(SMALL)
    write_run(tmp_path, world, "dense", 0)
    run = write_run(tmp_path, world, "magnitude", 0, state=None, levels=1)
    run.beat(step=30, total=160, phase="training at 90%", eta_seconds=65.0, attempt=1)
    lost = write_run(tmp_path, world, "random", 0, state=None, levels=1)
    record.write_json(
        lost.path / "heartbeat.json", {"time": time.time() - 600, "pid": os.getpid(), "step": 5, "total": 10}
    )
    (tmp_path / SMALL.study / "dense-s1").mkdir()
    queue.submit(tmp_path, [f"{SMALL.study}/dense-s1"])
    return tmp_path


def test_monitor_shows_what_runs_waits_and_was_lost(page: Open, busy: Path) -> None:
    app = page("monitor", busy)
    states = {run.name.partition("/")[2]: run.state for run in live.runs()}
    assert states == {"dense-s0": "done", "magnitude-s0": "running", "random-s0": "lost", "dense-s1": "queued"}
    assert "magnitude-s0" in texts(app) and "1. dense-s1" in texts(app)
    assert [metric.value for metric in app.metric][:2] == ["running", "30 / 160"]


def test_monitor_deep_link_opens_that_run(page: Open, busy: Path) -> None:
    app = page("monitor", busy, study=SMALL.study, run=f"{SMALL.study}/random-s0")
    assert app.subheader[0].value.replace("\\", "") == f"{SMALL.study}/random-s0"
    assert "process is gone" in texts(app)
    assert [button.label for button in app.button if not button.disabled] == ["Resume"]


def test_monitor_cancels_a_waiting_run(page: Open, busy: Path) -> None:
    app = page("monitor", busy, run=f"{SMALL.study}/dense-s1")
    next(button for button in app.button if button.label == "Cancel this run").click().run()
    assert record.Run(busy / SMALL.study / "dense-s1").state() == "cancelled"


def test_monitor_reports_an_unknown_run_and_shows_no_other(page: Open, busy: Path) -> None:
    app = page("monitor", busy, run="synthetic/nobody-s9")
    assert "run = synthetic/nobody-s9: must be one of" in texts(app)
    assert not app.metric


def test_a_run_that_ends_is_announced_once(page: Open, busy: Path) -> None:
    app = page("monitor", busy)
    assert app.subheader[0].value.replace("\\", "") == f"{SMALL.study}/magnitude-s0"  # what runs now
    record.Run(busy / SMALL.study / "magnitude-s0").finish("done", seconds=3.0)
    app.run()
    assert [toast.value.replace("\\", "") for toast in app.toast] == ["synthetic/magnitude-s0 is done"]
    app.run()
    assert not app.toast


def test_retried_steps_count_once(busy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNOSCOPE_STORE", str(busy))
    run = record.Run(busy / SMALL.study / "magnitude-s0")
    before = len(loading.lines(f"{SMALL.study}/magnitude-s0"))
    again = next(line for line in run.metrics() if line["type"] == "train")
    run.log("train", again["step"], 2, **{key: again[key] for key in ("level", "cycle", "cycle_step")}, loss=0.125)
    lines = loading.lines(f"{SMALL.study}/magnitude-s0")
    assert len(lines) == before
    assert [line["loss"] for line in lines if line["type"] == "train" and line["step"] == again["step"]] == [0.125]


# -- the address --------------------------------------------------------------------------------------------------


def test_unknown_study_is_reported_and_never_replaced(page: Open, stores: dict[str, Path]) -> None:
    app = page("monitor", "many", study="nobody")
    assert "study = nobody: there is no such study in this store; studies here: other, synthetic" in texts(app)
    assert not app.metric
    app.run()
    assert app.query_params["study"] == "nobody" and not app.metric
    app.selectbox(key="monitor.study").select("other").run()
    assert app.query_params["study"] == "other" and app.metric


def test_the_address_is_written_out_in_full(page: Open) -> None:
    app = page("methods", "none")
    assert app.query_params == {"kind": "all", "search": "", "entry": ""}
    assert "kind=all&search=&entry=" in app.code[0].value


def test_a_wrong_value_is_reported_until_the_control_moves(page: Open) -> None:
    app = page("methods", "none", kind="potions", colour="red")
    assert "kind = potions: must be one of all, recipes" in texts(app)
    assert "colour = red: this page has no such setting" in texts(app)
    assert "potions" in texts(app.run())
    app.selectbox(key="methods.kind").select("recipes").run()
    assert "potions" not in texts(app)


def test_text_of_a_link_is_shown_as_text(page: Open) -> None:
    app = page("methods", "none", kind="![x](https://example.org/x.png)")
    assert "![" not in app.warning[0].value and "!\\[x\\]\\(" in app.warning[0].value


def changing_page() -> None:
    """A page of its own whose choices change while a problem stands."""
    import streamlit as st

    from pages.ui import controls, link

    link.begin("changing")
    levels = [0.5, 0.9] if st.checkbox("other study", key="other") else [0.25, 0.75]
    st.text(f"level {controls.level(levels)}")
    st.text("; ".join(text for text, _ in link.current().problems.values()))
    link.finish(True)


def test_choices_may_change_under_a_reported_value() -> None:
    app = AppTest.from_function(changing_page, default_timeout=90)
    app.query_params["level"] = "0.33"
    app.run()
    assert app.text[0].value == "level 0.75" and "level = 0.33: must be one of 0.25, 0.75" in app.text[1].value
    app.checkbox(key="other").check().run()
    assert not app.exception and app.text[0].value == "level 0.9"
    assert app.query_params["level"] == "0.9"


def test_levels_are_matched_as_numbers() -> None:
    encode = controls._encoder([0.5, 0.95])
    assert controls._decode_one("0.950", [0.5, 0.95], encode) == 0.95
    with pytest.raises(ValueError, match="must be one of 0.5, 0.95"):
        controls._decode_one("0.7", [0.5, 0.95], encode)


# -- New study ----------------------------------------------------------------------------------------------------


def draft(app: AppTest) -> str:
    """The study file as the page shows it."""
    return next(str(block.value) for block in app.code if "[study]" in str(block.value))


def test_form_writes_only_what_was_decided(page: Open, tmp_path: Path) -> None:
    app = page("new-study", tmp_path)
    assert draft(app).startswith('[study]\nname = "my-study"\nseeds = [0, 1]\n')
    assert "[train]" not in draft(app)
    next(field for field in app.number_input if field.label == "Batch size").set_value(16).run()
    assert "[train]\nbatch_size = 16\n" in draft(app)


def test_form_adds_changes_and_removes_methods(page: Open, tmp_path: Path) -> None:
    app = page("new-study", tmp_path)
    next(field for field in app.selectbox if field.label == "Add a method").select("sdp_cc").run()
    next(button for button in app.button if button.label == "Add").click().run()
    assert 'recipe = "sdp_cc"' in draft(app)
    next(field for field in app.number_input if field.label == "alpha").set_value(0.25).run()
    assert "objective = { alpha = 0.25 }" in draft(app)
    next(button for button in app.button if button.label == "Remove").click().run()
    assert 'recipe = "random"' not in draft(app) and "alpha = 0.25" in draft(app)
    assert not app.error


def test_problems_stand_beside_the_form(page: Open, tmp_path: Path) -> None:
    app = page("new-study", tmp_path)
    next(field for field in app.text_input if field.label == "Name").set_value("Not a Name").run()
    next(field for field in app.text_input if field.label == "Levels").set_value("0.9, 0.5").run()
    said = texts(app)
    assert "study.name: must match" in said and "must be ascending" in said
    assert [button.disabled for button in app.button if button.label in ("Start", "Check")] == [True, True]


def test_form_and_text_are_two_views_of_one_file(page: Open, tmp_path: Path) -> None:
    app = page("new-study", tmp_path, mode="toml")
    text = app.text_area[0].value.replace("seeds = [0, 1]", "seeds = [7]") + "keep_weights = [0.9]\n"
    app.text_area[0].set_value(text).run()
    app.button_group(key="new-study.mode").set_value("form").run()
    assert next(field for field in app.text_input if field.label == "Seeds").value == "7"
    assert "keep_weights = [0.9]" in draft(app)  # the form does not draw it, and keeps it


def test_broken_toml_is_named_and_stays(page: Open, tmp_path: Path) -> None:
    app = page("new-study", tmp_path, mode="toml")
    app.text_area[0].set_value("[study\n").run()
    assert "must be TOML" in texts(app)
    app.button_group(key="new-study.mode").set_value("form").run()
    assert "no TOML yet" in texts(app) and app.text_area[0].value == "[study\n"


def test_a_study_can_be_the_template_of_another(page: Open) -> None:
    app = page("new-study", "many", start="study:synthetic")
    assert 'name = "synthetic-2"' in draft(app)
    assert "levels = [0.5, 0.9]" in draft(app)


def test_read_only_servers_start_and_stop_nothing(page: Open, busy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNOSCOPE_READONLY", "1")
    for name in ("new-study", "monitor"):
        app = page(name, busy)
        acting = [button for button in app.button if button.label in ("Start", "Check", "Cancel this run", "Resume")]
        assert acting and all(button.disabled for button in acting)


@pytest.mark.parametrize(
    "value",
    [
        {"study": {"name": "a", "seeds": [0, 1]}, "train": {"learning_rate": 3e-05, "freeze_embeddings": True}},
        {"task": {"train": 'C:\\data\\"x".tsv', "columns": {"text": "Satz 1", "a b": "ü\x7f\n"}}},
        {
            "method": [
                {"recipe": "sdp_cc", "objective": {"alpha": 0.5}},
                {"recipe": "x", "levels": [], "floors": {"*.query": 0.25}},
            ]
        },
    ],
)
def test_toml_round_trip(value: dict[str, object]) -> None:
    import tomllib

    assert tomllib.loads(toml.dumps(value)) == value


def test_lists_and_pairs_keep_what_they_cannot_read() -> None:
    assert form.listed("0.5, x", "number") == [0.5, "x"]
    assert form.listed(" , ") is None
    assert form.pairs("train = 2000, text = Satz") == {"train": 2000, "text": "Satz"}


# -- Methods ------------------------------------------------------------------------------------------------------


def test_entry_in_the_address_opens_it(page: Open) -> None:
    app = page("methods", "none", entry="wanda")
    opened = [box for box in app.expander if box.proto.expanded]
    assert opened and all("wanda" in box.label for box in opened)
    assert "arXiv 2306.11695" in texts(app)


def test_search_needs_every_word(page: Open) -> None:
    app = page("methods", "none", search="2204.01385 cosine")
    assert any("AlignReg" in box.label for box in app.expander)
    assert "Nothing here has all these words" in texts(page("methods", "none", search="zzzz", kind="recipes"))


def test_every_row_of_every_table_is_in_the_glossary(page: Open) -> None:
    app = page("methods", "none")
    labels = " ".join(box.label for box in app.expander)
    for kind in show.KINDS:
        assert all(f"`{name}`" in labels for name in loading.table(kind))


# -- figures, definitions and measures ---------------------------------------------------------------------------


def shown_figure() -> None:
    """A page of its own for `pages.ui.show`."""
    from types import SimpleNamespace

    import pandas as pd
    import plotly.graph_objects as go

    from pages.ui import show

    data = pd.DataFrame({"language": ["de", "ar"], "drop": [1.5, 4.0]})
    figure = go.Figure(go.Bar(x=data["language"], y=data["drop"]))
    shown = SimpleNamespace(
        figure=figure, reading="ar loses *most*: 4.0 points", caption="n = 200; 2 seeds; 95% bootstrap", data=data
    )
    show.figure(shown, "drops", definitions=("linear_cka", "no_such_measure"))
    show.number("accuracy", "81.2%")


def test_a_figure_carries_reading_caption_data_and_definition() -> None:
    app = AppTest.from_function(shown_figure, default_timeout=90).run()
    assert not app.dataframe  # the table is sent when its popover is opened
    app.session_state["export-drops"] = True
    app.run()
    assert not app.exception
    said = texts(app)
    assert "ar loses *most*: 4.0 points" in said and "n = 200; 2 seeds" in said
    assert app.dataframe[0].value["drop"].tolist() == [1.5, 4.0]
    assert [button.label for button in app.get("download_button")] == ["CSV", "Parquet", "LaTeX", "HTML"]
    assert any("HSIC" in formula.value for formula in app.latex)
    assert [popover.proto.popover.label for popover in app.get("popover")] == ["What is CKA?"]
    assert app.metric[0].label == "Accuracy" and "gold class" in app.metric[0].help


def test_measures_are_read_once_they_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNOSCOPE_STORE", str(tmp_path))
    run = write_run(tmp_path, World(SMALL), "dense", 0)
    assert loading.measure(SMALL.study, "degradation") is None and loading.level_rows(SMALL.study, "cka") is None
    files.write(files.of_study(tmp_path, SMALL.study), "degradation", "0" * 16, pd.DataFrame({"drop": [1.0]}))
    files.write(files.of_level(run.level(0.0)), "cka", "1" * 16, pd.DataFrame({"cka": [0.5]}))
    degradation, cka = loading.measure(SMALL.study, "degradation"), loading.level_rows(SMALL.study, "cka")
    assert degradation is not None and degradation["drop"].tolist() == [1.0]
    assert cka is not None and cka["cka"].tolist() == [0.5]


def test_facts_of_a_study(stores: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNOSCOPE_STORE", str(stores["many"]))
    facts = loading.facts(SMALL.study)
    assert facts.methods == ["dense", "dense_continued", "magnitude"] and facts.pruned == ["magnitude"]
    assert facts.all_levels == [0.5, 0.9] and facts.languages == ("en", "de", "fr") and facts.sources == ("en",)
    assert not facts.broken
    monkeypatch.setenv("PRUNOSCOPE_STORE", str(stores["broken"]))
    assert set(loading.facts(SMALL.study).broken) == {"magnitude-s0", "random-s0"}


def waiting_page() -> None:
    """A page of its own for `pages.ui.measuring`."""
    import os

    from pages.ui import measuring

    measuring.missing(
        "synthetic", "This map has not been made yet.", "map", ("--only", os.environ["PRUNOSCOPE_TEST_MEASURE"])
    )


def test_a_missing_measure_is_computed_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNOSCOPE_STORE", str(tmp_path))
    monkeypatch.setenv("PRUNOSCOPE_TEST_MEASURE", "elixirs")
    write_run(tmp_path, World(SMALL), "dense", 0)
    app = AppTest.from_function(waiting_page, default_timeout=90).run()
    assert "This map has not been made yet." in texts(app)
    app.button(key="measure-map").click().run()
    deadline = time.monotonic() + 60
    while measuring.job("synthetic").running() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "elixirs" in texts(app.run())  # the command line has refused this name, and says so here


# -- small things -------------------------------------------------------------------------------------------------


def test_places_are_unique_and_in_the_order_of_the_design() -> None:
    assert len({place.key for place in navigation.PLACES}) == len(navigation.PLACES)
    assert list(dict.fromkeys(place.section for place in navigation.PLACES)) == [
        "Run",
        "Languages",
        "Representations",
        "Inside",
        "Share",
    ]
    with pytest.raises(ValueError, match=r"page: must be one of home, .*; got 'nowhere'"):
        navigation.place("nowhere")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4, "4 s"), (200, "3 min"), (4800, "1 h 20 min"), (50_000, "14 h"), (86_400, "1 day"), (200_000, "2 days")],
)
def test_durations(seconds: float, text: str) -> None:
    assert show.duration(seconds) == text


def test_a_job_is_found_again_by_its_folder(tmp_path: Path) -> None:
    job = jobs.Job(tmp_path / "job")
    assert not job.running() and job.output() is None and not job.errors()
    record.write_json(job.folder / "job.json", {"pid": os.getpid(), "about": "x", "started": 0.0})
    assert job.running()  # started by a server that is gone, and still at work
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait()
    record.write_json(job.folder / "job.json", {"pid": ended.pid, "about": "x", "started": 0.0})
    (job.folder / "output.txt").write_text('{"runs": 3}', encoding="utf-8")
    (job.folder / "errors.txt").write_text("one\n\ntwo\n", encoding="utf-8")
    assert not job.running() and job.output() == {"runs": 3} and job.errors() == ["one", "two"]


def test_drafts_stay_in_their_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNOSCOPE_STORE", str(tmp_path))
    assert drafts.save("mine", drafts.STARTER) == tmp_path / ".studies" / "mine.toml"
    for name in ("../mine", "a/b", "", ".hidden", "a" * 61):
        with pytest.raises(ValueError, match=r"study\.name: must match"):
            drafts.save(name, drafts.STARTER)
    papers = [start for start in drafts.starts() if start.startswith("paper:")]
    assert drafts.starts() == ["new", "draft:mine", *papers] and record.studies(tmp_path) == []


def test_a_new_study_may_start_from_a_papers_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNOSCOPE_STORE", str(tmp_path))
    papers = [start for start in drafts.starts() if start.startswith("paper:")]
    assert (
        "paper:alignreg-xnli" in papers and drafts.label("paper:alignreg-xnli") == "a paper's experiment: alignreg-xnli"
    )
    assert all(drafts.name_of(drafts.read(start)) == start.partition(":")[2] for start in papers)
    assert drafts.problems(drafts.read("paper:cap-sst2")) == []
    assert drafts.read("paper:../../secret") == drafts.STARTER


def test_log_tail_reads_the_end_of_a_long_file(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("\n".join(f"line {number}" for number in range(100_000)), encoding="utf-8")
    tail = live.log_tail(tmp_path / "log.txt", 3)
    assert tail.splitlines() == ["line 99997", "line 99998", "line 99999"]
    assert live.log_tail(tmp_path / "absent.txt") == ""


# -- data of one's own --------------------------------------------------------------------------------------------


@dataclass
class Given:
    """A file as the uploader hands it over."""

    name: str
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def getvalue(self) -> bytes:
        return self.data


GOOD = "id\ttext\tlabel\n1\tشغّل الموسيقى\tplay\n2\tأطفئ الضوء\tlight\n".encode()


def test_good_files_are_kept_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNOSCOPE_STORE", str(tmp_path))
    found = uploads.keep("mine", [Given("train.en.tsv", GOOD), Given("test.ar.tsv", GOOD), Given("test.en.tsv", GOOD)])
    assert found.problems == [] and found.languages == {"train": ["en"], "test": ["ar", "en"]}
    assert found.paths["test"] == str(tmp_path / ".uploads" / "mine" / "test.{language}.tsv")
    assert (tmp_path / ".uploads" / "mine" / "test.ar.tsv").read_bytes() == GOOD
    uploads.clear("mine")
    assert uploads.keep("mine", []).paths == {}


@pytest.mark.parametrize(("name", "data", "rule"), [
    ("data.tsv", GOOD, "must be called"),
    ("../train.en.tsv", GOOD, "must be called"),
    ("train.en.pkl", GOOD, "must end in"),
    ("test.de.tsv", b"id\ttext\n1\ta\tb\tc\n", "must be a tsv file"),
    ("test.de.tsv", b"\xff\xfe\x00bad", "must be"),
    ("test.de.jsonl", b"{no", "must be a jsonl file"),
    ("test.de.parquet", b"not parquet", "must be a parquet file"),
    ("test.de.tsv", b"id\ttext\n", "at least one row"),
])  # fmt: skip
def test_bad_files_are_named_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, data: bytes, rule: str
) -> None:
    monkeypatch.setenv("PRUNOSCOPE_STORE", str(tmp_path))
    found = uploads.keep("mine", [Given(name, data)])
    assert len(found.problems) == 1 and rule in found.problems[0] and str(tmp_path) not in found.problems[0]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_large_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNOSCOPE_STORE", str(tmp_path))
    monkeypatch.setattr(uploads, "MOST_BYTES", 10)
    assert "at most" in uploads.keep("mine", [Given("train.en.tsv", GOOD)]).problems[0]
    with pytest.raises(ValueError, match="must match"):
        uploads.folder("../up")


def test_data_is_read_by_a_process_of_its_own(tmp_path: Path, tiny_study: Callable[..., Path]) -> None:
    done = subprocess.run([sys.executable, "-m", "pages.ui.preview", str(tiny_study())], cwd=ROOT, capture_output=True, text=True, check=False)  # fmt: skip
    found = json.loads(done.stdout)
    parts = {(part["split"], part["language"]): part for part in found["parts"]}
    assert parts["test", "de"]["rows"] == 48 and len(parts["test", "de"]["examples"]) == 5
    assert set(parts["train", "en"]["examples"][0]) >= {"id", "text", "label"} and found["labels"] == [
        "call",
        "light",
        "play",
    ]
    broken = tmp_path / "broken.toml"
    broken.write_text("[study\n")
    done = subprocess.run([sys.executable, "-m", "pages.ui.preview", str(broken)], cwd=ROOT, capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr and done.stderr.strip()


def test_the_page_shows_what_was_read(page: Open, tmp_path: Path) -> None:
    app = page("new-study", tmp_path)
    job = drafts.preview("my-study")
    job.folder.mkdir(parents=True)
    record.write_json(
        job.folder / "job.json",
        {"pid": 0, "about": drafts.about(app.session_state["new-study.text-now"]), "started": 0.0},
    )
    rows = {
        "split": "test",
        "language": "ar",
        "rows": 2,
        "examples": [{"id": "1", "text": "شغّل الموسيقى", "label": "play"}],
    }
    (job.folder / "output.txt").write_text(
        json.dumps({"parts": [rows], "labels": ["play"], "parallel": True, "notes": ["a note"]})
    )
    app = page("new-study", tmp_path)
    assert "The data is read" in texts(app) and "a note" in texts(app)
    assert "شغّل الموسيقى" in str([frame.value for frame in app.dataframe])


def test_a_recipe_on_another_axis_is_drawn_from_its_row(
    monkeypatch: pytest.MonkeyPatch, page: Open, tmp_path: Path
) -> None:
    from pages.ui import methods_form

    rows = loading.table("recipes")
    assert [methods_form.axis(row) for row in methods_form.pruning().values()].count("levels") >= 10
    assert not {"dense", "dense_continued"} & set(methods_form.pruning())
    assert methods_form._named(("movement", {"lr": 0.1})) == ("movement", {"lr": 0.1}) and methods_form._named(
        None
    ) == ("", {})
    assert methods_form.family(rows["sdp_cc"]) == "Self-distillation"


def test_monitor_shows_throughput_and_memory(page: Open, busy: Path) -> None:
    run = record.Run(busy / SMALL.study / "magnitude-s0")
    run.log("train", 31, 1, level=0.9, cycle=1, cycle_step=1, loss=0.5, examples_per_second=1234.0)
    values = {metric.label: metric.value for metric in page("monitor", busy).metric}
    assert values["Examples per second"] == "1,234" and values["Memory"].endswith(("MB", "GB"))


def test_a_run_that_ends_is_announced_on_any_page(page: Open, busy: Path) -> None:
    name = f"{SMALL.study}/dense-s1"
    assert queue.rows(busy)[-1].state == "queued"
    app = page("methods", busy, kind="languages")
    assert not app.toast
    queue.cancel(busy, name)
    app.run()
    assert [toast.value.replace("\\", "") for toast in app.toast] == [f"{name} is cancelled"]
    app.run()
    assert not app.toast


def test_a_queue_that_cannot_be_read_spares_the_other_pages(page: Open, tmp_path: Path) -> None:
    (tmp_path / "queue.sqlite").write_bytes(b"no database at all" * 100)
    assert not page("methods", tmp_path, kind="languages").exception


def test_a_model_pruned_elsewhere_is_described_in_the_form(page: Open, tmp_path: Path) -> None:
    app = page("new-study", tmp_path)
    key = next(box.key for box in app.selectbox if box.label == "Add a method")
    app.selectbox(key=key).set_value("imported").run()
    next(button for button in app.button if button.label == "Add").click().run()
    assert not app.exception
    field = next(box for box in app.text_input if box.label == "Checkpoint")
    field.set_value("elsewhere/pruned").run()
    written = next(block.value for block in app.code if "[study]" in block.value)
    assert 'recipe = "imported"' in written and 'checkpoint = "elsewhere/pruned"' in written
    assert "must be 'keep' with a method that has a checkpoint" in texts(app).replace("\\", "")
