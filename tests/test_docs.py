"""README, CHANGELOG and the tables agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from engine.recipes import RECIPES
from engine.registry import TABLES, table

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_lists_every_recipe_as_the_table_has_it() -> None:
    text = README.partition("<!-- recipes")[2].partition("<!-- end -->")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \|$", text, flags=re.MULTILINE)
    assert rows == [(row.name, row.what, row.source) for row in RECIPES.values()]


def test_commands_in_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", README, flags=re.MULTILINE)) <= targets
    import typer.main

    from analysis.__main__ import app as analysis
    from engine.__main__ import app as engine

    for name, app in (("engine", engine), ("analysis", analysis)):
        known = set(typer.main.get_command(app).commands)
        assert set(re.findall(rf"python -m {name} ([a-z]+)", README)) <= known


def test_files_named_in_the_documents_exist() -> None:
    for document in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (ROOT / target).exists(), (document, target)
        for target in re.findall(r"`((?:engine|analysis|pages|tests)/[\w/.]+)`", text):
            assert (ROOT / target).exists(), (document, target)


def test_the_methods_reference_is_what_the_tables_say() -> None:
    """`python -m analysis glossary > docs/methods.md` writes it anew."""
    from analysis.glossary import markdown

    assert (ROOT / "docs" / "methods.md").read_text(encoding="utf-8") == markdown()


def test_every_section_cited_in_the_code_stands_in_the_reference() -> None:
    from analysis.glossary import SECTIONS

    for folder in ("engine", "analysis", "pages", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            cited = set(re.findall(r"M§(\d+(?:\.\d+)?)", path.read_text(encoding="utf-8")))
            assert cited <= set(SECTIONS), path


def test_the_changelog_has_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_study_in_the_readme_is_valid_but_for_its_files() -> None:
    from engine import config

    text = README.partition("```toml")[2].partition("```")[0]
    with pytest.raises(config.ConfigError) as caught:
        config.parse(text, ROOT / "tests")
    assert all("must be a file" in line or "is not there" in line for line in caught.value.problems), (
        caught.value.problems
    )


@pytest.mark.parametrize("kind", [kind for kind in TABLES if kind != "architectures"])
def test_rows_explain_themselves(kind: str) -> None:
    for row in table(kind).values():
        assert row.title and row.what.endswith((".", "?")) and row.section.startswith("M§") and row.source, (
            kind,
            row.name,
        )
