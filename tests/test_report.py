"""The story of a study, the views that are kept with it, and the report: one file, escaped, offline, without text on request."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import plotly.graph_objects as go
import pytest
from typer.testing import CliRunner

from analysis import measures, report, story, storyboard, theme
from analysis.__main__ import app
from analysis.measures import compare
from analysis.report.formula import mathml
from engine import record
from engine.record import RecordError
from engine.registry import TABLES, table
from tests.synthetic import Shape, World, write_run, write_store
from tests.test_measures import WITHOUT_UMAP, quiet

SHAPE = Shape(languages=3, seeds=2, items=60, natural=0, probe=32, classes=4, layers=2, width=16, methods=("random", "magnitude", "sdp_cc"), levels=(0.5, 0.9))  # fmt: skip
STUDY = SHAPE.study
TEXT = re.compile(r"\b(?:en|de|fr) text test-\d+")  # the sentences of the synthetic store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_store(tmp_path_factory.mktemp("store"), SHAPE)
    assert measures.measure(folder, STUDY, WITHOUT_UMAP, workers=1, say=quiet) == []
    assert compare.compare(folder, STUDY, say=quiet) == []
    return folder


@pytest.fixture(scope="module")
def html(store: Path) -> str:
    return report.render(report.Report(story.Told(store, STUDY)))


class Parts(HTMLParser):
    """Ids, tags and text of a document, scripts left out."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.external: list[str] = []
        self.said = ""
        self.scripts = 0
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.external += [value or "" for name, value in attributes if name in ("src", "href") and not (value or "").startswith("#")]  # fmt: skip
        self.scripts += tag == "script"
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.said += data


# -- the story -----------------------------------------------------------------------------------------------------


def test_a_story_is_about_the_best_method_at_the_highest_level(store: Path) -> None:
    told = story.Told(store, STUDY)
    rows = told.degradation
    top = rows[(rows["sparsity"] == 0.9) & (rows["recipe"] != "random") & ~rows["source"]]
    assert told.level == 0.9 and told.method == top.groupby("method")["drop"].mean().idxmin()
    assert told.language == rows[(rows["method"] == told.method) & (rows["sparsity"] == 0.9)].set_index("language")["drop"].idxmax()  # fmt: skip
    assert told.reference == (STUDY, "magnitude")


@pytest.mark.parametrize("dark", [False, True])
def test_every_figure_is_drawn_and_read(store: Path, dark: bool) -> None:
    drawn = story.slides(story.Told(store, STUDY), dark)
    assert [entry.name for entry, _ in drawn] == [entry.name for entry in story.TELL if entry.name != "map"]
    assert all(shown.reading and shown.caption and shown.figure.data for _, shown in drawn)


def test_figures_open_on_pages_and_define_measures() -> None:
    from analysis.tables import MEASURES
    from pages.ui.navigation import PLACES

    for entry in story.TELL:
        assert entry.page in {place.key for place in PLACES} and set(entry.measures) <= set(MEASURES)


def test_an_unmeasured_study_says_what_to_run(tmp_path: Path) -> None:
    write_store(tmp_path, replace(SHAPE, seeds=1, methods=("magnitude",)))
    with pytest.raises(RecordError, match="python -m analysis measure"):
        _ = story.Told(tmp_path, STUDY).level


# -- the report ----------------------------------------------------------------------------------------------------


def test_a_report_is_one_file_with_everything(html: str) -> None:
    parts = Parts(html)
    sections = ("scores", "figures", "examples", "methods", "measures", "data", "caveats", "reproduce", "runs")
    assert [name for name in parts.ids if name in sections] == list(sections)
    assert parts.external == [] and "default-src 'none'" in html
    assert html.count("plotly.js v") == 1
    for words in ("Han et al. 2015", "python -m engine run synthetic.toml", "Apache-2.0", "[[method]]", "under 5 the intervals", "Zeros alone"):  # fmt: skip
        assert words in parts.said, words


def test_scores_are_those_of_the_tables(html: str, store: Path) -> None:
    told = story.Told(store, STUDY)
    row = told.degradation[(told.degradation["method"] == "sdp_cc") & (told.degradation["sparsity"] == 0.9) & (told.degradation["language"] == "fr")].iloc[0]  # fmt: skip
    said = Parts(html).said
    assert f"{theme.percent(row['pruned'])}\n{theme.points(row['drop']).removesuffix(' points')}" in said
    assert "Last safe sparsity" in said


def test_sentences_stay_at_home_on_request(html: str, store: Path, tmp_path: Path) -> None:
    assert TEXT.search(html)
    done = CliRunner().invoke(
        app, ["report", str(store), "--study", STUDY, "--to", str(tmp_path / "r.html"), "--no-text"]
    )
    assert done.exit_code == 0, done.output
    written = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert not TEXT.search(written) and "Examples that break" not in written
    assert len(written) > 1_000_000


def test_no_sentence_of_any_level_is_left(store: Path) -> None:
    """Every sentence of every run and language, as it is, as HTML and as JSON has it."""
    copy = report.render(report.Report(story.Told(store, STUDY), text=False))
    sentences = {
        text
        for path in (store / STUDY).rglob("details.parquet")
        for name in ("text", "pair")
        for text in (record.read_frame(path).get(name, pd.Series(dtype=str)).dropna().unique())
    }
    assert len(sentences) > 50
    written = {text: (text, escape(text), json.dumps(text)[1:-1]) for text in sentences}
    found = [text for text, forms in written.items() if any(form in copy for form in forms)]
    assert not found, found[:3]
    assert "--no-text" in copy


# -- formulas ------------------------------------------------------------------------------------------------------


def formulas() -> list[tuple[str, str]]:
    rows = [(f"{kind}/{name}", row) for kind in TABLES for name, row in table(kind).items()]
    return [(name, row.formula) for name, row in rows if getattr(row, "formula", "")]


@pytest.mark.parametrize(("name", "latex"), formulas(), ids=[name for name, _ in formulas()])
def test_every_formula_becomes_mathml(name: str, latex: str) -> None:
    drawn = mathml(latex)
    root = ElementTree.fromstring(drawn)
    assert root.tag.endswith("}math") and root.get("alttext") == latex and root.get("display") == "block"
    assert "merror" not in drawn and "\\" not in "".join(root.itertext())
    assert drawn.count("<msqrt>") + drawn.count("<mroot>") == latex.count(r"\sqrt")
    assert drawn.count("<mfrac") == len(re.findall(r"\\[tdc]?frac|\\t?binom", latex))


def test_a_formula_that_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="must be LaTeX that becomes MathML"):
        mathml(r"\nosuchthing x")


def test_methods_are_written_with_their_formulas(html: str) -> None:
    section = html[html.index('id="methods"') : html.index('id="measures"')]
    assert "The arms and their settings" in section and '<th scope="col">allocation</th>' in section
    assert section.count("<math ") >= 2 and "M§3; Han et al. 2015" in section and "; –" not in section


def test_text_of_any_script_is_escaped_and_keeps_its_direction(store: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(store, tmp_path / "store"))
    told = story.Told(copy, STUDY)
    for name in ("dense-s0", f"{told.method}-s0"):
        run = record.Run(copy / STUDY / name)
        level = run.levels()[-1]
        frame = level.frame("details")
        level.write_frame("details", frame.assign(text="<img src=x onerror=alert(1)> شغّل الموسيقى"))
    storyboard.label(copy, STUDY, title="<b>Title</b>", note="كيف حالك")
    html = report.render(report.Report(told))
    assert "<img" not in html and "&lt;img src=x" in html and "<b>Title" not in html
    assert 'dir="auto">&lt;img' in html and "كيف حالك" in html


def test_problems_and_wrong_input(store: Path, tmp_path: Path) -> None:
    run = CliRunner()
    done = run.invoke(app, ["report", str(store), "--study", "nobody", "--to", str(tmp_path / "r.html")])
    assert done.exit_code == 2 and "study: must be one of synthetic" in done.output
    done = run.invoke(app, ["report", str(store), "--study", STUDY, "--to", str(tmp_path / "no" / "r.html")])
    assert done.exit_code == 2 and "must be a file in a folder that exists" in done.output
    assert not list(tmp_path.iterdir())
    copy = Path(shutil.copytree(store, tmp_path / "store"))
    write_run(copy, World(SHAPE), "random", 7, state=None, levels=0).path.joinpath("config.json").write_text("{")
    done = run.invoke(app, ["report", str(copy), "--study", STUDY, "--to", str(tmp_path / "r.html")])
    assert done.exit_code == 1 and "random-s7" in done.output
    assert "Left out: synthetic/random-s7" in (tmp_path / "r.html").read_text(encoding="utf-8")


# -- what is kept --------------------------------------------------------------------------------------------------


def slide(number: int, dark: bool = False) -> storyboard.Slide:
    import json

    colours = theme.look(dark)
    figure = go.Figure(layout={"template": theme.template(dark)})
    figure.add_scatter(x=[1, 2], y=[3, 4], name="dense", line={"color": colours.dense})
    return storyboard.Slide("degradation", {"study": [STUDY]}, f"view {number}", f"reading {number}.", "n = 3.", json.loads(figure.to_json()), dark=dark)  # fmt: skip


def test_views_come_back_as_they_were_kept(tmp_path: Path) -> None:
    assert storyboard.read(tmp_path, STUDY) == []
    (tmp_path / STUDY).mkdir()
    storyboard.write(tmp_path, STUDY, [slide(1), replace(slide(2), sentence="Look here.")])
    first, second = storyboard.read(tmp_path, STUDY)
    assert (first.title, second.sentence) == ("view 1", "Look here.")
    shown = first.shown()
    assert shown.reading == "reading 1." and shown.data.to_dict("list") == {
        "name": ["dense"] * 2,
        "x": [1, 2],
        "y": [3, 4],
    }


@pytest.mark.parametrize("dark", [False, True])
def test_a_kept_view_takes_the_visitors_background(dark: bool) -> None:
    found = slide(1, dark=not dark).shown(dark).figure
    colours = theme.look(dark)
    assert found.data[0].line.color == colours.dense
    assert found.layout.template.layout.paper_bgcolor == colours.paper
    assert found.layout.template.layout.font.color == colours.text


def test_views_move_and_stay_within_their_number(tmp_path: Path) -> None:
    slides = [slide(number) for number in range(3)]
    titles = [[one.title for one in storyboard.moved(slides, *move)] for move in ((0, 1), (0, -1), (2, -2), (1, 9))]
    assert titles == [["view 1", "view 0", "view 2"], ["view 0", "view 1", "view 2"], ["view 2", "view 0", "view 1"], ["view 0", "view 2", "view 1"]]  # fmt: skip
    with pytest.raises(ValueError, match="slides: must be at most"):
        storyboard.write(tmp_path, STUDY, [slide(1)] * (storyboard.MOST_SLIDES + 1))


def test_a_broken_storyboard_is_named(tmp_path: Path) -> None:
    (tmp_path / STUDY).mkdir()
    for text in ("{not json", '{"schema": 9}', '{"schema": 1, "slides": [{"page": "x"}]}'):
        (tmp_path / STUDY / storyboard.FILE).write_text(text)
        with pytest.raises(RecordError, match=r"storyboard\.json"):
            storyboard.read(tmp_path, STUDY)


def test_kept_views_stand_in_the_report(store: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(store, tmp_path / "store"))
    storyboard.write(copy, STUDY, [replace(slide(1, dark=True), sentence="Sehen Sie hier")])
    html = report.render(report.Report(story.Told(copy, STUDY)))
    assert "Sehen Sie hier" in html and "plot-saved-0" in html


def test_names_tags_and_notes_are_kept_and_taken_away(tmp_path: Path) -> None:
    (tmp_path / STUDY).mkdir()
    storyboard.label(tmp_path, STUDY, title="First", tags=["paper"])
    storyboard.label(tmp_path, STUDY, "magnitude-s0", archived=True)
    storyboard.label(tmp_path, STUDY, note="good")
    assert storyboard.labels(tmp_path, STUDY) == {"title": "First", "tags": ["paper"], "note": "good"}
    assert storyboard.labels(tmp_path, STUDY, "magnitude-s0") == {"archived": True}
    storyboard.label(tmp_path, STUDY, "magnitude-s0", archived=False)
    storyboard.label(tmp_path, STUDY, title="", tags=[], note="")
    assert record.read_json(tmp_path / STUDY / storyboard.LABELS) == {}
