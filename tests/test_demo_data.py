"""The bundled data, tokenizer and encoder as they lie in the repository, and the grammar that made them."""

from __future__ import annotations

import math
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from engine.demo import check, corpus, pairs
from engine.demo.build import DATA, MODEL, intent_rows
from engine.demo.corpus import NO_INTENT, Sources, read_sources, resource_levels
from engine.demo.grammar import Grammar, capitalise, fill, load, parse, plain
from engine.tasks.languages import LANGUAGES, resolve

CODES = tuple(resource_levels())
COUNTS = {"validation": 192, "test": 512, "natural": 224}
INTENT_HEADER = ["id", "text", "label", "tokens", "slots"]


@cache
def rows(task: str, split: str, code: str) -> list[list[str]]:
    lines = (DATA / task / f"{split}.{code}.tsv").read_text(encoding="utf-8").rstrip("\n").split("\n")
    return [line.split("\t") for line in lines]


def column(task: str, split: str, code: str, name: str) -> list[str]:
    header, *body = rows(task, split, code)
    return [row[header.index(name)] for row in body]


@pytest.fixture(scope="module")
def sources() -> Sources:
    return read_sources()


@pytest.fixture(scope="module")
def toy() -> Grammar:
    lexicon = {"city": {"rome": {"base": "rome", "in": "in [old rome]", "gender": "f"}, "oslo": {"base": "oslo"}}}
    return Grammar("en", " ", lexicon, {}, {})


def test_languages_cover_families_and_scripts() -> None:
    known = [LANGUAGES[code] for code in CODES]
    assert len(CODES) >= 12
    assert len({language.script for language in known}) >= 5
    assert any(language.direction == "rtl" for language in known)
    levels = list(resource_levels().values())
    assert levels == sorted(levels, reverse=True) and levels[0] == 1.0 and levels[-1] <= 0.1


@pytest.mark.parametrize("code", CODES)
def test_intent_splits_are_complete_and_parallel(code: str) -> None:
    for split in ("train", *COUNTS):
        assert rows("intent", split, code)[0] == INTENT_HEADER
        for name in ("id", "label"):
            assert column("intent", split, code, name) == column("intent", split, "en", name)
        texts = [plain(text) for text in column("intent", split, code, "text")]
        assert all(texts)
        if split != "natural":
            assert len(set(texts)) == len(texts), "a sentence stands twice"
    for split, count in COUNTS.items():
        assert len(set(column("intent", split, code, "id"))) == count


def test_intents_are_balanced() -> None:
    for split, count in COUNTS.items():
        per_intent = Counter(column("intent", split, "en", "label"))
        assert len(per_intent) == 16 and set(per_intent.values()) == {count // 16}
    grammar_items = [
        label
        for name, label in zip(*(column("intent", "train", "en", key) for key in ("id", "label")), strict=True)
        if not name.startswith("phrase-")
    ]
    assert set(Counter(grammar_items).values()) == {40}
    assert NO_INTENT not in column("intent", "train", "en", "label")


@pytest.mark.parametrize("code", CODES)
def test_slots_are_valid_bio_and_agree_across_languages(code: str) -> None:
    for split in ("train", "validation", "test"):
        for row, english in zip(rows("intent", split, code)[1:], rows("intent", split, "en")[1:], strict=True):
            tokens, tags = row[3].split(), row[4].split()
            assert len(tokens) == len(tags), row
            assert bool(tokens) == (not row[0].startswith("phrase-"))
            for before, tag in zip(["O", *tags], tags, strict=False):
                assert tag == "O" or tag[0] == "B" or before[2:] == tag[2:], row
            begun = {tag for tag in tags if tag[0] == "B"}
            assert begun == {tag for tag in english[4].split() if tag[0] == "B"}
            assert plain("".join(tokens)) == plain(row[1]) if tokens else True
    assert not any(column("intent", "natural", code, "tokens"))


@pytest.mark.parametrize("code", CODES)
def test_pairs_are_balanced_and_parallel(code: str) -> None:
    for split, count in (("train", 1536), ("validation", 192), ("test", 528)):
        assert rows("pair", split, code)[0] == ["id", "text", "pair", "label"]
        assert column("pair", split, code, "id") == column("pair", split, "en", "id")
        labels = Counter(column("pair", split, code, "label"))
        assert labels == dict.fromkeys(pairs.LABELS, count // 3)
        assert len({tuple(row[1:3]) for row in rows("pair", split, code)[1:]}) == count
    assert not set(column("pair", "test", code, "pair")) & set(column("pair", "train", code, "pair"))


def test_held_out_text_is_read_by_no_training(sources: Sources) -> None:
    assert corpus.overlaps(sources) == []
    for code in CODES:
        train = {plain(text) for text in column("intent", "train", code, "text")}
        held = {plain(text) for split in ("test", "natural") for text in column("intent", split, code, "text")}
        assert not held & train
        assert not held & set(sources.readable[code])
        assert not held & {plain(text) for text in column("intent", "validation", code, "text")}


def test_pretraining_text_holds_nothing_held_out(sources: Sources) -> None:
    from engine.demo.build import pretraining_rows
    from engine.demo.recipe import Recipe

    read = pretraining_rows(sources, Recipe())
    assert len(read) > 2500
    for code in CODES:
        seen = {plain(row.text[code]) for row in read}
        for split in COUNTS:
            assert not seen & {plain(text) for text in column("intent", split, code, "text")}
        for column_name in ("text", "pair"):
            assert not seen & {plain(text) for text in column("pair", "test", code, column_name)}


def test_data_files_are_what_the_sources_give(sources: Sources) -> None:
    items = corpus.choose_items(sources)
    for code in CODES:
        for split, made in intent_rows(sources, items, code).items():
            assert [list(row) for row in made] == rows("intent", split, code)[1:], "run python -m engine.demo.build"
    for split, chosen in items.items():
        for code in CODES:
            made = [
                [pair.id, pair.text[code], pair.pair[code], pair.label]
                for pair in pairs.make_pairs(sources, split, chosen)
            ]
            assert made == rows("pair", split, code)[1:], "run python -m engine.demo.build"


def test_sizes_stay_within_budget() -> None:
    assert sum(path.stat().st_size for path in DATA.rglob("*.tsv")) < 10e6
    assert sum(path.stat().st_size for path in MODEL.iterdir()) <= 12e6


def test_tokenizer_knows_every_text() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    assert tokenizer.is_fast and tokenizer.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>"]) == [0, 1, 2, 3]
    assert tokenizer.mask_token_id == len(tokenizer) - 1
    texts = [text for code in CODES for split in COUNTS for text in column("intent", split, code, "text")]
    encoded = tokenizer([*texts, "ᚠᛇ 𓀀 🙂"])["input_ids"]
    assert not any(tokenizer.unk_token_id in ids for ids in encoded)
    assert max(map(len, encoded)) <= tokenizer.model_max_length == 128
    for text in ("Işığı aç.", "मुझे जगाओ।", "أيقظني؟", "几点了？", "Đặt báo thức."):
        assert plain(tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True)) == plain(text)


def test_byte_pieces_are_rare_on_the_sets_own_text() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    for code in CODES:
        ids = [value for row in tokenizer(column("intent", "test", code, "text"))["input_ids"] for value in row]
        pieces = tokenizer.convert_ids_to_tokens(ids)
        assert sum(piece.startswith("<0x") for piece in pieces) / len(pieces) < 0.01


def test_encoder_loads_and_its_language_model_head_is_tied() -> None:
    import torch
    from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForMaskedLM.from_pretrained(MODEL, dtype=torch.float32, use_safetensors=True)
    assert model.config.model_type == "xlm-roberta" and model.config.vocab_size == len(tokenizer)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in model.parameters())
    english, german = (column("intent", "test", code, "text")[::16] for code in ("en", "de"))
    batch = tokenizer(english, german, padding=True, return_tensors="pt")
    ordinary = batch["input_ids"] > 3
    hidden = ordinary & (torch.arange(ordinary.shape[1]) % 5 == 0)
    labels = batch["input_ids"].masked_fill(~hidden, -100)
    batch["input_ids"] = batch["input_ids"].masked_fill(hidden, tokenizer.mask_token_id)
    with torch.inference_mode():
        loss = model(**batch, labels=labels).loss.item()
    assert loss < 0.8 * math.log(len(tokenizer)), "on unseen translation pairs the head must beat a uniform guess"
    classifier = AutoModelForSequenceClassification.from_pretrained(
        MODEL, num_labels=16, dtype=torch.float32, use_safetensors=True
    )
    with torch.inference_mode():
        assert classifier(**batch).logits.shape == (len(english), 16)


def test_translations_lie_close_together() -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModel.from_pretrained(MODEL, dtype=torch.float32, use_safetensors=True)
    states = {}
    for code in ("en", "de"):
        texts = column("intent", "test", code, "text")[::8]
        with torch.inference_mode():
            first = model(**tokenizer(texts, padding=True, return_tensors="pt")).last_hidden_state[:, 0]
        states[code] = torch.nn.functional.normalize(first, dim=-1)
    nearest = (states["en"] @ states["de"].T).argmax(-1)
    assert (nearest == torch.arange(len(nearest))).float().mean() > 0.5


def test_fill_marks_slots_and_agreement(toy: Grammar) -> None:
    template = parse("¿{city:in}, {city@gender: f=she | m=he} sleeps?")
    sentence = fill(template, {"city": "rome"}, toy)
    assert sentence.text == "¿In old rome, she sleeps?"
    assert sentence.tokens == ("¿", "In", "old", "rome", ",", "she", "sleeps", "?")
    assert sentence.tags == ("O", "O", "B-city", "I-city", "O", "O", "O", "O")


def test_fill_without_spaces_and_with_glued_suffix(toy: Grammar) -> None:
    chinese = Grammar("zh", "", {"day": {"today": {"base": "今天 早上"}}}, {}, {})
    sentence = fill(parse("{day} 叫醒 我，好 吗？"), {"day": "today"}, chinese)
    assert sentence.text == "今天早上叫醒我，好吗？"
    assert sentence.tokens == ("今天", "早上", "叫醒", "我", "，", "好", "吗", "？")
    assert fill(parse("{city}'da 8:30."), {"city": "rome"}, toy).tokens == ("Rome'da", "8:30", ".")


@pytest.mark.parametrize(
    ("text", "code", "expected"),
    [
        ("işık", "tr", "İşık"),
        ("¿qué?", "es", "¿Qué?"),
        ("ήλιος", "el", "Ήλιος"),
        ("8 uhr", "de", "8 uhr"),
        ("", "en", ""),
    ],
)
def test_capitalise(text: str, code: str, expected: str) -> None:
    assert capitalise(text, code) == expected


@pytest.mark.parametrize("source", ["{city", "{{city}}", "{city:in:at}", "{city@gender: f}", "{}"])
def test_broken_templates_are_refused(source: str) -> None:
    with pytest.raises(ValueError, match="template"):
        parse(source)


def test_all_grammar_problems_are_named_at_once(sources: Sources, tmp_path: Path) -> None:
    english = Path(corpus.FOLDER / "source/grammar/en.toml").read_text(encoding="utf-8")
    broken = english.replace('code = "en"', 'code = "xx"').replace('"Stop the music."', '"Stop {city:near}."')
    broken = broken.replace('base = "jazz"', 'base = "[jazz"').replace('  "Call {person}.",\n', "")
    path = tmp_path / "xx.toml"
    path.write_text(broken, encoding="utf-8")
    found = "\n".join(check.grammar_problems(load(path), sources.grammars["en"]))
    assert "lexicon.music.jazz.base" in found and "templates.call_make.train: must hold 8" in found
    path.write_text(english.replace('"Stop the music."', '"Stop {city:near}."'), encoding="utf-8")
    found = "\n".join(check.grammar_problems(load(path), sources.grammars["en"]))
    assert "needs form 'near' of city" in found and "slots must be []" in found


def test_table_problems_name_the_line() -> None:
    english = [("a-01", "call_make", "Call."), ("a-02", "none", "Rain.")]
    own = [("a-01", "call_make", "Ruf an."), ("a-03", "none", "...")]
    found = check.table_problems("phrases/de.tsv", own, english, ("call_make", "none"))
    assert any("line 3" in problem for problem in found) and any("a-03 is empty" in problem for problem in found)


def test_missing_language_is_named() -> None:
    with pytest.raises(ValueError, match="grammar/xx.toml"):
        read_sources(["en", "xx"])


def test_languages_file_is_toml_with_known_codes() -> None:
    table = tomllib.loads((corpus.FOLDER / "languages.toml").read_text(encoding="utf-8"))
    assert set(table) == {"resource"} and set(table["resource"]) <= set(LANGUAGES)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("eng_Latn", "en"),
        ("zho-CN", "zh"),
        ("zh_TW", "zh-hant"),
        ("pt-BR", "pt"),
        ("EN", "en"),
        ("de-ba", "de-ba"),
        ("bar", "de-ba"),
        ("de-AT", "de"),
        ("Swahili", "sw"),
        ("qaf_arabizi", "qaf"),
        ("arb_Arab", "ar"),
    ],
)
def test_resolve_knows_other_codes(code: str, expected: str) -> None:
    assert resolve(code).code == expected


def test_resolve_unknown_and_scripts() -> None:
    own = resolve("my-klingon".replace("my", "tlh"))
    assert (own.code, own.name, own.family, own.resource) == ("tlh-klingon", "tlh-klingon", "unknown", 0.0)
    assert resolve("srp_Latn").script == "Latin" and resolve("srp_Cyrl").script == "Cyrillic"
    assert resolve("kas_Arab").direction == "rtl"
    with pytest.raises(ValueError, match="code"):
        resolve("  ")


def test_language_table_is_consistent() -> None:
    assert len(LANGUAGES) >= 120
    owners: dict[str, str] = {}
    for language in LANGUAGES.values():
        assert (language.direction == "rtl") == (language.script in {"Arabic", "Hebrew", "Syriac", "Thaana", "N'Ko"})
        assert language.resource >= 0
        for alias in (language.code, *language.aliases, language.name.casefold()):
            assert owners.setdefault(alias, language.code) == language.code, alias


XSID = "ar da de-ba de-muc de-st de en gsw id it ja kk lt nap nl sr tr zh"
UNER = "pt_bosque tl_trg ceb_gja sv_talbanken qaf_arabizi"
NTREX = "amh arb ces deu ell eus fin fra glg heb hin isl jpn kor swa tam tha tur vie yor zho-CN"


@pytest.mark.parametrize("codes", [XSID, UNER, NTREX])
def test_codes_of_real_sets_resolve(codes: str) -> None:
    assert all(resolve(code).family != "unknown" for code in codes.split())
