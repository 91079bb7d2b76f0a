"""Formulas of the method tables as MathML, which every browser draws by itself: no script, no font from elsewhere."""

from __future__ import annotations

import re

from latex2mathml.converter import convert
from markupsafe import Markup, escape

ARG = re.compile(r"\\arg(?![A-Za-z])")  # the one command of the tables that the converter does not know


def mathml(latex: str) -> Markup:
    """A LaTeX formula as a MathML block that carries its source as the text that is read aloud.

    Raises `ValueError` for a formula with a command that cannot be converted.
    """
    drawn = convert(ARG.sub(r"\\operatorname{arg}", latex), display="block")
    if "\\" in drawn:
        raise ValueError(f"formula: must be LaTeX that becomes MathML; got {latex!r}")
    return Markup(drawn.replace("<math ", f'<math alttext="{escape(latex)}" ', 1))
