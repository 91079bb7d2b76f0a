"""The table of tasks (M§5) and the small protocol that every task type follows.

A row says where a task's data is and what its score is; a task *type* (one file each) says how an example becomes
token ids, what the loss is and how one example is scored. Trainer, evaluation and analysis never branch on either.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.registry import Registry

ENGLISH = ("en",)


@dataclass(frozen=True, slots=True)
class Task:
    """One row: where the data is, which languages it has, its metric, licence and source.

    `columns` maps our column names to those of the data; `labels` gives the label names in the data set's own
    order where the data holds numbers; an `id` of `#row` says that equal row numbers are the same item everywhere. `extra` names further test splits. `tried` says whether anyone has run
    it from its source: a row that nobody has says so in the app.
    """

    name: str
    title: str
    type: str
    what: str
    languages: tuple[str, ...]
    metric: str
    licence: str
    source: str
    section: str = "M§5"
    source_languages: tuple[str, ...] = ENGLISH
    dataset: str = ""
    config: str = ""
    split: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    parallel: bool = True
    extra: tuple[str, ...] = ()
    tried: bool = False


BUNDLED = ("en", "de", "fr", "es", "ru", "zh", "tr", "ar", "vi", "hi", "el", "sw")
_NLI = ("entailment", "neutral", "contradiction")
_XNLI = ("en", "ar", "bg", "de", "el", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh")
_SPLIT = {"train": "train", "validation": "validation", "test": "test"}

TASKS: Registry[Task] = Registry(
    "task",
    (
        Task("bundled-intent", "Assistant intents (bundled)", "sequence", "Which of 16 things an assistant is asked to do.",
             BUNDLED, "accuracy", "Apache-2.0", "written for this project", extra=("natural",), tried=True),
        Task("bundled-pair", "Assistant statements (bundled)", "pair", "Does a statement about an utterance follow from it? The bundled encoder gets half of it right (LAB.md).",
             BUNDLED, "accuracy", "Apache-2.0", "written for this project", tried=True),
        Task("xnli", "XNLI", "pair", "Does the hypothesis follow from the premise?", _XNLI, "accuracy", "CC BY-NC 4.0",
             "Conneau et al. 2018, arXiv 1809.05053", dataset="facebook/xnli", config="{language}", split=_SPLIT,
             columns={"text": "premise", "pair": "hypothesis", "label": "label", "id": "#row"}, labels=_NLI),
        Task("paws-x", "PAWS-X", "pair", "Do two sentences mean the same?", ("en", "de", "es", "fr", "ja", "ko", "zh"), "accuracy",
             "free use with acknowledgement", "Yang et al. 2019, arXiv 1908.11828", dataset="google-research-datasets/paws-x",
             config="{language}", split=_SPLIT, columns={"text": "sentence1", "pair": "sentence2", "label": "label", "id": "id"},
             labels=("different", "paraphrase")),
    ),
)  # fmt: skip
