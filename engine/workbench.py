"""What all runs of a study share in one process: device, data, tokens, and the teacher of each seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from engine import device as devices
from engine import evaluate
from engine import model as models
from engine.checks import PROBED
from engine.config import CalibrationSection, ConfigError, Study, TaskSection
from engine.config import load as load_study
from engine.data import Encoded, TaskData, capped, encode, hash_order, load_calibration, load_task, probe
from engine.evaluate import test_frame
from engine.plan import Plan
from engine.probing import MOST_TEST, MOST_TRAIN, ProbingTask
from engine.stats import calibration_rows
from engine.teacher import Teacher
from engine.trainer import VALIDATION_CAP, Settings, updates

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn


SPARE = 4  # calibration candidates per example that is wanted


@dataclass
class Workbench:
    """Loads each thing once, when first asked for. Everything here is derived from the study and never changes."""

    study: Study
    handle: Accelerator
    data: TaskData
    tokenizer: Any
    max_length: int
    foreign: Mapping[str, pd.DataFrame] = field(default_factory=dict)  # calibration languages that are not trained on
    teachers: dict[int, Teacher] = field(default_factory=dict)

    @classmethod
    def open(cls, study: Study, several: bool = False) -> Workbench:
        """Load data and tokenizer; raise ConfigError with everything that is wrong with them.

        `several`: the caller is made for several processes (`engine.processes`) and writes in one of them only.
        """
        if not several and devices.launched() > 1:
            raise ConfigError(
                [
                    f"accelerate launch: must start one process, except for `run` without --restore; got {devices.launched()}"
                ]
            )
        data = load_task(study)
        path = models.model_path(study.model.name, study.base)
        tokenizer = models.load_tokenizer(path)
        if study.model.head == "keep" and data.type.classes:
            data = data.for_outputs(models.keep_order(path, data.labels, data.type.open_labels))
        handle = devices.accelerator(study.study.device, study.study.precision, study.study.deterministic)
        config = models.load_config(path)
        data = replace(data, type=replace(data.type, pooling=models.pooling_of(config, data.type.pooling)))  # type: ignore[type-var]
        longest = models.longest_input(config, study.task.max_length)
        asked = [study.calibration.languages, *(method.calibration.get("languages") for method in study.method)]
        codes = dict.fromkeys(code for some in asked for code in some or () if code not in data.sources)
        return cls(study, handle, data, tokenizer, longest, load_calibration(study, data, list(codes)))

    @property
    def path(self) -> str:
        """Where the pretrained checkpoint is."""
        return models.model_path(self.study.model.name, self.study.base)

    def pretrained(self, seed: int) -> nn.Module:
        """The pretrained checkpoint with a task head drawn from the seed, on the device."""
        return self.load(self.path, seed)

    def load(self, path: str, seed: int) -> nn.Module:
        """A checkpoint made ready like the pretrained one: the study's head, attention and device."""
        found = models.load_model(
            path, self.data.type, self.data.labels, self.study.model.head, devices.seed_of(seed, "head")
        )
        if self.handle.device.type == "cpu":
            # On a CPU and short inputs the fused kernels cost more than they save, in the backward pass above all.
            found.set_attn_implementation("eager")
        if self.study.train.freeze_embeddings:
            found.get_input_embeddings().requires_grad_(False)
        return found.to(self.handle.device)

    def digest_of(self, checkpoint: str) -> str:
        """Fingerprint of another checkpoint that the study names."""
        return models.digest(models.model_path(checkpoint, self.study.base))

    def settings(self, overrides: dict[str, Any], epochs: int) -> Settings:
        """The training settings of a cycle of so many epochs, with a method's overrides."""
        train = self.study.override("train", overrides)
        return Settings(
            epochs=epochs,
            batch_size=train.batch_size,
            learning_rate=train.learning_rate,
            weight_decay=train.weight_decay,
            warmup=train.warmup,
            clip=train.clip,
            evaluations=train.evaluations,
            checkpoint_minutes=train.checkpoint_minutes,
        )

    def encode(self, frame: pd.DataFrame) -> Encoded:
        """Tokenise a frame for this checkpoint."""
        return encode(self.data, frame, self.tokenizer, self.max_length, self._segments)

    @cached_property
    def _segments(self) -> bool:
        return models.has_segments(models.load_config(self.path))

    @cached_property
    def train(self) -> Encoded:
        """Training examples of the source languages."""
        return self.encode(self.train_frame)

    @cached_property
    def train_frame(self) -> pd.DataFrame:
        """The training examples."""
        return self.data.split("train", self.data.sources)

    @cached_property
    def validation(self) -> tuple[pd.DataFrame, Encoded]:
        """Source validation, at most 500 examples chosen by a hash of the id."""
        frame = capped(self.data.split("validation", self.data.sources), VALIDATION_CAP)
        return frame, self.encode(frame)

    @cached_property
    def test(self) -> tuple[pd.DataFrame, Encoded]:
        """All evaluated rows."""
        frame = test_frame(self.data)
        return frame, self.encode(frame)

    @cached_property
    def probe(self) -> tuple[pd.DataFrame, Encoded]:
        """The rows whose activations are kept, and the items that they are in."""
        items, rows = self._probe
        return rows, self.encode(items)

    @cached_property
    def probe_items(self) -> pd.DataFrame:
        """The items of the probe, in the order of its encoding."""
        return self._probe[0]

    @cached_property
    def _probe(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        return probe(self.data, self.study.probe.examples, self.study.probe.languages)

    @cached_property
    def probing(self) -> list[ProbingTask]:
        """The tasks that frozen features are probed on (M§6.10), read and tokenised."""
        return [self._probing_task(name) for name in self.study.probing.tasks]

    def _probing_task(self, name: str) -> ProbingTask:
        """A row of the tasks table in this study's languages, or the task of another study file."""
        if name.endswith(".toml"):
            other = load_study(self.study.base / name)
            task, base = other.task, other.base
        else:
            task, base = TaskSection(name=name, max_length=self.study.task.max_length), self.study.base
        limits = {"train": MOST_TRAIN, "test": MOST_TEST}
        section = task.model_copy(update={"limits": {**limits, **task.limits}})
        data = load_task(self.study.model_copy(update={"task": section, "base": base}))
        train = data.split("train", data.sources)
        test = data.split("test", data.languages)

        def encoded(frame: pd.DataFrame) -> tuple[pd.DataFrame, Encoded]:
            return frame, encode(data, frame, self.tokenizer, self.max_length, self._segments)

        return ProbingTask(name, data, encoded(train), encoded(test))

    def calibration(self, overrides: dict[str, Any]) -> Encoded:
        """The examples that data-driven criteria look at, in the languages asked for, tokenised.

        Every language brings equally many tokens (or examples); which ones goes by a hash of the id, so that parallel
        languages bring the same items.
        """
        section: CalibrationSection = self.study.override("calibration", overrides)
        parts = []
        for code in section.languages or self.data.sources:
            frame = self._calibration_frame(code)
            # Far more than can be chosen, so that short sentences suffice too, and no more than has to be tokenised.
            parts.append(capped(frame, SPARE * section.examples).assign(language=code))
        frame = pd.concat(parts, ignore_index=True)
        lengths, order = self.encode(frame).lengths(), hash_order(frame["id"])
        rows = calibration_rows(frame, lengths, order, section.examples, section.equalise)
        return self.encode(frame.iloc[rows].reset_index(drop=True))

    def _calibration_frame(self, code: str) -> pd.DataFrame:
        found = self.data.frames.get(("train", code))
        return self.foreign[code] if found is None else found

    def teacher(self, seed: int, dense: Callable[[], nn.Module]) -> Teacher:
        """The outputs of the dense model, which `dense` loads, on every training example: computed once per seed."""
        if seed not in self.teachers:
            self.teachers.clear()  # runs go seed by seed
            self.teachers[seed] = Teacher.of(dense(), self.train, self.data.type, self.handle)
        return self.teachers[seed]

    def train_classes(self) -> np.ndarray:
        """A number per training example, equal where the label is; examples without one are all different."""
        strata = self.data.type.strata(self.train_frame)
        own = np.arange(len(strata)) if not strata.any() else pd.factorize(strata)[0]
        return np.asarray(own, dtype=np.int64)

    def score(self, model: nn.Module, frame: pd.DataFrame, encoded: Encoded) -> float:
        """The headline score of a model on some items."""
        found = evaluate.score(model, self.data.type, frame, encoded, self.data.labels, self.handle)
        return evaluate.value(self.data.type, found.stats)

    def text_frame(self) -> pd.DataFrame:
        """Token, word, truncation and unknown counts per scored item (M§6.9), for `text.parquet`: means of its rows."""
        frame, encoded = self.test
        joined = pd.Series([text.replace("\t", " ") for text in self.data.type.texts(frame)])
        unknown = self.tokenizer.unk_token_id
        full = self.encode_untruncated(frame)
        found = frame[["language", "split"]].assign(
            id=self.data.type.items(frame),
            tokens=full,
            words=joined.str.split().str.len().to_numpy(),
            characters=joined.str.len().to_numpy(),
            truncated=(full > encoded.lengths()) & (not self.data.type.windows),
            unknown=[
                sum(token == unknown for row in encoded.rows_of([item]) for token in encoded.tokens[row])
                for item in range(len(encoded))
            ],
        )
        item = ["language", "split", "id"]
        if found.duplicated(item).any():
            found = found.groupby(item, sort=False, observed=True).mean().reset_index()
        return found

    def encode_untruncated(self, frame: pd.DataFrame) -> np.ndarray:
        """Tokens that each example would have without a limit, special tokens included."""
        return encode(self.data, frame, self.tokenizer, 10**6, False).lengths()

    def facts(self) -> dict[str, Any]:
        """What results depend on beside the method: for `config.json`."""
        study = self.study
        return {
            "model": study.model.model_dump(),
            "task": study.task.model_dump(mode="json"),
            "model_digest": models.digest(self.path),
            "train": study.train.model_dump(exclude={"checkpoint_minutes"}),
            "calibration": study.calibration.model_dump(),
            "probe": study.probe.model_dump(),
            "probing": study.probing.model_dump(),
            "precision": "bf16" if self.handle.mixed_precision == "bf16" else "fp32",
            "type": self.data.type.name,
            "metric": self.data.type.metric,
            "labels": list(self.data.labels),
            "languages": list(self.data.languages),
            "sources": list(self.data.sources),
            "splits": ["test", *self.data.extra],
            "parallel": self.data.parallel,
            "notes": list(self.data.notes),
            "baselines": self.data.baselines(),
            "data_digest": self.data.digest(),
            "max_length": self.max_length,
        }

    def verify(self, plans: Sequence[Plan]) -> None:
        """Try every plan's patterns, bounds, levels and schedule on the real matrices, so that no mistake waits behind hours of training.

        Raises ConfigError with every problem. The counts do not depend on the scores, so magnitudes stand for any criterion.
        """
        problems: list[str] = self._probing_problems()
        model = self.pretrained(0)
        for plan in plans:
            try:
                self._try(plan, model)
            except ConfigError as error:
                problems += [f"{plan.name}: {line}" for line in error.problems]
            except ValueError as error:
                problems.append(f"method {plan.name}: {error}")
        if problems:
            raise ConfigError(problems)

    def _probing_problems(self) -> list[str]:
        """What is wrong with the tasks that features are probed on, which the first finished level would stumble over."""
        try:
            return [
                f"probing.tasks: must be a task with one label per example, {' or '.join(PROBED)}; {task.name} is of type {task.data.type.name}"
                for task in self.probing
                if task.data.type.name not in PROBED
            ]
        except ConfigError as error:
            return [f"probing.tasks: {line}" for line in error.problems]

    def _try(self, plan: Plan, model: nn.Module) -> None:
        from engine import imported, mask, structured

        if plan.checkpoint:
            imported.examined(self, plan, model)
            return
        for size in plan.values if plan.axis == "sizes" else ():
            structured.student_shape(model, size)
        found = models.matrices(model, plan.include, plan.exclude)
        if plan.kinds:
            structured.unit_groups(model, found, plan.kinds)
        names = [matrix.name for matrix in found]
        floors, ceilings = (models.patterns_to_names(getattr(plan, key), names, key) for key in ("floors", "ceilings"))
        scores, keep = {matrix.name: matrix.weight_OI().abs() for matrix in found}, None
        for number, level in enumerate(plan.levels, start=1):
            self._try_schedule(plan, number)
            if not plan.kinds:
                nested = keep if plan.path == "iterative" else None
                keep = mask.select(scores, level, plan.allocation, nested, floors, ceilings)

    def _try_schedule(self, plan: Plan, number: int) -> None:
        """A criterion that averages over windows must have a complete one before its last mask is chosen."""
        window = plan.criterion.parameters.get("window")
        if window is None:
            return
        total = updates(len(self.train), self.settings({}, plan.epochs(number, self.study.train)))
        if total < int(window):
            raise ConfigError(
                [
                    f"criterion.window: must be at most {total}, the updates of the level {plan.levels[number - 1]:g}, or its schedule "
                    f"cannot reach it; got {window}"
                ]
            )
