"""What does not depend on a study: the tables of methods, the stored claims, and whether anything may be written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import streamlit as st

from engine import record


@st.cache_resource(max_entries=16, show_spinner=False)
def table(kind: str) -> Any:
    """One of the tables of `engine.registry.TABLES`: plain records that never change while the server runs."""
    from engine.registry import table as found

    return found(kind)


CLAIMS = Path(__file__).parents[3] / "engine" / "demo" / "claims.json"


def claims() -> dict[str, Any] | None:
    """The stored outcome of the last `make claims`, or None."""
    return record.read_json(CLAIMS) if CLAIMS.is_file() else None


def readonly() -> bool:
    """Is this server for showing only (`PRUNOSCOPE_READONLY=1`)?"""
    return os.environ.get("PRUNOSCOPE_READONLY", "") not in ("", "0", "false")


def as_json(text: str) -> Any:
    """The JSON value in `text`, or None where it is not JSON."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None
