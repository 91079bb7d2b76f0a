"""What pretraining reads: parallel texts, and what is known about each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from engine.demo.corpus import NO_INTENT, Sources, shuffled_fillings, text_of, train_templates
from engine.demo.grammar import Filling, plain


@dataclass(frozen=True, slots=True)
class Row:
    """One meaning in every language: `text` is language → text.

    `source` names where it comes from (a template, a slot of the lexicon, the phrases of one intent): rows of one
    source are near misses of each other. `intent` is empty where there is none; `statement` marks the hypotheses.
    """

    text: Mapping[str, str]
    source: str
    intent: str = ""
    filling: Filling = field(default_factory=dict)
    statement: bool = False


def pretraining_rows(sources: Sources, held_out: Mapping[str, set[str]], per_template: int) -> list[Row]:
    """Parallel texts for pretraining: phrases, concepts and up to `per_template` fillings of each train template.

    A row with held-out text (`plain`) in any language is left out in all.
    """
    rows = [*_phrases(sources), *_concepts(sources), *_filled(sources, per_template)]
    return [row for row in rows if not any(plain(text) in held_out[code] for code, text in row.text.items())]


def _phrases(sources: Sources) -> Iterator[Row]:
    for rows in zip(*(sources.phrases[code] for code in sources.languages), strict=True):
        intent = "" if rows[0][1] == NO_INTENT else rows[0][1]
        texts = dict(zip(sources.languages, (row[2] for row in rows), strict=True))
        yield Row(texts, f"phrases {rows[0][1]}", intent)


def _concepts(sources: Sources) -> Iterator[Row]:
    for slot, names in sources.grammars["en"].lexicon.items():
        for name in names:
            yield Row(_concept(sources, slot, name), f"lexicon {slot}")


def _concept(sources: Sources, slot: str, name: str) -> dict[str, str]:
    """A concept as a short text of its own: its base form, or its first one where it has none."""
    row = {}
    for code, grammar in sources.grammars.items():
        forms = grammar.lexicon[slot][name]
        form = forms.get("base") or next(iter(forms.values()))
        row[code] = form.replace("[", "").replace("]", "").replace(" ", grammar.join)
    return row


def _filled(sources: Sources, per_template: int) -> Iterator[Row]:
    for intent, place, template, statement in train_templates(sources):
        queue = shuffled_fillings(template["en"], sources.grammars["en"], f"{intent} pretraining {place}")
        for filling in queue[:per_template]:
            yield Row(text_of(sources, template, filling), f"{intent} {place}", intent, filling, statement)
