"""The bundled splits: which sentences every language gets, and what pretraining may read.

All languages get the same items: an item is a template and a choice of concepts, named by its id. A choice is
refused if in any language its sentence already stands elsewhere, so that the languages stay parallel and no
test sentence is met in training. Held-out text means the test and natural splits; the templates of validation
and test are read by no pretraining at all (`reading` says what it does read).
"""

from __future__ import annotations

import random
import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from engine.demo import check
from engine.demo.grammar import Filling, Grammar, Template, fillings, load, plain

FOLDER = Path(__file__).parent
SEED = 20
PER_INTENT = {"train": 40, "validation": 12, "test": 32}
NO_INTENT = "none"
Text = Mapping[str, str]  # language -> text


@dataclass(frozen=True)
class Sources:
    """Everything written by hand: per language a grammar and two tables of rows (id, intent, text)."""

    grammars: Mapping[str, Grammar]
    phrases: Mapping[str, tuple[check.Row, ...]]
    natural: Mapping[str, tuple[check.Row, ...]]

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes, English first."""
        return tuple(self.grammars)

    @property
    def intents(self) -> tuple[str, ...]:
        """The intents in the order of the English grammar."""
        return tuple(self.grammars["en"].templates)

    @cached_property
    def readable(self) -> Mapping[str, Mapping[str, str]]:
        """Per language, what training may ever read: `plain` text → where it stands."""
        return {code: dict(self._readable(code)) for code in self.languages}

    def _readable(self, code: str) -> Iterator[tuple[str, str]]:
        for intent, at, template, _ in train_templates(self):
            for filling in fillings(template[code], self.grammars[code].lexicon):
                yield plain(self.grammars[code].fill(template[code], filling).text), f"{intent} {at}"
        for name, _, text in self.phrases[code]:
            yield plain(text), name


@dataclass(frozen=True, slots=True)
class Item:
    """One item of the intent task, the same in every language. `template` is language → template."""

    id: str
    intent: str
    template: Mapping[str, Template]
    filling: Filling


def resource_levels(path: Path = FOLDER / "languages.toml") -> dict[str, float]:
    """Languages of the bundled set with their resource level (English: 1)."""
    return dict(tomllib.loads(path.read_text(encoding="utf-8"))["resource"])


def read_sources(languages: Iterable[str] | None = None, folder: Path = FOLDER / "source") -> Sources:
    """Read and check the sources. Raises `ValueError` with every problem of every language, one per line."""
    codes = list(languages or resource_levels())
    paths = [folder / kind for code in codes for kind in _files(code)]
    if missing := [str(path.relative_to(folder)) for path in paths if not path.is_file()]:
        raise ValueError(f"sources: every language needs its three files; missing {', '.join(missing)}")
    sources = Sources(
        {code: load(folder / f"grammar/{code}.toml") for code in codes},
        {code: _rows(folder / f"phrases/{code}.tsv") for code in codes},
        {code: _rows(folder / f"natural/{code}.tsv") for code in codes},
    )
    if problems := list(_problems(sources)):
        raise ValueError("\n".join(problems))
    return sources


def _files(code: str) -> tuple[str, str, str]:
    return f"grammar/{code}.toml", f"phrases/{code}.tsv", f"natural/{code}.tsv"


def _rows(path: Path) -> tuple[check.Row, ...]:
    lines = unicodedata.normalize("NFC", path.read_text(encoding="utf-8")).rstrip("\n").split("\n")
    cells = [tuple(cell.strip() for cell in line.split("\t")) for line in lines]
    for number, row in enumerate(cells, start=1):
        if len(row) != 3:
            raise ValueError(f"{path.name}: line {number}: must hold id, intent and text; got {lines[number - 1]!r}")
    return tuple((name, intent, text) for name, intent, text in cells[1:])


def _problems(sources: Sources) -> Iterator[str]:
    english = sources.grammars["en"]
    for code in sources.languages:
        yield from check.grammar_problems(sources.grammars[code], english)
        for kind, allowed in (("phrases", (*sources.intents, NO_INTENT)), ("natural", sources.intents)):
            tables = getattr(sources, kind)
            yield from check.table_problems(f"{kind}/{code}.tsv", tables[code], tables["en"], allowed)


def overlaps(sources: Sources) -> list[str]:
    """Sentences of the natural split that training or pretraining reads, in any language."""
    return [
        f"natural/{code}.tsv: {name} is also {sources.readable[code][plain(text)]}: {text!r}"
        for code in sources.languages
        for name, _, text in sources.natural[code]
        if plain(text) in sources.readable[code]
    ]


def train_templates(sources: Sources) -> Iterator[tuple[str, str, dict[str, Template], bool]]:
    """Yield (intent, name, language → template, is a hypothesis) for every template that training may read."""
    for part, hypothesis in (("templates", False), ("hypotheses", True)):
        for intent in sources.intents:
            for at, template in _parallel(sources, part, intent, "train"):
                yield intent, f"{part}-train{at + 1}", template, hypothesis


def _parallel(sources: Sources, part: str, intent: str, split: str) -> Iterator[tuple[int, dict[str, Template]]]:
    tables = {code: getattr(grammar, part)[intent][split] for code, grammar in sources.grammars.items()}
    for at in range(len(tables["en"])):
        yield at, {code: table[at] for code, table in tables.items()}


def text_of(sources: Sources, template: Mapping[str, Template], filling: Filling) -> dict[str, str]:
    """The sentence in every language."""
    return {code: grammar.fill(template[code], filling).text for code, grammar in sources.grammars.items()}


def shuffled_fillings(template: Template, grammar: Grammar, key: str) -> list[dict[str, str]]:
    """All fillings in a random order that depends on `key` alone."""
    found = list(fillings(template, grammar.lexicon))
    random.Random(f"{SEED} {key}").shuffle(found)
    return found


def choose_items(sources: Sources) -> dict[str, list[Item]]:
    """Choose the items of train, validation and test: split → items, intents in turn.

    Raises `ValueError` if an intent has too few sentences that differ in all languages.
    """
    held = {code: {plain(row[2]) for row in sources.natural[code]} for code in sources.languages}
    phrases = {code: {plain(row[2]) for row in sources.phrases[code]} for code in sources.languages}
    taken = {code: held[code] | phrases[code] for code in sources.languages}
    chosen = {"train": _choose(sources, "train", taken)}
    taken = {code: taken[code] | set(sources.readable[code]) for code in sources.languages}
    return chosen | {split: _choose(sources, split, taken) for split in ("validation", "test")}


def _choose(sources: Sources, split: str, taken: Mapping[str, set[str]]) -> list[Item]:
    items = []
    for intent in sources.intents:
        found = list(_candidates(sources, intent, split, taken))
        if len(found) < PER_INTENT[split]:
            raise ValueError(f"{intent}: {split} needs {PER_INTENT[split]} sentences; the templates give {len(found)}")
        items += found
    return items


def _candidates(sources: Sources, intent: str, split: str, taken: Mapping[str, set[str]]) -> Iterator[Item]:
    """Yield items, one template after the other in turn, and add their texts to `taken`."""
    templates = dict(_parallel(sources, "templates", intent, split))
    queues = {
        at: shuffled_fillings(template["en"], sources.grammars["en"], f"{intent} {split} {at}")
        for at, template in templates.items()
    }
    count = 0
    while any(queues.values()) and count < PER_INTENT[split]:
        for at, queue in queues.items():
            item = _next(sources, intent, f"{split}{at + 1}", templates[at], queue, taken)
            if item and count < PER_INTENT[split]:
                count += 1
                yield item


def _next(
    sources: Sources,
    intent: str,
    place: str,
    template: Mapping[str, Template],
    queue: list[dict[str, str]],
    taken: Mapping[str, set[str]],
) -> Item | None:
    while queue:
        filling = queue.pop()
        texts = {code: plain(text) for code, text in text_of(sources, template, filling).items()}
        if not any(text in taken[code] for code, text in texts.items()):
            for code, text in texts.items():
                taken[code].add(text)
            return Item("-".join((intent, place, *filling.values())), intent, template, filling)
    return None


def labelled_phrases(sources: Sources) -> list[dict[str, check.Row]]:
    """The phrases with an intent, language → row, without those whose text in some language came before."""
    seen: dict[str, set[str]] = {code: set() for code in sources.languages}
    kept = []
    for rows in zip(*(sources.phrases[code] for code in sources.languages), strict=True):
        texts = dict(zip(sources.languages, (plain(row[2]) for row in rows), strict=True))
        if rows[0][1] != NO_INTENT and not any(text in seen[code] for code, text in texts.items()):
            kept.append(dict(zip(sources.languages, rows, strict=True)))
        for code, text in texts.items():
            seen[code].add(text)
    return kept
