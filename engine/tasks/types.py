"""The protocol of task types, and the way from a type's name to its one implementation.

Trainer, teacher, evaluation, extraction and analysis call these methods and never ask which type it is. A type has
one file; what most types share stands here as the protocol's own default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from engine.tasks.batches import Encoded, Ragged, Rows, first_rows, inputs, one_each, pool

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import Tensor, nn

TYPES = {
    name: f"engine.tasks.{name}"
    for name in ("sequence", "pair", "choice", "regression", "token", "joint", "qa", "ranking", "generation")
}
Batch = Mapping[str, "Tensor"]


@dataclass(frozen=True)
class Scored:
    """Results of a task type, one row per scored item.

    `score` is the item's metric, `margin` the gold logit minus the best other (or the type's analogue), `stats` what
    any metric of the type can be bootstrapped from (engine.metrics.STATS), `details` further columns for
    `details.parquet`. `rows`: the frame's row that each scored item stands for, where they are fewer than the rows
    (queries of a ranking); `ids` are then its own ids.
    """

    score: np.ndarray
    margin: np.ndarray
    stats: np.ndarray
    details: dict[str, list[Any]]
    rows: np.ndarray | None = None
    ids: list[str] | None = None


class TaskType(Protocol):
    """What the engine asks of a task type.

    `columns` are needed beside the optional id, `optional` are used where the data has them, `may_be_empty` may hold
    empty cells. `instead`: a column that, where the study names it, stands for others. `metric` is the headline (a row of engine.metrics.METRICS) and what the dense model is chosen by.
    `pooling` is the pooling of `z` and of the kept activations, beside `mean`. `windows`: long items are cut into
    windows and lose nothing. `open_labels`: the head has an output for every label of all of train, also for
    those that a cap cuts off, and labels that only test has count as wrong (see `strict`).
    `classes`: the head has one output per label, so that a checkpoint's own head is matched by the labels' names.
    `head_order`: the head's output that stands for each label, where a checkpoint's own head has them in another order (empty: in this one).
    `most_states`: how many rows of `representation` a batch may bring to an objective (None: all).
    """

    name: str
    columns: tuple[str, ...]
    metric: str
    pooling: str
    optional: tuple[str, ...] = ()
    may_be_empty: tuple[str, ...] = ()
    instead: tuple[tuple[str, tuple[str, ...]], ...] = ()
    windows: bool = False
    open_labels: bool = False
    classes: bool = True
    head_order: tuple[int, ...] = ()
    most_states: int | None = None

    # -- data ----------------------------------------------------------------------------------------------------

    def prepare(self, frame: pd.DataFrame, split: str, where: str) -> tuple[pd.DataFrame, list[str]]:
        """Bring cells to the form that `encode` takes; returns the frame and every problem, each naming `where`."""
        return frame, []

    def strata(self, frame: pd.DataFrame) -> pd.Series:
        """The class of every row, for stratified choices and as the probe's label; "" where there is none."""
        return frame["id"].map(lambda _: "")

    def items(self, frame: pd.DataFrame) -> pd.Series:
        """The id of the scored item that every row belongs to; items of several rows are averaged where a row counts."""
        return frame["id"]

    def texts(self, frame: pd.DataFrame) -> list[str]:
        """The input text of every row: for overlap with training and for token statistics."""
        columns = [column for column in (*self.columns, *self.optional) if column in ("text", "pair", "query")]
        present = [column for column in columns if column in frame]
        return ["\t".join(cells) for cells in zip(*(frame[column] for column in present), strict=True)]

    def inventory(self, frame: pd.DataFrame) -> list[str]:
        """Names of all labels that occur in a frame; none for a type whose head has no classes."""
        return sorted(set(frame["label"]))

    def strict(self, frame: pd.DataFrame) -> list[str]:
        """Those labels of a frame that training must have; what is missing here but in `inventory` counts as wrong."""
        return self.inventory(frame)

    def fitted(self, labels: tuple[str, ...], train: pd.DataFrame) -> TaskType:
        """The type with whatever of it the labels and the training data decide (POS or NER, answers that may lack)."""
        return self

    def with_metric(self, metric: str) -> TaskType:
        """The type with another headline."""
        return replace(self, metric=metric)  # type: ignore[type-var]

    def for_head(self, order: tuple[int, ...]) -> TaskType:
        """The type for a checkpoint's own head, whose outputs it takes in this order."""
        return replace(self, head_order=order)  # type: ignore[type-var]

    def baselines(self, frame: pd.DataFrame, labels: tuple[str, ...]) -> dict[str, float]:
        """Value of the headline metric by `chance` (guessing) and `majority` (the best constant answer) on these rows."""
        return {"chance": 0.0, "majority": 0.0}

    # -- model ---------------------------------------------------------------------------------------------------

    def load(self, name: str, **settings: Any) -> Any:
        """Load a checkpoint with this type's head (`from_pretrained` of the right class)."""

    def encode(
        self, tokenizer: Any, frame: pd.DataFrame, labels: tuple[str, ...], max_length: int, segments: bool = False
    ) -> Encoded:
        """Token ids and targets, special tokens included, no row longer than `max_length`; segment ids if asked for."""

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Run the model: what `loss`, `rows` and `outputs` read. Leading axis: the batch's rows (choice: its items)."""
        found: Tensor = model(**inputs(batch)).logits
        return found[..., list(self.head_order)] if self.head_order else found

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Mean task loss of a batch, in float32 (M§4)."""

    def rows(self, logits: Tensor, batch: Batch) -> Rows | None:
        """Rows × classes that a distillation compares, item by item: labelled tokens, starts and ends of answers.

        None where a KL makes no sense (regression): distil `logits` by mean squared error. Two passes over the same
        items give the same number of rows; QA's rows are as wide as the batch: pad narrower ones with `MASKED`.
        """

    def row_labels(self, batch: Batch) -> Tensor:
        """The gold class of every row of `rows` (long)."""
        found: Tensor = batch["targets"]
        return found

    def representation(self, hidden: Tensor, batch: Batch) -> Rows:
        """`z` of M§4 from the last block's states: the pooled token of every item, or all tokens for token tasks.

        Everything comes back; the caller takes `thinned(values, kind.most_states)` of student and teacher alike.
        """
        return self.pooled(hidden, batch, self.pooling)

    def pooled(self, hidden: Tensor, batch: Batch, how: str) -> Rows:
        """The states kept for the measures (M§6): one row per item from its first row of tokens, or one per word."""
        return one_each(pool(hidden, batch["attention_mask"], how)[first_rows(batch)], batch)

    def outputs(self, model: nn.Module, batch: Batch) -> Rows:
        """What `score` needs, item by item, a fixed number of values per row. Called without gradient, in eval mode."""
        return one_each(self.logits(model, batch).float(), batch)

    # -- scores --------------------------------------------------------------------------------------------------

    def score(self, outputs: Ragged, frame: pd.DataFrame, encoded: Encoded, labels: tuple[str, ...]) -> Scored:
        """Score items from their outputs; `frame` and `encoded` are in the same order."""

    # -- probe ---------------------------------------------------------------------------------------------------

    def probe_rows(self, frame: pd.DataFrame, labels: tuple[str, ...]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """(items to encode, their rows of `probe.parquet`: language, id, label, word) from the chosen items of a probe.

        `word` is −1 where the activations are of a whole item.
        """
        rows = frame[["language", "id"]].assign(label=self.strata(frame).to_numpy(), word=-1)
        return frame, rows


def task_type(name: str) -> TaskType:
    """The implementation of a task type; an unknown name lists the choices."""
    if name not in TYPES:
        raise ValueError(f"type: must be one of {', '.join(TYPES)}; got {name!r}")
    found: TaskType = import_module(TYPES[name]).TYPE
    return found
