"""Shared fixtures: no network, few threads, and tiny checkpoints and data made on the spot."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import random
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHARED_DATA = ROOT.parent / "shared" / "data"

WORDS = {
    "en": {"play": "play loud song music", "light": "switch lamp bright room", "call": "phone mother speak number"},
    "de": {
        "play": "spiele laut lied musik",
        "light": "schalte lampe hell zimmer",
        "call": "telefon mutter sprechen nummer",
    },
}


def sentences(language: str, split: str, count: int) -> list[tuple[str, str, str]]:
    """(id, text, label) rows: words of the label's own list, the same ids and labels in every language."""
    rows = []
    for number in range(count):
        label = sorted(WORDS["en"])[number % 3]
        chooser = random.Random(f"{split}{number}")
        picks = [chooser.randrange(4) for _ in range(3 + number % 4)]
        words = WORDS[language][label].split()
        rows.append((f"{split}-{number}", " ".join(words[pick] for pick in picks) + f" {split} {number}", label))
    return rows


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with {train,test}.{en,de}.tsv: three labels, parallel by id."""
    folder = tmp_path_factory.mktemp("data")
    for language in WORDS:
        for split, count in (("train", 96), ("test", 48)):
            lines = ["id\ttext\tlabel", *("\t".join(row) for row in sentences(language, split, count))]
            (folder / f"{split}.{language}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def save_tokenizer(folder: Path) -> None:
    """Train a small word-piece tokenizer on the tiny data's words and save it beside a checkpoint."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    text = [text for language in WORDS for _, text, _ in sentences(language, "train", 96)]
    tokenizer.train_from_iterator(
        text, trainers.BpeTrainer(vocab_size=220, special_tokens=special, show_progress=False)
    )
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>", mask_token="<mask>",
        cls_token="<s>", sep_token="</s>", model_max_length=64,
    ).save_pretrained(folder)  # fmt: skip


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random XLM-R-style encoder of 2 blocks × 32, saved as a Hugging Face folder."""
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaModel

    folder = tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=220, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, max_position_embeddings=66,
        type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    XLMRobertaModel(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random GPT-2 of 2 blocks × 32 with a byte-level tokenizer of its own."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("gpt2")
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=400, n_embd=32, n_layer=2, n_head=4, n_positions=96, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer = ByteLevelBPETokenizer()
    text = [text for language in WORDS for _, text, _ in sentences(language, "train", 96)]
    tokenizer.train_from_iterator(text, vocab_size=400, special_tokens=["<|endoftext|>"], show_progress=False)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer._tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>",
        model_max_length=96,
    ).save_pretrained(folder)  # fmt: skip
    return folder


STUDY = """
[study]
name = "tiny"
seeds = [0]
device = "cpu"
precision = "fp32"
[model]
name = "{checkpoint}"
[task]
name = "custom"
type = "sequence"
source_languages = ["en"]
languages = ["en", "de"]
train = "{data}/train.{{language}}.tsv"
test = "{data}/test.{{language}}.tsv"
max_length = 32
[train]
epochs = 6
batch_size = 16
learning_rate = 5e-3
evaluations = 2
[probe]
examples = 12
{methods}
"""


@pytest.fixture()
def tiny_study(tmp_path: Path, tiny_data: Path, tiny_checkpoint: Path):
    """Write a study file over the tiny data and checkpoint; call with the text of its methods."""

    def write(
        methods: str = '[[method]]\nrecipe = "magnitude"\nlevels = [0.5, 0.9]', name: str = "study.toml", **changes: str
    ) -> Path:
        text = STUDY.format(checkpoint=tiny_checkpoint, data=tiny_data, methods=methods)
        for old, new in changes.items():
            text = text.replace(f'"{old}"', new)
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def shared(*parts: str) -> Path:
    """A folder of the real data sets; the test is skipped with a message where it is absent."""
    path = SHARED_DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"real data not there: shared/data/{'/'.join(parts)}")
    return path
