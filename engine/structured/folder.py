"""A folder for a compacted or shrunken model, and the way back (DESIGN §10).

Fewer heads in some layers cannot be said in the stock configuration. The folder carries `compact.json` beside it, and
its weights do not bear the stock name, so that `AutoModel` stops instead of filling a dense model up at random.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config import ConfigError
from engine.structured.compaction import fit, shape_of

if TYPE_CHECKING:
    from torch import nn

FILE, WEIGHTS = "compact.json", "compact.safetensors"


def save(model: nn.Module, folder: Path) -> None:
    """Write `config.json`, `compact.safetensors` and, last, `compact.json` (`shape_of`)."""
    from safetensors.torch import save_model

    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    save_model(model, str(folder / WEIGHTS), metadata={"format": "pt"})
    (folder / FILE).write_text(json.dumps(shape_of(model), indent=1) + "\n", encoding="utf-8")


def load(folder: Path | str) -> nn.Module:
    """The model that `save` wrote, on the CPU and in eval mode. Raises ConfigError for a folder that it did not write."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    folder = Path(folder)
    shape = _read(folder)
    settings, build = _class(folder, shape)
    with torch.random.fork_rng(devices=[]):  # the weights drawn here are overwritten
        model = build(settings)
    try:
        model = fit(model, shape)
        load_model(model, str(folder / WEIGHTS))
    except (OSError, RuntimeError, SafetensorError, IndexError, ValueError) as error:
        raise ConfigError(
            [f"folder: {folder} does not hold the model that its {FILE} describes; {str(error).splitlines()[0]}"]
        ) from None
    return model.eval()  # type: ignore[no-any-return]


def _read(folder: Path) -> dict[str, Any]:
    try:
        shape = json.loads((folder / FILE).read_text(encoding="utf-8"))
        whole = all(isinstance(shape[key], list) for key in ("blocks", "heads", "neurons")) and isinstance(
            shape["class"], str
        )
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise ConfigError([f"folder: must hold a model saved with a valid {FILE}; got {folder}"])
    return shape  # type: ignore[no-any-return]


def _class(folder: Path, shape: dict[str, Any]) -> tuple[Any, Any]:
    """The configuration and the class: one of transformers' own models, never code from the folder."""
    import transformers

    from engine.model import load_config

    build = getattr(transformers, shape["class"], None)
    if not (isinstance(build, type) and issubclass(build, transformers.PreTrainedModel)):
        raise ConfigError([f"class: must be a model of transformers; got {shape['class']!r} in {folder / FILE}"])
    return load_config(str(folder)), build
