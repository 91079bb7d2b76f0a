"""Records that describe methods and measures, and the one door by which forms and glossary reach them.

A method is a row of a table: its function, what that function needs, its parameters, one sentence and the
source. Trainer, forms, command line and glossary read the row and never branch on a name, so that adding a
method is one function and one row. Rows hold functions but importing them loads no torch: the functions
import it inside, or only call methods of the tensors they are given.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar


@dataclass(frozen=True, slots=True)
class Parameter:
    """One setting of a method: its default, the rule that a value must obey and one sentence for the form.

    `low` and `high` bound a number (`open_low` excludes `low` itself); `choices` lists the only values allowed. A
    default of None is a number that may be left out.
    """

    name: str
    default: Any
    what: str
    low: float | None = None
    high: float | None = None
    open_low: bool = False
    choices: tuple[Any, ...] = ()

    def problem(self, value: Any) -> str | None:
        """Return the rule that `value` breaks, or None. Booleans are not numbers here."""
        if value is None and self.default is None:
            return None
        if self.choices:
            return None if value in self.choices else f"must be one of {', '.join(map(str, self.choices))}"
        if isinstance(self.default, bool):
            return None if isinstance(value, bool) else "must be true or false"
        if self.default is None or isinstance(self.default, (int, float)):
            return self._number_problem(value)
        return None if isinstance(value, type(self.default)) else f"must be a {type(self.default).__name__}"

    def _number_problem(self, value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return "must be a finite number"
        if isinstance(self.default, int) and int(value) != value:
            return "must be a whole number"
        below = self.low is not None and (value <= self.low if self.open_low else value < self.low)
        above = self.high is not None and value > self.high
        return f"must be {self.range_text()}" if below or above else None

    def range_text(self) -> str:
        """Say the allowed range in words: `from 0 to 1`, `above 0`."""
        first = "" if self.low is None else f"above {self.low:g}" if self.open_low else f"from {self.low:g}"
        last = "" if self.high is None else f"to {self.high:g}"
        return " ".join(part for part in (first, last) if part) or "a number"


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of a method table.

    `needs` names what has to be collected or passed ("weight", "grad", "grad_sq", "input_norm", "neighbours",
    "teacher_logits", "teacher_states", "reference", …): say what you need, not who you are.
    `options` holds what only this table's readers know (a criterion's own allocation, a recipe's parts).
    """

    name: str
    title: str
    what: str
    section: str
    source: str
    function: Callable[..., Any] | None = None
    needs: frozenset[str] = frozenset()
    parameters: tuple[Parameter, ...] = ()
    formula: str = ""
    chosen: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def defaults(self) -> dict[str, Any]:
        """The parameters' default values by name."""
        return {parameter.name: parameter.default for parameter in self.parameters}


Direction = Literal["higher", "lower", "neither"]


@dataclass(frozen=True, slots=True)
class Metric:
    """What a number means: it travels with the number to every table, figure and page.

    `direction` says which way is better; `formula` is LaTeX; `page` names the page that shows it.
    """

    name: str
    title: str
    what: str
    section: str
    source: str
    unit: str = ""
    direction: Direction = "higher"
    low: float | None = None
    high: float | None = None
    formula: str = ""
    page: str = ""


class Named(Protocol):
    """Anything with a name can be a row: entries, metrics, tasks, architectures."""

    @property
    def name(self) -> str:
        """The key of the row in its table and in study files."""


Record = TypeVar("Record", bound=Named)


class Registry(Generic[Record], Mapping[str, Record]):
    """An ordered, read-only table of records under unique names; an unknown name lists the choices."""

    def __init__(self, kind: str, rows: tuple[Record, ...]) -> None:
        self.kind = kind
        self._rows = {row.name: row for row in rows}
        if len(self._rows) != len(rows):
            raise ValueError(f"{kind}: names must be unique, got {[row.name for row in rows]}")

    def __getitem__(self, name: str) -> Record:
        try:
            return self._rows[name]
        except KeyError:
            raise ValueError(f"{self.kind}: must be one of {', '.join(self._rows)}; got {name!r}") from None

    def get(self, name: str, default: Any = None) -> Any:
        """The row, or `default` where there is none (the inherited form would raise)."""
        return self._rows.get(name, default)

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


# Where each table stands. Looked up by name when asked for, so that importing this module loads none of them
# and engine never imports analysis.
TABLES = {
    "criteria": "engine.criteria:CRITERIA",
    "allocations": "engine.mask:ALLOCATIONS",
    "schedules": "engine.schedule:SCHEDULES",
    "objectives": "engine.objectives:OBJECTIVES",
    "recipes": "engine.recipes:RECIPES",
    "tasks": "engine.tasks:TASKS",
    "architectures": "engine.model:ARCHITECTURES",
    "scores": "engine.metrics:METRICS",
    "measures": "analysis.tables:MEASURES",
    "claims": "analysis.claims:CLAIMS",
}


def table(kind: str) -> Registry[Any]:
    """Return the table of this kind (a key of `TABLES`), importing its module on first use."""
    if kind not in TABLES:
        raise ValueError(f"table: must be one of {', '.join(TABLES)}; got {kind!r}")
    module, name = TABLES[kind].split(":")
    return getattr(importlib.import_module(module), name)
