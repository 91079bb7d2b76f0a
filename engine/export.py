"""A pruned level → a Hugging Face folder that `from_pretrained` loads: baked weights, masks, model card.

The weights are stored dense, zeros included: the folder is as large as before, which the card says. The masks stand
beside them as their own file (layout as in the run folder), so that they can be put on a fresh checkpoint.

With `compact` the heads and neurons that the masks remove are cut out: a smaller dense model, which the stock
configuration cannot describe and only `engine.structured.load` opens (DESIGN §10).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Template

from engine import structured
from engine.config import ConfigError
from engine.model import matrices
from engine.record import Level, RecordError, Run
from engine.workbench import Workbench

if TYPE_CHECKING:
    from torch import nn

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

{% if compact -%}
Removed heads and FFN neurons are cut out: {{ "{:,}".format(compact.parameters) }} parameters are left{{ " of {:,}".format(size.parameters) if size.parameters > compact.parameters }}.
The stock configuration cannot say how many are left in each layer (`compact.json` does), so `AutoModel` refuses this folder; load it with

```python
from engine import structured
model = structured.load("{{ folder }}")
```
{% else -%}
The zeros are stored: this folder is as large as a dense one, and a dense kernel runs it as slowly.
{% endif %}

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


def export(run: Run, sparsity: float, target: Path, bench: Workbench, toml: str, compact: bool = False) -> None:
    """Write the folder for one level of a run; refuses an existing target and a level without weights.

    `compact` cuts out the removed heads and neurons; refused for a level whose masks remove none as a whole.
    """
    level = find_level(run, sparsity)
    if target.exists() and any(target.iterdir()):
        raise ConfigError([f"to: must be a new or empty folder; got {target}"])
    try:
        _write(run, level, target, bench, toml, compact)
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


def _write(run: Run, level: Level, target: Path, bench: Workbench, toml: str, compact: bool) -> None:
    model = level_model(run, level, bench)
    if compact:
        model = _compacted(run, level, model)
        structured.save(model, target)
    elif "shape" in level.size():
        raise ConfigError(
            [f"compact: must be given for {run.method}, whose layers the stock configuration cannot describe"]
        )
    else:
        model.save_pretrained(target)
    bench.tokenizer.save_pretrained(target)
    if level.has("masks.safetensors") and not compact:  # they would not fit the smaller matrices
        shutil.copyfile(level.path / "masks.safetensors", target / "masks.safetensors")
    facts = {"parameters": sum(parameter.numel() for parameter in model.parameters())} if compact else None
    (target / "README.md").write_text(_card(run, level, toml, facts, target.name), encoding="utf-8")


def level_model(run: Run, level: Level, bench: Workbench) -> nn.Module:
    """The model of a level that kept its weights; a student (`small`, `distill`) says its `shape` in `size.json`."""
    import torch

    model = bench.pretrained(run.seed)
    if "shape" in level.size():
        model = structured.reshape(model, level.size()["shape"])
    model.load_state_dict({name: torch.from_numpy(value) for name, value in level.arrays("weights").items()})
    return model


def _compacted(run: Run, level: Level, model: nn.Module) -> nn.Module:
    """The level's model without the heads and neurons that its masks remove as a whole."""
    import torch

    masks = level.masks() if level.has("masks.safetensors") else {}
    found = [matrix for matrix in matrices(model) if matrix.name in masks]
    groups = structured.unit_groups(model, found) if found else []
    units = structured.unit_masks(groups, {m.name: m.orient(torch.from_numpy(masks[m.name])) for m in found})
    if "shape" not in level.size() and all(bool(kept.all()) for kept in units.values()):
        raise ConfigError(
            [f"compact: needs a level that removes whole heads or neurons; {run.method} at {level.sparsity:g} removes single weights"]
        )  # fmt: skip
    return structured.compact(model, units)


def _card(run: Run, level: Level, toml: str, compact: dict[str, int] | None, folder: str) -> str:
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
            compact=compact,
            folder=folder,
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
