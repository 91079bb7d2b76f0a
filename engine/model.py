"""Loading checkpoints, and the one table that knows the module names of each architecture (M§1).

Safetensors only, never remote code, always float32 (half-precision files would otherwise train in half). States are
read with hooks of our own that are removed afterwards: `output_hidden_states=True` leaves permanent ones behind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from engine import hub
from engine.config import ConfigError
from engine.registry import Registry
from engine.tasks.batches import inputs as inputs
from engine.tasks.batches import pool as pool
from engine.tasks.types import TaskType

if TYPE_CHECKING:
    from torch import Tensor, nn

BUNDLED_MODEL = Path(__file__).parent / "demo" / "model"
EDGE_BYTES = 2**20  # read at each end of a weight file for its fingerprint
ROBERTA_FAMILY = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert")


@dataclass(frozen=True, slots=True)
class Heads:
    """What a block's attention must be told when it loses heads: paths relative to the block, the rest its attributes.

    `size` holds the width of one head, `counts` the number of heads, `widths` their product. `further` names linear
    maps, where a model has them, whose rows belong to heads although they are not prunable (DeBERTa's positions).
    """

    module: str
    size: str
    counts: tuple[str, ...]
    widths: tuple[str, ...] = ()
    further: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Architecture:
    """One row: where the repeated blocks of a model type are, its prunable maps by kind, and its heads.

    `blocks` and the maps' paths are relative to the base model and to one block. `transposed` marks Conv1D, which
    stores I×O, `causal` models whose first token sees nothing else. `chains` names the maps whose units feed each other (for neighbour-aware criteria).
    """

    name: str
    blocks: str
    maps: Mapping[str, str]
    heads: Heads
    transposed: bool = False
    causal: bool = False
    chains: tuple[tuple[str, str], ...] = field(default=(("value", "attention_output"), ("ffn_in", "ffn_out")))


_BERT = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "ffn_in": "intermediate.dense",
    "ffn_out": "output.dense",
}
_DEBERTA = {
    **_BERT,
    "query": "attention.self.query_proj",
    "key": "attention.self.key_proj",
    "value": "attention.self.value_proj",
}
_DISTILBERT = {
    "query": "attention.q_lin",
    "key": "attention.k_lin",
    "value": "attention.v_lin",
    "attention_output": "attention.out_lin",
    "ffn_in": "ffn.lin1",
    "ffn_out": "ffn.lin2",
}
_GPT2 = {
    "query_key_value": "attn.c_attn",
    "attention_output": "attn.c_proj",
    "ffn_in": "mlp.c_fc",
    "ffn_out": "mlp.c_proj",
}
_BERT_HEADS = Heads("attention.self", "attention_head_size", ("num_attention_heads",), ("all_head_size",))
_DEBERTA_HEADS = replace(_BERT_HEADS, further=("attention.self.pos_key_proj", "attention.self.pos_query_proj"))
_DISTILBERT_HEADS = Heads("attention", "attention_head_size", ("n_heads",))
_GPT2_HEADS = Heads("attn", "head_dim", ("num_heads",), ("split_size",))

ARCHITECTURES: Registry[Architecture] = Registry(
    "architecture",
    (
        Architecture("bert", "encoder.layer", _BERT, _BERT_HEADS),
        Architecture("roberta", "encoder.layer", _BERT, _BERT_HEADS),
        Architecture("xlm-roberta", "encoder.layer", _BERT, _BERT_HEADS),
        Architecture("electra", "encoder.layer", _BERT, _BERT_HEADS),
        Architecture("distilbert", "transformer.layer", _DISTILBERT, _DISTILBERT_HEADS),
        Architecture("deberta-v2", "encoder.layer", _DEBERTA, _DEBERTA_HEADS),
        Architecture("gpt2", "h", _GPT2, _GPT2_HEADS, transposed=True, causal=True, chains=(("ffn_in", "ffn_out"),)),
    ),
)


@dataclass(frozen=True)
class Matrix:
    """One prunable weight matrix: its module's full name, block number, kind and orientation."""

    name: str
    module: nn.Module
    layer: int
    kind: str
    transposed: bool = False

    def weight_OI(self) -> Tensor:
        """The weight seen as outputs × inputs (a view)."""
        weight: Tensor = self.module.weight.detach()
        return weight.T if self.transposed else weight

    def orient(self, values: Tensor) -> Tensor:
        """From outputs × inputs to the module's own layout, or back."""
        return values.T if self.transposed else values


# -- loading ---------------------------------------------------------------------------------------------------


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


# -- what can be pruned ------------------------------------------------------------------------------------------


def blocks(model: nn.Module) -> list[nn.Module]:
    """The repeated blocks, first to last."""
    return list(_block_list(model)[1])


def _block_list(model: nn.Module) -> tuple[str, Any]:
    """(full name, ModuleList) of the repeated blocks: by the table, else the longest list that holds linear maps."""
    from torch import nn

    base = model.base_model
    prefix = next((name for name, module in model.named_modules() if module is base), "")
    kind = model.config.model_type
    if kind in ARCHITECTURES:
        path = ARCHITECTURES[kind].blocks
        return _join(prefix, path), base.get_submodule(path)
    lists = [
        (name, module)
        for name, module in base.named_modules()
        if isinstance(module, nn.ModuleList) and _linears(module)
    ]
    if not lists:
        raise ConfigError(
            [
                f"model.name: {kind} has no repeated blocks with linear maps; known architectures: {', '.join(ARCHITECTURES)}"
            ]
        )
    name, found = max(lists, key=lambda item: len(item[1]))
    return _join(prefix, name), found


def _linears(module: nn.Module) -> dict[str, nn.Module]:
    from torch import nn

    return {name: inner for name, inner in module.named_modules() if isinstance(inner, nn.Linear)}


def _join(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def matrices(model: nn.Module, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> list[Matrix]:
    """The prunable matrices in a fixed order (block by block); patterns as in file names match the full name.

    Raises ConfigError for a pattern that matches nothing and for a selection that leaves nothing.
    """
    prefix, found = _block_list(model)
    row = ARCHITECTURES.get(model.config.model_type)
    every = [
        matrix
        for number, block in enumerate(found)
        for matrix in _block_matrices(_join(prefix, str(number)), block, number, row)
    ]
    names = [matrix.name for matrix in every]
    for key, patterns in (("include", include), ("exclude", exclude)):
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ConfigError([f"method.{key}: must match a prunable matrix such as {names[0]}; got {pattern!r}"])
    kept = [
        matrix
        for matrix in every
        if (not include or any(fnmatchcase(matrix.name, pattern) for pattern in include))
        and not any(fnmatchcase(matrix.name, pattern) for pattern in exclude)
    ]
    if not kept:
        raise ConfigError(
            [f"method.exclude: must leave a matrix to prune; got include {list(include)}, exclude {list(exclude)}"]
        )
    return kept


def _block_matrices(prefix: str, block: nn.Module, number: int, row: Architecture | None) -> Iterator[Matrix]:
    if row is None:
        for name, module in _linears(block).items():
            yield Matrix(_join(prefix, name), module, number, name)
        return
    for kind, path in row.maps.items():
        yield Matrix(_join(prefix, path), block.get_submodule(path), number, kind, row.transposed)


def neighbours(model: nn.Module, found: Sequence[Matrix]) -> dict[str, tuple[Matrix | None, Matrix | None]]:
    """For each matrix the one that feeds it and the one that it feeds within its block (None: no neighbour)."""
    row = ARCHITECTURES.get(model.config.model_type)
    chains = row.chains if row else ()
    by_place = {(matrix.layer, matrix.kind): matrix for matrix in found}
    pairs: dict[str, tuple[Matrix | None, Matrix | None]] = {}
    for matrix in found:
        before = next((by_place.get((matrix.layer, first)) for first, second in chains if second == matrix.kind), None)
        after = next((by_place.get((matrix.layer, second)) for first, second in chains if first == matrix.kind), None)
        pairs[matrix.name] = (before, after)
    return pairs


def patterns_to_names(patterns: Mapping[str, float] | None, names: Sequence[str], key: str) -> dict[str, float] | None:
    """Spell out floors or ceilings given by pattern; a later pattern wins, one that matches nothing is an error."""
    if not patterns:
        return None
    spelled: dict[str, float] = {}
    for pattern, value in patterns.items():
        hits = [name for name in names if fnmatchcase(name, pattern)]
        if not hits:
            raise ConfigError([f"method.{key}: must match a prunable matrix such as {names[0]}; got {pattern!r}"])
        spelled |= dict.fromkeys(hits, float(value))
    return spelled


# -- states ------------------------------------------------------------------------------------------------------


@contextmanager
def states(model: nn.Module, last_only: bool = False) -> Iterator[list[Tensor]]:
    """Collect hidden states `B×T×D` of one forward pass: embedding output, then every block (or the last block only).

    The list is filled anew by each forward pass inside the context; all hooks are gone when it ends.
    """
    collected: list[Tensor] = []
    found = blocks(model)
    last = len(found) - 1

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        collected.clear()
        if not last_only:
            collected.append(args[0] if args else kwargs["hidden_states"])

    def leave(number: int) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if number == last or not last_only:
                collected.append(output[0] if isinstance(output, tuple) else output)

        return hook

    handles = [found[0].register_forward_pre_hook(enter, with_kwargs=True)]
    handles += [block.register_forward_hook(leave(number)) for number, block in enumerate(found)]
    try:
        yield collected
    finally:
        for handle in handles:
            handle.remove()
