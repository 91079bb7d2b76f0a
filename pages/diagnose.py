"""Diagnose: findings in plain words, and the evidence about where and how a network was damaged (M§6.6, 6.7, 6.9)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from analysis import theme
from analysis.figures import correlates as together
from analysis.figures import drops, recovery
from analysis.figures import probing as beyond
from analysis.figures import restoration as parts
from engine import record
from pages.ui import controls, finding_cards, loading, measured, measuring, shell, show

VIEWS = {
    "findings": "Findings",
    "restoration": "Where",
    "recovery": "Recovery",
    "together": "What goes with it",
    "probing": "Beyond the task",
    "calibration": "Confidence",
    "text": "Tokenizer",
}
LEAST_LANGUAGES = 4
# Column of `tokenizer` -> heading, factor to the unit shown (None: text), format.
COUNTED: dict[str, tuple[str, int | None, str]] = {
    "n": ("n", 1, "%d"), "unit": ("counted by", None, ""), "fertility": ("tokens per word", 1, "%.2f"),
    "tokens_per_character": ("tokens per character", 1, "%.2f"), "tokens": ("tokens per text", 1, "%.1f"),
    "truncated": ("texts cut (%)", 100, "%.1f"), "unknown": ("unknown tokens (%)", 100, "%.1f"),
}  # fmt: skip
CONTROLS = ("dense", "dense_continued")


@dataclass(frozen=True)
class Choice:
    """What the controls at the top ask for."""

    study: str
    method: str
    level: float


def choose(study: str, facts: loading.Facts) -> Choice:
    """The controls at the top."""
    columns = st.columns(4)
    with columns[0]:
        method = controls.method(measured.methods_of(facts))
    with columns[1]:
        level = controls.level(list(facts.levels[method]))
    return Choice(study, method, level)


def findings(choice: Choice, facts: loading.Facts) -> None:
    """Cards by rules, each clause linked to its evidence."""
    degraded = measured.of_study(choice.study, "degradation")
    measured.freshness(choice.study, "degradation")
    with st.columns([1, 3])[0]:
        split = controls.split(facts.splits)
    finding_cards.draw(loading.measure(choice.study, "findings"), degraded, choice.method, choice.level, split)


def restoration(choice: Choice, facts: loading.Facts) -> None:
    """What every block and kind of matrix gives back, and costs alone."""
    columns = st.columns([1, 1, 1, 1])
    with columns[0]:
        seed = controls.seed(facts.seeds)
    frame = loading.level_rows(choice.study, "restored", (choice.method,), (choice.level,), (seed,))
    if frame is None or frame.empty:
        unrestored(choice, seed)
        return
    with columns[1]:
        partition = controls.choose(
            "partition", "Parts", list(parts.PARTITIONS), "blocks", parts.PARTITIONS.__getitem__
        )
    with columns[2]:
        kind = controls.choose("effect", "Effect on", list(parts.KINDS), "margin", lambda name: parts.KINDS[name][1])
    codes = [code for code in theme.ordered(frame["language"].tolist(), facts.sources) if code != drops.MEAN]
    names = [drops.MEAN, *codes] if drops.MEAN in set(frame["language"]) else codes
    with columns[3]:
        language = controls.choose("language", "Language", names, format=drops.named)
    shown = parts.restoration_bars(frame, partition, language, kind, show.dark())
    show.figure(shown, "diagnose-restoration", definitions=("restored", "pruned_alone", "interaction_gap"))
    way = controls.choose(
        "way", "In every language", list(parts.WAYS), "restore", parts.WAYS.__getitem__, kind="segments"
    )
    show.figure(parts.restoration_heatmap(frame, partition, way, kind, show.dark()), "diagnose-restoration-languages")
    st.caption(
        "A part's dense weights stand beside retrained neighbours: an exchange can harm, and then the bar is below 0. Read both ways together."
    )


def unrestored(choice: Choice, seed: int) -> None:
    """In the place of a restoration: the button that has it made."""
    level = controls.number_text(choice.level)
    run = f"{choice.study}/{choice.method}-s{seed}"
    what = "the dense weights of every block and kind of matrix are put back in turn, and each alone is pruned"
    where = f"{choice.method} at {controls.percent(choice.level)}, seed {seed}"
    text = f"{where}, has not been taken apart yet: {what}. It needs the level's weights."
    folder = loading.level_folder(choice.study, f"{choice.method}-s{seed}", choice.level)
    level = folder if folder != record.level_name(choice.level) else level
    command = ("engine", "restore", run, "--level", level, "--store", str(loading.store()))
    measuring.missing(choice.study, text, "restore", whole=command)
    st.caption('For every run of a study: [restoration] levels = "last" in its file. On a terminal:')
    st.code(f"python -m engine restore {run} --level {level} --store {loading.store()}", language="bash")


def recovered(choice: Choice, facts: loading.Facts) -> None:
    """How validation came back after a pruning step, per method."""
    lines = loading.recovery_lines(choice.study)
    show.figure(
        recovery.recovery_lines(lines, choice.level, show.dark()), "diagnose-recovery", definitions=("after_mask",)
    )
    cycles = measured.of_study(choice.study, "recovery")
    with st.columns(2)[0]:
        measure = controls.choose(
            "measure", "Compare", list(recovery.RECOVERY), "updates_to_recover", recovery.RECOVERY.__getitem__
        )
    shown = recovery.recovery_bars(cycles, measure, show.dark())
    show.figure(shown, "diagnose-recovery-methods", definitions=(measure,))


def correlated(choice: Choice, facts: loading.Facts) -> None:
    """What goes with the drop over languages; no causes."""
    calibrated(choice)
    frame = loading.measure(choice.study, "correlates")
    if frame is None:
        if len(set(facts.languages) - set(facts.sources)) < LEAST_LANGUAGES:
            st.info("A correlation over languages needs at least four zero-shot ones.")
        else:
            measured.unmeasured(choice.study, "correlates")
        return
    columns = st.columns([2, 3, 3])
    with columns[0]:
        split = controls.split(facts.splits)
    shown = together.correlate_dots(frame, choice.method, choice.level, split, show.dark())
    show.figure(shown, "diagnose-correlates", definitions=("rank_correlation", "leave_one_out"))
    with columns[1]:
        names = [name for name in together.FACTORS if name in set(frame["factor"])]
        factor = controls.choose("factor", "Factor", names, format=together.FACTORS.__getitem__)
    factors = measured.of_study(choice.study, "factors")
    shown = together.factor_scatter(factors, factor, choice.method, choice.level, split, show.dark())
    show.figure(shown, "diagnose-factor")


KINDS = {"probe": "Probe on {task}", "masked_token_loss": "What is left of pretraining"}


def probed(choice: Choice, facts: loading.Facts) -> None:
    """What the encoder is still good for: features for other tasks, and its own hidden tokens."""
    frame = loading.measure(choice.study, "probed")
    if frame is None:
        unprobed(choice, facts)
        return
    columns = st.columns([2, 2, 3])
    with columns[0]:
        places = frame[["kind", "task"]].drop_duplicates().itertuples(index=False)
        titles = {f"{kind}:{task}": KINDS[kind].format(task=task) for kind, task in places}
        kind, _, task = controls.choose("probe", "What", list(titles), format=titles.__getitem__).partition(":")
    rows = frame[(frame["kind"] == kind) & (frame["task"] == task)]
    with columns[1]:
        codes = theme.ordered(rows["language"][rows["language"] != drops.MEAN].tolist(), facts.sources)
        names = [drops.MEAN, *codes] if drops.MEAN in set(rows["language"]) else codes
        language = controls.choose("language", "Language", names, format=drops.named)
    with columns[2]:
        methods = controls.methods(measured.methods_of(facts))
    shown = beyond.probing_lines(rows[rows["method"].isin(methods)], task, kind, language, choice.level, show.dark())
    show.figure(shown, "diagnose-probing", definitions=(kind, "probing_lost"))
    shown = beyond.probing_heatmap(rows, task, kind, choice.method, show.dark())
    show.figure(shown, "diagnose-probing-languages", definitions=("probing_lost",))


def unprobed(choice: Choice, facts: loading.Facts) -> None:
    """In the place of probes: what would provide them."""
    config = loading.config(choice.study, f"{choice.method}-s{facts.seeds[0]}")
    if config.get("probing", {}).get("tasks"):
        measured.unmeasured(choice.study, "probed")
        return
    show.empty(
        'This study probes nothing. With [probing] tasks = ["bundled-pair"] (or any other task with one label per example) '
        "in its file, every level is probed on that task, and hidden tokens say what was forgotten of pretraining.",
        "new-study",
        "Write such a study",
    )


def calibrated(choice: Choice) -> None:
    """Where a recipe was calibrated on different languages: whether those keep more."""
    matrix = loading.measure(choice.study, "calibration_matrix")
    rows = matrix[matrix["sparsity"] == choice.level] if matrix is not None else matrix
    if rows is not None and len(rows):
        st.subheader("Calibration languages", anchor=False)
        show.figure(
            together.calibration_heatmap(rows, choice.level, dark=show.dark()),
            "diagnose-calibrated",
            definitions=("drop",),
        )


def calibration(choice: Choice, facts: loading.Facts) -> None:
    """Whether confidence still means what it says, and on the items that broke."""
    frame = loading.level_rows(choice.study, "calibration")
    if frame is None or frame.empty:
        measured.unmeasured(choice.study, "calibration")
        return
    columns = st.columns([3, 2, 5])
    with columns[0]:
        names = [name for name in together.CONFIDENCE if name in frame]
        measure = controls.choose("measure", "Measure", names, format=together.CONFIDENCE.__getitem__)
    with columns[1]:
        split = controls.split(facts.splits)
    with columns[2]:
        methods = controls.methods(measured.methods_of(facts))
    rows = frame[frame["method"].isin([*CONTROLS, *methods])]
    shown = together.confidence_bars(rows, measure, choice.level, facts.sources, split, show.dark())
    names = ("overconfidence",) if measure.startswith("flips") else (measure,)
    show.figure(shown, "diagnose-calibration", definitions=names)


def text(choice: Choice, facts: loading.Facts) -> None:
    """What the tokenizer does with each language."""
    frame = measured.of_study(choice.study, "tokenizer")
    columns = st.columns([2, 1, 3])
    with columns[0]:
        measure = controls.choose("measure", "Measure", list(together.TEXT), format=together.TEXT.__getitem__)
    with columns[1]:
        split = controls.split(facts.splits)
    shown = together.tokenizer_bars(frame, measure, facts.sources, split, show.dark())
    show.figure(shown, "diagnose-text", definitions=(measure,))
    counted(frame[frame["split"] == split], facts)


def counted(rows: pd.DataFrame, facts: loading.Facts) -> None:
    """Every count of the tokenizer, language by language."""
    rows = rows.set_index("language").reindex(theme.ordered(rows["language"].tolist(), facts.sources)).reset_index()
    table = pd.DataFrame({"language": rows["language"].map(theme.language_name)})
    formats = {}
    for name, (heading, factor, form) in COUNTED.items():
        table[heading] = rows[name] if factor is None else factor * rows[name]
        if factor is not None:
            formats[heading] = st.column_config.NumberColumn(format=form)
    show.table(table, "diagnose-tokenizer", column_config=formats)


DRAW: dict[str, Callable[[Choice, loading.Facts], None]] = {
    "findings": findings, "restoration": restoration, "recovery": recovered, "together": correlated, "probing": probed, "calibration": calibration, "text": text,
}  # fmt: skip


with shell.page("diagnose"):
    study = shell.study()
    assert study is not None
    facts = measured.finished(study)
    choice = choose(study, facts)
    view = controls.choose(
        "view", "Show", list(VIEWS), "findings", VIEWS.__getitem__, kind="segments", hidden_label=True
    )
    DRAW[view](choice, facts)
