"""What people keep with a study: saved views with a sentence each, in an order, and names, tags and notes.

`STORE/<study>/storyboard.json` and `STORE/<study>/labels.json`. A saved view holds the figure as it was, with its
reading, so that a presentation shows what was saved even when the study has moved on, and the address of the page that
shows it live.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import theme
from engine import record
from engine.record import RecordError

FILE, LABELS, SCHEMA = "storyboard.json", "labels.json", 1
MOST_SLIDES = 60


@dataclass(frozen=True)
class Slide:
    """One saved view: `page` and `query` open it live; `figure` is Plotly's JSON of what it showed."""

    page: str
    query: Mapping[str, Sequence[str]]
    title: str
    reading: str
    caption: str
    figure: Mapping[str, Any]
    sentence: str = ""
    saved: float = 0.0
    dark: bool = False

    def shown(self, dark: bool = False) -> Any:
        """The saved figure with what belongs to it (`analysis.figures.Shown`), on a light background or a dark one."""
        import plotly.io as pio

        from analysis.figures.base import Shown

        text = json.dumps(self.figure)
        figure = pio.from_json(text if dark == self.dark else recoloured(text, dark), skip_invalid=True)
        return Shown(figure, self.reading, self.caption, _numbers(figure))


def recoloured(text: str, dark: bool) -> str:
    """A figure's JSON with the colours of the one background turned into those of the other, all at once."""
    ours, theirs = theme.look(not dark), theme.look(dark)
    pairs = [(getattr(ours, name), getattr(theirs, name)) for name in ("grid", "text", "dense", "paper")]
    scales = (theme.diverging(not dark), theme.diverging(dark))
    pairs += [(here[1], there[1]) for here, there in zip(*scales, strict=True) if here[1] != there[1]]
    turned: dict[str, str] = {}
    for before, after in pairs:
        turned.setdefault(before, after)
    return re.sub("|".join(map(re.escape, turned)), lambda found: turned[found[0]], text)


def _numbers(figure: Any) -> pd.DataFrame:
    """The points of a figure's lines and bars, as the table behind it."""
    rows = []
    for trace in figure.data:
        x, y = getattr(trace, "x", None), getattr(trace, "y", None)
        if x is not None and y is not None and trace.type != "heatmap" and trace.hoverinfo != "skip":
            rows += [{"name": trace.name or "", "x": a, "y": b} for a, b in zip(x, y, strict=False)]
    return pd.DataFrame(rows, columns=["name", "x", "y"])


def read(store: Path, study: str) -> list[Slide]:
    """The saved views of a study in their order; none where there are none."""
    path = store / study / FILE
    if not path.exists():
        return []
    found = record.read_json(path)
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise RecordError(f"{path}: schema must be {SCHEMA}; delete the file to start anew")
    try:
        return [Slide(**slide) for slide in found["slides"]]
    except (TypeError, KeyError) as error:
        raise RecordError(f"{path}: must hold saved views; {error}") from None


def write(store: Path, study: str, slides: Sequence[Slide]) -> None:
    """Keep these views, whole or not at all."""
    if len(slides) > MOST_SLIDES:
        raise ValueError(f"slides: must be at most {MOST_SLIDES}; got {len(slides)}")
    record.write_json(store / study / FILE, {"schema": SCHEMA, "slides": [asdict(slide) for slide in slides]})


def moved(slides: Sequence[Slide], place: int, by: int) -> list[Slide]:
    """The same views with one of them moved by so many places, not beyond either end."""
    found = list(slides)
    target = min(max(0, place + by), len(found) - 1)
    found.insert(target, found.pop(place))
    return found


# -- names, tags, notes --------------------------------------------------------------------------------------------


def labels(store: Path, study: str, run: str = "") -> dict[str, Any]:
    """Title, tags, note and archived of a study, or of one of its runs; empty where nobody gave any."""
    path = store / study / LABELS
    if not path.exists():
        return {}
    found = record.read_json(path)
    label = found.get(run, {}) if isinstance(found, dict) else {}
    return dict(label) if isinstance(label, dict) else {}


def label(store: Path, study: str, run: str = "", **facts: Any) -> None:
    """Change some of a study's (or run's) title, tags, note and archived."""
    path = store / study / LABELS
    found = record.read_json(path) if path.exists() else {}
    found = found if isinstance(found, dict) else {}
    kept = {**found.get(run, {}), **facts}
    found[run] = {name: value for name, value in kept.items() if value not in ("", [], None, False)}
    record.write_json(path, {name: value for name, value in found.items() if value})
