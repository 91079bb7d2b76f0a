"""Hidden states by hooks of our own, removed afterwards: `output_hidden_states=True` leaves permanent ones behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from engine.model.parts import blocks

if TYPE_CHECKING:
    from torch import Tensor, nn


@contextmanager
def states(model: nn.Module, last_only: bool = False) -> Iterator[list[Tensor]]:
    """Collect hidden states `B×T×D` of one forward pass: embedding output, then every block (or the last block only).

    The list is filled anew by each forward pass inside the context; all hooks are gone when it ends.
    """
    collected: list[Tensor] = []
    found = blocks(model)
    last = len(found) - 1

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        collected.clear()
        if not last_only:
            collected.append(args[0] if args else kwargs["hidden_states"])

    def leave(number: int) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if number == last or not last_only:
                collected.append(output[0] if isinstance(output, tuple) else output)

        return hook

    handles = [found[0].register_forward_pre_hook(enter, with_kwargs=True)]
    handles += [block.register_forward_hook(leave(number)) for number, block in enumerate(found)]
    try:
        yield collected
    finally:
        for handle in handles:
            handle.remove()
