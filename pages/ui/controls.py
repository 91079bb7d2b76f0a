"""Widgets whose value stands in the address bar (see `pages.ui.link`).

Every control takes the choices that exist, so that a link to something else is reported. The session's value is also
passed as the widget's default: a run that is interrupted before the browser has the widget would otherwise leave it
showing another value than the page. Draw them in the body of a
page, not in a polling fragment. Names are shared between pages: a method chosen on one page is chosen on the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import streamlit as st

from pages.ui import link

T = TypeVar("T")
Kind = Literal["select", "segments", "radio"]
MOST_LISTED = 20  # choices named where a link asks for none of them


def number_text(value: float) -> str:
    """A number in an address: as short as it can be, `0.9`."""
    return f"{value:.10g}"


def percent(value: float) -> str:
    """A fraction as a percentage without superfluous digits: `90%`, `97.5%`."""
    return f"{100 * value:.4g}%"


def _encoder(options: Sequence[T]) -> Callable[[Any], str]:
    return number_text if options and all(isinstance(option, float) for option in options) else str


def _decode_one(raw: str, options: Sequence[T], encode: Callable[[T], str]) -> T:
    for option in options:
        if encode(option) == raw or (isinstance(option, float) and _same_number(raw, option)):
            return option
    raise ValueError(f"must be one of {listed([encode(option) for option in options])}")


def listed(names: Sequence[str]) -> str:
    """Choices in a sentence; of very many only the first."""
    shown = [name for name in names if name]
    more = f" and {len(shown) - MOST_LISTED} more" if len(shown) > MOST_LISTED else ""
    return ", ".join(shown[:MOST_LISTED]) + more or "nothing: there is none here yet"


def _same_number(raw: str, option: float) -> bool:
    try:
        return abs(float(raw) - option) < 1e-9
    except ValueError:
        return False


def choose(
    name: str,
    label: str,
    options: Sequence[T],
    default: T | None = None,
    format: Callable[[T], str] = str,
    help: str | None = None,
    kind: Kind = "select",
    hidden_label: bool = False,
    strict: bool = False,
) -> T:
    """One of `options`. `default` is the first where none is given; raises `ValueError` where there is no option.

    A link to something that is not among them is reported, and shows what was chosen before; with `strict` it shows
    the first option instead, which should then mean "none".
    """
    if not options:
        raise ValueError(f"options: must not be empty for {name}")
    encode = _encoder(options)
    start = default if default in options else options[0]
    keywords = {"instead": options[0]} if strict else {}
    key = link.settle(
        name, lambda raw: _decode_one(raw[-1], options, encode), lambda value: value in options, start, **keywords
    )
    visibility: Literal["visible", "collapsed"] = "collapsed" if hidden_label else "visible"
    now = st.session_state[key]
    place = list(options).index(now)
    if kind == "segments":
        value = st.segmented_control(
            label, options, required=True, default=now, format_func=format, key=key, help=help, label_visibility=visibility
        )  # fmt: skip
    elif kind == "radio":
        value = st.radio(
            label, options, place, format_func=format, key=key, help=help, horizontal=True, label_visibility=visibility
        )
    else:
        value = st.selectbox(label, options, place, format_func=format, key=key, help=help, label_visibility=visibility)
    link.record(name, value, [encode(value)])
    return value


def slider(
    name: str,
    label: str,
    options: Sequence[T],
    default: T | None = None,
    format: Callable[[T], str] = str,
    help: str | None = None,
) -> T:
    """One of `options` in their order, by a slider; two of them at least make one, a single one is taken as it is."""
    if len(options) < 2:
        return choose(name, label, options, default, format, help)
    encode = _encoder(options)
    start = default if default in options else options[0]
    key = link.settle(name, lambda raw: _decode_one(raw[-1], options, encode), lambda value: value in options, start)
    value = st.select_slider(label, options, st.session_state[key], format_func=format, key=key, help=help)
    link.record(name, value, [encode(value)])
    return value


def several(
    name: str,
    label: str,
    options: Sequence[T],
    default: Sequence[T] | None = None,
    format: Callable[[T], str] = str,
    help: str | None = None,
) -> list[T]:
    """Any of `options`, in their order; all of them where no default is given. An empty choice is possible."""
    encode = _encoder(options)

    def decode(raw: list[str]) -> list[T]:
        return [_decode_one(text, options, encode) for text in raw if text]

    def valid(values: Any) -> bool:
        return isinstance(values, list) and all(value in options for value in values)

    key = link.settle(
        name, decode, valid, [option for option in (options if default is None else default) if option in options]
    )
    chosen = st.multiselect(label, options, st.session_state[key], format_func=format, key=key, help=help)
    values = [option for option in options if option in chosen]
    link.record(name, list(chosen), [encode(value) for value in values])
    return values


def toggle(name: str, label: str, default: bool = False, help: str | None = None) -> bool:
    """On or off; `true` or `false` in the address."""

    def decode(raw: list[str]) -> bool:
        return _decode_one(raw[-1], ("true", "false"), str) == "true"

    key = link.settle(name, decode, lambda value: isinstance(value, bool), default)
    value = st.toggle(label, st.session_state[key], key=key, help=help)
    link.record(name, value, [str(value).lower()])
    return value


def number(
    name: str, label: str, low: float, high: float, default: float, step: float, help: str | None = None
) -> float:
    """A number from `low` to `high`."""

    def decode(raw: list[str]) -> float:
        try:
            value = float(raw[-1])
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise ValueError(f"must be a number from {low:g} to {high:g}")
        return value

    key = link.settle(
        name, decode, lambda value: isinstance(value, (int, float)) and low <= value <= high, float(default)
    )
    value = float(
        st.number_input(
            label, float(low), float(high), st.session_state[key], float(step), format="%g", key=key, help=help
        )
    )
    link.record(name, value, [number_text(value)])
    return value


def text(name: str, label: str, placeholder: str = "", help: str | None = None, live: bool = True) -> str:
    """Free text, such as a search; at most 200 characters."""

    def decode(raw: list[str]) -> str:
        if len(raw[-1]) > 200:
            raise ValueError("must have at most 200 characters")
        return raw[-1]

    key = link.settle(name, decode, lambda value: isinstance(value, str), "")
    value = st.text_input(
        label,
        st.session_state[key],
        key=key,
        placeholder=placeholder,
        help=help,
        max_chars=200,
        live=live,
        type="search",
    )
    link.record(name, value, [value])
    return value


# -- the controls that several pages share ----------------------------------------------------------------------


def methods(options: Sequence[str], default: Sequence[str] | None = None) -> list[str]:
    """Methods of a study."""
    return several("methods", "Methods", options, default, help="Methods of this study; controls are drawn in grey.")


def method(options: Sequence[str], default: str | None = None) -> str:
    """One method of a study."""
    return choose("method", "Method", options, default)


def level(options: Sequence[float], default: float | None = None) -> float:
    """A level: the fraction of prunable weights removed. The highest where none is given."""
    return choose("level", "Sparsity", options, options[-1] if default is None and options else default, percent,
                  help="Fraction of the prunable weights that is removed.")  # fmt: skip


def language_label(code: str) -> str:
    """A language's name with its code: `German (de)`."""
    from engine.tasks.languages import resolve

    name = resolve(code).name
    return code if name == code else f"{name} ({code})"


def languages(options: Sequence[str], default: Sequence[str] | None = None) -> list[str]:
    """Languages of a study."""
    return several("languages", "Languages", options, default, language_label)


def language(options: Sequence[str], default: str | None = None, label: str = "Language") -> str:
    """One language of a study."""
    return choose("language", label, options, default, language_label)


def seed(options: Sequence[int]) -> int:
    """One of a study's seeds."""
    return choose("seed", "Seed", options)


def split(options: Sequence[str]) -> str:
    """A test split; the study's own `test` comes first."""
    return choose("split", "Split", options, "test")


def layer(options: Sequence[int], default: int | None = None) -> int:
    """A layer: 0 is the embedding output, the last the encoder's output. The last where none is given."""
    return choose("layer", "Layer", options, options[-1] if default is None and options else default,
                  help="0 is the embedding output; the highest is the encoder's output.")  # fmt: skip


POOLINGS = {"mean": "mean of tokens", "first": "first token", "word": "word-initial tokens"}


def pooling(options: Sequence[str], default: str | None = None) -> str:
    """How the token states of an example became one vector."""
    return choose("pooling", "Pooling", options, default, lambda name: POOLINGS.get(name, name),
                  help="How the states of an example's tokens became one vector.")  # fmt: skip


def measure(options: Sequence[str], default: str | None = None) -> str:
    """A measure by its name in the tables, shown by its title."""
    from pages.ui import show

    return choose("measure", "Measure", options, default, show.title)
