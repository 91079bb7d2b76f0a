"""Rebuild the bundled data, tokenizer and encoder from the hand-written sources.

    python -m engine.demo.build [--only data|tokenizer|model] [--steps N] [--languages en,de]

The encoder needs the tokenizer and both need the data's held-out texts, which are recomputed from the sources and
never read from files, so that each part can be rebuilt alone. Everything is seeded; weights agree exactly only on
the same machine type and torch.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.demo import corpus, pairs, reading
from engine.demo.corpus import FOLDER, Sources
from engine.demo.grammar import plain, uncapitalise
from engine.demo.recipe import Recipe

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DATA, MODEL = FOLDER / "data", FOLDER / "model"
PARTS = ("data", "tokenizer", "model")
LONGEST = 60  # tokens of one sentence in pretraining: a translation pair then fits the encoder


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: build all parts or one of them."""
    parser = argparse.ArgumentParser(prog="python -m engine.demo.build", description="Rebuild the bundled study.")
    parser.add_argument("--only", choices=PARTS, help="build this part alone")
    parser.add_argument("--steps", type=int, help=f"pretraining steps (default {Recipe().steps})")
    parser.add_argument("--languages", help="comma-separated codes (default: all of languages.toml)")
    parser.add_argument("--to", type=Path, default=FOLDER, help="folder that receives data/ and model/")
    options = parser.parse_args(arguments)
    recipe = replace(Recipe(), steps=options.steps or Recipe().steps)
    with timed("sources"):
        sources = corpus.read_sources(options.languages.split(",") if options.languages else None)
    build(sources, recipe, [options.only] if options.only else PARTS, options.to)


def build(sources: Sources, recipe: Recipe, parts: Sequence[str], to: Path) -> None:
    """Build the named parts into `to`/data and `to`/model. Raises `ValueError` if held-out text is readable."""
    if problems := corpus.overlaps(sources):
        raise ValueError("\n".join(problems))
    builders = {
        "data": lambda: write_data(sources, to / "data"),
        "tokenizer": lambda: write_tokenizer(sources, recipe, to / "model"),
        "model": lambda: write_model(sources, recipe, to / "model"),
    }
    with timed("in all"):
        for part in parts:
            with timed(part):
                builders[part]()


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long the block took."""
    begun = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - begun:.1f} s", flush=True)


def write_data(sources: Sources, folder: Path) -> None:
    """Write both tasks' splits, replacing what was there."""
    items = corpus.choose_items(sources)
    for task in ("intent", "pair"):
        shutil.rmtree(folder / task, ignore_errors=True)
        (folder / task).mkdir(parents=True)
    for code in sources.languages:
        for split, rows in intent_rows(sources, items, code).items():
            write_tsv(folder / f"intent/{split}.{code}.tsv", ("id", "text", "label", "tokens", "slots"), rows)
    for split, chosen in items.items():
        made = pairs.make_pairs(sources, split, chosen)
        for code in sources.languages:
            rows = [(pair.id, pair.text[code], pair.pair[code], pair.label) for pair in made]
            write_tsv(folder / f"pair/{split}.{code}.tsv", ("id", "text", "pair", "label"), rows)


def intent_rows(sources: Sources, items: dict[str, list[corpus.Item]], code: str) -> dict[str, list[tuple[str, ...]]]:
    """Rows of the intent task in one language by split. Phrases and natural sentences have no tokens and slots."""
    grammar = sources.grammars[code]
    rows: dict[str, list[tuple[str, ...]]] = {}
    for split, chosen in items.items():
        filled = [(item, grammar.fill(item.template[code], item.filling)) for item in chosen]
        rows[split] = [
            (item.id, sentence.text, item.intent, " ".join(sentence.tokens), " ".join(sentence.tags))
            for item, sentence in filled
        ]
    phrases = [row[code] for row in corpus.labelled_phrases(sources)]
    rows["train"] += [(f"phrase-{name}", text, intent, "", "") for name, intent, text in phrases]
    rows["natural"] = [(f"natural-{name}", text, intent, "", "") for name, intent, text in sources.natural[code]]
    return rows


def write_tsv(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write tab-separated lines without quoting. Raises `ValueError` for a cell that would need it."""
    for row in rows:
        if any(mark in cell for cell in row for mark in "\t\n\r"):
            raise ValueError(f"{path.name}: cells must hold no tabs or line ends; got {row}")
    lines = ["\t".join(row) for row in (header, *rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def pretraining_rows(sources: Sources, recipe: Recipe) -> list[reading.Row]:
    """The parallel texts that tokenizer and encoder learn from; nothing of test and natural is among them."""
    items = corpus.choose_items(sources)
    held_out = {code: {plain(row[2]) for row in sources.natural[code]} for code in sources.languages}
    for item in (*items["validation"], *items["test"]):
        for code, text in corpus.text_of(sources, item.template, item.filling).items():
            held_out[code].add(plain(text))
    return reading.pretraining_rows(sources, held_out, recipe.per_template)


def write_tokenizer(sources: Sources, recipe: Recipe, folder: Path) -> None:
    """Train the tokenizer on the pretraining texts, every language counting the same, and save it."""
    from engine.demo import tokenizer

    rows = pretraining_rows(sources, recipe)
    tokenizer.save(tokenizer.train((text for row in rows for text in row.text.values()), recipe.vocabulary), folder)


def write_model(sources: Sources, recipe: Recipe, folder: Path) -> None:
    """Pretrain the encoder with the saved tokenizer and save it in half precision.

    On one thread: with tensors this small a second one gains next to nothing and loses much on a busy machine, and
    the weights do not depend on the number of cores.
    """
    import torch
    from transformers import AutoTokenizer

    from engine.demo.batches import Corpus
    from engine.demo.matching import trials
    from engine.demo.pretrain import new_model, pretrain
    from engine.demo.tokenizer import splits

    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = pretraining_rows(sources, recipe)
    cased, lower = encode(rows, sources.languages, tokenizer)
    encoded = Corpus(cased, lower, splits(tokenizer), trials(rows))
    shares = {code: share for code, share in corpus.resource_levels().items() if code in sources.languages}
    model = new_model(recipe, len(tokenizer))
    print(f"{len(rows)} parallel texts, {sum(value.numel() for value in model.parameters()):,} parameters", flush=True)
    torch.set_num_threads(1)
    pretrain(model, encoded, shares, recipe)
    model.half().save_pretrained(folder)


def encode(
    rows: Sequence[reading.Row], languages: Sequence[str], tokenizer: PreTrainedTokenizerBase
) -> tuple[dict[str, list[list[int]]], dict[str, list[list[int]]]]:
    """Token ids by language: of the sentences as they are, and begun with a small letter."""

    def ids(code: str, change: Callable[[str, str], str]) -> list[list[int]]:
        texts = [change(row.text[code], code) for row in rows]
        return list(tokenizer(texts, add_special_tokens=False, truncation=True, max_length=LONGEST)["input_ids"])

    cased = {code: ids(code, lambda text, _: text) for code in languages}
    return cased, {code: ids(code, uncapitalise) for code in languages}


if __name__ == "__main__":
    main()
