"""The bundled tokenizer: XLM-R's kind (Unigram, ▁ marks a word's start) and special ids, with its own vocabulary.

Unknown tokens cannot occur: pieces for the 256 bytes spell out what the vocabulary lacks, so that a user's own
language is slow rather than invisible. NFKC is the whole normalisation; case and accents carry meaning
(Turkish ı and i, Vietnamese tones).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")  # ids 0 to 3 as in XLM-R; <mask> is the last id
MASK = "<mask>"
MAX_LENGTH = 128
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def train(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Train a Unigram tokenizer with `vocabulary` entries in all, special tokens and bytes included."""
    learner = _pipeline(Tokenizer(models.Unigram()))
    size = vocabulary - len(_BYTES) - 1
    trainer = trainers.UnigramTrainer(
        vocab_size=size, special_tokens=list(SPECIAL), unk_token="<unk>", show_progress=False
    )
    learner.train_from_iterator(texts, trainer)
    return _with_bytes(json.loads(learner.to_str())["model"]["vocab"])


def _with_bytes(learned: list[list[Any]]) -> Tokenizer:
    """Rebuild the tokenizer with byte pieces, less likely than every learned piece, and the mask at the end."""
    entries = [(piece, round(score, 4)) for piece, score in learned]
    special, pieces = entries[: len(SPECIAL)], entries[len(SPECIAL) :]
    pieces.sort(key=lambda entry: (-entry[1], entry[0]))  # the learner leaves ties in any order
    least = pieces[-1][1] - 10
    vocabulary = [*special, *pieces, *((piece, least) for piece in _BYTES), (MASK, 0.0)]
    tokenizer = _pipeline(Tokenizer(models.Unigram(vocabulary, unk_id=3, byte_fallback=True)))
    tokenizer.add_special_tokens([*SPECIAL, MASK])
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.ByteFallback(),
            decoders.Metaspace(replacement="▁", prepend_scheme="always"),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def _pipeline(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("\u200b", "")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always"),
        ]
    )
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write `tokenizer` so that `AutoTokenizer.from_pretrained(folder)` gives the same one."""
    from transformers import PreTrainedTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    begin, pad, end, unknown = SPECIAL
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=begin,
        cls_token=begin,
        pad_token=pad,
        eos_token=end,
        sep_token=end,
        unk_token=unknown,
        mask_token=MASK,
        model_max_length=MAX_LENGTH,
        model_input_names=["input_ids", "attention_mask"],
    )
    fast.save_pretrained(folder)
