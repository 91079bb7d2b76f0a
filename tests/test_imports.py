"""One way through the house (CONTRIBUTING): who may import whom, and what must load without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TABLES = {"criteria", "mask", "objectives", "schedule", "recipes", "tasks", "model"}
FROM_ENGINE = {"config", "registry", "record", "metrics"} | TABLES
# The way a datum goes. A module may import what stands to its left, and the shared pieces of any place.
ORDER = [
    "hub", "registry", "metrics", "schedule", "criteria", "mask", "objectives", "tasks", "config", "recipes", "plan", "checks", "model", "reading", "data",
    "device", "processes", "stats", "masked", "structured", "pruning", "teacher", "guidance", "trainer", "evaluate", "extract", "size", "weights", "probing", "workbench",
    "record", "mirror", "context", "selection", "levels", "arm", "arms", "runner", "estimate", "queue", "cluster", "progress", "commands",
]  # fmt: skip


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(module, at import time?) of every import in a file; imports for type checkers are left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    lazy = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((f"{node.module}.{alias.name}", id(node) not in lazy) for alias in node.names)


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", files("engine"), ids=lambda path: str(path.relative_to(ROOT)))
def test_engine(path: Path) -> None:
    forbidden = {"analysis", "streamlit", "plotly", "altair", "pages"}
    assert not [name for name, _ in imports(path) if name.split(".")[0] in forbidden]


@pytest.mark.parametrize("path", files("analysis"), ids=lambda path: str(path.relative_to(ROOT)))
def test_analysis(path: Path) -> None:
    names = [name for name, _ in imports(path)]
    assert not [name for name in names if name.split(".")[0] in {"torch", "streamlit", "transformers", "pages"}]
    assert not [name for name in names if name.startswith("engine.") and name.split(".")[1] not in FROM_ENGINE]


@pytest.mark.parametrize("path", [*files("pages"), ROOT / "app.py"], ids=lambda path: str(path.relative_to(ROOT)))
def test_pages(path: Path) -> None:
    assert not [
        name
        for name, _ in imports(path)
        if name.split(".")[0] in {"torch", "numpy", "scipy", "sklearn", "umap", "transformers"}
    ]


@pytest.mark.parametrize("path", files("engine"), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_left(path: Path) -> None:
    place = path.relative_to(ROOT / "engine").with_suffix("").parts[0]
    if place not in ORDER:
        return
    later = ORDER[ORDER.index(place) + 1 :]
    shared = {"registry", "record", "device"}
    found = {name.split(".")[1] for name, at_import in imports(path) if name.startswith("engine.") and at_import}
    assert not found & set(later) - shared


@pytest.mark.parametrize(
    "module",
    ["engine.config", "engine.checks", "engine.registry", "engine.record", "engine.recipes", "engine.criteria", "engine.mask", "engine.objectives",
     "engine.schedule", "engine.tasks", "engine.tasks.languages", "engine.metrics", "engine.model", "engine.structured", "engine.queue", "engine.cluster",
     "analysis.tables", "analysis.figures"],
)  # fmt: skip
def test_no_torch_when_imported(module: str) -> None:
    code = f"import sys, {module}; print('torch' in sys.modules or 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
