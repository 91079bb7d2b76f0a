"""Every page on a finished run of every task type: nothing breaks, numbers are named after the metric, blanks explain.

`make test` opens the pages that show scores, for the types whose metric is no mean of items; every page of every type
is for `make test-long`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from analysis import inference, measures, tables
from analysis.measures import compare
from engine import config, metrics, runner
from engine.record import Run
from engine.tasks.types import TYPES
from engine.workbench import Workbench
from tests import reference, tiny_tasks
from tests.conftest import ROOT
from tests.test_measures import WITHOUT_UMAP, quiet
from tests.test_pages_run import texts

METHODS = "".join(f'[[method]]\nrecipe = "{name}"\nlevels = [0.5, 0.9]\n' for name in ("random", "magnitude"))
SHORT = ("token", "regression", "generation")
SCORES = ("degradation", "flips", "compare", "diagnose")
REST = tuple(sorted({path.stem for path in (ROOT / "pages").glob("*.py")} - {"__init__", *SCORES}))
KINDS = [pytest.param(kind, marks=() if kind in SHORT else pytest.mark.long) for kind in TYPES]


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def store(kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one study of the type: two methods at two levels, measured and compared."""
    folder = tmp_path_factory.mktemp(kind)
    model = request.getfixturevalue("tiny_gpt2" if kind == "generation" else "tiny_checkpoint")
    study = config.load(tiny_tasks.study(folder, kind, model, METHODS))
    bench = Workbench.open(study)
    for job in runner.jobs(study, folder / "store"):
        assert runner.execute(job, bench) == "done"
    store = folder / "store"
    assert measures.measure(store, study.study.name, WITHOUT_UMAP, workers=1, say=quiet) == []
    assert compare.compare(store, study.study.name, say=quiet) == []
    return store


@pytest.fixture()
def page(store: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def opened(name: str, **query: Any) -> AppTest:
        monkeypatch.setenv("PRUNOSCOPE_STORE", str(store))
        app = AppTest.from_file(str(ROOT / "pages" / f"{name}.py"), default_timeout=120)
        for key, value in query.items():
            app.query_params[key] = value
        app.run()
        assert not app.exception, app.exception[0].stack_trace
        return app

    return opened


def headline(store: Path, kind: str) -> str:
    return str(Run(store / f"tiny-{kind}" / "dense-s0").config()["metric"])


def axes(app: AppTest) -> str:
    """The titles of all axes and colour bars of a page's figures."""
    specs = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
    return " | ".join(
        str(layout.get(name, {}).get("title", {}).get("text", ""))
        for layout in (spec["layout"] for spec in specs)
        for name in ("xaxis", "yaxis")
    )


@pytest.mark.parametrize("name", [*SCORES, *(pytest.param(name, marks=pytest.mark.long) for name in REST)])
def test_every_page_opens(page: Any, name: str) -> None:
    app = page(name)
    assert len(app.title) == 1 and not app.error, texts(app)


@pytest.mark.parametrize("view", ["bars", "numbers"])
def test_drops_are_named_after_the_metric(page: Any, store: Path, kind: str, view: str) -> None:
    name = headline(store, kind)
    app, title = page("degradation", view=view), metrics.METRICS[name].title
    assert title in axes(app) and f"{title}: at 90% sparsity" in texts(app).replace("\\", "")
    if view == "bars":
        assert f"points of {title}" in axes(app)
    else:
        exact = metrics.ITEM_SCORES[name].exact
        assert ("exact McNemar" if exact else "sign-flip") in texts(app)


@pytest.mark.parametrize("view", ["atlas", "languages", "slices", "confusion", "exemplars"])
def test_flips_show_items_or_say_why_there_are_none(page: Any, store: Path, kind: str, view: str) -> None:
    app = page("flips", view=view, **({"items": "all"} if view == "atlas" else {}))
    said = "\n".join(box.value for box in app.info)
    whole = metrics.ITEM_SCORES[headline(store, kind)].whole
    classes = metrics.STATS[kind] == metrics.CLASSES
    if view in ("atlas", "languages"):
        assert ("never right or wrong" in said) == (not whole)
    elif view == "slices":
        assert metrics.METRICS[headline(store, kind)].title in axes(app)
    else:
        assert ("one class for an answer" in said) == (not classes and (kind, view) != ("joint", "confusion"))
    assert not any("not been measured" in box for box in said.splitlines())


# -- the table, against independent scorers -------------------------------------------------------------------------


def pairs(found: pd.DataFrame) -> list[tuple[Any, Any]]:
    """(gold, predicted) of every item."""
    gold = found["references" if "references" in found else "label"]
    return [(to_list(a), to_list(b)) for a, b in zip(gold, found["predicted"], strict=True)]


def to_list(cell: Any) -> Any:
    return cell.tolist() if isinstance(cell, np.ndarray) else cell


def right(items: list[tuple[Any, Any]]) -> float:
    return reference.mean_score([float(gold == found) for gold, found in items])


def answers(items: list[tuple[Any, Any]], score: Callable[[str, list[str]], float]) -> float:
    return reference.mean_score([score(found, list(gold) or [""]) for gold, found in items])


def best_f1(found: str, references: list[str]) -> float:
    return max(reference.squad_f1(reference.squad_tokens(found), reference.squad_tokens(one)) for one in references)


def exact(found: str, references: list[str]) -> float:
    return float(any(reference.squad_tokens(found) == reference.squad_tokens(one) for one in references))


CLASSES: dict[str, Callable[[list[Any]], float]] = {
    "accuracy": right,
    "macro_f1": reference.class_macro_f1,
    "matthews": reference.class_matthews,
}
SCORERS: dict[str, dict[str, Callable[[list[Any]], float]]] = {
    "sequence": CLASSES,
    "pair": CLASSES,
    "choice": {"accuracy": right},
    "joint": {"accuracy": right, "macro_f1": reference.class_macro_f1},
    "regression": {"pearson": reference.correlation, "spearman": reference.rank_correlation},
    "token": {
        "f1": reference.entity_f1,
        "token_accuracy": reference.word_accuracy,
        "token_macro_f1": reference.word_macro_f1,
    },
    "generation": {
        "bleu": lambda items: reference.corpus_bleu([(found, gold) for gold, found in items]),
        "chrf": lambda items: reference.corpus_chrf([(found, gold) for gold, found in items]),
    },
    "qa": {"f1": lambda items: answers(items, best_f1), "em": lambda items: answers(items, exact)},
}


def test_the_table_is_what_independent_scorers_say(store: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "RESAMPLES", 40)
    frame, level = tables.scores(store), Run(store / f"tiny-{kind}" / "magnitude-s0").level(0.5)
    assert set(frame["metric"]) == set(metrics.SCORES[kind]) and len(frame) == 7 * 2 * len(metrics.SCORES[kind])
    details, scorers = level.frame("details"), SCORERS.get(kind, {})
    for language in ("en", "de"):
        rows = details[details["language"] == language]
        for name, score in scorers.items():
            items = pairs(rows)
            row = frame[
                (frame["method"] == "magnitude")
                & (frame["sparsity"] == 0.5)
                & (frame["language"] == language)
                & (frame["metric"] == name)
            ].iloc[0]
            assert row["n"] == len(items)
            if np.isnan(row["value"]):  # the correlation of a constant prediction
                assert score(items) == 0
                continue
            counts = inference.resample_counts(len(items), inference.generator(0), 40)
            drawn = [reference.on_resample(score, [items], [1], count) for count in counts]
            assert row["value"] == pytest.approx(score(items), abs=1e-9), name
            assert (row["low"], row["high"]) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=1e-9), name
