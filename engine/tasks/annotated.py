"""Texts with their spans written into them, `wake me at [time : nine am]` (MASSIVE) → words with BIO tags.

Words are cut at spaces. Languages without spaces would be one word with one tag, so a part between spaces that holds
Han or kana is cut into characters: MASSIVE's own convention for zh-CN, zh-TW and ja-JP, which keeps Latin words whole
(FitzGerald et al. 2023; scripts/create_hf_dataset.py). It decides by locale and also cuts a part like `café` in them;
here the part's own letters decide, so that the rule needs no language. Thai, Khmer and Burmese stay as they are
spaced, as there. A slot's words are B-, I-, I-…: MASSIVE itself has no B-, and two slots of a kind side by side would
be one.
"""

from __future__ import annotations

import re

_SPAN = re.compile(r"\[\s*([^\[\]:]+?)\s*:\s*([^\[\]]*?)\s*\]")
# CJK punctuation, kana, Han, compatibility ideographs, full-width forms.
_UNSPACED = re.compile(r"[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff01-\uff60]")


def words_of(text: str) -> list[str]:
    """The words of a text, single characters where it is written without spaces."""
    return [word for part in text.split() for word in (part if _UNSPACED.search(part) else (part,))]


def parsed(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(words, tags) of an annotated text. Raises ValueError for a bracket that opens or closes no `[slot : words]`."""
    words: list[str] = []
    tags: list[str] = []
    place = 0
    for span in _SPAN.finditer(text):
        _outside(text[place : span.start()], words, tags)
        inside = words_of(span[2])
        words += inside
        tags += [f"{'I' if number else 'B'}-{span[1]}" for number in range(len(inside))]
        place = span.end()
    _outside(text[place:], words, tags)
    return tuple(words), tuple(tags)


def _outside(text: str, words: list[str], tags: list[str]) -> None:
    if "[" in text or "]" in text:
        raise ValueError(f"must be written as [slot : words]; got {text.strip()[:60]!r}")
    found = words_of(text)
    words += found
    tags += ["O"] * len(found)
