"""Checks of the hand-written sources: every problem of every language at once.

A language is compared with English position by position, because the data are parallel only as long as the
same place in every list means the same thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from engine.demo.grammar import Agreement, Grammar, Place, Template, plain

COUNTS = {"templates": {"train": 8, "validation": 2, "test": 4}, "hypotheses": {"train": 2, "test": 1}}
Row = tuple[str, str, str]


def grammar_problems(grammar: Grammar, english: Grammar) -> list[str]:
    """Everything in which `grammar` breaks the format or differs from `english`; empty if nothing does."""
    return [f"grammar/{grammar.code}.toml: {problem}" for problem in _grammar_problems(grammar, english)]


def _grammar_problems(grammar: Grammar, english: Grammar) -> Iterator[str]:
    if grammar.join not in (" ", ""):
        yield f'join: must be " " or ""; got {grammar.join!r}'
    lexicon = list(_lexicon_problems(grammar, english))
    yield from lexicon
    for part, counts in COUNTS.items():
        own, others = getattr(grammar, part), getattr(english, part)
        yield from _names(part, own, others)
        for intent in [name for name in others if name in own]:
            for split, count in counts.items():
                templates = own[intent].get(split, ())
                where = f"{part}.{intent}.{split}"
                if len(templates) != count:
                    yield f"{where}: must hold {count} templates; got {len(templates)}"
                if not lexicon:
                    for template, other in zip(templates, others[intent][split], strict=False):
                        yield from (f"{where}: {problem}" for problem in _template_problems(template, other, grammar))


def _names(what: str, own: Mapping[str, object], others: Mapping[str, object]) -> Iterator[str]:
    if missing := [name for name in others if name not in own]:
        yield f"{what}: missing {', '.join(missing)}"
    if unknown := [name for name in own if name not in others]:
        yield f"{what}: unknown {', '.join(unknown)}; English has {', '.join(others)}"


def _lexicon_problems(grammar: Grammar, english: Grammar) -> Iterator[str]:
    yield from _names("lexicon", grammar.lexicon, english.lexicon)
    for slot in [name for name in english.lexicon if name in grammar.lexicon]:
        yield from _names(f"lexicon.{slot}", grammar.lexicon[slot], english.lexicon[slot])
        for concept, forms in grammar.lexicon[slot].items():
            for name, form in forms.items():
                if problem := _form_problem(form):
                    yield f"lexicon.{slot}.{concept}.{name}: {problem}; got {form!r}"


def _form_problem(form: str) -> str | None:
    brackets = "".join(letter for letter in form if letter in "[]")
    if brackets not in ("", "[]"):
        return "must hold one pair of brackets or none"
    if not form.replace("[", "").replace("]", "").strip() or "[]" in form:
        return "must not be empty"
    return "must not hold braces, tabs or line ends" if set(form) & set("{}\t\n") else None


def _template_problems(template: Template, english: Template, grammar: Grammar) -> Iterator[str]:
    if template.slots != english.slots:
        yield f"slots must be {list(english.slots)} as in {english.source!r}; got {template.source!r}"
    missing = list(_reference_problems(template, grammar))
    yield from missing
    if not missing:
        for filling in sample_fillings(template, grammar):
            sentence = grammar.fill(template, filling)
            begun = sorted(tag[2:] for tag in sentence.tags if tag.startswith("B-"))
            if set(begun) != set(template.slots):
                yield f"each slot needs a token of its own; got {sentence.text!r} with slots {begun}"
                break


def _reference_problems(template: Template, grammar: Grammar) -> Iterator[str]:
    for piece in template.pieces:
        if isinstance(piece, str):
            if set(piece) & set('[]\t\n"'):
                yield f"brackets, tabs, line ends and double quotes do not belong here; got {template.source!r}"
            continue
        concepts = grammar.lexicon.get(piece.slot)
        if concepts is None:
            yield f"unknown slot {piece.slot!r}; the lexicon has {', '.join(grammar.lexicon)}"
            continue
        yield from _piece_problems(piece, concepts, template)


def _piece_problems(
    piece: Place | Agreement, concepts: Mapping[str, Mapping[str, str]], template: Template
) -> Iterator[str]:
    if isinstance(piece, Place):
        lacking = [name for name, forms in concepts.items() if piece.form not in forms]
        wanted = f"form {piece.form!r}"
    else:
        lacking = [name for name, forms in concepts.items() if forms.get(piece.feature) not in piece.words]
        wanted = f"feature {piece.feature!r} in {list(piece.words)}"
    if lacking:
        yield f"{template.source!r} needs {wanted} of {piece.slot}; missing for {', '.join(lacking)}"


def sample_fillings(template: Template, grammar: Grammar) -> Iterator[dict[str, str]]:
    """Yield few fillings that use every concept of every slot at least once (not every combination)."""
    columns = [list(grammar.lexicon[slot]) for slot in template.slots]
    for at in range(max((len(column) for column in columns), default=1)):
        yield {slot: column[at % len(column)] for slot, column in zip(template.slots, columns, strict=True)}


def table_problems(where: str, rows: Sequence[Row], english: Sequence[Row], intents: Sequence[str]) -> list[str]:
    """Problems of a phrases or natural file (`where`): ids and intents as in English, known intents, some text."""
    found = []
    if len(rows) != len(english):
        found.append(f"must hold {len(english)} rows as in English; got {len(rows)}")
    for at, (row, other) in enumerate(zip(rows, english, strict=False), start=2):
        if row[:2] != other[:2]:
            found.append(f"line {at}: id and intent must be {other[:2]} as in English; got {row[:2]}")
            break
    unknown = sorted({row[1] for row in rows} - {"", *intents})
    if unknown:
        found.append(f"unknown intents {', '.join(unknown)}; the grammar has {', '.join(intents)}")
    found += [f"the text of {row[0]} is empty" for row in rows if not plain(row[2])]
    return [f"{where}: {problem}" for problem in found]
