"""The study file (README, "The study file"): what it may say, its defaults, and every mistake in it at once.

A study file is checked in three passes that do not stop at the first problem: the shape of each section
(pydantic), the meaning of what passed (tables, levels, languages) and the files it names. Each problem names the
key, the rule, the value and the choices. Nothing is computed or written before all three are clean. The JSON
schema of these models also draws the New study form.
"""

from __future__ import annotations

import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

TASK_TYPES = ("sequence", "pair", "choice", "regression", "token", "joint", "qa", "ranking", "generation")
FORMATS = ("auto", "csv", "tsv", "jsonl", "parquet", "conll")
ENDINGS = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".parquet": "parquet"} | dict.fromkeys(
    (".conll", ".conllu", ".iob2"), "conll"
)
SPLITS = ("train", "validation", "test")


class ConfigError(ValueError):
    """Everything wrong with a study, one line per problem."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class Section(BaseModel):
    """A table of the study file: unknown keys are refused and values stay as they were read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Fraction = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=60)]


class StudySection(Section):
    """`[study]`: name, seeds and where it runs."""

    name: Name = Field(description="Name of the study; its folder in the store.")
    seeds: list[Annotated[int, Field(ge=0, le=2**31 - 1)]] = Field(
        default=[0, 1, 2], min_length=1, description="One run per method and seed."
    )
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda|cuda:\d+)$", description="auto, cpu, cuda or cuda:N.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto takes bf16 where the device has it."
    )
    deterministic: bool = Field(default=False, description="Bit-exact on CUDA, and slower; the CPU always is.")

    @field_validator("seeds")
    @classmethod
    def _unique(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("must be unique")
        return seeds


class ModelSection(Section):
    """`[model]`: the pretrained checkpoint."""

    name: str = Field(default="bundled", min_length=1, description="bundled, a hub id, or a folder with safetensors.")
    head: Literal["new", "keep"] = Field(default="new", description="keep: use the checkpoint's own task head.")


class TaskSection(Section):
    """`[task]`: a row of the tasks table, or `custom` with files or a hub dataset."""

    name: str = Field(default="bundled-intent", description="A row of the tasks table, or custom.")
    type: str | None = Field(default=None, description=f"Task type of a custom task: {', '.join(TASK_TYPES)}.")
    source_languages: list[str] | None = Field(default=None, min_length=1, description="Languages trained on.")
    languages: list[str] | None = Field(default=None, min_length=1, description="Languages evaluated.")
    train: str | list[str] | None = Field(
        default=None, description="File(s) or folder; {language} may stand in the path."
    )
    validation: str | list[str] | None = Field(default=None, description="Missing: a seeded 10% of train.")
    test: str | list[str] | None = Field(
        default=None, description="File(s) or folder; {language} may stand in the path."
    )
    format: Literal[FORMATS] = Field(default="auto", description="auto goes by the file's ending.")  # type: ignore[valid-type]
    dataset: str | None = Field(default=None, description="Hub dataset, owner/name.")
    config: str | None = Field(default=None, description="Hub configuration; {language} may stand in it.")
    revision: str | None = Field(default=None, description="Hub revision.")
    split: dict[Literal[SPLITS], str] | None = Field(default=None, description="Hub split of each of ours.")  # type: ignore[valid-type]
    columns: dict[str, str] = Field(default={}, description="Our column = its name in the data.")
    parallel: bool | None = Field(default=None, description="The same id means the same item in every language.")
    max_length: int = Field(default=128, ge=4, le=4096, description="Longest input, in tokens.")
    limits: dict[Literal["train", "validation", "test", "natural"], Annotated[int, Field(ge=1)]] = Field(
        default={}, description="Seeded caps by id: the same ids in every language."
    )


class TrainSection(Section):
    """`[train]`: dense fine-tuning and the retraining after every level."""

    epochs: int = Field(default=3, ge=0, le=1000, description="Dense fine-tuning.")
    retrain_epochs: int = Field(default=1, ge=0, le=1000, description="After every level; 0 only prunes.")
    batch_size: int = Field(default=32, ge=1, le=4096, description="Examples per update.")
    learning_rate: float = Field(default=3e-5, gt=0, le=1, description="Peak learning rate of AdamW.")
    weight_decay: float = Field(default=0.01, ge=0, le=1, description="Decoupled weight decay.")
    warmup: float = Field(default=0.1, ge=0, lt=1, description="Fraction of each cycle with a rising learning rate.")
    clip: float = Field(default=1.0, gt=0, description="Largest gradient norm.")
    freeze_embeddings: bool = Field(default=False, description="Leave the embedding rows as they are.")
    evaluations: int = Field(default=8, ge=1, le=100, description="Source-validation scores per cycle (M§6.7).")
    checkpoint_minutes: float = Field(default=5, gt=0, description="How much work a killed run may lose.")


class CalibrationSection(Section):
    """`[calibration]`: the examples that data-driven criteria look at."""

    languages: list[str] | None = Field(default=None, min_length=1, description="Default: the source languages.")
    examples: int = Field(default=128, ge=1, description="Examples in total.")
    equalise: Literal["tokens", "examples"] = Field(default="tokens", description="What is equal between languages.")


class ProbeSection(Section):
    """`[probe]`: the test examples whose activations are kept."""

    examples: int = Field(default=200, ge=4, le=5000, description="Per language, stratified by label.")
    languages: list[str] | None = Field(default=None, min_length=1, description="Default: all.")


class ProbingSection(Section):
    """`[probing]`: tasks other than the one pruned on (M§6.10)."""

    tasks: list[str] = Field(default=[], description="Rows of the tasks table or study files.")


class RestorationSection(Section):
    """`[restoration]`: the levels that a run takes apart when it is done, to see where the damage sits (M§6.6)."""

    levels: Literal["none", "last", "all"] = Field(
        default="none", description="none; last: the last level with kept weights; all: every level with kept weights."
    )
    items: int = Field(default=64, ge=1, description="Most test items per language.")
    seeds: Literal["first", "all"] = Field(default="first", description="Runs of the first seed, or of all.")


class MethodSection(Section):
    """`[[method]]`: a recipe, its levels and what to change in it."""

    recipe: str = Field(description="A row of the recipes table.")
    name: str | None = Field(
        default=None, pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60, description="Default: the recipe's name."
    )
    levels: list[Annotated[float, Field(ge=0, lt=1)]] = Field(default=[], description="Cumulative sparsity, ascending.")
    objective: dict[str, Any] = Field(default={}, description="Overrides of the recipe's objective.")
    criterion: dict[str, Any] = Field(default={}, description="Overrides of the recipe's criterion.")
    schedule: dict[str, Any] = Field(default={}, description="Overrides of the recipe's schedule.")
    calibration: dict[str, Any] = Field(default={}, description="Overrides of [calibration].")
    train: dict[str, Any] = Field(default={}, description="Overrides of [train].")
    allocation: str | None = Field(default=None, description="How a level is shared between matrices.")
    granularity: str | None = Field(
        default=None, description="unstructured, structured (heads and neurons), heads, neurons, or N:M."
    )
    start: Literal["dense", "pretrained"] | None = Field(
        default=None, description="The fine-tuned model or the pretrained checkpoint; every level costs the same."
    )
    path: Literal["iterative", "independent"] | None = Field(
        default=None, description="All levels in one training, or one training per level."
    )
    include: list[str] = Field(default=[], description="Patterns of the matrices to prune; default: all.")
    exclude: list[str] = Field(default=[], description="Patterns of the matrices to leave alone.")
    floors: dict[str, Fraction] = Field(default={}, description="Pattern = least sparsity.")
    ceilings: dict[str, Fraction] = Field(default={}, description="Pattern = most sparsity.")
    strength: list[Annotated[float, Field(ge=0)]] = Field(
        default=[], description="Axis of soft_movement and l0, ascending: the weight of the sparsity penalty."
    )
    sizes: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        default=[], description="Axis of small and distill, descending: the fraction of the prunable parameters."
    )
    keep_weights: list[float] | None = Field(default=None, description="Levels whose weights stay on disk.")
    checkpoint: str | None = Field(default=None, description="Folder of a model pruned elsewhere, for imported.")

    @property
    def label(self) -> str:
        """The method's name in tables and paths."""
        return self.name or self.recipe

    @field_validator("recipe")
    @classmethod
    def _known(cls, recipe: str) -> str:
        from engine.recipes import RECIPES  # here, because recipes are resolved from these sections

        if recipe not in RECIPES:
            raise ValueError(f"must be one of {', '.join(RECIPES)}")
        return recipe

    @field_validator("levels")
    @classmethod
    def _ascending(cls, levels: list[float]) -> list[float]:
        # Four decimals name a level's folder.
        if any(round(later, 4) <= round(earlier, 4) for earlier, later in pairwise(levels)):
            raise ValueError("must be ascending, by at least 0.0001")
        return levels

    @field_validator("strength")
    @classmethod
    def _rising(cls, strength: list[float]) -> list[float]:
        if any(later <= earlier for earlier, later in pairwise(strength)):
            raise ValueError("must be ascending")
        return strength

    @field_validator("sizes")
    @classmethod
    def _shrinking(cls, sizes: list[float]) -> list[float]:
        if any(later >= earlier for earlier, later in pairwise(sizes)):
            raise ValueError("must be descending, like the sparsities of the other arms ascend")
        return sizes


class Study(Section):
    """A whole study file. `base` is the folder that relative paths start from; it is no key of the file."""

    study: StudySection
    model: ModelSection = ModelSection()
    task: TaskSection = TaskSection()
    train: TrainSection = TrainSection()
    calibration: CalibrationSection = CalibrationSection()
    probe: ProbeSection = ProbeSection()
    probing: ProbingSection = ProbingSection()
    restoration: RestorationSection = RestorationSection()
    method: list[MethodSection] = []
    base: Path = Field(default=Path(), exclude=True)

    def override(self, section: str, values: dict[str, Any]) -> Any:
        """A section with a method's overrides put over it, validated again."""
        current = getattr(self, section)
        return type(current).model_validate({**current.model_dump(exclude_unset=True), **values})


def load(path: str | Path) -> Study:
    """Read and check a study file; raise `ConfigError` with every problem."""
    path = Path(path)
    if not path.is_file():
        raise ConfigError([f"STUDY: must be a file; got {path}"])
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: must be UTF-8; {error.reason} at byte {error.start}"]) from None
    return parse(text, path.resolve().parent, str(path))


def parse(text: str, base: Path, name: str = "study") -> Study:
    """Check the text of a study file whose relative paths start at `base`."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{name}: must be TOML; {error}"]) from None
    return build(raw, base)


def build(raw: dict[str, Any], base: Path) -> Study:
    """Check a study given as nested dictionaries."""
    from engine.checks import meaning  # here, because the checks read the tables, which read this module

    problems: list[str] = []
    sections = _sections(raw, problems)
    problems += meaning(sections, base)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return Study(**sections, base=base)


def _sections(raw: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Validate section by section, so that one bad section does not hide the problems of another.

    A section with problems is missing from what comes back.
    """
    fields = {name: field for name, field in Study.model_fields.items() if name != "base"}
    problems += [f"{key}: unknown section; choices: {', '.join(fields)}" for key in raw if key not in fields]
    sections: dict[str, Any] = {}
    for key, kind in _SECTION_TYPES.items():
        value = validate(kind, raw.get(key, {}), key, problems)
        if value is not None:
            sections[key] = value
    methods = raw.get("method", [])
    if not isinstance(methods, list):
        problems.append("method: must be a list of [[method]] tables; got one table: write it with double brackets")
        methods = []
    # An ill-shaped method keeps its place as None, so that the others are judged too, each under its own number.
    sections["method"] = [
        validate(MethodSection, row, f"method[{index}]", problems) for index, row in enumerate(methods)
    ]
    return sections


_SECTION_TYPES: dict[str, type[Section]] = {
    "study": StudySection,
    "model": ModelSection,
    "task": TaskSection,
    "train": TrainSection,
    "calibration": CalibrationSection,
    "probe": ProbeSection,
    "probing": ProbingSection,
    "restoration": RestorationSection,
}


def validate(kind: type[Section], value: Any, key: str, problems: list[str]) -> Any:
    """Validate one table; its problems are appended and None comes back when there are any."""
    if not isinstance(value, dict):
        problems.append(f"{key}: must be a table; got {value!r}")
        return None
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        problems += describe(error, key, kind)
        return None


def describe(error: ValidationError, key: str, kind: type[Section]) -> list[str]:
    """One line per pydantic error: key, rule, value and, for an unknown key, the choices."""
    lines = []
    for item in error.errors():
        where = ".".join(
            [key, *(str(part) for part in item["loc"] if not (part == "str" or str(part).startswith("list[")))]
        )
        if item["type"] == "extra_forbidden":
            lines.append(f"{where}: unknown key; choices: {', '.join(kind.model_fields)}")
        elif item["type"] == "missing":
            lines.append(f"{where}: must be given")
        else:
            lines.append(f"{where}: {_rule(item)}; got {item['input']!r}")
    return lines


_RULES = {
    "string_pattern_mismatch": "must match {pattern}",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be above {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be below {lt}",
    "literal_error": "must be one of {expected}",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "list_type": "must be a list",
    "dict_type": "must be a table",
    "too_short": "must have at least {min_length} item",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "finite_number": "must be finite",
}


def _rule(item: Any) -> str:
    rule = _RULES.get(item["type"])
    if rule is None:
        return str(item["msg"]).removeprefix("Value error, ")
    limits = item.get("ctx", {})
    return rule.format(**{key: f"{value:g}" if isinstance(value, float) else value for key, value in limits.items()})
