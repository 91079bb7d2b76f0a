"""A pruned level → a Hugging Face folder that `from_pretrained` loads: baked weights, masks, model card, study file.

The weights are stored dense, zeros included: the folder is as large as before, which the card says. The masks stand
beside them as their own file (layout as in the run folder), so that they can be put on a fresh checkpoint.

With `compact` the heads and neurons that the masks remove are cut out: a smaller dense model, which the stock
configuration cannot describe and only `engine.structured.load` opens (DESIGN §10).

Everything comes from the run folder and the base checkpoint. The task's data is not opened: it may be on another
machine, or may not be there for whoever ships the model.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from engine import model as models
from engine import structured
from engine.card import card
from engine.config import ConfigError
from engine.folders import new_folder
from engine.record import Level, RecordError, Run, read_json
from engine.tasks.types import task_type

if TYPE_CHECKING:
    from torch import nn

MASKS = "masks.safetensors"


def export(run: Run, wanted: float | str, target: Path, compact: bool = False) -> int:
    """Write the folder for one level of a run and return its bytes; a refused or failed export leaves nothing behind.

    Refuses a target that holds anything, a level without weights, and `compact` for a level whose masks remove no
    head or neuron as a whole.
    """
    level, base, toml = find_level(run, wanted), base_of(run), _study(run)
    with new_folder(target) as folder:
        model = level_model(run, level)
        if compact:
            model = _compacted(run, level, model)
            structured.save(model, folder)
        elif "shape" in level.size():
            raise ConfigError(
                [f"compact: must be given for {run.method}, whose layers the stock configuration cannot describe"]
            )
        else:
            model.save_pretrained(folder)
        models.load_tokenizer(base).save_pretrained(folder)
        if level.has(MASKS) and not compact:  # they would not fit the smaller matrices
            shutil.copyfile(level.path / MASKS, folder / MASKS)
        parameters = sum(parameter.numel() for parameter in model.parameters()) if compact else None
        text = card(run, level, folder, target.name, base, toml, parameters)
        (folder / "README.md").write_text(text, encoding="utf-8")
        (folder / "study.toml").write_text(toml, encoding="utf-8")
    return sum(path.stat().st_size for path in target.iterdir())


def find_level(run: Run, level: float | str) -> Level:
    """The finished level of a run with weights: by its sparsity, or by its folder's name (`strength-4`, `size-0.1`).

    Raises RecordError with the choices.
    """
    with_weights = [found for found in run.levels() if found.has("weights.safetensors")]
    for found in with_weights:
        if found.path.name == level or _is(found.sparsity, level):
            return found
    names = [f"{found.sparsity:g}" if found.asked else found.path.name for found in with_weights]
    choices = ", ".join(names) or "none: no level kept its weights"
    raise RecordError(
        f"level: must be one of {choices}; got {level} (method.keep_weights says which levels keep theirs)"
    )


def _is(sparsity: float, level: float | str) -> bool:
    """Do the four decimals that name a level agree?"""
    try:
        return abs(sparsity - float(level)) < 5e-5
    except ValueError:
        return False


def level_model(run: Run, level: Level) -> nn.Module:
    """The model of a level that kept its weights; a student (`small`, `distill`) says its `shape` in `size.json`.

    The base checkpoint gives the configuration and must be the one that the run was made from.
    """
    import torch

    config, base = run.config(), base_of(run)
    if models.digest(base) != config["model_digest"]:
        raise RecordError(f"{run.study}/{run.name}: was made from another checkpoint than is now at {base}")
    model = models.load_model(base, task_type(config["type"]), config["labels"], config["model"]["head"])
    if "shape" in level.size():
        model = structured.reshape(model, level.size()["shape"])
    model.load_state_dict({name: torch.from_numpy(value) for name, value in level.arrays("weights").items()})
    return model


def apply_masks(model: nn.Module, folder: Path | str) -> int:
    """Zero the weights that an exported folder's (or a level's) `masks.safetensors` removes; returns how many.

    The model may carry another head or none, as long as its blocks have the same names and shapes. Masks are stored in
    each module's own layout. Raises ValueError naming the first matrix that does not fit; then nothing is changed.
    """
    import torch

    prefix, inner = f"{model.base_model_prefix}.", dict(model.base_model.named_modules())
    pairs = []
    for name, mask in Level(Path(folder)).masks().items():
        module = inner.get(name.removeprefix(prefix))
        weight = getattr(module, "weight", None)
        if weight is None or tuple(weight.shape) != mask.shape:
            found = "no such matrix" if weight is None else f"shape {tuple(weight.shape)}"
            raise ValueError(f"model: must have a matrix {name} of shape {mask.shape}; got {found}")
        pairs.append((weight, torch.from_numpy(mask)))
    with torch.no_grad():
        for weight, keep in pairs:
            weight.mul_(keep.to(weight.device, weight.dtype))
    return sum(int((~keep).sum()) for _, keep in pairs)


def base_of(run: Run) -> str:
    """Where the base checkpoint of a run is: a folder or a hub id."""
    _study(run)
    return models.model_path(run.config()["model"]["name"], Path(read_json(run.path.parent / "study.json")["base"]))


def _study(run: Run) -> str:
    """The text of the study file as it stands in the store."""
    path = run.path.parent / "study.toml"
    if not path.is_file():
        raise RecordError(f"{run.study}: must have its study file in the store; {path} is not there")
    return path.read_text(encoding="utf-8")


def _compacted(run: Run, level: Level, model: nn.Module) -> nn.Module:
    """The level's model without the heads and neurons that its masks remove as a whole."""
    import torch

    masks = level.masks() if level.has(MASKS) else {}
    found = [matrix for matrix in models.matrices(model) if matrix.name in masks]
    groups = structured.unit_groups(model, found) if found else []
    units = structured.unit_masks(groups, {m.name: m.orient(torch.from_numpy(masks[m.name])) for m in found})
    if "shape" not in level.size() and all(bool(kept.all()) for kept in units.values()):
        raise ConfigError(
            [f"compact: needs a level that removes whole heads or neurons; {run.method} at {level.sparsity:g} removes single weights"]
        )  # fmt: skip
    return structured.compact(model, units)
