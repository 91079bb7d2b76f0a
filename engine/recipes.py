"""Recipes: named compositions of criterion, allocation, schedule and objective (M§4.6), and how a study changes them.

A recipe is a row; a method of a study is a recipe with overrides; `resolve` turns it into a `Plan`, the plain
arguments that the engine runs on, and refuses combinations that make no sense with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from engine.config import MethodSection
from engine.criteria import CRITERIA
from engine.mask import ALLOCATIONS
from engine.objectives import OBJECTIVES
from engine.registry import Entry, Registry
from engine.schedule import SCHEDULES

PATTERN = re.compile(r"([1-9]\d*):([1-9]\d*)")
CONTROLS = ("dense", "dense_continued")  # run in every study, whether listed or not


@dataclass(frozen=True)
class Part:
    """A named row of a method table with the values of its parameters."""

    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """One method, fully resolved: what the engine needs to know, and nothing about where it came from."""

    name: str
    recipe: str
    criterion: Part
    allocation: str
    schedule: Part
    objective: Part
    path: str
    start: str
    levels: tuple[float, ...]
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    floors: Mapping[str, float] | None = None
    ceilings: Mapping[str, float] | None = None
    keep_weights: tuple[float, ...] | None = None

    def record(self) -> dict[str, Any]:
        """As JSON-like values, for `config.json`."""
        return asdict(self)


def _recipe(
    name: str, title: str, what: str, source: str, chosen: str = "", section: str = "M§4.6", **parts: Any
) -> Entry:
    options = {
        "criterion": "magnitude",
        "objective": "none",
        "schedule": "steps",
        "path": "iterative",
        "start": "dense",
        **parts,
    }
    return Entry(name=name, title=title, what=what, section=section, source=source, chosen=chosen, options=options)


RECIPES: Registry[Entry] = Registry(
    "recipe",
    (
        _recipe("dense", "Dense", "The task-fine-tuned model without pruning: the reference of every drop.", "–",
                criterion=None, section="M§4.5"),
        _recipe("dense_continued", "Dense, trained on",
                "The dense model trained for as many updates as the pruned ones, at sparsity 0: what training alone changes.",
                "–", criterion=None, section="M§4.5"),
        _recipe("random", "Random", "Removes weights at random: the control that any criterion has to beat.", "control",
                criterion="random", section="M§3"),
        _recipe("magnitude", "Magnitude", "Removes the smallest weights, then retrains, level by level.",
                "Han et al. 2015, arXiv 1506.02626", section="M§3"),
        _recipe("lamp", "LAMP", "Magnitude with a score that accounts for what is left in the same matrix.",
                "Lee et al. 2021, arXiv 2010.07611", criterion="lamp", section="M§2.3"),
        _recipe("wanda", "Wanda", "Weight times the norm of its input on calibration text, ranked within each output row.",
                "Sun et al. 2024, arXiv 2306.11695", criterion="wanda", section="M§3",
                chosen="retraining follows every level, as for all methods here; the paper prunes once and does not train"),
        _recipe("lookahead", "Lookahead", "Magnitude weighted by the norms of the neighbouring matrices.",
                "Park et al. 2020, arXiv 2002.04809", criterion="lookahead", section="M§3"),
        _recipe("gradient_magnitude", "Gradient × magnitude", "Removes weights whose removal changes the loss least, to first order.",
                "Molchanov et al. 2017, arXiv 1611.06440", criterion="gradient_magnitude", section="M§3"),
        _recipe("fisher", "Fisher", "Removes weights of least diagonal second-order saliency.",
                "LeCun et al. 1990 (OBD); diagonal empirical Fisher", criterion="fisher", section="M§3"),
        _recipe("alignreg_cosine", "AlignReg (cosine)",
                "Magnitude pruning with a penalty on the angle between each surviving unit and its dense original.",
                "O'Neill, Dutta & Assem 2022, arXiv 2204.01385", objective="alignreg_cosine", section="M§4.1",
                chosen="λ = 0.1; summed over units, because the mean is too small to matter"),
        _recipe("alignreg_frobenius", "AlignReg (Frobenius)",
                "Magnitude pruning with a penalty on the relative distance between each matrix and its dense original.",
                "O'Neill, Dutta & Assem 2022, arXiv 2204.01385", objective="alignreg_frobenius", section="M§4.1",
                chosen="λ = 0.1; each matrix weighted by its number of units"),
        _recipe("l2_sp", "L2-SP", "Magnitude pruning with survivors pulled towards their dense values: the control of AlignReg.",
                "Li et al. 2018, arXiv 1802.01483", objective="l2_sp", section="M§4.1"),
        _recipe("sdp_cc", "SDP (cross-correlation)",
                "Magnitude pruning while the pruned network's states are decorrelated and matched with the dense network's.",
                "O'Neill, Dutta & Assem 2021, arXiv 2109.15014", objective="sdp_cc", section="M§4.2",
                chosen="normalised so that α does not depend on batch and width"),
        _recipe("sdp_kld", "SDP (KL)", "Magnitude pruning with the dense network's predictions as soft targets.",
                "O'Neill, Dutta & Assem 2021, arXiv 2109.15014", objective="sdp_kld", section="M§4.2"),
        _recipe("sdp_mse", "SDP (MSE)", "Magnitude pruning with the dense network's states as targets, squared distance.",
                "O'Neill, Dutta & Assem 2021, arXiv 2109.15014", objective="sdp_mse", section="M§4.2"),
        _recipe("sdp_cos", "SDP (cosine)", "Magnitude pruning with the dense network's states as targets, by angle.",
                "O'Neill, Dutta & Assem 2021, arXiv 2109.15014", objective="sdp_cos", section="M§4.2"),
    ),
)  # fmt: skip


def resolve(method: MethodSection, key: str) -> tuple[Plan | None, list[str]]:
    """Turn a method of a study into a plan; problems are named under `key` (`method[0]`)."""
    options = RECIPES[method.recipe].options
    if options["criterion"] is None:
        return None, _control_problems(method, key)
    problems: list[str] = []
    criterion = _part(CRITERIA, options["criterion"], method.criterion, f"{key}.criterion", problems)
    objective = _part(OBJECTIVES, options["objective"], method.objective, f"{key}.objective", problems)
    schedule = _part(SCHEDULES, options["schedule"], method.schedule, f"{key}.schedule", problems)
    problems += _unsupported(method, key, criterion, schedule)
    allocation = _allocation(method, key, criterion, problems)
    problems += _level_problems(method, key, allocation)
    if problems or criterion is None or objective is None or schedule is None:
        return None, problems
    plan = Plan(
        name=method.label,
        recipe=method.recipe,
        criterion=criterion,
        allocation=allocation,
        schedule=schedule,
        objective=objective,
        path=method.path or options["path"],
        start=method.start or options["start"],
        levels=tuple(method.levels),
        include=tuple(method.include),
        exclude=tuple(method.exclude),
        floors=dict(method.floors) or None,
        ceilings=dict(method.ceilings) or None,
        keep_weights=None if method.keep_weights is None else tuple(method.keep_weights),
    )
    return plan, []


def _control_problems(method: MethodSection, key: str) -> list[str]:
    given = method.model_fields_set - {"recipe"}
    return [
        f"{key}.{name}: must be left out: {method.recipe} runs in every study and has no settings"
        for name in sorted(given)
    ]


def _part(
    rows: Registry[Entry], default: str, overrides: Mapping[str, Any], key: str, problems: list[str]
) -> Part | None:
    """The row named by the recipe or by `overrides.name`, with the other overrides as its parameters."""
    name = overrides.get("name", default)
    if not isinstance(name, str) or name not in rows:
        problems.append(f"{key}.name: must be one of {', '.join(rows)}; got {name!r}")
        return None
    row = rows[name]
    known = {parameter.name: parameter for parameter in row.parameters}
    values = row.defaults()
    for setting, value in overrides.items():
        if setting == "name":
            continue
        if setting not in known:
            choices = ", ".join(["name", *known])
            problems.append(f"{key}.{setting}: unknown parameter of {name}; choices: {choices}")
        elif rule := known[setting].problem(value):
            problems.append(f"{key}.{setting}: {rule}; got {value!r}")
        else:
            values[setting] = value
    return Part(name, values)


def _allocation(method: MethodSection, key: str, criterion: Part | None, problems: list[str]) -> str:
    """The method's own allocation, else the criterion's, else global. An N:M granularity is an allocation too."""
    pattern = method.granularity if method.granularity not in (None, "unstructured") else None
    if pattern and not PATTERN.fullmatch(pattern):
        problems.append(f"{key}.granularity: must be unstructured or a pattern such as 2:4; got {pattern!r}")
    if pattern and method.allocation:
        problems.append(
            f"{key}.allocation: must be left out with granularity {pattern!r}: the pattern fixes it; got {method.allocation!r}"
        )
    chosen = (
        pattern
        or method.allocation
        or (CRITERIA[criterion.name].options.get("allocation") if criterion else None)
        or "global"
    )
    if not pattern and chosen not in ALLOCATIONS and not PATTERN.fullmatch(chosen):
        problems.append(
            f"{key}.allocation: must be one of {', '.join(ALLOCATIONS)} or a pattern such as 2:4; got {chosen!r}"
        )
    return chosen


def _level_problems(method: MethodSection, key: str, allocation: str) -> list[str]:
    if not method.levels:
        return [f"{key}.levels: must have at least one level, such as [0.5, 0.9]"]
    pattern = PATTERN.fullmatch(allocation)
    if pattern:
        keep, out_of = int(pattern[1]), int(pattern[2])
        if keep >= out_of:
            return [f"{key}.granularity: N must be below M; got {pattern[0]!r}"]
        if len(method.levels) != 1 or abs(method.levels[0] - (1 - keep / out_of)) > 1e-4:
            return [f"{key}.levels: must be [{1 - keep / out_of:g}], which {pattern[0]} fixes; got {method.levels}"]
    if method.keep_weights is not None and (
        unknown := [level for level in method.keep_weights if level not in method.levels]
    ):
        return [f"{key}.keep_weights: must be among the levels {method.levels}; got {unknown}"]
    return []


def _unsupported(method: MethodSection, key: str, criterion: Part | None, schedule: Part | None) -> list[str]:
    """What this version cannot run, said before anything is computed."""
    problems = []
    if criterion and "training" in CRITERIA[criterion.name].needs:
        able = [name for name, row in CRITERIA.items() if "training" not in row.needs]
        problems.append(
            f"{key}.criterion.name: must be one of {', '.join(able)}; got {criterion.name!r}, which scores during "
            "training on an independent path, and this version runs iterative paths"
        )
    if schedule and schedule.name != "steps":
        problems.append(f"{key}.schedule.name: must be steps on an iterative path; got {schedule.name!r}")
    if method.path == "independent":
        problems.append(f"{key}.path: must be iterative in this version; got 'independent'")
    if method.start == "pretrained":
        problems.append(f"{key}.start: must be dense on an iterative path; got 'pretrained'")
    for axis in ("strength", "sizes"):
        if getattr(method, axis):
            problems.append(
                f"{key}.{axis}: must be left out for {method.recipe}, whose axis is levels; got {getattr(method, axis)}"
            )
    return problems
