"""The methods of a study as form fields: which recipes, at which levels, and what to change in them.

Everything is drawn from the tables: a recipe's row names its parts, the axis that its values lie on (levels of sparsity,
strengths or sizes) and what it sets; the study's schema says which further keys a method may have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from engine.plan import usual_axis
from pages.ui import form, loading, navigation, show

FAMILIES = {
    "M§3": "Criteria",
    "M§2.3": "Criteria",
    "M§4.1": "Weight alignment",
    "M§4.2": "Self-distillation",
    "M§4.3": "PINS",
    "M§4.4": "Contrastive",
    "M§4.5": "Baselines",
    "M§4.6": "Compositions",
}
LAST, BROUGHT_IN = "Other", "Pruned elsewhere"
# What a new method starts with where the study has none to copy from and the recipe names none.
VALUES = {"levels": [0.5, 0.7, 0.9], "sizes": [0.5, 0.25, 0.1], "strength": [1.0, 4.0, 16.0]}
TABLES = {"criterion": "criteria", "objective": "objectives", "schedule": "schedules"}
MORE = ("granularity", "path", "start", "keep_weights", "include", "exclude")  # keys of a method, drawn from the schema


def pruning() -> dict[str, Any]:
    """The recipes that a study may list, by name, in the order of their families."""
    rows = {name: row for name, row in loading.table("recipes").items() if not _control(row)}
    order = [*dict.fromkeys(FAMILIES.values()), LAST, BROUGHT_IN]
    return dict(sorted(rows.items(), key=lambda item: order.index(family(item[1]))))


def _control(row: Any) -> bool:
    """Is this one of the runs that every study has anyway?"""
    return not _brought_in(row) and bool(row.options.get("control", row.options.get("criterion") is None))


def _brought_in(row: Any) -> bool:
    """Is this a model that was pruned elsewhere, of which only the folder is asked for?"""
    return bool(row.options.get("checkpoint"))


def family(row: Any) -> str:
    """The family of a recipe."""
    if _brought_in(row):
        return BROUGHT_IN
    return FAMILIES.get(row.section, LAST)


def recipe_label(name: str) -> str:
    """A recipe with its family, for a list of choices."""
    row = loading.table("recipes")[name]
    return f"{family(row)} · {row.title}"


def axis(row: Any) -> str:
    """The key of a method that holds this recipe's values: levels, strength or sizes."""
    return usual_axis(row.name)


def edit(methods: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """Draw every method and the field that adds one; returns the methods as the form has them.

    `key` changes when the methods are read anew, so that no widget keeps a value of other methods.
    """
    st.caption("Dense and “dense, trained on” run in every study: they are what the others are compared with.")
    numbers = st.session_state.setdefault(f"{key}.methods", list(range(len(methods))))
    known: dict[int, dict[str, Any]] = st.session_state.setdefault(f"{key}.added", dict(enumerate(methods)))
    result = [_method(known[number], f"{key}.method.{number}", numbers, number) for number in list(numbers)]
    _add(numbers, known, key)
    return result


def _add(numbers: list[int], known: dict[int, dict[str, Any]], key: str) -> None:
    choice, button = st.columns([4, 1], vertical_alignment="bottom")
    rows = pruning()
    recipe = choice.selectbox(
        "Add a method", list(rows), None, recipe_label, placeholder="Choose a recipe",
        key=f"{key}.add", help="Named compositions of criterion, schedule and objective. Every part can be changed.",
    )  # fmt: skip
    if recipe:
        choice.caption(show.escape(rows[recipe].what))

    def add() -> None:
        number = max(known, default=-1) + 1
        name = axis(rows[recipe])
        last = [known[old][name] for old in numbers if known[old].get(name)]
        values = rows[recipe].options.get("values") or (last[-1] if last else VALUES.get(name, []))
        known[number] = {"recipe": recipe, name: list(values)[-1:] if _brought_in(rows[recipe]) else list(values)}
        numbers.append(number)

    button.button("Add", key=f"{key}.add-button", on_click=add, disabled=not recipe, width="stretch")


def _method(values: Mapping[str, Any], key: str, numbers: list[int], number: int) -> dict[str, Any]:
    recipe = str(values.get("recipe", ""))
    row = dict(loading.table("recipes")).get(recipe)
    with st.container(border=True):
        head, remove = st.columns([5, 1], vertical_alignment="center")
        head.markdown(
            f"**{row.title}** `{recipe}`" if row else f"**{show.escape(recipe or 'a method without a recipe')}**"
        )
        remove.button(
            "Remove", key=f"{key}.remove", on_click=numbers.remove, args=(number,), type="tertiary", width="stretch"
        )
        if row:
            st.caption(show.escape(row.what))
        brought_in = bool(row and _brought_in(row))
        names = [*(["checkpoint"] if brought_in else []), axis(row) if row else "levels", "name"]
        result = form.fields("method", values, key, names)
        if brought_in:
            st.caption("A folder on the server, with safetensors. Give the one sparsity that the model has, and set “Task head” above to “keep”.")  # fmt: skip
        elif row and not _control(row):
            with st.expander("Settings of this method"):
                result = _settings(result, row, key)
    return result


def _settings(values: dict[str, Any], row: Any, key: str) -> dict[str, Any]:
    """Allocation, the parameters of the recipe's parts, and further keys; what stands on its default is left out."""
    result = _allocation(values, row, key)
    for part, table in TABLES.items():
        usual, given = _named(row.options.get(part))
        overrides = values.get(part, {})
        rows = loading.table(table)
        name = str(overrides.get("name", usual))
        result.pop(part, None)
        if name in rows and rows[name].parameters:
            st.markdown(f"**{part.capitalize()}**: {show.escape(rows[name].title)}")
        changed = _part(rows, name, overrides, given if name == usual else {}, f"{key}.{part}")
        result |= {part: changed} if changed else {}
    known = [name for name in MORE if name in form.schema("method")]
    result = form.fields("method", result, key, known, 3)
    navigation.link("methods", "What this recipe is made of", kind="recipes", entry=row.name)
    return result


def _allocation(values: dict[str, Any], row: Any, key: str) -> dict[str, Any]:
    """How a level is shared between the matrices; a criterion may bring its own."""
    result = {name: value for name, value in values.items() if name != "allocation"}
    criteria = loading.table("criteria")
    criterion = _named(row.options.get("criterion"))[0]
    own = criteria[criterion].options.get("allocation") if criterion in criteria else None
    usual = row.options.get("allocation") or own or "global"
    options = list(loading.table("allocations"))
    now = values.get("allocation", usual)
    if now not in options:  # a pattern such as "2:4", which the text view holds
        return {**result, "allocation": now}
    chosen = st.selectbox("Allocation", options, options.index(now), help="How a level is shared between the matrices.", key=f"{key}.allocation")  # fmt: skip
    return result | ({"allocation": chosen} if chosen != usual else {})


def _named(part: Any) -> tuple[str, Mapping[str, Any]]:
    """(row, what the recipe sets in it) of a part: a name, or a pair of a name and parameters."""
    if isinstance(part, (tuple, list)) and len(part) == 2:
        return str(part[0]), dict(part[1])
    return str(part or ""), {}


def _part(
    rows: Any, name: str, overrides: Mapping[str, Any], given: Mapping[str, Any], key: str
) -> dict[str, Any]:  # fmt: skip
    """The overrides of one part: those that the form does not draw stay, the others as the form has them.

    `given`: what the recipe itself sets, which then is the default.
    """
    if name not in rows:
        return dict(overrides)
    parameters = rows[name].parameters
    result = {setting: value for setting, value in overrides.items() if setting not in {one.name for one in parameters}}
    places = st.columns(max(1, min(3, len(parameters))))
    for number, one in enumerate(parameters):
        usual = given.get(one.name, one.default)
        with places[number % len(places)]:
            value = form.parameter(one, overrides.get(one.name, usual), f"{key}.{one.name}")
        if value != usual:
            result[one.name] = value
    return result
