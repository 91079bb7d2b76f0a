"""How many weights go: exact counts, bounds and shares, in whole numbers and fractions (M§2). No torch.

A sparsity is read as the decimal number that was written (0.3 is 3/10, not the binary float beside it), so that
counts never depend on rounding errors.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

PATTERN = re.compile(r"([1-9]\d*):([1-9]\d*)")


def exact(name: str, sparsity: Any) -> Fraction:
    """A sparsity from 0 to 1 as the fraction that its decimal writing means."""
    if isinstance(sparsity, (bool, str)) or not hasattr(sparsity, "__float__") or not 0 <= float(sparsity) <= 1:
        raise ValueError(f"{name}: must be a number from 0 to 1; got {sparsity!r}")
    return sparsity if isinstance(sparsity, Fraction) else Fraction(Decimal(str(sparsity)))


def removed_count(sparsity: Fraction, size: int) -> int:
    """`floor(s·n + ½)`: the weights that a ranking group of n loses (M§2)."""
    return math.floor(sparsity * size + Fraction(1, 2))


def bounds(name: str, size: int, floor: Any, ceiling: Any) -> tuple[int, int]:
    """The least and the most weights that a matrix of n may lose under its floor and its ceiling.

    The bounds hold exactly: at least ⌈floor·n⌉, at most ⌊ceiling·n⌋. Where no whole number lies between the two
    (floor = ceiling = 0.5 on 3 weights) both become the count that M§2 rounds to.
    """
    low, high = exact(f"floors[{name!r}]", floor), exact(f"ceilings[{name!r}]", ceiling)
    if low > high:
        raise ValueError(f"floors[{name!r}]: must not exceed the ceiling {ceiling}; got {floor}")
    least, most = math.ceil(low * size), math.floor(high * size)
    return (least, most) if least <= most else (removed_count(low, size),) * 2


def check_total(total: int, least: Sequence[int], most: Sequence[int]) -> None:
    """Refuse a total that the matrices' bounds cannot add up to."""
    if total < sum(least):
        raise ValueError(
            f"floors: must fit the sparsity, which removes {total} weights; together they remove at least {sum(least)}"
        )
    if total > sum(most):
        raise ValueError(
            f"ceilings: must fit the sparsity, which removes {total} weights; together they allow at most {sum(most)}"
        )


def apportion(total: int, weights: Sequence[int], least: Sequence[int], most: Sequence[int]) -> list[int]:
    """Share `total` in proportion to `weights` (above 0), every share within its bounds.

    Share i is `clip(c·weight_i, least_i, most_i)` with the one c that makes the shares add up, found exactly:
    their sum is piecewise linear in c with a corner wherever a share meets a bound. The whole parts are dealt out
    first, left-overs by largest remainder, the earlier among equals. `total` must lie between the sums of bounds.
    """

    def shares(c: Fraction) -> list[Fraction]:
        return [min(max(c * w, Fraction(a)), Fraction(b)) for w, a, b in zip(weights, least, most, strict=True)]

    corners = sorted({Fraction(bound, w) for w, *pair in zip(weights, least, most, strict=True) for bound in pair})
    # The last corner whose sum does not exceed the total: from there the sum grows by the free shares' weights.
    start = corners[max(bisect_right(corners, Fraction(total), key=lambda c: sum(shares(c), Fraction())) - 1, 0)]
    free = sum(w for w, a, b in zip(weights, least, most, strict=True) if a <= start * w < b)
    missing = total - sum(shares(start), Fraction())
    return _whole(total, shares(start + Fraction(missing, free) if missing else start))


def _whole(total: int, shares: Sequence[Fraction]) -> list[int]:
    counts = [math.floor(share) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: (counts[i] - shares[i], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts


def pattern_of(allocation: str) -> tuple[int, int] | None:
    """(N, M) of a pattern such as `2:4`, None for any other text; N must be below M."""
    match = PATTERN.fullmatch(allocation)
    if match is None:
        return None
    kept, group = int(match[1]), int(match[2])
    if kept >= group:
        raise ValueError(f"allocation: N must be below M in a pattern N:M; got {allocation!r}")
    return kept, group


def check_pattern(sparsity: Any, kept: int, group: int) -> None:
    """Refuse a sparsity that is not 1 − N/M, written in full or rounded to at least three decimals."""
    wanted, given = 1 - Fraction(kept, group), Decimal(str(sparsity))
    digits = -int(given.as_tuple().exponent)
    if exact("sparsity", sparsity) != wanted and (digits < 3 or round(wanted, digits) != Fraction(given)):
        raise ValueError(f"sparsity: must be {float(wanted):.6g}, which {kept}:{group} fixes; got {sparsity!r}")
