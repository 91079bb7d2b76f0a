"""Plain reads of a store's files for `pages.ui.loading`, which caches what they return."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine import record

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow

DETAILS = ("language", "split", "id", "label", "predicted", "text", "pair")
INPUTS = ("query", "question", "context", "tokens")  # what some task types have in the place of a text, or before it
CONTROLS = ("dense", "dense_continued")
Only = tuple[tuple[str, tuple[str, ...]], ...]


def rows(paths: Sequence[str], only: Only = ()) -> pd.DataFrame:
    """The tables of several files as one, without the rows whose columns have other values than those in `only`.

    They are joined before they become a frame: making a hundred small frames and one large costs five times as much.
    """
    import pandas as pd
    import pyarrow

    tables = [part(path, only) for path in paths]
    whole = [table for table in tables if len(table)] or tables[:1]
    if not whole:
        return pd.DataFrame()
    try:
        joined = pyarrow.concat_tables(whole, promote_options="default")
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):  # a column that is of another type in some files
        return pd.concat([table.to_pandas() for table in whole], ignore_index=True)
    return joined.to_pandas()


def part(path: str, only: Only) -> pyarrow.Table:
    """One file, without the rows whose columns have other values than those in `only`."""
    import pyarrow
    from pyarrow import compute
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            table = file.read(use_threads=False)  # small files: starting the threads costs more than they save
    except (OSError, ValueError) as error:
        raise record.RecordError(f"{path}: must be a Parquet table; {error}") from None
    for column, values in only:
        if column in table.column_names:
            table = table.filter(compute.is_in(table[column].cast(pyarrow.string()), pyarrow.array(values)))
    return table.replace_schema_metadata(None)  # which only says the numbers of the rows


def kept_states(path: str) -> tuple[tuple[str, ...], int]:
    """(poolings, number of layers) of a file of activations, the task's own pooling first. Reads the header only."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as handle:
            names = list(handle.keys())
            depth = handle.get_slice(names[0]).get_shape()[1]
    except (SafetensorError, OSError, IndexError) as error:
        raise record.RecordError(f"{path}: must hold activations; {error}") from None
    poolings = {name.partition("/")[2] for name in names}
    return tuple(sorted(poolings, key=lambda how: (how == "mean", how))), int(depth)


def details(path: str, split: str) -> pd.DataFrame:
    """Texts, labels and predictions of one split of `details.parquet`, without its lists of probabilities.

    `text` is what the item says, also where a task type keeps it in other columns (`INPUTS`).
    """
    import pandas as pd
    import pyarrow.parquet as parquet

    try:
        columns = [name for name in (*DETAILS, *INPUTS) if name in parquet.read_schema(path).names]
        frame = pd.read_parquet(path, columns=columns, filters=[("split", "==", split)])
    except (OSError, ValueError) as error:
        raise record.RecordError(f"{path}: must be a Parquet table; {error}") from None
    parts = [name for name in INPUTS if name in frame]
    if not parts:
        return frame
    parts += ["text"] if "text" in frame else []
    cells = zip(*(frame[name].map(_plain) for name in parts), strict=True)
    return frame.drop(columns=parts).assign(text=[" · ".join(cell) for cell in cells])


def _plain(cell: Any) -> str:
    return cell if isinstance(cell, str) else " ".join(map(str, cell))


def against_dense(scores: pd.DataFrame, metric: str, split: str, seed: int, sources: Sequence[str]) -> pd.DataFrame:
    """The tidy table of one score, split and seed in the columns of `degradation`: each level beside dense and its continuation.

    For scores other than the study's own, for which no drops are bootstrapped: intervals are those of the single
    scores. The k-th level of a method stands beside the k-th of `dense_continued`: they cost the same updates.
    """
    part = scores[(scores["metric"] == metric) & (scores["split"] == split) & (scores["seed"] == seed)]
    dense = part[part["recipe"] == "dense"][["language", "value", "low", "high"]].set_axis(
        ["language", "dense", "dense_low", "dense_high"], axis=1
    )
    continued = part[part["recipe"] == "dense_continued"].sort_values("updates")
    continued = continued.assign(step=continued.groupby("language").cumcount())[["language", "step", "value"]].rename(
        columns={"value": "continued"}
    )
    pruned = part[~part["recipe"].isin(CONTROLS)].sort_values("sparsity", kind="stable")
    pruned = pruned.assign(step=pruned.groupby(["method", "language"]).cumcount())
    found = pruned.rename(columns={"value": "pruned", "low": "pruned_low", "high": "pruned_high"}).merge(
        dense, on="language"
    )
    found = found.merge(continued, on=["language", "step"], how="left")
    blank = dict.fromkeys(("drop_low", "drop_high", "chance"), float("nan"))
    return found.assign(drop=found["dense"] - found["pruned"], **blank, seeds=1, source=found["language"].isin(sources))
