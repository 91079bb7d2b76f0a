"""Real data of every task type through the command line, small by caps; scores against independent scorers."""

from __future__ import annotations

import csv
import io
import json
import re
import string
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests import reference
from tests.conftest import shared
from tests.test_real_data import run

pytestmark = pytest.mark.long

STUDY = """
[study]
name = "real"
seeds = [0]
[model]
name = "{model}"
[task]
name = "custom"
{task}
[train]
epochs = {epochs}
learning_rate = {rate}
evaluations = 1
[probe]
examples = 12
[[method]]
recipe = "magnitude"
levels = [0.8]
[[method]]
recipe = "sdp_cc"
levels = [0.8]
"""


def scores(
    tmp_path: Path, task: str, model: str = "bundled", epochs: int = 1, rate: float = 5e-4
) -> tuple[dict[tuple[str, str], float], pd.DataFrame]:
    """Run a study; returns ({(metric, language): value} of the pruned model, its details)."""
    path = tmp_path / "study.toml"
    path.write_text(STUDY.format(task=task, model=model, epochs=epochs, rate=rate))
    done = run("engine", "run", str(path), "--store", str(tmp_path / "store"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "store" / "real" / "measures").is_dir()
    rows = json.loads(run("analysis", "table", str(tmp_path / "store"), "--format", "json").stdout)
    details = pd.read_parquet(tmp_path / "store/real/magnitude-s0/levels/0.8000/details.parquet")
    return {(row["metric"], row["language"]): row["value"] for row in rows if row["method"] == "magnitude"}, details


def test_entities(tmp_path: Path) -> None:
    from seqeval.metrics import f1_score

    data = shared("uner")
    found, details = scores(
        tmp_path,
        f"""type = "token"
source_languages = ["en"]
languages = ["en", "de", "zh"]
train = ["{data}/en_ewt.dev.tsv", "{data}/en_ewt.test.tsv"]
test = "{data}/{{language}}_pud.test.tsv"
format = "conll"
max_length = 64
limits = {{ train = 200, test = 40 }}""",
    )
    for language, group in details.groupby("language"):
        gold, predicted = ([list(tags) for tags in group[name]] for name in ("label", "predicted"))
        assert found["f1", language] == pytest.approx(f1_score(gold, predicted, zero_division=0))


def test_parts_of_speech_in_twenty_languages(tmp_path: Path) -> None:
    data = shared("ud_pud")
    languages = sorted(path.stem for path in (data / "test").glob("*.tsv"))
    found, details = scores(
        tmp_path,
        f"""type = "token"
source_languages = ["en"]
languages = {json.dumps(languages)}
train = "{data}/train/en_ewt.tsv"
validation = "{data}/train/en_ewt_dev.tsv"
test = "{data}/test/{{language}}.tsv"
format = "conll"
max_length = 64
limits = {{ train = 300, validation = 50, test = 12 }}""",
    )
    assert len(languages) == 20
    for language, group in details.groupby("language"):
        right = [
            a == b
            for gold, tags in zip(group["label"], group["predicted"], strict=True)
            for a, b in zip(gold, tags, strict=True)
        ]
        assert found["token_accuracy", language] == pytest.approx(np.mean(right))
    level = tmp_path / "store/real/magnitude-s0/levels/0.8000"
    probe = pd.read_parquet(level / "probe.parquet")
    assert (probe["word"] >= 0).all() and probe.groupby("language").size().max() <= 1000


def test_entities_of_sets_that_share_no_sentence(tmp_path: Path) -> None:
    """Treebanks as languages, by the names that their files have: each goes by its language, none is parallel."""
    from seqeval.metrics import f1_score

    data = shared("uner")
    codes = ["en_pud", "ceb_gja", "qaf_arabizi", "sr_set", "zh_gsdsimp"]
    found, details = scores(
        tmp_path,
        f"""type = "token"
source_languages = ["en_pud"]
languages = {json.dumps(codes)}
train = ["{data}/en_ewt.dev.tsv", "{data}/en_ewt.test.tsv"]
test = "{data}/{{language}}.test.tsv"
format = "conll"
max_length = 64
limits = {{ train = 200, test = 24 }}""",
    )
    assert set(details["language"]) == set(codes)
    for language, group in details.groupby("language"):
        gold, predicted = ([list(tags) for tags in group[name]] for name in ("label", "predicted"))
        assert found["f1", language] == pytest.approx(f1_score(gold, predicted, zero_division=0))
    facts = json.loads((tmp_path / "store/real/magnitude-s0/config.json").read_text(encoding="utf-8"))
    assert facts["parallel"] is False


def xquad(folder: Path) -> list[str]:
    """XQuAD's questions joined with their contexts as `test.{language}.jsonl`; returns the languages."""
    source = shared("xquad")
    codes = sorted(path.name.split(".")[0] for path in source.glob("*.questions.jsonl"))
    for code in codes:
        found_contexts, rows = (
            [json.loads(line) for line in (source / f"{code}.{part}.jsonl").read_text(encoding="utf-8").strip().split("\n")]
            for part in ("contexts", "questions")
        )  # fmt: skip
        contexts = {row["context_id"]: row["context"] for row in found_contexts}
        lines = [json.dumps({**row, "context": contexts[row["context_id"]]}, ensure_ascii=False) for row in rows]
        (folder / f"test.{code}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return codes


def tokens_of(text: str, language: str) -> list[str]:
    """A normalised answer by the official scripts; Thai, which they do not know, by its characters."""
    if language == "en":
        return reference.squad_tokens(text)
    if language != "th":
        return reference.mlqa_tokens(text, language)
    kept = "".join(
        letter
        for letter in text.lower()
        if not unicodedata.category(letter).startswith("P") and letter not in string.punctuation
    )
    return re.findall(r"[\u0e00-\u0e7f]|[^\s\u0e00-\u0e7f]+", kept)


def test_questions_in_twelve_languages(tmp_path: Path) -> None:
    """Trained on TyDiQA's English (the copy of its development sets holds no answers), tested on XQuAD's twelve languages."""
    train = shared("tydiqa_goldp")
    languages = xquad(tmp_path)
    found, details = scores(
        tmp_path,
        f"""type = "qa"
source_languages = ["en"]
languages = {json.dumps(languages)}
train = "{train}/train.en.jsonl"
test = "test.{{language}}.jsonl"
columns = {{ answers = "answer", answer_start = "answer_start", id = "id" }}
max_length = 96
limits = {{ train = 64, test = 8 }}""",
    )
    assert len(languages) == 12 and set(details["language"]) == set(languages)
    for language, group in details.groupby("language"):
        values = []
        for answer, gold in zip(group["predicted"], group["label"], strict=True):
            pairs = [(tokens_of(answer, language), tokens_of(one, language)) for one in gold]
            values.append((max(float(a == b) for a, b in pairs), max(reference.squad_f1(a, b) for a, b in pairs)))
        assert (found["em", language], found["f1", language]) == pytest.approx(tuple(np.mean(values, axis=0)))


def test_descriptions_of_restaurants(tmp_path: Path) -> None:
    import sacrebleu
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    data = shared("e2e_nlg")
    texts = [row["ref"] for row in csv.DictReader(io.StringIO((data / "devset.csv").read_text(encoding="utf-8")))]
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(texts, vocab_size=600, special_tokens=["<|endoftext|>"], show_progress=False)
    folder = tmp_path / "gpt2"
    torch.manual_seed(0)
    GPT2LMHeadModel(
        GPT2Config(vocab_size=600, n_embd=64, n_layer=2, n_head=4, n_positions=256, bos_token_id=0, eos_token_id=0)
    ).save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer._tokenizer, eos_token="<|endoftext|>", bos_token="<|endoftext|>"
    ).save_pretrained(folder)
    found, details = scores(
        tmp_path,
        f"""type = "generation"
source_languages = ["en"]
languages = ["en"]
train = "{data}/devset.csv"
test = "{data}/testset_w_refs.csv"
columns = {{ text = "mr", references = "ref" }}
max_length = 160
limits = {{ train = 480, validation = 8, test = 10 }}""",
        str(folder),
        epochs=8,
        rate=5e-3,
    )
    references = [list(one) for one in details["references"]]
    assert len(details) == 10 and max(map(len, references)) > 1
    streams = [[one[n] if n < len(one) else None for one in references] for n in range(max(map(len, references)))]
    outputs = details["predicted"].tolist()
    assert 100 * found["bleu", "en"] == pytest.approx(sacrebleu.corpus_bleu(outputs, streams).score)
    assert 100 * found["chrf", "en"] == pytest.approx(sacrebleu.corpus_chrf(outputs, streams).score)
    assert found["chrf", "en"] > 0.05


def test_paraphrases(tmp_path: Path) -> None:
    data = shared("pawsx")
    found, details = scores(
        tmp_path,
        f"""type = "pair"
source_languages = ["en"]
languages = ["en", "de", "es", "fr", "ja", "ko", "zh"]
train = "{data}/dev/{{language}}.tsv"
test = "{data}/test/{{language}}.tsv"
columns = {{ text = "sentence1", pair = "sentence2", label = "label", id = "id" }}
max_length = 96
limits = {{ train = 200, test = 40 }}""",
    )
    for language, group in details.groupby("language"):
        assert found["accuracy", language] == pytest.approx((group["label"] == group["predicted"]).mean())


def test_intents_and_slots_in_dialects(tmp_path: Path) -> None:
    from seqeval.metrics import f1_score

    data = shared("xsid")
    languages = ["en", "da", "de", "gsw", "ja", "nap", "zh"]
    found, details = scores(
        tmp_path,
        f"""type = "joint"
source_languages = ["en"]
languages = {json.dumps(languages)}
train = "{data}/train.en.tsv"
validation = "{data}/valid/{{language}}.tsv"
test = "{data}/test/{{language}}.tsv"
columns = {{ tokens = "tokens", tags = "slots", intent = "intent", id = "id" }}
max_length = 64
limits = {{ train = 480, validation = 50, test = 40 }}""",
    )
    for language, group in details.groupby("language"):
        gold, predicted = ([list(tags) for tags in group[name]] for name in ("tags", "predicted_tags"))
        assert found["slot_f1", language] == pytest.approx(f1_score(gold, predicted, zero_division=0))
        assert found["accuracy", language] == pytest.approx((group["label"] == group["predicted"]).mean())
