"""Derived results: computed once by `python -m analysis measure`, stored as Parquet beside the runs, read by pages.

| name | rows | where |
|---|---|---|
| degradation, spread, safe, ranking | drops per method, level and language; over languages; safe levels; method order | study |
| controls, pareto | random pruning, reruns and shuffled labels beside every drop; states that no other dominates | study |
| flip_counts, flip_slices, exemplars | shares of broken and repaired items; drops by length, pieces and label; PIEs | study |
| recovery, tokenizer, overlap | recovery per cycle; pieces per language; how alike masks are | study |
| calibration_matrix | drops under methods that differ in calibration languages only | study |
| probed | probes on other tasks and masked-token loss, beside dense | study |
| factors, correlates, findings | what goes with the drop over languages; plain-language cards | study |
| similarity, cka | layer by layer against dense; every layer with every layer | level |
| separability, crosslingual, drift, calibration | classes and noise; translations; kinds of displacement; confidence | level |
| flips, confusion | what became of every item; which class was answered with which | level |
| restored, distribution | what putting back or pruning one part does; how large the survivors are | level |
| map, path | points of PCA and UMAP maps of a level; of a run through all its levels (beside the highest) | level |
"""

from __future__ import annotations

from analysis.measures.drops import MEAN
from analysis.measures.files import read_levels, read_study
from analysis.measures.maps import Request
from analysis.measures.plan import NAMES, Wish
from analysis.measures.work import measure, study_frames

__all__ = ["MEAN", "NAMES", "Request", "Wish", "measure", "read_levels", "read_study", "study_frames"]
