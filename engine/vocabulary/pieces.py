"""Which pieces of a tokenizer stay (M§2.5), as functions of its JSON form (`tokenizer.json`).

Why the given texts are cut as before, by model:
- Unigram takes the best-scored path. The best path's pieces stay with their scores, so it is still there and still
  the best. The score of an unknown character hangs on the lowest score of the vocabulary: that piece stays too.
- BPE applies merges by rank. Of a piece's merges, those stay that build it from its characters; they are the ones
  that were applied inside any word, because no merge crosses the border of a piece that came out. What was the
  first merge among all is the first among those left.
- WordPiece takes the longest piece each time. For a word that ends in the unknown token the pieces on the way to
  the dead end stay as well, or another way might succeed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

MODELS = ("Unigram", "BPE", "WordPiece")
BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
BYTES = 256

Spec = Mapping[str, Any]


def vocabulary(spec: Spec) -> dict[str, int]:
    """Piece → id of the model's own vocabulary, without tokens that were only added."""
    pieces = spec["model"]["vocab"]
    if spec["model"]["type"] == "Unigram":
        return {piece: index for index, (piece, _) in enumerate(pieces)}
    return dict(pieces)


def added(spec: Spec) -> dict[str, int]:
    """Token → id of the added tokens, the special ones among them."""
    return {token["content"]: int(token["id"]) for token in spec["added_tokens"]}


def symbols(piece: str, model: Spec) -> list[str]:
    """The single-character pieces that spell a piece, with the model's marks of continuation or of a word's end."""
    prefix, suffix = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""
    inside = bool(prefix) and piece.startswith(prefix) and len(piece) > len(prefix)
    ended = bool(suffix) and piece.endswith(suffix) and len(piece) > len(suffix)
    letters = list(piece[len(prefix) if inside else 0 : len(piece) - len(suffix) if ended else None])
    marked = [letter if number == 0 and not inside else prefix + letter for number, letter in enumerate(letters)]
    return [*marked[:-1], marked[-1] + suffix] if ended else marked


def select(spec: Spec, used: Iterable[int]) -> dict[str, set[int]]:
    """The ids that stay, by reason: used, special (all added tokens), bytes, characters, needed.

    `needed` are those without which a kept piece could not be built, an unknown character would cost less, or a
    character known only inside longer pieces would become unknown.
    """
    model, pieces = spec["model"], vocabulary(spec)
    unknown = model.get("unk_token")
    if model["type"] == "Unigram" and model.get("unk_id") is not None:
        unknown = model["vocab"][model["unk_id"]][0]
    kept = {
        "used": set(used),
        "special": {*added(spec).values(), *([pieces[unknown]] if unknown in pieces else [])},
        "bytes": {index for piece, index in pieces.items() if BYTE.fullmatch(piece)},
        "characters": {index for piece, index in pieces.items() if len(symbols(piece, model)) == 1},
    }
    return {**kept, "needed": _needed(spec, pieces, set().union(*kept.values()))}


def _needed(spec: Spec, pieces: Mapping[str, int], kept: set[int]) -> set[int]:
    model, needed = spec["model"], set[int]()
    if model["type"] == "Unigram":
        scores = [score for _, score in model["vocab"]]
        needed.add(scores.index(min(scores)))
    if model["type"] == "BPE":
        needed |= {
            pieces[product] for _, product in _merges(spec, [piece for piece in pieces if pieces[piece] in kept])
        }
        return needed - kept
    if not (model.get("byte_fallback") and sum(BYTE.fullmatch(piece) is not None for piece in pieces) == BYTES):
        needed |= {
            index
            for piece, index in pieces.items()
            if index not in kept and any(symbol not in pieces for symbol in symbols(piece, model))
        }
    return needed - kept


def _merges(spec: Spec, kept: Iterable[str]) -> set[tuple[int, str]]:
    """(rank, product) of all merges that build the kept pieces; added tokens and bytes are not built."""
    model, ranks, whole = spec["model"], merge_ranks(spec["model"]), added(spec)
    return {
        step
        for piece in kept
        if piece not in whole and not BYTE.fullmatch(piece)
        for step in build(piece, ranks, model)
    }


def merge_ranks(model: Spec) -> dict[tuple[str, str], int]:
    """The merges of a BPE model with their ranks; they are stored as pairs or, in older files, as text."""
    return {
        tuple(merge.split(" ", 1)) if isinstance(merge, str) else tuple(merge): rank  # type: ignore[misc]
        for rank, merge in enumerate(model["merges"])
    }


def build(piece: str, ranks: Mapping[tuple[str, str], int], model: Spec) -> list[tuple[int, str]]:
    """(rank, product) of the merges that BPE applies to the characters of a piece, in order."""
    parts, steps = symbols(piece, model), []
    skip = len(model.get("continuing_subword_prefix") or "")
    while len(parts) > 1:
        rank, place = min((ranks.get(pair, len(ranks)), at) for at, pair in enumerate(pairwise(parts)))
        if rank == len(ranks):
            break
        product = parts[place] + parts[place + 1][skip:]
        parts[place : place + 2] = [product]
        steps.append((rank, product))
    return steps


def way_to_unknown(word: str, pieces: Mapping[str, int], model: Spec) -> set[int]:
    """Ids of the pieces that WordPiece takes from a word, longest first, before it finds no next one."""
    start, taken = 0, set[int]()
    if len(word) > model["max_input_chars_per_word"]:
        return taken
    while start < len(word):
        lead = model["continuing_subword_prefix"] if start else ""
        end = next((end for end in range(len(word), start, -1) if lead + word[start:end] in pieces), None)
        if end is None:
            break
        taken.add(pieces[lead + word[start:end]])
        start = end
    return taken


def reduce(spec: Spec, ids: Sequence[int]) -> dict[str, Any]:
    """The tokenizer with only these ids, numbered anew from 0 in their order."""
    found, number = json.loads(json.dumps(spec)), {old: new for new, old in enumerate(ids)}
    model = found["model"]
    left = {piece: number[index] for piece, index in vocabulary(spec).items() if index in number}
    if model["type"] == "Unigram":
        model["vocab"] = [entry for index, entry in enumerate(model["vocab"]) if index in number]
        model["unk_id"] = number.get(model.get("unk_id"))
    else:
        model["vocab"] = left
    if model["type"] == "BPE":
        stay = {rank for rank, _ in _merges(spec, left)}
        model["merges"] = [list(pair) for pair, rank in merge_ranks(model).items() if rank in stay]
    for token in found["added_tokens"]:
        token["id"] = number[token["id"]]
    if found.get("padding"):
        found["padding"]["pad_id"] = number[found["padding"]["pad_id"]]
    if found.get("post_processor"):
        _renumber(found["post_processor"], number)
    return found


def _renumber(processor: dict[str, Any], number: Mapping[int, int]) -> None:
    """Put new ids into a post-processor: each kind that adds special tokens names them with their ids."""
    for inner in processor.get("processors", ()):
        _renumber(inner, number)
    if processor["type"] == "TemplateProcessing":
        for token in processor["special_tokens"].values():
            token["ids"] = [number[index] for index in token["ids"]]
    for name in ("sep", "cls"):
        if name in processor:
            processor[name][1] = number[processor[name][1]]
