"""Which attention heads lost what (M§6.8), from `analysis.tables.heads`."""

from __future__ import annotations

import pandas as pd

from analysis import theme
from analysis.figures.base import Shown, blank, canvas, caption, rows_of, seed_text
from analysis.figures.weights import BARS, IN_PERCENT

MISSING = "No level here has a summary of its heads."
REMEDY = (
    "A level that is finished by this version writes one, for architectures whose heads are known: run the study again."
)
PARTS = {
    "all": "whole head", "query": "query", "key": "key", "value": "value", "attention_output": "attention output",
}  # fmt: skip


def heads_heatmap(
    frame: pd.DataFrame,
    method: str,
    sparsity: float,
    measure: str = "matrix_sparsity",
    part: str = "all",
    dark: bool = False,
) -> Shown:
    """Block × head at one level: one column of `BARS` over a head's own weights, or one part of them; mean over seeds.

    The caption says over what range heads differ under random pruning at the same level, where the study has it.
    """
    every = rows_of(frame, sparsity=sparsity, part=part)
    rows = rows_of(every, method=method)
    if rows.empty or rows[measure].isna().all():
        return blank(MISSING, REMEDY, dark)
    scale = 100 if measure in IN_PERCENT else 1
    grid = scale * rows.pivot_table(index="layer", columns="head", values=measure, aggfunc="mean")
    figure = canvas(dark, height=200 + 34 * len(grid), x="Head", y="Block")
    figure.add_heatmap(
        z=grid.to_numpy(),
        x=[str(head) for head in grid.columns],
        y=grid.index,
        colorscale=theme.SEQUENTIAL,
        texttemplate="%{z:.1f}" if scale == 100 else "%{z:.2f}",
        colorbar={"title": {"text": BARS[measure]}},
        hovertemplate="block %{y}, head %{x}: %{z:.2f}<extra></extra>",
    )
    figure.update_xaxes(type="category")
    figure.update_yaxes(autorange="reversed", dtick=1)
    values = grid.stack()
    most, least = (f"head {head} of block {layer}" for layer, head in (values.idxmax(), values.idxmin()))
    ends = f"{most} has most ({values.max():.2f}), {least} least ({values.min():.2f})"
    reading = f"{BARS[measure]} of heads ({PARTS[part]}) under {method} at {theme.level(sparsity)}: {ends}."
    return Shown(
        figure,
        reading,
        caption(
            f"{seed_text(rows)}, {len(values)} heads of {int(rows['weights'].iloc[0]):,} weights",
            _control(every, method, measure, scale),
            "a head's rows of query, key and value, and its columns of the attention output",
        ),
        rows,
    )


def _control(every: pd.DataFrame, method: str, measure: str, scale: int) -> str:
    """How far heads lie apart where chance alone pruned them."""
    rows = every[(every["recipe"] == "random") & (every["method"] != method)]
    values = scale * rows.groupby(["layer", "head"])[measure].mean().dropna() if len(rows) else pd.Series(dtype=float)
    return f"under random pruning heads span {values.min():.2f} to {values.max():.2f}" if len(values) else ""
