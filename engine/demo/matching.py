"""Trials of the matching loss: a text, one that matches it, and near misses that do not.

The contrastive losses teach what a sentence means as a whole; whether two sentences name the same value is settled by
looking from one into the other. So the encoder reads both joined, as a pair task does, and a linear map of the first
state says whether they match (Li et al. 2021, arXiv 2107.07651, on images and texts). Two kinds of match:

- translations: the near miss is another filling of the same template that differs in as few values as possible, the
  opposed intent about the same values, or, for a free phrase, another phrase of its intent;
- an utterance and a training statement about it: the near miss states another value, or the opposed intent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from engine.demo.grammar import plain
from engine.demo.pairs import OPPOSED
from engine.demo.reading import Row


@dataclass(frozen=True, slots=True)
class Trial:
    """Row numbers: `first` matches `right` and none of `wrong`. `right` is `first` itself for a translation.

    `wrong` holds one group per kind of near miss (other values, opposed intent), none of them empty.
    """

    first: int
    right: int
    wrong: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Trials:
    """All trials by kind."""

    translations: tuple[Trial, ...]
    statements: tuple[Trial, ...]


def trials(rows: Sequence[Row]) -> Trials:
    """Every trial that the rows give; a near miss differs from the match in every language."""
    plains = [{code: plain(text) for code, text in row.text.items()} for row in rows]

    def trial(first: int, right: int, kinds: Iterable[Sequence[int]]) -> Trial:
        groups = (tuple(at for at in kind if _differ(plains[at], plains[right])) for kind in kinds)
        return Trial(first, right, tuple(group for group in groups if group))

    translations = (trial(at, at, kinds) for at, kinds in enumerate(_near_misses(rows)))
    statements = (trial(*stated) for stated in _stated(rows))
    return Trials(tuple(one for one in translations if one.wrong), tuple(one for one in statements if one.wrong))


def _differ(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    return all(text != other[code] for code, text in one.items())


def _near_misses(rows: Sequence[Row]) -> Iterator[tuple[list[int], list[int]]]:
    """Of every row as its own translation: the nearest of its source, and the opposed intent with the same values."""
    by_source = _grouped(rows, lambda row: row.source)
    by_intent = _grouped(rows, lambda row: row.intent if row.filling and not row.statement else "")
    for row in rows:
        nearest = _fewest_differences(rows, row, by_source[row.source])
        opposed = by_intent.get(OPPOSED.get(row.intent, "-"), ()) if row.filling and not row.statement else ()
        yield nearest, [at for at in opposed if rows[at].filling == row.filling]


def _grouped(rows: Sequence[Row], key: Callable[[Row], str]) -> Mapping[str, list[int]]:
    groups: dict[str, list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        groups[key(row)].append(at)
    return groups


def _fewest_differences(rows: Sequence[Row], row: Row, group: Sequence[int]) -> list[int]:
    """The others of the group that differ from `row` in the least number of values; all, if they hold none."""
    counts = {at: sum(rows[at].filling[slot] != value for slot, value in row.filling.items()) for at in group}
    counts = {at: count for at, count in counts.items() if rows[at] is not row}
    least = min(counts.values(), default=0)
    return [at for at, count in counts.items() if count == least]


def _stated(rows: Sequence[Row]) -> Iterator[tuple[int, int, tuple[list[int], list[int]]]]:
    """Yield (utterance, statement that holds, (it with other values, the opposed ones))."""
    statements = [at for at, row in enumerate(rows) if row.statement]
    for at, row in enumerate(rows):
        if row.statement or not row.filling:
            continue
        about = [other for other in statements if set(rows[other].filling) <= set(row.filling)]
        holding = [other for other in about if _holds(rows[other], row)]
        opposed = [o for o in about if rows[o].intent == OPPOSED.get(row.intent) and _same(rows[o], row)]
        for right in holding:
            misses = [o for o in about if rows[o].source == rows[right].source and o != right]
            yield at, right, (misses, opposed)


def _holds(statement: Row, utterance: Row) -> bool:
    return statement.intent == utterance.intent and _same(statement, utterance)


def _same(statement: Row, utterance: Row) -> bool:
    """Whether every value of the statement is the utterance's."""
    return all(utterance.filling[slot] == value for slot, value in statement.filling.items())
