"""Whether the torch that jobs will import has kernels for the GPUs of a partition."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from launcher.doctor.findings import Finding, ok, problem, warning
from launcher.doctor.site import Partition

TOPIC = "torch"
TIMEOUT_S = 300  # the first import from a cold network file system takes minutes

# Compute capabilities, from https://developer.nvidia.com/cuda-gpus and .../cuda-legacy-gpus, by the
# names that sites and SLURM's AutoDetect give GPUs: `v100`, `nvidia_a100-sxm4-40gb`, `rtx2080ti`.
CAPABILITIES = {
    "12.0": r"(rtx_?)?50[5-9]0|rtx_?pro_?\d000",
    "10.3": r"g?b300",
    "10.0": r"g?b200",
    "9.0": r"g?h[12]00|h800|h20",
    "8.9": r"l4|l20|l40s?|(rtx_?)?40[5-9]0|rtx_?[456]000_?ada",
    "8.6": r"a40|a10g?|a16|a2|(rtx_?)?30[5-9]0|(rtx_?)?a[2456][05]00",
    "8.0": r"a100x?|a800|a30x?",
    "7.5": r"t4g?|(rtx_?)?20[678]0|(rtx_?)?[34568]000|titan_?rtx|(gtx_?)?16[56]0",
    "7.0": r"v100s?|titan_?v|gv100",
    "6.1": r"p40|p4|(gtx_?)?10[5678]0|titan_?xp",
    "6.0": r"g?p100",
    "5.2": r"m40|m60|(gtx_?)?9[5678]0",
    "3.7": r"k80",
}


def capability(gpu_type: str) -> str | None:
    """The compute capability of a GPU by the type that its gres has; None if it tells nothing."""
    name = re.sub(r"[^a-z0-9]+", "_", gpu_type.lower())
    for number, pattern in CAPABILITIES.items():
        # The longest name first: an RTX 6000 Ada is no RTX 6000.
        if re.search(rf"(?<![a-z0-9])({pattern})_?(ti|super)?(?![a-z0-9])", name):
            return number
    return None


def gpu_types(partitions: Iterable[Partition]) -> list[str]:
    return sorted({kind for one in partitions for node in one.nodes for kind in node.gpu_types})


def ask_torch(types: Sequence[str]) -> Mapping[str, Any] | str:
    """What the torch of this Python is built for, from a process of its own; or what went wrong."""
    known = [f"{kind}={number}" for kind in types if (number := capability(kind))]
    command = [sys.executable, "-P", "-m", "jobs.device", *known]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"importing torch takes more than {TIMEOUT_S} s"
    if done.returncode != 0:
        return (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
    answer: Mapping[str, Any] = orjson.loads(done.stdout)
    return answer


def kernels(
    torch: Mapping[str, Any] | str, types: Sequence[str], *, needs_gpu: bool
) -> Iterator[Finding]:
    """One line for each type of GPU; some sites do not tell the types."""
    if isinstance(torch, str):
        yield problem(TOPIC, f"torch cannot be imported here: {torch}", "install it again")
        return
    version = torch["version"]
    if not torch["kernels"]:
        wanted = f", and the nodes have {', '.join(types)}" if types else ""
        text = f"torch {version} is built for CPUs alone{wanted}"
        yield problem(TOPIC, text, "install one with CUDA") if needs_gpu else ok(TOPIC, text)
        return
    for kind in types:
        if kind in torch["unfit"]:
            said, _, remedy = torch["unfit"][kind].partition("; ")
            yield problem(TOPIC, said, remedy)
        elif number := capability(kind):
            yield ok(TOPIC, f"torch {version} has kernels for {kind} (compute capability {number})")
        else:
            yield warning(
                TOPIC,
                f"{kind} is no type of GPU that is known here; torch {version} has kernels for "
                f"{', '.join(torch['kernels'])}",
                "`launcher doctor --rehearse` tries it",
            )
    if not types:
        kernels = ", ".join(torch["kernels"])
        yield ok(TOPIC, f"torch {version} has kernels for {kernels}; the GPUs' types are not told")
