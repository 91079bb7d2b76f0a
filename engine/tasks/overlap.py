"""What BLEU, chrF and ROUGE-L need to know about one output and its references (type `generation`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from engine.tasks.answers import answer_tokens


@cache
def _scorers() -> tuple[Any, Any]:
    from sacrebleu.metrics import BLEU, CHRF

    return BLEU(force=True), CHRF()


def counts(output: str, references: Sequence[str], language: str = "en") -> list[float]:
    """The columns of `engine.metrics.GENERATION`: BLEU's ten and chrF's eighteen counts as sacrebleu makes them, ROUGE-L.

    Several references: BLEU matches any of them and takes the closest length, chrF and ROUGE-L the best one.
    """
    found: list[float] = []
    for scorer in _scorers():
        # The same two steps as in sacrebleu's own corpus_score, which adds these rows up.
        known = scorer._extract_reference_info([scorer._preprocess_segment(text) for text in references])
        found += scorer._compute_segment_statistics(scorer._preprocess_segment(output), known)
    return [*map(float, found), max(rouge_l(output, reference, language) for reference in references)]


def rouge_l(output: str, reference: str, language: str = "en") -> float:
    """F1 of the longest common subsequence of words (characters where there are no spaces), case and punctuation ignored.

    The rouge-score package keeps nothing but a–z and digits, which would leave most languages without a word.
    """
    found, wanted = (_words(text, language) for text in (output, reference))
    if not found or not wanted:
        return 0.0
    common = _longest_common(found, wanted)
    return 2 * common / (len(found) + len(wanted))


def _words(text: str, language: str) -> list[str]:
    letters = "".join(letter if letter.isalnum() or ord(letter) > 0x7F else " " for letter in text.lower())
    # "und" has no articles to remove; languages without spaces are cut into characters.
    base = language.casefold().split("-")[0]
    return answer_tokens(letters, base if base in ("zh", "ja", "th", "lo", "km", "my") else "und")


def _longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    line = [0] * (len(b) + 1)
    for left in a:
        before = 0
        for place, right in enumerate(b, 1):
            before, line[place] = line[place], before + 1 if left == right else max(line[place], line[place - 1])
    return line[-1]
