"""What the papers claim, tested on a study that has the arms for it: the claims board (M§7).

A claim is a row: a direction in words, the number that measures it (positive: the direction holds), the control that
isolates it and the views that show it. The number comes with a 95% interval; the verdict follows from the interval alone
and is never written by hand. Scores are resampled over items and seeds; what has one number per seed (separability,
recovery, weights) gets Student's t over the seeds, which is wide with three of them. Beside the verdict, which takes
one direction at a time, stands what remains after correcting for the number of directions (Holm over all tested ones).
"""

from analysis.claims.board import board, corrected, markdown, number
from analysis.claims.evidence import Evidence
from analysis.claims.intervals import VERDICTS, Student, interval_p, student, verdict
from analysis.claims.rows import CLAIMS, Claim

__all__ = ["CLAIMS", "VERDICTS", "Claim", "Evidence", "Student", "board", "corrected", "interval_p", "markdown", "number", "student", "verdict"]  # fmt: skip
