"""What a run computes on, and in which number format."""

from __future__ import annotations

import torch

from jobs.errors import DeviceError

# The first GPUs whose tensor cores multiply bfloat16; older ones imitate it, slowly.
BF16_FROM = (8, 0)

AUTOCAST_TYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def find_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def gpu_capability(device: torch.device) -> tuple[int, int] | None:
    """A GPU's compute capability; None for a CPU."""
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else None


def resolve_precision(wanted: str, kept: str | None, capability: tuple[int, int] | None) -> str:
    """The precision of an attempt: what is wanted or, for `auto`, what the first attempt found.

    `kept` is what the first attempt found; None is for the first attempt itself. Raises DeviceError
    if the device cannot compute in it.
    """
    if wanted == "auto" and kept is None:
        if capability is None:
            return "fp32"
        return "bf16" if capability >= BF16_FROM else "fp16"
    precision = kept or wanted
    about = f"precision {precision}" + (", which auto became at the first attempt," if kept else "")
    if precision == "fp16" and capability is None:
        raise DeviceError(
            f"{about} needs a GPU, and torch finds none here. Run it on one, or choose fp32 or "
            "bf16, which is another run"
        )
    if precision == "bf16" and capability is not None and capability < BF16_FROM:
        raise DeviceError(
            f"{about} needs a GPU of compute capability 8.0 or later, such as an A100, and this "
            f"one has {capability[0]}.{capability[1]}. Run it on one, or choose fp16 or fp32, "
            "which is another run"
        )
    return precision


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """A context in which a network computes in this precision; its weights stay float32."""
    dtype = AUTOCAST_TYPES[precision]
    return torch.autocast(device.type, dtype, enabled=dtype is not None)
