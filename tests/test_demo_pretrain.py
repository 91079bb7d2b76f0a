"""Pretraining of the bundled encoder: trials of the matching loss, the loss itself, and one training step."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from engine.demo import corpus
from engine.demo.batches import BEGIN, END, PAD, Corpus, draw_trials, join
from engine.demo.build import pretraining_rows
from engine.demo.grammar import plain
from engine.demo.matching import Trial, Trials, trials
from engine.demo.pairs import OPPOSED
from engine.demo.pretrain import LOSSES
from engine.demo.reading import Row
from engine.demo.recipe import Recipe

if TYPE_CHECKING:
    from transformers import XLMRobertaForMaskedLM

CODES = ("en", "de", "zh")


@cache
def read_rows() -> list[Row]:
    return pretraining_rows(corpus.read_sources(CODES), Recipe())


@cache
def all_trials() -> Trials:
    return trials(read_rows())


def row(text: str, source: str, intent: str = "", statement: bool = False, **filling: str) -> Row:
    return Row({"en": text, "de": text.upper() + "!"}, source, intent, filling, statement)


ON, OFF, LIGHT = "light_on a", "light_off a", "light_on s"
TOY = [
    row("kitchen on", ON, "light_on", room="kitchen"),
    row("hall on", ON, "light_on", room="hall"),
    row("kitchen off", OFF, "light_off", room="kitchen"),
    row("light in the kitchen is wanted", LIGHT, "light_on", statement=True, room="kitchen"),
    row("light in the hall is wanted", LIGHT, "light_on", statement=True, room="hall"),
    row("no light in the kitchen is wanted", "light_off s", "light_off", statement=True, room="kitchen"),
    row("some rain", "phrases none"),
    row("some snow", "phrases none"),
    row("Some snow.", "phrases none"),
]


def test_trials_of_a_toy_corpus() -> None:
    """Other values first, then the opposed intent; an equal sentence is no near miss; a lone row gives no trial."""
    made = trials(TOY)
    assert made.statements == (Trial(0, 3, ((4,), (5,))), Trial(1, 4, ((3,),)), Trial(2, 5, ((3,),)))
    by_first = {trial.first: trial for trial in made.translations}
    assert all(trial.right == first for first, trial in by_first.items())
    assert by_first[0].wrong == ((1,), (2,)) and by_first[1].wrong == ((0,),) and by_first[2].wrong == ((0,),)
    assert by_first[6].wrong == ((7, 8),) and by_first[7].wrong == ((6,),)
    assert by_first[3].wrong == ((4,),) and 5 not in by_first


def test_near_misses_change_as_little_as_possible() -> None:
    rows = [row(f"{a} {b}", "x", "alarm_set", a=a, b=b) for a, b in ("11", "12", "22")]
    assert [trial.wrong for trial in trials(rows).translations] == [((1,),), ((0, 2),), ((1,),)]


def test_trials_of_the_bundled_sources() -> None:
    rows = read_rows()
    assert len(all_trials().translations) > 2500 and len(all_trials().statements) > 1500
    for trial in (*all_trials().translations, *all_trials().statements):
        assert trial.wrong and all(trial.wrong)
        for at in (at for group in trial.wrong for at in group):
            for code in CODES:
                assert plain(rows[at].text[code]) != plain(rows[trial.right].text[code])


def test_a_statement_holds_and_its_near_misses_do_not() -> None:
    rows = read_rows()
    opposed = 0
    for trial in all_trials().statements:
        first, right = rows[trial.first], rows[trial.right]
        assert right.statement and not first.statement and right.intent == first.intent
        assert all(first.filling[slot] == value for slot, value in right.filling.items())
        for miss in (rows[at] for group in trial.wrong for at in group):
            assert miss.statement
            other_value = any(first.filling[slot] != value for slot, value in miss.filling.items())
            assert other_value or miss.intent == OPPOSED[first.intent]
            opposed += not other_value
    assert opposed > 100


@cache
def toy_corpus() -> Corpus:
    """Every sentence is one token, that of its row and language: 100 + 10 × language + row."""
    ids = {code: [[100 + 10 * at + number] for number in range(len(TOY))] for at, code in enumerate(("en", "de"))}
    return Corpus(ids, ids, [[] for _ in range(200)], trials(TOY))


@pytest.mark.parametrize(("stated", "alone"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5)])
def test_match_and_near_miss_share_first_sentence_and_languages(stated: float, alone: float) -> None:
    recipe = replace(Recipe(), matching_batch=50, stated=stated, alone=alone)
    joined, matches = draw_trials(toy_corpus(), np.array([1.0, 0.1]), recipe, np.random.default_rng(3))
    assert len(joined) == 100 and matches == [1, 0] * 50
    same = 0
    for match, miss in zip(joined[::2], joined[1::2], strict=True):
        (first, right), (other, wrong) = (((ids[1] - 100), (ids[4] - 100)) for ids in (match, miss))
        assert match == join([first + 100], [right + 100]) and first == other
        assert right != wrong and right // 10 == wrong // 10
        same += first // 10 == right // 10
        known = [trial for kind in (trials(TOY).statements, trials(TOY).translations) for trial in kind]
        assert any(
            (trial.first, trial.right) == (first % 10, right % 10) and any(wrong % 10 in group for group in trial.wrong)
            for trial in known
        )
    assert {0.0: same == 0, 0.5: 0 < same < 50, 1.0: same == 50}[alone]


def test_join_is_what_the_tokenizer_does() -> None:
    from transformers import AutoTokenizer

    from engine.demo.build import MODEL

    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    first, second = tokenizer(["Set an alarm.", "Stell einen Wecker."], add_special_tokens=False)["input_ids"]
    assert join(first, second) == tokenizer("Set an alarm.", "Stell einen Wecker.")["input_ids"]
    assert (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id) == (BEGIN, PAD, END)


def small_model() -> XLMRobertaForMaskedLM:
    import torch

    from engine.demo.pretrain import new_model

    torch.manual_seed(0)
    return new_model(replace(Recipe(), layers=1, hidden=24, heads=2, feed_forward=32), 300).eval()


def test_matching_loss_is_the_mean_cross_entropy_and_reaches_every_block() -> None:
    import torch

    from engine.demo.pretrain import match

    model, head = small_model(), torch.nn.Linear(24, 1)
    long = torch.tensor([[BEGIN, 7, END, END, 8, 9, END], [BEGIN, 7, END, END, 5, END, PAD]])
    short = torch.tensor([[BEGIN, 7, END, END, 8, END]])
    loss = match(model, head, [long, short], [torch.tensor([1.0, 0.0]), torch.tensor([1.0])])
    expected = []
    with torch.no_grad():  # one pair after the other, without padding
        for ids, label in (([*long[0]], 1), ([*long[1][:-1]], 0), ([*short[0]], 1)):
            score = head(model.roberta(torch.tensor([ids])).last_hidden_state[0, 0]).double().item()
            chance = 1 / (1 + np.exp(-score))
            expected.append(-np.log(chance if label else 1 - chance))
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-4)
    loss.backward()
    moved = {name for name, value in model.named_parameters() if value.grad is not None and value.grad.abs().sum() > 0}
    assert {name for name, _ in model.named_parameters() if "layer.0" in name and name.endswith("weight")} <= moved
    assert head.weight.grad is not None and head.weight.grad.abs().sum() > 0


def test_pretraining_lowers_the_matching_loss_and_keeps_no_head() -> None:
    import torch

    from engine.demo.pretrain import pretrain

    recipe = replace(Recipe(), layers=1, hidden=24, heads=2, feed_forward=32, steps=200, batch=4, translation_batch=2)
    torch.manual_seed(0)
    model = small_model()
    names = set(model.state_dict())
    lines: list[str] = []
    pretrain(model, toy_corpus(), {"en": 1.0, "de": 0.5}, replace(recipe, steps=2), lines.append)
    pretrain(model, toy_corpus(), {"en": 1.0, "de": 0.5}, recipe, lines.append)
    before, after = (float(line.split("matching ")[1].split(",")[0]) for line in lines)
    assert after < before and all(name in lines[0] for name in LOSSES)
    assert set(model.state_dict()) == names and all(value.isfinite().all() for value in model.parameters())
