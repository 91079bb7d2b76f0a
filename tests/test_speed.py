"""What the app's speed rests on, without a clock: warm views read no file, and pages send little to the browser."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyarrow.parquet import ParquetDataset, ParquetFile
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.local_script_runner import LocalScriptRunner

from tests.conftest import ROOT
from tests.synthetic import Shape, write_store
from tests.test_pages_analysis import measured

SHAPE = Shape(
    study="speed", languages=4, seeds=2, items=40, natural=0, probe=16, classes=4, width=16, methods=("random", "magnitude"),
    levels=(0.5, 0.9),
)  # fmt: skip
# The most that a page may send, in bytes: about twice what it sends now.
MOST = {
    "degradation": 60_000, "flips": 80_000, "alignment": 40_000, "separability": 70_000, "map": 80_000, "weights": 50_000,
    "diagnose": 30_000, "compare": 40_000, "home": 60_000, "runs": 40_000, "present": 40_000,
}  # fmt: skip
_READ: list[str] | None = None


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    """Note a file that Python opens; what Arrow opens by itself is noted by `watched`."""
    if event == "open" and _READ is not None and isinstance(arguments[0], (str, Path)):
        _READ.append(str(arguments[0]))


sys.addaudithook(_heard)


@contextmanager
def watched(store: Path) -> Iterator[list[str]]:
    """The files of the store that are read meanwhile."""
    global _READ
    found: list[str] = []
    _READ = []
    try:
        yield found
    finally:
        found += [path for path in _READ if path.startswith(str(store))]
        _READ = None


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A measured study."""
    store = write_store(tmp_path_factory.mktemp("speed"), SHAPE)
    measured(store, SHAPE.study)
    compare.write(store, SHAPE.study)
    return store


@pytest.fixture()
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of the messages of every run of a page."""
    found: list[int] = []
    run = LocalScriptRunner.run

    def noting(self: LocalScriptRunner, *arguments: Any, **named: Any) -> Any:
        tree = run(self, *arguments, **named)
        found.append(sum(message.ByteSize() for message in self.forward_msgs()))
        return tree

    monkeypatch.setattr(LocalScriptRunner, "run", noting)
    return found


@pytest.fixture()
def arrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Arrow, which opens files behind Python's back, say what it opens."""
    for reader in (ParquetFile, ParquetDataset):

        def noting(self: Any, source: Any, *arguments: Any, _begin: Any = reader.__init__, **named: Any) -> None:
            _heard("open", (source,))
            _begin(self, source, *arguments, **named)

        monkeypatch.setattr(reader, "__init__", noting)


def opened(name: str, store: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("PRUNOSCOPE_STORE", str(store))
    app = AppTest.from_file(str(ROOT / "pages" / f"{name}.py"), default_timeout=90)
    app.query_params["studies" if name == "compare" else "study"] = SHAPE.study
    app.run()
    assert not app.exception
    return app


@pytest.mark.parametrize(
    "name", ["degradation", "flips", "alignment", "separability", "map", "weights", "diagnose", "compare"]
)
def test_a_view_that_was_seen_before_reads_no_file(
    store: Path, arrow: None, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with watched(store) as cold:
        app = opened(name, store, monkeypatch)
        boxes = [box.key for box in app.selectbox if box.label in ("Sparsity", "Language")]
        for place in (0, 1):
            app.selectbox(key=boxes[0]).select_index(place).run()
    assert any(path.endswith(".parquet") for path in cold)  # the watch sees what is read
    with watched(store) as warm:
        for place in (0, 1):
            app.selectbox(key=boxes[0]).select_index(place).run()
    assert not warm


@pytest.mark.parametrize("name", MOST)
def test_pages_send_little(store: Path, sent: list[int], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    opened(name, store, monkeypatch)
    assert MOST[name] / 4 < sent[-1] < MOST[name]
