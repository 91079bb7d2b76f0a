"""Vocabulary pruning: every tokenizer model and its class in transformers, on trained tokenizers and random networks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from engine.config import ConfigError
from engine.model import BUNDLED_MODEL
from engine.vocabulary import pieces, prune
from tests import reference

DATA = BUNDLED_MODEL.parent / "data" / "intent"
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def corpus(language: str) -> list[str]:
    return pd.read_csv(DATA / f"natural.{language}.tsv", sep="\t")["text"].to_list()


TRAIN = [*corpus("en"), *corpus("fr"), *corpus("ru")]
GIVEN = [*corpus("en")[:60], "it's 7 o'clock  now", "Ωmega \U0001f600 <mask> ça"]


def unigram() -> transformers.PreTrainedTokenizerBase:
    """XLM-R's: SentencePiece Unigram without byte pieces."""
    learner = Tokenizer(models.Unigram())
    learner.normalizer = normalizers.NFKC()
    learner.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=700, special_tokens=SPECIAL[:4], unk_token="<unk>", show_progress=False
    )
    learner.train_from_iterator(TRAIN, trainer)
    entries = [tuple(entry) for entry in json.loads(learner.to_str())["model"]["vocab"]]
    return transformers.XLMRobertaTokenizer(vocab=entries)


def byte_level(kind: type, special: list[str]) -> transformers.PreTrainedTokenizerBase:
    """GPT-2's and RoBERTa's: BPE over bytes."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learner.train_from_iterator(TRAIN, trainer)
    found = json.loads(learner.to_str())["model"]
    return kind(vocab=found["vocab"], merges=[tuple(merge) for merge in found["merges"]])


def word_piece() -> transformers.PreTrainedTokenizerBase:
    """BERT's."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    learner = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    learner.normalizer = normalizers.BertNormalizer(lowercase=True)
    learner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    learner.train_from_iterator(
        TRAIN, trainers.WordPieceTrainer(vocab_size=700, special_tokens=special, show_progress=False)
    )
    return transformers.BertTokenizer(vocab=json.loads(learner.to_str())["model"]["vocab"])


def suffixed() -> transformers.PreTrainedTokenizerBase:
    """The first GPT's and CLIP's: BPE over characters whose last of a word carries a mark."""
    learner = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=SPECIAL, end_of_word_suffix="</w>", show_progress=False
    )
    learner.train_from_iterator(TRAIN, trainer)
    learner.decoder = decoders.BPEDecoder()
    learner.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 0))
    names = {
        "bos_token": "<s>",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    return transformers.PreTrainedTokenizerFast(tokenizer_object=learner, **names)


def roberta(kind: type, size: int, tie: bool = True) -> torch.nn.Module:
    config = kind.config_class(**SIZE, vocab_size=size, max_position_embeddings=130, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2, tie_word_embeddings=tie)  # fmt: skip
    return kind(config)


CASES: dict[str, tuple[Callable[[], transformers.PreTrainedTokenizerBase], Callable[[int], torch.nn.Module]]] = {
    "unigram, tied head": (unigram, lambda size: roberta(transformers.XLMRobertaForMaskedLM, size)),
    "byte BPE, tied head": (
        lambda: byte_level(transformers.RobertaTokenizer, SPECIAL),
        lambda size: roberta(transformers.RobertaForMaskedLM, size),
    ),
    "byte BPE, untied head": (
        lambda: byte_level(transformers.RobertaTokenizer, SPECIAL),
        lambda size: roberta(transformers.RobertaForMaskedLM, size, tie=False),
    ),
    "byte BPE, causal": (
        lambda: byte_level(transformers.GPT2Tokenizer, ["<|endoftext|>"]),
        lambda size: transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                n_embd=32, n_layer=2, n_head=2, n_positions=130, vocab_size=size, bos_token_id=0, eos_token_id=0
            )
        ),
    ),
    "suffix BPE, no head": (suffixed, lambda size: roberta(transformers.XLMRobertaModel, size)),
    "word pieces, two heads": (
        word_piece,
        lambda size: transformers.BertForPreTraining(transformers.BertConfig(**SIZE, vocab_size=size)),
    ),
}


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """(whole checkpoint, pruned checkpoint, file of the given texts); rows behind the tokenizer's end are padding."""
    folder = tmp_path_factory.mktemp("vocabulary")
    tokenizer, build = CASES[request.param][0](), CASES[request.param][1]
    torch.manual_seed(0)
    build(len(tokenizer) + 7).save_pretrained(folder / "whole")
    tokenizer.save_pretrained(folder / "whole")
    (folder / "texts.txt").write_text("\n".join(GIVEN) + "\n\n", encoding="utf-8")
    prune(str(folder / "whole"), [folder / "texts.txt"], [], folder / "small")
    return folder / "whole", folder / "small", folder / "texts.txt"


def states(folder: Path, texts: list[str]) -> torch.Tensor:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(**tokenizer(texts, padding=True, return_tensors="pt")).last_hidden_state


def test_states_are_the_same_bit_for_bit(case: tuple[Path, Path, Path]) -> None:
    whole, small, _ = case
    assert torch.equal(states(whole, GIVEN), states(small, GIVEN))
    pair = ([GIVEN[0]], [GIVEN[1]])
    first, second = (
        transformers.AutoTokenizer.from_pretrained(folder)(*pair, return_tensors="pt") for folder in (whole, small)
    )
    assert first["input_ids"].shape == second["input_ids"].shape


def test_ids_map_one_to_one_and_names_stay(case: tuple[Path, Path, Path]) -> None:
    whole, small, _ = case
    before, after = (transformers.AutoTokenizer.from_pretrained(folder) for folder in (whole, small))
    number: dict[int, int] = {}
    for text in GIVEN:
        for old, new in zip(before(text)["input_ids"], after(text)["input_ids"], strict=True):
            assert number.setdefault(old, new) == new
            assert before.convert_ids_to_tokens(old) == after.convert_ids_to_tokens(new)
    assert len(set(number.values())) == len(number) < len(before)
    assert before.special_tokens_map == after.special_tokens_map
    config, old = (transformers.AutoConfig.from_pretrained(folder) for folder in (small, whole))
    assert config.vocab_size == len(after) < old.vocab_size
    for key in ("pad", "bos", "eos"):
        kept = getattr(old, f"{key}_token_id", None)
        assert kept is None or before.convert_ids_to_tokens(kept) == after.convert_ids_to_tokens(getattr(config, f"{key}_token_id"))  # fmt: skip


def test_heads_are_cut_with_their_rows(case: tuple[Path, Path, Path]) -> None:
    """The language-model head answers as before on the pieces that are left (a product of another shape rounds otherwise)."""
    whole, small, _ = case
    name = transformers.AutoConfig.from_pretrained(whole).architectures[0]
    before, after = (getattr(transformers, name).from_pretrained(folder).eval() for folder in (whole, small))
    if not before.get_output_embeddings():
        pytest.skip("a checkpoint without a language-model head")
    tokens = [transformers.AutoTokenizer.from_pretrained(folder) for folder in (whole, small)]
    kept = [tokens[0].convert_tokens_to_ids(piece) for piece in tokens[1].convert_ids_to_tokens(range(len(tokens[1])))]
    with torch.no_grad():
        outputs = [
            model(**tokenizer(GIVEN[0], return_tensors="pt"))
            for model, tokenizer in zip((before, after), tokens, strict=True)
        ]
    logits = [output.prediction_logits if "prediction_logits" in output else output.logits for output in outputs]
    assert torch.allclose(logits[0][..., kept], logits[1], atol=1e-6)
    assert set(before.state_dict()) == set(after.state_dict())


def test_other_texts_become_smaller_pieces_and_not_unknown(case: tuple[Path, Path, Path]) -> None:
    whole, small, _ = case
    before, after = (transformers.AutoTokenizer.from_pretrained(folder) for folder in (whole, small))
    longer = 0
    for text in corpus("ru")[:80] + corpus("de")[:80]:
        old, new = before(text)["input_ids"], after(text)["input_ids"]
        assert new.count(after.unk_token_id) <= old.count(before.unk_token_id)
        assert len(new) >= len(old) - old.count(before.unk_token_id)
        longer += len(new) > len(old)
        if before.unk_token_id not in old:
            assert before.decode(old) == after.decode(new)
    assert longer > 80


def test_a_second_time_changes_nothing(case: tuple[Path, Path, Path], tmp_path: Path) -> None:
    _, small, texts = case
    found = prune(str(small), [texts], [], tmp_path / "again")
    assert found.rows_after == found.rows_before and found.bytes_saved == 0
    for path in small.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_the_bundled_model_on_its_own_natural_split(tmp_path: Path) -> None:
    files = [DATA / "natural.en.tsv", DATA / "natural.hi.tsv"]
    found = prune("bundled", files, ["text"], tmp_path / "small")
    rows = pd.concat([pd.read_csv(file, sep="\t") for file in files])["text"].to_list()
    assert torch.equal(states(BUNDLED_MODEL, rows[::9]), states(tmp_path / "small", rows[::9]))
    assert found.rows_before == 8000 and found.rows_after == sum(found.reasons.values()) < 4500
    assert found.reasons["used"] > 500 and found.texts == len(rows)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (BUNDLED_MODEL, tmp_path / "small")]
    assert [found.files_before, found.files_after] == sizes and found.bytes_saved >= 2 * 192 * (8000 - found.rows_after)
    text = "Ωμέγα 漢字 \U0001f600"
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "small")
    assert tokenizer.unk_token_id not in tokenizer(text)["input_ids"]
    assert text.casefold() in tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True).casefold()


def test_several_weight_files(tmp_path: Path) -> None:
    tokenizer = unigram()
    roberta(transformers.XLMRobertaForMaskedLM, len(tokenizer)).save_pretrained(
        tmp_path / "whole", max_shard_size="60KB"
    )
    tokenizer.save_pretrained(tmp_path / "whole")
    assert len(list((tmp_path / "whole").glob("*.safetensors"))) > 1
    (tmp_path / "texts.txt").write_text("\n".join(GIVEN), encoding="utf-8")
    prune(str(tmp_path / "whole"), [tmp_path / "texts.txt"], [], tmp_path / "small")
    assert torch.equal(states(tmp_path / "whole", GIVEN), states(tmp_path / "small", GIVEN))


def test_a_word_that_ends_unknown_stays_unknown() -> None:
    """Without "ab" the word would be a + ##bc: the pieces on the way to a dead end must stay."""
    model = {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
    }
    model["vocab"] = {piece: number for number, piece in enumerate(["[UNK]", "a", "##b", "ab", "##bc", "b"])}
    spec = {"model": model, "added_tokens": []}
    assert pieces.way_to_unknown("abc", model["vocab"], model) == {3}
    assert 3 not in set().union(*pieces.select(spec, [0, 4]).values())


def test_a_character_known_only_inside_a_piece_stays() -> None:
    vocab = [["<unk>", 0.0], ["a", -1.0], ["xy", -2.0], ["aa", -3.0], ["aaa", -4.0]]
    spec = {"model": {"type": "Unigram", "unk_id": 0, "vocab": vocab}, "added_tokens": []}
    found = pieces.select(spec, [1])
    assert found["needed"] == {2, 4}  # xy spells x and y; aaa is the least likely, which prices the unknown
    assert 3 not in set().union(*found.values())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("abc", min_size=1, max_size=8), min_size=1, max_size=12), st.integers(8, 40))
def test_bpe_keeps_the_merges_of_a_piece(words: list[str], size: int) -> None:
    """On random tokenizers: the merges found for a piece are those of a slow BPE, and the smaller one cuts alike."""
    learner = Tokenizer(models.BPE())
    learner.train_from_iterator(words, trainers.BpeTrainer(vocab_size=size, show_progress=False))
    spec = json.loads(learner.to_str())
    ranks = pieces.merge_ranks(spec["model"])
    for word in words:
        assert [product for _, product in pieces.build(word, ranks, spec["model"])] == reference.bpe_products(
            word, ranks
        )
    half = words[: (len(words) + 1) // 2]
    used = {index for word in half for index in learner.encode(word).ids}
    ids = sorted(set().union(*pieces.select(spec, used).values()))
    smaller = Tokenizer.from_str(json.dumps(pieces.reduce(spec, ids)))
    assert all(smaller.encode(word).tokens == learner.encode(word).tokens for word in half)
    assert all("".join(smaller.encode(word).tokens) == "".join(learner.encode(word).tokens) for word in words)


def refuse(name: Path | str, match: str, target: Path, *files: Path, columns: tuple[str, ...] = ()) -> None:
    with pytest.raises(ConfigError, match=match):
        prune(str(name), files, columns, target)
    assert not target.exists() and not [path for path in target.parent.iterdir() if path.name.startswith(".")]


def test_refusals_write_nothing(tmp_path: Path, tiny_checkpoint: Path) -> None:
    text, target = tmp_path / "text.txt", tmp_path / "out"
    text.write_text("play a song\n")
    refuse("bundled", "text: must name at least one file", target)
    refuse("bundled", "text: must be a file; got .*nothing.txt", target, tmp_path / "nothing.txt")
    refuse("bundled", "column: must name a column", target, DATA / "natural.en.tsv")
    refuse("bundled", "column: must be one of id, text", target, DATA / "natural.en.tsv", columns=("words",))
    (tmp_path / "blank.txt").write_text(" \n\n")
    refuse("bundled", "text: must hold at least one text", target, tmp_path / "blank.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    refuse("bundled", "must be UTF-8", target, tmp_path / "latin.txt")
    (tmp_path / "empty").mkdir()
    refuse(tmp_path / "empty", "could not be loaded", target, text)
    config = transformers.XLMRobertaConfig.from_pretrained(tiny_checkpoint, intermediate_size=220)
    transformers.XLMRobertaModel(config).save_pretrained(tmp_path / "same")
    transformers.AutoTokenizer.from_pretrained(tiny_checkpoint).save_pretrained(tmp_path / "same")
    refuse(tmp_path / "same", "vocab_size must differ .* as intermediate_size", target, text)
    (tmp_path / "same" / "model.safetensors").unlink()
    refuse(tmp_path / "same", "must hold safetensors weights", target, text)
    target.mkdir()
    (target / "mine").write_text("kept")
    with pytest.raises(ConfigError, match="to: must be a new or empty folder"):
        prune(str(tiny_checkpoint), [text], [], target)
    assert (target / "mine").read_text() == "kept"


def test_tokenizers_that_cannot_be_cut(tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = tmp_path / "text.txt"
    text.write_text("play a song\n")
    transformers.AutoModel.from_pretrained(tiny_checkpoint).save_pretrained(tmp_path / "words")
    words = Tokenizer(models.WordLevel({"<unk>": 0, "play": 1}, unk_token="<unk>"))
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", pad_token="<unk>").save_pretrained(tmp_path / "words")  # fmt: skip
    refuse(tmp_path / "words", "must be one of Unigram, BPE, WordPiece; got WordLevel", tmp_path / "out", text)

    class Slow:
        is_fast = False

    monkeypatch.setattr("engine.vocabulary.models.load_tokenizer", lambda path: Slow())
    refuse(tiny_checkpoint, "needs a fast tokenizer .*; Slow is slow", tmp_path / "out", text)
