"""Where a run computes and in which precision, through Accelerate; and how it is seeded.

CPU autocast in float16 is an order of magnitude slower than float32, so the only reduced precision is bfloat16,
and `auto` takes it only where the processor or GPU multiplies it in hardware.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from engine.config import ConfigError

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator


def has_bf16(device: str) -> bool:
    """Does this device multiply bfloat16 in hardware?"""
    import torch

    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # oneDNN also accepts bfloat16 where it has to emulate it, which is slower than float32.
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in checks)


def resolve(device: str, precision: str) -> tuple[str, str]:
    """Turn `auto` into what this machine has; raise ConfigError for a device that it has not."""
    import torch

    if device == "auto":
        on_cpu = not torch.cuda.is_available() or os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true")
        device = "cpu" if on_cpu else "cuda"
    if device.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        number = int(device.partition(":")[2] or 0)
        if number >= count:
            choices = ", ".join(["cpu", *(f"cuda:{index}" for index in range(count))])
            raise ConfigError([f"study.device: must be one of auto, {choices} on this machine; got {device!r}"])
    if precision == "auto":
        precision = "bf16" if has_bf16(device) else "fp32"
    return device, precision


def accelerator(device: str, precision: str, deterministic: bool) -> Accelerator:
    """The Accelerate handle of a run. Its state is process-wide, so it is reset: each study says what it wants."""
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    device, precision = resolve(device, precision)
    _refuse_launch(device)
    if device.startswith("cuda:"):
        torch.cuda.set_device(int(device.partition(":")[2]))
    if deterministic and device.startswith("cuda"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic and device.startswith("cuda"))
    AcceleratorState._reset_state(reset_partial_state=True)
    handle = Accelerator(cpu=device == "cpu", mixed_precision="bf16" if precision == "bf16" else "no")
    # `accelerate config` may ask for accumulation, by which `backward` would divide every loss.
    handle.gradient_accumulation_steps = 1
    return handle


def launched() -> int:
    """How many processes `accelerate launch` (or torchrun) started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launch_number() -> int:
    """Which of them this is, before they have met."""
    return int(os.environ.get("RANK", "0"))


SHARDING = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "tensor or context parallelism",
}


def _refuse_launch(device: str) -> None:
    """Raise ConfigError for ways of launching that cut matrices up, and for a device that several processes cannot share."""
    cut = [name for key, name in SHARDING.items() if os.environ.get(key, "").lower() in ("1", "true")]
    if cut:
        raise ConfigError(
            [
                f"accelerate launch: must leave the model whole on every process; {cut[0]} cuts its matrices up, and scores, "
                "masks and exact counts need whole ones: use --multi_gpu"
            ]
        )
    if launched() > 1 and ":" in device:
        raise ConfigError(
            [
                f"study.device: must be auto, cpu or cuda under accelerate launch, which gives every process its own; got {device!r}"
            ]
        )


def seed_of(*parts: int | str) -> int:
    """One 63-bit seed from (study seed, level, epoch, purpose): stable across processes and machines."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def reseed(*parts: int | str) -> None:
    """Seed torch's generators (CPU and CUDA) for one purpose."""
    import torch

    torch.manual_seed(seed_of(*parts))


@contextmanager
def dropout_off(model: torch.nn.Module) -> Iterator[None]:
    """Eval mode inside, the former mode afterwards."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def environment(handle: Accelerator, deterministic: bool) -> dict[str, Any]:
    """Versions and settings that a result depends on, for `env.json`."""
    import importlib.metadata as metadata

    import torch

    names = (
        "torch",
        "transformers",
        "accelerate",
        "datasets",
        "numpy",
        "pandas",
        "scikit-learn",
        "umap-learn",
        "streamlit",
    )
    cuda = handle.device.type == "cuda"
    return {
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in names},
        "device": torch.cuda.get_device_name(handle.device) if cuda else platform.processor() or platform.machine(),
        "device_type": handle.device.type,
        "precision": "bf16" if handle.mixed_precision == "bf16" else "fp32",
        "threads": torch.get_num_threads(),
        "processes": handle.num_processes,
        "bit_exact": not cuda or deterministic,
        "cuda": torch.version.cuda,
    }
