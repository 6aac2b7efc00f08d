"""Loading weights: real networks of torchvision and timm, with random weights, as files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from attention_models import create_model
from jobs.checkpoint import save_weights
from jobs.errors import InputError
from jobs.weights import classifier_names, load_weights, read_weights
from tests.jobs.conftest import plan_run
from tests.jobs.test_train import train_once

State = dict[str, Tensor]
CLASSIFIER = {"fc.weight", "fc.bias"}


def no_say(text: str) -> None:
    raise AssertionError(f"nothing is to be said, but: {text}")


def small(num_classes: int = 10, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return create_model("resnet_small", num_classes, 8)


def with_statistics(model: nn.Module) -> nn.Module:
    """Random running statistics too, which a new network does not have."""
    torch.manual_seed(1)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    return model.eval()


def assert_same_logits(ours: nn.Module, theirs: nn.Module, size_px: int = 64) -> None:
    images = torch.randn(2, 3, size_px, size_px)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))


def assert_refused(model: nn.Module, path: Path, match: str, *, whole: bool = False) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(InputError, match=match):
        load_weights(model, path, no_say, whole=whole)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# ---- files of others


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("resnet18", torchvision.models.resnet18),
        ("resnet50", torchvision.models.resnet50),
        ("resnet18", lambda: timm.create_model("resnet18")),
        ("resnet50", lambda: timm.create_model("resnet50")),
        ("resnest14d", lambda: timm.create_model("resnest14d")),
        ("resnest50d_4s2x40d", lambda: timm.create_model("resnest50d_4s2x40d")),
        ("torchvision/squeezenet1_1", torchvision.models.squeezenet1_1),
        ("timm/mobilenetv3_small_050", lambda: timm.create_model("mobilenetv3_small_050")),
    ],
)
def test_with_the_file_of_another_library_the_network_is_theirs(
    name: str, make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    theirs = with_statistics(make())
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    ours = create_model(name, 1000, 64)
    load_weights(ours, tmp_path / "theirs.pth", no_say, whole=True)
    assert_same_logits(ours, theirs)


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_our_resnets_have_the_names_and_shapes_of_torchvision_and_timm(depth: int) -> None:
    with torch.device("meta"):
        ours, *theirs = (
            {name: value.shape for name, value in model.state_dict().items()}
            for model in (
                create_model(f"resnet{depth}", 1000, 224),
                torchvision.models.get_model(f"resnet{depth}"),
                timm.create_model(f"resnet{depth}"),
            )
        )
    assert theirs == [ours, ours]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "epoch": 3},
        lambda weights: {"model": weights, "args": argparse.Namespace(lr=0.1)},
        lambda weights: {f"module.{name}": value for name, value in weights.items()},
        lambda weights: {f"_orig_mod.module.{name}": value for name, value in weights.items()},
        lambda weights: {f"module._orig_mod.{name}": value for name, value in weights.items()},
        lambda weights: {name: value.half() for name, value in weights.items()},
        lambda weights: {name: v for name, v in weights.items() if "num_batches" not in name},
    ],
)
def test_however_a_state_dict_is_wrapped_its_weights_are_found(
    wrap: Callable[[State], object], tmp_path: Path
) -> None:
    theirs, ours = small(seed=1).half().float(), small(seed=2)
    torch.save(wrap(theirs.state_dict()), tmp_path / "weights.pth")
    load_weights(ours, tmp_path / "weights.pth", no_say)
    assert_same_logits(ours, theirs, 8)


def test_the_form_of_torch_before_1_6_is_read(tmp_path: Path) -> None:
    theirs, ours = small(seed=1), small(seed=2)
    path = tmp_path / "old.pth"
    torch.save(theirs.state_dict(), path, _use_new_zipfile_serialization=False)
    load_weights(ours, path, no_say)
    assert_same_logits(ours, theirs, 8)


def test_safetensors_are_read(tmp_path: Path) -> None:
    theirs, ours = small(seed=1), small(seed=2)
    save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    load_weights(ours, tmp_path / "weights.safetensors", no_say)
    assert_same_logits(ours, theirs, 8)


def test_without_the_package_a_safetensors_file_is_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "weights.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert_refused(small(), tmp_path / "weights.safetensors", "pip install safetensors")


# ---- files of ours


def test_the_best_weights_of_a_run_are_read(tmp_path: Path) -> None:
    theirs, ours = small(seed=1), small(seed=2)
    save_weights(tmp_path / "best.pt", theirs.state_dict())
    load_weights(ours, tmp_path / "best.pt", no_say)
    assert_same_logits(ours, theirs, 8)


@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_of_a_checkpoint_the_weights_that_were_evaluated_are_taken(
    ema_decay: float, tmp_path: Path
) -> None:
    run = plan_run(tmp_path, ema_decay=ema_decay, epochs=1)
    train_once(run)
    state = torch.load(run.checkpoint, weights_only=True)
    model = small()
    load_weights(model, run.checkpoint, no_say)
    wanted = state["average" if ema_decay else "model"]
    assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())
    assert ema_decay == 0 or any(
        not torch.equal(value, state["model"][name]) for name, value in wanted.items()
    )


# ---- the classifier


def test_a_classifier_for_other_classes_is_left_out_and_said(tmp_path: Path) -> None:
    torch.save(small(1000, seed=1).state_dict(), tmp_path / "weights.pth")
    model, untouched, said = small(7, seed=2), small(7, seed=2), []
    load_weights(model, tmp_path / "weights.pth", said.append)
    given = read_weights(tmp_path / "weights.pth")
    for name, value in model.state_dict().items():
        kept = untouched.state_dict() if name in CLASSIFIER else given
        assert torch.equal(value, kept[name]), name
    assert len(said) == 1
    assert "(fc.weight, fc.bias) is for 7 classes, and the file has one for 1000" in said[0]


def test_a_file_without_a_classifier_is_a_beginning_too(tmp_path: Path) -> None:
    weights = small(seed=1).state_dict()
    body = {name: value for name, value in weights.items() if name not in CLASSIFIER}
    torch.save(body, tmp_path / "weights.pth")
    said: list[str] = []
    load_weights(small(), tmp_path / "weights.pth", said.append)
    assert "is for 10 classes, and the file has none: it begins anew" in said[0]


def test_the_whole_network_is_not_given_by_a_file_for_other_classes(tmp_path: Path) -> None:
    torch.save(small(1000).state_dict(), tmp_path / "weights.pth")
    assert_refused(small(7), tmp_path / "weights.pth", "7 classes.*one for 1000", whole=True)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", {"fc.weight", "fc.bias"}),
        ("attention56", {"fc.weight", "fc.bias"}),
        ("torchvision/squeezenet1_0", {"classifier.1.weight", "classifier.1.bias"}),
        ("torchvision/vgg11", {"classifier.6.weight", "classifier.6.bias"}),
        ("torchvision/maxvit_t", {"classifier.5.weight"}),
        (
            "timm/levit_128",
            {
                f"{head}.linear.{part}"
                for head in ("head", "head_dist")
                for part in ("weight", "bias")
            },
        ),
        ("timm/caformer_s18", {"head.fc.fc2.weight", "head.fc.fc2.bias"}),
    ],
)
def test_the_classifier_is_the_last_layer_whatever_its_name(name: str, expected: set[str]) -> None:
    with torch.device("meta"):
        assert set(classifier_names(create_model(name, 7, 224))) == expected


# ---- what does not fit


def test_weights_of_another_network_are_refused_with_counts_and_the_first_names(
    tmp_path: Path,
) -> None:
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "weights.pth")
    model = create_model("preact_resnet18", 1000, 64)
    match = (
        r"3 missing \(layer2\.0\.downsample\.weight, .*\); "
        r"23 not known to the network \(bn1\.weight, bn1\.bias, bn1\.running_mean, \.\.\.\); "
        r"12 of another shape \(layer2\.0\.bn1\.weight is 128, here 64, .*"
        r"no published weights have the names of our others"
    )
    assert_refused(model, tmp_path / "weights.pth", match)


def test_a_stem_for_small_images_does_not_take_weights_for_large_ones(tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "weights.pth")
    match = r"1 of another shape \(conv1\.weight is 64x3x7x7, here 64x3x3x3\).*stem=imagenet"
    assert_refused(create_model("resnet18", 1000, 32), tmp_path / "weights.pth", match)


def test_a_missing_file_is_refused_with_where_it_is_looked_for(tmp_path: Path) -> None:
    assert_refused(small(), tmp_path / "none.pth", "none.pth: there is no such file.*data_dir")
    assert_refused(small(), tmp_path, "there is no such file")


@pytest.mark.parametrize("content", [b"", b"no weights", bytes(600)])
@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_a_file_of_something_else_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert_refused(small(), tmp_path / name, "cannot be read: it is damaged")


@pytest.mark.parametrize(
    "content", [[1, 2], {"epoch": 3}, {"state_dict": {"a": 1}}, {0: torch.ones(1)}]
)
def test_a_file_without_weights_is_refused_with_what_is_valid(
    content: object, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "weights.pth")
    assert_refused(small(), tmp_path / "weights.pth", "valid are a run's best.pt")


class Greeting:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this code must not run",)


def test_a_file_that_runs_code_is_refused_and_does_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"state_dict": small().state_dict(), "extra": Greeting()}, tmp_path / "evil.pth")
    assert_refused(small(), tmp_path / "evil.pth", "could run any code and are not loaded")
    assert capsys.readouterr().out == ""


WEIGHTS = {"a": torch.arange(400.0), "b": torch.ones(3)}


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("weights") / "whole.pth"
    torch.save(WEIGHTS, path)
    return path.read_bytes()


@given(place=st.integers(0, 1599), change=st.integers(1, 255))
def test_a_change_of_any_byte_of_a_weight_is_noticed(
    place: int, change: int, whole_file: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    begin = whole_file.index(WEIGHTS["a"].numpy().tobytes())
    damaged = bytearray(whole_file)
    damaged[begin + place] ^= change
    path = tmp_path_factory.getbasetemp() / "damaged.pth"
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="damaged"):
        read_weights(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@given(data=st.data())
def test_a_file_cut_anywhere_is_noticed(
    data: st.DataObject, whole_file: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "cut.pth"
    path.write_bytes(whole_file[: data.draw(st.integers(0, len(whole_file) - 1))])
    with pytest.raises(InputError, match="damaged"):
        read_weights(path)
