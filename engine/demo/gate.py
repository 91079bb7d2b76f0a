"""The gate of the bundled encoder: does English fine-tuning carry over, and does pruning do harm?

    python -m engine.demo.gate [--model DIR] [--task intent|pair] [--seeds 1] [--prune] [--json]

Fine-tunes on English `train` alone, keeps the epoch that is best on English `validation`, and scores every language
on `test` and `natural`. With --prune it goes on: global magnitude pruning of the six linear maps of each block to
rising levels, each followed by one epoch of retraining in English. Deliberately a small program of its own: the gate is
passed before anything is built on the encoder, and no change of the trainer can move it.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.demo.build import DATA, MODEL
from engine.demo.corpus import resource_levels
from engine.demo.pretrain import autocast

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LEVELS = (0.5, 0.7, 0.9, 0.95, 0.98)
EVALUATED = {"intent": ("test", "natural"), "pair": ("test",)}


@dataclass(frozen=True, slots=True)
class Settings:
    """Fine-tuning: AdamW with linear warm-up and decay."""

    epochs: int = 8
    batch: int = 32
    learning_rate: float = 3e-4
    warmup: float = 0.1
    weight_decay: float = 0.01
    seed: int = 0


@dataclass(slots=True)
class Split:
    """One file: tokenised texts and label indices."""

    encoded: dict[str, list[list[int]]]
    labels: list[int]


@dataclass(slots=True)
class State:
    """Accuracy by split and language at one sparsity."""

    sparsity: float
    scores: dict[str, dict[str, float]] = field(default_factory=dict)


def quiet() -> None:
    """No progress bars and no load reports: the head is new on purpose."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def read(task: str, split: str, code: str, folder: Path = DATA) -> tuple[list[list[str]], list[str]]:
    """Texts (one or two columns) and labels of one file."""
    lines = (folder / f"{task}/{split}.{code}.tsv").read_text(encoding="utf-8").rstrip("\n").split("\n")
    header, rows = lines[0].split("\t"), [line.split("\t") for line in lines[1:]]
    columns = [header.index(name) for name in ("text", "pair") if name in header]
    return [[row[at] for row in rows] for at in columns], [row[header.index("label")] for row in rows]


def load_split(tokenizer: PreTrainedTokenizerBase, task: str, split: str, code: str, labels: Sequence[str]) -> Split:
    """One file, tokenised; labels as indices into `labels`."""
    texts, gold = read(task, split, code)
    return Split(dict(tokenizer(*texts, truncation=True)), [labels.index(name) for name in gold])


def collate(tokenizer: PreTrainedTokenizerBase, data: Split, chosen: Sequence[int]) -> dict[str, torch.Tensor]:
    """Padded tensors of some items."""
    return tokenizer.pad(
        {key: [value[at] for at in chosen] for key, value in data.encoded.items()}, return_tensors="pt"
    )


def fit(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: Split,
    validation: Split,
    settings: Settings,
    masks: Mapping[str, torch.Tensor] | None = None,
) -> PreTrainedModel:
    """Train in place; masked weights stay zero. Returns the epoch that was best on `validation` (the last, if masked)."""
    import torch

    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    batches_per_epoch = -(-len(train.labels) // settings.batch)
    total = settings.epochs * batches_per_epoch
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    warm = max(1, round(settings.warmup * total))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (total - step) / max(1, total - warm))
    )
    best, kept = -1.0, model.state_dict()
    for _ in range(settings.epochs):
        model.train()
        order = rng.permutation(len(train.labels)).tolist()
        for start in range(0, len(order), settings.batch):
            chosen = order[start : start + settings.batch]
            labels = torch.tensor([train.labels[at] for at in chosen])
            with autocast():
                loss = model(**collate(tokenizer, train, chosen), labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            apply(model, masks or {})
        score = accuracy(model, tokenizer, validation)
        if score > best or masks:
            best, kept = score, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept)
    return model


def accuracy(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, data: Split) -> float:
    """Share of right predictions."""
    import torch

    model.eval()
    right = 0
    order = sorted(range(len(data.labels)), key=lambda at: len(data.encoded["input_ids"][at]))
    with torch.inference_mode(), autocast():
        for start in range(0, len(order), 64):
            chosen = order[start : start + 64]
            predicted = model(**collate(tokenizer, data, chosen)).logits.argmax(-1).tolist()
            right += sum(guess == data.labels[at] for guess, at in zip(predicted, chosen, strict=True))
    return right / len(order)


def magnitude_masks(model: PreTrainedModel, sparsity: float) -> dict[str, torch.Tensor]:
    """Keep the largest weights over all prunable matrices; the six linear maps of every block."""
    import torch

    weights = {
        name: value.detach()
        for name, value in model.named_parameters()
        if ".encoder.layer." in name and name.endswith(".weight") and value.ndim == 2
    }
    magnitudes = torch.cat([weight.abs().flatten() for weight in weights.values()])
    threshold = magnitudes.kthvalue(max(1, round(sparsity * len(magnitudes)))).values
    return {name: weight.abs() > threshold for name, weight in weights.items()}


def apply(model: PreTrainedModel, masks: Mapping[str, torch.Tensor]) -> None:
    """Set masked weights to zero."""
    import torch

    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, mask in masks.items():
            parameters[name].mul_(mask)


def run(task: str, folder: Path, languages: Sequence[str], settings: Settings, prune: bool) -> list[State]:
    """Fine-tune, score, and with `prune` prune level by level. The first state is the dense one."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    labels = sorted(set(read(task, "train", "en")[1]))
    torch.manual_seed(settings.seed)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=len(labels), dtype=torch.float32, use_safetensors=True, attn_implementation="eager"
    )
    train, validation = (load_split(tokenizer, task, split, "en", labels) for split in ("train", "validation"))
    sets = {
        split: {code: load_split(tokenizer, task, split, code, labels) for code in languages}
        for split in EVALUATED[task]
    }
    fit(model, tokenizer, train, validation, settings)
    states = [_score(model, tokenizer, sets, 0.0)]
    for level in LEVELS if prune else ():
        masks = magnitude_masks(model, level)
        apply(model, masks)
        retrain = Settings(1, settings.batch, settings.learning_rate, seed=settings.seed)
        fit(model, tokenizer, train, validation, retrain, masks)
        states.append(_score(model, tokenizer, sets, level))
    return states


def _score(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, sets: Mapping[str, Mapping[str, Split]], level: float
) -> State:
    scores = {
        split: {code: accuracy(model, tokenizer, data) for code, data in by_code.items()}
        for split, by_code in sets.items()
    }
    return State(level, scores)


def average(runs: Sequence[Sequence[State]]) -> list[State]:
    """Mean over seeds, state by state."""
    return [
        State(
            states[0].sparsity,
            {
                split: {code: float(np.mean([state.scores[split][code] for state in states])) for code in by_code}
                for split, by_code in states[0].scores.items()
            },
        )
        for states in zip(*runs, strict=True)
    ]


def table(states: Sequence[State]) -> str:
    """One line per state and split: languages, then the mean of the others than English."""
    codes = list(next(iter(states[0].scores.values())))
    lines = ["sparsity split    " + "".join(f"{code:>6}" for code in codes) + "  others"]
    for state in states:
        for split, scores in state.scores.items():
            others = np.mean([score for code, score in scores.items() if code != "en"])
            cells = "".join(f"{scores[code]:6.3f}" for code in codes)
            lines.append(f"{state.sparsity:<8.2f} {split:<9}{cells}{others:8.3f}")
    return "\n".join(lines)


def failures(states: Sequence[State]) -> list[str]:
    """What the intent task must reach (English, others, worst; natural; damage by pruning) and did not."""
    test, natural = states[0].scores["test"], states[0].scores["natural"]
    others = {code: score for code, score in test.items() if code != "en"}
    checks = {
        f"test English {test['en']:.3f} must be at least .90": test["en"] >= 0.90,
        f"test mean of the others {np.mean(list(others.values())):.3f} must be at least .75": np.mean(
            list(others.values())
        )
        >= 0.75,
        f"test worst {min(others.values()):.3f} must be at least .50": min(others.values()) >= 0.50,
        f"natural worst {min(natural.values()):.3f} must be at least 2/16": min(natural.values()) >= 2 / 16,
    }
    if len(states) > 1:
        drop = np.mean(list(test.values())) - np.mean(list(states[-1].scores["test"].values()))
        checks[f"drop at {states[-1].sparsity} {drop:.3f} must be at least .05"] = drop >= 0.05
    return [text for text, passed in checks.items() if not passed]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns 1 if the intent gate is not passed."""
    parser = argparse.ArgumentParser(prog="python -m engine.demo.gate", description="Gate of the bundled encoder.")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--task", choices=tuple(EVALUATED), default="intent")
    parser.add_argument("--languages", help="comma-separated codes (default: all of languages.toml)")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=Settings().epochs)
    parser.add_argument("--rate", type=float, default=Settings().learning_rate)
    parser.add_argument("--prune", action="store_true", help="go on with magnitude pruning")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    quiet()
    languages = options.languages.split(",") if options.languages else list(resource_levels())
    settings = [Settings(epochs=options.epochs, learning_rate=options.rate, seed=seed) for seed in range(options.seeds)]
    states = average([run(options.task, options.model, languages, one, options.prune) for one in settings])
    missed = failures(states) if options.task == "intent" else []
    if options.json:
        print(json.dumps(_as_json(states, missed)))
    else:
        print("\n".join([table(states), *(f"missed: {text}" for text in missed)]))
    return 1 if missed else 0


def _as_json(states: Sequence[State], missed: Sequence[str]) -> dict[str, Any]:
    return {
        "states": [{"sparsity": state.sparsity, "scores": state.scores} for state in states],
        "missed": list(missed),
    }


if __name__ == "__main__":
    raise SystemExit(main())
