"""Compare: methods of one study or of several at the same level — scores, insides, masks, maps, size, suites, settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import streamlit as st

from analysis import theme
from analysis.figures import compare as figures
from analysis.figures.base import metric_of, test_row
from pages.ui import arms, controls, loading, measured, shell, show, twin_maps
from pages.ui.arms import Choice

VIEWS = {
    "scores": "Scores",
    "inside": "Inside the network",
    "masks": "Masks",
    "maps": "Maps",
    "size": "Size and speed",
    "suite": "Suite",
    "settings": "Settings",
}
DIFFERENCES = {
    "who": "method", "language": "language", "value": "score (%)", "reference": "reference (%)", "difference": "difference (points)",
    "low": "from", "high": "to", "p": "p", "p_holm": "Holm p", "n": "n", "seeds": "seeds",
}  # fmt: skip
SIZES = {
    "nonzeros": ("weights left", "localized"),
    "sparsity_model": ("zeros of the whole model", "percent"),
    "bytes_dense_fp32": ("dense file in fp32", "bytes"),
    "bytes_weights": ("weights on disk", "bytes"),
    "macs_per_token_nonzero": ("multiply-adds per token", "localized"),
    "latency_ms_batch32": ("dense kernels, batch of 32 (ms)", "%.1f"),
}


def scores(choice: Choice, facts: Sequence[loading.Facts]) -> None:
    """Per-language differences against the reference, with intervals and tests."""
    pairs = arms.stored(choice, "pairs")
    if pairs is None:
        return
    shown = figures.difference_dots(pairs, choice.reference, choice.arms, choice.level, choice.split, show.dark())
    show.figure(shown, "compare-scores", definitions=(test_row(metric_of(shown.data)), "holm"))
    if shown.data.empty:
        return
    rows = shown.data
    who = [figures.named(arm, choice.arms) for arm in zip(rows["study"], rows["method"], strict=True)]
    table = rows.assign(who=who, language=[figures.MEAN if code == figures.MEAN else theme.language_name(code) for code in rows["language"]])  # fmt: skip
    table[["value", "reference", "difference", "low", "high"]] *= 100
    points = st.column_config.NumberColumn(format="%.1f")
    formats = dict.fromkeys(("score (%)", "reference (%)", "difference (points)", "from", "to"), points)
    formats |= dict.fromkeys(("p", "Holm p"), st.column_config.NumberColumn(format="%.2g"))
    with st.expander("Every number"):
        show.table(table[list(DIFFERENCES)].rename(columns=DIFFERENCES), "compare-numbers", column_config=formats)


def inside(choice: Choice, facts: Sequence[loading.Facts]) -> None:
    """Separability, SNR, CKA, retrieval and recovery of the methods against each other."""
    contrasts = arms.stored(choice, "contrasts")
    if contrasts is None:
        return
    layers = sorted(layer for layer in contrasts["layer"].unique().tolist() if layer >= 0) if len(contrasts) else []
    layer = -1
    if layers:
        with st.columns([1, 4])[0]:
            layer = controls.layer(layers)
    shown = figures.inside_dots(contrasts, choice.reference, choice.arms, choice.level, layer, show.dark())
    show.figure(
        shown, "compare-inside", definitions=("r_squared", "pruning_snr_db", "linear_cka", "updates_to_recover")
    )
    st.caption("Read it with the scores: classes can stand apart, and noise be low, while the answer is wrong.")


def masks(choice: Choice, facts: Sequence[loading.Facts]) -> None:
    """How much of what was kept two arms have in common."""
    pairs = arms.stored(choice, "mask_pairs")
    if pairs is None:
        return
    shown = figures.overlap_heatmap(pairs, choice.arms, choice.level, show.dark())
    show.figure(shown, "compare-masks", definitions=("jaccard", "jaccard_chance"))


def size(choice: Choice, facts: Sequence[loading.Facts]) -> None:
    """Score against what is left, and sizes and latencies of every level."""
    parts, tables = [], []
    for study in choice.studies:
        sizes, spread = loading.sizes(study), loading.measure(study, "spread")
        tables.append(sizes)
        if spread is None:
            measured.unmeasured(study, f"spread-{study}")
        if spread is not None and len(sizes):
            left = sizes.groupby(["method", "sparsity"], as_index=False)["nonzeros"].mean()
            parts.append(spread.merge(left, on=["method", "sparsity"]))
    if parts:
        frame = pd.concat(parts, ignore_index=True)
        show.figure(figures.size_lines(frame, choice.arms, choice.split, show.dark()), "compare-size")
    sizes = pd.concat([table for table in tables if len(table)], ignore_index=True)
    sizes = sizes[[arm in choice.arms for arm in zip(sizes["study"], sizes["method"], strict=True)]]
    known = [name for name in SIZES if name in sizes and sizes[name].notna().any()]
    means = sizes.groupby(["study", "method", "sparsity"], as_index=False, sort=False)[known].mean()
    means["sparsity"] *= 100
    headings = {name: SIZES[name][0] for name in known}
    formats = {SIZES[name][0]: st.column_config.NumberColumn(format=SIZES[name][1]) for name in known}
    formats["sparsity"] = st.column_config.NumberColumn(format="%.4g%%")
    show.table(means.rename(columns=headings), "compare-sizes", column_config=formats)


def suite(choice: Choice, facts: Sequence[loading.Facts]) -> None:
    """Method × study: the zero-shot mean at the level, and the average over the studies that have the method."""
    parts = [loading.measure(study, "spread") for study in choice.studies]
    for study, part in zip(choice.studies, parts, strict=True):
        if part is None:
            measured.unmeasured(study, f"spread-{study}")
    frame = pd.concat([part for part in parts if part is not None], ignore_index=True) if any(part is not None for part in parts) else pd.DataFrame()  # fmt: skip
    rows = frame[(frame["sparsity"] == choice.level) & (frame["split"] == choice.split)] if len(frame) else frame
    rows = rows[[arm in choice.arms for arm in zip(rows["study"], rows["method"], strict=True)]] if len(rows) else rows
    if rows.empty:
        st.info("None of these methods has a measured zero-shot mean at this level.")
        return
    st.markdown(
        f"Mean zero-shot score in % at {controls.percent(choice.level)} sparsity, study by study, and the plain average of the studies; "
        "a method that one of them lacks has no average."
    )
    table = 100 * rows.pivot_table(index="method", columns="study", values="pruned", aggfunc="first")
    dense = 100 * rows.groupby("study")["dense"].first()
    table = pd.concat([pd.DataFrame([dense.reindex(table.columns)], index=["dense"]), table])
    table["average"] = table.mean(axis=1, skipna=False)
    table = table.rename_axis("method").reset_index()
    formats = {name: st.column_config.NumberColumn(format="%.1f") for name in table.columns if name != "method"}
    show.table(table, "compare-suite", column_config=formats)
    if len(choice.studies) == 1:
        st.caption("Add studies above to see a suite: the same methods on several tasks.")


def settings(choice: Choice, facts: Sequence[loading.Facts]) -> None:
    """What is set differently."""
    every = controls.toggle("every", "Show equal settings too")
    table = arms.settings(choice.arms, every)
    if table.empty:
        st.info("These arms are set alike in everything.")
    else:
        show.table(table, "compare-settings")


DRAW: dict[str, Callable[[Choice, Sequence[loading.Facts]], None]] = {
    "scores": scores, "inside": inside, "masks": masks, "maps": twin_maps.draw, "size": size, "suite": suite, "settings": settings,
}  # fmt: skip


with shell.page("compare"):
    if not loading.studies():
        show.empty("There is nothing to compare in this store yet.", "new-study", "Describe a first study")
        shell.stop()
    facts = arms.studies()
    ready = [found for found in facts if any(measured.methods_of(found))]
    if not ready:
        show.empty(
            "None of these studies has a finished pruned level yet.", "monitor", "See what runs", study="", run=""
        )
        shell.stop()
    choice = arms.choose(ready)
    if choice is None:
        show.empty(
            "A comparison needs two methods: choose more above, or add another study.", "new-study", "Describe a study"
        )
        shell.stop()
    assert choice is not None
    arms.warn(ready)
    view = controls.choose("view", "Show", list(VIEWS), "scores", VIEWS.__getitem__, kind="segments", hidden_label=True)
    DRAW[view](choice, ready)
