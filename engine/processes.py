"""One run over several processes, as `accelerate launch` starts them: who computes what, and how it comes together.

The network is not wrapped. Of every batch each process runs the network on its share of the items; the outputs and the
last states of all are put together on every process, its own part still in the graph, and the loss is that of the
whole batch, computed everywhere. Backward then leaves on each process what flows through its share, and the *sum* over
the processes is the gradient that one process would have. Nothing has to be weighted, so unequal shares, means over
words, correlations and contrasts over a batch (M§4.4) are right as they stand; and masks that swap weights, hooks,
copies and export see the plain model. What is exchanged beside the gradients is as small as a batch's outputs.

Everything else is the same on every process: it is computed from the same numbers, in the same order, from the same
generators. Only dropout draws from a generator of its own (`own_noise`). Whatever fails on one process, fails on all at
the same place (`shared`), so that none waits for an answer for ever. With one process every function does its work and
nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from engine.device import seed_of
from engine.model import states
from engine.tasks.batches import MASKED

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from torch import Tensor, nn

    from engine.tasks.batches import Encoded
    from engine.tasks.types import TaskType

BUCKET = 2**23  # numbers that are added up in one go: 32 MB in float32, beyond which nothing gets faster
T = TypeVar("T")


class ProcessError(RuntimeError):
    """What went wrong on one process, raised on all of them."""


def count() -> int:
    """How many processes do this run."""
    import torch

    distributed = torch.distributed
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def number() -> int:
    """Which of them this is."""
    import torch

    return torch.distributed.get_rank() if count() > 1 else 0


def main() -> bool:
    """Is this the process that writes?"""
    return number() == 0


def wait() -> None:
    """Go on when all are here."""
    if count() > 1:
        import torch

        torch.distributed.barrier()


def leave() -> None:
    """The work is done: part from the other processes."""
    if count() > 1:
        import torch

        torch.distributed.destroy_process_group()


# -- who computes what ---------------------------------------------------------------------------------------------


def share(items: np.ndarray) -> np.ndarray:
    """This process's part of a batch; the parts of all follow one another, and the first may be larger by one."""
    return np.array_split(items, count())[number()]


def dealt(batches: Sequence[T]) -> list[T]:
    """This process's batches: every n-th, so that long and short ones are spread evenly."""
    return list(batches[number() :: count()])


@contextmanager
def own_noise(device: torch.device) -> Iterator[None]:
    """Inside, torch's generators are this process's own, seeded from the common ones, which stay in step outside.

    A checkpoint therefore needs the common generators alone, and a repeated run repeats its dropout.
    """
    import torch

    common = int(torch.randint(2**62, (1,)))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed_of(common, number()))
        yield


# -- how it comes together -----------------------------------------------------------------------------------------


def shared(work: Callable[[], T]) -> list[T]:
    """What `work` gives on every process, in their order; results must be small or numpy arrays.

    Where it fails on one, all raise ProcessError, or OutOfMemoryError if it was that.
    """
    if count() == 1:
        return [work()]
    import torch
    from accelerate.utils import gather_object

    found, error = None, None
    try:
        found = work()
    except Exception as caught:
        if getattr(caught, "everywhere", False):
            raise  # it was exchanged further inside
        error = caught
    text = None if error is None else f"{type(error).__name__}: {error}"
    results = gather_object([(found, text, isinstance(error, torch.OutOfMemoryError))])
    failed = [(number_, text_, memory) for number_, (_, text_, memory) in enumerate(results) if text_ is not None]
    if failed:
        # A process that lacks more than memory decides: nothing can be tried again there.
        place, text, memory = min(failed, key=lambda failure: failure[2])
        kind = torch.OutOfMemoryError if memory else ProcessError
        raise _everywhere(kind(f"process {place}: {text}")) from error
    return [value for value, _, _ in results]


def _everywhere(error: Exception) -> Exception:
    """Mark an error that all processes raise at once, which need not be exchanged again further out."""
    error.everywhere = True  # type: ignore[attr-defined]
    return error


def in_step(work: Callable[[], T]) -> T:
    """Do `work` here, and go on when it is done on all; errors as in `shared`."""
    found: list[T] = []
    shared(lambda: found.append(work()))
    return found[0]


def network(
    model: nn.Module, kind: TaskType, encoded: Encoded, items: np.ndarray, handle: Accelerator
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """(logits, last states, batch) of some items: those of all processes, the part of this one in the graph."""
    batch = encoded.batch(items, handle.device)
    if count() == 1:
        with states(model, last_only=True) as collected, handle.autocast():
            logits = kind.logits(model, batch)
        return logits, collected[-1], batch
    own, width = share(items), batch["input_ids"].shape[1]

    def forward() -> list[Tensor]:
        # A process without a share runs one item and keeps none of its rows, so that its gradients are zeros and not missing.
        part = encoded.batch(own if len(own) else items[:1], handle.device, width)
        with own_noise(handle.device), states(model, last_only=True) as collected, handle.autocast():
            logits = kind.logits(model, part)
        return [values if len(own) else values[:0] for values in (logits, collected[-1])]

    logits, hidden = _whole(forward)
    return logits, hidden, batch


def _whole(work: Callable[[], list[Tensor]]) -> list[Tensor]:
    """Tensors of all processes one after another along the first axis; gradients flow into this process's own."""
    own: list[Tensor] = []

    def shapes() -> list[tuple[int, ...]]:
        own.extend(work())
        return [tuple(values.shape) for values in own]

    found = shared(shapes)
    return [_joined(values, [sizes[place] for sizes in found]) for place, values in enumerate(own)]


def _joined(own: Tensor, shapes: Sequence[tuple[int, ...]]) -> Tensor:
    """`own` between the rows of the other processes; alternatives that only others have (choice) are `MASKED`."""
    import torch

    width = max(shape[1] for shape in shapes)
    if own.shape[1] < width:
        own = torch.nn.functional.pad(own, (0, width - own.shape[1]), value=MASKED)
    starts = np.concatenate([[0], np.cumsum([shape[0] for shape in shapes])]).tolist()
    first, last = starts[number()], starts[number() + 1]
    rows = own.new_zeros((starts[-1], *own.shape[1:]))
    rows[first:last] = own.detach()
    torch.distributed.all_reduce(rows)  # x + 0 is x: every row comes from one process as it is
    return torch.cat([rows[:first], own, rows[last:]])


def add_up(tensors: Sequence[Tensor]) -> None:
    """Put the sum over the processes in the place of each tensor; all have the same tensors in the same order."""
    if count() == 1:
        return
    import torch

    with torch.no_grad():
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            torch.distributed.all_reduce(flat)
            for tensor, total in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
                tensor.copy_(total.view_as(tensor))


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours of one type together, up to `BUCKET` numbers."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        size = sum(other.numel() for other in bucket)
        if bucket and (size + tensor.numel() > BUCKET or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def check_same(tensors: Sequence[Tensor], what: str) -> None:
    """Raise ProcessError unless all processes hold the same numbers (by their sums): nothing else keeps them together."""
    if count() == 1:
        return
    import torch

    def sums() -> Any:
        return torch.stack([tensor.detach().sum(dtype=torch.float64) for tensor in tensors]).cpu().numpy()

    found = shared(sums)
    for place, other in enumerate(found):
        if not np.array_equal(found[0], other, equal_nan=True):
            raise _everywhere(
                ProcessError(
                    f"accelerate launch: {what} must be the same on all processes; those of processes 0 and {place} "
                    "differ: use devices of one kind"
                )
            )
