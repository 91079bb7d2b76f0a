"""What all runs of a study share in one process: device, data, tokens, and the teacher of each seed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from engine import device as devices
from engine import model as models
from engine.config import CalibrationSection, ConfigError, Study
from engine.data import Encoded, TaskData, capped, encode, hash_order, load_task, probe
from engine.evaluate import test_frame
from engine.recipes import Plan
from engine.stats import calibration_rows
from engine.trainer import VALIDATION_CAP, Settings, Teacher

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn

TEACHER_BYTES = 2 * 2**30


@dataclass
class Workbench:
    """Loads each thing once, when first asked for. Everything here is derived from the study and never changes."""

    study: Study
    handle: Accelerator
    data: TaskData
    tokenizer: Any
    max_length: int
    teachers: dict[int, Teacher] = field(default_factory=dict)

    @classmethod
    def open(cls, study: Study) -> Workbench:
        """Load data and tokenizer; raise ConfigError with everything that is wrong with them."""
        _refuse_several_processes()
        data = load_task(study)
        path = models.model_path(study.model.name, study.base)
        tokenizer = models.load_tokenizer(path)
        if study.model.head == "keep" and data.type.classes:
            data = data.with_labels(models.keep_order(path, data.labels))
        handle = devices.accelerator(study.study.device, study.study.precision, study.study.deterministic)
        config = models.load_config(path)
        data = replace(data, type=replace(data.type, pooling=models.pooling_of(config, data.type.pooling)))  # type: ignore[type-var]
        longest = models.longest_input(config, study.task.max_length)
        return cls(study, handle, data, tokenizer, longest)

    @property
    def path(self) -> str:
        """Where the pretrained checkpoint is."""
        return models.model_path(self.study.model.name, self.study.base)

    def pretrained(self, seed: int) -> nn.Module:
        """The pretrained checkpoint with a task head drawn from the seed, on the device."""
        found = models.load_model(
            self.path, self.data.type, self.data.labels, self.study.model.head, devices.seed_of(seed, "head")
        )
        if self.handle.device.type == "cpu":
            # On a CPU and short inputs the fused kernels cost more than they save, in the backward pass above all.
            found.set_attn_implementation("eager")
        if self.study.train.freeze_embeddings:
            found.get_input_embeddings().requires_grad_(False)
        return found.to(self.handle.device)

    def settings(self, plan: Plan | None, overrides: dict[str, Any], dense: bool = False) -> Settings:
        """The training settings of a cycle: dense fine-tuning, or retraining with the method's overrides."""
        train = self.study.override("train", overrides)
        return Settings(
            epochs=train.epochs if dense else train.retrain_epochs,
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
        return self.encode(self._train_frame)

    @cached_property
    def _train_frame(self) -> pd.DataFrame:
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
        items, rows = probe(self.data, self.study.probe.examples, self.study.probe.languages)
        return rows, self.encode(items)

    def calibration(self, overrides: dict[str, Any]) -> np.ndarray:
        """Rows of `train` that data-driven criteria look at."""
        section: CalibrationSection = self.study.override("calibration", overrides)
        frame = self._train_frame
        codes = section.languages or list(self.data.sources)
        order = hash_order(frame["id"])
        order = order[frame["language"].isin(codes).to_numpy()[order]]
        subset = np.sort(order)
        place = {row: index for index, row in enumerate(subset)}
        rows = calibration_rows(
            frame.iloc[subset],
            self.train.lengths()[subset],
            np.array([place[row] for row in order]),
            section.examples,
            section.equalise,
        )
        return subset[rows]

    def teacher(self, seed: int, dense: nn.Module) -> Teacher:
        """The dense model's outputs on every training example, computed once per seed."""
        if seed not in self.teachers:
            width = dense.config.hidden_size + len(self.data.labels)
            if 4 * width * len(self.train) > TEACHER_BYTES:
                self.teachers.clear()
            self.teachers[seed] = Teacher.of(dense, self.train, self.data.type, self.handle)
        return self.teachers[seed]

    def text_frame(self) -> pd.DataFrame:
        """Token, word, truncation and unknown counts per evaluated item (M§6.9), for `text.parquet`."""
        frame, encoded = self.test
        joined = pd.Series([text.replace("\t", " ") for text in self.data.type.texts(frame)])
        unknown = self.tokenizer.unk_token_id
        full = self.encode_untruncated(frame)
        return frame[["language", "split", "id"]].assign(
            tokens=full,
            words=joined.str.split().str.len().to_numpy(),
            characters=joined.str.len().to_numpy(),
            truncated=(full > encoded.lengths()) & (not self.data.type.windows),
            unknown=[
                sum(token == unknown for row in encoded.rows_of([item]) for token in encoded.tokens[row])
                for item in range(len(encoded))
            ],
        )

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
        """Try every plan's patterns, bounds and levels on the real matrices, so that no mistake waits behind hours of training.

        Raises ConfigError with every problem. The counts do not depend on the scores, so magnitudes stand for any criterion.
        """
        from engine import mask

        problems: list[str] = []
        model = self.pretrained(0)
        for plan in plans:
            try:
                found = models.matrices(model, plan.include, plan.exclude)
                names = [matrix.name for matrix in found]
                floors, ceilings = (
                    models.patterns_to_names(getattr(plan, key), names, key) for key in ("floors", "ceilings")
                )
                scores, keep = {matrix.name: matrix.weight_OI().abs() for matrix in found}, None
                for level in plan.levels:
                    keep = mask.select(scores, level, plan.allocation, keep, floors, ceilings)
            except ConfigError as error:
                problems += [f"{plan.name}: {line}" for line in error.problems]
            except ValueError as error:
                problems.append(f"method {plan.name}: {error}")
        if problems:
            raise ConfigError(problems)


def _refuse_several_processes() -> None:
    """Several processes would write one run folder; until runs are gathered across processes, one is the rule."""
    count = os.environ.get("WORLD_SIZE", "1")
    if count != "1":
        raise ConfigError([f"accelerate launch: must start one process in this version; got {count}"])
