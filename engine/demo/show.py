"""`make demo`: serve the app, run the bundled study while it can be watched, print what pruning did to each language.

Environment: `STORE` (default runs), `SERVE` (0: no app, return after the table), `PORT` (default 8501).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
STUDY = Path(__file__).parent / "study.toml"
NAME = "bundled-demo"


def main() -> int:
    """Run the steps in order; the app lives until it is interrupted."""
    store = Path(os.environ.get("STORE", "runs")).resolve()
    store.mkdir(parents=True, exist_ok=True)
    app = _serve(store) if os.environ.get("SERVE", "1") != "0" else None
    try:
        code = _demo(store)
        if app and code == 0:
            print(f"\nThe app shows all of it at http://127.0.0.1:{_port()} (stop it with Ctrl-C).", flush=True)
            app.wait()
        return code
    except KeyboardInterrupt:
        return 0
    finally:
        if app and app.poll() is None:
            app.terminate()


def _demo(store: Path) -> int:
    started = time.monotonic()
    code = _python("-m", "engine", "run", str(STUDY), "--store", str(store), "--resume")
    print(f"computed in {time.monotonic() - started:.0f} s", flush=True)
    if code:
        return code
    return _python("-m", "analysis", "summary", str(store), "--study", NAME)


def _python(*arguments: str) -> int:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, check=False).returncode


def _port() -> str:
    return os.environ.get("PORT", "8501")


def _serve(store: Path) -> subprocess.Popen[bytes]:
    """Start the app; its output goes to a file, because an unread pipe would stop it."""
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", _port()]
    with (store / "app.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "PRUNOSCOPE_STORE": str(store)},
        )
    print(f"The app is at http://127.0.0.1:{_port()} and shows the study while it runs.", flush=True)
    return process


if __name__ == "__main__":
    raise SystemExit(main())
