"""Every architecture row on a tiny random model: matrices, states, masks, save and load; and the loading rules."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from engine import model as models
from engine.config import ConfigError
from engine.masked import Masked
from engine.model import ARCHITECTURES
from engine.tasks.types import task_type

SMALL = {
    "vocab_size": 60,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
}
CONFIGS = {
    "bert": transformers.BertConfig(**SMALL),
    "roberta": transformers.RobertaConfig(**SMALL, pad_token_id=1),
    "xlm-roberta": transformers.XLMRobertaConfig(**SMALL, pad_token_id=1),
    "electra": transformers.ElectraConfig(**SMALL, embedding_size=16),
    "distilbert": transformers.DistilBertConfig(
        vocab_size=60, dim=16, hidden_dim=32, n_layers=2, n_heads=2, max_position_embeddings=40
    ),
    "deberta-v2": transformers.DebertaV2Config(
        **SMALL, relative_attention=True, pos_att_type=["p2c", "c2p"], share_att_key=True, type_vocab_size=0
    ),
    "gpt2": transformers.GPT2Config(
        vocab_size=60, n_embd=16, n_layer=2, n_head=2, n_positions=40, pad_token_id=0, bos_token_id=1, eos_token_id=2
    ),
}
MAPS = {"gpt2": 4}


def build(name: str) -> torch.nn.Module:
    config = CONFIGS[name]
    config.num_labels = 3
    torch.manual_seed(0)
    return transformers.AutoModelForSequenceClassification.from_config(config).eval()


def tokens() -> dict[str, torch.Tensor]:
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 1]])
    return {"input_ids": ids, "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])}


def test_every_row_has_a_case() -> None:
    assert set(CONFIGS) == set(ARCHITECTURES)


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_matrices_are_the_maps_of_every_block(name: str) -> None:
    model = build(name)
    found = models.matrices(model)
    assert len(found) == 2 * MAPS.get(name, 6)
    assert all(model.get_submodule(matrix.name) is matrix.module for matrix in found)
    for matrix in found:
        outputs, inputs = matrix.weight_OI().shape
        bias = matrix.module.bias
        assert outputs == len(bias) and matrix.orient(matrix.weight_OI()).shape == matrix.module.weight.shape
        assert inputs == 16 or matrix.kind == "ffn_out"
    inside = {id(matrix.module.weight) for matrix in found}
    weights = [p for block in models.blocks(model) for p in block.parameters() if p.ndim == 2]
    assert all(id(weight) in inside for weight in weights if weight.shape[0] * weight.shape[1] >= 256)


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_states_agree_with_the_models_own_and_leave_no_hooks(name: str) -> None:
    model = build(name)
    with torch.no_grad():
        with models.states(model) as collected:
            plain = model(**tokens())
        mine = [hidden.clone() for hidden in collected]
        theirs = model.base_model(**tokens(), output_hidden_states=True).hidden_states
    assert len(mine) == 3
    # GPT-2 reports its last state after the final norm, which is no block.
    for ours, other in zip(mine[: 2 if name == "gpt2" else 3], theirs, strict=False):
        assert torch.equal(ours, other)
    again = build(name)
    with models.states(again):
        pass
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in again.modules())
    assert plain.logits.shape == (2, 3)


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_masked_saved_and_loaded(name: str, tmp_path: Path) -> None:
    model = build(name)
    found = models.matrices(model)
    masked = Masked(found)
    generator = torch.Generator().manual_seed(0)
    masks = {matrix.name: torch.rand(matrix.weight_OI().shape, generator=generator) > 0.5 for matrix in found}
    masked.set(masks)
    for matrix in found:
        assert torch.equal(matrix.weight_OI() == 0, ~masks[matrix.name])
    assert all(torch.equal(value, masks[key]) for key, value in masked.masks_OI().items())
    model.save_pretrained(tmp_path)
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path, dtype=torch.float32, use_safetensors=True
    ).eval()
    with torch.no_grad():
        assert torch.equal(model(**tokens()).logits, loaded(**tokens()).logits)


@pytest.mark.parametrize("name", list(ARCHITECTURES))
def test_gradients_are_masked(name: str) -> None:
    model = build(name)
    masked = Masked(models.matrices(model))
    masked.set({matrix.name: torch.zeros_like(matrix.weight_OI(), dtype=torch.bool) for matrix in masked.matrices})
    model(**tokens()).logits.sum().backward()
    masked.mask_gradients()
    assert all(matrix.module.weight.grad.abs().sum() == 0 for matrix in masked.matrices)


def test_zeroed_equals_masking_weights_and_moments_at_every_step() -> None:
    """M§2.1: masking gradients before clipping is bit-identical under AdamW to zeroing weights and moments each step."""
    results = []
    for every_step in (False, True):
        model = build("xlm-roberta")
        masked = Masked(models.matrices(model))
        generator = torch.Generator().manual_seed(1)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
        for step in range(6):
            if step == 2:
                masked.set(
                    {m.name: torch.rand(m.weight_OI().shape, generator=generator) > 0.7 for m in masked.matrices}
                )
                masked.zero_moments(optimizer)
            model(**tokens()).logits.square().sum().backward()
            masked.mask_gradients()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
            optimizer.zero_grad()
            if every_step and step >= 2:
                masked.set(masked.masks_OI())
                masked.zero_moments(optimizer)
        results.append([matrix.weight_OI().clone() for matrix in masked.matrices])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_patterns() -> None:
    model = build("bert")
    assert {m.kind for m in models.matrices(model, include=["*query", "*key"])} == {"query", "key"}
    assert len(models.matrices(model, exclude=["*layer.0.*"])) == 6
    with pytest.raises(
        ConfigError, match=r"method.include: must match a prunable matrix such as bert.encoder.*; got 'nothing'"
    ):
        models.matrices(model, include=["nothing"])
    with pytest.raises(ConfigError, match="must leave a matrix to prune"):
        models.matrices(model, exclude=["*"])


def test_neighbours_follow_the_chains() -> None:
    found = models.matrices(build("bert"))
    pairs = {
        found[i].kind: tuple(n and n.kind for n in pair)
        for i, pair in enumerate(models.neighbours(build("bert"), found).values())
        if i < 6
    }
    assert (
        pairs["attention_output"] == ("value", None)
        and pairs["ffn_in"] == (None, "ffn_out")
        and pairs["query"] == (None, None)
    )


def test_an_unknown_architecture_falls_back_to_linear_maps_in_blocks() -> None:
    model = transformers.AutoModelForSequenceClassification.from_config(
        transformers.AlbertConfig(
            vocab_size=60,
            embedding_size=8,
            hidden_size=16,
            num_attention_heads=2,
            intermediate_size=32,
            num_hidden_groups=2,
            num_hidden_layers=2,
        )
    )
    found = models.matrices(model)
    assert len(found) == 12 and len({matrix.layer for matrix in found}) == 2


@pytest.mark.parametrize(("name", "longest"), [("xlm-roberta", 38), ("bert", 40), ("gpt2", 40)])
def test_longest_input(name: str, longest: int) -> None:
    assert models.longest_input(CONFIGS[name], 512) == longest
    assert models.longest_input(CONFIGS[name], 8) == 8


def test_half_precision_files_are_loaded_in_float32(tmp_path: Path, tiny_checkpoint: Path) -> None:
    half = transformers.AutoModel.from_pretrained(tiny_checkpoint, dtype=torch.float16)
    half.save_pretrained(tmp_path)
    loaded = models.load_model(str(tmp_path), task_type("sequence"), ("a", "b"))
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    again = models.load_model(str(tmp_path), task_type("sequence"), ("a", "b"), seed=1)
    assert not torch.equal(loaded.classifier.dense.weight, again.classifier.dense.weight)


def test_keep_matches_labels_by_name(tmp_path: Path, tiny_checkpoint: Path) -> None:
    model = models.load_model(str(tiny_checkpoint), task_type("sequence"), ("yes", "no", "maybe"))
    model.save_pretrained(tmp_path)
    assert models.keep_order(str(tmp_path), ("maybe", "no", "yes")) == ("yes", "no", "maybe")
    with pytest.raises(ConfigError, match="labels are a, b; got yes, no, maybe"):
        models.keep_order(str(tmp_path), ("a", "b"))


@pytest.mark.parametrize("how", ["first", "mean", "last"])
def test_pooling_leaves_padding_out(how: str) -> None:
    hidden = torch.arange(12.0).reshape(1, 4, 3)
    mask = torch.tensor([[1, 1, 1, 0]])
    expected = {"first": [0.0, 1, 2], "mean": [3.0, 4, 5], "last": [6.0, 7, 8]}[how]
    assert models.pool(hidden, mask, how).tolist() == [expected]


def test_a_folder_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="model.name"):
        models.load_model(str(tmp_path), task_type("sequence"), ("a", "b"))
    with pytest.raises(ConfigError, match="tokenizer"):
        models.load_tokenizer(str(tmp_path))


def test_no_code_uses_what_transformers_ignores() -> None:
    """`head_mask=` is silently ignored by transformers 5, and remote code is never run."""
    for path in (Path(__file__).parent.parent / "engine").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "head_mask=" not in text and "trust_remote_code=True" not in text, path


def test_random_weights_are_refused(tmp_path: Path, tiny_checkpoint: Path) -> None:
    """A checkpoint whose encoder does not fit, or that has no head to keep, would otherwise be filled up at random."""
    with pytest.raises(ConfigError, match="must hold every weight of the model and its head"):
        models.load_model(str(tiny_checkpoint), task_type("sequence"), ("a", "b"), head="keep")
    config = transformers.AutoConfig.from_pretrained(tiny_checkpoint)
    config.num_hidden_layers = 1
    transformers.XLMRobertaModel(config).save_pretrained(tmp_path)
    config.num_hidden_layers = 2
    config.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="must hold every weight of the encoder"):
        models.load_model(str(tmp_path), task_type("sequence"), ("a", "b"))


def test_causal_models_pool_the_last_token() -> None:
    assert models.pooling_of(CONFIGS["gpt2"], "first") == "last"
    assert models.pooling_of(CONFIGS["bert"], "first") == "first"
