"""What a pruned encoder is still good for: linear probes on other tasks, and its own masked-token loss (M§6.10).

Both look at the encoder alone. A probe is a logistic regression on frozen mean states, fitted on the source languages of
another task and scored in each of its languages. The masked-token loss puts the encoder under the language-model head
that came with the checkpoint, which pruning never touches, and hides the same tokens in every state: what is lost there
was known before fine-tuning.

Both are kept item by item (`probing_items.parquet`), so that two states can be compared on the same items, and as means
per language (`probing.parquet`). The dense run keeps the items of the pretrained checkpoint as well
(`probing_pretrained.parquet`): what fine-tuning alone forgot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from engine.data import Encoded, TaskData, evaluation_batches
from engine.device import seed_of
from engine.extract import activations
from engine.model import ARCHITECTURES, load_masked_lm
from engine.structured import reshape, shape_of
from engine.tasks.batches import first_rows, inputs

if TYPE_CHECKING:
    from torch import nn

    from engine.workbench import Workbench

MOST_TRAIN, MOST_TEST = 1000, 200  # examples of a probe: per source language, per language
MASK_RATE = 0.15
PLACE = ["task", "kind", "language"]
COLUMNS = [*PLACE, "value", "n"]
# value: is the answer right, or the summed loss of the item's hidden tokens; weight: 1, or how many tokens are hidden.
ITEMS = [*PLACE, "id", "label", "value", "weight"]


@dataclass(frozen=True)
class ProbingTask:
    """Another task, read and tokenised: frames and their tokens for fitting and for scoring."""

    name: str
    data: TaskData
    train: tuple[pd.DataFrame, Encoded]
    test: tuple[pd.DataFrame, Encoded]


def probing_items(bench: Workbench, model: nn.Module) -> pd.DataFrame:
    """One row per task, kind, language and item: columns `ITEMS`; empty where the study probes nothing."""
    if not bench.study.probing.tasks:
        return pd.DataFrame(columns=ITEMS)
    frames = [*(_probe(bench, model, task) for task in bench.probing), _masked_token_loss(bench, model)]
    return pd.concat([frame for frame in frames if len(frame)], ignore_index=True)[ITEMS]


def means(items: pd.DataFrame) -> pd.DataFrame:
    """`value = Σ value / Σ weight` per task, kind and language, and n = Σ weight: columns `COLUMNS`."""
    sums = items.groupby(PLACE, sort=False, as_index=False)[["value", "weight"]].sum()
    return sums.assign(value=sums["value"] / sums["weight"], n=sums["weight"].astype(int))[COLUMNS]


def _probe(bench: Workbench, model: nn.Module, task: ProbingTask) -> pd.DataFrame:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = [_features(bench, model, task, encoded) for _, encoded in (task.train, task.test)]
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    probe.fit(features[0], task.train[0]["label"])
    frame = task.test[0]
    correct = probe.predict(features[1]) == frame["label"].to_numpy()
    found = frame[["language", "id", "label"]].reset_index(drop=True)
    return found.assign(
        task=task.name, kind="probe", label=found["label"].astype(str), value=correct.astype(float), weight=1.0
    )


def _features(bench: Workbench, model: nn.Module, task: ProbingTask, encoded: Encoded) -> np.ndarray:
    """Mean states of the last layer, N×D."""
    found, _ = activations(model, task.data.type, encoded, ("mean",), bench.handle, last_only=True)
    return found["mean"][:, -1].astype(np.float32)


def _masked_token_loss(bench: Workbench, model: nn.Module) -> pd.DataFrame:
    """Cross-entropy of every item's hidden tokens, in nats; nothing where the checkpoint has no head for it."""
    import torch
    from torch.nn import functional

    whole = load_masked_lm(bench.path) if bench.tokenizer.mask_token_id is not None else None
    if whole is None:
        return pd.DataFrame(columns=ITEMS)
    encoder = {name: value for name, value in model.base_model.state_dict().items() if "pooler" not in name}
    shape = _shape(model)
    whole = whole if shape is None or shape == _shape(whole) else reshape(whole, shape)  # a small student's encoder
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
    found = frame[["language", "id"]].reset_index(drop=True)
    found = found.assign(task="pretraining", kind="masked_token_loss", label="", value=total, weight=count)
    return found[found["weight"] > 0]


def _shape(model: nn.Module) -> dict[str, Any] | None:
    """Heads and neurons per block; None for architectures whose heads nobody knows, of which no student is cut."""
    if model.config.model_type not in ARCHITECTURES:
        return None
    return {name: value for name, value in shape_of(model).items() if name != "class"}


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
