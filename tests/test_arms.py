"""Every kind of arm on a tiny checkpoint: paths, schedules, masking modes, axes, objectives with a memory; budgets and resume."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from engine import config, runner
from engine.plan import plans
from engine.record import Run
from engine.workbench import Workbench
from tests.test_runner import run_all

METHODS = """
[[method]]
recipe = "magnitude"
levels = [0.5, 0.8]
name = "gradual"
path = "independent"
[[method]]
recipe = "magnitude"
levels = [0.5, 0.8]
name = "ramped"
schedule = { name = "linear", warmup = 0.0, cooldown = 0.2 }
[[method]]
recipe = "magnitude"
levels = [0.5, 0.8]
name = "from-pretrained"
start = "pretrained"
[[method]]
recipe = "movement"
levels = [0.5, 0.8]
[[method]]
recipe = "platon"
levels = [0.5, 0.8]
criterion = { window = 2 }
[[method]]
recipe = "pins"
levels = [0.5, 0.8]
criterion = { window = 2 }
[[method]]
recipe = "magnitude"
name = "magnitude-own-teacher"
levels = [0.5, 0.8]
objective = { name = "self_regularised" }
[[method]]
recipe = "soft_movement"
strength = [1.0, 400.0]
criterion = { lr = 0.8 }
[[method]]
recipe = "l0"
strength = [0.1, 100.0]
criterion = { lr = 0.8 }
[[method]]
recipe = "cap_m"
levels = [0.5, 0.8]
[[method]]
recipe = "magnitude"
name = "magnitude-cap"
levels = [0.5, 0.8]
objective = { name = "cap", negatives = 20 }
[[method]]
recipe = "sds"
levels = [0.5, 0.8]
[[method]]
recipe = "cap_f"
levels = [0.5, 0.75]
[[method]]
recipe = "magnitude"
name = "magnitude-heads"
granularity = "heads"
levels = [0.5, 0.75]
[[method]]
recipe = "super_ticket"
levels = [0.25, 0.5]
[[method]]
recipe = "small"
sizes = [0.5, 0.25]
[[method]]
recipe = "distill"
sizes = [0.5, 0.25]
[[method]]
recipe = "alignreg_frobenius"
name = "alignreg-before"
levels = [0.5, 0.8]
objective = { before_mask = true }
"""


@pytest.fixture(scope="module")
def study_file(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path, tiny_checkpoint: Path) -> Path:
    from tests.conftest import STUDY

    folder = tmp_path_factory.mktemp("arms")
    (folder / "study.toml").write_text(STUDY.format(checkpoint=tiny_checkpoint, data=tiny_data, methods=METHODS))
    return folder / "study.toml"


@pytest.fixture(scope="module")
def finished(study_file: Path) -> dict[str, Run]:
    return run_all(study_file, study_file.parent / "store")


def test_all_arms_finish(finished: dict[str, Run]) -> None:
    assert {name: run.state() for name, run in finished.items()} == dict.fromkeys(finished, "done")


def test_levels_are_exact_and_cost_the_same_in_every_arm(finished: dict[str, Run]) -> None:
    continued = [level.updates for level in finished["dense_continued-s0"].levels()]
    for name, run in finished.items():
        sizes = [level.size() for level in run.levels()]
        if name.startswith("dense"):
            continue
        assert [size["updates"] for size in sizes] == continued, name
        plan = run.config()["plan"]
        if plan["axis"] == "levels" and plan["granularity"] == "unstructured":
            total = sizes[0]["prunable_parameters"]
            wanted = [0.5, 0.8]
            assert np.allclose(
                [size["sparsity_prunable"] for size in sizes],
                wanted,
                atol=1 / total + 0.01 * ("movement" in name or "cap_m" in name),
            ), name


def test_all_arms_draw_the_same_batches_and_noise_at_the_same_update(
    tiny_study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Common random numbers: an independent training sees at update u what the iterative arms see there (M§4.7)."""
    import torch

    from engine import trainer

    path = tiny_study(
        "\n".join(
            f'[[method]]\nrecipe = "magnitude"\nname = "{way}-{start}"\nlevels = [0.5, 0.8]\npath = "{way}"\nstart = "{start}"'
            for way in ("iterative", "independent")
            for start in ("dense", "pretrained")
        )
    )
    path.write_text(path.read_text().replace("epochs = 6", "epochs = 3\nretrain_epochs = 2"))
    study = config.load(path)
    bench = Workbench.open(study)
    drawn: list[tuple[tuple[int, ...], int]] = []
    step = trainer._step

    def recording(*arguments):  # type: ignore[no-untyped-def]
        drawn.append((tuple(arguments[3]), torch.initial_seed()))
        return step(*arguments)

    monkeypatch.setattr(trainer, "_step", recording)
    seen = {}
    for job in runner.jobs(study, tmp_path / "store"):
        drawn.clear()
        assert runner.execute(job, bench) == "done"
        seen[job.run.method] = list(drawn)
    whole = seen["dense"] + seen["dense_continued"]
    per_level = len(seen["dense_continued"]) // 2
    assert len(whole) == len(seen["dense"]) + 2 * per_level and len({rows for rows, _ in whole}) > per_level
    assert seen["iterative-dense"] == seen["dense_continued"]
    assert seen["iterative-pretrained"] == whole
    # Independent: one training per level, each from its start.
    assert seen["independent-dense"] == whole[-2 * per_level : -per_level] + whole[-2 * per_level :]
    assert seen["independent-pretrained"] == whole[:-per_level] + whole


def test_removed_weights_are_zero_in_what_is_kept(finished: dict[str, Run]) -> None:
    for name, run in finished.items():
        for level in run.levels():
            if level.has("masks.safetensors") and level.has("weights.safetensors"):
                weights = level.arrays("weights")
                assert all((weights[f"{matrix}.weight"][~mask] == 0).all() for matrix, mask in level.masks().items()), (
                    name
                )


def test_independent_levels_are_trainings_of_their_own(finished: dict[str, Run]) -> None:
    lines = [line for line in finished["gradual-s0"].metrics() if line["type"] == "train"]
    by_cycle = {cycle: [line for line in lines if line["cycle"] == cycle] for cycle in (1, 2)}
    assert len(by_cycle[2]) == 2 * len(by_cycle[1])
    shares = [line["sparsity"] for line in by_cycle[2]]
    assert shares[0] == 0.0 and shares == sorted(shares) and shares[-1] == pytest.approx(0.8)


def test_a_ramp_on_an_iterative_path_starts_from_the_level_before(finished: dict[str, Run]) -> None:
    lines = [line for line in finished["ramped-s0"].metrics() if line["type"] == "train" and line["cycle"] == 2]
    assert all(0.5 < line["sparsity"] <= 0.8 for line in lines[1:])
    low, high = (level.masks() for level in finished["ramped-s0"].levels())
    assert all((~low[name] <= ~high[name]).all() for name in low)


def test_scores_gathered_in_training_may_bring_weights_back(
    tiny_study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.masked import Masked

    returned: dict[str, int] = {}
    set_ = Masked.set

    def counting(self, masks, zero=True):  # type: ignore[no-untyped-def]
        before = self.masks_OI() or masks
        returned[now] += sum(int((masks[name] & ~before[name]).sum()) for name in masks)
        set_(self, masks, zero)

    monkeypatch.setattr(Masked, "set", counting)
    text = '[[method]]\nrecipe = "{}"\nlevels = [0.8]\n'
    path = tiny_study(
        "".join(text.format(name) + window for name, window in (
            ("movement", ""), ("platon", "criterion = { window = 2 }\n"), ("pins", "criterion = { window = 2 }\n"),
        )) + text.format("magnitude") + 'path = "independent"\n'
    )  # fmt: skip
    path.write_text(path.read_text().replace("epochs = 6", "epochs = 3\nretrain_epochs = 4"))
    study = config.load(path)
    bench = Workbench.open(study)
    for job in runner.jobs(study, tmp_path / "store"):
        now = job.run.method
        returned[now] = 0
        runner.execute(job, bench)
    assert min(returned[name] for name in ("movement", "platon", "pins")) > 0
    assert returned["magnitude"] == 0


def test_strength_decides_the_sparsity_of_learned_gates(finished: dict[str, Run]) -> None:
    for name in ("soft_movement", "l0"):
        run = finished[f"{name}-s0"]
        weak, strong = (level.size()["sparsity_prunable"] for level in run.levels())
        assert weak < strong, name
        assert {level.path.name.partition("-")[0] for level in run.levels()} == {"strength"}


def test_a_teacher_comes_with_the_second_step_of_sparsity_and_not_before(finished: dict[str, Run]) -> None:
    for name, first in (("pins-s0", 1), ("magnitude-own-teacher-s0", 1)):
        lines = [line for line in finished[name].metrics() if line["type"] == "train"]
        assert "self_regularised" not in lines[0]
        assert any("self_regularised" in line for line in lines[first:]), name
    later = [line for line in finished["magnitude-own-teacher-s0"].metrics() if line["type"] == "train"]
    assert all(("self_regularised" in line) == (line["cycle"] == 2) for line in later)


def test_contrast_has_snapshots_only_after_the_first_epoch_or_level(finished: dict[str, Run]) -> None:
    lines = [line for line in finished["magnitude-cap-s0"].metrics() if line["type"] == "train"]
    assert all("contrast_pretrained" in line and "contrast_finetuned" in line for line in lines)
    assert all(("contrast_snapshots" in line) == (line["cycle"] == 2) for line in lines)
    lines = [line for line in finished["cap_m-s0"].metrics() if line["type"] == "train" and line["cycle"] == 2]
    assert "contrast_snapshots" not in lines[0] and "contrast_snapshots" in lines[-1]


def test_an_objective_before_the_mask_has_a_dense_stage_of_its_own(finished: dict[str, Run]) -> None:
    cycles = {line["cycle"] for line in finished["alignreg-before-s0"].metrics() if line["type"] == "train"}
    assert cycles == {0, 1, 2}


def test_it_aligns_with_its_own_dense_model_also_after_a_resume(
    finished: dict[str, Run], study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from engine import arms, guidance
    from tests.test_runner import _stop_after

    own: dict[str, torch.Tensor] = {}
    fine_tune, add = arms._fine_tune, guidance.Anchored.add_gradients
    used: list[dict[str, torch.Tensor]] = []

    def remembering(arm, progress) -> None:  # type: ignore[no-untyped-def]
        fine_tune(arm, progress)
        own.update(guidance.reference_weights(arm.model, arm.masked.matrices))

    def seeing(self, *arguments):  # type: ignore[no-untyped-def]
        if own:
            used.append(self.reference)
        return add(self, *arguments)

    monkeypatch.setattr(arms, "_fine_tune", remembering)
    monkeypatch.setattr(guidance.Anchored, "add_gradients", seeing)
    study = config.load(study_file)
    method = next(method for method, _ in plans(study) if method.label == "alignreg-before")
    study = study.model_copy(
        update={"method": [method], "train": study.train.model_copy(update={"checkpoint_minutes": 1e-9})}
    )
    store = tmp_path / "store"
    shutil.copytree(finished["dense-s0"].path, store / "tiny" / "dense-s0")
    bench = Workbench.open(study)
    job = next(job for job in runner.jobs(study, store) if job.run.method == "alignreg-before")
    with monkeypatch.context() as patched:
        _stop_after(patched, 45)
        with pytest.raises(runner.Cancelled):
            runner.execute(job, bench)
    before = len(used)
    assert before and runner.execute(job, bench) == "done" and len(used) > before
    assert all(torch.equal(seen[name], value) for seen in used for name, value in own.items())
    for mine, whole in zip(job.run.levels(), finished["alignreg-before-s0"].levels(), strict=True):
        ours, theirs = mine.arrays("weights"), whole.arrays("weights")
        assert all(np.array_equal(ours[key], theirs[key]) for key in theirs), mine.path.name


@pytest.mark.parametrize(
    "name",
    ["gradual", "movement", "pins", "soft_movement", "l0", "cap_m", "magnitude-cap", "magnitude-own-teacher", "sds"],
)
def test_resume_inside_a_cycle_is_bit_exact(
    name: str, finished: dict[str, Run], study_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.test_runner import _stop_after

    study = config.load(study_file)
    method = next(method for method, _ in plans(study) if method.label == name)
    quick = study.train.model_copy(update={"checkpoint_minutes": 1e-9})
    study = study.model_copy(update={"method": [method], "train": quick})
    store = tmp_path / "store"
    for control in ("dense-s0",):
        shutil.copytree(finished[control].path, store / "tiny" / control)
    bench = Workbench.open(study)
    job = next(job for job in runner.jobs(study, store) if job.run.method == name)
    with monkeypatch.context() as patched:
        _stop_after(patched, 9)
        with pytest.raises(runner.Cancelled):
            runner.execute(job, bench)
    assert runner.execute(job, bench) == "done"
    for mine, whole in zip(job.run.levels(), finished[f"{name}-s0"].levels(), strict=True):
        ours, theirs = mine.arrays("weights"), whole.arrays("weights")
        assert all(np.array_equal(ours[key], theirs[key]) for key in theirs), mine.path.name


def test_calibration_may_be_in_languages_that_are_not_trained_on(tiny_study, tmp_path: Path) -> None:
    path = tiny_study(
        '[[method]]\nrecipe = "wanda"\nlevels = [0.5]\nname = "wanda-de"\ncalibration = { languages = ["de"], examples = 20 }\n'
        '[[method]]\nrecipe = "wanda"\nlevels = [0.5]\ncalibration = { languages = ["en", "de"], examples = 20 }'
    )
    study = config.load(path)
    bench = Workbench.open(study)
    german, both = (bench.calibration(method.calibration) for method in study.method)
    ids = {tuple(tokens) for tokens in bench.encode(bench.foreign["de"]).tokens}
    assert {tuple(tokens) for tokens in german.tokens} <= ids
    share = [sum(len(t) for t in both.tokens if (tuple(t) in ids) is flag) for flag in (True, False)]
    # Equal token counts per language, up to one sentence.
    assert abs(share[0] - share[1]) <= max(len(tokens) for tokens in both.tokens)


def test_a_calibration_language_without_training_text_is_named(tiny_study) -> None:
    path = tiny_study('[[method]]\nrecipe = "wanda"\nlevels = [0.5]\ncalibration = { languages = ["sw"] }')
    with pytest.raises(
        config.ConfigError,
        match=r"method\[0\].calibration.languages: 'sw' must have a training file; .*train.sw.tsv is not there",
    ):
        config.load(path)


def test_a_window_longer_than_the_training_is_refused_before_anything_is_computed(tiny_study) -> None:
    study = config.load(tiny_study('[[method]]\nrecipe = "pins"\nlevels = [0.5]\ncriterion = { window = 50 }'))
    with pytest.raises(config.ConfigError, match=r"criterion.window: must be at most 6, the updates of the level 0.5"):
        Workbench.open(study).verify([plan for _, plan in plans(study)])


def test_an_entropy_is_refused_where_there_are_no_classes() -> None:
    text = """
[study]
name = "x"
[task]
name = "custom"
type = "regression"
source_languages = ["en"]
languages = ["en"]
train = "a.tsv"
test = "b.tsv"
[[method]]
recipe = "pins"
levels = [0.5]
[[method]]
recipe = "sdp_kld"
levels = [0.5]
"""
    with pytest.raises(config.ConfigError) as caught:
        config.parse(text, Path())
    assert any(
        "method[0].objective.name: must be one of none," in line and "regression task" in line
        for line in caught.value.problems
    )
    assert not any("method[1].objective" in line for line in caught.value.problems)  # distilled by its squared error


def test_a_schedule_may_begin_above_0_and_floors_hold_in_proportion_on_the_way(tiny_study, tmp_path: Path) -> None:
    runs = run_all(
        tiny_study(
            '[[method]]\nrecipe = "magnitude"\nlevels = [0.6]\npath = "independent"\nschedule = { initial = 0.2 }\n'
            '[[method]]\nrecipe = "platon"\nlevels = [0.6]\ncriterion = { window = 2 }\nfloors = { "*query*" = 0.7, "*output*" = 0.5 }\n'
            '[[method]]\nname = "jump"\nrecipe = "magnitude"\nlevels = [0.6]\npath = "independent"\n'
            'schedule = { name = "one_shot", warmup = 0.05 }'
        ),
        tmp_path / "store",
    )
    assert {run.state() for run in runs.values()} == {"done"}
    lines = [line for line in runs["magnitude-s0"].metrics() if line["type"] == "train"]
    assert lines[0]["sparsity"] == pytest.approx(0.2) and lines[-1]["sparsity"] == pytest.approx(0.6)
    (level,) = runs["platon-s0"].levels()
    assert all(1 - mask.mean() >= 0.7 - 1e-3 for name, mask in level.masks().items() if "query" in name)


def test_sizes_units_and_probing_tasks_are_tried_before_anything_is_computed(tiny_study, tiny_data: Path) -> None:
    other = tiny_study('[[method]]\nrecipe = "magnitude"\nlevels = [0.5]', name="tokens.toml", sequence='"token"')
    study = config.load(
        tiny_study(
            '[probing]\ntasks = ["tokens.toml"]\n[[method]]\nrecipe = "small"\nsizes = [0.0005]\n'
            '[[method]]\nrecipe = "cap_f"\nlevels = [0.5]'
        )
    )
    assert other.is_file()
    with pytest.raises(config.ConfigError) as caught:
        Workbench.open(study).verify([plan for _, plan in plans(study)])
    text = "\n".join(caught.value.problems)
    assert "probing.tasks" in text and "small: size: must be reached within 2%" in text


def test_a_student_has_a_masked_token_loss_under_the_checkpoints_head_cut_to_its_shape(tiny_study, monkeypatch) -> None:
    from transformers import XLMRobertaForMaskedLM

    from engine import probing, structured

    study = config.load(tiny_study())
    bench = Workbench.open(study)
    dense = bench.pretrained(0)
    monkeypatch.setattr(probing, "load_masked_lm", lambda _: XLMRobertaForMaskedLM(dense.config).eval())
    assert [row[2] for row in probing._masked_token_loss(bench, dense)] == ["en", "de"]
    assert [row[2] for row in probing._masked_token_loss(bench, structured.shrink(dense, 0.5))] == ["en", "de"]


def test_held_out_examples_never_train_and_candidates_are_as_sparse_as_the_cycle(tiny_study) -> None:
    from engine.guidance import SelfRegularised
    from engine.plan import Part
    from engine.schedule import cubic, sparse_dense_sparse

    bench = Workbench.open(config.load(tiny_study()))
    part = Part("self_regularised", {})
    order = np.arange(len(bench.train))[::-1]
    one = SelfRegularised(
        part, None, bench.train, bench.data.type, bench.handle, order, 16, lambda rows: 0.0, iterative=True
    )
    assert len(one.held) > 1
    assert not np.isin(np.concatenate([one.training_rows(np.array([row])) for row in order]), one.held).any()
    one.cycle_begins(8, 0.5, lambda done: sparse_dense_sparse(done, 8, 0.0, 0.5))
    assert one.candidates == {4, 6, 8}
    one.iterative = False
    for level in np.round(np.arange(0.01, 1.0, 0.01), 2).tolist():
        one.cycle_begins(100, level, lambda done, level=level: cubic(done, 100, 0.0, level, 0.1, 0.3))
        assert max(one.refreshes) == 70 and len(one.refreshes) == 10 and 0 not in one.refreshes, level


@pytest.mark.parametrize("iterative", [False, True])
def test_a_teacher_that_is_soon_replaced_computes_only_what_is_asked_of_it(
    iterative: bool, tiny_study, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contextlib import nullcontext

    import torch

    from engine import guidance, teacher
    from engine.model import states
    from engine.objectives import OBJECTIVES
    from engine.plan import Part
    from engine.schedule import cubic

    bench = Workbench.open(config.load(tiny_study()))
    part = Part("self_regularised", OBJECTIVES["self_regularised"].defaults())
    model, kind, train = bench.pretrained(0), bench.data.type, bench.train
    shared = (part, model, train, kind, bench.handle, np.arange(len(train)), 16)
    one = guidance.SelfRegularised(*shared, score=lambda rows: 0.0, iterative=iterative)
    computed: list[int] = []
    seer = teacher._seer

    def counting(*arguments):  # type: ignore[no-untyped-def]
        see = seer(*arguments)
        return lambda items: computed.append(len(items)) or see(items)

    monkeypatch.setattr(teacher, "_seer", counting)
    updates = 2 * -(-len(train) // 16)
    asked, made, generator = 0, [], np.random.default_rng(0)
    for _ in range(2):
        one.cycle_begins(updates, 0.5, lambda done: cubic(done, updates, 0.0, 0.5, 0.1, 0.3))
        for done in range(1, updates + 1):
            items = generator.permutation(len(train))[:16]
            with torch.no_grad(), states(model, last_only=True) as collected:
                logits = kind.logits(model, batch := train.batch(items, bench.handle.device))
            seen = teacher.Seen(kind, logits, collected[-1], batch, items)
            _, logged = one.loss(logits.sum(), seen)
            if logged:
                asked += len(items)
                made += [] if made and one.teacher is made[-1] else [one.teacher]
                # The network stands still here, so that its teacher says the same of these items, kept or computed anew.
                assert torch.allclose(one.teacher.logits(seen).softmax(-1), logits.softmax(-1), atol=1e-5)
            one.step_done(done, nullcontext)
        one.cycle_done()
    if (
        iterative
    ):  # made once, for the second cycle; the one after that is never asked. One more example shows the size.
        assert len(made) == 1 and sum(computed) == len(train) + 1
    else:
        assert len(made) == 2 * len(one.refreshes) > 8
        assert sum(computed) == asked < 2 * updates * 16 < len(made) * len(train)


def test_snapshots_are_bounded_in_order_and_not_taken_when_nothing_follows(tiny_study) -> None:
    from contextlib import nullcontext

    import torch

    from engine import guidance, teacher
    from engine.objectives import OBJECTIVES
    from engine.plan import Part

    bench = Workbench.open(config.load(tiny_study()))
    part = Part("cap", {**OBJECTIVES["cap"].defaults(), "most_snapshots": 2})
    model = bench.pretrained(0)
    classes = bench.train_classes()
    shared = (part, model, bench.train, bench.data.type, bench.handle)
    one = guidance.Contrasted(*shared, teacher=None, banks={}, labels=classes, iterative=False)  # type: ignore[arg-type]
    one.cycle_begins(4, 0.5, lambda done: 0.5)
    last = []
    for done in range(1, 5):
        one.step_done(done, nullcontext)
        torch.nn.init.normal_(next(model.base_model.encoder.parameters()))
        last.append(teacher.item_bank(*shared[1:]))
        one.epoch_done(nullcontext)
    assert one.snapshots is not None
    assert torch.equal(one.snapshots, torch.stack(last[1:3], 1))
    other = guidance.Contrasted(*shared, teacher=None, banks={}, labels=classes, iterative=False)  # type: ignore[arg-type]
    other.load(one.tensors())
    assert torch.equal(other.snapshots, one.snapshots)


def test_students_gates_and_heads_are_measured_like_every_arm(finished: dict[str, Run], tmp_path: Path) -> None:
    from analysis import measures

    store = finished["dense-s0"].path.parent.parent
    shutil.copytree(store, tmp_path / "store")
    for name in {path.name for path in (tmp_path / "store" / "tiny").iterdir()} - {
        f"{arm}-s0" for arm in ("dense", "dense_continued", "small", "distill", "l0", "magnitude-heads")
    }:
        shutil.rmtree(tmp_path / "store" / "tiny" / name, ignore_errors=True)
    wish = measures.Wish(
        only=("separability", "similarity", "crosslingual", "drift", "path", "degradation", "recovery")
    )
    assert measures.measure(tmp_path / "store", "tiny", wish, 1, lambda _: None) == []
    frame = measures.read_levels(tmp_path / "store", "tiny", "similarity", problems=[])
    small = frame[(frame["method"] == "small") & (frame["level"] == "size-0.25")]
    assert len(small) and small["layer"].max() < frame.loc[frame["method"] == "l0", "layer"].max() + 1
