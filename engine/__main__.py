"""`python -m engine`: opens the rooms of the command line, in the order in which its help names them."""

from engine.commands import app, running, queued, looking, results  # isort: skip

__all__ = ["app", "looking", "queued", "results", "running"]

if __name__ == "__main__":
    app()
