"""`make claims`: run the study of the papers' claims on the bundled model and write down what came out (M§7).

    python -m engine.demo.claims [--store runs] [--seeds 3] [--to engine/demo/claims.json]

The board on Home shows the stored outcome. With fewer seeds the study has another name and its outcome stays in the store,
so that a quick try never replaces it. Seeds run side by side, one thread each: matrices of this size gain little from a
second thread, and two threads on a busy core wait for each other.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
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
    if options.seeds < 1:
        parser.error(f"--seeds: must be at least 1; got {options.seeds}")
    store = options.store.resolve()
    store.mkdir(parents=True, exist_ok=True)
    name = NAME if options.seeds == SEEDS else f"{NAME}-{options.seeds}-seeds"
    started = time.monotonic()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        codes = list(pool.map(lambda seed: run(store, name, [seed], f"seed {seed}: "), range(options.seeds)))
    # Once more for all seeds: nothing is left to do, but the store now holds the study as it is.
    if code := next(filter(None, codes), 0) or run(store, name, range(options.seeds)):
        return code
    print(f"computed in {time.monotonic() - started:.0f} s", flush=True)
    outcome = options.to or (OUTCOME if options.seeds == SEEDS else store / f"{name}.json")
    claims = [sys.executable, "-m", "analysis", "claims", str(store), "--study", name, "--to", str(outcome.resolve())]
    return subprocess.run(claims, cwd=ROOT, check=False).returncode


def run(store: Path, name: str, seeds: Sequence[int], prefix: str = "") -> int:
    """Run what is missing of the study with these seeds in a process of one thread; its lines are printed as they come."""
    study = store / f"{name}-seeds-{'-'.join(map(str, seeds))}.toml"
    study.write_text(study_text(name, seeds), encoding="utf-8")
    command = [sys.executable, "-m", "engine", "run", str(study), "--store", str(store), "--resume", "--no-measure"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout or ():
            print(f"{prefix}{line}", end="", flush=True)
    study.unlink()
    return process.returncode


def study_text(name: str, seeds: Sequence[int]) -> str:
    """The shipped study file under another name, with these seeds."""
    text = STUDY.read_text(encoding="utf-8")
    text = re.sub(r'^name = "bundled-claims"$', f'name = "{name}"', text, count=1, flags=re.MULTILINE)
    return re.sub(r"^seeds = .*$", f"seeds = {list(seeds)}", text, count=1, flags=re.MULTILINE)


if __name__ == "__main__":
    raise SystemExit(main())
