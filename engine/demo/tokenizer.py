"""The bundled tokenizer: XLM-R's kind (Unigram, ▁ marks a word's start) and special ids, with its own vocabulary.

Unknown tokens cannot occur: pieces for the 256 bytes spell out what the vocabulary lacks, so that a user's own
language is slow rather than invisible. NFKC is the whole normalisation; case and accents carry meaning
(Turkish ı and i, Vietnamese tones). Han characters are tokens each: without spaces the learner would take whole
clauses of so small a text for words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

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
    special, entries = learned[: len(SPECIAL)], learned[len(SPECIAL) :]
    least = round(min(score for _, score in entries), 2)
    # The learner adds the characters that it must keep in any order, with scores that differ by .0001: one score for
    # all, and an order of our own, make two builds agree.
    pieces = [(piece, least if score < least + 0.02 else round(score, 4)) for piece, score in entries]
    pieces.sort(key=lambda entry: (-entry[1], entry[0]))
    head = [(piece, score) for piece, score in special]
    vocabulary = [*head, *pieces, *((piece, least - 10) for piece in _BYTES), (MASK, 0.0)]
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
            pre_tokenizers.Split(Regex(r"\p{Han}"), "isolated"),
        ]
    )
    return tokenizer


def splits(tokenizer: PreTrainedTokenizerBase) -> list[list[tuple[int, int]]]:
    """For every token id, the pairs of other tokens that spell the same; none for special tokens and bytes.

    Pretraining takes tokens apart at random, so that the encoder knows the parts of words that it has always met
    whole, and an unseen form of a known word is not noise (subword regularisation, Kudo 2018, arXiv 1804.10959, in
    its simplest form).
    """
    ids = tokenizer.get_vocab()
    fixed = {*tokenizer.all_special_tokens, *_BYTES}
    pairs: list[list[tuple[int, int]]] = [[] for _ in range(len(tokenizer))]
    for piece, at in ids.items():
        if piece not in fixed:
            cuts = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
            pairs[at] = [(ids[left], ids[right]) for left, right in cuts if left in ids and right in ids]
    return pairs


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
