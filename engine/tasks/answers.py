"""Answers as the official scripts compare them: SQuAD's for English, MLQA's for other languages (type `qa`).

MLQA (Lewis et al. 2020) removes each language's own articles and all Unicode punctuation, and cuts Chinese into
characters. Thai, Lao, Khmer, Burmese and Japanese are written without spaces too and are cut in the same way.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache

ARTICLES = {
    "en": r"\b(a|an|the)\b",
    "es": r"\b(un|una|unos|unas|el|la|los|las)\b",
    "vi": r"\b(của|là|cái|chiếc|những)\b",
    "de": r"\b(ein|eine|einen|einem|eines|einer|der|die|das|den|dem|des)\b",
    "ar": r"\sال^|ال",
}
UNSPACED = frozenset({"zh", "ja", "th", "lo", "km", "my"})
# Han, kana, Thai, Lao, Burmese, Khmer: every character is a token.
_ALONE = re.compile(r"[\u4e00-\u9fff\u3400-\u4dbf\u3040-\u30ff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")


@cache
def _is_punctuation(letter: str) -> bool:
    return letter in string.punctuation or unicodedata.category(letter).startswith("P")


def answer_tokens(text: str, language: str = "en") -> list[str]:
    """The words of a normalised answer: lower case, no punctuation, no articles; characters where there are no spaces."""
    base = language.casefold().replace("_", "-").split("-")[0]
    lowered = text.lower()
    if base == "en":
        kept = "".join(letter for letter in lowered if letter not in string.punctuation)
    else:
        kept = "".join(letter for letter in lowered if not _is_punctuation(letter))
    if base in ARTICLES:
        kept = re.sub(ARTICLES[base], " ", kept)
    if base in UNSPACED:
        kept = _ALONE.sub(lambda found: f" {found.group()} ", kept)
    return kept.split()


def exact_match(answer: str, references: Sequence[str], language: str = "en") -> float:
    """1 where the normalised answer equals a reference; no reference means that no answer ("") is right."""
    found = answer_tokens(answer, language)
    return float(any(found == answer_tokens(reference, language) for reference in references or ("",)))


def overlap_f1(answer: str, references: Sequence[str], language: str = "en") -> float:
    """The best F1 of word overlap over the references; where either side is empty, 1 if both are (SQuAD 2.0)."""
    found = answer_tokens(answer, language)
    return max(_f1(found, answer_tokens(reference, language)) for reference in references or ("",))


def _f1(found: list[str], wanted: list[str]) -> float:
    if not found or not wanted:
        return float(found == wanted)
    common = sum((Counter(found) & Counter(wanted)).values())
    return 2 * common / (len(found) + len(wanted)) if common else 0.0
