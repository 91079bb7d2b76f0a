"""`head = "keep"` with `epochs = 0`: a checkpoint with its own head is taken as it is, for every task type.

Predictions are compared with the checkpoint's own forward pass on single unpadded items, written here without the
engine's batches: tokenised as transformers does it, classes by the names that the checkpoint's configuration has.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import transformers

from engine import config, runner
from engine.config import ConfigError
from engine.model import load_model, load_tokenizer
from engine.tasks.generation import linearised
from engine.tasks.types import TYPES, task_type
from engine.workbench import Workbench
from tests import tiny_tasks
from tests.test_task_types import model_for

LENGTH = 60  # no item needs a window
METHOD = '[[method]]\nrecipe = "magnitude"\nlevels = [0.5]'
# The head's outputs in an order that is nobody's alphabet; None: the type's head has no names.
HEADS: dict[str, tuple[str, ...] | None] = {
    "sequence": ("play", "call", "light"),
    "pair": ("same", "other"),
    "ranking": ("2", "0", "1"),
    "token": ("O", "B-light", "I-play", "B-play", "I-light"),
    "joint": ("slot:O", "play", "slot:B-light", "slot:I-play", "call", "slot:B-play", "light", "slot:I-light"),
    "choice": None,
    "regression": None,
    "qa": None,
    "generation": None,
}
SIZES = {"choice": 1, "regression": 1, "qa": 2, "generation": 0}


@pytest.fixture(scope="module", params=list(TYPES))
def taken(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """(type, details of the dense level, the checkpoint's folder, data by language) of a study that takes it as it is."""
    kind = request.param
    folder = tmp_path_factory.mktemp(f"keep-{kind}")
    checkpoint = own_head(folder / "checkpoint", kind, model_for(kind, request), labels_of(kind))
    bench, runs = run_kept(folder, kind, checkpoint)
    level = runs["dense-s0"].level(0.0)
    assert level.size()["updates"] == 0
    stored = level.arrays("weights")
    found = task_type(kind).load(str(checkpoint), dtype=torch.float32).state_dict()
    assert all(np.array_equal(stored[name], found[name].numpy()) for name in stored)
    frame, _ = bench.test
    return kind, level.frame("details"), checkpoint, frame


def labels_of(kind: str) -> tuple[str, ...]:
    """Names for the head's outputs; made ones where its outputs have no names."""
    names = HEADS[kind]
    return names if names is not None else tuple(f"output {number}" for number in range(SIZES[kind]))


def own_head(folder: Path, kind: str, base: Path, names: tuple[str, ...]) -> Path:
    """A checkpoint with a task head and weights large enough that items differ in what it says."""
    model = load_model(str(base), task_type(kind), names, seed=3)
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    load_tokenizer(str(base)).save_pretrained(folder)
    return folder


def run_kept(folder: Path, kind: str, checkpoint: Path) -> tuple[Workbench, dict[str, Any]]:
    path = tiny_tasks.study(folder, kind, checkpoint, METHOD)
    text = path.read_text().replace("epochs = 2", "epochs = 0\nretrain_epochs = 0").replace("max_length = 24", f"max_length = {LENGTH}")  # fmt: skip
    study = config.parse(text.replace("[model]\n", '[model]\nhead = "keep"\n'), folder)
    bench = Workbench.open(study)
    jobs = runner.jobs(study, folder / "store")
    assert [runner.execute(job, bench) for job in jobs] == ["done"] * len(jobs)
    return bench, {job.run.name: job.run for job in jobs}


# -- the checkpoint's own pass, item by item ------------------------------------------------------------------------


def classified(folder: Path, *texts: str) -> tuple[list[str], np.ndarray]:
    """(names, probabilities) of a sequence classifier on one text or pair."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        logits = model(**tokens(folder, *texts)).logits[0]
    return list(model.config.id2label.values()), logits.softmax(-1).numpy()


def tokens(folder: Path, *texts: Any, **settings: Any) -> dict[str, torch.Tensor]:
    encoded = transformers.AutoTokenizer.from_pretrained(folder)(*texts, return_tensors="pt", **settings)
    return {name: value for name, value in encoded.items() if name != "token_type_ids"}


def tagged(folder: Path, words: list[str]) -> tuple[list[str], np.ndarray, list[int]]:
    """(names, logits of all tokens, the place of every word's first token)."""
    model = transformers.AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32).eval()
    encoded = transformers.AutoTokenizer.from_pretrained(folder)(words, is_split_into_words=True, return_tensors="pt")
    places = encoded.word_ids()
    with torch.no_grad():
        logits = model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]).logits[0].numpy()
    return list(model.config.id2label.values()), logits, [places.index(word) for word in range(len(words))]


def a_class(folder: Path, item: pd.Series, said: pd.Series) -> None:
    names, probabilities = classified(folder, *(item[column] for column in ("text", "pair") if column in item))
    assert said["predicted"] == names[int(probabilities.argmax())]
    assert sorted(said["probabilities"]) == pytest.approx(sorted(probabilities), abs=1e-5)


def a_number(folder: Path, item: pd.Series, said: pd.Series) -> None:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        assert said["predicted"] == pytest.approx(float(model(**tokens(folder, item["text"])).logits), abs=1e-4)


def a_choice(folder: Path, item: pd.Series, said: pd.Series) -> None:
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    present = [name for name in ("choice1", "choice2", "choice3") if item[name]]
    with torch.no_grad():
        scores = [float(model(**tokens(folder, item["text"], item[name])).logits) for name in present]
    assert said["predicted"] == present[int(np.argmax(scores))]


def tags(folder: Path, item: pd.Series, said: pd.Series) -> None:
    names, logits, places = tagged(folder, list(item["tokens"]))
    assert list(said["predicted"]) == [names[int(logits[place].argmax())] for place in places]


def intent_and_slots(folder: Path, item: pd.Series, said: pd.Series) -> None:
    names, logits, places = tagged(folder, list(item["tokens"]))
    slots = [place for place, name in enumerate(names) if name.startswith("slot:")]
    intents = [place for place in range(len(names)) if place not in slots]
    assert said["predicted"] == names[intents[int(logits[0][intents].argmax())]]
    found = [names[slots[int(logits[place][slots].argmax())]].removeprefix("slot:") for place in places]
    assert list(said["predicted_tags"]) == found


def an_answer(folder: Path, item: pd.Series, said: pd.Series) -> None:
    model = transformers.AutoModelForQuestionAnswering.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer(item["question"], item["context"], return_offsets_mapping=True, return_tensors="pt")
    with torch.no_grad():
        out = model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"])
    start, end = out.start_logits[0].tolist(), out.end_logits[0].tolist()
    inside = [place for place, part in enumerate(encoded.sequence_ids()) if part == 1]
    spans = [(start[a] + end[b], a, b) for a in inside for b in inside if a <= b < a + 30]
    best, first, last = max(spans)
    offsets = encoded["offset_mapping"][0].tolist()
    text = item["context"][offsets[first][0] : offsets[last][1]].strip()
    assert said["predicted"] == ("" if start[0] + end[0] > best else text)


def a_text(folder: Path, item: pd.Series, said: pd.Series) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    prompt = [*tokenizer(linearised(item["text"]))["input_ids"], tokenizer.eos_token_id]
    longest = min(64, model.config.max_position_embeddings - len(prompt))
    ids = torch.tensor([prompt])
    with torch.no_grad():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=longest, do_sample=False, pad_token_id=0)  # fmt: skip
    assert said["predicted"] == tokenizer.decode(out[0, len(prompt) :], skip_special_tokens=True).strip()


OWN: dict[str, Callable[[Path, pd.Series, pd.Series], None]] = {
    "sequence": a_class, "pair": a_class, "regression": a_number, "choice": a_choice, "token": tags, "joint": intent_and_slots,
    "qa": an_answer, "generation": a_text,
}  # fmt: skip


def test_predictions_are_the_checkpoints_own(taken) -> None:
    kind, details, folder, frame = taken
    if kind == "ranking":
        orders(folder, frame, details)
        return
    keys = ["language", "id"]
    said = details.set_index(keys)
    different = set()
    for _, item in frame.iloc[::3].iterrows():
        row = said.loc[tuple(item[key] for key in keys)]
        OWN[kind](folder, item, row)
        different.add(str(row.get("probabilities", row["predicted"])))
    assert len(different) > 1  # a head that says the same of all items would show nothing


def orders(folder: Path, frame: pd.DataFrame, details: pd.DataFrame) -> None:
    """Candidates by their expected grade, grades being the numbers that the outputs are named by."""
    seen = 0
    for (language, query), group in frame.groupby(["language", "group"]):
        row = details[(details["language"] == language) & (details["id"] == query)].iloc[0]
        scores = dict(zip(row["candidates"], row["scores"], strict=True))
        for _, item in group.iterrows():
            names, probabilities = classified(folder, item["query"], item["text"])
            assert scores[item["id"]] == pytest.approx(float(probabilities @ np.array(names, dtype=float)), abs=1e-5)
            seen += 1
    assert seen == len(frame)


# -- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "outputs", "message"),
    [
        ("sequence", ("LABEL_0", "LABEL_1", "LABEL_2"), "model.head: keep needs a checkpoint whose labels are call, light, play; got LABEL_0, LABEL_1, LABEL_2"),
        ("token", ("O", "B-light", "I-light"), "model.head: keep needs a checkpoint whose labels are B-light, B-play, I-light, I-play, O"),
        ("choice", ("a", "b"), "must hold every weight of the model and its head; .* in another shape, such as classifier.out_proj"),
        ("regression", ("a", "b", "c"), "must hold every weight of the model and its head; .* in another shape"),
        ("qa", ("a", "b", "c"), "must hold every weight of the model and its head; .* in another shape, such as qa_outputs"),
    ],
)  # fmt: skip
def test_another_tasks_head_is_refused(
    kind: str, outputs: tuple[str, ...], message: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    base = request.getfixturevalue("tiny_checkpoint")
    class_of = {
        "token": transformers.AutoModelForTokenClassification, "qa": transformers.AutoModelForQuestionAnswering
    }.get(kind, transformers.AutoModelForSequenceClassification)  # fmt: skip
    names = dict(enumerate(outputs))
    model = class_of.from_pretrained(base, num_labels=len(outputs), id2label=names, label2id={name: place for place, name in names.items()})  # fmt: skip
    model.save_pretrained(tmp_path / "checkpoint")
    load_tokenizer(str(base)).save_pretrained(tmp_path / "checkpoint")
    with pytest.raises(ConfigError, match=message):
        run_kept(tmp_path, kind, tmp_path / "checkpoint")


@pytest.mark.parametrize("kind", ["sequence", "qa", "generation"])
def test_a_checkpoint_without_a_head_is_refused(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    message = "keep needs a checkpoint whose labels are|must hold every weight of the model and its head|generation needs a causal"
    with pytest.raises(ConfigError, match=message):
        run_kept(tmp_path, kind, request.getfixturevalue("tiny_checkpoint"))


def test_a_tagger_may_know_further_tags(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """They are mistakes where it predicts them; the labels of the task come first, in the task's order."""
    base = request.getfixturevalue("tiny_checkpoint")
    checkpoint = own_head(tmp_path / "checkpoint", "token", base, ("B-other", *labels_of("token"), "I-other"))
    bench, runs = run_kept(tmp_path, "token", checkpoint)
    assert bench.data.labels == ("B-light", "B-play", "I-light", "I-play", "O", "B-other", "I-other")
    details = runs["dense-s0"].level(0.0).frame("details").set_index(["language", "id"])
    frame, _ = bench.test
    for _, item in frame.iloc[::5].iterrows():
        tags(checkpoint, item, details.loc[(item["language"], item["id"])])
