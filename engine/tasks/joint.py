"""Task type `joint`: the intent of an utterance and the slots in it (xSID, MASSIVE; M§5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.metrics.blind import baselines
from engine.tasks import words
from engine.tasks.batches import IGNORED, MASKED, Encoded, Ragged, Rows
from engine.tasks.sequence import softmax
from engine.tasks.types import Scored, TaskType

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

SLOT = "slot:"  # before the slots' names in the list of labels, where the intents stand first


@dataclass(frozen=True)
class Joint(TaskType):
    """One linear layer with an output per intent and per slot: the intent is read at the first token, slots at words.

    That is a token classifier, so that every architecture has it and `from_pretrained` loads what was exported. At
    each position the outputs of the other kind are `MASKED`. The loss is the sum of both mean cross-entropies.
    """

    name: str = "joint"
    columns: tuple[str, ...] = ("tokens", "tags", "intent")
    optional: tuple[str, ...] = ("annotated",)
    instead: tuple[tuple[str, tuple[str, ...]], ...] = words.ANNOTATED
    metric: str = "accuracy"
    pooling: str = "first"
    windows: bool = True
    open_labels: bool = True
    head_order: tuple[int, ...] = ()
    intents: tuple[int, ...] = ()  # places of the intents among the labels

    def prepare(self, frame: pd.DataFrame, split: str, where: str) -> tuple[pd.DataFrame, list[str]]:
        """Words and slots as tuples."""
        problems = (
            [f"{where}: an intent must not begin with {SLOT!r}"] if frame["intent"].str.startswith(SLOT).any() else []
        )
        frame, more = words.prepare_words(frame, where)
        return frame, problems + more

    def strata(self, frame: pd.DataFrame) -> pd.Series:
        """The intent."""
        return frame["intent"]

    def texts(self, frame: pd.DataFrame) -> list[str]:
        """Words with spaces between."""
        return [" ".join(tokens) for tokens in frame["tokens"]]

    def inventory(self, frame: pd.DataFrame) -> list[str]:
        """Intents, then slots."""
        return sorted(set(frame["intent"])) + sorted({SLOT + tag for tags in frame["tags"] for tag in tags})

    def strict(self, frame: pd.DataFrame) -> list[str]:
        """Intents; a slot that training lacks counts as not found."""
        return sorted(set(frame["intent"]))

    def fitted(self, labels: tuple[str, ...], train: pd.DataFrame) -> Joint:
        """Which outputs are intents."""
        return replace(self, intents=tuple(place for place, label in enumerate(labels) if not label.startswith(SLOT)))

    def baselines(self, frame: pd.DataFrame, labels: tuple[str, ...]) -> dict[str, float]:
        """Of the intent."""
        return baselines(self.metric, frame["intent"], [labels[output] for output in self.intents])

    def load(self, name: str, **settings: Any) -> Any:
        """Load `AutoModelForTokenClassification`."""
        from transformers import AutoModelForTokenClassification

        return AutoModelForTokenClassification.from_pretrained(name, **settings)

    def encode(
        self, tokenizer: Any, frame: pd.DataFrame, labels: tuple[str, ...], max_length: int, segments: bool = False
    ) -> Encoded:
        """Windows of every utterance; the intent's target stands at the first token (the last, for causal models) of the first."""
        position = {label.removeprefix(SLOT): place for place, label in enumerate(labels) if label.startswith(SLOT)}
        slots = words.encode_words(tokenizer, frame, position, max_length, segments)
        intents = {labels[place]: place for place in self.intents}
        targets = [list(row) for row in slots.targets]
        # Every position with a target says which kind it is of: 1 intent, 2 slot.
        kinds = [[2 * (target != IGNORED) for target in row] for row in targets]
        for first, intent in zip(slots.starts(), frame["intent"], strict=True):
            at = 0 if self.pooling == "first" else len(targets[first]) - 1
            targets[first][at] = intents.get(intent, words.UNKNOWN)
            kinds[first][at] = 1
        return replace(slots, targets=targets, per_token={**slots.per_token, "kind": kinds})

    def logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Rows × tokens × (intents + slots), the other kind of each position masked."""
        import torch

        found = TaskType.logits(self, model, batch)
        is_intent = torch.zeros(found.shape[-1], dtype=torch.bool, device=found.device)
        is_intent[list(self.intents)] = True
        kind = batch["kind"][..., None]
        return found.masked_fill(((kind == 1) & ~is_intent) | ((kind == 2) & is_intent), MASKED)

    def loss(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean cross-entropy of the intents plus that of the slots."""
        import torch.nn.functional as functional

        parts = [batch["kind"] == kind for kind in (1, 2)]
        losses = [
            functional.cross_entropy(logits[part].float(), batch["targets"][part]) for part in parts if part.any()
        ]
        return losses[0] if len(losses) == 1 else losses[0] + losses[1]

    def rows(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Rows:
        """One row for the intent and one per word."""
        return words.labelled(logits, batch)

    def row_labels(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Intents and slots in the order of `rows`."""
        return batch["targets"][batch["targets"] != IGNORED]

    def outputs(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Rows:
        """Per row (kind, predicted output, margin, probability), then the intents' logits (0 for words)."""
        import torch

        rows = self.rows(self.logits(model, batch), batch)
        kind = batch["kind"][batch["targets"] != IGNORED].float()[:, None]
        own = words.word_outputs(rows, self.row_labels(batch)).values
        intents = rows.values[:, list(self.intents)].float() * (kind == 1)
        return Rows(torch.cat([kind, own, intents], 1), rows.counts)

    def score(self, outputs: Ragged, frame: pd.DataFrame, encoded: Encoded, labels: tuple[str, ...]) -> Scored:
        """Score and margin are the intent's; the stats hold the slots' spans too."""
        place = {labels[output]: index for index, output in enumerate(self.intents)}
        gold = np.array([place.get(intent, words.UNKNOWN) for intent in frame["intent"]])
        stats, margins = np.zeros((len(frame), 6)), np.zeros(len(frame))
        probabilities = np.zeros((len(frame), len(labels)), dtype=np.float32)
        predicted, slots = [], []
        for item, tags in enumerate(frame["tags"]):
            values = outputs.item(item)
            intent, found = values[values[:, 0] == 1][0], values[values[:, 0] == 2]
            names = [labels[int(output)].removeprefix(SLOT) for output in found[:, 1]]
            probabilities[item, list(self.intents)] = softmax(intent[4:].astype(np.float64))
            predicted.append(labels[int(intent[1])])
            slots.append(names)
            margins[item] = intent[2]
            answer = place[predicted[-1]]
            stats[item] = [answer == gold[item], gold[item], answer, *words.span_counts(tags, names)]
        details = {
            "label": frame["intent"].tolist(), "predicted": predicted, "probabilities": list(probabilities),
            "tags": [list(tags) for tags in frame["tags"]], "predicted_tags": slots,
        }  # fmt: skip
        return Scored(stats[:, 0].copy(), margins, stats, details)


TYPE = Joint()
