"""The entailment-style pair task: an utterance and a statement about it.

Entailment: a statement of the utterance's own intent with the value it names. Contradiction: the same statement
with another value, or a statement of the opposed intent. Neutral: a statement of an unrelated intent, half of the
time about a value that the utterance names, so that shared words alone decide nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

from engine.demo.corpus import SEED, Item, Sources, text_of
from engine.demo.grammar import Template

LABELS = ("entailment", "neutral", "contradiction")
PER_LABEL = {"train": 32, "validation": 4, "test": 11}  # per intent
ROUNDS = 6  # how often an utterance may be asked for another statement
OPPOSED = {
    first: second
    for pair in (
        ("alarm_set", "alarm_cancel"),
        ("reminder_set", "reminder_cancel"),
        ("light_on", "light_off"),
        ("music_play", "music_stop"),
    )
    for first, second in (pair, pair[::-1])
}


@dataclass(frozen=True, slots=True)
class Pair:
    """One item of the pair task: `text` and `pair` are language → text."""

    id: str
    text: Mapping[str, str]
    pair: Mapping[str, str]
    label: str


@dataclass(frozen=True, slots=True)
class Statement:
    """A hypothesis template of one intent, language → template, with the one slot it mentions."""

    intent: str
    template: Mapping[str, Template]
    slot: str


def make_pairs(sources: Sources, split: str, items: Sequence[Item]) -> list[Pair]:
    """Build the pairs of one split from its intent items; every intent and label equally often.

    Raises `ValueError` if the items do not suffice.
    """
    statements = _statements(sources, "test" if split == "test" else "train")
    pairs = []
    for intent in sources.intents:
        own = [item for item in items if item.intent == intent]
        for label in LABELS:
            rng = random.Random(f"{SEED} pair {split} {intent} {label}")
            rounds = (_label_pairs(sources, rng.sample(own, len(own)), label, statements, rng) for _ in range(ROUNDS))
            chosen = list(islice(_distinct(chain.from_iterable(rounds)), PER_LABEL[split]))
            if len(chosen) < PER_LABEL[split]:
                raise ValueError(f"{intent}: {split} needs {PER_LABEL[split]} pairs of {label}; got {len(chosen)}")
            pairs += [replace(pair, id=f"{intent}-{split}-{label}{at:02}") for at, pair in enumerate(chosen, start=1)]
    return pairs


def _distinct(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """Leave out pairs that came before in some language."""
    seen: set[tuple[str, str, str]] = set()
    for pair in pairs:
        keys = {(code, text, pair.pair[code]) for code, text in pair.text.items()}
        if not keys & seen:
            seen |= keys
            yield pair


def _statements(sources: Sources, split: str) -> list[Statement]:
    found = []
    for intent in sources.intents:
        tables = {code: grammar.hypotheses[intent][split] for code, grammar in sources.grammars.items()}
        for at, template in enumerate(tables["en"]):
            found.append(Statement(intent, {code: table[at] for code, table in tables.items()}, template.slots[0]))
    return found


def _label_pairs(
    sources: Sources, items: Sequence[Item], label: str, statements: Sequence[Statement], rng: random.Random
) -> Iterator[Pair]:
    for at, item in enumerate(items):
        options = list(_options(sources, item, label, statements, opposed=at % 2 == 1, rng=rng))
        if options:
            statement, value = rng.choice(options)
            pair = text_of(sources, statement.template, {statement.slot: value})
            text = text_of(sources, item.template, item.filling)
            yield Pair("", text, pair, label)


def _options(
    sources: Sources, item: Item, label: str, statements: Sequence[Statement], opposed: bool, rng: random.Random
) -> Iterator[tuple[Statement, str]]:
    """Yield the statements with values that have this label for `item`; `opposed` prefers the opposed intent."""
    opposite = OPPOSED.get(item.intent) if opposed and label == "contradiction" else None
    reachable = {s.intent for s in statements if s.slot in item.filling}
    for statement in statements:
        own = item.filling.get(statement.slot)
        if label == "neutral":
            if _family(statement.intent) != _family(item.intent):
                yield statement, own if own and rng.random() < 0.5 else _any_value(sources, statement, None, rng)
        elif opposite in reachable:
            if statement.intent == opposite and own:
                yield statement, own
        elif statement.intent == item.intent and own:
            yield statement, own if label == "entailment" else _any_value(sources, statement, own, rng)


def _any_value(sources: Sources, statement: Statement, without: str | None, rng: random.Random) -> str:
    return rng.choice([name for name in sources.grammars["en"].lexicon[statement.slot] if name != without])


def _family(intent: str) -> str:
    return intent.split("_")[0]
