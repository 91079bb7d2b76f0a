"""Everything that pages read from a store, and the only caches.

Keys are paths and stamps of the files behind a result (names, times, sizes), never tables or arrays: Streamlit
samples large arguments when it hashes them. Every cache is bounded.

One room for each kind of thing: `stamps` (the store and the keys), `study` (what its runs say), `tables` (of a whole
study), `levels` (of single levels and runs), `server` (what no study changes).
"""

from pages.ui.loading.levels import details, keeps_states, kept_states, level_folder, level_maps, level_rows, lines
from pages.ui.loading.server import as_json, claims, readonly, table
from pages.ui.loading.stamps import one_look, stamp, store, studies, study_stamp
from pages.ui.loading.study import Facts, config, facts, told
from pages.ui.loading.tables import (
    against_dense,
    comparison,
    heads,
    measure,
    newer_levels,
    recovery_lines,
    runs,
    scores,
    scores_path,
    sizes,
    weights,
)

__all__ = [
    "Facts", "against_dense", "as_json", "claims", "comparison", "config", "details", "facts", "heads", "keeps_states", "kept_states", "level_folder",
    "level_maps", "level_rows", "lines", "measure", "newer_levels", "one_look", "readonly", "recovery_lines", "runs", "scores", "scores_path",
    "sizes", "stamp", "store", "studies", "study_stamp", "table", "told", "weights",
]  # fmt: skip
