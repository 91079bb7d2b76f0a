"""Vocabulary pruning (M§2.5): a checkpoint that keeps the embedding rows which given texts use.

Embeddings are most of a multilingual encoder (70% of XLM-R base), and a use has a few of its hundred languages.
Token ids of the given texts map one to one, so that the states are the same bit for bit; other texts are spelled
with smaller pieces. The result is an ordinary folder, made before a study and named in its `model.name`.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import model as models
from engine.config import ConfigError
from engine.folders import new_folder
from engine.vocabulary import pieces, rows, texts

HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.txt")
GENERATION = "generation_config.json"


@dataclass(frozen=True)
class Pruned:
    """What a vocabulary lost: rows before and after, why rows stayed (a row counts once, in this order), bytes."""

    rows_before: int
    rows_after: int
    reasons: dict[str, int]
    bytes_saved: int
    files_before: int
    files_after: int
    texts: int


def prune(name: str, files: Sequence[Path], columns: Sequence[str], target: Path, base: Path = Path()) -> Pruned:
    """Write the smaller checkpoint to a new folder. Raises ConfigError; then nothing is written."""
    texts.check(files, columns)
    source = _folder(models.model_path(name, base))
    config = models.load_config(str(source))
    if (source / "compact.json").exists():
        raise ConfigError(
            [f"MODEL: must be an ordinary checkpoint; {source} is compacted: prune the vocabulary before"]
        )
    rows.weight_files(source)
    rows.refuse_ambiguous(config)
    tokenizer = _tokenizer(source)
    spec = json.loads(tokenizer.backend_tokenizer.to_str())
    used, count = _used(tokenizer, spec, files, columns)
    known = {*pieces.vocabulary(spec).values(), *pieces.added(spec).values()}
    used |= {index for _, ids in rows.token_ids(config.to_dict()) for index in ids if index in known}
    reasons = pieces.select(spec, used)
    ids = sorted(set().union(*reasons.values()))
    if ids[-1] >= config.vocab_size:
        raise ConfigError(
            [f"MODEL: must have a row for every piece; got {config.vocab_size} rows and the id {ids[-1]}"]
        )
    number = {old: new for new, old in enumerate(ids)}
    with new_folder(target) as folder:
        saved = rows.cut(source, folder, config.vocab_size, ids)
        _write_config(source, folder, config, number)
        _write_tokenizer(source, pieces.reduce(spec, ids), folder, number)
        _verify(tokenizer, folder, number, files, columns)
        before, after = _bytes(rows.weight_files(source)), _bytes(rows.weight_files(folder))
    return Pruned(config.vocab_size, len(ids), _counts(reasons), saved, before, after, count)


def _folder(path: str) -> Path:
    """The folder of a checkpoint; one of the hub is fetched."""
    if Path(path).is_dir():
        return Path(path)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(path, allow_patterns=list(HUB_FILES)))
    except Exception as error:  # the hub client raises many kinds; each means that the checkpoint is not to be had
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            [f"MODEL: must be bundled, a hub id or a folder with safetensors; {path} could not be loaded: {line}"]
        ) from None


def _tokenizer(source: Path) -> Any:
    """The checkpoint's tokenizer; refuses one without the parts that can be kept apart, with the reason."""
    tokenizer = models.load_tokenizer(str(source))
    if not getattr(tokenizer, "is_fast", False):
        raise ConfigError(
            [f"MODEL: needs a fast tokenizer (tokenizer.json); {type(tokenizer).__name__} is slow: its pieces are code"]
        )
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    if model["type"] not in pieces.MODELS:
        raise ConfigError(
            [
                f"MODEL: the tokenizer's model must be one of {', '.join(pieces.MODELS)}; got {model['type']}, whose words have no smaller pieces"
            ]
        )
    if model.get("dropout"):
        raise ConfigError(
            [f"MODEL: the tokenizer must cut texts the same way each time; it has dropout {model['dropout']}"]
        )
    return tokenizer


def _cut(tokenizer: Any, chunk: list[str]) -> Iterator[list[int]]:
    """Ids of each text in full length, special tokens included."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    yield from (encoding.ids for encoding in backend.encode_batch(chunk))


def _used(tokenizer: Any, spec: pieces.Spec, files: Sequence[Path], columns: Sequence[str]) -> tuple[set[int], int]:
    """(ids that the texts use, number of texts)."""
    used, count, vocabulary = set[int](), 0, pieces.vocabulary(spec)
    unknown = vocabulary.get(spec["model"].get("unk_token", "")) if spec["model"]["type"] == "WordPiece" else None
    for chunk in texts.read(files, columns):
        count += len(chunk)
        for text, ids in zip(chunk, _cut(tokenizer, chunk), strict=True):
            used.update(ids)
            if unknown in ids:
                for word in _words(tokenizer.backend_tokenizer, text):
                    used |= pieces.way_to_unknown(word, vocabulary, spec["model"])
    if not count:
        raise ConfigError([f"text: must hold at least one text; got none in {', '.join(map(str, files))}"])
    return used, count


def _words(backend: Any, text: str) -> list[str]:
    """The words that the tokenizer's model sees."""
    normal = backend.normalizer.normalize_str(text) if backend.normalizer else text
    return [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(normal)] if backend.pre_tokenizer else [normal]


def _write_config(source: Path, folder: Path, config: Any, number: dict[int, int]) -> None:
    stored = json.loads((source / "config.json").read_text(encoding="utf-8"))
    changed = {**rows.renumber(stored, config.to_dict(), number), "vocab_size": len(number)}
    (folder / "config.json").write_text(json.dumps(changed, indent=2) + "\n", encoding="utf-8")
    if (source / GENERATION).is_file():
        stored = json.loads((source / GENERATION).read_text(encoding="utf-8"))
        changed = rows.renumber(stored, stored, number)
        (folder / GENERATION).write_text(json.dumps(changed, indent=2) + "\n", encoding="utf-8")


def _write_tokenizer(source: Path, spec: dict[str, Any], folder: Path, number: dict[int, int]) -> None:
    """The tokenizer's files as transformers writes them, with the smaller vocabulary in the place of the whole one."""
    from transformers import AutoTokenizer

    whole = AutoTokenizer.from_pretrained(
        str(source), trust_remote_code=False
    )  # as it is, with no pad token given to it
    with tempfile.TemporaryDirectory() as temporary:
        written = [Path(path) for path in whole.save_pretrained(temporary)]
        for path in written:
            if path.name in ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"):
                shutil.copyfile(path, folder / path.name)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    if "added_tokens_decoder" in settings:
        tokens = settings["added_tokens_decoder"]
        settings["added_tokens_decoder"] = {str(number[int(index)]): token for index, token in tokens.items()}
        path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "tokenizer.json").write_text(json.dumps(spec, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _verify(
    tokenizer: Any, folder: Path, number: dict[int, int], files: Sequence[Path], columns: Sequence[str]
) -> None:
    """Cut all texts again with what a user will load; a text that is cut otherwise ends the command."""
    smaller = models.load_tokenizer(str(folder))
    for chunk in texts.read(files, columns):
        for text, old, new in zip(chunk, _cut(tokenizer, chunk), _cut(smaller, chunk), strict=True):
            if [number[index] for index in old] != new:
                raise ConfigError(
                    [f"MODEL: this tokenizer cannot be made smaller: {text[:60]!r} would be cut otherwise"]
                )


def _counts(reasons: dict[str, set[int]]) -> dict[str, int]:
    """Rows by reason, each counted once, under the first."""
    counts, seen = {}, set[int]()
    for reason, ids in reasons.items():
        counts[reason] = len(ids - seen)
        seen |= ids
    return counts


def _bytes(paths: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in paths)
