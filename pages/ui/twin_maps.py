"""Compare's maps: two arms or two levels side by side, with what is picked on one marked in the other (M§6.5)."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from analysis import theme
from analysis.figures import compare as names
from analysis.figures.maps import map_scatter
from analysis.figures.twins import beside, marked
from pages.ui import arms, controls, loading, picked, shell, show, stored_maps
from pages.ui.stored_maps import COLOURS, PROJECTIONS, Wanted

Arm = tuple[str, str]
SIDES = ("left", "right")


def draw(choice: arms.Choice, facts: Sequence[loading.Facts]) -> None:
    """The reference's map on the left, another arm or level on the right, and the sentences that are picked."""
    by_study = {found.study: found for found in facts}
    wanted, poolings, depth = _choose(choice, by_study)
    rows = [stored_maps.find(one) for one in wanted]
    if any(part.empty for part in rows):
        for side, one, part in zip(SIDES, wanted, rows, strict=True):
            if part.empty:
                stored_maps.queue(one, poolings, depth, f"map-{side}")
        return
    _side_by_side(choice, wanted, rows)


def _choose(choice: arms.Choice, facts: dict[str, loading.Facts]) -> tuple[tuple[Wanted, Wanted], tuple[str, ...], int]:
    """Both maps; ends the page where one of them kept no states to be drawn from."""
    first = st.columns([5, 3, 3, 3, 4, 3])
    label = {arms.text(arm): arm for arm in choice.arms}
    other = next(arms.text(arm) for arm in choice.arms if arm != choice.reference)
    with first[0]:
        name = controls.choose("beside", "Beside it", list(label), other, lambda one: names.named(label[one], choice.arms), help="Left is the arm chosen under “Against”.")  # fmt: skip
    right = label[name]
    levels = list(facts[right[0]].levels[right[1]])
    with first[1]:
        level = controls.choose("beside_level", "at", levels, choice.level if choice.level in levels else levels[-1], controls.percent)  # fmt: skip
    sides = ((choice.reference, choice.level), (right, level))
    with first[2]:
        seed = controls.seed(facts[choice.reference[0]].seeds)
    places = [_place(arm, at, seed, facts[arm[0]]) for arm, at in sides]
    kept = [loading.kept_states(study, run, folder) for study, run, folder in places]
    for (study, run, _), (_, at), (found, _) in zip(places, sides, kept, strict=True):
        if not found:
            text = f"{run} kept no activations at {controls.percent(at)}, which maps are drawn from."
            show.empty(
                f"{text} A run keeps those of its probe examples.", "monitor", "See its run", study=study, run=""
            )
            shell.stop()
    poolings = tuple(name for name in kept[0][0] if name in kept[1][0]) or kept[0][0]
    depth = min(kept[0][1], kept[1][1])
    with first[3]:
        projection = controls.choose("projection", "Projection", list(PROJECTIONS), _made(places), PROJECTIONS.__getitem__)  # fmt: skip
    with first[4]:
        pooling = controls.pooling(poolings)
    with first[5]:
        layer = controls.layer(list(range(depth)))
    left, beside_it = (
        Wanted(arm[0], arm[1], int(run.rpartition("-s")[2]), at, projection, pooling, layer)
        for (arm, at), (_, run, _) in zip(sides, places, strict=True)
    )
    return (left, beside_it), poolings, depth


def _place(arm: Arm, level: float, seed: int, facts: loading.Facts) -> tuple[str, str, str]:
    """(study, run, level folder), of the study's first seed where it has not this one."""
    run = f"{arm[1]}-s{seed if seed in facts.seeds else facts.seeds[0]}"
    return arm[0], run, loading.level_folder(arm[0], run, level)


def _made(places: Sequence[tuple[str, str, str]]) -> str:
    """The first projection that both have already; PCA, which takes no time, where there is none."""
    known = [set(frame["projection"]) if len(frame := loading.level_maps(*place)) else set() for place in places]
    return next((name for name in PROJECTIONS if all(name in found for found in known)), "pca")


def _side_by_side(choice: arms.Choice, wanted: Sequence[Wanted], rows: Sequence[pd.DataFrame]) -> None:
    texts = _texts(wanted, rows)
    second = st.columns([3, 4, 5, 4], vertical_alignment="bottom")
    with second[0]:
        colour = controls.choose("colour", "Colour", list(COLOURS), "label", COLOURS.__getitem__)
    with second[1]:
        label = picked.by_class(sorted(texts["label"].astype(str).unique()))
    with second[2]:
        words = picked.by_words()
    with second[3]:
        every = controls.toggle("translations", "with translations", help="Marks the same item in every language.")
    events = {side: st.session_state.get(f"figure-{_key(side)}") for side in SIDES}
    lasso = picked.lassoed(events)
    known = list(zip(texts["language"], texts["id"], strict=True))
    there = set(known)
    found = [item for item in dict.fromkeys([*lasso, *picked.matching(texts, label, words)]) if item in there]
    items = picked.with_translations(found, known) if every else found
    for column, side, one, part in zip(st.columns(2), SIDES, wanted, rows, strict=True):
        with column:
            name = f"{names.named((one.study, one.method), choice.arms)}, {controls.percent(one.level)}"
            shown = marked(beside(map_scatter(part, colour, ("pruned",), show.dark()), name), items)
            show.figure(shown, _key(side), select=True)
    st.caption("Each map is a fit of its own: compare who lies beside whom, not where on the page. Draw a lasso or a box on either map to mark its examples on both.")  # fmt: skip
    with st.container(horizontal=True):
        for name in ("trustworthiness", "displacement"):
            show.definition(name)
    picked.record(lasso)
    _sentences(texts, items, lasso)


def _key(side: str) -> str:
    return f"compare-map-{side}"


def _texts(wanted: Sequence[Wanted], rows: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One row per example of either map: language, id, label, text, what dense and both arms say, how far each moved it."""
    keys = ["language", "id"]
    columns = ["label", "displacement"]
    tables = []
    for side, one, part in zip(SIDES, wanted, rows, strict=True):
        table = part.drop_duplicates(keys)[[*keys, *columns]].rename(columns={"displacement": f"moved {side}"})
        details = loading.details(one.study, one.run, one.folder)
        if details is not None:
            kept = [name for name in ("text", "predicted") if name in details]
            table = table.merge(details[[*keys, *kept]].rename(columns={"predicted": f"{side} says"}), on=keys, how="left")  # fmt: skip
        tables.append(table)
    both = tables[0].merge(tables[1], on=keys, how="outer", suffixes=("", " right"))
    for name in ("label", "text"):
        if f"{name} right" in both:
            both[name] = both[name].fillna(both.pop(f"{name} right"))
    left = wanted[0]
    dense = loading.details(left.study, f"dense-s{left.seed}", loading.level_folder(left.study, f"dense-s{left.seed}", 0.0))  # fmt: skip
    if dense is not None and "predicted" in dense:
        both = both.merge(dense[[*keys, "predicted"]].rename(columns={"predicted": "dense says"}), on=keys, how="left")
    return both.astype({"language": str, "id": str})


def _sentences(texts: pd.DataFrame, items: list[picked.Item], lasso: list[picked.Item]) -> None:
    if not items:
        if lasso:
            st.info("None of the examples that the link marks is on these maps.")
        return
    wanted = set(items)
    table = texts[[item in wanted for item in zip(texts["language"], texts["id"], strict=True)]]
    order = ["language", "text", "label", "dense says", "left says", "right says", "moved left", "moved right", "id"]
    table = table[[name for name in order if name in table]]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{len(table)} marked examples**")
        if lasso:
            st.button("Clear the lasso", key="clear-lasso", on_click=picked.clear)
    table = table.assign(language=table["language"].map(theme.language_name))
    number = st.column_config.NumberColumn(format="%.3f", width="small")
    formats = {"moved left": number, "moved right": number, "text": st.column_config.TextColumn("text", width="large")}
    show.table(table, "compare-map-sentences", column_config=formats)
