"""analysis.figures and analysis.theme: every figure in light and dark, with reading, caption and data."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import figures, measures, tables, theme
from analysis.figures.base import band, canvas, count_text, seeds_text
from analysis.measures import plan
from engine.recipes import RECIPES
from engine.tasks import BUNDLED
from engine.tasks.languages import resolve
from tests.synthetic import Shape, write_store

NAME = "synthetic"
SHAPE = Shape(
    kept=True,
    restored=True,
    probed=True,
    languages=6,
    seeds=2,
    levels=(0.5, 0.9),
    methods=("random", "magnitude", "sdp_cc"),
    items=60,
    natural=20,
    probe=24,
    classes=4,
    layers=2,
    width=8,
)
Frames = dict[str, pd.DataFrame]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    """All tables of a measured store."""
    store = write_store(tmp_path_factory.mktemp("store"), SHAPE)
    names = tuple(name for name in measures.NAMES if name != "map")
    assert measures.measure(store, NAME, measures.Wish(only=names), workers=1, say=lambda _: None) == []
    request = measures.Wish(only=("map",), runs=("sdp_cc-s0",), map=measures.Request("pca"))
    assert measures.measure(store, NAME, request, workers=1, say=lambda _: None) == []
    joined = (*plan.STUDY, *plan.LATER)
    found = {name: measures.read_study(store, NAME, name) for name in joined}
    found |= {name: measures.read_levels(store, NAME, name) for name in (*names, "map") if name not in joined}
    found |= {"cycles": found["recovery"], "weights": tables.weights(store, NAME), "heads": tables.heads(store, NAME)}
    return {**found, "recovery": tables.recovery_lines(store, NAME)}


def one_map(frames: Frames) -> pd.DataFrame:
    return frames["map"][frames["map"]["sparsity"] == 0.9]


def one_level(frame: pd.DataFrame) -> pd.DataFrame:
    """The highest level of one run."""
    return frame[(frame["run"] == "magnitude-s0") & (frame["sparsity"] == 0.9)] if len(frame) else frame


SEEN: Frames = {}


def seen(controls: pd.DataFrame) -> pd.DataFrame:
    """The drops that belong to a table of controls; none to an empty one."""
    return pd.concat([SEEN["degradation"], SEEN["spread"]]) if len(controls) else controls


# name → (table, how the figure is made of it)
FIGURES: dict[str, tuple[str, Callable[..., figures.Shown]]] = {
    "drop_lines of the mean": ("spread", lambda f, **k: figures.drop_lines(f, **k)),
    "drop_lines of a language": ("degradation", lambda f, **k: figures.drop_lines(f, "de", **k)),
    "drop_lines of another split": ("degradation", lambda f, **k: figures.drop_lines(f, "de", "natural", **k)),
    "drop_heatmap": ("degradation", lambda f, **k: figures.drop_heatmap(f, "magnitude", **k)),
    "drop_heatmap of another split": ("degradation", lambda f, **k: figures.drop_heatmap(f, "magnitude", "natural", **k)),
    "drop_bars": ("degradation", lambda f, **k: figures.drop_bars(f, 0.9, **k)),
    "drop_bars of some": ("degradation", lambda f, **k: figures.drop_bars(f, 0.9, methods=["random"], **k)),
    "did_dots": ("degradation", lambda f, **k: figures.did_dots(f, 0.9, **k)),
    "did_dots of margins": ("degradation", lambda f, **k: figures.did_dots(f, 0.9, margin=True, **k)),
    "cka_heatmap": ("cka", lambda f, **k: figures.cka_heatmap(f, "de", "magnitude", 0.9, **k)),
    "cka_heatmap of means": ("cka", lambda f, **k: figures.cka_heatmap(f, "de", "magnitude", 0.9, "mean", "zscored", **k)),
    "cka_diagonal": ("similarity", lambda f, **k: figures.cka_diagonal(f, "de", "magnitude", **k)),
    "knn diagonal": ("similarity", lambda f, **k: figures.cka_diagonal(f, "de", "magnitude", measure="mutual_knn", **k)),
    "procrustes diagonal": ("similarity", lambda f, **k: figures.cka_diagonal(f, "de", "magnitude", variant="zscored", measure="procrustes", **k)),
    "cka_along_sparsity": ("similarity", lambda f, **k: figures.cka_along_sparsity(f, "de", **k)),
    "crosslingual_lines": ("crosslingual", lambda f, **k: figures.crosslingual_lines(f, **k)),
    "crosslingual_lines of CKA": ("crosslingual", lambda f, **k: figures.crosslingual_lines(f, "de", "cka", 1, **k)),
    "drift_bars": ("drift", lambda f, **k: figures.drift_bars(f, "magnitude", **k)),
    "separability_lines": ("separability", lambda f, **k: figures.separability_lines(f, "de", **k)),
    "silhouette lines": ("separability", lambda f, **k: figures.separability_lines(f, "de", 0.5, "silhouette", "mean", **k)),
    "snr_bars": ("separability", lambda f, **k: figures.snr_bars(f, 0.9, **k)),
    "separability_by_language": ("separability", lambda f, **k: figures.separability_by_language(f, "sdp_cc", **k)),
    "weights_heatmap": ("weights", lambda f, **k: figures.weights_heatmap(f, "magnitude", 0.9, **k)),
    "heads_heatmap": ("heads", lambda f, **k: figures.heads_heatmap(f, "magnitude", 0.9, **k)),
    "heads_heatmap of a part": ("heads", lambda f, **k: figures.heads_heatmap(f, "magnitude", 0.9, "hoyer", "value", **k)),
    "weights_bars": ("weights", lambda f, **k: figures.weights_bars(f, 0.9, **k)),
    "norm bars": ("weights", lambda f, **k: figures.weights_bars(f, 0.9, "norm_kept", **k)),
    "hoyer bars": ("weights", lambda f, **k: figures.weights_bars(f, 0.9, "hoyer", **k)),
    "recovery_lines": ("recovery", lambda f, **k: figures.recovery_lines(f, 0.9, **k)),
    "loss_bars": ("crosslingual", lambda f, **k: figures.loss_bars(f, 0.9, **k)),
    "loss_bars of CKA": ("crosslingual", lambda f, **k: figures.loss_bars(f, 0.9, "cka_loss", 1, **k)),
    "rbf diagonal": ("similarity", lambda f, **k: figures.cka_diagonal(f, "de", "magnitude", measure="rbf_cka", **k)),
    "pareto_scatter": ("pareto", lambda f, **k: figures.pareto_scatter(f, **k)),
    "control_dots": ("controls", lambda f, **k: figures.control_dots(seen(f), f, "magnitude", 0.9, **k)),
    "flip_bars": ("flip_counts", lambda f, **k: figures.flip_bars(f, "magnitude", 0.9, **k)),
    "atlas": ("flips", lambda f, **k: figures.atlas(one_level(f), ["en", "de"], **k)),
    "slice_dots": ("flip_slices", lambda f, **k: figures.slice_dots(f, "magnitude", 0.9, "length", "de", **k)),
    "slice_dots of labels": ("flip_slices", lambda f, **k: figures.slice_dots(f, "random", 0.5, "label", "fr", "natural", **k)),
    "confusion_heatmap": ("confusion", lambda f, **k: figures.confusion_heatmap(one_level(f), "de", **k)),
    "dense confusion_heatmap": ("confusion", lambda f, **k: figures.confusion_heatmap(one_level(f), "de", "natural", "dense", **k)),
    "restoration_bars": ("restored", lambda f, **k: figures.restoration_bars(one_level(f), **k)),
    "restoration_bars of scores": ("restored", lambda f, **k: figures.restoration_bars(one_level(f), "modules", "de", "score", **k)),
    "restoration_heatmap": ("restored", lambda f, **k: figures.restoration_heatmap(one_level(f), "modules", "prune_only", **k)),
    "correlate_dots": ("correlates", lambda f, **k: figures.correlate_dots(f, "magnitude", 0.9, **k)),
    "factor_scatter": ("factors", lambda f, **k: figures.factor_scatter(f, "dense", "magnitude", 0.9, **k)),
    "tokenizer_bars": ("tokenizer", lambda f, **k: figures.tokenizer_bars(f, "fertility", ("en",), **k)),
    "confidence_bars": ("calibration", lambda f, **k: figures.confidence_bars(f, "ece", 0.9, ("en",), **k)),
    "confidence_bars of flips": ("calibration", lambda f, **k: figures.confidence_bars(f, "flips_broken", 0.9, ("en",), **k)),
    "recovery_bars": ("cycles", lambda f, **k: figures.recovery_bars(f, **k)),
    "recovery_bars of scores": ("cycles", lambda f, **k: figures.recovery_bars(f, "after_mask", **k)),
    "weights_lines": ("weights", lambda f, **k: figures.weights_lines(f, "kurtosis", **k)),
    "distribution_lines": ("distribution", lambda f, **k: figures.distribution_lines(f, "query", 0.9, **k)),
    "distribution_path": ("distribution", lambda f, **k: figures.distribution_path(f, "query", "magnitude", **k)),
    "probing_lines": ("probed", lambda f, **k: figures.probing_lines(f, "other-task", "probe", **k)),
    "probing_lines of hidden tokens": ("probed", lambda f, **k: figures.probing_lines(f, "pretraining", "masked_token_loss", "de", **k)),
    "probing_heatmap": ("probed", lambda f, **k: figures.probing_heatmap(f, "other-task", "probe", "magnitude", **k)),
    "overlap_heatmap": ("overlap", lambda f, **k: figures.overlap_heatmap(f, 0.9, **k)),
    "path_scatter": ("path", lambda f, **k: figures.path_scatter(one_level(f), 0.5, **k)),
    "path_scatter of dense": ("path", lambda f, **k: figures.path_scatter(one_level(f), 0.0, "displacement", **k)),
    "map_scatter": ("map", lambda f, **k: figures.map_scatter(f[f["sparsity"] == 0.9] if len(f) else f, **k)),
}  # fmt: skip


def words(figure: Any) -> list[str]:
    """Every title, name and annotation of a figure."""
    layout = figure.layout
    titles = [layout.title.text, layout.xaxis.title.text, layout.yaxis.title.text]
    return [
        text
        for text in [*titles, *(trace.name for trace in figure.data), *(note.text for note in layout.annotations)]
        if text
    ]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_drawn_and_explained(frames: Frames, name: str, dark: bool) -> None:
    table, make = FIGURES[name]
    SEEN.update(frames)
    shown = make(frames[table], dark=dark)
    assert len(shown.figure.data) and len(shown.data)
    assert len(json.loads(shown.figure.to_json())["data"]) == len(shown.figure.data)
    for text in (*words(shown.figure), shown.reading, shown.caption):
        assert not re.search(r"\bnan\b|None|inf\b", text), text
    assert shown.reading.endswith(".") and "\n" not in shown.reading and len(shown.reading) < 260
    assert re.search(r"n = \d|seed|examples", shown.caption)
    assert (
        shown.figure.layout.paper_bgcolor is None
        and shown.figure.layout.template.layout.paper_bgcolor == theme.look(dark).paper
    )
    assert shown.alt.startswith(shown.reading)


@pytest.mark.parametrize("name", FIGURES)
def test_an_empty_table_says_what_is_missing(name: str) -> None:
    shown = FIGURES[name][1](pd.DataFrame())
    assert shown.data.empty and shown.reading and shown.caption and not shown.figure.data


def test_score_lines_hold_the_numbers(frames: Frames) -> None:
    shown = figures.drop_lines(frames["degradation"], "fr")
    trace = next(trace for trace in shown.figure.data if trace.name == "magnitude")
    rows = frames["degradation"]
    rows = rows[(rows["method"] == "magnitude") & (rows["language"] == "fr") & (rows["split"] == "test")].sort_values(
        "sparsity"
    )
    np.testing.assert_allclose(trace.y, 100 * rows["pruned"])
    np.testing.assert_allclose([point[0] for point in trace.customdata], 100 * rows["drop"])
    names = words(shown.figure)
    assert "dense" in names and "dense, trained on" in names and "chance (majority)" in names and "random" in names
    best = rows_best(frames["degradation"], "fr")
    assert best in shown.reading and "2 seeds: under 5" in shown.caption and "n = 60" in shown.caption


def rows_best(frame: pd.DataFrame, language: str) -> str:
    rows = frame[
        (frame["language"] == language)
        & (frame["split"] == "test")
        & (frame["sparsity"] == 0.9)
        & (frame["recipe"] != "random")
    ]
    return str(rows.loc[rows["drop"].idxmin(), "method"])


def test_heat_map_marks_what_is_significant(frames: Frames) -> None:
    shown = figures.drop_heatmap(frames["degradation"], "random")
    heat = shown.figure.data[0]
    rows = shown.data.set_index(["language", "sparsity"])
    codes = theme.ordered(shown.data["language"].tolist(), ["en"])
    for line, code in zip(heat.text, codes, strict=True):
        for cell, sparsity in zip(line, (0.5, 0.9), strict=True):
            assert cell.endswith("*") == bool(rows.loc[(code, sparsity), "p_holm"] < 0.05)
    assert heat.y[0] == "English (en)" and list(heat.x) == ["50%", "90%"]


def test_bars_have_intervals_around_the_drop(frames: Frames) -> None:
    shown = figures.drop_bars(frames["degradation"], 0.9)
    bar = next(trace for trace in shown.figure.data if trace.name == "sdp_cc")
    row = shown.data[(shown.data["method"] == "sdp_cc") & (shown.data["language"] == bar.customdata[1])].iloc[0]
    assert bar.y[1] + bar.error_y.array[1] == pytest.approx(100 * row["drop_high"])
    assert bar.y[1] - bar.error_y.arrayminus[1] == pytest.approx(100 * row["drop_low"])
    assert list(bar.customdata) == ["en", "de", "fr", "es", "ru", "tr"]  # source, then by family, then by name


def test_markers_over_the_heat_map_carry_the_cells(frames: Frames) -> None:
    shown = figures.cka_heatmap(frames["cka"], "de", "magnitude", 0.9, pooling="mean")
    heat, over = shown.figure.data
    assert over.marker.symbol == "square" and over.marker.color == "rgba(0,0,0,0)"
    for layer_pruned, layer_dense, value in over.customdata:
        assert np.asarray(heat.z)[int(layer_pruned), int(layer_dense)] == pytest.approx(value)
    assert len(over.customdata) == 9


def test_the_diagonal_has_null_and_ceiling(frames: Frames) -> None:
    shown = figures.cka_diagonal(frames["similarity"], "de", "magnitude")
    names = words(shown.figure)
    assert {"50%", "90%", "dense, trained on", "dense, another seed"} <= set(names)
    assert "pairings at random" in shown.caption and "Ceiling" in shown.caption and "jackknife" in shown.caption


@pytest.mark.parametrize("colour", ["label", "language", "family", "displacement", "cosine_distance"])
def test_map_points_carry_their_ids(frames: Frames, colour: str) -> None:
    shown = figures.map_scatter(one_map(frames), colour)
    points = [tuple(point) for trace in shown.figure.data for point in trace.customdata]
    expected = one_map(frames)[["id", "language", "label", "state"]].itertuples(index=False, name=None)
    assert sorted(points) == sorted(map(tuple, expected))
    assert all(trace.type == "scattergl" for trace in shown.figure.data)
    assert shown.figure.layout.yaxis.scaleanchor == "x"
    opacity = {point[3]: trace.opacity for trace in shown.figure.data for point in trace.customdata}
    assert opacity["dense"] < opacity["pruned"]


def test_map_shows_one_state_and_refuses_other_colours(frames: Frames) -> None:
    shown = figures.map_scatter(one_map(frames), states=("pruned",))
    assert set(shown.data["state"]) == {"pruned"} and any(trace.showlegend for trace in shown.figure.data)
    with pytest.raises(ValueError, match="colour: must be one of"):
        figures.map_scatter(one_map(frames), "age")


# -- theme ---------------------------------------------------------------------------------------------------------


def test_every_recipe_has_a_look_of_its_own() -> None:
    looks = {name: theme.method_style(name) for name in RECIPES}
    assert len({(style.colour, style.dash) for style in looks.values()}) == len(looks)
    assert all(style == theme.method_style(name) for name, style in looks.items())
    assert theme.method_style("random").dash == "dash" and theme.method_style("random").colour == theme.GREY
    assert theme.method_style("dense", dark=True).colour != theme.method_style("dense").colour


def test_a_named_method_keeps_its_recipe_s_colour() -> None:
    own, named = theme.method_style("sdp_cc"), theme.method_style("sdp-strong", "sdp_cc")
    assert named.colour == own.colour and named.dash != own.dash
    assert theme.method_style("a-new-recipe") == theme.method_style("a-new-recipe")


def test_families_of_the_bundled_languages_differ_in_colour() -> None:
    families = {resolve(code).family for code in BUNDLED}
    assert len({theme.family_colour(name) for name in families}) == len(families)
    assert theme.family_colour("unknown") == theme.GREY and theme.language_colour("de") == theme.language_colour("en")


def test_languages_are_ordered_source_first_then_by_family() -> None:
    assert theme.ordered(["sw", "de", "en", "ru", "fr", "es"], ["en"]) == ["en", "de", "sw", "fr", "es", "ru"]
    assert theme.language_name("de") == "German (de)" and theme.language_name("x-own") == "x-own"


def test_numbers_in_words() -> None:
    assert (
        theme.points(0.0321) == "3.2 points"
        and theme.points(-0.004) == "−0.4 points"
        and theme.points(float("nan")) == "–"
    )
    assert theme.points(0.01, signed=True) == "+1.0 points" and theme.points(-0.0001) == "0.0 points"
    assert theme.percent(0.814) == "81.4%" and theme.level(0.975) == "97.5%" and theme.level(0.9) == "90%"
    assert (
        theme.p_value(0.0301) == "p = .030" and theme.p_value(1e-9) == "p < .001" and theme.p_value(1.0) == "p = 1.000"
    )
    assert theme.interval(-0.01, 0.2) == "−1.0 to 20.0" and theme.number(float("inf")) == "∞"
    assert theme.listed(["a", "b", "c"]) == "a, b and c"
    assert seeds_text(1).startswith("1 seed:") and "under 5" in seeds_text(2) and seeds_text(7) == "7 seeds"
    assert count_text([60, 20]) == "n = 20–60" and count_text([]) == "n unknown"


def test_bands_go_there_and_back() -> None:
    figure = canvas(False)
    band(figure, [1, 2], [0.1, 0.2], [0.3, 0.4], "#0072B2", "m")
    assert list(figure.data[0].x) == [1, 2, 2, 1] and list(figure.data[0].y) == [0.3, 0.4, 0.2, 0.1]
    assert figure.data[0].fillcolor == "rgba(0,114,178,0.15)"


def test_figures_load_neither_torch_nor_streamlit() -> None:
    code = "import sys, analysis.figures, analysis.tables; print([m for m in ('torch', 'streamlit', 'umap', 'sklearn') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
