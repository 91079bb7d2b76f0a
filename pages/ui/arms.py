"""What Compare sets side by side: the arms that were chosen, and the stored comparisons of their studies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pandas as pd
import streamlit as st

from pages.ui import controls, link, loading, measured, measuring, show

MOST = 8  # arms that are chosen before anyone has chosen
Arm = tuple[str, str]
HIDDEN = ("schema", "digest", "seed", "method", "study", "notes", "labels", "data_digest", "model_digest", "plan.name")
# Facts that a difference of other kinds would be read from wrongly.
DIFFERENT = {"type": "task type", "metric": "score", "model": "model", "task": "task"}


@dataclass(frozen=True)
class Choice:
    """The arms to compare, the one that the others are compared with, and where."""

    arms: tuple[Arm, ...]
    reference: Arm
    level: float
    split: str

    @property
    def studies(self) -> list[str]:
        """Studies of the arms, in order."""
        return list(dict.fromkeys(study for study, _ in self.arms))


def text(arm: Arm) -> str:
    """An arm as it stands in the address."""
    return "/".join(arm)


def studies() -> list[loading.Facts]:
    """The studies to choose arms from; the newest is chosen where nothing else is."""
    names = loading.studies()
    default = [newest(names)] if names else []
    with st.columns([1])[0]:
        chosen = controls.several("studies", "Studies", names, default, help="Arms of several studies are compared on the languages and items that they share.")  # fmt: skip
    return [loading.facts(name) for name in chosen]


def newest(names: Sequence[str]) -> str:
    """The study that changed last."""
    return max(names, key=lambda name: (loading.store() / name).stat().st_mtime)


def choose(facts: Sequence[loading.Facts]) -> Choice | None:
    """The controls for arms, reference, level and split; None where fewer than two arms are chosen."""
    every = [(found.study, method) for found in facts for method in measured.methods_of(found)]
    plain = [arm for arm in every if _plain(facts, arm)]
    preselected = _spread_out(
        [*plain[: len(facts)], *(arm for arm in every if arm not in plain[: len(facts)])], len(facts)
    )
    names = {text(arm): arm for arm in every}
    label = (lambda name: names[name][1]) if len(facts) == 1 else str
    chosen = controls.several("arms", "Methods to compare", list(names), [text(arm) for arm in preselected], label)
    arms = tuple(names[name] for name in chosen)
    if len(arms) < 2:
        return None
    levels = _levels(facts, arms)
    first, second, third = st.columns([2, 1, 1])
    with first:
        start = text(max(arms, key=lambda arm: (_plain(facts, arm), _recipe(facts, arm) == "magnitude")))
        reference = controls.choose("reference", "Against", [text(arm) for arm in arms], start, label, help="The arm that every other one is compared with.")  # fmt: skip
    with second:
        level = controls.level(levels)
    with third:
        split = controls.split([name for name in facts[0].splits if all(name in found.splits for found in facts)])
    return Choice(arms, names[reference], level, split)


def _spread_out(every: Sequence[Arm], studies: int) -> list[Arm]:
    """The first arms of every study, at most `MOST` in all."""
    share = max(1, MOST // max(1, studies))
    taken: dict[str, int] = {}
    found = []
    for arm in every:
        taken[arm[0]] = taken.get(arm[0], 0) + 1
        if taken[arm[0]] <= share and len(found) < MOST:
            found.append(arm)
    return found


def _plain(facts: Sequence[loading.Facts], arm: Arm) -> bool:
    """Is this magnitude pruning as the recipe has it, and not a changed form under another name?"""
    return _recipe(facts, arm) == arm[1] == "magnitude"


def _recipe(facts: Sequence[loading.Facts], arm: Arm) -> str:
    return next(found.recipes.get(arm[1], "") for found in facts if found.study == arm[0])


def _levels(facts: Sequence[loading.Facts], arms: Sequence[Arm]) -> list[float]:
    """Levels that at least two arms have; all of them where no two meet."""
    by_study = {found.study: found.levels for found in facts}
    counted = pd.Series([level for study, method in arms for level in by_study[study][method]]).value_counts()
    shared = sorted(counted[counted > 1].index.tolist())
    return shared or sorted(counted.index.tolist())


# -- stored comparisons --------------------------------------------------------------------------------------------


def comparisons(choice: Choice) -> Iterator[tuple[str, str | None]]:
    """(study, other) of every stored comparison that these arms need; None: inside the study."""
    for study in choice.studies:
        if sum(arm[0] == study for arm in choice.arms) > 1:
            yield study, None
    yield from combinations(choice.studies, 2)


def stored(choice: Choice, name: str) -> pd.DataFrame | None:
    """The rows of `pairs`, `contrasts` or `mask_pairs` for the arms' studies; what is not there has a button.

    None where there is nothing but buttons, so that no empty figure stands under them.
    """
    frames, missing = [], False
    for study, other in comparisons(choice):
        frame = loading.comparison(study, other, name)
        if frame is None and other is not None:
            frame = loading.comparison(other, study, name)
        if frame is not None:
            frames.append(frame)
            continue
        missing = True
        what = (
            f"{study} and {other} have not been compared yet."
            if other
            else f"The methods of {study} have not been compared yet."
        )
        arguments = ("--against", other) if other else ()
        measuring.missing(study, f"{what} Comparing reads predictions, masks and stored measures.", f"compare-{study}-{other or 'own'}", arguments, "compare")  # fmt: skip
    frames = [frame for frame in frames if len(frame)]
    if not frames and missing:
        return None
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


# -- settings ------------------------------------------------------------------------------------------------------


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as `section.key` → text."""
    found: dict[str, str] = {}
    for name, inner in value.items():
        path = f"{prefix}{name}"
        if isinstance(inner, Mapping):
            found |= flat(inner, f"{path}.")
        else:
            found[path] = (
                ", ".join(map(str, inner)) if isinstance(inner, list) else "–" if inner is None else str(inner)
            )
    return found


def settings(arms: Sequence[Arm], all_settings: bool) -> pd.DataFrame:
    """Setting × arm: those that differ, or all of them; from the first seed of each arm."""
    columns = {}
    for study, method in arms:
        runs = [run for run in loading.runs(study).itertuples() if run.method == method]
        if runs:
            name = method if len({arm[0] for arm in arms}) == 1 else text((study, method))
            columns[name] = flat(loading.config(study, runs[0].run))
    table = pd.DataFrame(columns).fillna("–")
    table = table[~table.index.isin(HIDDEN)]
    if not all_settings:
        table = table[table.nunique(axis=1) > 1]
    return table.rename_axis("setting").reset_index()


def warn(facts: Sequence[loading.Facts]) -> None:
    """Say in what the studies differ beside their methods."""
    differ = [word for name, word in DIFFERENT.items() if len({getattr(found, name) for found in facts}) > 1]
    if differ:
        st.caption(show.escape(f"These studies differ in {', '.join(differ)}: a difference between their arms is not one of methods alone."))  # fmt: skip
    if link.current().problems:
        return
    languages = set.intersection(*(set(found.languages) for found in facts))
    if not languages:
        st.warning("These studies have no language in common.")
