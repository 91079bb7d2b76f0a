"""Task types against independent scorers: seqeval, sacrebleu, rouge-score, scikit-learn, the official QA formulas."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import config, data, metrics
from engine.config import ConfigError
from engine.model import load_tokenizer
from engine.tasks import annotated, answers, overlap, ranking, words
from engine.tasks.batches import IGNORED, MASKED, Blocks, Encoded, Ragged, Rows, spans, thinned
from engine.tasks.generation import greedy, linearised
from engine.tasks.qa import _span_scores
from engine.tasks.types import task_type
from tests import reference

CPU = torch.device("cpu")


# -- batches -----------------------------------------------------------------------------------------------------


def test_items_of_several_rows_stay_together() -> None:
    encoded = Encoded([[1], [2, 3], [4, 5, 6], [7]], np.array([0, 1, 2, 3]), pad=0, counts=np.array([1, 2, 1]))
    assert len(encoded) == 3 and encoded.lengths().tolist() == [1, 3, 1]
    batch = encoded.batch([2, 1], CPU)
    assert batch["input_ids"].tolist() == [[7, 0, 0], [2, 3, 0], [4, 5, 6]]
    assert batch["targets"].tolist() == [3, 1, 2] and batch["counts"].tolist() == [1, 2]


def test_lists_of_targets_are_padded_with_the_ignored_value() -> None:
    encoded = Encoded([[1, 2], [3]], [[0, 1], [2]], pad=9, per_token={"unit": [[5, 6], [7]]})
    batch = encoded.batch([1, 0], CPU)
    assert batch["targets"].tolist() == [[2, IGNORED], [0, 1]] and batch["unit"].tolist() == [[7, 0], [5, 6]]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_rows_come_back_in_the_order_of_the_items(counts: list[int], chooser: random.Random) -> None:
    rows = [np.arange(count)[:, None] + 100 * item for item, count in enumerate(counts)]
    order = list(range(len(counts)))
    chooser.shuffle(order)
    batches = [order[start : start + 3] for start in range(0, len(order), 3)]
    chunks = [np.concatenate([rows[item] for item in batch]) for batch in batches]
    sizes = [np.array([counts[item] for item in batch]) for batch in batches]
    found = Ragged.of(chunks, sizes, np.array(order))
    assert len(found) == len(counts)
    assert all(np.array_equal(found.item(item), rows[item]) for item in range(len(counts)))
    kept = Blocks.of(
        [
            Rows(torch.tensor(chunk, dtype=torch.float32), torch.tensor(size))
            for chunk, size in zip(chunks, sizes, strict=True)
        ],
        np.array(order),
    )
    wanted = order[:2]
    assert kept.take(wanted)[:, 0].tolist() == [value for item in wanted for value in rows[item][:, 0]]


def test_narrow_rows_are_filled_so_that_a_softmax_does_not_see_it() -> None:
    kept = Blocks.of(
        [Rows(torch.zeros(1, 2), torch.tensor([1])), Rows(torch.ones(1, 4), torch.tensor([1]))], np.array([1, 0])
    )
    assert kept.take([1, 0], 5).softmax(-1)[0].tolist() == pytest.approx([0.5, 0.5, 0, 0, 0])
    assert kept.take([1], 2).shape == (1, 2) and float(kept.take([0], 5)[0, 4]) == MASKED
    assert spans(np.array([3, 0]), np.array([2, 1])).tolist() == [3, 4, 0]


def test_thinned_rows_are_spread() -> None:
    assert thinned(torch.arange(10), 5).tolist() == [0, 2, 4, 6, 8] and len(thinned(torch.arange(10), None)) == 10


# -- words -------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), st.integers(9, 20))
@settings(max_examples=200, deadline=None)
def test_windows_label_every_word_once_and_fit(lengths: list[int], room: int) -> None:
    found = words.windows(lengths, room)
    assert [word for _, start, end in found for word in range(start, end)] == list(range(len(lengths)))
    assert all(sum(lengths[left:end]) <= room and left <= start < end for left, start, end in found)
    assert found[0][0] == 0


def sentence_frame(rows: list[tuple[list[str], list[str]]], **more: object) -> pd.DataFrame:
    return pd.DataFrame(
        [{"id": str(n), "language": "en", "tokens": tuple(a), "tags": tuple(b)} for n, (a, b) in enumerate(rows)]
    ).assign(**more)


@pytest.mark.parametrize("model", ["tiny_checkpoint", "tiny_gpt2"])
@pytest.mark.parametrize("max_length", [6, 9, 64])
def test_words_longer_than_the_limit_and_long_sentences(
    model: str, max_length: int, request: pytest.FixtureRequest
) -> None:
    tokenizer = load_tokenizer(str(request.getfixturevalue(model)))
    kind = task_type("token")
    long = ["play", "x" * 200, "music", "\u200d", "", "light"] * 5
    frame = sentence_frame([(long, ["A", "B", "A", "A", "B", "A"] * 5), (["lamp"], ["Z"])])
    encoded = kind.encode(tokenizer, frame, ("A", "B"), max_length)
    assert max(len(row) for row in encoded.tokens) <= max_length
    marks = [mark for row in encoded.targets for mark in row if mark != IGNORED]
    assert marks == [0, 1, 0, 0, 1, 0] * 5 + [words.UNKNOWN]
    assert encoded.counts is not None and encoded.counts.sum() == len(encoded.tokens) and encoded.counts[1] == 1


def test_byte_level_words_are_spelled_with_their_space(tiny_gpt2) -> None:
    tokenizer = load_tokenizer(str(tiny_gpt2))
    pieces = words.pieces_of(tokenizer, ["music", "room"], 9)
    assert tokenizer.decode(pieces["music"] + pieces["room"]) == " music room"


TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=9), min_size=1, max_size=8)
)
@settings(max_examples=80, deadline=None)
def test_entity_scores_equal_seqeval(sentences: list[list[tuple[int, int]]]) -> None:
    from seqeval.metrics import f1_score

    gold = [[TAGS[a] for a, _ in sentence] for sentence in sentences]
    predicted = [[TAGS[b] for _, b in sentence] for sentence in sentences]
    frame = sentence_frame([(["w"] * len(tags), tags) for tags in gold])
    kind = task_type("token").fitted(TAGS, frame)
    values = [np.array([[TAGS.index(tag), 1.0, 0.5] for tag in tags]) for tags in predicted]
    outputs = Ragged.of(values, [np.array([len(one)]) for one in values], np.arange(len(values)))
    scored = kind.score(outputs, frame, Encoded([], np.zeros(0), 0), TAGS)
    expected = f1_score(gold, predicted, zero_division=0)
    assert kind.metric == "f1" and metrics.f1(scored.stats) == pytest.approx(expected)
    flat = [tag for tags in gold for tag in tags], [tag for tags in predicted for tag in tags]
    assert metrics.token_accuracy(scored.stats) == pytest.approx(sklearn.metrics.accuracy_score(*flat))
    assert metrics.token_macro_f1(scored.stats) == pytest.approx(
        sklearn.metrics.f1_score(*flat, average="macro", labels=sorted(set(flat[0])), zero_division=0)
    )


def test_part_of_speech_tags_are_scored_by_accuracy() -> None:
    frame = sentence_frame([(["a", "b"], ["NOUN", "VERB"])])
    kind = task_type("token").fitted(("NOUN", "VERB"), frame)
    assert kind.metric == "token_accuracy" and not kind.spans
    assert kind.baselines(frame, ("NOUN", "VERB")) == {"chance": 0.5, "majority": 0.5}


def test_an_unknown_gold_tag_counts_as_wrong_with_the_lowest_margin() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [1.0, 0.0, 0.5]])
    found = words.word_outputs(Rows(logits, torch.tensor([2])), torch.tensor([words.UNKNOWN, 1]))
    assert found.values[:, 1].tolist() == [-3.0, -1.0] and found.values[:, 0].tolist() == [0.0, 0.0]


def test_word_states_are_those_of_the_first_token_or_the_mean_of_all(tiny_checkpoint) -> None:
    kind, tokenizer = task_type("token"), load_tokenizer(str(tiny_checkpoint))
    frame = sentence_frame([(["play", "loud", "song"], ["A", "B", "A"]), (["music"], ["A"])], units=[(0, 2), ()])
    encoded = kind.encode(tokenizer, frame, ("A", "B"), 32)
    batch = encoded.batch([0, 1], CPU)
    hidden = torch.randn(*batch["input_ids"].shape, 4)
    first, mean = kind.pooled(hidden, batch, "word"), kind.pooled(hidden, batch, "mean")
    assert first.counts.tolist() == mean.counts.tolist() == [2, 0]
    places = [(batch["unit"][0] == word + 1).nonzero()[:, 0] for word in (0, 2)]
    assert torch.equal(first.values, torch.stack([hidden[0, at[0]] for at in places]))
    assert torch.allclose(mean.values, torch.stack([hidden[0, at].mean(0) for at in places]))


def test_a_probe_holds_at_most_a_thousand_words_of_a_language_and_rare_tags_first() -> None:
    rows = [(["w"] * 30, ["O"] * 29 + (["B-PER"] if n % 10 == 0 else ["O"])) for n in range(60)]
    frame = pd.concat([sentence_frame(rows), sentence_frame(rows).assign(language="de")], ignore_index=True)
    items, chosen = task_type("token").probe_rows(frame, TAGS)
    assert chosen.groupby("language").size().to_dict() == {"en": 1000, "de": 1000}
    assert (chosen["label"] == "B-PER").sum() == 12 and sum(map(len, items["units"])) == 2000
    again = [(items["language"][i], items["id"][i], word) for i in range(len(items)) for word in items["units"][i]]
    assert again == list(zip(chosen["language"], chosen["id"], chosen["word"], strict=True))


# -- slots written into the text ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words", "tags"),
    [
        ("wake me up at [time : nine am] on [date : friday]", "wake me up at nine am on friday", "O O O O B-time I-time O B-date"),
        ("[a : x][a : y z] , ok", "x y z , ok", "B-a B-a I-a O O"),
        ("no slot", "no slot", "O O"),
        ("播放 [song_name : 青花瓷] 在 spotify", "播 放 青 花 瓷 在 spotify", "O O B-song_name I-song_name I-song_name O O"),
        ("[time : 午前九時]に起こして", "午 前 九 時 に 起 こ し て", "B-time I-time I-time I-time O O O O O"),
        ("ปลุก ฉัน [time : เก้า โมง]", "ปลุก ฉัน เก้า โมง", "O O B-time I-time"),
        ("[date : 금요일] 에", "금요일 에", "B-date O"),
    ],
)  # fmt: skip
def test_annotated_texts_become_words_and_tags(text: str, words: str, tags: str) -> None:
    assert annotated.parsed(text) == (tuple(words.split()), tuple(tags.split()))


def test_a_column_of_annotated_texts_stands_for_words_and_tags(tiny_checkpoint, tmp_path: Path) -> None:
    """A joint task as MASSIVE's hub rows are: `annot_utt`, `intent`, `id`; slots are scored as if the words had been given."""
    for split, count in (("train", 30), ("test", 12)):
        for code, start in (("en", "wake me at"), ("zh", "叫我")):
            rows = [
                {"id": n, "utt": "unused", "annot_utt": f"{start} [time : {n} am]", "intent": ("alarm_set", "alarm_query")[n % 2]} for n in range(count)
            ]  # fmt: skip
            (tmp_path / f"{split}.{code}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    text = """[study]
name = "x"
[task]
name = "custom"
type = "joint"
source_languages = ["en"]
languages = ["en", "zh"]
train = "train.{language}.jsonl"
test = "test.{language}.jsonl"
columns = { annotated = "annot_utt", intent = "intent", id = "id" }
[[method]]
recipe = "magnitude"
levels = [0.5]
"""
    found = data.load_task(config.parse(text, tmp_path))
    assert found.parallel and found.labels == ("alarm_query", "alarm_set", "slot:B-time", "slot:I-time", "slot:O")
    row = found.frames["test", "zh"].iloc[0]
    assert row["tokens"] == ("叫", "我", "0", "am") and row["tags"] == ("O", "O", "B-time", "I-time")
    assert list(found.frames["test", "en"].columns) == ["id", "intent", "tokens", "tags"]
    encoded = data.encode(found, found.split("test", ["en"]), load_tokenizer(str(tiny_checkpoint)), 32, False)
    assert len(encoded) == 12
    (tmp_path / "test.zh.jsonl").write_text(
        '{"id": 1, "annot_utt": "a [time nine", "intent": "alarm_set"}\n', encoding="utf-8"
    )
    with pytest.raises(
        ConfigError, match=r"test.zh.jsonl: annotated must be written as \[slot : words\]; got 'a \[time nine' in row 1"
    ):
        data.load_task(config.parse(text, tmp_path))
    with pytest.raises(
        ConfigError,
        match="must have the column 'annot' \\(task.columns.annotated\\); it has id, utt, annot_utt, intent",
    ):
        data.load_task(config.parse(text.replace('"annot_utt"', '"annot"'), tmp_path))


# -- questions ---------------------------------------------------------------------------------------------------

TEXTS = [
    "the U.S. Army", "a  cat, an owl", "der große Hund!", "El Niño y la niña", "“the end”", "黑豹队 308 分，在联赛", "của những",
    "", "...", "कुल 3 लोग", "الكتاب الكبير", "Straße 7–9",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_answers_are_normalised_as_the_official_scripts_do(text: str) -> None:
    assert answers.answer_tokens(text, "en") == reference.squad_tokens(text)
    for language in ("es", "hi", "vi", "de", "ar", "zh"):
        assert answers.answer_tokens(text, language) == reference.mlqa_tokens(text, language), language
    for other in TEXTS:
        expected = reference.squad_f1(reference.squad_tokens(text), reference.squad_tokens(other))
        assert answers.overlap_f1(text, [other]) == pytest.approx(expected)
        assert answers.exact_match(text, [other]) == float(
            reference.squad_tokens(text) == reference.squad_tokens(other)
        )


def test_languages_without_spaces_are_compared_by_characters() -> None:
    assert answers.answer_tokens("กรุงเทพ 2", "th") == [*"กรุงเทพ", "2"]
    assert answers.overlap_f1("東京都", ["東京"], "ja") == pytest.approx(0.8)
    assert answers.exact_match("", []) == 1 and answers.overlap_f1("x", []) == 0


def test_spans_are_the_best_that_exist() -> None:
    generator = np.random.default_rng(0)
    for length in (3, 40, 70):
        start, end = generator.normal(size=(2, length))
        inside = generator.random(length) > 0.3
        inside[1] = True
        scores = _span_scores(*(torch.tensor(values)[None] for values in (start, end)), torch.tensor(inside)[None])
        value, place = scores.flatten(1).max(1)
        best, i, j = reference.best_span(start, end, inside, 30)
        assert (float(value), int(place) // 30, int(place) // 30 + int(place) % 30) == (pytest.approx(best), i, j)


def question_frame(rows: list[tuple[str, str, list[str]]]) -> pd.DataFrame:
    kind = task_type("qa")
    frame = pd.DataFrame(
        [
            {"id": str(n), "language": "en", "context": c, "question": q, "answers": a}
            for n, (c, q, a) in enumerate(rows)
        ]
    )
    return kind.prepare(frame, "test", "x")[0]


class Pointing(torch.nn.Module):
    """A model that points to the first and last token of given targets, or nowhere."""

    def __init__(self, targets: torch.Tensor, wrong: bool = False) -> None:
        super().__init__()
        self.targets, self.wrong = targets, wrong

    def forward(self, input_ids: torch.Tensor, **_: torch.Tensor) -> SimpleNamespace:
        logits = torch.zeros(*input_ids.shape, 2)
        for row, (start, end) in enumerate(self.targets):
            logits[row, start, 0] = logits[row, end, 1] = -5 if self.wrong else 5 if start > 0 else 2
        return SimpleNamespace(start_logits=logits[..., 0], end_logits=logits[..., 1])


def test_a_long_context_is_read_in_windows_and_its_answer_found(tiny_checkpoint) -> None:
    tokenizer = load_tokenizer(str(tiny_checkpoint))
    context = "play loud song " * 30 + "mother speak" + " music lamp" * 30
    frame = question_frame(
        [(context, "phone number", ["mother speak"]), ("call phone", "room", ["phone"]), (context, "what", [])]
    )
    kind = task_type("qa").fitted(("start", "end"), frame)
    assert kind.may_lack
    encoded = kind.encode(tokenizer, frame, ("start", "end"), 24)
    assert encoded.counts is not None and encoded.counts[0] > 3 and max(len(row) for row in encoded.tokens) <= 24
    batch = encoded.batch([0, 1, 2], CPU)
    rows = kind.outputs(Pointing(batch["targets"]), batch)
    outputs = Ragged.of([rows.values.numpy()], [rows.counts.numpy()], np.arange(3))
    scored = kind.score(outputs, frame, encoded, ("start", "end"))
    assert scored.details["predicted"] == ["mother speak", "phone", ""]
    assert metrics.em(scored.stats) == metrics.f1(scored.stats) == 1 and (scored.margin > 0).all()
    wrong = kind.outputs(Pointing(batch["targets"], wrong=True), batch)
    missed = kind.score(Ragged.of([wrong.values.numpy()], [wrong.counts.numpy()], np.arange(3)), frame, encoded, ())
    assert (missed.margin[:2] < 0).all()


@pytest.mark.parametrize(
    "cell", [["b c"], "b c", {"text": ["b c"], "answer_start": [2]}, [{"text": "b c", "answer_start": 2}], '{"text": ["b c"], "answer_start": [2]}']
)  # fmt: skip
def test_answers_come_in_many_shapes(cell: object) -> None:
    frame = pd.DataFrame({"context": ["a b c d"], "question": ["?"], "answers": [cell]})
    found, problems = task_type("qa").prepare(frame, "train", "x")
    assert found["answers"][0] == ("b c",) and found["answer_start"][0] == 2 and not problems


def test_an_answer_that_is_not_in_its_context_is_reported() -> None:
    frame = pd.DataFrame({"context": ["a"], "question": ["?"], "answers": ["z"]})
    assert "an answer must stand in its context; 1 do not" in task_type("qa").prepare(frame, "train", "x")[1][0]
    assert task_type("qa").prepare(frame, "test", "x")[1] == []


# -- numbers, choices, orders --------------------------------------------------------------------------------------


def test_regression_scores_equal_scipy() -> None:
    generator = np.random.default_rng(0)
    gold = generator.random(50)
    predicted = gold + generator.normal(size=50)
    frame = pd.DataFrame({"label": gold})
    outputs = Ragged(predicted[:, None], np.arange(51))
    scored = task_type("regression").score(outputs, frame, Encoded([], gold, 0), ("value",))
    assert metrics.pearson(scored.stats) == pytest.approx(scipy.stats.pearsonr(gold, predicted).statistic)
    assert metrics.spearman(scored.stats) == pytest.approx(scipy.stats.spearmanr(gold, predicted).statistic)
    bad = pd.DataFrame({"label": ["1", "much"]})
    assert "label must be a number; got 'much' in row 2" in task_type("regression").prepare(bad, "train", "x")[1][0]


def test_choices_may_differ_in_number(tiny_checkpoint) -> None:
    kind, tokenizer = task_type("choice"), load_tokenizer(str(tiny_checkpoint))
    frame = pd.DataFrame(
        {
            "text": ["play"] * 3,
            "choice1": ["a"] * 3,
            "choice2": ["b"] * 3,
            "choice3": ["c", "", "c"],
            "label": ["2", "1", "choice1"],
        }
    )
    frame, problems = kind.prepare(frame, "train", "x")
    labels = tuple(kind.inventory(frame))
    assert not problems and labels == ("choice1", "choice2", "choice3")
    encoded = kind.encode(tokenizer, frame, labels, 16)
    batch = encoded.batch([1, 0, 2], CPU)
    assert batch["counts"].tolist() == [2, 3, 3] and kind.row_labels(batch).tolist() == [1, 2, 0]
    model = lambda **_: SimpleNamespace(logits=torch.arange(8.0)[:, None])  # noqa: E731
    assert kind.logits(model, batch).tolist() == [[0, 1, MASKED], [2, 3, 4], [5, 6, 7]]
    outputs = Ragged.of(
        [np.array([[0.0], [1], [2], [3], [4], [9], [6], [7]])], [np.array([2, 3, 3])], np.array([1, 0, 2])
    )
    scored = kind.score(outputs, frame, encoded, labels)
    assert scored.score.tolist() == [1, 1, 1] and scored.margin.tolist() == [1, 1, 2]
    assert scored.details["probabilities"][1][2] == 0
    assert kind.baselines(frame, labels)["chance"] == pytest.approx((1 / 3 + 1 / 2 + 1 / 3) / 3)
    wrong = frame.assign(label=["2", "2", "7"])
    assert "got '2' in row 2 (2 such rows)" in kind.prepare(wrong, "train", "x")[1][0]


@pytest.mark.parametrize("seed", range(5))
def test_rankings_equal_scikit_learn_with_ties(seed: int) -> None:
    generator = np.random.default_rng(seed)
    gold = generator.integers(0, 4, 9).astype(float)
    gold[0] = 1
    scores = generator.integers(0, 4, 9).astype(float)
    gain = ranking.gains(gold)
    assert ranking.ndcg(scores, gain) == pytest.approx(sklearn.metrics.ndcg_score([gain], [scores]))
    assert ranking.ndcg(gold, gain) == pytest.approx(1)
    assert ranking.ndcg(scores, np.zeros(9)) is None


def test_a_constant_ranking_scores_the_baseline_whatever_the_order() -> None:
    frame = pd.DataFrame({"id": list("abcdef"), "group": list("xxxyyz"), "label": ["2", "0", "1", "0", "1", "0"]})
    kind = task_type("ranking").fitted(("0", "1", "2"), frame)
    encoded = Encoded([[0]] * 6, np.array([2, 0, 1, 0, 1, 0]), 0)
    scored = kind.score(Ragged(np.zeros((6, 3)), np.arange(7)), frame, encoded, ("0", "1", "2"))
    assert scored.ids == ["x", "y"]  # the query without a relevant candidate is left out
    assert metrics.ndcg(scored.stats) == pytest.approx(kind.baselines(frame, ("0", "1", "2"))["chance"])
    assert (scored.margin == 0).all()


# -- text --------------------------------------------------------------------------------------------------------

OUTPUTS = [
    "The Mill is a cheap pub.",
    "",
    "a b c d e f g",
    "音楽を かけて ください",
    "Blue Spice , in the city centre .",
]
REFERENCES = [
    ["The Mill is a pub that is cheap.", "A cheap pub is The Mill."], ["Something."], ["a b c x e f g", "g f e d c b a"],
    ["音楽をかけて"], ["In the city centre there is Blue Spice."],
]  # fmt: skip


def test_counts_add_up_to_sacrebleu_with_several_references() -> None:
    import sacrebleu

    stats = np.array([overlap.counts(output, texts) for output, texts in zip(OUTPUTS, REFERENCES, strict=True)])
    assert stats.shape[1] == len(metrics.GENERATION)
    most = max(map(len, REFERENCES))
    streams = [[texts[n] if n < len(texts) else None for texts in REFERENCES] for n in range(most)]
    assert 100 * metrics.bleu(stats) == pytest.approx(sacrebleu.corpus_bleu(OUTPUTS, streams).score)
    assert 100 * metrics.chrf(stats) == pytest.approx(sacrebleu.corpus_chrf(OUTPUTS, streams).score)


def test_rouge_equals_the_package_on_english() -> None:
    from rouge_score import rouge_scorer

    scorer = rouge_scorer.RougeScorer(["rougeL"])
    for output, texts in zip(OUTPUTS, REFERENCES, strict=True):
        for text in texts:
            if text.isascii() and output.isascii():
                assert overlap.rouge_l(output, text) == pytest.approx(scorer.score(text, output)["rougeL"].fmeasure)
    assert overlap.rouge_l("音楽を", "音楽", "ja") == pytest.approx(0.8)


def test_meaning_representations_are_written_out() -> None:
    assert linearised("name[The Mill], eatType[pub], area[]") == "name : The Mill | eatType : pub | area : "
    assert linearised([["Mill", "is", "pub"], ["Mill", "near", "river"]]) == "Mill : is : pub | Mill : near : river"
    assert linearised('[["a", "b", "c"]]') == "a : b : c" and linearised("plain [text], more") == "plain [text], more"


def test_references_are_spread_in_training_and_gathered_elsewhere() -> None:
    frame = pd.DataFrame({"id": ["1", "2", "3"], "text": ["a", "a", "b"], "references": ["x", "y", ["z", "w"]]})
    kind = task_type("generation")
    train, problems = kind.prepare(frame, "train", "x")
    assert (
        not problems
        and train["id"].tolist() == ["1", "2", "3/0", "3/1"]
        and train["references"].tolist() == [("x",), ("y",), ("z",), ("w",)]
    )
    nested = [
        {"source": ["s", "s"], "text": ["one", "two"]},
        [{"source": "s", "text": "one"}, {"text": "two"}],
        ["one", "two"],
    ]
    dart = pd.DataFrame({"id": ["1", "2", "3"], "text": ["a", "b", "c"], "references": nested})
    assert kind.prepare(dart, "test", "x")[0]["references"].tolist() == [("one", "two")] * 3
    test, _ = kind.prepare(frame, "test", "x")
    assert test["id"].tolist() == ["1", "3"] and test["references"].tolist() == [("x", "y"), ("z", "w")]


def test_greedy_output_equals_generate_and_ignores_neighbours(tiny_gpt2) -> None:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_pretrained(tiny_gpt2, dtype=torch.float32).eval()
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    ids = torch.randint(1, 400, (4, 9))
    prompts = torch.tensor([3, 9, 6, 1])
    with torch.no_grad():
        found = greedy(model, ids, prompts, 12)
        for row, prompt, output in zip(ids, prompts, found, strict=True):
            expected = model.generate(
                row[None, :prompt], attention_mask=torch.ones(1, int(prompt), dtype=torch.long), max_new_tokens=12, do_sample=False,
                pad_token_id=0, eos_token_id=0,
            )[0, prompt:].tolist()  # fmt: skip
            assert output.tolist() == (expected[: expected.index(0)] if 0 in expected else expected)


def test_only_the_text_is_learnt(tiny_gpt2) -> None:
    from transformers import AutoModelForCausalLM

    kind, tokenizer = task_type("generation"), load_tokenizer(str(tiny_gpt2))
    model = AutoModelForCausalLM.from_pretrained(tiny_gpt2, dtype=torch.float32).eval()
    frame = pd.DataFrame({"text": ["play song", "lamp"], "references": [("loud music",), ("bright room number",)]})
    encoded = kind.encode(tokenizer, frame, (), 40)
    batch = encoded.batch([0, 1], CPU)
    with torch.no_grad():
        ours = kind.loss(kind.logits(model, batch), batch)
        theirs = model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=batch["targets"]
        ).loss
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert encoded.targets[0][-1] == tokenizer.eos_token_id
    short = kind.encode(tokenizer, frame, (), 8)
    assert max(len(row) for row in short.tokens) <= 8 and all(row[-1] == tokenizer.eos_token_id for row in short.tokens)


def test_an_encoder_cannot_generate(tiny_checkpoint) -> None:
    with pytest.raises(ValueError, match="generation needs a causal language model such as GPT-2; got xlm-roberta"):
        task_type("generation").load(str(tiny_checkpoint))
