"""One self-contained HTML file of a study: figures, tables, methods with sources, how to reproduce it, what to beware of.

`python -m analysis report STORE --study NAME --to report.html`. Everything is inside the file, plotly.js once, so that
it opens offline, prints, and asks no other machine for anything (its content security policy forbids it). Corpus
sentences stand in the section on examples alone; `text=False` leaves them out, for data that must not leave the house.
"""

from __future__ import annotations

from analysis.report.document import Report, render, write

__all__ = ["Report", "render", "write"]
