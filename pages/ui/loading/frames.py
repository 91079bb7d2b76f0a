"""Tables read from Parquet files, whole or in part, once for every version of the files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from pages.ui.loading import reading
from pages.ui.loading.stamps import stamp

if TYPE_CHECKING:
    import pandas as pd


def frames(paths: Sequence[Path], only: reading.Only = ()) -> pd.DataFrame:
    """The tables of these files as one (`reading.rows`)."""
    return own(_frames([str(path) for path in paths], only, stamp(paths)))


def own(kept: pd.DataFrame) -> pd.DataFrame:
    """A frame of the caller's own over kept data: pandas copies a column when it is written to, and not before.

    Streamlit's `cache_data` would instead pickle the table once and unpickle it in every run of a page.
    """
    return kept.copy(deep=False)


@st.cache_resource(max_entries=64, show_spinner="Reading the measures …")
def _frames(_paths: list[str], only: reading.Only, stamp: str) -> pd.DataFrame:
    """The stamp names the files: a hundred paths need not be hashed beside it."""
    return reading.rows(_paths, only)
