"""Task type `token`: a tag for every word (entities, parts of speech; M§5)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.tasks import words
from engine.tasks.batches import IGNORED, Encoded, Ragged, Rows, per_item
from engine.tasks.types import Scored, TaskType

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

ENTITY_TAG = re.compile(r"O|[BIES]-.+")


@dataclass(frozen=True)
class Tokens(TaskType):
    """The first token of every word carries its tag, the others are ignored in loss and score.

    Whether tags are spans (`B-PER`, `O`) or each stands for itself is read from their names: spans are scored by
    entity F1 as seqeval does, others by accuracy over words. Long sentences are cut into windows between words.
    """

    name: str = "token"
    columns: tuple[str, ...] = ("tokens", "tags")
    optional: tuple[str, ...] = ("annotated",)
    instead: tuple[tuple[str, tuple[str, ...]], ...] = words.ANNOTATED
    metric: str = "token_accuracy"
    pooling: str = "word"
    windows: bool = True
    open_labels: bool = True
    most_states: int | None = 512
    head_order: tuple[int, ...] = ()
    spans: bool = False

    def prepare(self, frame: pd.DataFrame, split: str, where: str) -> tuple[pd.DataFrame, list[str]]:
        """Words and tags as tuples."""
        return words.prepare_words(frame, where)

    def texts(self, frame: pd.DataFrame) -> list[str]:
        """Words with spaces between."""
        return [" ".join(tokens) for tokens in frame["tokens"]]

    def inventory(self, frame: pd.DataFrame) -> list[str]:
        """All tags."""
        return sorted({tag for tags in frame["tags"] for tag in tags})

    def strict(self, frame: pd.DataFrame) -> list[str]:
        """None: a tag that training lacks is a mistake of the model, as the task's scorers have it."""
        return []

    def fitted(self, labels: tuple[str, ...], train: pd.DataFrame) -> Tokens:
        """Spans or single tags, with the headline that goes with them."""
        spans = all(ENTITY_TAG.fullmatch(label) for label in labels) and any(label != "O" for label in labels)
        return replace(self, spans=spans, metric="f1" if spans else "token_accuracy")

    def baselines(self, frame: pd.DataFrame, labels: tuple[str, ...]) -> dict[str, float]:
        """Of accuracy: 1/C and the most frequent tag's share of the words. Of entity F1: 0, as nothing is found."""
        import pandas as pd

        if self.spans:
            return {"chance": 0.0, "majority": 0.0}
        tags = pd.Series([tag for tags in frame["tags"] for tag in tags])
        return {"chance": 1 / len(labels), "majority": float(tags.value_counts(normalize=True).iloc[0])}

    def load(self, name: str, **settings: Any) -> Any:
        """Load `AutoModelForTokenClassification`."""
        from transformers import AutoModelForTokenClassification

        return AutoModelForTokenClassification.from_pretrained(name, **settings)

    def encode(
        self, tokenizer: Any, frame: pd.DataFrame, labels: tuple[str, ...], max_length: int, segments: bool = False
    ) -> Encoded:
        """Windows of every sentence; one target per word."""
        position = {label: place for place, label in enumerate(labels)}
        return words.encode_words(tokenizer, frame, position, max_length, segments)

    def loss(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean cross-entropy over the words of the batch."""
        import torch.nn.functional as functional

        return functional.cross_entropy(logits.float().flatten(0, 1), batch["targets"].flatten(), ignore_index=IGNORED)

    def rows(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Rows:
        """One row per word."""
        return words.labelled(logits, batch)

    def row_labels(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The tag of every word."""
        return batch["targets"][batch["targets"] != IGNORED]

    def representation(self, hidden: Tensor, batch: Mapping[str, Tensor]) -> Rows:
        """All tokens that are not padding."""
        real = batch["attention_mask"].bool()
        return Rows(hidden[real], per_item(real, batch))

    def pooled(self, hidden: Tensor, batch: Mapping[str, Tensor], how: str) -> Rows:
        """One row per probed word: its first token's state (`word`), or the mean over its tokens."""
        return words.pooled_words(hidden, batch, how)

    def outputs(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Rows:
        """Per word: predicted tag, margin, probability."""
        return words.word_outputs(self.rows(self.logits(model, batch), batch), self.row_labels(batch))

    def score(self, outputs: Ragged, frame: pd.DataFrame, encoded: Encoded, labels: tuple[str, ...]) -> Scored:
        """Per sentence: entity F1 (1 where there is none and none was found) or accuracy, and the mean margin of its words."""
        position = {label: place for place, label in enumerate(labels)}
        stats = np.zeros((len(frame), 5 + 3 * len(labels)))
        predicted, confidence, margins = [], [], np.zeros(len(frame))
        for item, gold in enumerate(frame["tags"]):
            values = outputs.item(item)
            found = values[:, 0].astype(np.int64)
            names = [labels[place] for place in found]
            right = np.array([position.get(tag, words.UNKNOWN) for tag in gold])
            spans = words.span_counts(gold, names) if self.spans else (0, 0, 0)
            stats[item] = [*spans, (right == found).sum(), len(gold), *tag_counts(right, found, len(labels))]
            margins[item] = values[:, 1].mean()
            predicted.append(names)
            confidence.append(values[:, 2].astype(np.float32))
        details: dict[str, list[Any]] = {
            "label": [list(tags) for tags in frame["tags"]],
            "predicted": predicted,
            "confidence": confidence,
        }
        score = words.span_f1(stats[:, :3]) if self.spans else stats[:, 3] / stats[:, 4]
        return Scored(score, margins, stats, details)

    def probe_rows(self, frame: pd.DataFrame, labels: tuple[str, ...]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """At most 1,000 words per language, tags taken in turn, within a tag by a hash of id and word number."""
        import pandas as pd

        every = pd.DataFrame(
            [
                (item, language, identity, tag, word)
                for item, (language, identity, tags) in enumerate(
                    zip(frame["language"], frame["id"], frame["tags"], strict=True)
                )
                for word, tag in enumerate(tags)
            ],
            columns=["item", "language", "id", "label", "word"],
        )
        keys = [hashlib.sha256(f"{row.id}/{row.word}".encode()).digest() for row in every.itertuples()]
        every = every.iloc[sorted(range(len(keys)), key=keys.__getitem__)]
        every = every.assign(turn=every.groupby(["language", "label"]).cumcount())
        every = every.sort_values(["turn", "label"], kind="stable").groupby("language", sort=False)
        chosen = every.head(words.PROBE_WORDS).sort_values(["item", "word"])
        kept = chosen.groupby("item")["word"].agg(tuple)
        units = [kept.get(item, ()) for item in range(len(frame))]
        return frame.assign(units=units), chosen[["language", "id", "label", "word"]].reset_index(drop=True)


def tag_counts(gold: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Gold, predicted and matched words of every tag, one after another; unknown gold tags count nowhere."""
    right = gold[gold >= 0]
    counts = [np.bincount(values, minlength=classes) for values in (right, predicted, predicted[(gold == predicted)])]
    return np.stack(counts, axis=1).ravel()


TYPE = Tokens()
