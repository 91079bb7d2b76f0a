"""Loading checkpoints: safetensors only, never remote code, always float32 (half-precision files would otherwise train in half)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from engine import hub
from engine.config import ConfigError
from engine.model.architectures import ARCHITECTURES
from engine.tasks.types import TaskType

if TYPE_CHECKING:
    from torch import nn

BUNDLED_MODEL = Path(__file__).parent.parent / "demo" / "model"
EDGE_BYTES = 2**20  # read at each end of a weight file for its fingerprint
ROBERTA_FAMILY = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert")


def model_path(name: str, base: Path) -> str:
    """The folder of `bundled` or of a local checkpoint, else the hub id as it is."""
    if name == "bundled":
        return str(BUNDLED_MODEL)
    folder = (base / name).expanduser()
    return str(folder) if folder.is_dir() else name


def load_tokenizer(path: str) -> Any:
    """The checkpoint's tokenizer; without a pad token (GPT-2) the end-of-text token pads, behind the attention mask."""
    from transformers import AutoTokenizer

    _reach(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            [f"model.name: the tokenizer of {path} could not be loaded; {_first_line(error)}{_offline_hint(path)}"]
        ) from None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(path: str, kind: TaskType, labels: Sequence[str], head: str = "new", seed: int = 0) -> nn.Module:
    """Load a checkpoint with the task's head, in float32 and eval mode.

    A new head is drawn from `seed`. `head="keep"` takes the checkpoint's own and asks that its label names are
    those of the task; `keep_order` then gives the order to use. Raises ConfigError for what cannot be loaded.
    """
    import torch
    from transformers.utils import logging

    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "dtype": torch.float32,
        "use_safetensors": True,
        "trust_remote_code": False,
        "output_loading_info": True,
    }
    settings["ignore_mismatched_sizes"] = True  # said in our own words, below
    if head == "new":
        names = dict(enumerate(labels))
        settings |= {
            "num_labels": len(labels),
            "id2label": names,
            "label2id": {name: index for index, name in names.items()},
        }
    elif not kind.classes and labels:
        # A head without names, of so many numbers: a checkpoint of another task has others.
        settings["num_labels"] = len(labels)
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # "newly initialized weights" is what head = "new" asks for
    try:
        model, loaded = kind.load(path, **settings)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ConfigError(
            [f"model.name: {path} could not be loaded; {_first_line(error)}{_offline_hint(path)}"]
        ) from None
    finally:
        logging.set_verbosity(verbosity)
    _refuse_random_weights(model, loaded, path, head)
    if getattr(model.config, "pad_token_id", None) is None:
        model.config.pad_token_id = model.config.eos_token_id
    return model.eval()  # type: ignore[no-any-return]


def _refuse_random_weights(model: nn.Module, loaded: Mapping[str, Any], path: str, head: str) -> None:
    """A weight that the checkpoint does not have, or has in another shape, would be drawn at random without a word.

    With a new head that is meant for the head (and an encoder's pooler, which task heads do not use); elsewhere it is refused.
    """
    missing = [str(key) for key in loaded.get("missing_keys", ())]
    missing += [str(key[0] if isinstance(key, (tuple, list)) else key) for key in loaded.get("mismatched_keys", ())]
    if head == "new":
        prefix = f"{model.base_model_prefix}."
        missing = [
            key for key in missing if key.startswith(prefix) and ".pooler." not in key and "position_ids" not in key
        ]
    if missing:
        raise ConfigError(
            [
                f"model.name: the checkpoint must hold every weight of the {'encoder' if head == 'new' else 'model and its head'}; {path} lacks "
                f"{len(missing)} or has them in another shape, such as {', '.join(sorted(missing)[:3])}"
            ]
        )


def load_masked_lm(path: str) -> nn.Module | None:
    """The checkpoint under its own masked language-model head, in float32 and eval mode; None where it has none."""
    import torch
    from transformers import AutoModelForMaskedLM
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        model, loaded = AutoModelForMaskedLM.from_pretrained(
            path, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError):
        return None
    finally:
        logging.set_verbosity(verbosity)
    missing = [str(key) for key in loaded.get("missing_keys", ())]
    return None if any("pooler" not in key and "position_ids" not in key for key in missing) else model.eval()


def load_config(path: str) -> Any:
    """The checkpoint's configuration."""
    from transformers import AutoConfig

    _reach(path)
    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            [f"model.name: {path} could not be loaded; {_first_line(error)}{_offline_hint(path)}"]
        ) from None


def digest(path: str) -> str:
    """Fingerprint of a local checkpoint: its configuration, and size, header and end of every weight file; a hub id as it is."""
    folder = Path(path)
    if not folder.is_dir():
        return path
    total = hashlib.sha256((folder / "config.json").read_bytes())
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as handle:
            total.update(f"{file.name} {file.stat().st_size}".encode())
            total.update(handle.read(EDGE_BYTES))
            handle.seek(max(0, file.stat().st_size - EDGE_BYTES))
            total.update(handle.read())
    return total.hexdigest()[:16]


def pooling_of(config: Any, asked: str) -> str:
    """The pooling of a task type, but the last real token for causal models, whose first token has seen nothing (M§4)."""
    row = ARCHITECTURES.get(config.model_type)
    return "last" if asked == "first" and row is not None and row.causal else asked


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _reach(path: str) -> None:
    """See whether the hub answers before its client asks for what is not a folder."""
    if not Path(path).is_dir():
        hub.settle()


def _offline_hint(path: str) -> str:
    return (
        ""
        if Path(path).is_dir()
        else "; on an offline machine give a local folder with config.json, tokenizer and *.safetensors"
    )


def keep_order(path: str, labels: Sequence[str], more: bool = False) -> tuple[str, ...]:
    """The checkpoint's own label order, after checking that its names are the task's; numbers are never trusted.

    `more`: it may know further ones (a tagger of more kinds of entities), which are mistakes where it predicts them.
    """
    names = [str(name) for _, name in sorted(load_config(path).id2label.items())]
    fits = set(labels) <= set(names) if more else sorted(names) == sorted(labels)
    if not fits or len(set(names)) != len(names):
        raise ConfigError(
            [
                f"model.head: keep needs a checkpoint whose labels are {', '.join(sorted(labels))}; got {', '.join(names)}"
            ]
        )
    return tuple(names)


def longest_input(config: Any, asked: int) -> int:
    """`asked`, or less where the position embeddings end (RoBERTa counts positions from padding_idx + 1)."""
    limit = getattr(config, "max_position_embeddings", None)
    if not limit or limit < 0:
        return asked
    offset = (config.pad_token_id or 0) + 1 if config.model_type in ROBERTA_FAMILY else 0
    return min(asked, int(limit) - offset)


def has_segments(config: Any) -> bool:
    """Does the model tell segments apart? Passing segment ids to one that does not is an error or nonsense."""
    return int(getattr(config, "type_vocab_size", 0) or 0) > 1
