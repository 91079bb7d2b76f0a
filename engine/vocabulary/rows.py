"""A checkpoint's files with fewer embedding rows (M§2.5).

The files themselves are cut, tensor by tensor, and not a loaded model: a model of one class would drop what it does
not know (BERT's pooler under a language-model head) and would change the precision. Whatever has the vocabulary's
size along an axis is cut there: embeddings, a tied or untied language-model head and its bias.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.config import ConfigError

if TYPE_CHECKING:
    import torch

INDEX = "model.safetensors.index.json"


def weight_files(folder: Path) -> list[Path]:
    """The model's safetensors files; a folder with none is refused, whatever else it holds."""
    if (folder / INDEX).is_file():
        names = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
    else:
        names = ["model.safetensors"]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ConfigError([f"MODEL: must hold safetensors weights; {folder} lacks {', '.join(missing)}"])
    return [folder / name for name in names]


def refuse_ambiguous(config: Any) -> None:
    """Refuse a model in which another dimension equals the vocabulary's size: rows could not be told from it."""
    sizes = {key: value for key, value in config.to_dict().items() if type(value) is int and not key.endswith("_id")}
    sizes["num_labels"] = len(config.id2label or ())
    same = [key for key, value in sizes.items() if value == config.vocab_size and key != "vocab_size"]
    if same:
        raise ConfigError(
            [f"MODEL: vocab_size must differ from every other dimension; got {config.vocab_size}, as {', '.join(same)}"]
        )


def cut(source: Path, target: Path, rows: int, ids: Sequence[int]) -> int:
    """Write the weight files of `source` into `target` with the rows `ids` of `rows`; returns the bytes cut away."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    total = cut_away = count = 0
    for path in weight_files(source):
        with safe_open(path, framework="pt") as file:
            metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        smaller = {name: _cut(tensor, rows, ids) for name, tensor in tensors.items()}
        save_file(smaller, target / path.name, metadata or {"format": "pt"})
        total += sum(tensor.nbytes for tensor in smaller.values())
        count += sum(tensor.numel() for tensor in smaller.values())
        cut_away += sum(tensor.nbytes for tensor in tensors.values()) - sum(part.nbytes for part in smaller.values())
    if not cut_away and len(ids) < rows:
        raise ConfigError([f"MODEL: must hold tensors of {rows} rows (vocab_size); {source} has none"])
    if (source / INDEX).is_file():
        index = json.loads((source / INDEX).read_text(encoding="utf-8"))
        index["metadata"] = {**index.get("metadata", {}), "total_size": total, "total_parameters": count}
        (target / INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")
    return cut_away


def _cut(tensor: torch.Tensor, rows: int, ids: Sequence[int]) -> torch.Tensor:
    import torch

    chosen = torch.tensor(ids)
    for axis, size in enumerate(tensor.shape):
        if size == rows:
            tensor = tensor.index_select(axis, chosen)
    return tensor.contiguous()


def token_ids(config: Mapping[str, Any]) -> Iterator[tuple[str, list[int]]]:
    """(key, ids) of every `…_token_id` of a configuration that has a value."""
    for key, value in config.items():
        if key.endswith("_token_id") and value is not None:
            yield key, value if isinstance(value, list) else [value]


def renumber(stored: Mapping[str, Any], full: Mapping[str, Any], number: Mapping[int, int]) -> dict[str, Any]:
    """A stored configuration with new token ids, defaults that it left out spelled; an id without a piece becomes null."""
    changed: dict[str, Any] = {}
    for key, ids in token_ids(full):
        new = [number[old] for old in ids if old in number]
        changed[key] = new if isinstance(full[key], list) and new else new[0] if new else None
    return {**stored, **changed}
