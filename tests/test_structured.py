"""Heads and FFN neurons: scores, selection, masks, compaction, students, folders; a case per architecture row."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import model as models
from engine import stats, structured
from engine.config import ConfigError
from engine.criteria import CRITERIA
from engine.data import Encoded
from engine.masked import Masked
from engine.model import ARCHITECTURES
from engine.size import size
from engine.tasks.types import task_type
from tests import reference

COMMON = {
    "vocab_size": 60,
    "hidden_size": 24,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 40,
}
DEBERTA = {**COMMON, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 0}
GPT2 = {
    "vocab_size": 60,
    "n_embd": 24,
    "n_head": 3,
    "n_inner": 20,
    "n_positions": 40,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
# case → (architecture, configuration); every row of the table, and the variants whose attention differs.
CASES = {
    "bert": ("bert", COMMON),
    "roberta": ("roberta", {**COMMON, "pad_token_id": 1}),
    "xlm-roberta": ("xlm-roberta", {**COMMON, "pad_token_id": 1}),
    "electra": ("electra", {**COMMON, "embedding_size": 16}),
    "distilbert": ("distilbert", {"vocab_size": 60, "dim": 24, "hidden_dim": 20, "n_heads": 3, "max_position_embeddings": 40}),
    "deberta-v2": ("deberta-v2", {**DEBERTA, "share_att_key": True}),
    "deberta-v2, own positions": ("deberta-v2", {**DEBERTA, "share_att_key": False, "conv_kernel_size": 3}),
    "gpt2": ("gpt2", GPT2),
    "gpt2, scaled by layer": ("gpt2", {**GPT2, "scale_attn_by_inverse_layer_idx": True}),
}  # fmt: skip
IDS = torch.tensor([[5, 6, 7, 8, 3], [9, 10, 11, 1, 1]])
TOKENS = {"input_ids": IDS, "attention_mask": (torch.arange(5) < torch.tensor([[5], [3]])).long()}


def make(case: str, layers: int = 3, attention: str = "eager", **changes: int) -> torch.nn.Module:
    """A random model of the case, biases and norms too: a new model's biases are zero, which would hide what they do."""
    kind, config = CASES[case]
    settings_ = transformers.AutoConfig.for_model(kind, **config, num_hidden_layers=layers, num_labels=3)
    for name, value in changes.items():
        setattr(settings_, name, value)
    torch.manual_seed(0)
    found = transformers.AutoModelForSequenceClassification.from_config(settings_)
    found.set_attn_implementation("eager" if kind == "deberta-v2" else attention)
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            parameter.add_(
                torch.randn(parameter.shape) * (0.05 if name.endswith("bias") or parameter.ndim == 1 else 0.1)
            )
    return found.eval()


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(**TOKENS).logits


def shapes(model: torch.nn.Module) -> dict[str, torch.Size]:
    return {matrix.name: matrix.weight_OI().shape for matrix in models.matrices(model)}


def uneven(groups: list[structured.Group]) -> dict[tuple[str, int], torch.Tensor]:
    """Masks that differ from layer to layer: 1, 2 and all heads, an odd number of neurons."""
    generator = torch.Generator().manual_seed(1)
    masks = {}
    for group in groups:
        left = 1 + group.layer % group.count if group.kind == "head" else group.count // 2 + group.layer
        order = torch.randperm(group.count, generator=generator)
        masks[group.key] = torch.zeros(group.count, dtype=torch.bool).index_fill(0, order[:left], True)
    return masks


def masked(model: torch.nn.Module, masks: dict, groups: list[structured.Group]) -> Masked:
    applied = Masked(models.matrices(model))
    applied.set(structured.weight_masks(groups, masks, shapes(model)))
    return applied


# --- groups and masks -----------------------------------------------------------------------------------------------


def test_every_row_has_a_case() -> None:
    assert {kind for kind, _ in CASES.values()} == set(ARCHITECTURES)


@pytest.mark.parametrize("case", CASES)
def test_units_own_every_weight_of_the_six_maps_once(case: str) -> None:
    model = make(case)
    groups = structured.unit_groups(model)
    assert [group.key for group in groups] == [(kind, layer) for layer in range(3) for kind in ("head", "neuron")]
    assert {(g.count, g.width) for g in groups if g.kind == "head"} == {(3, 8)}
    assert {(g.count, g.width) for g in groups if g.kind == "neuron"} == {(20, 1)}
    owned = {name: torch.zeros(shape, dtype=torch.int) for name, shape in shapes(model).items()}
    for group in groups:
        for unit in range(group.count):
            one = {group.key: torch.arange(group.count) != unit}
            for name, keep in structured.weight_masks([group], one, shapes(model)).items():
                owned[name] += (~keep).int()
    assert all((times == 1).all() for times in owned.values())


@pytest.mark.parametrize("case", CASES)
def test_masks_of_units_and_of_weights_are_inverse(case: str) -> None:
    model = make(case)
    groups = structured.unit_groups(model)
    masks = uneven(groups)
    weights = structured.weight_masks(groups, masks, shapes(model))
    back = structured.unit_masks(groups, weights)
    assert all(torch.equal(back[key], keep) for key, keep in masks.items())
    # One weight of a unit that stays is enough for it to stay; one that goes does not take it along.
    head = groups[0]
    gone = int((~masks[head.key]).nonzero()[0])
    name, _, start = head.places()[0]
    weights[name][start + gone * head.width, 0] = True
    assert structured.unit_masks(groups, weights)[head.key][gone]


def test_a_removed_ffn_block_leaves_its_first_neuron() -> None:
    model = make("bert")
    blocks, neurons = (structured.unit_groups(model, kinds=[kind]) for kind in ("ffn", "neuron"))
    gone = structured.weight_masks(blocks, {("ffn", 1): torch.tensor([False])}, shapes(model))
    left = structured.unit_masks(neurons, gone)
    assert left["neuron", 1].tolist() == [True] + 19 * [False] and left["neuron", 0].all()
    table = structured.units_left(
        structured.unit_groups(model), structured.unit_masks(structured.unit_groups(model), gone)
    )
    assert table.to_dict("records")[1] == {"layer": 1, "heads": 3, "heads_left": 3, "neurons": 20, "neurons_left": 1}


def test_what_is_no_unit_is_refused() -> None:
    albert = transformers.AutoModelForSequenceClassification.from_config(
        transformers.AlbertConfig(vocab_size=60, embedding_size=8, hidden_size=16, num_attention_heads=2, intermediate_size=32)
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"architecture whose heads are known \(bert, .*gpt2\); got albert"):
        structured.unit_groups(albert)
    model = make("bert")
    with pytest.raises(ConfigError, match="all or none of query, key, value, attention_output .* of layer 0"):
        structured.unit_groups(model, models.matrices(model, exclude=["*query"]))
    inner = structured.unit_groups(model, models.matrices(model, exclude=["*.layer.0.*", "*attention*"]))
    assert [group.key for group in inner] == [("neuron", 1), ("neuron", 2)]
    groups = structured.unit_groups(model)
    with pytest.raises(ValueError, match=r"masks\[\('head', 0\)\]: must have one value per unit"):
        structured.weight_masks(groups, {("head", 0): torch.ones(4)}, shapes(model))


# --- compaction -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("case", CASES)
def test_compacted_logits_equal_masked_ones(case: str, attention: str) -> None:
    model = make(case, attention=attention)
    groups = structured.unit_groups(model)
    masks = uneven(groups)
    before, dense = copy.deepcopy(model.state_dict()), logits(model)
    small = structured.compact(model, masks)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    masked(model, masks, groups)
    assert (logits(model) - dense).abs().max() > 1e-3
    assert torch.allclose(logits(small), logits(model), atol=1e-5, rtol=0)
    assert torch.equal(logits(structured.compact(model, masks)), logits(small))
    counts = [int(masks[group.key].sum()) for group in groups]
    assert [group.count for group in structured.unit_groups(small)] == counts
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("case", CASES)
def test_a_compacted_model_trains_and_can_be_cut_again(case: str) -> None:
    model = make(case)
    small = structured.compact(model, uneven(structured.unit_groups(model)))
    small.train()
    small(**TOKENS).logits.square().sum().backward()
    for matrix in models.matrices(small):
        assert matrix.module.weight.grad.shape == matrix.module.weight.shape
        assert matrix.module.weight.grad.abs().sum() > 0
    torch.optim.SGD(small.parameters(), 1e-3).step()
    small.eval()
    groups = structured.unit_groups(small)
    masks = {group.key: torch.arange(group.count) >= group.count // 2 for group in groups}
    again = structured.compact(small, masks)
    masked(small, masks, groups)
    assert torch.allclose(logits(again), logits(small), atol=1e-5, rtol=0)


@pytest.mark.parametrize("case", ["xlm-roberta", "gpt2"])
def test_masks_hold_while_training_so_that_compaction_stays_exact(case: str) -> None:
    model = make(case)
    groups = structured.unit_groups(model)
    masks = uneven(groups)
    applied = masked(model, masks, groups)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(4):
        optimizer.zero_grad()
        model(**TOKENS).logits.square().sum().backward()
        applied.mask_gradients()
        optimizer.step()
    assert torch.allclose(logits(structured.compact(model, masks)), logits(model), atol=1e-5, rtol=0)


@pytest.mark.parametrize("case", CASES)
def test_nothing_removed_is_the_model_itself(case: str) -> None:
    model = make(case)
    groups = structured.unit_groups(model)
    scores = structured.unit_scores(groups, {m.name: m.weight_OI().abs() for m in models.matrices(model)})
    masks, reached = structured.select_units(scores, 0.0)
    assert all(keep.all() for keep in masks.values()) and set(reached.values()) == {0.0}
    assert all(keep.all() for keep in structured.weight_masks(groups, masks, shapes(model)).values())
    assert torch.equal(logits(structured.compact(model, masks)), logits(model))
    assert torch.equal(logits(structured.shrink(model, 1.0)), logits(model))


def test_whole_ffn_blocks_compact_too() -> None:
    model = make("electra")
    groups = structured.unit_groups(model, kinds=("head", "ffn"))
    masks = {("ffn", 1): torch.tensor([False]), ("head", 2): torch.tensor([False, True, False])}
    small = structured.compact(model, masks)
    masked(model, masks, groups)
    assert structured.shape_of(small)["neurons"] == [20, 1, 20] and structured.shape_of(small)["heads"] == [3, 3, 1]
    assert torch.allclose(logits(small), logits(model), atol=1e-5, rtol=0)


def test_compaction_refuses_what_it_cannot_do() -> None:
    model = make("bert")
    for masks, message in (
        ({("head", 0): torch.tensor([False] * 3)}, r"masks\[\('head', 0\)\]: must keep a unit in every layer"),
        (
            {("head", 0): torch.tensor([True])},
            r"masks\[\('head', 0\)\]: must have one value for each of 3 units; got \(1,\)",
        ),
        ({("head", 7): torch.tensor([True])}, r"masks: must be of units that the model has; got \('head', 7\)"),
    ):
        with pytest.raises(ValueError, match=message):
            structured.compact(model, masks)


# --- folders --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_saved_and_loaded(case: str, tmp_path: Path) -> None:
    model = make(case)
    small = structured.compact(model, uneven(structured.unit_groups(model)))
    structured.save(small, tmp_path)
    state = torch.random.get_rng_state()
    loaded = structured.load(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), state)
    loaded.set_attn_implementation(small.config._attn_implementation)
    assert torch.equal(logits(loaded), logits(small))
    assert (
        structured.shape_of(loaded) == structured.shape_of(small) == json.loads((tmp_path / "compact.json").read_text())
    )
    with pytest.raises(OSError, match=r"model\.safetensors"):
        transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path, ignore_mismatched_sizes=True)
    rebuilt = structured.reshape(model, structured.shape_of(small))
    rebuilt.load_state_dict(small.state_dict())
    assert torch.equal(logits(rebuilt), logits(small))


def test_tied_weights_are_saved_once_and_loaded_tied(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2, n_layer=2)).eval()
    small = structured.compact(model, {("head", 0): torch.tensor([True, False, True])})
    structured.save(small, tmp_path)
    loaded = structured.load(tmp_path)
    assert loaded.lm_head.weight is loaded.transformer.wte.weight
    torch.testing.assert_close(logits(loaded), logits(small))
    tokens = small.generate(IDS[:1], max_new_tokens=5, do_sample=False)  # the cache of uneven layers
    assert torch.equal(tokens, loaded.generate(IDS[:1], max_new_tokens=5, do_sample=False))


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must hold a model saved with a valid compact\.json"):
        structured.load(tmp_path)
    structured.save(make("bert"), tmp_path)
    shape = json.loads((tmp_path / "compact.json").read_text())
    for changed, message in (
        (shape | {"heads": [1, 1, 1]}, "does not hold the model"),
        (shape | {"heads": [1]}, "does not hold the model"),
        (shape | {"class": "pipeline"}, "class: must be a model of transformers; got 'pipeline'"),
        ({"class": "BertModel"}, "valid compact.json"),
    ):
        (tmp_path / "compact.json").write_text(json.dumps(changed))
        with pytest.raises(ConfigError, match=message):
            structured.load(tmp_path)


# --- scores ---------------------------------------------------------------------------------------------------------

LENGTHS = (5, 3, 7, 4, 6)


@pytest.fixture(scope="module")
def encoded() -> Encoded:
    generator = np.random.default_rng(0)
    return Encoded([generator.integers(4, 60, n).tolist() for n in LENGTHS], np.array([0, 1, 2, 1, 0]), pad=1)


CPU = torch.device("cpu")
SEQUENCE = task_type("sequence")


def scores_of(name: str, model: torch.nn.Module, encoded: Encoded, rows: list[int]) -> dict:
    row = CRITERIA[name]
    groups = structured.unit_groups(model, kinds=row.options["units"])
    return stats.unit_scores(model, SEQUENCE, groups, row, encoded, np.array(rows), CPU)


def scaled_loss(model: torch.nn.Module, encoded: Encoded, row: int, name: str, part: slice, token: int | None = None):
    """The loss of one example as a function of the factor on some inputs of a projection (of one token, or of all)."""
    batch = encoded.batch([row], CPU)

    def loss(factor: float) -> float:
        def scale(module, args):
            hidden = args[0].clone()
            hidden[:, slice(None) if token is None else token, part] *= factor
            return (hidden,)

        handle = model.get_submodule(name).register_forward_pre_hook(scale)
        with torch.no_grad():
            value = torch.nn.functional.cross_entropy(model(**models.inputs(batch)).logits, batch["targets"])
        handle.remove()
        return float(value)

    return loss


@pytest.mark.parametrize("case", ["xlm-roberta", "distilbert", "deberta-v2, own positions", "gpt2"])
def test_taylor_is_the_derivative_in_a_mask_variable(case: str, encoded: Encoded, monkeypatch) -> None:
    """Against finite differences in float64, one example per pass, so without any padding."""
    model = make(case, 2)
    monkeypatch.setattr(stats, "BATCH", 2)
    found = scores_of("taylor_structured", model, encoded, [0, 1, 2])
    exact = copy.deepcopy(model).double()
    for group in structured.unit_groups(model):
        start = group.columns[group.output][0]
        grads = [[0.0] * group.count for _ in range(2)]
        for unit in range(group.count):
            part = slice(start + unit * group.width, start + (unit + 1) * group.width)
            each = [reference.derivative(scaled_loss(exact, encoded, row, group.output, part)) for row in (0, 1, 2)]
            grads[0][unit], grads[1][unit] = (each[0] + each[1]) / 2, each[2]
        expected = reference.taylor_structured(np.array(grads))
        assert found[group.key].tolist() == pytest.approx(expected, rel=2e-3, abs=2e-5)


@pytest.mark.parametrize("case", ["xlm-roberta", "gpt2"])
def test_sensitivity_is_the_sum_of_absolute_derivatives_per_token(case: str, encoded: Encoded) -> None:
    model = make(case, 2)
    found = scores_of("head_sensitivity", model, encoded, [1, 3])
    exact = copy.deepcopy(model).double()
    groups = structured.unit_groups(model, kinds=("head", "ffn"))
    assert {key: len(values) for key, values in found.items()} == {g.key: 3 if g.kind == "head" else 1 for g in groups}
    for group in groups:
        start = group.columns[group.output][0]
        for unit in range(group.count):
            part = slice(start + unit * group.width, start + (unit + 1) * group.width)
            expected = sum(
                abs(reference.derivative(scaled_loss(exact, encoded, row, group.output, part, token)))
                for row in (1, 3)
                for token in range(LENGTHS[row])
            )
            assert float(found[group.key][unit]) == pytest.approx(expected, rel=2e-3, abs=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_padding_and_batches_change_nothing(case: str, encoded: Encoded, monkeypatch) -> None:
    model = make(case, 2)
    whole = scores_of("head_sensitivity", model, encoded, [0, 1, 2, 3, 4])
    monkeypatch.setattr(stats, "BATCH", 2)
    for key, values in scores_of("head_sensitivity", model, encoded, [4, 2, 0, 1, 3]).items():
        torch.testing.assert_close(values, whole[key], rtol=1e-4, atol=1e-6)
    alone = scores_of("taylor_structured", model, encoded, [1])
    longer = Encoded([encoded.tokens[1], encoded.tokens[2]], encoded.targets[[1, 2]], pad=1)
    monkeypatch.setattr(
        SEQUENCE.__class__,
        "loss",
        lambda self, out, batch: torch.nn.functional.cross_entropy(out[:1], batch["targets"][:1]),
    )
    padded = scores_of("taylor_structured", model, longer, [0, 1])
    for key, values in padded.items():
        torch.testing.assert_close(values, alone[key], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["taylor_structured", "head_sensitivity"])
def test_nothing_is_left_behind(name: str, encoded: Encoded) -> None:
    model = make("bert")
    expected = scores_of(name, model, encoded, [0, 1, 2])
    model.train()  # dropout must be off all the same
    model.classifier.weight.grad = torch.ones_like(model.classifier.weight)
    found = scores_of(name, model, encoded, [0, 1, 2])
    assert model.training and (model.classifier.weight.grad == 1).all()
    assert sum(parameter.grad is not None for parameter in model.parameters()) == 1
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
    frozen = make("bert").requires_grad_(False)
    with torch.no_grad():
        cold = scores_of(name, frozen, encoded, [0, 1, 2])
    for key, values in expected.items():
        assert torch.equal(values, found[key]) and values.dtype == torch.float32
        torch.testing.assert_close(values, cold[key])
    with pytest.raises(ValueError, match=r"ran twice \(chunk_size_feed_forward\)"):
        scores_of(
            "taylor_structured", make("bert", chunk_size_feed_forward=1), Encoded([[5, 6]], np.array([0]), 1), [0]
        )


@pytest.mark.parametrize("case", ["bert", "gpt2"])
def test_scores_of_weights_are_averaged_over_a_unit(case: str) -> None:
    model = make(case, 2)
    weights = {matrix.name: matrix.weight_OI().abs() for matrix in models.matrices(model)}
    groups = structured.unit_groups(model, kinds=("head", "neuron", "ffn"))
    found = structured.unit_scores(groups, weights)
    for group in groups:
        expected = [
            reference.unit_score(weights, group.places(), group.count, group.width, unit) for unit in range(group.count)
        ]
        assert found[group.key].tolist() == pytest.approx(expected, rel=1e-12)
    broken = weights | {groups[0].output: weights[groups[0].output] * float("nan")}
    with pytest.raises(ValueError, match=r"weight_scores\['.*attn.*|.*attention.*'\]: must be finite"):
        structured.unit_scores(groups, broken)
    with pytest.raises(ValueError, match="weight_scores: must hold every matrix that a unit owns; lacks"):
        structured.unit_scores(groups, {})


# --- selection ------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0]), min_size=1, max_size=6), min_size=1, max_size=4),
    st.sampled_from([0.0, 0.05, 0.1, 0.25, 0.3, 0.5, 0.7, 0.9, 0.95, 1.0]),
    st.sampled_from([("head", 1), ("neuron", 1), ("ffn", 0)]),
)
@settings(max_examples=150, deadline=None)
def test_selection_is_exact_on_ties_and_within_bounds(values, sparsity, kind_least) -> None:
    kind, least = kind_least
    scores = {(kind, layer): torch.tensor(row) for layer, row in enumerate(values)}
    masks, reached = structured.select_units(scores, sparsity)
    expected = reference.select_units(values, sparsity, least)
    assert [masks[key].tolist() for key in scores] == expected
    gone = sum(not kept for row in expected for kept in row)
    assert reached == {kind: gone / sum(map(len, values))}
    short = int(sparsity * sum(map(len, values)) + 0.5 + 1e-9) > gone
    assert bool(structured.notes(scores, sparsity)) == short


def test_levels_are_nested_and_kinds_apart() -> None:
    generator = torch.Generator().manual_seed(0)

    def draw() -> dict:
        return {
            (kind, layer): torch.rand(count, generator=generator)
            for layer in range(4)
            for kind, count in (("head", 3), ("neuron", 10))
        }

    keep = None
    for sparsity in (0.1, 0.3, 0.5, 0.7, 0.9):
        scores = draw()
        masks, reached = structured.select_units(scores, sparsity, keep)
        assert keep is None or all(not (masks[key] & ~keep[key]).any() for key in masks)
        assert reached["neuron"] == sparsity and reached["head"] == min(8, int(sparsity * 12 + 0.5)) / 12
        assert list(masks) == list(scores) and all(kept.any() for kept in masks.values())
        keep = masks
    assert structured.notes(scores, 0.9) == ["8 of 12 heads go instead of 11: one stays in every layer"]
    with pytest.raises(ValueError, match="sparsity: must not be below that of keep"):
        structured.select_units(scores, 0.5, keep)
    scores["head", 2][1] = float("inf")
    with pytest.raises(ValueError, match=r"scores\[\('head', 2\)\]: must be finite"):
        structured.select_units(scores, 0.9, keep)
    with pytest.raises(ValueError, match="sparsity: must be a number from 0 to 1"):
        structured.select_units(draw(), 1.5)


# --- students -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
def test_students_have_the_size_asked_within_two_percent(case: str, fraction: float) -> None:
    key = {"gpt2": "n_inner", "distilbert": "hidden_dim"}.get(CASES[case][0], "intermediate_size")
    model = make(case, 6, **{key: 96})
    small = structured.shrink(model, fraction)
    sizes = [sum(matrix.module.weight.numel() for matrix in models.matrices(one)) for one in (small, model)]
    assert sizes[0] / sizes[1] == pytest.approx(fraction, rel=0.02)
    shape = structured.shape_of(small)
    assert shape == structured.shape_of(model) | structured.student_shape(model, fraction)
    assert len(shape["blocks"]) == len(models.blocks(small)) == small.config.num_hidden_layers
    steps = set(np.diff(shape["blocks"]))
    assert len(steps) <= 1 and shape["blocks"][0] == 0 and structured.dense_blocks(small) == shape["blocks"]
    assert len(set(shape["heads"])) == 1 and max(shape["neurons"]) - min(shape["neurons"]) <= 1
    small(**TOKENS).logits.sum().backward()
    assert small.config.num_hidden_layers < 6 or fraction > 0.5
    counted = size(small, models.matrices(small), 0, size(model, models.matrices(model), 0))
    assert counted["sparsity_prunable"] == pytest.approx(1 - sizes[0] / sizes[1])
    assert counted["nonzeros"] == counted["parameters"] and counted["removed"] == sizes[1] - sizes[0]


@pytest.mark.parametrize("case", CASES)
def test_students_are_saved_loaded_and_rebuilt(case: str, tmp_path: Path) -> None:
    model = make(case, 4)
    small = structured.shrink(model, 0.4)
    assert structured.dense_blocks(small) == [0, 2]
    structured.save(small, tmp_path)
    loaded = structured.load(tmp_path)
    loaded.set_attn_implementation("eager")
    assert torch.equal(logits(loaded), logits(small))
    assert structured.shape_of(loaded) == structured.shape_of(small)
    rebuilt = structured.reshape(model, structured.shape_of(small))
    rebuilt.load_state_dict(small.state_dict())
    assert torch.equal(logits(rebuilt), logits(small))
    second = structured.keep_blocks(structured.shrink(model, 0.5), [1])
    assert structured.dense_blocks(second) == [2] and structured.dense_blocks(model) == [0, 1, 2, 3]


@pytest.mark.parametrize("case", ["roberta", "gpt2, scaled by layer"])
def test_a_student_keeps_every_kth_block_and_its_largest_units(case: str) -> None:
    model = make(case, 4)
    small = structured.shrink(model, 0.5)
    assert structured.shape_of(small)["blocks"] == [0, 2]
    # Nothing else had to go: the student is the dense model with its two other blocks taken out by hand.
    by_hand = make(case, 2)
    kept = copy.deepcopy(model.state_dict())
    prefix = models.matrices(model)[0].name.partition(".0.")[0]
    names = {name: name.replace(f"{prefix}.1.", f"{prefix}.2.") for name in by_hand.state_dict()}
    by_hand.load_state_dict({name: kept[source] for name, source in names.items()})
    assert torch.equal(logits(by_hand), logits(small))
    smaller = structured.shrink(model, 0.4)
    shape = structured.shape_of(smaller)
    for group in structured.unit_groups(model):
        if group.layer % 2:
            continue
        weights = {matrix.name: matrix.weight_OI().square() for matrix in models.matrices(model)}
        norms = [reference.unit_score(weights, group.places(), group.count, group.width, u) for u in range(group.count)]
        left = shape[f"{group.kind}s"][group.layer // 2]
        best = sorted(sorted(range(group.count), key=lambda u: -norms[u])[:left])
        rows = [
            start + u * group.width + i
            for start in next(iter(group.rows.values()))
            for u in best
            for i in range(group.width)
        ]
        name = next(iter(group.rows))
        found = next(
            m
            for m in models.matrices(smaller)
            if m.name == name.replace(f".{group.layer}.", f".{group.layer // 2}.", 1)
        )
        assert torch.equal(found.weight_OI(), weights_of(model, name)[rows])
    for fraction in (0.0, 1.2, True):
        with pytest.raises(ValueError, match="size: must be a number above 0 to 1"):
            structured.shrink(model, fraction)
    with pytest.raises(ValueError, match="size: must be reached within 2%"):
        structured.shrink(model, 0.01)
    with pytest.raises(ValueError, match="equally many heads in every block"):
        structured.shrink(structured.compact(model, {("head", 0): torch.tensor([True, True, False])}), 0.5)


def weights_of(model: torch.nn.Module, name: str) -> torch.Tensor:
    return next(matrix for matrix in models.matrices(model) if matrix.name == name).weight_OI()


def test_the_sizes_of_xlm_roberta_base_are_reached() -> None:
    """The plan alone, on the block sizes of XLM-R base without its weights."""
    with torch.device("meta"):
        model = transformers.XLMRobertaForSequenceClassification(transformers.XLMRobertaConfig(vocab_size=100))
    for fraction in (0.1, 0.15, 0.25, 0.3, 0.5, 0.75, 0.9):
        shape = structured.student_shape(model, fraction)
        weights = sum(h * 4 * 64 * 768 + n * 2 * 768 for h, n in zip(shape["heads"], shape["neurons"], strict=True))
        assert weights / 84_934_656 == pytest.approx(fraction, rel=1e-3)
        assert len(shape["blocks"]) == len(shape["heads"]) == len(shape["neurons"])
