"""The study file: defaults, and every mistake at once with key, rule, value and choices."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import config
from engine.config import ConfigError

GOOD = """
[study]
name = "x"
[[method]]
recipe = "magnitude"
levels = [0.5]
"""


def problems(text: str, base: Path = Path()) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, base)
    return caught.value.problems


def test_defaults_are_those_of_the_contract() -> None:
    study = config.parse(GOOD, Path())
    assert study.study.seeds == [0, 1, 2]
    assert study.train.learning_rate == 3e-5
    assert study.train.evaluations == 8
    assert study.calibration.examples == 128
    assert study.task.max_length == 128
    assert study.probe.examples == 200
    assert study.model.head == "new"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ('levels = "first"', "restoration.levels: must be one of 'none', 'last' or 'all'; got 'first'"),
        ("items = 0", "restoration.items: must be at least 1; got 0"),
        ("level = 0.9", "restoration.level: unknown key; choices: levels, items, seeds"),
    ],
)
def test_restoration_is_off_unless_asked_for(section: str, message: str) -> None:
    study = config.parse(GOOD, Path())
    assert (study.restoration.levels, study.restoration.items, study.restoration.seeds) == ("none", 64, "first")
    assert problems(f"{GOOD}[restoration]\n{section}") == [message]


def test_restoration_of_a_study_that_keeps_no_weights_is_refused() -> None:
    nothing = f'{GOOD}keep_weights = []\n[restoration]\nlevels = "all"'
    wanted = "restoration.levels: must be 'none' where every method has keep_weights = []; got 'all'"
    assert problems(nothing) == [wanted]
    other = f'{nothing}\n[[method]]\nrecipe = "lamp"\nlevels = [0.5]'
    assert config.parse(other, Path()).restoration.levels == "all"


def test_every_problem_is_reported_at_once() -> None:
    text = """
[study]
name = "Not Good"
seeds = [0, 0]
colour = "red"
[train]
batch_size = 0
epochs = "many"
[task]
name = "xnli"
languages = ["en", "xx"]
train = "somewhere.tsv"
[extra]
[[method]]
recipe = "magnitud"
levels = [0.5]
[[method]]
recipe = "alignreg_cosine"
levels = [0.9, 0.5]
objective = { strenght = 1 }
"""
    found = problems(text)
    for part in (
        "study.name: must match", "study.seeds: must be unique", "study.colour: unknown key; choices: name, seeds", "train.batch_size: must be at least 1; got 0",
        "train.epochs: must be a whole number; got 'many'", "task.languages: must be among", "task.train: must be left out", "extra: unknown section",
        "method[1].levels: must be ascending, by at least 0.0001; got [0.9, 0.5]",
    ):  # fmt: skip
        assert any(part in line for line in found), (part, found)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ('recipe = "magnitud"\nlevels = [0.5]', "method[0].recipe: must be one of dense, dense_continued, random"),
        ('recipe = "magnitude"', "method[0].levels: must have at least one level"),
        ('recipe = "magnitude"\nlevels = [1.0]', "method[0].levels.0: must be below 1"),
        ('recipe = "magnitude"\nlevels = [0.5]\nallocation = "rows"', "method[0].allocation: must be one of global"),
        (
            'recipe = "alignreg_cosine"\nlevels = [0.5]\nobjective = { strength = -1 }',
            "method[0].objective.strength: must be",
        ),
        (
            'recipe = "sdp_cc"\nlevels = [0.5]\nobjective = { beta = 1 }',
            "method[0].objective.beta: unknown parameter of sdp_cc; choices: name, alpha",
        ),
        (
            'recipe = "magnitude"\nlevels = [0.5]\ngranularity = "2:4"\nallocation = "row"',
            "method[0].allocation: must be left out",
        ),
        ('recipe = "magnitude"\nlevels = [0.6]\ngranularity = "2:4"', "method[0].levels: must be [0.5]"),
        (
            'recipe = "movement"\nlevels = [0.5]\ngranularity = "2:4"',
            "method[0].schedule.name: must be one of one_shot, steps, sparse_dense_sparse with 2:4, which has no sparsity on the way",
        ),
        (
            'recipe = "magnitude"\nlevels = [0.5]\nallocation = "2:4"\nschedule = { name = "one_shot", initial = 0.2, warmup = 0.1 }',
            "method[0].schedule.initial: must be 0 with 2:4",
        ),
        (
            'recipe = "movement"\nlevels = [0.5]\nschedule = { initial = 0.3 }',
            "method[0].schedule.initial: must be 0 with movement, which has no scores before it has trained; got 0.3",
        ),
        (
            'recipe = "l0"\nstrength = [1.0]\nfloors = { "*query*" = 0.5 }',
            "method[0].floors: must be left out with l0, which finds the sparsity of every matrix itself",
        ),
        (
            'recipe = "magnitude"\nlevels = [0.5]\npath = "independent"\nfloors = { "*query*" = 0.5 }',
            "method[0].floors: must be left out with magnitude and the schedule cubic",
        ),
        (
            'recipe = "lamp"\nlevels = [0.5]\ngranularity = "heads"',
            "method[0].granularity: must be unstructured or a pattern with lamp",
        ),
        (
            'recipe = "small"\nsizes = [0.5]\nobjective = { name = "self_regularised" }',
            "method[0].objective.name: must not be self_regularised for small",
        ),
        ('recipe = "distill"\nsizes = [0.5]\npath = "iterative"', "method[0].path: must be left out for distill"),
        (
            'recipe = "magnitude"\nlevels = [0.5]\nkeep_weights = [0.6]',
            "method[0].keep_weights: must be among the levels",
        ),
        (
            'recipe = "magnitude"\nlevels = [0.5]\npath = "independent"\nschedule = { name = "steps" }',
            "method[0].schedule.name: must be one of one_shot, linear, cubic",
        ),
        (
            'recipe = "magnitude"\nlevels = [0.5]\npath = "iterative"\ncriterion = { name = "pins" }',
            "method[0].path: must be independent with pins, which scores while it trains",
        ),
        (
            'recipe = "movement"\nlevels = [0.5]\nschedule = { name = "one_shot" }',
            "method[0].schedule.warmup: must be above 0 with movement",
        ),
        (
            'recipe = "pins"\nlevels = [0.5]\nschedule = { warmup = 0.6, cooldown = 0.4 }',
            "method[0].schedule.warmup: warmup + cooldown must be below 1",
        ),
        (
            'recipe = "movement"\nlevels = [0.5]\nallocation = "lamp"',
            "method[0].allocation: must not be lamp with movement",
        ),
        (
            'recipe = "l0"\nlevels = [0.5]\nstrength = [1.0]',
            "method[0].levels: must be left out for l0, whose axis is strength",
        ),
        (
            'recipe = "super_ticket"\nlevels = [0.5]\npath = "iterative"',
            "method[0].path: must be independent for super_ticket",
        ),
        ('recipe = "l0"', "method[0].strength: must have at least one level, such as [1.0, 4.0]"),
        ('recipe = "soft_movement"\nstrength = [2.0, 1.0]', "method[0].strength: must be ascending"),
        ('recipe = "small"\nsizes = [0.1, 0.5]', "method[0].sizes: must be descending"),
        (
            'recipe = "small"\nsizes = [0.5]\ncriterion = { name = "fisher" }',
            "method[0].criterion: must be left out for small",
        ),
        (
            'recipe = "cap_f"\nallocation = "row"',
            "method[0].allocation: must be left out with granularity 'structured'",
        ),
        (
            'recipe = "cap_f"\ngranularity = "unstructured"',
            "method[0].granularity: must be structured, heads or neurons with",
        ),
        (
            'recipe = "alignreg_cosine"\nlevels = [0.5]\nobjective = { before_mask = true }\nstart = "pretrained"',
            "method[0].objective.before_mask: must be false unless start is dense",
        ),
        (
            'recipe = "distill"\nsizes = [0.5]\nobjective = { name = "alignreg_cosine" }',
            "method[0].objective.name: must not compare weights for distill",
        ),
        (
            'recipe = "magnitude"\nlevels = [0.5]\nobjective = { name = "self_regularised" }',
            "method[0].levels: must be two or more with self_regularised on an iterative path",
        ),
        ('recipe = "magnitude"\nlevels = [0.5]\ntrain = { epochs = 2 }', "method[0].train.epochs: must be left out"),
        ('recipe = "dense"\nlevels = [0.5]', "method[0].levels: must be left out: dense runs in every study"),
    ],
)
def test_methods(method: str, message: str) -> None:
    found = problems(f'[study]\nname = "x"\n[[method]]\n{method}\n')
    assert any(line.startswith(message) for line in found), found


def test_prune_only_leaves_nothing_to_learn_scores_in() -> None:
    found = problems('[study]\nname = "x"\n[train]\nretrain_epochs = 0\n[[method]]\nrecipe = "pins"\nlevels = [0.5]\n')
    assert any(
        "method[0].criterion.name: must not need training with train.retrain_epochs = 0" in line for line in found
    )


@pytest.mark.parametrize(
    ("method", "refused"),
    [
        ('recipe = "sdp_kld"\nlevels = [0.5]', True),
        ('recipe = "alignreg_cosine"\nlevels = [0.5]', True),
        ('recipe = "alignreg_cosine"\nlevels = [0.5]\nobjective = { before_mask = true }', False),
        ('recipe = "magnitude"\nlevels = [0.5]\npath = "independent"\nobjective = { name = "self_regularised" }', True),
        ('recipe = "sdp_kld"\nlevels = [0.5]\nstart = "pretrained"', False),
        ('recipe = "distill"\nsizes = [0.5]', False),
        ('recipe = "sdp_kld"\nlevels = [0.5]\nobjective = { name = "none" }', False),
    ],
)
def test_an_objective_that_could_never_act_is_refused(method: str, refused: bool) -> None:
    text = f'[study]\nname = "x"\n[train]\nretrain_epochs = 0\n[[method]]\n{method}\n'
    if not refused:
        assert config.parse(text, Path()).method
        return
    wanted = (
        "method[0].objective.name: must be none where no update follows for it to act in: train.retrain_epochs is 0"
    )
    assert any(line.startswith(wanted) for line in problems(text))


def test_all_that_is_wrong_with_a_method_is_said_at_once() -> None:
    found = problems(
        '[study]\nname = "x"\n[[method]]\nrecipe = "pins"\nsizes = [0.5]\ncriterion = { window = 0 }\n'
        "train = { epochs = 2, batch_size = 4 }\n"
    )
    for part in ("criterion.window", "sizes", "levels", "train.batch_size", "train.epochs"):
        assert any(line.startswith(f"method[0].{part}: must") for line in found), (part, found)


def test_names_must_be_unique_and_a_pruning_method_is_needed() -> None:
    twice = GOOD + '[[method]]\nrecipe = "magnitude"\nlevels = [0.7]\n'
    assert any("must be unique in the study; 'magnitude' stands 2 times" in line for line in problems(twice))
    assert any("must have at least one [[method]]" in line for line in problems('[study]\nname = "x"\n'))


def test_missing_files_and_models(tmp_path: Path) -> None:
    text = (
        GOOD
        + '[model]\nname = "./nowhere"\n[task]\nname = "custom"\ntype = "sequence"\nsource_languages = ["en"]\nlanguages = ["en", "de"]\n'
    )
    text += 'train = "train.{language}.tsv"\ntest = "test.tsv"\n'
    found = problems(text, tmp_path)
    assert any("model.name: must be bundled, a hub id or a folder" in line for line in found)
    assert any("task.train: must be a file" in line for line in found)
    assert any("task.test: must hold {language}" in line for line in found)


def test_a_pickle_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "model" / "pytorch_model.bin").write_bytes(b"")
    found = problems(GOOD + '[model]\nname = "model"\n', tmp_path)
    assert any("must hold *.safetensors" in line and "pickle" in line for line in found)


def test_no_toml_is_one_problem(tmp_path: Path) -> None:
    assert "must be TOML" in problems("[study")[0]
    with pytest.raises(ConfigError, match="must be a file"):
        config.load(tmp_path / "none.toml")


def test_the_schema_describes_every_key() -> None:
    schema = config.Study.model_json_schema()
    for name, section in schema["$defs"].items():
        for key, value in section.get("properties", {}).items():
            assert value.get("description") or key in ("start", "path"), (name, key)


def test_the_form_asks_for_the_axis_that_a_recipe_takes() -> None:
    from engine.plan import usual_axis

    found = {
        name: usual_axis(name)
        for name in ("magnitude", "cap_f", "cap_soft", "soft_movement", "l0", "small", "distill", "dense")
    }
    assert found == {"magnitude": "levels", "cap_f": "levels", "cap_soft": "strength", "soft_movement": "strength", "l0": "strength",
                     "small": "sizes", "distill": "sizes", "dense": "levels"}  # fmt: skip


def test_an_ill_shaped_method_does_not_hide_the_problems_of_the_others() -> None:
    text = '[[method]]\nrecipe = "magnitude"\nlevels = [0.9, 0.5]\n[[method]]\nrecipe = "small"\nlevels = [0.5]\n'
    found = problems('[study]\nname = "x"\n' + text)
    assert any(line.startswith("method[0].levels: must be ascending") for line in found)
    assert any(line.startswith("method[1].levels: must be left out for small") for line in found)
    assert not any("must have at least one [[method]]" in line for line in found)
