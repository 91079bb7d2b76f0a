"""Grammars of the bundled data set: read, check, and turn templates into sentences with slots.

The format is explained in source/README.md. A template is parsed once into pieces; filling it chooses one
concept per slot, so that the same filling gives the same meaning in every language. Slots are kept as
character spans until the sentence is complete and only then laid over its tokens: a suffix glued to a name
(Turkish) or an article glued to a noun (Arabic) then needs no rule of its own.
"""

from __future__ import annotations

import itertools
import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SPLITS = ("train", "validation", "test")
# Marks that become tokens of their own at the edge of a word, and wide ones that do so everywhere, because their
# script puts no space after them. Apostrophes and hyphens belong to words.
MARKS = ".,?!;:…¿¡؟،؛।·«»„“”\u037e"
WIDE = "。，、？！：；《》（）"
_PLACE = re.compile(r"\{([^{}]*)\}")
_SLOT = re.compile(r"(\w+)(?::(\w+))?")
_AGREEMENT = re.compile(r"(\w+)@(\w+):(.*)", re.DOTALL)
_WORD = re.compile(rf"[{re.escape(MARKS + WIDE)}]|(?:(?![{re.escape(MARKS)}]+(?:[\s{WIDE}]|$))[^\s{WIDE}])+")

Filling = Mapping[str, str]
Lexicon = Mapping[str, Mapping[str, Mapping[str, str]]]


@dataclass(frozen=True, slots=True)
class Place:
    """A slot in a template: the concept chosen for `slot`, in its form `form`."""

    slot: str
    form: str = "base"


@dataclass(frozen=True, slots=True)
class Agreement:
    """A word that agrees with a feature of the concept chosen for `slot`: one of `words`, by the feature's value."""

    slot: str
    feature: str
    words: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template: its source and its pieces in order (plain strings, places, agreements)."""

    source: str
    pieces: tuple[str | Place | Agreement, ...]

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the slots, sorted, each once; agreement items are no slots."""
        return tuple(sorted({piece.slot for piece in self.pieces if isinstance(piece, Place)}))


@dataclass(frozen=True, slots=True)
class Sentence:
    """A filled template: text as it is written, tokens, and one BIO tag per token."""

    text: str
    tokens: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grammar:
    """One language: `templates` and `hypotheses` are intent → split → templates; `join` is " " or ""."""

    code: str
    join: str
    lexicon: Lexicon
    templates: Mapping[str, Mapping[str, tuple[Template, ...]]]
    hypotheses: Mapping[str, Mapping[str, tuple[Template, ...]]]

    def fill(self, template: Template, filling: Filling) -> Sentence:
        """Turn `template` into a sentence with the concepts of `filling` (slot → concept)."""
        return fill(template, filling, self)


def parse(source: str) -> Template:
    """Read one template. Raises `ValueError` for a brace or a place that the format does not know."""
    rest = _PLACE.sub("", source)
    if "{" in rest or "}" in rest:
        raise ValueError(f"template: braces must be balanced and not nested; got {source!r}")
    pieces: list[str | Place | Agreement] = []
    for index, part in enumerate(_PLACE.split(source)):
        if index % 2:
            pieces.append(_place(part, source))
        elif part:
            pieces.append(part)
    return Template(source, tuple(pieces))


def _place(inner: str, source: str) -> Place | Agreement:
    if match := _AGREEMENT.fullmatch(inner):
        words = dict(_pair(choice, source) for choice in match[3].split("|"))
        return Agreement(match[1], match[2], words)
    if match := _SLOT.fullmatch(inner.strip()):
        return Place(match[1], match[2] or "base")
    raise ValueError(f"template: a place is {{slot}}, {{slot:form}} or {{slot@feature: a=x | b=y}}; got {source!r}")


def _pair(choice: str, source: str) -> tuple[str, str]:
    value, equals, word = choice.partition("=")
    if not equals:
        raise ValueError(f"template: an agreement choice is value=word; got {choice!r} in {source!r}")
    return value.strip(), word.strip()


def load(path: Path) -> Grammar:
    """Read the grammar of one language. Text is brought to Unicode NFC, so that equal words are equal strings."""
    raw = tomllib.loads(unicodedata.normalize("NFC", path.read_text(encoding="utf-8")))
    try:
        head = raw["language"]
        return Grammar(
            head["code"], head["join"], raw["lexicon"], _parsed(raw["templates"]), _parsed(raw["hypotheses"])
        )
    except KeyError as error:
        raise ValueError(f"{path.name}: the table or key {error} is missing") from None
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None


def _parsed(table: Mapping[str, Mapping[str, list[str]]]) -> dict[str, dict[str, tuple[Template, ...]]]:
    return {
        intent: {split: tuple(parse(source) for source in sources) for split, sources in splits.items()}
        for intent, splits in table.items()
    }


def fillings(template: Template, lexicon: Lexicon) -> Iterator[dict[str, str]]:
    """Yield every choice of concepts for the template's slots, in the order of the lexicon; {} if it has none."""
    slots = template.slots
    for concepts in itertools.product(*(lexicon[slot] for slot in slots)):
        yield dict(zip(slots, concepts, strict=True))


def fill(template: Template, filling: Filling, grammar: Grammar) -> Sentence:
    """Put the chosen concepts in, capitalise, split into tokens and lay the slots over them."""
    text, spans = "", []
    for piece in template.pieces:
        if isinstance(piece, Place):
            form = grammar.lexicon[piece.slot][filling[piece.slot]][piece.form]
            spans.append((*_slot_span(form, len(text)), piece.slot))
            text += form.replace("[", "").replace("]", "")
        elif isinstance(piece, Agreement):
            text += piece.words[grammar.lexicon[piece.slot][filling[piece.slot]][piece.feature]]
        else:
            text += piece
    text = capitalise(text, grammar.code)
    found = list(_WORD.finditer(text))
    tags = _tags([match.span() for match in found], spans)
    return Sentence(re.sub(" +", grammar.join, text.strip()), tuple(match[0] for match in found), tags)


def _slot_span(form: str, start: int) -> tuple[int, int]:
    """Where the slot lies once the brackets are gone: between them, or the whole form."""
    if "[" not in form:
        return start, start + len(form)
    return start + form.index("["), start + form.index("]") - 1


def _tags(tokens: list[tuple[int, int]], spans: list[tuple[int, int, str]]) -> tuple[str, ...]:
    tags = ["O"] * len(tokens)
    for begin, end, slot in spans:
        inside = [at for at, (first, last) in enumerate(tokens) if first < end and last > begin and tags[at] == "O"]
        for at in inside:
            tags[at] = f"{'B' if at == inside[0] else 'I'}-{slot}"
    return tuple(tags)


def capitalise(text: str, code: str) -> str:
    """Capitalise the first letter, skipping marks such as ¿; Turkish i becomes İ.

    A letter whose capital is not one character (ß) stays, and so does a text that starts with a digit.
    """
    for at, letter in enumerate(text):
        if letter.isalnum():
            capital = "İ" if code in ("tr", "az") and letter == "i" else letter.upper()
            return text[:at] + capital + text[at + 1 :] if len(capital) == 1 else text
    return text


def uncapitalise(text: str, code: str) -> str:
    """Begin `text` with a small letter; Turkish I becomes ı."""
    for at, letter in enumerate(text):
        if letter.isalnum():
            small = {"I": "ı", "İ": "i"}.get(letter) if code in ("tr", "az") else None
            small = small or letter.lower()
            return text[:at] + small + text[at + 1 :] if len(small) == 1 else text
    return text


def plain(text: str) -> str:
    """Reduce a text to what makes it the same sentence: NFKC, no case, no marks, no spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(letter for letter in folded if unicodedata.category(letter)[0] in "LMN")
