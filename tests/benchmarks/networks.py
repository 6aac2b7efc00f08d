"""Time and memory of our networks and layers beside those of well-kept packages.

    python -m tests.benchmarks.networks
    python -m tests.benchmarks.networks --only resnest --repeats 3 --input-size 224
    python -m tests.benchmarks.networks --only "lambda 64@32*conv3d" --autocast none bf16
    python -m tests.benchmarks.networks --only resnet50 --profile

Both sides run in this process, in turn, on the same input and with the same weights. A time ratio
is ours / reference, the median over the repeats with their range in brackets. The two runs of a
repeat follow each other at once, each side being the first in every other repeat, so that the noise
of a shared machine meets both. It does not cancel where threads wait for each other on a CPU that
others use as well: a step took up to fifty times as long there, with ratios that mean nothing. Give
--threads 1 then, or set OMP_WAIT_POLICY=PASSIVE in the environment. "training" is forward, backward
and the clearing of the gradients, without an optimizer; "inference" is the forward pass in
evaluation mode, without a gradient.

Before anything is timed, a pair is compared in float64, on two images of the measured size: output
and gradient of the input in training, output in inference. A pair that differs ends the benchmark.

Memory is the peak of what torch allocates during one run beyond what it held before (weights and
input), in a run of its own. On a GPU the allocator counts it. On a CPU it is the highest running
total of the allocations and releases that torch.profiler records: the same in every run with as
many threads, but without what the mathematical libraries take for themselves. In a training step
the resident memory grew by 10 to 40 % more than that, and not by the same amount twice.

With autocast, networks and input are channels-last. "compiled" is what torch.compile makes of a
side. A pair whose package cannot be imported is skipped. Residual Attention and BAM are not here
because no well-kept package has them. All of it takes two minutes with one thread on a CPU.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from itertools import accumulate, product
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from attention_models import create_model
from attention_models.lambda_networks import LambdaConv

# Channels, size, u and m: the stages of a LambdaResNet on CIFAR and the first one on ImageNet, then
# what a wider intra-depth with a smaller surrounding costs.
LAMBDA_LAYERS = (
    (64, 32, 1, 23),
    (128, 16, 1, 23),
    (256, 8, 1, 23),
    (512, 4, 1, 23),
    (64, 56, 1, 23),
    (64, 32, 4, 7),
    (128, 16, 4, 7),
)
AUTOCAST = {"none": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
TOLERANCE = 1e-5  # of the largest number, in float64: batch norm of two images magnifies rounding
SHORTEST_S = 0.05  # what is over sooner is called several times, and the time divided
TOP_OPERATORS = 10


@dataclass(frozen=True)
class Pair:
    """Two modules of one function. `make_reference` is given ours, for its weights."""

    name: str
    make_ours: Callable[[], nn.Module]
    make_reference: Callable[[nn.Module], nn.Module]
    make_input: Callable[[], Tensor]


@dataclass(frozen=True)
class Setting:
    autocast: str
    compiled: bool

    def __str__(self) -> str:
        name = "fp32" if self.autocast == "none" else self.autocast
        return f"{name} compiled" if self.compiled else name

    def prepare(self, module: nn.Module, x: Tensor) -> tuple[nn.Module, Tensor]:
        """Copies of both, in the memory layout and form of this setting."""
        module, needs_gradient = copy.deepcopy(module), x.requires_grad
        if self.autocast != "none":
            x = x.detach().contiguous(memory_format=torch.channels_last)
            for layer in module.modules():
                if isinstance(layer, nn.Conv2d):  # a 3-D convolution has no such layout
                    weight = layer.weight.data
                    layer.weight.data = weight.contiguous(memory_format=torch.channels_last)
        if self.compiled:
            module.compile()
        return module, x.detach().requires_grad_(needs_gradient)


def pairs(batch: int, input_size: int) -> list[Pair]:
    """Every pair, at that many images; the networks at that size."""

    def images() -> Tensor:
        return torch.randn(batch, 3, input_size, input_size)

    def features(channels: int, size: int) -> Tensor:
        # Inside a network the gradient of the input is wanted too.
        return torch.randn(batch, channels, size, size, requires_grad=True)

    networks = [
        Pair(f"{name} / {package}", partial(_network, name), partial(make, name), images)
        for name, package, make in (
            ("resnest50d", "timm", _of_timm),
            ("resnet50", "torchvision", _of_torchvision),
        )
    ]
    layers = [
        Pair(
            f"lambda {channels}@{size} u={u} m={m} / {package}",
            partial(LambdaConv, channels, channels, u=u, m=m),
            make,
            partial(features, channels, size),
        )
        for (channels, size, u, m), (package, make) in product(
            LAMBDA_LAYERS, (("lambda-networks", _of_lambda_networks), ("conv3d", _by_conv3d))
        )
    ]
    return networks + layers


def _network(name: str) -> nn.Module:
    """In the ImageNet form. No block starts as its shortcut, or nothing else would be compared."""
    network = create_model(name, 1000, 224)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return network


def _of_timm(name: str, ours: nn.Module) -> nn.Module:
    import timm

    reference = timm.create_model(name)
    reference.load_state_dict(ours.state_dict(), strict=True)
    return reference


def _of_torchvision(name: str, ours: nn.Module) -> nn.Module:
    from torchvision.models import get_model

    reference = get_model(name, weights=None)
    reference.load_state_dict(ours.state_dict(), strict=True)
    return reference


def _of_lambda_networks(ours: nn.Module) -> nn.Module:
    """Its channels of keys and values go (u, k) and (u, v); ours go (k, u) and (v, u)."""
    from lambda_networks import LambdaLayer

    assert isinstance(ours, LambdaConv)
    assert ours.embedding is not None
    reference = LambdaLayer(
        ours.heads * ours.v,
        r=ours.embedding.shape[-1],
        dim_k=ours.k,
        heads=ours.heads,
        dim_u=ours.u,
    )

    def u_first(tensor: Tensor) -> Tensor:
        return tensor.unflatten(0, (-1, ours.u)).transpose(0, 1).flatten(0, 1)

    weights = ours.state_dict()
    taken_over = {
        "to_q.weight": weights["queries.0.weight"],
        "to_k.weight": u_first(weights["keys.0.weight"]),
        "to_v.weight": u_first(weights["values.0.weight"]),
        "pos_conv.weight": weights["embedding"][:, :, None],
        "pos_conv.bias": torch.zeros(ours.k),  # ours has none
    }
    # The batch norms of both are as they were initialised.
    reference.load_state_dict(reference.state_dict() | taken_over)
    return reference


class LambdaConv3d(LambdaConv):
    """The layer as the source computes it: u channels of "images" v x H x W, and einsums."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.embedding is not None
        batch, _, height, width = x.shape
        padding = self.embedding.shape[-1] // 2
        queries = self.queries(x).view(batch, self.heads, self.k, -1)  # (B, h, k, N)
        keys = self.keys(x).view(batch, self.k, self.u, -1).softmax(-1)  # (B, k, u, N)
        values = self.values(x).view(batch, self.v, self.u, height, width)
        content = torch.einsum("bkun,bvun->bkv", keys, values.flatten(3))
        lambdas = F.conv3d(
            values.transpose(1, 2), self.embedding[:, :, None], padding=(0, padding, padding)
        )  # (B, k, v, H, W)
        y = torch.einsum("bhkn,bkv->bhvn", queries, content)
        y = y + torch.einsum("bhkn,bkvn->bhvn", queries, lambdas.flatten(3))
        return y.reshape(batch, -1, height, width)


def _by_conv3d(ours: nn.Module) -> nn.Module:
    reference = copy.deepcopy(ours)
    reference.__class__ = LambdaConv3d
    return reference


def check(name: str, ours: nn.Module, reference: nn.Module, x: Tensor) -> None:
    """SystemExit if the two do not compute the same."""
    results = [_results(module, x) for module in (ours, reference)]
    for what, our, their in zip(("output", "gradient", "inference"), *results, strict=True):
        difference = (our - their).abs().max() / their.abs().max()
        if not difference <= TOLERANCE:  # true for nan as well
            raise SystemExit(
                f"{name}: not the same function, {what} differs by {difference:.1e} of its largest"
            )


def _results(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    module = copy.deepcopy(module).double()
    x = x.detach()[:2].double().requires_grad_()
    y = module.train()(x)
    (gradient,) = torch.autograd.grad(y, x, y.detach())
    with torch.no_grad():
        return y.detach(), gradient, module.eval()(x)


def make_run(module: nn.Module, x: Tensor, autocast: str, training: bool) -> Callable[[], None]:
    """One training step, with half the sum of squares for a loss, or one forward pass."""
    module.train(training)
    dtype, enabled = AUTOCAST[autocast], autocast != "none"

    def run() -> None:
        with torch.set_grad_enabled(training), torch.autocast(x.device.type, dtype, enabled):
            y = module(x)
        if training:
            y.backward(y.detach())
            module.zero_grad(set_to_none=True)
            x.grad = None

    return run


def time_s(run: Callable[[], None], calls: int = 1) -> float:
    _synchronize()
    start = time.perf_counter()
    for _ in range(calls):
        run()
    _synchronize()
    return (time.perf_counter() - start) / calls


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def time_in_turn(
    ours: Callable[[], None], reference: Callable[[], None], repeats: int
) -> list[tuple[float, float]]:
    """Seconds of ours and of the reference, once for every repeat."""
    calls = max(1, math.ceil(SHORTEST_S / time_s(ours)))
    times = []
    for repeat in range(repeats):
        if repeat % 2 == 0:
            ours_s, reference_s = time_s(ours, calls), time_s(reference, calls)
        else:
            reference_s, ours_s = time_s(reference, calls), time_s(ours, calls)
        times.append((ours_s, reference_s))
    return times


def peak_bytes(run: Callable[[], None]) -> int:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return torch.cuda.max_memory_allocated() - before
    activities = [ProfilerActivity.CPU]
    with profile(activities=activities, profile_memory=True, acc_events=True) as recorded:
        run()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        recorded.export_chrome_trace(str(trace))
        events = json.loads(trace.read_bytes())["traceEvents"]
    changes = sorted((e["ts"], e["args"]["Bytes"]) for e in events if e["name"] == "[memory]")
    return max(accumulate(change for _, change in changes))


def print_profile(run: Callable[[], None]) -> None:
    """The operators in which our side spends its time, without those that they call."""
    with profile(acc_events=True) as recorded:  # all kinds of device that there are
        run()
    column = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    operators = [
        (getattr(event, column), event.key, event.count)
        for event in recorded.key_averages()
        if event.device_type == DeviceType.CPU  # kernels count for the operator that started them
    ]
    total = sum(microseconds for microseconds, _, _ in operators)
    for microseconds, key, count in sorted(operators, reverse=True)[:TOP_OPERATORS]:
        print(f"    {microseconds / total:6.1%} {microseconds / 1e3:9.2f} ms  {key} ({count} x)")


def measure(pair: Pair, settings: Sequence[Setting], repeats: int, profiled: bool) -> None:
    """Compare the two sides, then print a row for every setting, in training and in inference."""
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        ours, x = pair.make_ours(), pair.make_input()
        try:
            reference = pair.make_reference(ours)
        except ImportError as error:
            print(f"{pair.name}: skipped, {error}")
            return
    check(pair.name, ours, reference, x)
    shape = "x".join(map(str, x.shape))
    print(f"{pair.name}, {shape}: the same function", flush=True)
    for setting, training in product(settings, (True, False)):
        sides = [setting.prepare(module, x) for module in (ours, reference)]
        runs = [make_run(*side, setting.autocast, training) for side in sides]
        for run in runs:
            run()  # warms up, and compiles
        memory = [peak_bytes(run) for run in runs]
        times = time_in_turn(runs[0], runs[1], repeats)
        ratios = [ours_s / reference_s for ours_s, reference_s in times]
        print(
            f"  {setting!s:<13} {'training' if training else 'inference':<9} "
            f"{statistics.median(ours_s for ours_s, _ in times) * 1e3:9.2f} ms  "
            f"time {statistics.median(ratios):5.2f} ({min(ratios):.2f}-{max(ratios):.2f})  "
            f"{memory[0] / 2**20:9.2f} MiB  memory {memory[0] / memory[1]:5.2f}",
            flush=True,
        )
        if profiled:
            print_profile(runs[0])
        torch.compiler.reset()  # it gives up on code that was compiled too often


def main(arguments: Sequence[str] | None = None) -> None:
    on_gpu = torch.cuda.is_available()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="PATTERN", help="part of a name; may hold *")
    parser.add_argument("--repeats", type=int, default=20 if on_gpu else 9)
    parser.add_argument("--batch-size", type=int, default=64 if on_gpu else 8, help="2 or more")
    parser.add_argument(
        "--input-size", type=int, default=224 if on_gpu else 128, help="of the networks, in pixels"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    parser.add_argument(
        "--autocast",
        nargs="+",
        choices=AUTOCAST,
        default=list(AUTOCAST) if on_gpu else ["none"],
        help="each is measured; all of them on a GPU, none on a CPU unless it is asked for",
    )
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        default=on_gpu,
        help="measure the last autocast compiled, too; done on a GPU unless it is refused",
    )
    parser.add_argument(
        "--profile", action="store_true", help=f"our {TOP_OPERATORS} slowest operators, too"
    )
    given = parser.parse_args(arguments)
    if given.batch_size < 2 or given.repeats < 1:
        parser.error("batch norm needs a batch of 2 or more, a median 1 repeat or more")
    every = pairs(given.batch_size, given.input_size)
    chosen = [pair for pair in every if fnmatch(pair.name, f"*{given.only}*")]
    if not chosen:
        names = "\n  ".join(pair.name for pair in every)
        raise SystemExit(f"no pair's name contains {given.only!r}. There are:\n  {names}")
    torch.set_num_threads(given.threads)
    settings = [Setting(autocast, compiled=False) for autocast in given.autocast]
    if given.compile:
        settings.append(Setting(given.autocast[-1], compiled=True))
    device = torch.cuda.get_device_name() if on_gpu else torch.backends.cpu.get_cpu_capability()
    print(
        f"{'GPU' if on_gpu else 'CPU'} ({device}), {given.threads} threads, load "
        f"{os.getloadavg()[0]:.1f}, torch {torch.__version__}, {given.repeats} repeats.\n"
        "Ours (median time, peak memory), and the ratios ours / reference:"
    )
    for pair in chosen:
        measure(pair, settings, given.repeats, given.profile)


if __name__ == "__main__":
    main()
