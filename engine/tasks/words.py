"""Sentences of words → rows of tokens in which every word is labelled exactly once (types `token` and `joint`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.tasks.annotated import parsed
from engine.tasks.batches import IGNORED, Encoded, Rows, per_item

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

CONTEXT = 4  # a window of a long sentence begins with up to 1/CONTEXT of its room in words already labelled
UNKNOWN = -1  # the target of a word whose tag training does not have: it counts, and is never predicted
ANNOTATED = (("annotated", ("tokens", "tags")),)  # one column that stands for both
PROBE_WORDS = 1000  # words per language whose states are kept


def as_list(cell: Any) -> tuple[str, ...]:
    """A cell of words or tags: a list from JSONL, Parquet or CoNLL as it is, text cut at every plain space.

    Other spaces may stand inside a word, and two spaces have an empty word between them (xSID has such, with a tag).
    """
    return tuple(cell.split(" ")) if isinstance(cell, str) else tuple(str(part) for part in cell)


def prepare_words(frame: pd.DataFrame, where: str) -> tuple[pd.DataFrame, list[str]]:
    """`tokens` and `tags` as tuples, from the column `annotated` where there is one; rows that do not fit are a problem."""
    if "annotated" in frame:
        return _unfolded(frame, where)
    tokens, tags = ([as_list(cell) for cell in frame[column]] for column in ("tokens", "tags"))
    wrong = [row for row, (words, marks) in enumerate(zip(tokens, tags, strict=True)) if len(words) != len(marks)]
    if wrong:
        row = wrong[0]
        return frame, [
            f"{where}: tokens and tags must be equally many; got {len(tokens[row])} and {len(tags[row])} in row {row + 1} ({len(wrong)} such rows)"
        ]
    return frame.assign(tokens=tokens, tags=tags), []


def _unfolded(frame: pd.DataFrame, where: str) -> tuple[pd.DataFrame, list[str]]:
    """`annotated` as `tokens` and `tags`."""
    found, wrong = [], []
    for row, text in enumerate(frame["annotated"]):
        try:
            found.append(parsed(text))
        except ValueError as error:
            wrong.append(f"{error} in row {row + 1}")
    if wrong:
        return frame, [f"{where}: annotated {wrong[0]} ({len(wrong)} such rows)"]
    tokens, tags = ([pair[side] for pair in found] for side in (0, 1))
    return frame.drop(columns="annotated").assign(tokens=tokens, tags=tags), []


def pieces_of(tokenizer: Any, words: Iterable[str], room: int) -> dict[str, list[int]]:
    """Token ids of every different word, at most `room`. A word that the tokenizer drops (a lone control character)
    is one unknown token, so that it can carry its label.

    Words are tokenised one by one, which works for fast and slow tokenizers alike. Byte-level ones spell a word
    inside a sentence with its space: seen from whether both words of "x x" are spelled alike.
    """
    twice = tokenizer("x x", add_special_tokens=False)["input_ids"]
    space = "" if twice[: len(twice) // 2] == twice[len(twice) // 2 :] else " "
    unique = list(dict.fromkeys(words))
    found = tokenizer([space + word for word in unique], add_special_tokens=False, verbose=False)["input_ids"]
    unknown = [tokenizer.unk_token_id if tokenizer.unk_token_id is not None else tokenizer.eos_token_id]
    return {word: list(ids)[:room] or unknown for word, ids in zip(unique, found, strict=True)}


def special_ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens that the tokenizer puts before and after a text; one that puts none (GPT-2) gets an end of text,
    so that there is a token which has read everything and is no word."""
    whole, bare = (list(tokenizer("a", add_special_tokens=special)["input_ids"]) for special in (True, False))
    for start in range(len(whole) - len(bare) + 1):
        if len(whole) > len(bare) and whole[start : start + len(bare)] == bare:
            return whole[:start], whole[start + len(bare) :]
    return [], [tokenizer.eos_token_id]


def windows(lengths: Sequence[int], room: int) -> list[tuple[int, int, int]]:
    """(first word, first labelled word, end) of every window over words of these lengths, each at most `room` tokens.

    All windows but the first begin with words that the one before has labelled already, for context.
    """
    found, start = [], 0
    while start < len(lengths):
        left, used = start, 0
        while left > 0 and used + lengths[left - 1] <= min(room // CONTEXT, room - lengths[start]):
            left -= 1
            used += lengths[left]
        end = start
        while end < len(lengths) and used + lengths[end] <= room:
            used += lengths[end]
            end += 1
        found.append((left, start, end))
        start = end
    return found


def encode_words(
    tokenizer: Any, frame: pd.DataFrame, position: Mapping[str, int], max_length: int, segments: bool
) -> Encoded:
    """Windows of every sentence; targets stand at the first token of each labelled word.

    With a column `units` (word numbers) the feature `unit` marks all tokens of those words by number + 1.
    """
    before, after = special_ids(tokenizer)
    room = max(1, max_length - len(before) - len(after))
    pieces = pieces_of(tokenizer, (word for words in frame["tokens"] for word in words), room)
    wanted = frame["units"] if "units" in frame else [()] * len(frame)
    tokens, targets, units, counts = [], [], [], []
    for words, tags, kept in zip(frame["tokens"], frame["tags"], wanted, strict=True):
        spelled, chosen = [pieces[word] for word in words], set(kept)
        cuts = windows([len(ids) for ids in spelled], room)
        counts.append(len(cuts))
        for left, start, end in cuts:
            row, marks, numbers = list(before), [IGNORED] * len(before), [0] * len(before)
            for number in range(left, end):
                ids = spelled[number]
                row += ids
                marks += [position.get(tags[number], UNKNOWN) if number >= start else IGNORED]
                marks += [IGNORED] * (len(ids) - 1)
                numbers += [number + 1 if number >= start and number in chosen else 0] * len(ids)
            tokens.append(row + after)
            targets.append(marks + [IGNORED] * len(after))
            units.append(numbers + [0] * len(after))
    kinds = [[0] * len(row) for row in tokens] if segments else None
    extra = {"unit": units} if "units" in frame else {}
    return Encoded(tokens, targets, tokenizer.pad_token_id, kinds, np.array(counts, dtype=np.int64), extra)


def pooled_words(hidden: Tensor, batch: Mapping[str, Tensor], how: str) -> Rows:
    """States of the words marked by `unit`: of their first token (`word`), or the mean over their tokens (`mean`)."""
    import torch

    unit = batch["unit"]
    before = torch.nn.functional.pad(unit[:, :-1], (1, 0))
    first = (unit != 0) & (unit != before)
    counts = per_item(first, batch)
    if how != "mean":
        return Rows(hidden[first], counts)
    inside = unit.flatten() != 0
    segment = (first.flatten().cumsum(0) - 1)[inside]
    sums = hidden.new_zeros(int(first.sum()), hidden.shape[-1]).index_add_(0, segment, hidden.flatten(0, 1)[inside])
    return Rows(sums / torch.bincount(segment, minlength=len(sums)).to(hidden.dtype)[:, None], counts)


def labelled(logits: Tensor, batch: Mapping[str, Tensor]) -> Rows:
    """Rows × classes at the positions that have a target."""
    flags = batch["targets"] != IGNORED
    return Rows(logits[flags], per_item(flags, batch))


def word_outputs(rows: Rows, gold: Tensor) -> Rows:
    """Per row of logits: predicted class, margin, probability of the prediction. An unknown gold class is taken to be
    last, so that its margin is as negative as it can be."""
    import torch

    values = rows.values.float()
    logit, predicted = values.max(1)
    at = values.gather(1, gold.clamp(min=0)[:, None])[:, 0]
    at = torch.where(gold < 0, values.amin(1), at)
    others = values.scatter(1, gold.clamp(min=0)[:, None], -float("inf")).amax(1)
    margin = torch.where(gold < 0, at - logit, at - others)
    probability = values.softmax(1).gather(1, predicted[:, None])[:, 0]
    return Rows(torch.stack([predicted.to(values.dtype), margin, probability], 1), rows.counts)


def entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """(type, first, last) of every span, read as conlleval and seqeval read tags."""
    from seqeval.metrics.sequence_labeling import get_entities

    return set(get_entities(list(tags)))


def span_counts(gold: Sequence[str], predicted: Sequence[str]) -> tuple[int, int, int]:
    """Spans that match, spans predicted, spans in gold."""
    right, found = entities(gold), entities(predicted)
    return len(right & found), len(found), len(right)


def span_f1(counts: np.ndarray) -> np.ndarray:
    """Per row (matched, predicted, gold): F1; 1 where there is nothing to find and nothing was found."""
    total = counts[:, 1] + counts[:, 2]
    return np.asarray(np.where(total > 0, 2 * counts[:, 0] / np.maximum(total, 1), 1.0))
