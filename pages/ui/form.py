"""A study section as form fields, drawn from the JSON schema of its model: one field per key, its sentence as help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from engine.config import Study

UNSET = "as usual"  # shown where a key is left out
LABELS = {"model.name": "Model", "method.name": "Name in this study", "head": "Task head", "equalise": "Made equal between languages", "clip": "Gradient clip",
          "test": "Test data", "train": "Training data", "validation": "Validation data"}  # fmt: skip


def schema(section: str) -> dict[str, Any]:
    """Properties of a section: key → its JSON schema. `method` gives those of one method."""
    whole = Study.model_json_schema()
    found = whole["properties"][section]
    reference = found.get("$ref") or found.get("allOf", [{}])[0].get("$ref") or found["items"]["$ref"]
    properties: dict[str, Any] = whole["$defs"][reference.rpartition("/")[2]]["properties"]
    return properties


def fields(section: str, values: Mapping[str, Any], key: str, names: Sequence[str], columns: int = 2) -> dict[str, Any]:
    """Draw the named keys of a section and return the section: what was there, with these keys as the form has them.

    A key that stands on its default is left out, so that a study file says only what was decided.
    """
    properties = schema(section)
    result = {name: value for name, value in values.items() if name not in names}
    places = st.columns(columns) if len(names) > 1 else [st.container()]
    for number, name in enumerate(names):
        with places[number % len(places)]:
            value = field(label(name, section), properties[name], values.get(name), f"{key}.{section}.{name}")
        if value is not None and value != properties[name].get("default"):
            result[name] = value
    return result


def label(name: str, section: str = "") -> str:
    """A key in words."""
    return LABELS.get(f"{section}.{name}") or LABELS.get(name) or name.replace("_", " ").capitalize()


def field(title: str, rule: Mapping[str, Any], value: Any, key: str) -> Any:
    """One key as the widget that suits its type; None where it is left empty."""
    empty = any(one.get("type") == "null" for one in rule.get("anyOf", []))
    rule = _plain(rule)
    start = rule.get("default") if value is None else value
    words = title, rule.get("description")
    if "enum" in rule or (empty and rule.get("type") == "boolean"):
        options = [*([None] if empty else []), *rule.get("enum", (True, False))]
        return st.selectbox(words[0], options, options.index(start) if start in options else 0, lambda one: UNSET if one is None else str(one), help=words[1], key=key)  # fmt: skip
    kind = rule.get("type")
    if kind == "boolean":
        return st.toggle(words[0], bool(start), help=words[1], key=key)
    if kind in ("integer", "number") and isinstance(start, (int, float)):
        return _number(words, rule, start, key)
    if kind == "array":
        text = st.text_input(
            words[0], ", ".join(map(_short, start or [])), help=f"{words[1]} Separated by commas.", key=key
        )
        return listed(text, rule.get("items", {}).get("type", "string"))
    if kind == "object":
        text = st.text_input(words[0], pairs_text(start or {}), help=f"{words[1]} Such as: a = b, c = d.", key=key)
        return pairs(text)
    return st.text_input(words[0], "" if start is None else _several(start), help=words[1], key=key).strip() or None


def _plain(rule: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without its "or null": a field that may be empty is drawn as the first kind it may have."""
    first = next((one for one in rule.get("anyOf", []) if one.get("type") != "null"), {})
    return {**first, **{name: value for name, value in rule.items() if name != "anyOf"}}


def _number(words: tuple[str, str | None], rule: Mapping[str, Any], start: float, key: str) -> float:
    whole = rule["type"] == "integer"
    kind = int if whole else float
    step = 1 if whole else max(abs(float(rule.get("default", start))) / 10, 1e-6)
    return _within(words, kind, (rule.get("minimum"), rule.get("maximum")), start, step, key)


def _within(
    words: tuple[str, str | None], kind: type, bounds: tuple[Any, Any], start: float, step: float, key: str
) -> float:
    """A number field. A start outside the bounds is shown as it is, without them: the list of problems names it."""
    low, high = (None if bound is None else kind(bound) for bound in bounds)
    if (low is not None and start < low) or (high is not None and start > high):
        low = high = None
    return st.number_input(
        words[0], low, high, kind(start), step, format=None if kind is int else "%g", help=words[1], key=key
    )


def _short(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _several(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def listed(text: str, kind: str = "string") -> list[Any] | None:
    """`0.5, 0.9` as a list; None where nothing stands there. What is no number stays text, for the check to name."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return [_typed(part, kind) for part in parts] or None


def _typed(part: str, kind: str) -> Any:
    try:
        return int(part) if kind == "integer" else float(part) if kind == "number" else part
    except ValueError:
        return part


def pairs_text(value: Mapping[str, Any]) -> str:
    """`{"text": "sentence"}` as `text = sentence`."""
    return ", ".join(f"{name} = {inner}" for name, inner in value.items())


def pairs(text: str) -> dict[str, Any] | None:
    """`text = sentence, label = label` as a table; numbers become numbers. None where nothing stands there."""
    found = {}
    for part in text.split(","):
        name, sign, value = (piece.strip() for piece in part.partition("="))
        if name:
            found[name] = _guess(value) if sign else ""
    return found or None


def _guess(value: str) -> Any:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def parameter(one: Any, value: Any, key: str) -> Any:
    """A setting of a method's row (`engine.registry.Parameter`) as a widget, starting from `value` or its default."""
    start, words = one.default if value is None else value, one.name.replace("_", " ")
    if one.choices:
        return st.selectbox(
            words, one.choices, one.choices.index(start) if start in one.choices else 0, help=one.what, key=key
        )
    if isinstance(one.default, bool):
        return st.toggle(words, bool(start), help=one.what, key=key)
    if isinstance(one.default, (int, float)) and isinstance(start, (int, float)):
        kind = type(one.default)
        step = 1 if kind is int else max(abs(float(one.default)) / 10, 1e-4)
        return _within((words, one.what), kind, (one.low, one.high), start, step, key)
    return st.text_input(words, str(start), help=one.what, key=key)
