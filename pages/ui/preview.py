"""The rows that a study would read, split by split and language by language: `python -m pages.ui.preview STUDY.toml`.

A process of its own, started by New study: reading and checking data is not the app's work. Prints JSON; problems go
to stderr, one line each, and end with exit code 2.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

EXAMPLES, LONGEST = 5, 300  # rows shown of each split and language; characters of a cell


def preview(path: Path) -> dict[str, Any]:
    """What was read: `parts` (split, language, rows, examples), `labels`, `parallel`, `notes`; raises `ConfigError`."""
    from engine import config
    from engine.data import load_task

    data = load_task(config.load(path))
    parts = []
    for (split, language), frame in data.frames.items():
        head = frame.head(EXAMPLES).astype(str).map(_short)
        parts.append({"split": split, "language": language, "rows": len(frame), "examples": head.to_dict("records")})
    return {"parts": parts, "labels": list(data.labels), "parallel": data.parallel, "notes": list(data.notes)}


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def main(arguments: list[str]) -> int:
    """Print the preview of one study file."""
    from engine.config import ConfigError

    if len(arguments) != 1:
        print("usage: python -m pages.ui.preview STUDY.toml", file=sys.stderr)
        return 2
    try:
        print(json.dumps(preview(Path(arguments[0])), ensure_ascii=False))
    except ConfigError as error:
        for line in error.problems:
            print(" ".join(line.split()), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
