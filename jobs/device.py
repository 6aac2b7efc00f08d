"""What a run computes on, and in which number format.

`python -m jobs.device v100=7.0 ...` says which GPUs this torch has no kernels for, without a GPU.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import orjson
import torch

from jobs.errors import DeviceError

# The first GPUs whose tensor cores multiply bfloat16; older ones imitate it, slowly.
BF16_FROM = (8, 0)

AUTOCAST_TYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


# The last torch whose wheels have kernels for Volta.
VOLTA, TURING = (7, 0), (7, 5)
TORCH_FOR_VOLTA = "'torch<2.11' 'torchvision<0.26'"

# A GPU is a file here, such as nvidia0. Those of a private cluster, on which one tries the project,
# are not: there, runs train on the CPU.
DEVICES = Path("/dev")

# How CUDA_VISIBLE_DEVICES hides all GPUs: by a person, and by SLURM from a job that asked for none.
NO_GPUS = ("", "-1", "NoDevFiles")


def find_device(local_rank: int = 0) -> torch.device:
    """The GPU if there is one, else the CPU; DeviceError for a GPU that torch cannot use.

    Of the GPUs that several tasks on a node see, each takes another.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # torch may warn of the driver; that alone ends nothing
        is_available = torch.cuda.is_available()
    if not is_available:
        check_no_gpu_is_given()
        return torch.device("cpu")
    device = torch.device("cuda", local_rank % torch.cuda.device_count())
    torch.cuda.set_device(device)
    check_kernels(
        torch.cuda.get_device_name(device),
        torch.cuda.get_device_capability(device),
        torch.cuda.get_arch_list(),
        torch.__version__,
    )
    return device


def check_no_gpu_is_given() -> None:
    """DeviceError if SLURM gave this job GPUs, which torch cannot use: the CPU is far slower."""
    given = os.environ.get("SLURM_JOB_GPUS", "")
    is_hidden = os.environ.get("CUDA_VISIBLE_DEVICES", given) in NO_GPUS
    files = [DEVICES / f"nvidia{number}" for number in re.findall(r"\d+", given)]
    if is_hidden or not any(file.exists() for file in files):
        return
    try:
        torch.cuda.init()
        reason = "it does not say why"
    except (AssertionError, RuntimeError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
    raise DeviceError(
        f"SLURM gave this job GPU {given}, and torch {torch.__version__} cannot use it: {reason}. "
        "`launcher resume --failed --exclude-failed` tries other nodes; a profile without `gres` "
        "trains on the CPU"
    )


def check_kernels(
    gpu: str, capability: tuple[int, int], kernels: Sequence[str], version: str
) -> None:
    """DeviceError unless one of the `kernels` of this torch, such as sm_80, runs on the GPU."""
    found = [re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", name) for name in kernels]
    built = [(kind[1], (int(kind[2]), int(kind[3])), kind[4]) for kind in found if kind]
    if not built or any(_runs_on(capability, *kind) for kind in built):
        return
    if capability > max(architecture for _, architecture, _ in built):
        remedy = "install a newer torch"
    elif VOLTA <= capability < TURING:
        remedy = f"install the last one for it: pip install {TORCH_FOR_VOLTA}"
    else:
        remedy = "install an older torch: https://pytorch.org/get-started/previous-versions"
    raise DeviceError(
        f"torch {version} has kernels for {', '.join(kernels)} and none for this {gpu}, which is "
        f"sm_{capability[0]}{capability[1]}; {remedy}"
    )


def _runs_on(
    capability: tuple[int, int], kind: str, architecture: tuple[int, int], variant: str
) -> bool:
    """Whether code for an architecture runs on a GPU of that capability.

    Machine code (sm) runs on later GPUs of the same generation, an intermediate form (compute) on
    all later ones, and the variant a on nothing but its own.
    """
    if variant == "a":
        return capability == architecture
    if kind == "sm" or variant == "f":
        return capability[0] == architecture[0] and capability >= architecture
    return capability >= architecture


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


def kernels_here() -> list[str]:
    """What this torch is built for, such as sm_80; get_arch_list knows it only where a GPU is."""
    flags = getattr(torch._C, "_cuda_getArchFlags", lambda: None)()
    return flags.split() if flags else []


def describe_torch(gpus: Sequence[str]) -> dict[str, object]:
    """This torch and, for GPUs such as v100=7.0, why it cannot compute on them."""
    kernels, unfit = kernels_here(), {}
    for gpu in gpus:
        name, _, capability = gpu.partition("=")
        major, minor = map(int, capability.split("."))
        try:
            check_kernels(name, (major, minor), kernels, torch.__version__)
        except DeviceError as error:
            unfit[name] = str(error)
    return {"version": torch.__version__, "kernels": kernels, "unfit": unfit}


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(describe_torch(sys.argv[1:])))
