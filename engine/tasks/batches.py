"""Tokenised items and the batches cut from them, as every task type fills them (numpy; torch only where a batch is made).

An *item* is what is trained on, scored and counted: a row of the frame. Most types encode an item as one *row* of
tokens; questions with long contexts, long sentences and multiple choice need several, which always stay together in
one batch. Batches therefore count items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

IGNORED = -100  # the target of a position without one
MASKED = -1e4  # the logit of what cannot be chosen: finite, so that a KL over it is 0 and not NaN


class Rows(NamedTuple):
    """Rows × values of one batch, item by item in the batch's order, and how many rows each of its items has."""

    values: Tensor
    counts: Tensor


@dataclass(frozen=True)
class Ragged:
    """Rows × values of all items, in the items' order; item i owns the rows from `starts[i]` to `starts[i + 1]`."""

    values: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, chunks: Sequence[np.ndarray], counts: Sequence[np.ndarray], items: np.ndarray) -> Ragged:
        """From batches in any order: their values, rows per item, and the item numbers they are of (N in all)."""
        count_N = np.concatenate(counts)
        values = np.concatenate(chunks)
        ends = np.cumsum(count_N)
        order = np.argsort(items, kind="stable")
        rows = spans((ends - count_N)[order], count_N[order])
        starts = np.concatenate([[0], np.cumsum(count_N[order])])
        return cls(values[rows], starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def item(self, number: int) -> np.ndarray:
        """The rows of one item."""
        return self.values[self.starts[number] : self.starts[number + 1]]


@dataclass(frozen=True)
class Blocks:
    """`Ragged` for a device: a teacher's rows for every item of training, kept once and taken batch by batch."""

    values: Tensor
    starts: np.ndarray

    @classmethod
    def of(cls, chunks: Sequence[Rows], items: np.ndarray) -> Blocks:
        """From batches in any order; rows narrower than the widest are filled with `MASKED` (see `TaskType.rows`)."""
        import torch

        width = max(chunk.values.shape[1] for chunk in chunks)
        values = torch.cat([_widened(chunk.values, width) for chunk in chunks])
        count_N = np.concatenate([chunk.counts.cpu().numpy() for chunk in chunks])
        order, ends = np.argsort(items, kind="stable"), np.cumsum(count_N)
        rows = spans((ends - count_N)[order], count_N[order])
        return cls(values[torch.from_numpy(rows).to(values.device)], np.concatenate([[0], np.cumsum(count_N[order])]))

    def take(self, items: Sequence[int] | np.ndarray, width: int | None = None) -> Tensor:
        """The rows of these items, item by item; `width`: that of the student's rows, if it differs."""
        import torch

        items = np.asarray(items)
        rows = spans(self.starts[items], self.starts[items + 1] - self.starts[items])
        found = self.values[torch.from_numpy(rows).to(self.values.device)]
        return found if width is None else _widened(found[:, :width], width)


def _widened(values: Tensor, width: int) -> Tensor:
    import torch

    missing = width - values.shape[1]
    return torch.nn.functional.pad(values, (0, missing), value=MASKED) if missing > 0 else values


def spans(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`starts[i], starts[i] + 1, …`, `counts[i]` of them for every i, one after another."""
    total = int(counts.sum())
    firsts = np.repeat(starts - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) if len(counts) else starts
    return np.asarray(firsts + np.arange(total), dtype=np.int64)


@dataclass(frozen=True)
class Encoded:
    """Tokenised items in the frame's order: token ids per row, [segment ids], targets, and what else a type needs.

    `targets` is an array with one value (or a fixed number) per row, or per row a list with one value per token,
    padded with `IGNORED`. `counts`: rows per item; None means one each. `per_token`: further features of each token,
    padded with 0. `facts`: whatever only scoring asks for (offsets, a decoder); it never reaches a device.
    """

    tokens: list[list[int]]
    targets: np.ndarray | list[list[int]]
    pad: int
    segments: list[list[int]] | None = None
    counts: np.ndarray | None = None
    per_token: Mapping[str, list[list[int]]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens) if self.counts is None else len(self.counts)

    def row_lengths(self) -> np.ndarray:
        """Tokens per row."""
        return np.array([len(tokens) for tokens in self.tokens], dtype=np.int64)

    def lengths(self) -> np.ndarray:
        """Tokens per item: those of its longest row, which is what a batch is padded to."""
        lengths = self.row_lengths()
        return lengths if self.counts is None else np.maximum.reduceat(lengths, self.starts())

    def starts(self) -> np.ndarray:
        """The first row of every item."""
        counts = np.ones(len(self.tokens), dtype=np.int64) if self.counts is None else self.counts
        return np.cumsum(counts) - counts

    def rows_of(self, items: Sequence[int] | np.ndarray) -> np.ndarray:
        """The rows of the given items, item by item."""
        items = np.asarray(items)
        return items if self.counts is None else spans(self.starts()[items], self.counts[items])

    def batch(
        self, items: Sequence[int] | np.ndarray, device: torch.device, width: int | None = None
    ) -> dict[str, Tensor]:
        """All rows of the given items, padded to the longest (or to `width` tokens): input_ids, attention_mask, [token_type_ids], targets,
        the type's own features, and `counts`, the rows of each item."""
        import torch

        items = np.asarray(items)
        rows = self.rows_of(items)
        width = width or max(len(self.tokens[row]) for row in rows)
        padded = {"input_ids": (self.tokens, self.pad), **{name: (lists, 0) for name, lists in self.per_token.items()}}
        if self.segments is not None:
            padded["token_type_ids"] = (self.segments, 0)
        if isinstance(self.targets, list):
            padded["targets"] = (self.targets, IGNORED)
        arrays = {name: _pad(lists, rows, width, fill) for name, (lists, fill) in padded.items()}
        lengths = np.array([len(self.tokens[row]) for row in rows])
        arrays["attention_mask"] = (np.arange(width) < lengths[:, None]).astype(np.int64)
        if isinstance(self.targets, np.ndarray):
            arrays["targets"] = self.targets[rows]
        arrays["counts"] = np.ones(len(items), dtype=np.int64) if self.counts is None else self.counts[items]
        return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


def _pad(lists: list[list[int]], rows: np.ndarray, width: int, fill: int) -> np.ndarray:
    found = np.full((len(rows), width), fill, dtype=np.int64)
    for line, row in enumerate(rows):
        found[line, : len(lists[row])] = lists[row]
    return found


def inputs(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a model's forward takes from a batch."""
    return {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in batch}


def pool(hidden: Tensor, attention_mask: Tensor, how: str) -> Tensor:
    """Pool `B×T×D` to `B×D`: `first` token, `last` real token, or `mean` over non-padding tokens (M§6)."""
    import torch

    if how == "first":
        return hidden[:, 0]
    if how == "last":
        ends = attention_mask.sum(1) - 1
        return hidden[torch.arange(len(hidden), device=hidden.device), ends]
    weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


def one_each(values: Tensor, batch: Mapping[str, Tensor]) -> Rows:
    """One row of values for every item."""
    import torch

    return Rows(values, torch.ones_like(batch["counts"]))


def per_item(flags: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """How many of the true `flags` (rows × …) belong to each item of the batch."""
    import torch

    per_row = flags.flatten(1).sum(1)
    items = torch.repeat_interleave(torch.arange(len(batch["counts"]), device=flags.device), batch["counts"])
    return torch.zeros_like(batch["counts"]).index_add_(0, items, per_row.to(batch["counts"].dtype))


def first_rows(batch: Mapping[str, Tensor]) -> Tensor:
    """The number of every item's first row."""
    return batch["counts"].cumsum(0) - batch["counts"]


def thinned(values: Tensor, most: int | None) -> Tensor:
    """At most `most` rows, evenly spaced: the same rows of student and teacher, because only the number decides."""
    import torch

    if most is None or len(values) <= most:
        return values
    return values[torch.arange(most, device=values.device) * len(values) // most]
