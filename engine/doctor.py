"""Known-answer self-check of this machine: does it compute what the project promises? (`python -m engine doctor`)

Each check is small, has an answer known beforehand and says in one line what it found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One check: its name, whether it held, and what was seen."""

    name: str
    good: bool
    seen: str


def examine(device: str = "auto") -> Iterator[Finding]:
    """Run every check; one that raises has failed and says how."""
    for name, check in CHECKS.items():
        try:
            seen = check(device)
            yield Finding(name, not seen.startswith("wrong"), seen)
        except Exception as error:
            yield Finding(name, False, f"{type(error).__name__}: {error}")


def _machine(device: str) -> str:
    import torch

    from engine.device import resolve

    where, precision = resolve(device, "auto")
    return f"{where} in {precision}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _counts(device: str) -> str:
    """Seven of ten equal scores: the earlier three are kept, on every device."""
    import torch

    from engine.device import resolve
    from engine.mask import select

    scores = torch.ones(2, 5, device=resolve(device, "fp32")[0])
    kept = select({"w": scores}, 0.7)["w"].reshape(-1).tolist()
    return "exact, ties keep the earlier" if kept == [True] * 3 + [False] * 7 else f"wrong: kept {kept}"


def _gradient(device: str) -> str:
    """AlignReg's closed-form gradient against automatic differentiation, in float64."""
    import torch

    from engine.objectives import alignreg_cosine

    generator = torch.Generator().manual_seed(0)
    reference, weight = (torch.randn(4, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    mask = torch.rand(4, 6, generator=generator) > 0.3
    leaf = weight.clone().requires_grad_()
    pruned = leaf * mask
    value = (1 - torch.nn.functional.cosine_similarity(reference, pruned, dim=1)).sum()
    value.backward()
    _, grad = alignreg_cosine(reference, weight, mask)
    error = float((grad - leaf.grad).abs().max())
    return f"closed-form gradient off by {error:.1e}" if error < 1e-12 else f"wrong: gradient off by {error:.1e}"


def _repeat(device: str) -> str:
    """The same seeded step twice gives the same bits (CPU always; CUDA with deterministic = true)."""
    import torch

    from engine.device import resolve

    where = resolve(device, "fp32")[0]

    def step() -> torch.Tensor:
        torch.manual_seed(0)
        layer = torch.nn.Linear(64, 64).to(where)
        optimizer = torch.optim.AdamW(layer.parameters(), fused=True)
        layer(torch.randn(32, 64, device=where)).square().mean().backward()
        optimizer.step()
        return layer.weight.detach().clone()

    same = torch.equal(step(), step())
    return "repeated step is bit-identical" if same else "wrong: a repeated step differs"


def _bundled(device: str) -> str:
    """The bundled encoder loads and gives finite states of the promised shape."""
    import torch
    from transformers import AutoModel

    from engine.model import BUNDLED_MODEL, load_tokenizer

    tokenizer = load_tokenizer(str(BUNDLED_MODEL))
    model = AutoModel.from_pretrained(BUNDLED_MODEL, dtype=torch.float32, use_safetensors=True).eval()
    with torch.no_grad():
        states = model(
            **tokenizer("Wake me up at seven.", return_tensors="pt", return_token_type_ids=False)
        ).last_hidden_state
    return (
        f"bundled model gives {tuple(states.shape)}"
        if bool(states.isfinite().all())
        else "wrong: states are not finite"
    )


CHECKS: dict[str, Callable[[str], str]] = {
    "machine": _machine,
    "mask counts": _counts,
    "gradients": _gradient,
    "determinism": _repeat,
    "bundled model": _bundled,
}
