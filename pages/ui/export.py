"""Taking results away: tables as CSV, Parquet and LaTeX, figures as HTML, PNG and SVG, and views for the storyboard."""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.ui import link, loading

if TYPE_CHECKING:
    import pandas as pd

_PICTURE = "prunoscope.picture"  # what the camera over every figure saves
PICTURES = {"png": "PNG", "svg": "SVG"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")  # what kaleido draws with
MOST_LATEX = 200  # rows; a longer table is no table of a paper


def picture() -> str:
    """What the camera button over figures saves: png or svg."""
    return str(st.session_state.get(_PICTURE, "png"))


def camera(key: str) -> dict[str, Any]:
    """Plotly's settings of that button: the browser makes the picture, offline and without any other program."""
    return {"format": picture(), "filename": key, "scale": 3 if picture() == "png" else 1}


def table(frame: pd.DataFrame, key: str) -> None:
    """Buttons for a table as CSV, Parquet and LaTeX; each file is made when it is asked for."""
    with st.container(horizontal=True, vertical_alignment="center"):
        _button("CSV", lambda: frame.to_csv(index=False).encode(), f"{key}.csv", "text/csv", key)
        _button("Parquet", lambda: parquet(frame), f"{key}.parquet", "application/vnd.apache.parquet", key)
        _button("LaTeX", lambda: latex(frame), f"{key}.tex", "application/x-tex", key, f"The first {MOST_LATEX} rows.")


def figure(shown: Any, key: str) -> None:
    """Buttons for a figure: one HTML file, pictures where kaleido is installed, and what the camera over figures saves."""
    with st.container(horizontal=True, vertical_alignment="center"):
        _button("HTML", lambda: shown.figure.to_html(include_plotlyjs=True, full_html=True), f"{key}.html", "text/html", key,
                "One file of about 5 MB that opens offline.")  # fmt: skip
        lacking = missing()
        if not lacking:
            for form, name in PICTURES.items():
                _button(
                    name, lambda form=form: shown.figure.to_image(form, scale=2), f"{key}.{form}", f"image/{form}", key
                )
        st.segmented_control(
            "The camera over figures saves", list(PICTURES), default=picture(), format_func=PICTURES.__getitem__, required=True,
            key=f"picture-{key}", on_change=_choose_picture, args=(f"picture-{key}",), label_visibility="collapsed",
            help="What the camera button over every figure saves; the browser makes the picture.",
        )  # fmt: skip
        st.caption("from the camera over the figure" + (f"; files by a button need {lacking}" if lacking else ""))


def missing() -> str:
    """What buttons for PNG and SVG lack on this machine; nothing where they work. The camera needs neither."""
    if not importlib.util.find_spec("kaleido"):
        return "kaleido (pip install kaleido) and a Chromium"
    return "" if any(shutil.which(name) for name in BROWSERS) or os.environ.get("BROWSER_PATH") else "a Chromium"


def _choose_picture(key: str) -> None:
    st.session_state[_PICTURE] = st.session_state[key]


def _button(label: str, make: Any, name: str, mime: str, key: str, help: str | None = None) -> None:
    st.download_button(label, make, name, mime, key=f"{label}-{key}", on_click="ignore", help=help)


def parquet(frame: pd.DataFrame) -> bytes:
    """The table as a Parquet file; a column of several kinds becomes text."""
    target = io.BytesIO()
    mixed = [name for name in frame if frame[name].dtype == object and frame[name].map(type).nunique() > 1]
    frame.assign(**{name: frame[name].astype(str) for name in mixed}).to_parquet(target, index=False)
    return target.getvalue()


def latex(frame: pd.DataFrame) -> str:
    """The table as a LaTeX tabular, with every special character escaped."""
    return str(frame.head(MOST_LATEX).to_latex(index=False, escape=True, float_format="%.4g"))


# -- the storyboard ------------------------------------------------------------------------------------------------


def keep(shown: Any, key: str, dark: bool) -> None:
    """The button that keeps a figure for presenting, with the view that shows it."""
    study = study_of(link.current().shown) if link.begun() else None
    if study is None:
        return
    blocked = loading.readonly()
    if st.button(
        "Keep for presenting", key=f"keep-{key}", type="tertiary", icon="📌", disabled=blocked,
        help="This server is read-only." if blocked else "Adds the figure as it is now to the study's storyboard: see Present.",
    ):  # fmt: skip
        _add(study, shown, dark)
        st.toast("Kept. Present shows it, in the order that you give.")


def study_of(shown: Mapping[str, list[str]]) -> str | None:
    """The study whose storyboard a view belongs to: the one it shows, or the first of several."""
    names = shown.get("study") or shown.get("studies") or [""]
    return names[0] if names[0] in loading.studies() else None


def _add(study: str, shown: Any, dark: bool) -> None:
    from analysis import storyboard

    view = link.current()
    slide = storyboard.Slide(
        page=view.page, query={name: list(values) for name, values in view.shown.items()}, title=shown.reading, reading=shown.reading,
        caption=shown.caption, figure=loading.as_json(shown.figure.to_json()), saved=time.time(), dark=dark,
    )  # fmt: skip
    storyboard.write(loading.store(), study, [*storyboard.read(loading.store(), study), slide])
