"""What a pruned encoder is still good for: linear probes on other tasks, and its own masked-token loss (M§6.10).

Both look at the encoder alone. A probe is a logistic regression on frozen mean states, fitted on the source languages of
another task and scored in each of its languages. The masked-token loss puts the encoder under the language-model head
that came with the checkpoint, which pruning never touches, and hides the same tokens in every state: what is lost there
was known before fine-tuning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from engine.data import Encoded, TaskData, evaluation_batches
from engine.device import seed_of
from engine.extract import activations
from engine.model import load_masked_lm
from engine.tasks.batches import first_rows, inputs

if TYPE_CHECKING:
    from torch import nn

    from engine.workbench import Workbench

MOST_TRAIN, MOST_TEST = 1000, 200  # examples of a probe: per source language, per language
MASK_RATE = 0.15
COLUMNS = ["task", "kind", "language", "value", "n"]


@dataclass(frozen=True)
class ProbingTask:
    """Another task, read and tokenised: frames and their tokens for fitting and for scoring."""

    name: str
    data: TaskData
    train: tuple[pd.DataFrame, Encoded]
    test: tuple[pd.DataFrame, Encoded]


def probing_frame(bench: Workbench, model: nn.Module) -> pd.DataFrame:
    """One row per task, kind and language; empty where the study probes nothing."""
    if not bench.study.probing.tasks:
        return pd.DataFrame(columns=COLUMNS)
    rows = [row for task in bench.probing for row in _probe(bench, model, task)]
    return pd.DataFrame([*rows, *_masked_token_loss(bench, model)], columns=COLUMNS)


def _probe(bench: Workbench, model: nn.Module, task: ProbingTask) -> Iterator[tuple[Any, ...]]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = [_features(bench, model, task, encoded) for _, encoded in (task.train, task.test)]
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    probe.fit(features[0], task.train[0]["label"])
    correct = probe.predict(features[1]) == task.test[0]["label"].to_numpy()
    languages = task.test[0]["language"].to_numpy()
    for code in dict.fromkeys(languages):
        yield task.name, "probe", code, float(correct[languages == code].mean()), int((languages == code).sum())


def _features(bench: Workbench, model: nn.Module, task: ProbingTask, encoded: Encoded) -> np.ndarray:
    """Mean states of the last layer, N×D."""
    found, _ = activations(model, task.data.type, encoded, ("mean",), bench.handle, last_only=True)
    return found["mean"][:, -1].astype(np.float32)


def _masked_token_loss(bench: Workbench, model: nn.Module) -> Iterator[tuple[Any, ...]]:
    """Mean cross-entropy of hidden tokens per language, in nats; nothing where the checkpoint has no head for it.

    Nor for a student, whose blocks are not the checkpoint's.
    """
    import torch
    from torch.nn import functional

    whole = load_masked_lm(bench.path) if bench.tokenizer.mask_token_id is not None else None
    if whole is None:
        return
    encoder = {name: value for name, value in model.base_model.state_dict().items() if "pooler" not in name}
    fits = {name: value.shape for name, value in whole.base_model.state_dict().items() if "pooler" not in name}
    if fits != {name: value.shape for name, value in encoder.items()}:
        return  # a student of another shape: its states were never under that head
    whole.base_model.load_state_dict(encoder, strict=False)
    whole.to(bench.handle.device).eval()
    frame, encoded = bench.probe_items, bench.probe[1]
    total, count = np.zeros(len(frame)), np.zeros(len(frame))
    with torch.no_grad():
        for items in evaluation_batches(encoded.lengths(), rows=encoded.counts):
            batch = encoded.batch(items, bench.handle.device)
            first = first_rows(batch)  # of a long item, its beginning
            given = {key: value[first] for key, value in inputs(batch).items()}
            hidden = _hidden(frame.iloc[items], given, bench.tokenizer)
            targets = given["input_ids"]
            given["input_ids"] = targets.masked_fill(hidden, bench.tokenizer.mask_token_id)
            logits = whole(**given).logits.float()
            loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
            loss = loss.view_as(targets) * hidden
            total[items], count[items] = loss.sum(1).cpu().numpy(), hidden.sum(1).cpu().numpy()
    languages = frame["language"].to_numpy()
    for code in dict.fromkeys(languages):
        chosen = languages == code
        if count[chosen].sum():
            yield (
                "pretraining",
                "masked_token_loss",
                code,
                float(total[chosen].sum() / count[chosen].sum()),
                int(count[chosen].sum()),
            )


def _hidden(frame: pd.DataFrame, batch: Any, tokenizer: Any) -> Any:
    """Which tokens are hidden, B×T: drawn by the item's own id, so that every state hides the same; at least one each."""
    import torch

    hidden = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
    special = torch.isin(batch["input_ids"].cpu(), torch.tensor(tokenizer.all_special_ids))
    free = batch["attention_mask"].cpu().bool() & ~special
    for line, (language, name) in enumerate(zip(frame["language"], frame["id"], strict=True)):
        places = np.flatnonzero(free[line].numpy())
        if len(places):
            generator = np.random.default_rng(seed_of(language, name, "mask"))
            chosen = generator.choice(places, max(1, round(MASK_RATE * len(places))), replace=False)
            hidden[line, torch.from_numpy(chosen)] = True
    return hidden
