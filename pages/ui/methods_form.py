"""The methods of a study as form fields: which recipes, at which levels, and what to change in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from pages.ui import form, loading, navigation, show

FAMILIES = {
    "M§3": "Criteria",
    "M§2.3": "Criteria",
    "M§4.1": "Weight alignment",
    "M§4.2": "Self-distillation",
    "M§4.5": "Controls",
}
LEVELS = [0.5, 0.7, 0.9]
TABLES = {"criterion": "criteria", "objective": "objectives"}


def pruning() -> dict[str, Any]:
    """The recipes that prune, by name, in the order of their families."""
    rows = {name: row for name, row in loading.table("recipes").items() if row.options.get("criterion") is not None}
    order = list(dict.fromkeys(FAMILIES.values()))
    return dict(sorted(rows.items(), key=lambda item: order.index(family(item[1]))))


def family(row: Any) -> str:
    """The family of a recipe."""
    return FAMILIES.get(row.section, "Criteria")


def recipe_label(name: str) -> str:
    """A recipe with its family, for a list of choices."""
    row = loading.table("recipes")[name]
    return f"{family(row)} · {row.title}"


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
        "Add a method", list(rows), None, recipe_label, placeholder="Choose a recipe: criteria, weight alignment, self-distillation",
        key=f"{key}.add", help="Named compositions of criterion, schedule and objective. Every part can be changed.",
    )  # fmt: skip
    if recipe:
        choice.caption(show.escape(rows[recipe].what))

    def add() -> None:
        number = max(known, default=-1) + 1
        last = known[numbers[-1]].get("levels", LEVELS) if numbers else LEVELS
        known[number] = {"recipe": recipe, "levels": list(last)}
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
        result = form.fields("method", values, key, ["levels", "name"])
        if row and row.options.get("criterion") is not None:
            with st.expander("Settings of this method"):
                result = _settings(result, row, key)
    return result


def _settings(values: dict[str, Any], row: Any, key: str) -> dict[str, Any]:
    """Allocation, and the parameters of the recipe's criterion and objective; what stands on its default is left out."""
    result = {name: value for name, value in values.items() if name != "allocation"}
    usual = loading.table("criteria")[row.options["criterion"]].options.get("allocation", "global")
    options = list(loading.table("allocations"))
    now = values.get("allocation", usual)
    if now in options:
        chosen = st.selectbox(
            "Allocation",
            options,
            options.index(now),
            help="How a level is shared between the matrices.",
            key=f"{key}.allocation",
        )
        result |= {"allocation": chosen} if chosen != usual else {}
    else:
        result["allocation"] = now
    for part, table in TABLES.items():
        overrides = values.get(part, {})
        changed = _part(loading.table(table), str(overrides.get("name", row.options[part])), overrides, f"{key}.{part}")
        result.pop(part, None)
        result |= {part: changed} if changed else {}
    navigation.link("methods", "What this recipe is made of", kind="recipes", entry=row.name)
    return result


def _part(rows: Any, name: str, overrides: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The overrides of one part: those that the form does not draw stay, the others as the form has them."""
    if name not in rows:
        return dict(overrides)
    parameters = rows[name].parameters
    result = {setting: value for setting, value in overrides.items() if setting not in {one.name for one in parameters}}
    places = st.columns(max(1, min(3, len(parameters))))
    for number, one in enumerate(parameters):
        with places[number % len(places)]:
            value = form.parameter(one, overrides.get(one.name), f"{key}.{one.name}")
        if value != one.default:
            result[one.name] = value
    return result
