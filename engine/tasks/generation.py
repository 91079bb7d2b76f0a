"""Task type `generation`: a meaning representation put into words by a causal language model (E2E, DART; M§5)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engine import metrics
from engine.tasks.batches import IGNORED, Encoded, Ragged, Rows, per_item
from engine.tasks.overlap import counts
from engine.tasks.types import Scored, TaskType

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

NEW_TOKENS = 64  # longest output
_ATTRIBUTE = re.compile(r"\s*([^\[\],]+?)\s*\[([^\]]*)\]\s*(?:,|$)")


@dataclass(frozen=True)
class Generation(TaskType):
    """`representation <end> text <end>`; the loss is the mean token cross-entropy of the text and its end alone.

    E2E's `name[X], area[Y]` and DART's triples are written out as `name : X | area : Y`; other texts stay as they are.
    In training every reference is an item; elsewhere rows with the same text are one item with several references.
    Outputs are decoded greedily. Margin: the mean log-probability of the first reference's tokens. An item's score is
    its own BLEU, smoothed as sacrebleu does; the set's BLEU comes from the n-gram counts.
    """

    name: str = "generation"
    columns: tuple[str, ...] = ("text", "references")
    metric: str = "bleu"
    pooling: str = "last"
    classes: bool = False
    most_states: int | None = 512

    def prepare(self, frame: pd.DataFrame, split: str, where: str) -> tuple[pd.DataFrame, list[str]]:
        """Linearised text and tuples of references; one item per reference in training, one per text elsewhere."""
        frame = frame.assign(
            text=[linearised(cell) for cell in frame["text"]], references=[_texts(cell) for cell in frame["references"]]
        )
        empty = int((frame["references"].map(len) == 0).sum())
        problems = [f"{where}: every row must have a reference; {empty} have none"] if empty else []
        if split == "train":
            spread = frame.explode("references", ignore_index=True)
            number = frame["references"].map(len).repeat(frame["references"].map(len)).to_numpy()
            part = spread.groupby("id", sort=False).cumcount().astype(str)
            ids = spread["id"].where(number == 1, spread["id"].astype(str) + "/" + part.to_numpy())
            return spread.assign(id=ids, references=[(text,) for text in spread["references"]]), problems
        grouped = frame.groupby("text", sort=False)
        merged = grouped["references"].agg(lambda lists: tuple(dict.fromkeys(text for one in lists for text in one)))
        firsts = frame.loc[~frame["text"].duplicated()].reset_index(drop=True)
        return firsts.assign(references=[merged[text] for text in firsts["text"]]), problems

    def inventory(self, frame: pd.DataFrame) -> list[str]:
        """No classes."""
        return []

    def load(self, name: str, **settings: Any) -> Any:
        """Load `AutoModelForCausalLM`; a model that also reads to the right is refused, because it would see the answer."""
        from transformers import AutoConfig, AutoModelForCausalLM
        from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
            raise ValueError(f"generation needs a causal language model such as GPT-2; got {config.model_type}")
        heads = ("num_labels", "id2label", "label2id")
        return AutoModelForCausalLM.from_pretrained(
            name, **{key: value for key, value in settings.items() if key not in heads}
        )

    def encode(
        self, tokenizer: Any, frame: pd.DataFrame, labels: tuple[str, ...], max_length: int, segments: bool = False
    ) -> Encoded:
        """Representation and first reference in one row, each cut to half of the input where both do not fit."""
        end = tokenizer.eos_token_id
        half = max(1, max_length // 2 - 1)
        left, right = (
            tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
            for texts in (frame["text"], (" " + references[0] for references in frame["references"]))
        )
        tokens, targets = [], []
        for prompt, text in zip(left, right, strict=True):
            prompt = list(prompt)[: max(half, max_length - 2 - len(text))]
            text = list(text)[: max_length - 2 - len(prompt)]
            tokens.append([*prompt, end, *text, end])
            targets.append([IGNORED] * (len(prompt) + 1) + [*text, end])
        return Encoded(
            tokens,
            targets,
            tokenizer.pad_token_id,
            facts={"decode": tokenizer.decode, "end": end, "longest": max_length},
        )

    def loss(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean cross-entropy of the text's tokens."""
        import torch.nn.functional as functional

        return functional.cross_entropy(self.rows(logits, batch).values.float(), self.row_labels(batch))

    def rows(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Rows:
        """One row per token of the text: the logits one position before it."""
        flags = batch["targets"][:, 1:] != IGNORED
        return Rows(logits[:, :-1][flags], per_item(flags, batch))

    def row_labels(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The text's tokens."""
        after = batch["targets"][:, 1:]
        return after[after != IGNORED]

    def outputs(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Rows:
        """Per item its reference's mean log-probability, then the ids of the greedy output, one per row."""
        import torch

        rows = self.rows(self.logits(model, batch).float(), batch)
        logs = rows.values.log_softmax(-1).gather(1, self.row_labels(batch)[:, None])[:, 0]
        items = torch.repeat_interleave(torch.arange(len(rows.counts), device=logs.device), rows.counts)
        means = torch.zeros(len(rows.counts), device=logs.device).index_add_(0, items, logs) / rows.counts
        prompts = (batch["targets"] != IGNORED).long().argmax(1)
        found = greedy(model, batch["input_ids"], prompts)
        kept = [torch.cat([mean[None], ids.to(means.dtype)]) for mean, ids in zip(means, found, strict=True)]
        return Rows(torch.cat(kept)[:, None], torch.tensor([len(row) for row in kept], device=means.device))

    def score(self, outputs: Ragged, frame: pd.DataFrame, encoded: Encoded, labels: tuple[str, ...]) -> Scored:
        """n-gram counts of every output against all references of its item."""
        languages = frame["language"] if "language" in frame else ["en"] * len(frame)
        margins, texts, stats = np.zeros(len(frame)), [], []
        for item, (references, language) in enumerate(zip(frame["references"], languages, strict=True)):
            values = outputs.item(item)[:, 0]
            margins[item] = values[0]
            text = encoded.facts["decode"](values[1:].astype(np.int64).tolist(), skip_special_tokens=True)
            texts.append(text.strip())
            stats.append(counts(texts[-1], references, language))
        array = np.array(stats)
        score = np.array([metrics.bleu(row[None]) for row in array])
        return Scored(
            score, margins, array, {"references": [list(one) for one in frame["references"]], "predicted": texts}
        )


def greedy(model: nn.Module, ids: Tensor, prompts: Tensor, new_tokens: int = NEW_TOKENS) -> list[Tensor]:
    """The most probable next token, again and again, after the first `prompts[i]` tokens of every row, up to the end of text.

    Rows are padded on the left, with positions counted from the first real token, so that a row's output does not
    depend on its neighbours; keys and values of earlier tokens are kept. Stops where positions end.
    """
    import torch

    width = int(prompts.max())
    end = model.config.eos_token_id
    shift = (torch.arange(width, device=ids.device) - (width - prompts)[:, None]).clamp(min=0)
    step = ids.gather(1, shift)
    mask = (torch.arange(width, device=ids.device) >= (width - prompts)[:, None]).long()
    places = (mask.cumsum(1) - 1).clamp(min=0)
    limit = getattr(model.config, "max_position_embeddings", None) or width + new_tokens
    running = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
    cache, chosen = None, []
    for _ in range(min(new_tokens, limit - width)):
        out = model(input_ids=step, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True)
        cache, best = out.past_key_values, out.logits[:, -1].argmax(-1)
        chosen.append(torch.where(running, best, end))
        running &= best != end
        if not bool(running.any()):
            break
        step, places = best[:, None], places[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
    if not chosen:
        return [ids.new_empty(0) for _ in prompts]
    table = torch.stack(chosen, 1)
    return [row[: int((row == end).long().argmax()) if bool((row == end).any()) else len(row)] for row in table]


def linearised(cell: Any) -> str:
    """`name[X], area[Y]` (E2E) or triples (DART) as `name : X | area : Y`; any other text unchanged."""
    if isinstance(cell, str) and cell.startswith("[["):
        try:
            cell = json.loads(cell)
        except ValueError:
            return str(cell)
    if not isinstance(cell, str):
        return " | ".join(" : ".join(map(str, triple)) for triple in cell)
    parts = _ATTRIBUTE.findall(cell)
    if parts and _ATTRIBUTE.sub("", cell).strip() == "":
        return " | ".join(f"{name} : {value}" for name, value in parts)
    return cell


def _texts(cell: Any) -> tuple[str, ...]:
    """The references of a cell: a text, texts, or DART's `{"source": […], "text": […]}` in either way of nesting it."""
    if isinstance(cell, Mapping):
        return _texts(cell.get("text", ()))
    texts = (
        [cell] if isinstance(cell, str) else [one.get("text", "") if isinstance(one, Mapping) else one for one in cell]
    )
    return tuple(text for text in map(str, texts) if text.strip())


TYPE = Generation()
