"""Colours stay apart for colour-blind eyes and stand out from their background; figures never speak by colour alone."""

from __future__ import annotations

import math
from itertools import combinations

import pytest

from analysis import theme
from engine.recipes import RECIPES
from pages.ui import curves

# Linear RGB as dichromats see it (Viénot, Brettel & Mollon 1999).
SIGHT = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": ((0.11238, 0.88762, 0), (0.11238, 0.88762, 0), (0.00401, -0.00401, 1)),
    "deutan": ((0.29275, 0.70725, 0), (0.29275, 0.70725, 0), (-0.02234, 0.02234, 1)),
}


def linear(colour: str) -> tuple[float, ...]:
    parts = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    return tuple(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)


def lab(rgb: tuple[float, ...]) -> tuple[float, float, float]:
    """CIE L*a*b* (D65) of linear RGB."""
    rows = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    xyz = [sum(a * max(0.0, b) for a, b in zip(row, rgb, strict=True)) for row in rows]
    x, y, z = (value / white for value, white in zip(xyz, (0.9505, 1.0, 1.089), strict=True))
    fx, fy, fz = (value ** (1 / 3) if value > 0.008856 else 7.787 * value + 16 / 116 for value in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def seen(colour: str, sight: str) -> tuple[float, float, float]:
    rgb = linear(colour)
    return lab(tuple(sum(a * b for a, b in zip(row, rgb, strict=True)) for row in SIGHT[sight]))


def contrast(first: str, second: str) -> float:
    """WCAG contrast ratio."""
    bright, dark = sorted((sum(w * v for w, v in zip((0.2126, 0.7152, 0.0722), linear(one), strict=True)) for one in (first, second)), reverse=True)  # fmt: skip
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("palette", [theme.OKABE_ITO, tuple(curves.OKABE_ITO)], ids=["figures", "live curves"])
def test_colours_stay_apart(palette: tuple[str, ...], sight: str) -> None:
    """A colour difference (CIE76) of 10 is seen at a glance; 2.3 is just noticeable."""
    nearest = min((math.dist(seen(a, sight), seen(b, sight)), a, b) for a, b in combinations(palette, 2))
    assert nearest[0] > 10, nearest


@pytest.mark.parametrize("dark", [False, True])
def test_text_and_lines_stand_out(dark: bool) -> None:
    look = theme.look(dark)
    assert contrast(look.text, look.paper) >= 7 and contrast(look.dense, look.paper) >= 7
    lines = {theme.method_style(name, name, dark).colour for name in RECIPES}
    # 3:1 is what WCAG 2.1 asks of graphics; Okabe and Ito's yellow, orange and sky blue are for areas on white.
    strong = {colour for colour in lines if contrast(colour, look.paper) >= 3}
    assert {theme.BLUE, theme.VERMILION, theme.GREEN} <= strong


@pytest.mark.parametrize("dark", [False, True])
def test_no_two_recipes_look_alike(dark: bool) -> None:
    """Where two recipes share a colour, dash or symbol tells them apart."""
    styles = {name: theme.method_style(name, name, dark) for name in RECIPES}
    alike = [(a, b) for a, b in combinations(styles, 2) if styles[a] == styles[b]]
    assert not alike, alike


def test_scales_rise_in_lightness() -> None:
    """Cividis and the scale of points are read by lightness alone; the diverging scale is lightest or darkest at 0."""
    for dark in (False, True):
        points = [seen(colour, "deutan")[0] for _, colour in theme.of_points(dark)]
        assert points == sorted(points)
        middle = [seen(colour, "normal")[0] for _, colour in theme.diverging(dark)]
        assert (max if not dark else min)(middle) == middle[2]
