"""Task type `qa`: the span of a context that answers a question, or no answer (SQuAD, XQuAD, MLQA, TyDiQA; M§5)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.tasks.answers import exact_match, overlap_f1
from engine.tasks.batches import MASKED, Encoded, Ragged, Rows, inputs
from engine.tasks.types import Scored, TaskType

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

LONGEST = 30  # tokens of an answer
NO_ANSWER = 0  # the position that stands for "no answer in this window": the first token
OVERLAP = 3  # windows of a long context share 1/OVERLAP of the longest input


@dataclass(frozen=True)
class Questions(TaskType):
    """Start and end of the answer among the context's tokens, windows overlapping where the context is long.

    A window without the answer points to its first token. That is offered as an answer only where training has
    questions without one (`may_lack`, SQuAD 2.0): no answer then wins where its least score over the windows is above
    the best span's. An item's states are those of its first window.
    """

    name: str = "qa"
    columns: tuple[str, ...] = ("context", "question", "answers")
    optional: tuple[str, ...] = ("answer_start",)
    may_be_empty: tuple[str, ...] = ("answers", "answer_start")
    metric: str = "f1"
    pooling: str = "first"
    classes: bool = False
    windows: bool = True
    may_lack: bool = False

    def prepare(self, frame: pd.DataFrame, split: str, where: str) -> tuple[pd.DataFrame, list[str]]:
        """`answers` as a tuple of texts and `answer_start` as the first one's place in the context (−1: none, or not in it)."""
        texts, starts, wrong = [], [], []
        given = frame["answer_start"] if "answer_start" in frame else [""] * len(frame)
        for row, (cell, start, context) in enumerate(zip(frame["answers"], given, frame["context"], strict=True)):
            found, place = _answers(cell, start)
            if found and context[max(0, place) : max(0, place) + len(found[0])] != found[0]:
                place = context.find(found[0])
            texts.append(found)
            starts.append(place if found else -1)
            if found and place < 0 and split == "train":
                wrong.append(row)
        problems = []
        if wrong:
            problems.append(
                f"{where}: an answer must stand in its context; {len(wrong)} do not, the first in row {wrong[0] + 1}: {texts[wrong[0]][0]!r}"
            )
        return frame.assign(answers=texts, answer_start=starts), problems

    def texts(self, frame: pd.DataFrame) -> list[str]:
        """Question and context."""
        return [f"{question}\t{context}" for question, context in zip(frame["question"], frame["context"], strict=True)]

    def inventory(self, frame: pd.DataFrame) -> list[str]:
        """The head's two outputs."""
        return ["start", "end"]

    def fitted(self, labels: tuple[str, ...], train: pd.DataFrame) -> Questions:
        """Whether a question may lack an answer."""
        return replace(self, may_lack=bool((train["answer_start"] < 0).any()))

    def baselines(self, frame: pd.DataFrame, labels: tuple[str, ...]) -> dict[str, float]:
        """Never answering, where that is allowed; a random span is near 0."""
        empty = float((frame["answers"].map(len) == 0).mean()) if self.may_lack else 0.0
        return {"chance": 0.0, "majority": empty}

    def load(self, name: str, **settings: Any) -> Any:
        """Load `AutoModelForQuestionAnswering`."""
        from transformers import AutoModelForQuestionAnswering

        return AutoModelForQuestionAnswering.from_pretrained(name, **settings)

    def encode(
        self, tokenizer: Any, frame: pd.DataFrame, labels: tuple[str, ...], max_length: int, segments: bool = False
    ) -> Encoded:
        """Windows of question and context; targets are the first and last token of the answer, 0 and 0 where it is not inside.

        A question longer than half of the input is cut. Needs a tokenizer that gives offsets (a fast one).
        """
        if not tokenizer.is_fast:
            raise ValueError(
                "tokenizer: must be a fast one for qa (it gives the places of tokens in the text); got a slow one"
            )
        questions = _cut(tokenizer, list(frame["question"]), max_length // 2)
        longest = max(
            (len(ids) for ids in tokenizer(questions, add_special_tokens=False, verbose=False)["input_ids"]), default=0
        )
        room = max_length - longest - tokenizer.num_special_tokens_to_add(pair=True)
        found = tokenizer(
            questions, list(frame["context"]), truncation="only_second", max_length=max_length,
            stride=max(0, min(max_length // OVERLAP, room // 2)),
            return_overflowing_tokens=True, return_offsets_mapping=True, return_attention_mask=False, verbose=False,
        )  # fmt: skip
        items = np.array(found["overflow_to_sample_mapping"])
        inside = [[int(part == 1) for part in found.sequence_ids(row)] for row in range(len(items))]
        targets = np.array(
            [
                _target(frame["answer_start"].iloc[item], frame["answers"].iloc[item], offsets, allowed)
                for item, offsets, allowed in zip(items, found["offset_mapping"], inside, strict=True)
            ],
            dtype=np.int64,
        )
        return Encoded(
            list(found["input_ids"]), targets, tokenizer.pad_token_id, found.get("token_type_ids") if segments else None,
            np.bincount(items, minlength=len(frame)), {"context": inside}, {"offsets": found["offset_mapping"]},
        )  # fmt: skip

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Windows × tokens × (start, end); what is neither context nor the first token is `MASKED`."""
        import torch

        found = model(**inputs(batch))
        allowed = batch["context"].bool().clone()
        allowed[:, NO_ANSWER] = True
        return torch.stack([found.start_logits, found.end_logits], -1).masked_fill(~allowed[..., None], MASKED)

    def loss(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean of the cross-entropies of start and end."""
        import torch.nn.functional as functional

        return functional.cross_entropy(logits.float(), batch["targets"])

    def rows(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Rows:
        """Start and end of every window, tokens as classes."""
        return Rows(logits.transpose(1, 2).flatten(0, 1), 2 * batch["counts"])

    def row_labels(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Places of start and end."""
        return batch["targets"].flatten()

    def outputs(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Rows:
        """Per window: score, start and end of the best span; the score of no answer; of the gold span; of the best other span."""
        import torch

        logits = self.logits(model, batch).float()
        spans = _span_scores(logits[..., 0], logits[..., 1], batch["context"].bool())
        best, place = spans.flatten(1).max(1)
        start, length = place // LONGEST, place % LONGEST
        empty = logits[:, NO_ANSWER].sum(-1)
        gold_start, gold_end = batch["targets"].T
        at = gold_start * LONGEST + (gold_end - gold_start).clamp(max=LONGEST - 1)
        has = gold_end > 0
        ends = [logits[..., side].gather(1, places[:, None])[:, 0] for side, places in enumerate(batch["targets"].T)]
        gold = torch.where(has, ends[0] + ends[1], 2 * MASKED)
        others = spans.flatten(1).scatter(1, at[:, None], 2 * MASKED).amax(1)
        other = torch.where(has, others, best)
        values = torch.stack([best, start.float(), (start + length).float(), empty, gold, other], 1)
        return Rows(values, batch["counts"])

    def score(self, outputs: Ragged, frame: pd.DataFrame, encoded: Encoded, labels: tuple[str, ...]) -> Scored:
        """Word-overlap F1 of the best span; margin: the gold span's score minus the best other's (or no answer's), 0 where
        the gold answer is in no window."""
        starts = encoded.starts()
        answers, margins, stats = [], np.zeros(len(frame)), np.ones((len(frame), 4))
        languages = frame["language"] if "language" in frame else ["en"] * len(frame)
        for item, (context, references, language) in enumerate(
            zip(frame["context"], frame["answers"], languages, strict=True)
        ):
            values = outputs.item(item)
            window = int(values[:, 0].argmax())
            empty = float(values[:, 3].min())
            offsets = encoded.facts["offsets"][starts[item] + window]
            text = context[offsets[int(values[window, 1])][0] : offsets[int(values[window, 2])][1]]
            # Offsets of word-initial pieces may take in the space before the word.
            answers.append("" if self.may_lack and empty > values[window, 0] else text.strip())
            margins[item] = self._margin(values, empty, bool(references))
            stats[item, 0] = overlap_f1(answers[-1], references, language)
            stats[item, 3] = exact_match(answers[-1], references, language)
        details: dict[str, list[Any]] = {
            "label": [list(references) for references in frame["answers"]],
            "predicted": answers,
        }
        return Scored(stats[:, 0].copy(), margins, stats, details)

    def _margin(self, values: np.ndarray, empty: float, answered: bool) -> float:
        best, gold, other = values[:, 0].max(), values[:, 4].max(), values[:, 5].max()
        if not answered:
            return float(empty - best)
        if gold <= MASKED:
            return 0.0
        return float(gold - (max(other, empty) if self.may_lack else other))


def _answers(cell: Any, start: Any) -> tuple[tuple[str, ...], int]:
    """(texts, place of the first) from SQuAD's `{"text": […], "answer_start": […]}`, a list of texts or of such objects, or
    a plain text; empty texts are no answers."""
    if isinstance(cell, str) and cell.startswith(('{"', '["', "[{", "[]")):
        with suppress(ValueError):
            cell = json.loads(cell)
    if isinstance(cell, Mapping):
        cell, start = cell.get("text", ()), cell.get("answer_start", start)
    elif isinstance(cell, (list, tuple)) and cell and isinstance(cell[0], Mapping):
        cell, start = [one.get("text", "") for one in cell], [one.get("answer_start", -1) for one in cell]
    texts = [cell] if isinstance(cell, str) else [str(one) for one in cell]
    places = start if isinstance(start, (list, tuple)) else [start]
    first = str(places[0]) if len(places) else ""
    return tuple(text for text in texts if text), int(first) if first.lstrip("-").isdigit() else -1


def _cut(tokenizer: Any, questions: list[str], most: int) -> list[str]:
    """Questions cut until they have at most `most` tokens: a part of a text need not be spelled by a part of its tokens."""
    found = list(questions)
    long = list(range(len(found)))
    while long:
        ids = tokenizer([found[item] for item in long], add_special_tokens=False, verbose=False)["input_ids"]
        sizes = {
            item: len(one) for item, one in zip(long, ids, strict=True) if len(one) > most and len(found[item]) > 1
        }
        for item, size in sizes.items():
            found[item] = found[item][: max(1, min(len(found[item]) - 1, len(found[item]) * most // size))]
        long = list(sizes)
    return found


def _target(start: int, answers: tuple[str, ...], offsets: list[tuple[int, int]], inside: list[int]) -> tuple[int, int]:
    """First and last token of the answer, if the window holds all of it."""
    if start < 0 or not answers:
        return NO_ANSWER, NO_ANSWER
    end = start + len(answers[0])
    tokens = [place for place, allowed in enumerate(inside) if allowed]
    if not tokens or offsets[tokens[0]][0] > start or offsets[tokens[-1]][1] < end:
        return NO_ANSWER, NO_ANSWER
    touched = [place for place in tokens if offsets[place][0] < end and offsets[place][1] > start]
    return (touched[0], touched[-1]) if touched else (NO_ANSWER, NO_ANSWER)


def _span_scores(start: Tensor, end: Tensor, inside: Tensor) -> Tensor:
    """Windows × tokens × lengths: score of the span from each token over up to `LONGEST` tokens, `2·MASKED` outside the context."""
    import torch

    start = start.masked_fill(~inside, MASKED)
    end = torch.nn.functional.pad(end.masked_fill(~inside, MASKED), (0, LONGEST - 1), value=MASKED)
    return start[..., None] + end.unfold(1, LONGEST, 1)


TYPE = Questions()
