"""The methods reference as one Markdown page (`docs/methods.md`), written from the tables that the program runs on.

Docstrings cite its sections as M§. What the tables say (sentence, formula, parameters, choices, source) is never written
twice; the few paragraphs here are what no table holds. A test compares the page with the tables.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from engine.registry import TABLES, table

SECTIONS: Mapping[str, tuple[str, str]] = {
    "1": (
        "What can be pruned",
        "The weights, not the biases, of the linear maps of every block: query, key, value, attention output, the two of "
        "the feed-forward part. Embeddings, norms, pooler and task head are never pruned unless a study includes them. "
        "One table names these maps for each architecture; where it has no row, the linear layers inside repeated blocks "
        "are taken. Sparsity is the cumulative fraction of prunable weights that are gone, never of what is left.",
    ),
    "2": (
        "Granularity, allocation, masks",
        "A ranking group of n weights loses exactly `floor(s·n + ½)` of them; among equal scores the earlier one stays. "
        "Masks are nested: what is gone stays gone, except where a method says that it regrows. Floors and ceilings per "
        "matrix leave the total exact. Heads and neurons are counted as units and the weight sparsity is measured.",
    ),
    "2.1": (
        "How a mask acts",
        "`zeroed`: weights and both moments of the optimiser are zeroed once, then gradients are masked before clipping. "
        "`shadow`: the dense weight is kept and learns, the forward pass sees `m⊙w`. `zero_after_step`: the gradient stays "
        "dense, for scores that need it, and weights are zeroed after each step. Evaluation always sees `m⊙w`.",
    ),
    "2.2": ("Schedules", "The sparsity after t of T updates. Warm-up and cool-down are fractions of the run."),
    "2.3": ("LAMP", ""),
    "2.4": ("ERK", ""),
    "2.5": (
        "Vocabulary pruning",
        "Keeps the embedding rows and pieces that the given texts use, beside special, byte and single-character pieces. "
        "On these texts the outputs do not change; elsewhere words fall back to smaller pieces.",
    ),
    "3": ("Importance criteria", "A score per weight, from statistics of one matrix; the higher, the longer it stays."),
    "4": (
        "Objectives",
        "What is added to the task loss while the pruned network is trained. The teacher is the dense model fine-tuned on "
        "the task, frozen, unless the row says otherwise.",
    ),
    "4.1": ("Aligned weight regularizers", ""),
    "4.2": ("Self-distilled pruning", ""),
    "4.3": ("Self-regularisation", ""),
    "4.4": ("Contrastive pruning", ""),
    "4.5": ("Baselines", ""),
    "4.6": ("Recipes of several phases", ""),
    "4.7": (
        "What a level is",
        "On an iterative path one run visits the levels in order, each with a fresh optimiser, warm-up and linear decay; on "
        "an independent path every level is a training of its own. Level k of any arm has cost "
        "`U_dense + k·U_retrain` updates since the pretrained checkpoint.",
    ),
    "5": (
        "Tasks and the zero-shot protocol",
        "Trained and selected on the source languages only, evaluated on the test set of every language: the source is "
        "supervised, the others are zero-shot, one by one and as an unweighted mean.",
    ),
    "6": ("Measures", "Examples are matched by id between states. An estimator with a finite-sample bias is unbiased by default."),
    "6.1": ("Degradation", "Intervals resample seeds and items together, jointly across languages where the items are parallel."),
    "6.2": ("Class separability", ""),
    "6.3": ("Signal-to-noise ratio", ""),
    "6.4": ("Alignment of representations", ""),
    "6.5": ("Projections", ""),
    "6.6": ("Causal restoration", ""),
    "6.7": ("Recovery after a pruning step", ""),
    "6.8": ("Weights", ""),
    "6.9": ("Examples and text", ""),
    "6.10": ("Probing generalisation", ""),
    "6.11": ("Size and speed", ""),
    "7": ("Directions that the papers claim", "Each is tested with its control; a positive effect means that it holds."),
}  # fmt: skip

INTRODUCTION = """# Methods

What every method and measure computes, where it comes from, and what was chosen where the source is silent. Docstrings \
cite the sections as M§. Written by `python -m analysis glossary` from the tables that the program runs on.

Axes: `N` examples, `T` tokens, `D` width, `L` layers, `O×I` one weight matrix (rows are output units), `C` classes. `w` is a \
weight, `w₀` its dense reference, `m` the mask (1 is kept), `g` a gradient of the training loss, `s` the sparsity.
"""


def markdown() -> str:
    """The whole page."""
    rows = _by_section()
    if unknown := sorted(set(rows) - set(SECTIONS)):
        raise ValueError(f"section: must be one of {', '.join(SECTIONS)}; got {', '.join(unknown)}")
    return "\n".join([INTRODUCTION, *(line for number in SECTIONS for line in _section(number, rows.get(number, [])))])


def _by_section() -> dict[str, list[tuple[str, Any]]]:
    """(kind, row) by section number; a row without a section (an architecture) has no definition to give."""
    found: dict[str, list[tuple[str, Any]]] = defaultdict(list)
    for kind in TABLES:
        for row in table(kind).values():
            if section := getattr(row, "section", ""):
                found[section.removeprefix("M§")].append((kind, row))
    return found


def _section(number: str, rows: list[tuple[str, Any]]) -> Iterator[str]:
    title, text = SECTIONS[number]
    yield f"{'##' if '.' not in number else '###'} {number} {title}\n"
    if text:
        yield f"{text}\n"
    listed = [row for kind, row in rows if kind in ("tasks", "claims")]
    for kind, row in rows:
        if row not in listed:
            yield from _definition(kind, row)
    if listed:
        yield from _listing(listed)


def _definition(kind: str, row: Any) -> Iterator[str]:
    yield f"**{row.title}** (`{row.name}`, {kind}). {row.what}\n"
    if formula := getattr(row, "formula", ""):
        yield f"$${formula}$$\n"
    facts = [f"`{one.name}` = {one.default}: {one.what}" for one in getattr(row, "parameters", ())]
    if unit := getattr(row, "unit", ""):
        facts.append(f"Unit: {unit}.")
    if chosen := getattr(row, "chosen", ""):
        facts.append(f"Chosen here: {chosen}")
    if row.source != "–":
        facts.append(f"Source: {row.source}")
    if facts:
        yield "\n".join(f"- {fact}" for fact in facts) + "\n"


def _listing(rows: list[Any]) -> Iterator[str]:
    """Rows that are many and short, as a table."""
    middle = "type" if hasattr(rows[0], "type") else "control"
    yield f"| what | {middle} | source |\n|---|---|---|"
    for row in rows:
        yield f"| {row.title if middle == 'type' else row.what} | {getattr(row, middle)} | {row.source} |"
    yield ""
