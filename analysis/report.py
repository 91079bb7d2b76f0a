"""One self-contained HTML file of a study: figures, tables, methods with sources, how to reproduce it, what to beware of.

`python -m analysis report STORE --study NAME --to report.html`. Everything is inside the file, plotly.js once, so that
it opens offline, prints, and asks no other machine for anything (its content security policy forbids it). Corpus
sentences stand in the section on examples alone; `text=False` leaves them out, for data that must not leave the house.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from analysis import storyboard, tables, theme
from analysis.figures.base import Shown
from analysis.figures.drops import MEAN, SIGNIFICANT, named
from analysis.story import Told, slides
from engine import record
from engine.metrics import METRICS
from engine.record import RecordError
from engine.registry import table as registry

TEMPLATES = Path(__file__).parent / "templates"
MOST_ROWS = 60  # of the table behind a figure; the CSV of the app has all of them
EXAMPLES = 12
CONTROLS = ("dense", "dense_continued")
PARTS = ("criterion", "objective", "schedule")  # of a method's plan; each names a row of its table
TABLE_OF = {"criterion": "criteria", "objective": "objectives", "schedule": "schedules"}


@dataclass(frozen=True)
class Table:
    """Rows of text under headings; `texts` are the columns that hold corpus text of any script."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    more: str = ""
    texts: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Figure:
    """A figure as HTML with what belongs to it."""

    name: str
    title: str
    html: Any
    reading: str
    caption: str
    means: str
    table: Table


@dataclass(frozen=True)
class Section:
    """One section of the report; every kind of content is optional."""

    name: str
    title: str
    lines: Sequence[str] = ()
    warnings: Sequence[str] = ()
    figures: Sequence[Figure] = ()
    tables: Sequence[Table] = ()
    entries: Sequence[dict[str, str]] = ()
    facts: Sequence[tuple[str, str]] = ()
    code: Sequence[str] = ()


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

        return _trusted(get_plotlyjs())

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
        return [line for line in (first, _differ(self.told)) if line]

    @cached_property
    def sections(self) -> list[Section]:
        """All sections that have something to say."""
        made = (
            _scores(self), _findings(self), _board(self), _story(self), _examples(self) if self.text else None, _methods(self), _measures(self), _data(self),
            _caveats(self), _reproduce(self), _runs(self),
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


def _trusted(html: str) -> Any:
    """HTML of our own making, which the template must not escape."""
    return Markup(html)


def _differ(told: Told) -> str:
    rows = told.spread
    rows = rows[(rows["method"] == told.method) & (rows["sparsity"] == told.level) & (rows["split"] == told.split)] if len(rows) else rows  # fmt: skip
    if rows.empty or rows["p_differ"].isna().all():
        return ""
    row = rows.iloc[0]
    verdict = "The zero-shot languages differ in what they lose" if row["p_differ"] < SIGNIFICANT else "It is not shown that the zero-shot languages differ in what they lose"  # fmt: skip
    return f"{verdict} ({theme.p_value(row['p_differ'])}): {named(str(row['worst_language']))} loses most ({theme.points(row['worst'])})."


# -- tables --------------------------------------------------------------------------------------------------------


def _table(
    title: str, frame: pd.DataFrame, caption: str = "", most: int = MOST_ROWS, texts: Sequence[str] = ()
) -> Table:
    shown = frame.head(most)
    more = f"The first {most} of {len(frame):,} rows." if len(frame) > most else ""
    rows = tuple(tuple(_cell(value) for value in row) for row in shown.itertuples(index=False, name=None))
    names = tuple(map(str, frame.columns))
    return Table(title, names, rows, caption, more, frozenset(list(frame.columns).index(name) for name in texts))


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "–" if value != value else f"{value:.4g}".replace("-", "−")
    if hasattr(value, "tolist") and not isinstance(value, str):
        value = value.tolist()
        return _cell(value) if not isinstance(value, list) else ", ".join(map(_cell, value))
    return ", ".join(map(_cell, value)) if isinstance(value, (list, tuple)) else str(value)


def _scores(report: Report) -> Section:
    told = report.told
    rows = pd.concat([part[part["split"] == told.split] for part in (told.degradation, told.spread) if len(part)])
    rows = rows[rows["sparsity"] == told.level]
    codes = [*theme.ordered([code for code in rows["language"] if code != MEAN], rows.loc[rows["source"], "language"].tolist()), MEAN]  # fmt: skip
    found = {}
    for method, group in rows.groupby("method", sort=False):
        group = group.set_index("language")
        found[str(method)] = {code: _score(group.loc[code]) for code in codes if code in group.index}
    first = rows.drop_duplicates("language").set_index("language")
    frame = pd.DataFrame(
        {"language": [named(code).removeprefix("the ") for code in codes if code in first.index],
         "n": [int(first.loc[code, "n"]) for code in codes if code in first.index],
         "dense": [theme.percent(first.loc[code, "dense"]) for code in codes if code in first.index],
         **{method: [cells.get(code, "–") for code in codes if code in first.index] for method, cells in found.items()}}
    )  # fmt: skip
    caption = "Score and, in brackets, the drop in points with its 95% interval; * significant at .05 (exact McNemar, Holm over the whole study)."
    metric = str(rows["metric"].iloc[0]).replace("_", " ")
    safe = _safe(told)
    title = f"{metric.capitalize()} at {theme.level(told.level)} sparsity, split {told.split}"
    return Section("scores", "Results", tables=[_table(title, frame, caption), *([safe] if safe else [])])


def _score(row: pd.Series) -> str:
    mark = "*" if row.get("p_holm", 1.0) < SIGNIFICANT else ""
    drop = theme.points(row["drop"]).removesuffix(" points")
    return f"{theme.percent(row['pruned'])} ({drop}{mark}; {theme.interval(row['drop_low'], row['drop_high'])})"


def _safe(told: Told) -> Table | None:
    from analysis.measures import files

    frame = files.read_study(told.store, told.study, "safe")
    frame = frame[(frame["split"] == told.split) & (frame["tolerance"] == 0.02)] if len(frame) else frame
    if frame.empty:
        return None
    wide = frame.pivot_table(index="language", columns="method", values="safe", aggfunc="first")
    codes = [
        code for code in [*theme.ordered([code for code in wide.index if code != MEAN]), MEAN] if code in wide.index
    ]
    wide = wide.reindex(codes).map(theme.level)
    wide.insert(0, "language", [named(code).removeprefix("the ") for code in codes])
    caption = "The largest level up to which the upper bound of the drop stays below 2 points; 0%: already the smallest level is not safe."
    return _table("Last safe sparsity", wide, caption)


def _figure(name: str, title: str, shown: Shown, measures: Sequence[str] = ()) -> Figure:
    shown.figure.update_layout(autosize=True)
    config = {"displaylogo": False, "responsive": True, "toImageButtonOptions": {"format": "svg", "filename": name}}
    html = shown.figure.to_html(full_html=False, include_plotlyjs=False, config=config, div_id=f"plot-{name}")
    rows = registry("measures")
    means = " ".join(f"{rows[one].title}: {rows[one].what}" for one in measures if one in rows)
    return Figure(name, title, _trusted(html), shown.reading, shown.caption, means, _table("", shown.data))


def _story(report: Report) -> Section:
    return Section(
        "figures",
        "Figures",
        figures=[_figure(entry.name, entry.title, shown, entry.measures) for entry, shown in report.shown],
    )


def _findings(report: Report) -> Section | None:
    """What the rules of Diagnose wrote: one line per language whose drop is significant, each statement measured."""
    told = report.told
    if told.findings.empty:
        return None
    lines = [" ".join(card.sort_values("place")["text"]) for _, card in told.findings.groupby("language", sort=False)]
    about = f"{told.method} at {theme.level(told.level)} sparsity. Languages whose drop is not significant have no line; nothing here is said to be a cause."  # fmt: skip
    return Section("findings", "Findings", [about, *lines])


def _board(report: Report) -> Section | None:
    saved = storyboard.read(report.told.store, report.study)
    if not saved:
        return None
    drawn = [
        _figure(f"saved-{place}", slide.sentence or slide.title, slide.shown()) for place, slide in enumerate(saved)
    ]
    return Section("storyboard", "Storyboard", ["Views that were saved in the app, as they were then."], figures=drawn)


# -- examples ------------------------------------------------------------------------------------------------------


def _examples(report: Report) -> Section | None:
    """Items that the dense model has right in most languages and the pruned one breaks: the only place with corpus text."""
    told = report.told
    seeds = sorted(run.seed for run in report.configs if run.method == told.method)
    folders = [record.Run(told.store / told.study / f"{name}-s{seeds[0]}") for name in ("dense", told.method)] if seeds else []  # fmt: skip
    levels = [folder.level(level) for folder, level in zip(folders, (0.0, told.level), strict=False)]
    if len(levels) < 2 or not all(level.has("details.parquet") for level in levels):
        return None
    dense, pruned = (level.frame("details") for level in levels)
    keys = ["language", "split", "id"]
    if not {"label", "predicted", "text"} <= set(dense.columns):
        return None
    both = dense.merge(pruned[[*keys, "predicted"]], on=keys, suffixes=("", "_pruned"))
    both = both[(both["split"] == told.split) & (both["predicted"] == both["label"]) & (both["predicted_pruned"] != both["label"])]  # fmt: skip
    if both.empty:
        return None
    count = both.groupby("id")["language"].transform("size")
    worst = both.assign(broken=count).sort_values(["broken", "id", "language"], ascending=[False, True, True])
    worst = worst.drop_duplicates("language").head(EXAMPLES)
    frame = pd.DataFrame(
        {"language": worst["language"].map(theme.language_name), "text": worst["text"], "label": worst["label"],
         "pruned says": worst["predicted_pruned"], "languages in which it breaks": worst["broken"]}
    )  # fmt: skip
    line = f"Right in the dense model, wrong under {told.method} at {theme.level(told.level)} (seed {seeds[0]}): per language the item that breaks in most languages."
    return Section("examples", "Examples that break", [line], tables=[_table("", frame, texts=["text"])])


# -- methods and measures ------------------------------------------------------------------------------------------


def _entry(kind: str, name: str, title: str = "") -> dict[str, str] | None:
    rows = registry(kind)
    if name not in rows:
        return None
    row = rows[name]
    source = "; ".join(part for part in (getattr(row, "section", ""), getattr(row, "source", "")) if part)
    return {
        "title": title or row.title, "what": row.what, "formula": getattr(row, "formula", ""), "chosen": getattr(row, "chosen", ""),
        "source": source,
    }  # fmt: skip


def _methods(report: Report) -> Section:
    """Every recipe, criterion and objective that the study used, from the tables that the engine runs on."""
    wanted: dict[tuple[str, str], str] = {}
    for config in report.configs.values():
        wanted.setdefault(("recipes", str(config["recipe"])), "")
        plan = config.get("plan") or {}
        for part in PARTS:
            name = plan.get(part, {}).get("name") if isinstance(plan.get(part), dict) else None
            if name and name != "none":
                wanted.setdefault((TABLE_OF[part], str(name)), part)
    found = []
    for (kind, name), part in wanted.items():
        entry = _entry(kind, name)
        if entry:
            found.append({**entry, "title": f"{entry['title']} ({part or 'recipe'})"})
    line = (
        "Every method is fine-tuned, pruned and retrained on the source language alone and scored on every language. Level k of every arm costs the same number "
        "of updates, and `dense_continued` spends them without a mask. Sparsity is the fraction of the prunable weights: the linear maps of the blocks."
    )
    return Section("methods", "Methods", [line], entries=found)


def _measures(report: Report) -> Section:
    names = dict.fromkeys(name for entry, _ in report.shown for name in entry.measures)
    metric = str(next(iter(report.configs.values()))["metric"])
    found = [_entry("measures", name) for name in names]
    if metric in METRICS:
        found.insert(0, _entry("scores", metric))
    return Section("measures", "Measures", entries=[entry for entry in found if entry])


# -- data, caveats, reproduction -----------------------------------------------------------------------------------


def _data(report: Report) -> Section:
    config = next(iter(report.configs.values()))
    task = str(config["task"]["name"])
    rows, facts = registry("tasks"), [("task", task), ("type", str(config["type"]))]
    if task in rows:
        facts += [("data", rows[task].source), ("licence of the data", rows[task].licence)]
    else:
        facts += [("licence of the data", "the study's own files: ask whoever gave them")]
    facts += [
        ("model", str(config["model"]["name"])),
        ("trained on", ", ".join(map(theme.language_name, config["sources"]))),
        ("scored on", ", ".join(map(theme.language_name, theme.ordered(config["languages"], config["sources"])))),
        ("parallel", "the same id is the same item in every language" if config["parallel"] else "no"),
        ("fingerprint of the data", str(config.get("data_digest", "unknown"))),
        ("fingerprint of the model", str(config.get("model_digest", "unknown"))),
    ]
    return Section("data", "Data and model", facts=facts)


def _caveats(report: Report) -> Section:
    """What a reader must know before believing a number; every line is computed from the study."""
    told, rows = report.told, report.told.degradation
    seeds, n = int(rows["seeds"].min()), int(rows["n"].min())
    lines = []
    if seeds < 5:
        lines.append(
            f"{seeds} seed{'s' if seeds > 1 else ''}: under 5 the intervals cover less than the 95% that they say."
        )
    least = rows.loc[(rows["sparsity"] == told.level) & (rows["split"] == told.split), "minimum_detectable"].median()
    if least == least:
        lines.append(
            f"With {n} items per language a drop under about {theme.points(float(least))} cannot be told from none."
        )
    if "random" not in set(rows["recipe"]):
        lines.append("There is no control at the same sparsity (random pruning) in this study.")
    if rows["continued"].isna().all():
        lines.append("There is no dense model trained on for as many updates (dense_continued) to compare with.")
    lines += list(
        dict.fromkeys(f"Note: {note}" for config in report.configs.values() for note in config.get("notes", []))
    )
    if told.degradation["chance"].notna().any() and (rows["dense_low"] <= rows["chance"]).any():
        codes = theme.ordered(rows.loc[rows["dense_low"] <= rows["chance"], "language"].tolist())
        lines.append(f"Already the dense model is not above chance on {theme.listed([named(code) for code in codes])}.")
    if any(str(config["model"]["name"]) == "bundled" for config in report.configs.values()):
        lines.append("The bundled encoder is a small one whose languages were aligned explicitly in pretraining: it shows how the tool works, not what large models do.")  # fmt: skip
    lines.append("Zeros alone neither shrink a dense file nor speed up a dense kernel.")
    lines.append("A map in two dimensions shows neighbours, not distances.")
    if report.problems:
        lines += [f"Left out: {problem}" for problem in report.problems]
    return Section("caveats", "Caveats", warnings=lines)


def _reproduce(report: Report) -> Section:
    folder = report.told.store / report.study
    text = (folder / "study.toml").read_text(encoding="utf-8") if (folder / "study.toml").exists() else ""
    environments = [
        record.read_json(run.path / "env.json") for run in report.configs if (run.path / "env.json").exists()
    ]
    first = environments[0] if environments else {}
    facts = [
        ("seeds", ", ".join(map(str, sorted({run.seed for run in report.configs})))),
        ("device", f"{first.get('device', 'unknown')} ({first.get('device_type', 'unknown')}), {first.get('precision', 'unknown')}"),
        ("bit-exact on the same machine", "yes" if environments and all(one.get("bit_exact") for one in environments) else "no"),
        ("Python", str(first.get("python", "unknown"))),
        *sorted((name, str(value)) for name, value in dict(first.get("versions", {})).items()),
    ]  # fmt: skip
    commands = [f"python -m engine run {report.study}.toml --store runs", f"python -m analysis measure runs --study {report.study}",
                f"python -m analysis report runs --study {report.study} --to {report.study}.html"]  # fmt: skip
    code = ["\n".join(commands), *([text.strip()] if text else [])]
    line = (
        f"Save the study file below as {report.study}.toml and run:"
        if text
        else "The study file was not kept with these runs."
    )
    return Section("reproduce", "How to reproduce it", [line], facts=facts, code=code)


def _runs(report: Report) -> Section:
    frame = tables.runs(report.told.store, report.study, [])
    digests = {run.name: str(config.get("digest", "")) for run, config in report.configs.items()}
    shown = pd.DataFrame(list(_run_rows(frame, digests)))
    return Section("runs", "Runs", tables=[_table("", shown, most=500)])


def _run_rows(frame: pd.DataFrame, digests: dict[str, str]) -> Iterator[dict[str, str]]:
    for row in frame.to_dict("records"):
        seconds = row["seconds"]
        yield {
            "run": row["run"], "recipe": row["recipe"] or "–", "state": row["state"], "minutes": "–" if seconds != seconds else f"{seconds / 60:.1f}",
            "levels": str(len(row["levels"])), "configuration": digests.get(row["run"], "–"),
        }  # fmt: skip
