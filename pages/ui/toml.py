"""Nested dictionaries → the text of a study file. Python reads TOML but does not write it; a study needs little of it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def dumps(value: Mapping[str, Any]) -> str:
    """A document of tables, lists of tables and plain values; empty tables are left out."""
    blocks = ["".join(f"{_key(name)} = {_value(inner)}\n" for name, inner in value.items() if not _is_table(inner))]
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            blocks.append(_table(f"[{_key(name)}]", inner) if inner else "")
        elif _is_table(inner):
            blocks += [_table(f"[[{_key(name)}]]", row) for row in inner]
    return "\n".join(block for block in blocks if block)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)
    )


def _table(heading: str, rows: Mapping[str, Any]) -> str:
    return f"{heading}\n" + "".join(f"{_key(name)} = {_value(value)}\n" for name, value in rows.items())


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return (
            "{ " + ", ".join(f"{_key(name)} = {_value(inner)}" for name, inner in value.items()) + " }"
            if value
            else "{}"
        )
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    return _text(str(value))


def _text(value: str) -> str:
    # JSON's escapes are TOML's too; DEL is the one character that JSON leaves bare and TOML does not allow.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
