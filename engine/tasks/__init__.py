"""The table of tasks (M§5). A row says where a task's data is and what its score is.

A task *type* (one file each, behind the protocol in engine.tasks.types) says how an example becomes token ids, what
the loss is and how one example is scored. Trainer, evaluation and analysis never branch on either.
"""

from __future__ import annotations

from engine.registry import Registry
from engine.tasks.hub import ROWS
from engine.tasks.row import Task as Task

BUNDLED = ("en", "de", "fr", "es", "ru", "zh", "tr", "ar", "vi", "hi", "el", "sw")

TASKS: Registry[Task] = Registry(
    "task",
    (
        Task("bundled-intent", "Assistant intents (bundled)", "sequence", "Which of 16 things an assistant is asked to do.",
             BUNDLED, "accuracy", "Apache-2.0", "written for this project", chance=1 / 16, extra=("natural",), tried=True),
        Task("bundled-pair", "Assistant statements (bundled)", "pair", "Does a statement about an utterance follow from it? The bundled encoder gets half right, chance is a third (LAB.md).",
             BUNDLED, "accuracy", "Apache-2.0", "written for this project", chance=1 / 3, tried=True),
        *ROWS,
    ),
)  # fmt: skip
