"""The papers' own experiments as study files (`python -m engine.studies.build` writes them beside this file).

One table says what the studies of a suite share, so that its tables are comparable: the model, the methods, the
budget. A file is the whole study all the same, to be read, copied and changed. Where a paper leaves a number open it is
chosen here; each file says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
XLMR, BERT, GPT2 = "FacebookAI/xlm-roberta-base", "google-bert/bert-base-uncased", "openai-community/gpt2"
TENTHS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
HIGH = [0.8, 0.85, 0.9, 0.95]
CAP_LEVELS = [0.5, 0.9, 0.97]

Method = Mapping[str, Any]


@dataclass(frozen=True)
class Setting:
    """One study of a suite: the row of the tasks table and what differs from the suite's own settings.

    `objective` goes to the methods that have the key. `without` names methods that make no sense for the task (a KL of
    a regression's one output).
    """

    row: str
    task: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    objective: Mapping[str, Any] = field(default_factory=dict)
    probing: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suite:
    """Studies with the same methods: `name` begins their names; `words` stand at the head of each file."""

    name: str
    words: str
    model: str
    train: Mapping[str, Any]
    methods: tuple[Method, ...]
    settings: Mapping[str, Setting]


def _levels(levels: list[float], *recipes: str) -> tuple[Method, ...]:
    return tuple({"recipe": recipe, "levels": levels} for recipe in recipes)


# A small set needs more epochs for as many updates as a score takes to settle.
LARGE, SMALL = {"epochs": 3, "retrain_epochs": 1}, {"epochs": 10, "retrain_epochs": 3}
GLUE = {
    "mnli": Setting("mnli"),
    "qqp": Setting("qqp"),
    "qnli": Setting("qnli"),
    "sst2": Setting("sst2"),
    "cola": Setting("cola", train=SMALL),
    "stsb": Setting("stsb", train=SMALL),
    "mrpc": Setting("mrpc", train=SMALL),
    "rte": Setting("rte", train=SMALL),
}
XGLUE = {
    "xnli": Setting("xnli"),
    "paws-x": Setting("paws-x"),
    "xglue-nc": Setting("xglue-nc", task={"max_length": 256}),
    "xglue-qadsm": Setting("xglue-qadsm"),
    "xglue-qam": Setting("xglue-qam"),
    "xglue-wpr": Setting("xglue-wpr"),
    "xglue-ner": Setting("xglue-ner", train=SMALL),
    "xglue-pos": Setting("xglue-pos", train={"epochs": 5, "retrain_epochs": 1}),
}
QUESTIONS = {"task": {"max_length": 384}, "train": {**LARGE, "batch_size": 16}}


def _without(settings: Mapping[str, Setting], **rows: tuple[str, ...]) -> dict[str, Setting]:
    """The settings with methods left out in some."""
    from dataclasses import replace

    return {name: replace(setting, without=rows.get(name, ())) for name, setting in settings.items()}


BASELINES = (
    *_levels(TENTHS, "random", "magnitude", "lamp", "lookahead", "gradient_magnitude"),
    {"recipe": "l0", "strength": [50.0, 125.0, 200.0]},
)
SDP_METHODS = (
    *BASELINES,
    *_levels([0.0, *TENTHS], "sdp_kld", "sdp_mse", "sdp_cos", "sdp_cc"),
    {"recipe": "distill", "sizes": [0.6, 0.3, 0.1]},
    {"recipe": "small", "sizes": [0.6, 0.3, 0.1]},
)
PINS_METHODS = (
    {"recipe": "magnitude", "levels": HIGH, "path": "independent"},
    *_levels(HIGH, "movement", "platon", "pins"),
    {
        "recipe": "movement",
        "name": "movement-self-regularised",
        "levels": HIGH,
        "objective": {"name": "self_regularised"},
    },
    {"recipe": "platon", "name": "platon-self-regularised", "levels": HIGH, "objective": {"name": "self_regularised"}},
    {"recipe": "pins", "name": "pins-alone", "levels": HIGH, "objective": {"name": "none"}},
    {"recipe": "pins", "name": "pins-signed", "levels": HIGH, "criterion": {"sign": "signed"}},
)
NO_CONTRAST = {"unsupervised": 0.0, "supervised": 0.0}
CAP_METHODS = (
    {"recipe": "magnitude", "levels": CAP_LEVELS, "path": "independent"},
    *_levels(CAP_LEVELS, "movement"),
    {"recipe": "cap_m", "levels": CAP_LEVELS, "objective": {}},
    {"recipe": "cap_m", "name": "cap_m-no-contrast", "levels": CAP_LEVELS, "objective": NO_CONTRAST},
    {"recipe": "soft_movement", "strength": [50.0, 200.0, 400.0]},
    {"recipe": "cap_soft", "strength": [50.0, 200.0, 400.0], "objective": {}},
    {"recipe": "cap_soft", "name": "cap_soft-no-contrast", "strength": [50.0, 200.0, 400.0], "objective": NO_CONTRAST},
    {"recipe": "cap_f", "objective": {}},
    {"recipe": "cap_f", "name": "cap_f-no-contrast", "objective": NO_CONTRAST},
    {"recipe": "super_ticket", "levels": [0.1, 0.2, 0.3]},
)

SUITES = (
    Suite(
        "alignreg",
        "Aligned weight regularizers on zero-shot cross-lingual tasks (O'Neill, Dutta & Assem 2022, arXiv 2204.01385): XLM-R base,\n"
        "iterative pruning with retraining, against random, magnitude, LAMP, lookahead, gradient x magnitude, L0, and L2-SP as the\n"
        "regularizers' control. Chosen here: levels, epochs, strengths of L0.",
        XLMR,
        LARGE | {"batch_size": 32, "learning_rate": 2e-5},
        (*BASELINES, *_levels(TENTHS, "l2_sp", "alignreg_cosine", "alignreg_frobenius")),
        XGLUE,
    ),
    Suite(
        "sdp-glue",
        "Self-distilled pruning on GLUE (O'Neill, Dutta & Assem 2021, arXiv 2109.15014): BERT base; its arms also at level 0.0 (does\n"
        "the objective alone favour sparse weights?), small and distilled students of equal and of 6 times the size.\n"
        "Chosen here: levels, epochs, strengths of L0.",
        BERT,
        LARGE | {"batch_size": 32, "learning_rate": 2e-5},
        SDP_METHODS,
        GLUE,
    ),
    Suite(
        "sdp-xglue",
        "Self-distilled pruning on XGLUE (O'Neill, Dutta & Assem 2021, arXiv 2109.15014): XLM-R base, zero-shot; its arms also at\n"
        "level 0.0, small and distilled students of equal and of 6 times the size. Chosen here: levels, epochs, strengths of L0.",
        XLMR,
        LARGE | {"batch_size": 32, "learning_rate": 2e-5},
        SDP_METHODS,
        XGLUE,
    ),
    Suite(
        "pins",
        "PINS at 80 to 95% (Ren & Zhu 2023, arXiv 2305.12394): one training per level on a cubic schedule, against movement and\n"
        "PLATON, each with and without self-regularisation, and the signed score of the derivation. Chosen here: epochs per level.",
        BERT,
        {"epochs": 3, "retrain_epochs": 3, "batch_size": 32, "learning_rate": 3e-5},
        PINS_METHODS,
        {
            **_without(
                {name: Setting(setting.row, train=SMALL if setting.train else {}) for name, setting in GLUE.items()},
                stsb=("movement-self-regularised", "platon-self-regularised", "pins", "pins-signed"),
            ),
            "squad": Setting("squad", task=QUESTIONS["task"], train={"batch_size": 16}),
            "conll": Setting("xglue-ner", task={"languages": ["en"]}, train={"epochs": 5}),
            "e2e": Setting("e2e", train={"batch_size": 16}, model=GPT2),
        },
    ),
    Suite(
        "cap",
        "Contrastive pruning at 50 to 97%, structured and not (Xu et al. 2022, arXiv 2112.07198): BERT base; movement, soft movement\n"
        "and first-order structured pruning, each with the contrast, without it (the same loss, its contrastive weights 0) and alone;\n"
        "probed on tasks other than the one pruned on. Chosen here: epochs per level, strengths.",
        BERT,
        {"epochs": 3, "retrain_epochs": 2, "batch_size": 32, "learning_rate": 3e-5},
        CAP_METHODS,
        {
            "mnli": Setting("mnli", probing=("sst2", "mrpc")),
            "qqp": Setting("qqp", probing=("sst2", "rte")),
            "sst2": Setting("sst2", probing=("mrpc", "rte")),
            "squad": Setting(
                "squad",
                task=QUESTIONS["task"],
                train={"batch_size": 16},
                objective={"temperature": 0.3},
                probing=("sst2", "mrpc"),
            ),
        },
    ),
)


def render(suite: Suite, name: str) -> str:
    """The text of one study file."""
    setting = suite.settings[name]
    parts = [
        "".join(f"# {line}\n" for line in suite.words.split("\n")).rstrip("\n"),
        _section("[study]", {"name": f"{suite.name}-{name}"}),
        _section("[model]", {"name": setting.model or suite.model}),
        _section("[task]", {"name": setting.row, **setting.task}),
        _section("[train]", {**suite.train, **setting.train}),
    ]
    if setting.probing:
        parts.append(_section("[probing]", {"tasks": list(setting.probing)}))
    for method in suite.methods:
        if method.get("name", method["recipe"]) not in setting.without:
            parts.append(_section("[[method]]", _adapted(method, setting)))
    return "\n\n".join(parts) + "\n"


def _adapted(method: Method, setting: Setting) -> Method:
    """A method with the setting's overrides of the objective, where the method says that it takes any."""
    if "objective" not in method:
        return method
    objective = {**method["objective"], **setting.objective}
    rest = {key: value for key, value in method.items() if key != "objective"}
    return {**rest, "objective": objective} if objective else rest


def _section(head: str, values: Mapping[str, Any]) -> str:
    return "\n".join([head, *(f"{key} = {_value(value)}" for key, value in values.items())])


def _value(value: Any) -> str:
    """A value as TOML."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else repr(value)


def files() -> dict[Path, str]:
    """Every study file with its text."""
    return {FOLDER / f"{suite.name}-{name}.toml": render(suite, name) for suite in SUITES for name in suite.settings}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
        print(path.name)
