"""Examples that are picked together on two maps: by a lasso on either, by class, by words of their sentences."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pandas as pd
import streamlit as st

from pages.ui import controls, link, show

Item = tuple[str, str]  # (language, id)
MOST_LINKED = 150  # items that an address carries: longer ones are cut off by browsers and mail programs
ANY = ""


def _decode(raw: list[str]) -> list[Item]:
    found = []
    for text in raw:
        if text:
            language, mark, name = text.partition(":")
            if not (language and mark and name):
                raise ValueError("must be <language>:<id>")
            found.append((language, name))
    return found


def lassoed(events: dict[str, Any]) -> list[Item]:
    """The examples inside the last lasso or box on any of the maps, kept while nothing else is drawn; from the link at first.

    `events`: the maps' selection events by name. A map that is drawn anew, because something was marked on it, comes
    back without a selection: an empty event is therefore no wish to clear, which has a button of its own.
    """
    key = link.settle("items", _decode, lambda value: isinstance(value, list), [])
    for name, event in events.items():
        now = [(str(data[1]), str(data[0])) for data in show.selected(event)]
        seen = f"{key}.{name}"
        if now and now != st.session_state.get(seen):
            st.session_state[key] = list(dict.fromkeys(now))
        st.session_state[seen] = now
    return list(st.session_state[key])


def record(items: list[Item]) -> None:
    """Put the lasso's examples into the address, as many as it carries."""
    link.record("items", items, [f"{language}:{name}" for language, name in items[:MOST_LINKED]])
    if len(items) > MOST_LINKED:
        st.caption(f"A link carries the first {MOST_LINKED} of these {len(items)} examples.")


def clear() -> None:
    """Forget the lasso."""
    st.session_state[link.key("items")] = []


def by_class(labels: list[str]) -> str:
    """The class to mark, or nothing."""
    return controls.choose("pick", "Mark a class", [ANY, *labels], ANY, lambda name: name or "none", strict=True)


def by_words() -> str:
    """Words of the sentences to mark, or nothing."""
    return controls.text("find", "Mark sentences with", "words of the sentence")


def matching(texts: pd.DataFrame, label: str, words: str) -> list[Item]:
    """The examples of a class whose sentence holds every word; none where neither is asked for."""
    if not label and not words.strip():
        return []
    rows = texts[texts["label"].astype(str) == label] if label else texts
    if words.strip():
        text = rows["text"].astype(str).str.casefold() if "text" in rows else pd.Series("", index=rows.index)
        for word in words.casefold().split():
            text = text[text.str.contains(word, regex=False)]
        rows = rows.loc[text.index]
    return list(zip(rows["language"].astype(str), rows["id"].astype(str), strict=True))


def with_translations(items: Collection[Item], every: Collection[Item]) -> list[Item]:
    """The items, and those of all languages that have the same id."""
    names = {name for _, name in items}
    return [item for item in every if item[1] in names]
