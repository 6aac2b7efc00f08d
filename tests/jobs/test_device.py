from __future__ import annotations

import pytest
import torch

from jobs.device import autocast, resolve_precision
from jobs.errors import DeviceError

VOLTA, AMPERE, HOPPER = (7, 0), (8, 0), (9, 0)


@pytest.mark.parametrize(
    ("capability", "precision"),
    [(None, "fp32"), (VOLTA, "fp16"), ((7, 5), "fp16"), (AMPERE, "bf16"), (HOPPER, "bf16")],
)
def test_auto_is_what_the_first_attempts_device_does_best(
    capability: tuple[int, int] | None, precision: str
) -> None:
    assert resolve_precision("auto", None, capability) == precision


@pytest.mark.parametrize("capability", [None, VOLTA, AMPERE])
def test_what_auto_became_is_kept_on_another_device(capability: tuple[int, int] | None) -> None:
    assert resolve_precision("auto", "fp32", capability) == "fp32"


@pytest.mark.parametrize("wanted", ["fp32", "bf16"])
def test_what_is_named_is_taken(wanted: str) -> None:
    assert resolve_precision(wanted, None, None) == wanted
    assert resolve_precision(wanted, None, AMPERE) == wanted


@pytest.mark.parametrize(
    ("wanted", "kept", "capability", "message"),
    [
        ("fp16", None, None, "precision fp16 needs a GPU, and torch finds none here"),
        ("bf16", None, VOLTA, "precision bf16 needs .* 8.0 or later.* and this one has 7.0"),
        ("auto", "bf16", VOLTA, "bf16, which auto became at the first attempt, needs a GPU"),
        ("auto", "fp16", None, "fp16, which auto became at the first attempt, needs a GPU"),
    ],
)
def test_a_device_that_cannot_compute_so_is_refused_with_what_to_do(
    wanted: str, kept: str | None, capability: tuple[int, int] | None, message: str
) -> None:
    with pytest.raises(DeviceError, match=message):
        resolve_precision(wanted, kept, capability)


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_a_network_computes_in_the_precision_and_its_weights_stay(
    precision: str, dtype: torch.dtype
) -> None:
    layer = torch.nn.Linear(2, 2)
    computing = autocast(precision, torch.device("cpu"))
    for _ in range(2):  # one context serves every step
        with computing:
            assert layer(torch.ones(1, 2)).dtype is dtype
    assert layer.weight.dtype is torch.float32
