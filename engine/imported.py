"""A model pruned elsewhere as a finished method: its zeros are the mask, its weights are taken as they are (DESIGN §5).

    python -m engine import --dense DIR --pruned DIR STUDY.toml

A study with such a method is an ordinary one, with `recipe = "imported"` and the pruned folder in `checkpoint`; the
command writes that method and the dense folder into a study that says the rest, and runs it.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import model as models
from engine.config import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from engine.context import Context
    from engine.plan import Plan
    from engine.workbench import Workbench

PLACES = 4  # decimals of a level


def arm(context: Context) -> None:
    """The one level of a run: load the pruned model, take its zeros as masks, measure."""
    from engine.arm import Dense
    from engine.levels import write_level
    from engine.masked import Masked

    plan, bench = context.job.plan, context.bench
    assert plan is not None
    dense = Dense.of(context)
    model = examined(bench, plan, dense.model(context))
    masked = Masked(models.matrices(model))
    masked.set({matrix.name: matrix.weight_OI() != 0 for matrix in masked.matrices})
    level = context.run.level_at(plan.axis, plan.values[0])
    write_level(context, level, model, masked, dense.reference, dense.updates, True, dense.sizes)


def examined(bench: Workbench, plan: Plan, dense: nn.Module) -> nn.Module:
    """The pruned model of a plan, after checking that it and the dense one are a pair of the sparsity that is said."""
    assert plan.checkpoint is not None
    path = models.model_path(plan.checkpoint, bench.study.base)
    if bench.data.type.classes:
        _refuse_other_labels(path, bench.path, bench.data.labels)
    _refuse_other_vocabulary(path, bench.path, bench.tokenizer)
    model = bench.load(path, 0)
    _refuse_other_shapes(model, dense)
    found, level = round(zeros(model), PLACES), plan.values[0]
    if abs(found - level) > 10**-PLACES / 2:
        raise ConfigError([f"levels: must be [{found:g}], the measured sparsity of {path}; got [{level:g}]"])
    return model


def zeros(model: nn.Module) -> float:
    """Fraction of the prunable weights that are exactly 0."""
    found = [matrix.weight_OI() for matrix in models.matrices(model)]
    return float(sum(int((weight == 0).sum()) for weight in found) / sum(weight.numel() for weight in found))


def _refuse_other_labels(pruned: str, dense: str, labels: tuple[str, ...]) -> None:
    """Labels in another order would give wrong scores without a word."""
    names, own = (models.keep_order(path, labels) for path in (pruned, dense))
    if names != own:
        raise ConfigError(
            [f"checkpoint: must have its labels in the order of {dense}: {', '.join(own)}; got {', '.join(names)}"]
        )


def _refuse_other_vocabulary(pruned: str, dense: str, tokenizer: Any) -> None:
    """So would another vocabulary; a folder without a tokenizer takes the dense one's."""
    if any((Path(pruned) / name).is_file() for name in ("tokenizer.json", "vocab.txt", "vocab.json")):
        other = models.load_tokenizer(pruned)
        if other.get_vocab() != tokenizer.get_vocab():
            raise ConfigError([f"checkpoint: must have the tokenizer of {dense}; {pruned} has another vocabulary"])


def _refuse_other_shapes(pruned: nn.Module, dense: nn.Module) -> None:
    ours, theirs = (
        {name: tuple(value.shape) for name, value in model.state_dict().items()} for model in (dense, pruned)
    )
    differ = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    if differ:
        name = differ[0]
        raise ConfigError(
            [
                f"checkpoint: must have the dense model's shapes; {name} is {theirs.get(name, 'missing')}, not {ours.get(name, 'there')}"
            ]
        )


def complete(study_file: Path, dense: Path, pruned: Path, name: str) -> str:
    """The text of `study_file` with the pair written into it. Raises ConfigError for what contradicts it."""
    folders = {"dense": dense, "pruned": pruned}
    if missing := [f"{key}: must be a folder; got {folder}" for key, folder in folders.items() if not folder.is_dir()]:
        raise ConfigError(missing)
    text = _read(study_file)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{study_file}: must be TOML; {error}"]) from None
    problems = ["model: must be left out: --dense says what it is"] if "model" in raw else []
    train = raw.get("train", {})
    if "train" in raw and (not isinstance(train, dict) or train.get("epochs") != 0):
        problems.append("train.epochs: must be 0 (or [train] left out): the dense model is taken as it is")
    if problems:
        raise ConfigError(problems)
    parts = [text.rstrip("\n"), f'[model]\nname = {_quoted(dense)}\nhead = "keep"']
    if "train" not in raw:
        parts.append("[train]\nepochs = 0" + ("" if raw.get("method") else "\nretrain_epochs = 0"))
    level = round(_sparsity(pruned), PLACES)
    if not 0 < level < 1:
        raise ConfigError(
            [f"pruned: must have zeros among its prunable weights, and others; {pruned} has {level:.2%} zeros"]
        )
    parts.append(
        f'[[method]]\nrecipe = "imported"\nname = "{name}"\nlevels = [{level}]\ncheckpoint = {_quoted(pruned)}'
    )
    return "\n\n".join(parts) + "\n"


def _read(path: Path) -> str:
    if not path.is_file():
        raise ConfigError([f"STUDY: must be a file; got {path}"])
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: must be UTF-8; {error.reason} at byte {error.start}"]) from None


def _quoted(path: Path) -> str:
    """A path as a TOML string (JSON's escapes are TOML's)."""
    import json

    return json.dumps(str(path.resolve()), ensure_ascii=False)


def _sparsity(folder: Path) -> float:
    """Zeros of a checkpoint's encoder; its head does not matter here."""
    import torch
    from transformers import AutoModel

    models.load_config(str(folder))
    try:
        model = AutoModel.from_pretrained(
            str(folder), dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError([f"pruned: {folder} could not be loaded; {str(error).strip().splitlines()[0]}"]) from None
    return zeros(model)
