"""`make claims`: run the study of the papers' claims on the bundled model and write down what came out (M§7).

    python -m engine.demo.claims [--store runs] [--seeds 3] [--to engine/demo/claims.json]

The board on Home shows the stored outcome. With fewer seeds the study has another name and its outcome stays in the store,
so that a quick try never replaces it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
STUDY, OUTCOME, NAME, SEEDS = FOLDER / "claims.toml", FOLDER / "claims.json", "bundled-claims", 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing of the study, then test the claims."""
    parser = argparse.ArgumentParser(prog="python -m engine.demo.claims", description="Test the papers' claims.")
    parser.add_argument("--store", type=Path, default=Path("runs"))
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"fewer than {SEEDS} for a quick try")
    parser.add_argument("--to", type=Path, help="where the outcome goes; default: beside the study, with all seeds")
    options = parser.parse_args(arguments)
    store = options.store.resolve()
    store.mkdir(parents=True, exist_ok=True)
    name = NAME if options.seeds == SEEDS else f"{NAME}-{options.seeds}-seeds"
    study = store / f"{name}.toml"
    study.write_text(study_text(name, options.seeds), encoding="utf-8")
    started = time.monotonic()
    if code := _python("-m", "engine", "run", str(study), "--store", str(store), "--resume", "--no-measure"):
        return code
    print(f"computed in {time.monotonic() - started:.0f} s", flush=True)
    outcome = options.to or (OUTCOME if options.seeds == SEEDS else store / f"{name}.json")
    return _python("-m", "analysis", "claims", str(store), "--study", name, "--to", str(outcome.resolve()))


def study_text(name: str, seeds: int) -> str:
    """The shipped study file under another name, with so many seeds."""
    text = STUDY.read_text(encoding="utf-8")
    text = re.sub(r'^name = "bundled-claims"$', f'name = "{name}"', text, count=1, flags=re.MULTILINE)
    return re.sub(r"^seeds = .*$", f"seeds = {list(range(seeds))}", text, count=1, flags=re.MULTILINE)


def _python(*arguments: str) -> int:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
