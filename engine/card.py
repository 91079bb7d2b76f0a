"""The model card of an exported level: what it is, what is zero, how each language fares, licences, versions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Template

from engine.metrics import FUNCTIONS
from engine.record import Level, Run, read_json
from engine.tasks import TASKS

CARD = Template(
    """---
library_name: transformers
tags: [pruned, prunoscope]
language: {{ languages_json }}
{% if base_model %}base_model: {{ base_model }}
{% endif %}---
# {{ study }}: {{ method }} at {{ "%.0f" | format(100 * size.sparsity_prunable) }}% sparsity (seed {{ seed }})

Made with Prunoscope from `{{ model }}` by the recipe `{{ recipe }}`, trained on {{ sources | join(", ") }} only.

| what is zero | share |
|---|---|
| prunable weights (the linear maps of every block) | {{ "%.1f" | format(100 * size.sparsity_prunable) }}% |
| encoder | {{ "%.1f" | format(100 * size.sparsity_encoder) }}% |
| whole model, embeddings included | {{ "%.1f" | format(100 * size.sparsity_model) }}% |

## Size

| file | MB |
|---|---|
{% for name, bytes in files -%}
| `{{ name }}` | {{ "%.2f" | format(bytes / 1e6) }} |
{% endfor %}
{% if compact -%}
Removed heads and FFN neurons are cut out: {{ "{:,}".format(compact.parameters) }} parameters are left{{ " of {:,}".format(size.parameters) if size.parameters > compact.parameters }}.
The stock configuration cannot say how many are left in each layer (`compact.json` does), so `AutoModel` refuses this folder; load it with

```python
from engine import structured
model = structured.load("{{ folder }}")
```
{% else -%}
The zeros are stored, in float32: this folder is as large as a dense one, and a dense kernel runs it as slowly.
{% if masks %}
`masks.safetensors` holds the masks alone, one bit a weight. They can be put on a fresh checkpoint of the same architecture:

```python
from engine.export import apply_masks
apply_masks(model, "{{ folder }}")
```
{% endif %}{% endif %}
## {{ metric }} by language

| language | split | n | dense | pruned |
|---|---|---|---|---|
{% for row in rows -%}
| {{ row.language }}{{ " (source)" if row.language in sources }} | {{ row.split }} | {{ row.n }} | {{ "%.3f" | format(row.dense) }} | {{ "%.3f" | format(row.pruned) }} |
{% endfor %}
## Licences

Base model: {{ model_licence }}. Data ({{ task }}): {{ data_licence }}. Both apply to this folder; check them before you share it.

## The study file

```toml
{{ toml }}
```
Versions: {{ versions }}
"""
)

APACHE = "Apache-2.0"


def card(run: Run, level: Level, folder: Path, name: str, base: str, toml: str, compact: int | None) -> str:
    """Markdown with a header that the Hugging Face hub reads.

    `folder` holds the written files and will be called `name`, `base` says where the base model is, `compact` gives the
    parameters left of a model that was cut smaller.
    """
    config = run.config()
    dense = Run(run.path.parent / f"dense-s{run.seed}").level(0.0)
    files = sorted((path.name, path.stat().st_size) for path in folder.glob("*.safetensors"))
    return str(
        CARD.render(
            study=run.study,
            method=run.method,
            seed=run.seed,
            recipe=config["recipe"],
            model=config["model"]["name"],
            base_model="" if base == "bundled" or Path(base).is_dir() else base,
            sources=config["sources"],
            languages_json=json.dumps(config["languages"]),
            metric=config["metric"],
            size=level.size(),
            files=files,
            rows=_rows(dense, level, config["metric"]),
            task=config["task"]["name"],
            model_licence=_model_licence(config["model"]["name"], base),
            data_licence=_data_licence(config["task"]["name"]),
            toml=toml.strip(),
            compact={"parameters": compact} if compact else None,
            masks=(folder / "masks.safetensors").exists(),
            folder=name,
            versions=_versions(run),
        )
    )


def _rows(dense: Level, level: Level, metric: str) -> list[dict[str, Any]]:
    """The metric of the dense and of the pruned model on the same items, per split and language."""
    keys = ["language", "split", "id"]
    both = level.frame("predictions").merge(dense.frame("predictions"), on=keys, suffixes=("", "_dense"))
    value = FUNCTIONS[metric]
    return [
        {
            "split": split,
            "language": code,
            "n": len(group),
            "dense": value(np.stack(group["stats_dense"].to_list())),
            "pruned": value(np.stack(group["stats"].to_list())),
        }
        for (split, code), group in both.groupby(["split", "language"], sort=False)
    ]


def _model_licence(name: str, base: str) -> str:
    """What the base model's own card says, where there is one beside it."""
    if name == "bundled":
        return APACHE
    readme = Path(base) / "README.md"
    if readme.is_file():
        header = re.match(r"---\n(.*?)\n---", readme.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
        found = re.search(r"^license:\s*(\S.*)$", header.group(1), re.MULTILINE) if header else None
        if found:
            return found.group(1).strip()
    return "as its folder says" if Path(base).is_dir() else f"see https://huggingface.co/{base}"


def _data_licence(task: str) -> str:
    return TASKS[task].licence if task in TASKS else "your own data"


def _versions(run: Run) -> str:
    versions = read_json(run.path / "env.json")["versions"]
    return ", ".join(f"{name} {version}" for name, version in versions.items())
