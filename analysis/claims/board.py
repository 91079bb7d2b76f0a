"""The claims board: the outcome of every claim on a finished study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from analysis import inference, tables, theme
from analysis.claims.evidence import Evidence
from analysis.claims.intervals import interval_p, verdict
from analysis.claims.rows import CLAIMS, POINTS, Claim
from engine import record
from engine.metrics import ITEM_SCORES

TOY = (
    "The bundled encoder was aligned across languages explicitly, which pretrained encoders were not, it has 3 million parameters, and an arm has "
    "a few dozen updates a level: a direction that does not show here may show on a large model, and the other way round."
)


def board(store: Path, study: str, names: Sequence[str] | None = None) -> dict[str, Any]:
    """The outcome of every claim on a finished study: what `engine/demo/claims.json` holds.

    A claim whose arms are missing has no numbers and says what is missing. Raises RecordError for a study of another
    metric than accuracy: the directions are of it, and what resamples them reads right and wrong items.
    """
    evidence = Evidence(store, study)
    if not ITEM_SCORES[evidence.items.metric].exact:
        raise record.RecordError(
            f"study: must have accuracy as its metric, which the claims are of; {study} has {evidence.items.metric}"
        )
    configs = [config for _, config in tables.readable(store, study)]
    rows = [_outcome(CLAIMS[name], evidence) for name in names or CLAIMS]
    return {
        "study": study,
        "seeds": sorted({int(config["seed"]) for config in configs}),
        "digest": record.digest(sorted(config["digest"] for config in configs)),
        "model_digest": configs[0].get("model_digest"),
        "languages": list(evidence.items.languages),
        "items": len(next(iter(evidence.items.ids.values()))),
        "toy": TOY,
        "rows": corrected(rows),
    }


def _outcome(claim: Claim, evidence: Evidence) -> dict[str, Any]:
    row: dict[str, Any] = {field.name: getattr(claim, field.name) for field in fields(claim) if field.name != "test"}
    row |= {"arm": claim.test.arm, "other": claim.test.other, "level": claim.test.level}
    row |= dict.fromkeys(("effect", "low", "high", "p", "p_holm"))
    try:
        found = claim.test.run(evidence)
        effect, low, high = found[:3]
    except (KeyError, IndexError, ValueError) as error:
        return {**row, "verdict": "not tested", "text": str(error).strip("'")}
    if np.isnan([effect, low, high]).any():
        return {**row, "verdict": "not tested", "text": "no number came out"}
    row |= {"effect": effect, "low": low, "high": high, "p": interval_p(found), "verdict": verdict(low, high)}
    shown = [number(value, claim.unit) for value in (effect, low, high)]
    return {**row, "text": f"{shown[0]} ({shown[1]} to {shown[2]}) {claim.unit}"}


def corrected(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows with `p_holm`: Holm's adjusted p over all directions that were tested, None for the others (M§6.1)."""
    tested = [row["p"] for row in rows if row["p"] is not None]
    adjusted = iter(inference.holm(tested).tolist() if tested else [])
    return [{**row, "p_holm": None if row["p"] is None else next(adjusted)} for row in rows]


def markdown(outcome: Mapping[str, Any]) -> str:
    """The board as a Markdown table, for LAB.md."""
    lines = ["| paper | direction | effect (95%) | control | verdict | Holm p |", "|---|---|---|---|---|---|"]
    for row in outcome["rows"]:
        paper = row["paper"].split(" (")[0]
        lines.append(
            f"| {paper} | {row['what']} | {row['text']} | {row['control']} | {row['verdict']} | {_adjusted(row)} |"
        )
    return "\n".join(lines)


def _adjusted(row: Mapping[str, Any]) -> str:
    return "–" if row["p_holm"] is None else theme.p_value(row["p_holm"])


def number(value: float, unit: str) -> str:
    """A number in its unit, signed; points are hundredths of an accuracy."""
    if not np.isfinite(value):
        return "∞" if value > 0 else "−∞"
    text = f"{100 * value:+.1f}" if unit == POINTS else f"{value:+.3g}"
    return text.replace("-", "−")
