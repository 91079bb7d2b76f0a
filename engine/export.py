"""A pruned level → a Hugging Face folder that `from_pretrained` loads: baked weights, masks, model card.

The weights are stored dense, zeros included: the folder is as large as before, which the card says. The masks stand
beside them as their own file (layout as in the run folder), so that they can be put on a fresh checkpoint.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from jinja2 import Template

from engine.config import ConfigError
from engine.record import Level, RecordError, Run
from engine.workbench import Workbench

CARD = Template(
    """---
library_name: transformers
tags: [pruned, prunoscope]
language: [{{ languages | join(", ") }}]
---
# {{ study }}: {{ method }} at {{ "%.0f" | format(100 * size.sparsity_prunable) }}% sparsity (seed {{ seed }})

Made with Prunoscope from `{{ model }}` by the recipe `{{ recipe }}`, trained on {{ sources | join(", ") }} only.

| what is zero | share |
|---|---|
| prunable weights (the linear maps of every block) | {{ "%.1f" | format(100 * size.sparsity_prunable) }}% |
| encoder | {{ "%.1f" | format(100 * size.sparsity_encoder) }}% |
| whole model, embeddings included | {{ "%.1f" | format(100 * size.sparsity_model) }}% |

The zeros are stored: this folder is as large as a dense one, and a dense kernel runs it as slowly.

## {{ metric }} by language

| language | split | n | dense | pruned |
|---|---|---|---|---|
{% for row in rows -%}
| {{ row.language }}{{ " (source)" if row.language in sources }} | {{ row.split }} | {{ row.n }} | {{ "%.3f" | format(row.dense) }} | {{ "%.3f" | format(row.pruned) }} |
{% endfor %}
Licences of the base model and of the data apply to this folder; check both before you share it.

## The study file

```toml
{{ toml }}
```
Versions: {{ versions }}
"""
)


def export(run: Run, sparsity: float, target: Path, bench: Workbench, toml: str) -> None:
    """Write the folder for one level of a run; refuses an existing target and a level without weights."""
    level = find_level(run, sparsity)
    if target.exists() and any(target.iterdir()):
        raise ConfigError([f"to: must be a new or empty folder; got {target}"])
    try:
        _write(run, level, target, bench, toml)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)  # nothing half-written stays
        raise


def find_level(run: Run, sparsity: float) -> Level:
    """The finished level of a run with this sparsity and with weights; else an error that lists the choices."""
    with_weights = [level for level in run.levels() if level.has("weights.safetensors")]
    for level in with_weights:
        if abs(level.sparsity - sparsity) < 5e-5:
            return level
    choices = ", ".join(f"{level.sparsity:g}" for level in with_weights) or "none: no level kept its weights"
    raise RecordError(
        f"level: must be one of {choices}; got {sparsity:g} (method.keep_weights says which levels keep theirs)"
    )


def _write(run: Run, level: Level, target: Path, bench: Workbench, toml: str) -> None:
    import torch

    model = bench.pretrained(run.seed)
    model.load_state_dict({name: torch.from_numpy(value) for name, value in level.arrays("weights").items()})
    model.save_pretrained(target)
    bench.tokenizer.save_pretrained(target)
    if level.has("masks.safetensors"):
        shutil.copyfile(level.path / "masks.safetensors", target / "masks.safetensors")
    (target / "README.md").write_text(_card(run, level, toml), encoding="utf-8")


def _card(run: Run, level: Level, toml: str) -> str:
    config = run.config()
    dense = Run(run.path.parent / f"dense-s{run.seed}").level(0.0)
    return str(
        CARD.render(
            study=run.study,
            method=run.method,
            seed=run.seed,
            recipe=config["recipe"],
            model=config["model"]["name"],
            sources=config["sources"],
            languages=config["languages"],
            metric=config["metric"],
            size=level.size(),
            rows=_rows(dense, level),
            toml=toml.strip(),
            versions=_versions(run),
        )
    )


def _rows(dense: Level, level: Level) -> list[dict[str, Any]]:
    keys = ["language", "split", "id"]
    both = level.frame("predictions").merge(dense.frame("predictions"), on=keys, suffixes=("", "_dense"))
    grouped = both.groupby(["split", "language"], sort=False)
    return [
        {
            "split": split,
            "language": code,
            "n": len(group),
            "dense": group["score_dense"].mean(),
            "pruned": group["score"].mean(),
        }
        for (split, code), group in grouped
    ]


def _versions(run: Run) -> str:
    from engine.record import read_json

    versions = read_json(run.path / "env.json")["versions"]
    return ", ".join(f"{name} {version}" for name, version in versions.items())
