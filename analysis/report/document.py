"""The report as one HTML document: what the template reads, and the way to a file."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from analysis import storyboard, tables, theme
from analysis.figures.base import Shown
from analysis.report import examples, facts, methods, results
from analysis.report.parts import Section, trusted
from analysis.story import Told, slides
from engine import record
from engine.record import RecordError

TEMPLATES = Path(__file__).parent.parent / "templates"


@dataclass
class Report:
    """What the template prints."""

    told: Told
    text: bool = True
    problems: list[str] = field(default_factory=list)

    @property
    def study(self) -> str:
        """The study's name."""
        return self.told.study

    @cached_property
    def label(self) -> dict[str, Any]:
        """The title and note that people gave the study in the app."""
        return storyboard.labels(self.told.store, self.study)

    @property
    def title(self) -> str:
        """The study's title, by default its name."""
        return str(self.label.get("title") or self.study)

    @property
    def note(self) -> str:
        """The note that people wrote about the study."""
        return str(self.label.get("note") or "")

    @cached_property
    def written(self) -> str:
        """When: date and time of this machine."""
        return time.strftime("%Y-%m-%d %H:%M")

    fonts = Markup(theme.FONTS)  # ours, no one else's text

    @property
    def plotly(self) -> Any:
        """plotly.js, once for all figures."""
        from plotly.offline import get_plotlyjs

        return trusted(get_plotlyjs())

    @cached_property
    def configs(self) -> dict[record.Run, dict[str, Any]]:
        """Configuration of every run that can be read."""
        return dict(tables.readable(self.told.store, self.study, self.problems))

    @cached_property
    def shown(self) -> list[tuple[Any, Shown]]:
        """The figures of the story."""
        return slides(self.told)

    @property
    def summary(self) -> list[str]:
        """The first sentences."""
        first = next((shown.reading for _, shown in self.shown), "")
        return [line for line in (first, results.differ(self.told)) if line]

    @cached_property
    def sections(self) -> list[Section]:
        """All sections that have something to say."""
        made = (
            results.scores(self), results.findings(self), results.board(self), results.story(self), examples.examples(self) if self.text else None,
            methods.methods(self), methods.measures(self), facts.data(self), facts.caveats(self), facts.reproduce(self), facts.runs(self),
        )  # fmt: skip
        return [section for section in made if section is not None]


def write(store: Path, study: str, to: Path, text: bool = True) -> list[str]:
    """Write the report, whole or not at all; returns one line per run that could not be read.

    `text` False leaves every corpus sentence out. Raises `RecordError` for an unknown study, one without measured
    results and a folder that is not there.
    """
    tables.study_names(store, study)
    if not to.parent.is_dir():
        raise RecordError(f"--to: must be a file in a folder that exists; got {to}")
    report = Report(Told(store, study), text)
    html = render(report)
    with record.atomic(to) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return report.problems


def render(report: Report) -> str:
    """The report as one HTML document; everything but our own scripts and figures is escaped."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.get_template("report.html").render(report=report)
