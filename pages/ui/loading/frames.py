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
    return _frames(tuple(map(str, paths)), only, stamp(paths))


@st.cache_data(max_entries=64, show_spinner="Reading the measures …")
def _frames(paths: tuple[str, ...], only: reading.Only, stamp: str) -> pd.DataFrame:
    return reading.rows(paths, only)
