"""From a method of a study to its plan: the plain arguments that the engine runs on (M§4.6, M§4.7).

A recipe is a row, a method is a recipe with overrides; `resolve` puts them together and refuses combinations that
make no sense with the reason. Whatever a part needs it says in its own row (`needs`, `options`), so that nothing here
branches on a criterion's or an objective's name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from engine.config import MethodSection, Study, TrainSection
from engine.criteria import CRITERIA
from engine.mask import ALLOCATIONS
from engine.objectives import OBJECTIVES
from engine.recipes import RECIPES
from engine.record import level_folder
from engine.registry import Entry, Registry
from engine.schedule import SCHEDULES

PATTERN = re.compile(r"([1-9]\d*):([1-9]\d*)")
STRUCTURED = ("structured", "heads", "neurons")
AXES = ("levels", "strength", "sizes")


@dataclass(frozen=True)
class Part:
    """A named row of a method table with the values of its parameters."""

    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """One method, fully resolved: what the engine needs to know, and nothing about where it came from.

    `values` are what the arm visits, one after the other: sparsities, or strengths or sizes, as `axis` says. `kinds`
    names the units that a structured plan removes. `rewind`: masks are chosen on the fine-tuned dense model and put
    on the starting weights.
    """

    name: str
    recipe: str
    criterion: Part
    granularity: str
    allocation: str
    schedule: Part
    objective: Part
    path: str
    start: str
    axis: str
    values: tuple[float, ...]
    rewind: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    floors: Mapping[str, float] | None = None
    ceilings: Mapping[str, float] | None = None
    keep_weights: tuple[float, ...] | None = None
    checkpoint: str | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """Units that are removed whole: heads, neurons (or what the criterion takes for them), both, or none."""
        units = CRITERIA[self.criterion.name].options.get("units", ("head", "neuron"))
        if self.granularity not in STRUCTURED:
            return ()
        return tuple(
            unit for unit in units if self.granularity in ("structured", "heads" if unit == "head" else "neurons")
        )

    @property
    def levels(self) -> tuple[float, ...]:
        """The sparsities asked for; none on the other axes, whose sparsity is an outcome."""
        return self.values if self.axis == "levels" else ()

    @property
    def folders(self) -> tuple[str, ...]:
        """The level folders that the run will have, in order."""
        return tuple(level_folder(self.axis, value) for value in self.values)

    def course(self, number: int, train: TrainSection) -> list[tuple[int, int]]:
        """The epochs of the cycle that ends in the level `number` (from 1), each by its place on the iterative path.

        Level k of any arm has cost U_dense + k·U_retrain updates since the pretrained checkpoint, and at the same update
        all arms see the same batch (M§4.7). An independent training therefore goes through the retrainings of all levels
        before it too, and one from the pretrained weights through the dense fine-tuning. A place is (cycle, epoch), where
        cycle 0 is that fine-tuning; what is drawn at random in an epoch is seeded by it.
        """
        if self.checkpoint:
            return []
        afresh = self.path == "independent"
        from_pretrained = self.start == "pretrained" and (afresh or number == 1)
        tuning = train.epochs if from_pretrained else 0
        cycles = range(1 if afresh else number, number + 1)
        return epochs_of(0, tuning) + [place for cycle in cycles for place in epochs_of(cycle, train.retrain_epochs)]

    def epochs(self, number: int, train: TrainSection) -> int:
        """How many epochs the cycle has that ends in the level `number` (from 1)."""
        return len(self.course(number, train))

    def record(self) -> dict[str, Any]:
        """As JSON-like values, for `config.json`."""
        return asdict(self)


def epochs_of(cycle: int, count: int) -> list[tuple[int, int]]:
    """The places (cycle, epoch) of a cycle of so many epochs, see `Plan.course`."""
    return [(cycle, epoch) for epoch in range(count)]


def usual_axis(recipe: str) -> str:
    """What a recipe's values are where a study changes nothing: levels, strength or sizes."""
    options = RECIPES[recipe].options
    usual = options["criterion"]
    criterion = CRITERIA.get(usual[0] if isinstance(usual, tuple) else usual)
    return str(options.get("axis") or (criterion.options.get("axis") if criterion else None) or "levels")


def resolve(method: MethodSection, key: str) -> tuple[Plan | None, list[str]]:
    """Turn a method of a study into a plan; problems are named under `key` (`method[0]`)."""
    options = RECIPES[method.recipe].options
    if options["control"]:
        return None, _control_problems(method, key)
    problems: list[str] = []
    criterion = _part(CRITERIA, options["criterion"], method.criterion, f"{key}.criterion", problems)
    objective = _part(OBJECTIVES, options["objective"], method.objective, f"{key}.objective", problems)
    wants = CRITERIA[criterion.name].options if criterion else {}
    path = method.path or wants.get("path") or options["path"]
    usual = "cubic" if path == "independent" and options["schedule"] == "steps" else options["schedule"]
    schedule = _part(SCHEDULES, usual, method.schedule, f"{key}.schedule", problems)
    if criterion is None or objective is None or schedule is None:
        return None, problems  # a table's row is missing, and with it what the rest is judged by
    granularity = method.granularity or options.get("granularity") or wants.get("granularity") or "unstructured"
    axis = options.get("axis") or wants.get("axis") or "levels"
    plan = Plan(
        name=method.label,
        recipe=method.recipe,
        criterion=criterion,
        granularity=granularity,
        allocation=_allocation(method, granularity, options, wants),
        schedule=schedule,
        objective=objective,
        path=path,
        start=method.start or options["start"],
        axis=axis,
        values=tuple(getattr(method, axis)) or tuple(options.get("values", ())),
        rewind=bool(options.get("rewind", False)),
        include=tuple(method.include),
        exclude=tuple(method.exclude),
        floors=dict(method.floors) or None,
        ceilings=dict(method.ceilings) or None,
        keep_weights=None if method.keep_weights is None else tuple(method.keep_weights),
        checkpoint=method.checkpoint,
    )
    problems += [f"{key}.{line}" for line in (*_axis_problems(method, plan), *_fit_problems(method, plan))]
    return (None if problems else plan), problems


def _control_problems(method: MethodSection, key: str) -> list[str]:
    given = method.model_fields_set - {"recipe"}
    return [
        f"{key}.{name}: must be left out: {method.recipe} runs in every study and has no settings"
        for name in sorted(given)
    ]


def _part(
    rows: Registry[Entry], default: Any, overrides: Mapping[str, Any], key: str, problems: list[str]
) -> Part | None:
    """The row named by the recipe or by `overrides.name`, with the recipe's and the other overrides as its parameters.

    `default` is a row's name, or (name, parameters) where the recipe sets some; these hold for that row only.
    """
    usual, settings = default if isinstance(default, tuple) else (default, {})
    name = overrides.get("name", usual)
    if not isinstance(name, str) or name not in rows:
        problems.append(f"{key}.name: must be one of {', '.join(rows)}; got {name!r}")
        return None
    row = rows[name]
    known = {parameter.name: parameter for parameter in row.parameters}
    values = row.defaults() | (dict(settings) if name == usual else {})
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


def _allocation(method: MethodSection, granularity: str, options: Mapping[str, Any], wants: Mapping[str, Any]) -> str:
    """A pattern fixes it; else the method's own, the recipe's or the criterion's allocation, else global."""
    if PATTERN.fullmatch(granularity):
        return granularity
    return method.allocation or options.get("allocation") or wants.get("allocation") or "global"


def plans(study: Study) -> list[tuple[MethodSection, Plan]]:
    """The methods of a checked study with their plans; the controls, which have none, are left out."""
    found = ((method, resolve(method, f"method[{index}]")[0]) for index, method in enumerate(study.method))
    return [(method, plan) for method, plan in found if plan is not None]


def longest_arm(study: Study) -> int:
    """Levels of the method with most levels: how long `dense_continued` goes on."""
    return max(len(plan.values) for _, plan in plans(study))


# -- what does not fit together ---------------------------------------------------------------------------------


def _axis_problems(method: MethodSection, plan: Plan) -> list[str]:
    """The list of levels, strengths or sizes: the right one, not empty, in the order of rising sparsity."""
    others = [name for name in AXES if name != plan.axis and getattr(method, name)]
    problems = [
        f"{name}: must be left out for {method.recipe}, whose axis is {plan.axis}; got {getattr(method, name)}"
        for name in others
    ]
    if not plan.values:
        example = {"levels": "[0.5, 0.9]", "strength": "[1.0, 4.0]", "sizes": "[0.5, 0.1]"}[plan.axis]
        return [*problems, f"{plan.axis}: must have at least one level, such as {example}"]
    if plan.keep_weights is not None and (unknown := [x for x in plan.keep_weights if x not in plan.values]):
        problems.append(f"keep_weights: must be among the {plan.axis} {list(plan.values)}; got {unknown}")
    return problems + _pattern_problems(plan)


def _pattern_problems(plan: Plan) -> list[str]:
    pattern = PATTERN.fullmatch(plan.allocation)
    if not pattern:
        return []
    keep, out_of = int(pattern[1]), int(pattern[2])
    if keep >= out_of:
        return [f"granularity: N must be below M; got {pattern[0]!r}"]
    if len(plan.values) != 1 or abs(plan.values[0] - (1 - keep / out_of)) > 1e-4:
        return [f"levels: must be [{1 - keep / out_of:g}], which {pattern[0]} fixes; got {list(plan.values)}"]
    return []


def _fit_problems(method: MethodSection, plan: Plan) -> list[str]:
    """Every reason why the parts of this plan cannot work together."""
    takes = bool(RECIPES[method.recipe].options.get("checkpoint"))
    if takes:
        return _checkpoint_problems(method, plan)
    if plan.checkpoint:
        taking = [name for name, row in RECIPES.items() if row.options.get("checkpoint")]
        return [f"checkpoint: must be left out for {method.recipe}; only {', '.join(taking)} takes a pruned checkpoint"]
    if plan.axis == "sizes":
        return _student_problems(method, plan)
    return [
        *_granularity_problems(method, plan),
        *_path_problems(plan),
        *_objective_problems(plan),
    ]


def _student_problems(method: MethodSection, plan: Plan) -> list[str]:
    """A small student is built, not pruned: whatever chooses weights has no meaning for it."""
    choosing = (
        "criterion",
        "schedule",
        "allocation",
        "granularity",
        "include",
        "exclude",
        "floors",
        "ceilings",
        "calibration",
    )
    problems = [
        f"{name}: must be left out for {method.recipe}, which builds a small model and prunes nothing"
        for name in choosing
        if getattr(method, name)
    ]
    problems += [
        f"{name}: must be left out for {method.recipe}: every student is a training of its own, from the pretrained checkpoint"
        for name, usual in (("start", "pretrained"), ("path", "independent"))
        if getattr(plan, name) != usual
    ]
    if "latest_teacher" in OBJECTIVES[plan.objective.name].needs:
        problems.append(
            f"objective.name: must not be {plan.objective.name} for {method.recipe}: its teacher is a checkpoint of lower sparsity, and nothing is pruned"
        )
    if "reference" in OBJECTIVES[plan.objective.name].needs:
        problems.append(
            f"objective.name: must not compare weights for {method.recipe}, whose matrices have other shapes; got {plan.objective.name!r}"
        )
    return problems


def _checkpoint_problems(method: MethodSection, plan: Plan) -> list[str]:
    """A model pruned elsewhere is taken as it is: nothing chooses weights or trains."""
    allowed = {"recipe", "name", "levels", "checkpoint", "keep_weights"}
    problems = [
        f"{name}: must be left out for {method.recipe}, which takes a model as it is"
        for name in sorted(method.model_fields_set - allowed)
    ]
    if not plan.checkpoint:
        problems.append(f"checkpoint: must be given for {method.recipe}: the folder of the pruned model")
    if len(plan.values) != 1:
        problems.append(f"levels: must be the one sparsity of the pruned model; got {list(plan.values)}")
    return problems


def _granularity_problems(method: MethodSection, plan: Plan) -> list[str]:
    wants = CRITERIA[plan.criterion.name].options
    problems = []
    if plan.granularity not in ("unstructured", *STRUCTURED) and not PATTERN.fullmatch(plan.granularity):
        choices = ", ".join(("unstructured", *STRUCTURED))
        return [f"granularity: must be {choices} or a pattern such as 2:4; got {plan.granularity!r}"]
    if plan.allocation not in ALLOCATIONS and not PATTERN.fullmatch(plan.allocation):
        return [
            f"allocation: must be one of {', '.join(ALLOCATIONS)} or a pattern such as 2:4; got {plan.allocation!r}"
        ]
    if PATTERN.fullmatch(plan.granularity) and method.allocation:
        problems.append(
            f"allocation: must be left out with granularity {plan.granularity!r}: the pattern fixes it; got {method.allocation!r}"
        )
    if plan.kinds:
        problems += [
            f"{name}: must be left out with granularity {plan.granularity!r}: heads and neurons are ranked over all layers"
            for name in ("allocation", "floors", "ceilings", "include", "exclude")
            if getattr(method, name)
        ]
    if wants.get("granularity") == "structured" and not plan.kinds:
        problems.append(
            f"granularity: must be structured, heads or neurons with {plan.criterion.name}, which scores these; got {plan.granularity!r}"
        )
    if wants.get("axis") == "strength" and (plan.granularity != "unstructured" or method.allocation):
        given = "allocation" if method.allocation else "granularity"
        problems.append(f"{given}: must be left out with {plan.criterion.name}, whose gates are learned one by one")
    if wants.get("axis") == "strength":
        problems += [
            f"{name}: must be left out with {plan.criterion.name}, which finds the sparsity of every matrix itself"
            for name in ("floors", "ceilings")
            if getattr(method, name)
        ]
    if wants.get("allocation") == "lamp" and plan.kinds:
        problems.append(
            f"granularity: must be unstructured or a pattern with {plan.criterion.name}, which ranks single weights; got {plan.granularity!r}"
        )
    signed = wants.get("signed") or plan.criterion.parameters.get("sign") == "signed"
    if signed and plan.allocation == "lamp":
        problems.append(f"allocation: must not be lamp with {plan.criterion.name}, whose scores can be negative")
    return problems


def _path_problems(plan: Plan) -> list[str]:
    criterion, schedule = CRITERIA[plan.criterion.name], SCHEDULES[plan.schedule.name]
    problems = []
    if "training" in criterion.needs and plan.path == "iterative":
        able = [name for name, row in CRITERIA.items() if "training" not in row.needs]
        problems.append(
            f"path: must be independent with {plan.criterion.name}, which scores while it trains; iterative paths take {', '.join(able)}"
        )
    if "levels" in schedule.needs and plan.path == "independent":
        gradual = [name for name, row in SCHEDULES.items() if "levels" not in row.needs]
        problems.append(
            f"schedule.name: must be one of {', '.join(gradual)} on an independent path; got {plan.schedule.name!r}, which visits the levels in turn"
        )
    if schedule.options.get("lifts") and (plan.path != "iterative" or "training" in criterion.needs):
        problems.append(f"path: must be iterative with the schedule {plan.schedule.name}; got {plan.path!r}")
    if plan.rewind and (plan.path != "independent" or schedule.options.get("lifts")):
        problems.append(
            f"path: must be independent for {plan.recipe}, which goes back to its starting weights at every level; got {plan.path!r}"
        )
    ramp = plan.schedule.parameters
    problems += _start_problems(plan)
    if plan.floors and "training" not in criterion.needs and ("renewals" in ramp or ramp.get("initial")):
        problems.append(
            f"floors: must be left out with {plan.criterion.name} and the schedule {plan.schedule.name}: what goes early cannot come back to make room for them"
        )
    if PATTERN.fullmatch(plan.allocation) and "renewals" in ramp:
        jumps = [name for name, row in SCHEDULES.items() if all(one.name != "renewals" for one in row.parameters)]
        problems.append(
            f"schedule.name: must be one of {', '.join(jumps)} with {plan.allocation}, which has no sparsity on the way; got {plan.schedule.name!r}"
        )
    if ramp.get("warmup", 0) + ramp.get("cooldown", 0) >= 1 - 1e-12:
        problems.append(
            f"schedule.warmup: warmup + cooldown must be below 1, or no step is left to prune in; got {ramp['warmup']} + {ramp['cooldown']}"
        )
    if (
        "training" in criterion.needs
        and plan.axis == "levels"
        and plan.schedule.name == "one_shot"
        and not ramp["warmup"]
    ):
        problems.append(
            f"schedule.warmup: must be above 0 with {plan.criterion.name}, which has no scores before it has trained; got 0"
        )
    if plan.values and plan.axis == "levels" and ramp.get("initial", 0) > plan.values[0]:
        problems.append(f"schedule.initial: must not exceed the first level {plan.values[0]}; got {ramp['initial']}")
    return problems


def _start_problems(plan: Plan) -> list[str]:
    """A schedule that begins above 0 prunes before the first update, by scores that are there by then."""
    initial = plan.schedule.parameters.get("initial", 0)
    if not initial:
        return []
    if "training" in CRITERIA[plan.criterion.name].needs:
        return [
            f"schedule.initial: must be 0 with {plan.criterion.name}, which has no scores before it has trained; got {initial}"
        ]
    if PATTERN.fullmatch(plan.allocation):
        return [f"schedule.initial: must be 0 with {plan.allocation}, which fixes the sparsity; got {initial}"]
    return []


def _objective_problems(plan: Plan) -> list[str]:
    problems = []
    if plan.objective.parameters.get("before_mask") and (plan.start != "dense" or plan.path != "iterative"):
        problems.append(
            "objective.before_mask: must be false unless start is dense and path iterative: it changes the dense fine-tuning"
        )
    if "latest_teacher" in OBJECTIVES[plan.objective.name].needs and plan.path == "iterative" and len(plan.values) == 1:
        problems.append(
            f"levels: must be two or more with {plan.objective.name} on an iterative path, where each level learns from the one "
            f"before; got {list(plan.values)}"
        )
    return problems
