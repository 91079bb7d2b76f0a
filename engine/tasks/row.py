"""One row of the tasks table (M§5): where a task's data is, and what its score is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ENGLISH = ("en",)
PARQUET = "refs/convert/parquet"  # where the hub keeps the Parquet copy of a set whose own repository is a script


@dataclass(frozen=True, slots=True)
class Task:
    """One row: where the data is, which languages it has, its metric, licence and source.

    `columns` maps our column names to those of the data (`a + b` joins two). `labels` gives the label names in the
    order of the head's outputs, an `id` of `#row` says that equal row numbers are the same item everywhere. `codes`:
    the data's code of a language where it is not ours. `trains_on`: the row whose train and validation splits are
    used; with `source_test` the source languages are tested on it too, where this set does not have them. `extra`
    names further test splits. `chance`: what guessing scores. `recipe`: how to get the files where no hub set can be
    read as it is. `tried` says whether anyone has run it from its source: a row that nobody has says so in the app.
    """

    name: str
    title: str
    type: str
    what: str
    languages: tuple[str, ...]
    metric: str
    licence: str
    source: str
    section: str = "M§5"
    source_languages: tuple[str, ...] = ENGLISH
    dataset: str = ""
    config: str = ""
    revision: str = ""
    split: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    codes: Mapping[str, str] = field(default_factory=dict)
    trains_on: str = ""
    source_test: bool = False
    parallel: bool = True
    chance: float | None = None
    extra: tuple[str, ...] = ()
    recipe: str = ""
    tried: bool = False

    @property
    def bundled(self) -> bool:
        """Whether the data comes with the project."""
        return not self.dataset and not self.recipe
