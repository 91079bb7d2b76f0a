"""The one table that knows the module names of each architecture (M§1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from engine.registry import Registry


@dataclass(frozen=True, slots=True)
class Heads:
    """What a block's attention must be told when it loses heads: paths relative to the block, the rest its attributes.

    `size` holds the width of one head, `counts` the number of heads, `widths` their product. `further` names linear
    maps, where a model has them, whose rows belong to heads although they are not prunable (DeBERTa's positions).
    """

    module: str
    size: str
    counts: tuple[str, ...]
    widths: tuple[str, ...] = ()
    further: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Architecture:
    """One row: where the repeated blocks of a model type are, its prunable maps by kind, and its heads.

    `blocks` and the maps' paths are relative to the base model and to one block. `transposed` marks Conv1D, which
    stores I×O, `causal` models whose first token sees nothing else. `chains` names the maps whose units feed each other (for neighbour-aware criteria).
    """

    name: str
    blocks: str
    maps: Mapping[str, str]
    heads: Heads
    transposed: bool = False
    causal: bool = False
    chains: tuple[tuple[str, str], ...] = field(default=(("value", "attention_output"), ("ffn_in", "ffn_out")))


_BERT = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "ffn_in": "intermediate.dense",
    "ffn_out": "output.dense",
}
_DEBERTA = {
    **_BERT,
    "query": "attention.self.query_proj",
    "key": "attention.self.key_proj",
    "value": "attention.self.value_proj",
}
_DISTILBERT = {
    "query": "attention.q_lin",
    "key": "attention.k_lin",
    "value": "attention.v_lin",
    "attention_output": "attention.out_lin",
    "ffn_in": "ffn.lin1",
    "ffn_out": "ffn.lin2",
}
_GPT2 = {
    "query_key_value": "attn.c_attn",
    "attention_output": "attn.c_proj",
    "ffn_in": "mlp.c_fc",
    "ffn_out": "mlp.c_proj",
}
_BERT_HEADS = Heads("attention.self", "attention_head_size", ("num_attention_heads",), ("all_head_size",))
_DEBERTA_HEADS = replace(_BERT_HEADS, further=("attention.self.pos_key_proj", "attention.self.pos_query_proj"))
_DISTILBERT_HEADS = Heads("attention", "attention_head_size", ("n_heads",))
_GPT2_HEADS = Heads("attn", "head_dim", ("num_heads",), ("split_size",))

ARCHITECTURES: Registry[Architecture] = Registry(
    "architecture",
    (
        Architecture("bert", "encoder.layer", _BERT, _BERT_HEADS),
        Architecture("roberta", "encoder.layer", _BERT, _BERT_HEADS),
        Architecture("xlm-roberta", "encoder.layer", _BERT, _BERT_HEADS),
        Architecture("electra", "encoder.layer", _BERT, _BERT_HEADS),
        Architecture("distilbert", "transformer.layer", _DISTILBERT, _DISTILBERT_HEADS),
        Architecture("deberta-v2", "encoder.layer", _DEBERTA, _DEBERTA_HEADS),
        Architecture("gpt2", "h", _GPT2, _GPT2_HEADS, transposed=True, causal=True, chains=(("ffn_in", "ffn_out"),)),
    ),
)
