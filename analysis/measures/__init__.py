"""Derived results: computed once by `python -m analysis measure`, stored as Parquet beside the runs, read by pages.

| name | rows | where |
|---|---|---|
| degradation, spread, safe, ranking | drops per method, level and language; over languages; safe levels; method order | study |
| recovery, tokenizer, tokenizer_drop | recovery per cycle; pieces per language; its correlation with the drop | study |
| similarity, cka | layer by layer against dense; every layer with every layer | level |
| separability, crosslingual, drift, calibration | classes and noise; translations; kinds of displacement; confidence | level |
| map | points of PCA and UMAP maps | level |
"""

from __future__ import annotations

from analysis.measures.drops import MEAN
from analysis.measures.files import read_levels, read_study
from analysis.measures.maps import Request
from analysis.measures.plan import NAMES, Wish
from analysis.measures.work import measure, study_frames

__all__ = ["MEAN", "NAMES", "Request", "Wish", "measure", "read_levels", "read_study", "study_frames"]
