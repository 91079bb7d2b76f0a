"""Tiny data of every task type, made on the spot: learnable from single words, parallel in two languages by id."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import WORDS

LABELS = sorted(WORDS["en"])


def words(language: str, chooser: random.Random, label: int, count: int) -> list[str]:
    return [chooser.choice(WORDS[language][LABELS[label]].split()) for _ in range(count)]


def sequence(language: str, number: int, chooser: random.Random) -> dict[str, Any]:
    return {"text": " ".join(words(language, chooser, number % 3, 4)), "label": LABELS[number % 3]}


def pair(language: str, number: int, chooser: random.Random) -> dict[str, Any]:
    same = number % 2
    left, right = words(language, chooser, number % 3, 3), words(language, chooser, (number + 1 - same) % 3, 3)
    return {"text": " ".join(left), "pair": " ".join(right), "label": "same" if same else "other"}


def regression(language: str, number: int, chooser: random.Random) -> dict[str, Any]:
    count = number % 4
    return {
        "text": " ".join(words(language, chooser, 0, count) + words(language, chooser, 1, 4 - count)),
        "label": str(count / 2),
    }


def choice(language: str, number: int, chooser: random.Random) -> dict[str, Any]:
    places = [number % 3, (number + 1) % 3]
    gold = chooser.randrange(2)
    ends = [" ".join(words(language, chooser, places[side == 1 - gold], 2)) for side in (0, 1)]
    start = " ".join(words(language, chooser, number % 3, 2))
    third = " ".join(words(language, chooser, places[1], 2)) if number % 4 == 0 else ""
    return {"text": start, "question": "", "choice1": ends[0], "choice2": ends[1], "choice3": third, "label": str(gold)}


def token(language: str, number: int, chooser: random.Random) -> dict[str, Any]:
    kinds = [chooser.randrange(3) for _ in range(2 + number % 9)]
    tags, before = [], None
    for kind in kinds:
        tags.append("O" if kind == 0 else f"{'I' if kind == before else 'B'}-{LABELS[kind]}")
        before = kind
    return {"tokens": [words(language, chooser, kind, 1)[0] for kind in kinds], "tags": tags}


def joint(language: str, number: int, chooser: random.Random) -> dict[str, Any]:
    return {**token(language, number, chooser), "intent": LABELS[number % 3]}


def qa(language: str, number: int, chooser: random.Random) -> dict[str, Any]:
    context = [word for _ in range(3 + number % 12) for word in words(language, chooser, chooser.randrange(2), 1)]
    if number % 5 == 0:
        return {"question": "call", "context": " ".join(context), "answers": []}
    place = chooser.randrange(len(context))
    answer = words(language, chooser, 2, 1)[0]
    text = " ".join([*context[:place], answer, *context[place:]])
    return {"question": "call", "context": text, "answers": {"text": [answer], "answer_start": [text.index(answer)]}}


def ranking(language: str, number: int, chooser: random.Random) -> dict[str, Any]:
    query, grade = number // 4, number % 4 % 3
    about = query % 3
    text = words(language, chooser, about, grade + 1) + words(language, chooser, (about + 1) % 3, 3 - grade)
    return {"query": f"{LABELS[about]} {query}", "text": " ".join(text), "label": str(grade), "group": f"q{query}"}


def generation(language: str, number: int, chooser: random.Random) -> dict[str, Any]:
    picks = words(language, chooser, number % 3, 2)
    text = f"name[{picks[0]}], area[{picks[1]} {number}]"
    return {"text": text, "references": [f"{picks[0]} {picks[1]}", f"{picks[1]} {picks[0]}"]}


MAKERS: dict[str, Callable[[str, int, random.Random], dict[str, Any]]] = {
    maker.__name__: maker for maker in (sequence, pair, choice, regression, token, joint, qa, ranking, generation)
}


def write(folder: Path, kind: str, train: int = 48, test: int = 24) -> None:
    """`{split}.{language}.jsonl` of one type, English and German, the same ids in both."""
    for split, count in (("train", train), ("test", test)):
        for language in WORDS:
            rows = []
            for number in range(count):
                row = MAKERS[kind](language, number, random.Random(f"{split}{number}"))
                rows.append(json.dumps({"id": f"{split}-{number}", **row}, ensure_ascii=False))
            (folder / f"{split}.{language}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


STUDY = """
[study]
name = "tiny-{kind}"
seeds = [0]
device = "cpu"
precision = "fp32"
[model]
name = "{model}"
[task]
name = "custom"
type = "{kind}"
source_languages = ["en"]
languages = ["en", "de"]
train = "{data}/train.{{language}}.jsonl"
test = "{data}/test.{{language}}.jsonl"
max_length = 24
[train]
epochs = {epochs}
batch_size = 8
learning_rate = 5e-3
evaluations = 1
[probe]
examples = 8
{methods}
"""


def study(folder: Path, kind: str, model: Path, methods: str, epochs: int = 2) -> Path:
    """Data and study file of a type in `folder`."""
    write(folder, kind)
    path = folder / "study.toml"
    path.write_text(STUDY.format(kind=kind, model=model, data=folder, methods=methods, epochs=epochs), encoding="utf-8")
    return path
