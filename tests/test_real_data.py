"""Real data through the command line: xSID intents, English training, zero-shot in ten languages and dialects."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score

from tests.conftest import shared

ROOT = Path(__file__).parent.parent
LANGUAGES = ["en", "ar", "da", "de", "gsw", "id", "it", "kk", "nl", "tr", "zh"]

STUDY = """
[study]
name = "xsid-magnitude"
seeds = [0]
[model]
name = "bundled"
[task]
name = "custom"
type = "sequence"
source_languages = ["en"]
languages = {languages}
train = "{data}/train.{{language}}.tsv"
validation = "{data}/valid/{{language}}.tsv"
test = "{data}/test/{{language}}.tsv"
columns = {{ text = "tokens", label = "intent", id = "id" }}
max_length = 64
limits = {{ train = 960, validation = 100, test = 60 }}
[train]
epochs = 3
learning_rate = 5e-4
evaluations = 2
[probe]
examples = 40
[[method]]
recipe = "magnitude"
levels = [0.5, 0.95]
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
    )


@pytest.mark.long
def test_xsid_end_to_end(tmp_path: Path) -> None:
    data = shared("xsid")
    path = tmp_path / "study.toml"
    path.write_text(STUDY.format(data=data, languages=json.dumps(LANGUAGES)))
    store = tmp_path / "store"
    done = run("engine", "run", str(path), "--store", str(store))
    assert done.returncode == 0, done.stderr
    rows = json.loads(run("analysis", "table", str(store), "--study", "xsid-magnitude", "--format", "json").stdout)
    accuracy = {
        (row["method"], row["sparsity"], row["language"]): row["value"] for row in rows if row["metric"] == "accuracy"
    }
    assert set(LANGUAGES) == {language for _, _, language in accuracy}
    # An independent scorer over the details gives the same numbers.
    for folder in (store / "xsid-magnitude" / "magnitude-s0" / "levels").iterdir():
        details = pd.read_parquet(folder / "details.parquet")
        for language, group in details.groupby("language"):
            found = [
                row
                for row in rows
                if row["method"] == "magnitude"
                and row["language"] == language
                and f"{row['sparsity']:.4f}" == folder.name
            ]
            values = {row["metric"]: row["value"] for row in found}
            assert values["accuracy"] == pytest.approx(accuracy_score(group["label"], group["predicted"]))
            expected = f1_score(
                group["label"],
                group["predicted"],
                average="macro",
                labels=sorted(group["label"].unique()),
                zero_division=0,
            )
            assert values["macro_f1"] == pytest.approx(expected)
    majority = 0.3  # the most frequent intent has less than a third of the test items
    assert accuracy["dense", 0.0, "en"] > majority
    assert (store / "xsid-magnitude" / "measures").is_dir()
