"""Every page on a finished run of every task type: nothing breaks, numbers are named after the metric, blanks explain."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from analysis import measures, tables
from analysis.measures import compare
from engine import config, metrics, runner
from engine.tasks.types import TYPES
from engine.workbench import Workbench
from tests import tiny_tasks
from tests.conftest import ROOT
from tests.test_measures import WITHOUT_UMAP, quiet
from tests.test_pages_run import texts

METHODS = "".join(f'[[method]]\nrecipe = "{name}"\nlevels = [0.5, 0.9]\n' for name in ("random", "magnitude"))
PAGES = sorted(path.stem for path in (ROOT / "pages").glob("*.py") if path.stem != "__init__")


@pytest.fixture(scope="module", params=list(TYPES))
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
        app = AppTest.from_file(str(ROOT / "pages" / f"{name}.py"), default_timeout=60)
        for key, value in query.items():
            app.query_params[key] = value
        app.run()
        assert not app.exception, app.exception[0].stack_trace
        return app

    return opened


@pytest.mark.parametrize("name", PAGES)
def test_every_page_opens(page: Any, name: str) -> None:
    app = page(name)
    assert len(app.title) == 1 and not app.error, texts(app)
