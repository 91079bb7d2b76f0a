"""A file of a gigabyte, written and read for real: streamed, in bounded memory, capped with the counts shown."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.reading import STREAM_BYTES

ROOT = Path(__file__).parent.parent
MOST_MB = 350  # growth over a process that has imported the reader; 80–120 seen, whatever the file's size
FILLER = " ".join(["river", "stone", "morning", "garden", "window", "letter", "music", "winter"] * 4)
STUDY = """
[study]
name = "large"
[task]
name = "custom"
type = "sequence"
source_languages = ["en", "de"]
languages = ["en", "de"]
train = "train.{ending}"
test = "test.tsv"
columns = {{ id = "id", language = "lang" }}
limits = {{ train = 500, test = 40 }}
[[method]]
recipe = "magnitude"
levels = [0.5]
"""
READ = """
import json, re, sys
from pathlib import Path
import psutil
from engine import config, data
study = config.load(sys.argv[1])
before = psutil.Process().memory_info().rss
found = data.load_task(study)
# Not ru_maxrss, which outlives exec and so begins with what the test process had.
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text()).group(1)) * 1024
sizes = {f"{split} {code}": len(frame) for (split, code), frame in found.frames.items()}
print(json.dumps({"grown": peak - before, "notes": found.notes, "sizes": sizes}))
"""


def line(number: int, ending: str) -> str:
    """One example in four is German."""
    text, label, code = f"sentence number {number} {FILLER}", "ab"[number % 2], "de" if number % 4 == 0 else "en"
    if ending == "tsv":
        return f"i{number}\t{code}\t{text}\t{label}\n"
    return f'{{"id": "i{number}", "lang": "{code}", "text": "{text}", "label": "{label}"}}\n'


def write(path: Path, size: int) -> int:
    """Fill a file to at least `size` bytes; returns how many examples that took."""
    number = written = 0
    with path.open("w", encoding="ascii") as file:
        written += file.write("id\tlang\ttext\tlabel\n" if path.suffix == ".tsv" else "")
        while written < size:
            written += file.write("".join(line(n, path.suffix[1:]) for n in range(number, number + 20_000)))
            number += 20_000
    return number


@pytest.mark.long
@pytest.mark.parametrize(("ending", "size"), [("tsv", 2**30), ("jsonl", STREAM_BYTES + 2**25)])
def test_a_file_larger_than_memory_allows(tmp_path: Path, ending: str, size: int) -> None:
    train = tmp_path / f"train.{ending}"
    try:
        count = write(train, size)
        assert train.stat().st_size >= size
        rows = [line(-n, "tsv").replace("sentence", "other") for n in range(1, 401)]
        (tmp_path / "test.tsv").write_text("id\tlang\ttext\tlabel\n" + "".join(rows))
        path = tmp_path / "study.toml"
        path.write_text(STUDY.format(ending=ending))
        done = subprocess.run(
            [sys.executable, "-c", READ, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout.splitlines()[-1])
    finally:
        train.unlink()
    assert found["grown"] < MOST_MB * 2**20, f"{found['grown'] / 2**20:.0f} MB"
    # Both languages have their full share, though one is three times as frequent in the file.
    assert found["sizes"] == {"train en": 500, "train de": 500, "validation en": 100, "validation de": 100, "test en": 40, "test de": 40}  # fmt: skip
    kept = f"train.{ending}: 2,000 of {count:,} rows kept of a large file, at most 1,000 of every language"
    assert kept in found["notes"]
    assert "train en de: 500 of 900 examples (task.limits)" in found["notes"]
    assert "test de: 40 of 100 examples (task.limits)" in found["notes"]
