"""Task type `pair`: two texts, one of several labels for their relation (M§5)."""

from __future__ import annotations

from engine.tasks.sequence import Classification

TYPE = Classification(name="pair", columns=("text", "pair", "label"))
