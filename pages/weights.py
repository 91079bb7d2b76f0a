"""Weights (M§6.8): which blocks and matrices lost what, and how the survivors lie to the dense weights."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from analysis.figures import heads as of_heads
from analysis.figures import weights as figures
from pages.ui import controls, loading, measured, measuring, shell, show

# Column of the table -> the measure that defines it.
MEASURES = {
    "matrix_sparsity": "weight_sparsity", "norm_kept": "norm_kept", "unit_cosine_mean": "unit_cosine", "hoyer": "hoyer", "kurtosis": "kurtosis",
    "units_left": "units_left",
}  # fmt: skip
ALL = "all"
ACROSS = {"methods": "methods at this level", "levels": "levels of this method"}
SIZES = {
    "sparsity_prunable": ("of the prunable weights", "percent"),
    "sparsity_encoder": ("of the encoder", "percent"),
    "sparsity_model": ("of the whole model", "percent"),
    "nonzeros": ("weights that are not 0", "localized"),
    "bytes_dense_fp32": ("dense file in fp32", "bytes"),
    "latency_ms_batch32": ("dense kernels, batch of 32 (ms)", "%.1f"),
}


@dataclass(frozen=True)
class Choice:
    """What the controls at the top ask for; seed is "all" for the mean."""

    study: str
    method: str
    level: float
    measure: str
    seed: str

    def of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of the seed asked for."""
        return frame if self.seed == ALL or frame.empty else frame[frame["seed"] == int(self.seed)]


def choose(study: str, facts: loading.Facts, frame: pd.DataFrame) -> Choice:
    """The controls at the top."""
    columns = st.columns(4)
    with columns[0]:
        method = controls.method(measured.methods_of(facts))
    with columns[1]:
        level = controls.level(list(facts.levels[method]))
    with columns[2]:
        known = [name for name in MEASURES if name in frame and name in figures.BARS]
        measure = controls.choose("measure", "Measure", known, format=lambda name: show.title(MEASURES[name]))
    with columns[3]:
        names = [ALL, *map(str, sorted(frame["seed"].unique().tolist()))]
        seed = controls.choose(
            "seeds", "Seeds", names, format=lambda name: "mean of all seeds" if name == ALL else f"seed {name}"
        )
    return Choice(study, method, level, measure, seed)


def size(study: str, method: str) -> None:
    """Every level of the method under the three denominators, and what its zeros do not save."""
    sizes = loading.sizes(study)
    rows = sizes[sizes["method"] == method].sort_values(["sparsity", "seed"])
    table = pd.DataFrame({"level": 100 * rows["sparsity"], "seed": rows["seed"]})
    formats = {"level": st.column_config.NumberColumn(format="%g%%")}
    for name, (heading, form) in SIZES.items():
        if name in rows:
            table[heading] = rows[name]
            formats[heading] = st.column_config.NumberColumn(format=form)
    st.markdown(
        "A sparsity is a fraction of something. Zeros alone neither shrink a dense file nor speed up a dense kernel: "
        "file size and latency are those of the dense layout, which only compacting removed heads and neurons makes smaller."
    )
    show.table(table, "weights-size", column_config=formats)


def heads(choice: Choice, rows: pd.DataFrame) -> None:
    """The measure block by block and head by head."""
    frame = choice.of(loading.heads(choice.study))
    found = frame[(frame["method"] == choice.method) & (frame["sparsity"] == choice.level)] if len(frame) else frame
    if found.empty:
        show.empty(
            f"{choice.method} at {controls.percent(choice.level)} has no measures of its attention heads: its runs are of "
            "an older version, which measured whole matrices only, or of an architecture whose heads are not known. "
            "Running the study again under another name writes them.",
            "methods",
            "Architectures whose heads are known",
            kind="architectures",
        )
        return
    with st.columns([1, 3])[0]:
        parts = [name for name in of_heads.PARTS if name in set(found["part"])]
        part = controls.choose("part", "Part of the head", parts, "all", of_heads.PARTS.__getitem__)
    shown = of_heads.heads_heatmap(frame, choice.method, choice.level, choice.measure, part, show.dark())
    show.figure(shown, "weights-heads", definitions=(MEASURES[choice.measure],))


def training(choice: Choice, rows: pd.DataFrame) -> None:
    """The measure along training: does an objective favour sparse weights by itself?"""
    shown = figures.weights_lines(rows, choice.measure, show.dark())
    show.figure(shown, "weights-training", definitions=(MEASURES[choice.measure],))


def distribution(choice: Choice, rows: pd.DataFrame) -> None:
    """How large the survivors are."""
    frame = loading.level_rows(choice.study, "distribution")
    if frame is None:
        measuring.missing(
            choice.study, f"{measured.UNMEASURED} Levels that kept no weights have no distribution.", "distribution"
        )
        return
    columns = st.columns([1, 1, 2])
    with columns[0]:
        kinds = frame["kind"].unique().tolist()
        kind = controls.choose("kind", "Matrices", kinds, format=lambda name: str(name).replace("_", " "))
    with columns[1]:
        across = controls.choose("across", "Compare", list(ACROSS), "methods", ACROSS.__getitem__)
    if across == "levels":
        shown = figures.distribution_path(choice.of(frame), kind, choice.method, show.dark())
    else:
        shown = figures.distribution_lines(choice.of(frame), kind, choice.level, show.dark())
    show.figure(shown, "weights-distribution")


def overlap(choice: Choice, rows: pd.DataFrame) -> None:
    """How alike the masks of two runs are, beside chance."""
    frame = measured.of_study(choice.study, "overlap")
    shown = figures.overlap_heatmap(frame, choice.level, show.dark())
    show.figure(shown, "weights-overlap", definitions=("jaccard", "jaccard_chance"))


VIEWS = {
    "training": "Along training",
    "heads": "Head by head",
    "distribution": "Sizes of survivors",
    "overlap": "Overlap of masks",
}
DRAW = {"training": training, "heads": heads, "distribution": distribution, "overlap": overlap}


with shell.page("weights"):
    study = shell.study()
    assert study is not None
    facts = measured.finished(study)
    frame = loading.weights(study)
    if frame.empty:
        show.empty(
            "No finished level of this study has a summary of its weights.",
            "monitor",
            "See what runs",
            study=study,
            run="",
        )
        shell.stop()
    choice = choose(study, facts, frame)
    method, level, measure = choice.method, choice.level, choice.measure
    rows = choice.of(frame)
    measured.sparsity_note(study, method, level)
    st.subheader("Block by block", anchor=False)
    shown = figures.weights_heatmap(rows, method, level, measure, show.dark())
    show.figure(shown, "weights-blocks", definitions=(MEASURES[measure],))
    st.subheader("Method by method", anchor=False)
    show.figure(figures.weights_bars(rows, level, measure, show.dark()), "weights-methods")
    st.subheader("Training, heads, sizes and masks", anchor=False)
    view = controls.choose(
        "view", "Show", list(VIEWS), "training", VIEWS.__getitem__, kind="segments", hidden_label=True
    )
    DRAW[view](choice, rows)
    with st.expander("What this sparsity is a fraction of, and what it saves"):
        size(study, method)
