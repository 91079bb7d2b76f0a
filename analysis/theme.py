"""How everything looks: one colour per method and per language family, numbers and words in one form (M§6.1).

Colours are those of Okabe & Ito (2008), which stay apart for the common kinds of colour blindness; scales are cividis
(sequential) and blue–white–orange (diverging). Where there are more things than colours, dash and symbol tell them
apart too, so that no figure speaks by colour alone. The functions here compute nothing but looks.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import plotly.graph_objects as go

from engine.tasks.languages import resolve

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY = "#7F7F7F"
OKABE_ITO = (BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE, YELLOW)

SEQUENTIAL = "Cividis"
DIVERGING = ((0.0, "#0072B2"), (0.25, "#86BBD8"), (0.5, "#F5F5F5"), (0.75, "#F0B27A"), (1.0, "#D55E00"))
DIVERGING_DARK = ((0.0, "#56B4E9"), (0.25, "#2F6C8F"), (0.5, "#262730"), (0.75, "#96501E"), (1.0, "#E69F00"))

# Noto first: it has a face for every script in the table of languages. The others stand in where it is not installed.
FONTS = (
    "Noto Sans, Noto Sans Arabic, Noto Sans Devanagari, Noto Sans Bengali, Noto Sans Tamil, Noto Sans Thai, Noto Sans Ethiopic, "
    "Noto Sans Armenian, Noto Sans Georgian, Noto Sans Hebrew, Noto Sans SC, Noto Sans JP, Noto Sans KR, system-ui, sans-serif"
)


@dataclass(frozen=True)
class Style:
    """How a method is drawn, everywhere: `colour`, `dash` of its line, `symbol` of its points."""

    colour: str
    dash: str = "solid"
    symbol: str = "circle"

    def bar(self) -> dict[str, Any]:
        """The marker of a bar: methods that share a colour differ by pattern, as their lines do by dash."""
        shape = {"dash": "/", "dot": ".", "dashdot": "x", "longdash": "-", "longdashdot": "+"}.get(self.dash, "")
        return {"color": self.colour, "pattern": {"shape": shape, "solidity": 0.35}}


# Kindred methods share a colour and differ in dash and symbol; controls are grey and dashed.
_RECIPES: dict[str, Style] = {
    "dense": Style(BLACK, "solid", "diamond"),
    "dense_continued": Style(GREY, "longdash", "diamond-open"),
    "random": Style(GREY, "dash", "x"),
    "l2_sp": Style(GREY, "dashdot", "cross"),
    "magnitude": Style(BLUE),
    "lamp": Style(BLUE, "dash", "square"),
    "lookahead": Style(BLUE, "dot", "triangle-up"),
    "wanda": Style(SKY),
    "gradient_magnitude": Style(SKY, "dash", "square"),
    "fisher": Style(SKY, "dot", "triangle-up"),
    "alignreg_cosine": Style(VERMILION),
    "alignreg_frobenius": Style(VERMILION, "dash", "square"),
    "sdp_cc": Style(GREEN),
    "sdp_kld": Style(GREEN, "dash", "square"),
    "sdp_mse": Style(GREEN, "dot", "triangle-up"),
    "sdp_cos": Style(GREEN, "dashdot", "triangle-down"),
    "movement": Style(PURPLE),
    "soft_movement": Style(PURPLE, "dash", "square"),
    "platon": Style(PURPLE, "dot", "triangle-up"),
    "l0": Style(PURPLE, "dashdot", "triangle-down"),
    "pins": Style(PURPLE, "longdash", "star"),
    "cap_f": Style(ORANGE),
    "cap_m": Style(ORANGE, "dash", "square"),
    "cap_soft": Style(ORANGE, "dot", "triangle-up"),
    "super_ticket": Style(ORANGE, "dashdot", "triangle-down"),
    "sds": Style(YELLOW),
    "distill": Style(YELLOW, "dash", "square"),
    "small": Style(YELLOW, "dot", "triangle-up"),
    "imported": Style(SKY, "dashdot", "star"),
}
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_SYMBOLS = ("circle", "square", "triangle-up", "triangle-down", "star", "pentagon")


def _number(text: str) -> int:
    return zlib.crc32(text.encode())


def method_style(method: str, recipe: str | None = None, dark: bool = False) -> Style:
    """The style of a method: its recipe's, and for a method of another name the same colour with its own dash.

    Stable by name: the same method looks alike in every study, figure and session. `recipe` defaults to the method.
    """
    recipe = recipe or method
    style = _RECIPES.get(recipe) or Style(OKABE_ITO[_number(recipe) % len(OKABE_ITO)])
    if method != recipe:
        place = _number(method) % (len(_DASHES) - 1)
        rest = [dash for dash in _DASHES if dash != style.dash]
        style = Style(style.colour, rest[place], _SYMBOLS[1 + place])
    return Style("#FFFFFF", style.dash, style.symbol) if dark and style.colour == BLACK else style


# The first ten stay apart under simulated deuteranopia and protanopia; the others serve sets with rarer families.
_FAMILIES = {
    "Germanic": BLUE, "Romance": VERMILION, "Slavic": GREEN, "Indo-Aryan": ORANGE, "Turkic": SKY, "Afro-Asiatic": PURPLE,
    "Sino-Tibetan": YELLOW, "Niger-Congo": "#882255", "Hellenic": "#A0522D", "Austroasiatic": "#80BA5A", "Austronesian": "#44AA99",
    "Iranian": "#E377C2", "Uralic": "#6699CC", "Dravidian": "#117733", "Celtic": "#DDCC77", "Baltic": "#7570B3", "Kra-Dai": "#999933",
    "Japonic": "#E73F74", "Koreanic": "#7A68C4", "Kartvelian": "#6B8E23", "Armenian": "#CC6677", "Basque": "#A5AA99",
}  # fmt: skip


def family(code: str) -> str:
    """The language family (a branch for Indo-European); "unknown" for a code that nobody knows."""
    return resolve(code).family


def family_colour(name: str) -> str:
    """The colour of a family, grey for an unknown one. Stable by name."""
    if name in _FAMILIES:
        return _FAMILIES[name]
    return GREY if name == "unknown" else OKABE_ITO[_number(name) % len(OKABE_ITO)]


def language_colour(code: str) -> str:
    """The colour of a language: that of its family."""
    return family_colour(family(code))


def language_name(code: str) -> str:
    """The name to show for a code: `German (de)`; an unknown code is its own name."""
    name = resolve(code).name
    return code if name == code else f"{name} ({code})"


def ordered(codes: Sequence[str], sources: Sequence[str] = ()) -> list[str]:
    """Languages in the order of every figure: the sources first, then by family, then by name."""
    return sorted(
        dict.fromkeys(codes),
        key=lambda code: (code not in sources, "" if code in sources else family(code), resolve(code).name, code),
    )


def category_colours(count: int) -> list[str]:
    """Colours for that many unordered things (class labels), repeating after the palette's end."""
    return [OKABE_ITO[place % len(OKABE_ITO)] for place in range(count)]


def category_symbol(place: int) -> str:
    """A symbol that changes each time the palette of `category_colours` starts again."""
    return _SYMBOLS[(place // len(OKABE_ITO)) % len(_SYMBOLS)]


def faded(colour: str, opacity: float) -> str:
    """A hex colour with an opacity, as plotly reads it."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


# -- plotly --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Look:
    """The colours of a background: what lies behind, lines of the grid, text, and the dense line."""

    paper: str
    grid: str
    text: str
    dense: str


LIGHT, DARK = Look("#FFFFFF", "#E3E5E8", "#262730", "#000000"), Look("#0E1117", "#343842", "#FAFAFA", "#FFFFFF")


def look(dark: bool) -> Look:
    """The background's colours."""
    return DARK if dark else LIGHT


def of_points(dark: bool) -> tuple[tuple[float, str], ...]:
    """Cividis for points on the background: without the end that would be lost in it."""
    return (
        ((0.0, "#6C7FA8"), (0.5, "#A69D75"), (1.0, "#FEE838"))
        if dark
        else ((0.0, "#00204D"), (0.5, "#7C7B78"), (1.0, "#D8BF2E"))
    )


def diverging(dark: bool) -> tuple[tuple[float, str], ...]:
    """A scale around 0: blue below, the background at 0, orange above."""
    return DIVERGING_DARK if dark else DIVERGING


@cache
def template(dark: bool = False) -> go.layout.Template:
    """The plotly template of all figures; a figure takes a copy of it."""
    colours = look(dark)
    axis = {
        "gridcolor": colours.grid,
        "linecolor": colours.grid,
        "zerolinecolor": colours.grid,
        "ticks": "outside",
        "automargin": True,
        "title": {"standoff": 8},
    }
    return go.layout.Template(
        layout={
            "font": {"family": FONTS, "size": 13, "color": colours.text},
            "paper_bgcolor": colours.paper,
            "plot_bgcolor": colours.paper,
            "colorway": list(OKABE_ITO),
            "margin": {"l": 60, "r": 20, "t": 30, "b": 50},
            "xaxis": axis,
            "yaxis": axis,
            "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
            "hoverlabel": {"font": {"family": FONTS}},
        }
    )


# -- numbers -------------------------------------------------------------------------------------------------------


def points(value: float, signed: bool = False) -> str:
    """A difference of fractions in points: `3.2 points`; a dash for NaN."""
    if not math.isfinite(value):
        return "–"
    return f"{_minus(f'{100 * value:+.1f}' if signed else f'{100 * value:.1f}')} points"


def percent(value: float) -> str:
    """A fraction in per cent: `81.4%`; a dash for NaN."""
    return "–" if not math.isfinite(value) else f"{_minus(f'{100 * value:.1f}')}%"


def number(value: float, digits: int = 2) -> str:
    """A plain number; a dash for NaN, a word for infinity."""
    if math.isnan(value):
        return "–"
    return _minus(f"{value:.{digits}f}") if math.isfinite(value) else ("∞" if value > 0 else "−∞")


def interval(low: float, high: float) -> str:
    """An interval in points: `1.1 to 5.3`."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "no interval"
    return f"{_minus(f'{100 * low:.1f}')} to {_minus(f'{100 * high:.1f}')}"


def p_value(p: float) -> str:
    """`p = .03`, `p < .001`."""
    if not math.isfinite(p):
        return "no test"
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".", 1)


def level(sparsity: float) -> str:
    """A sparsity in per cent without needless digits: `90%`, `97.5%`."""
    return f"{100 * sparsity:g}%" if math.isfinite(sparsity) else "–"


def _minus(text: str) -> str:
    return ("" if float(text) == 0 else "−") + text[1:] if text.startswith("-") else text


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "none"
