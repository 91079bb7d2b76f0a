"""Two maps side by side with the same examples marked in both (M§6.5)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from analysis.figures.base import Shown

Item = tuple[str, str]  # (language, id)
FAINT, MARKED = 0.12, 11  # opacity of the rest, size of what is marked


def marked(shown: Shown, items: Collection[Item]) -> Shown:
    """The map with these examples large and opaque and the rest faint; without any, as it is.

    Items are matched by the points' customdata (id, language, …), so that the order of points does not matter.
    """
    if not items:
        return shown
    wanted = set(items)
    for trace in shown.figure.data:
        if trace.customdata is not None:
            found = [place for place, data in enumerate(trace.customdata) if (str(data[1]), str(data[0])) in wanted]
            trace.update(selectedpoints=found, selected={"marker": {"opacity": 1, "size": MARKED}}, unselected={"marker": {"opacity": FAINT}}, opacity=1)  # fmt: skip
    return shown


def beside(shown: Shown, name: str, height: int = 620) -> Shown:
    """A map for half the width: its name over it, the legend under it."""
    legend: dict[str, Any] = {"orientation": "h", "x": 0, "y": -0.02, "yanchor": "top", "itemsizing": "constant"}
    shown.figure.update_layout(height=height, legend=legend, margin={"l": 10, "r": 10, "t": 10})
    return replace(shown, reading=f"{name}: {shown.reading}")
