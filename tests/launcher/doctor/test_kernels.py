"""Which GPUs a torch computes on, told without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.device import check_kernels, kernels_here
from launcher.doctor.findings import Verdict
from launcher.doctor.kernels import ask_torch, capability, gpu_types, kernels
from tests.launcher.doctor.answers import site


@pytest.mark.parametrize(
    ("gpu_type", "number"),
    [
        ("v100", "7.0"),
        ("tesla_v100-sxm2-32gb", "7.0"),
        ("nvidia_a100-sxm4-40gb", "8.0"),
        ("a100_80gb", "8.0"),
        ("A100", "8.0"),
        ("nvidia_a100_1g.5gb", "8.0"),
        ("a10", "8.6"),
        ("a40", "8.6"),
        ("rtx_a6000", "8.6"),
        ("nvidia_geforce_rtx_3090", "8.6"),
        ("nvidia_geforce_rtx_2080_ti", "7.5"),
        ("rtx2080ti", "7.5"),
        ("2080ti", "7.5"),
        ("rtx6000", "7.5"),
        ("quadro_rtx_6000", "7.5"),
        ("nvidia_rtx_6000_ada_generation", "8.9"),
        ("nvidia_rtx_pro_6000_blackwell", "12.0"),
        ("t4", "7.5"),
        ("l40s", "8.9"),
        ("nvidia_l4", "8.9"),
        ("nvidia_h100_80gb_hbm3", "9.0"),
        ("h200", "9.0"),
        ("gh200", "9.0"),
        ("b200", "10.0"),
        ("p100", "6.0"),
        ("gtx_1080_ti", "6.1"),
        ("k80", "3.7"),
        ("gpu", None),
        ("1g.10gb", None),
        ("mi250x", None),
        ("a1000x", None),
    ],
)
def test_a_gpus_type_tells_its_compute_capability(gpu_type: str, number: str | None) -> None:
    assert capability(gpu_type) == number


def test_the_types_are_those_of_the_partitions_nodes() -> None:
    assert gpu_types(site().partitions) == ["v100"]


def test_the_torch_of_this_project_is_asked_without_a_gpu() -> None:
    """The V100 is what it was chosen for."""
    torch = ask_torch(["v100", "k80", "strange"])
    assert not isinstance(torch, str), torch
    assert torch["kernels"] == kernels_here()
    fits, unfit, unknown = kernels(torch, ["v100", "k80", "strange"], needs_gpu=True)
    assert fits.verdict is Verdict.OK
    assert "has kernels for v100 (compute capability 7.0)" in fits.text
    assert unfit.verdict is Verdict.PROBLEM
    assert "none for this k80, which is sm_37" in unfit.text
    assert unfit.advice.startswith("install an older torch")
    assert unknown.verdict is Verdict.WARNING


def test_a_torch_that_cannot_be_imported_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\necho 'ImportError: libcudart' >&2; exit 1\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    assert ask_torch([]) == "ImportError: libcudart"


def test_an_intermediate_form_counts_for_later_gpus() -> None:
    check_kernels("b300", (10, 3), ["sm_90", "compute_90"], "2.10")


@pytest.mark.parametrize(
    ("torch", "types", "needs_gpu", "verdict"),
    [
        ("no module named torch", [], False, Verdict.PROBLEM),
        ({"version": "2.10+cpu", "kernels": [], "unfit": {}}, ["v100"], True, Verdict.PROBLEM),
        ({"version": "2.10+cpu", "kernels": [], "unfit": {}}, [], True, Verdict.PROBLEM),
        ({"version": "2.10+cpu", "kernels": [], "unfit": {}}, [], False, Verdict.OK),
        ({"version": "2.10", "kernels": ["sm_70"], "unfit": {}}, [], True, Verdict.OK),
    ],
)
def test_a_torch_that_cannot_compute_on_the_nodes_is_a_problem(
    torch: object, types: list[str], needs_gpu: bool, verdict: Verdict
) -> None:
    (found,) = kernels(torch, types, needs_gpu=needs_gpu)  # type: ignore[arg-type]
    assert found.verdict is verdict
