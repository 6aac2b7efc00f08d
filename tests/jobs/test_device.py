from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from jobs.device import autocast, check_kernels, find_device, resolve_precision
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


OF_2_10 = ["sm_70", "sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
OF_2_11 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]


@pytest.mark.parametrize("capability", [(7, 0), (7, 5), (8, 0), (8, 9), (9, 0), (12, 0)])
def test_a_gpu_for_which_torch_was_built_is_taken(capability: tuple[int, int]) -> None:
    check_kernels("GPU", capability, OF_2_10, "2.10.0")


@pytest.mark.parametrize(
    ("capability", "kernels", "is_taken"),
    [
        ((13, 0), [*OF_2_10, "compute_120"], True),  # the intermediate form runs on what is later
        ((7, 0), ["compute_80"], False),
        ((9, 0), ["sm_90a"], True),
        ((10, 3), ["sm_100a"], False),
        ((10, 3), ["sm_100f"], True),
        ((8, 0), ["sm_86"], False),
        ((9, 0), ["gfx942"], True),  # of others than NVIDIA, nothing is known here
    ],
)
def test_which_kernels_run_where(
    capability: tuple[int, int], kernels: list[str], is_taken: bool
) -> None:
    if is_taken:
        check_kernels("GPU", capability, kernels, "2.11.0")
    else:
        with pytest.raises(DeviceError):
            check_kernels("GPU", capability, kernels, "2.11.0")


@pytest.mark.parametrize(
    ("gpu", "capability", "remedy"),
    [
        ("Tesla V100", (7, 0), "pip install 'torch<2.11' 'torchvision<0.26'"),
        ("Tesla P100", (6, 0), "install an older torch"),
        ("Something new", (15, 0), "install a newer torch"),
    ],
)
def test_a_gpu_without_kernels_is_told_in_one_sentence_with_what_to_install(
    gpu: str, capability: tuple[int, int], remedy: str
) -> None:
    with pytest.raises(DeviceError) as caught:
        check_kernels(gpu, capability, OF_2_11, "2.11.0")
    message = str(caught.value)
    assert message.startswith("torch 2.11.0 has kernels for sm_75, sm_80, ")
    assert f"none for this {gpu}, which is sm_{capability[0]}{capability[1]}; " in message
    assert remedy in message


def test_the_gpu_is_looked_at_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, found in {
        "is_available": True,
        "device_count": 2,
        "set_device": None,
        "get_device_name": "Tesla V100",
        "get_device_capability": (7, 0),
        "get_arch_list": OF_2_11,
    }.items():
        monkeypatch.setattr(f"torch.cuda.{name}", lambda *_, found=found: found)
    with pytest.raises(DeviceError, match="none for this Tesla V100"):
        find_device()
    monkeypatch.setattr("torch.cuda.get_arch_list", lambda: OF_2_10)
    assert find_device() == torch.device("cuda", 0)
    assert find_device(local_rank=3) == torch.device("cuda", 1)


# ---- a GPU that was given, and that torch cannot use


@pytest.fixture
def unusable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a driver that is too old."""

    def refuse() -> None:
        raise RuntimeError("The NVIDIA driver is too old (found version 11040).\nUpdate it")

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.init", refuse)
    (tmp_path / "nvidia3").touch()
    monkeypatch.setattr("jobs.device.DEVICES", tmp_path)
    for name in ("SLURM_JOB_GPUS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


def test_a_gpu_that_was_given_and_cannot_be_used_is_told_with_torchs_reason(
    unusable: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_GPUS", "2,3")
    with pytest.raises(DeviceError) as caught:
        find_device()
    message = str(caught.value)
    assert message.startswith(f"SLURM gave this job GPU 2,3, and torch {torch.__version__} cannot")
    assert "cannot use it: The NVIDIA driver is too old (found version 11040). `launcher" in message


def test_a_warning_of_torch_ends_nothing_and_is_told(
    unusable: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warn() -> bool:
        warnings.warn("CUDA initialization: the driver is too old", stacklevel=1)
        return False

    monkeypatch.setattr("torch.cuda.is_available", warn)
    with pytest.warns(UserWarning, match="the driver is too old"):
        assert find_device() == torch.device("cpu")


def test_a_torch_without_cuda_is_no_reason_to_train_on_the_cpu(
    unusable: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise AssertionError("Torch not compiled with CUDA enabled")

    monkeypatch.setattr("torch.cuda.init", refuse)
    monkeypatch.setenv("SLURM_JOB_GPUS", "3")
    with pytest.raises(DeviceError, match="cannot use it: Torch not compiled with CUDA enabled"):
        find_device()


@pytest.mark.parametrize("visible", ["", "-1", "NoDevFiles"])
def test_a_person_may_hide_the_gpu_to_train_on_the_cpu(
    visible: str, unusable: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_GPUS", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert find_device() == torch.device("cpu")


def test_without_a_gpu_or_with_one_that_is_none_the_cpu_is_taken(
    unusable: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_device() == torch.device("cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert find_device() == torch.device("cpu"), "not SLURM's"
    monkeypatch.setenv("SLURM_JOB_GPUS", "1")
    assert find_device() == torch.device("cpu"), "as on a private cluster"
