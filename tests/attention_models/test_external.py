import json
import subprocess
import sys

import pytest
import timm
import torch
import torchvision

from attention_models import (
    UnknownNameError,
    check_model_name,
    check_options,
    create_model,
    external,
)
from jobs.config import RunConfig, read_document


def test_every_network_of_the_libraries_is_found_in_their_sources():
    assert external.names("timm") == set(timm.list_models())
    classification = {
        name
        for name in torchvision.models.list_models(torchvision.models)
        if torchvision.models.get_model_builder(name).__module__.count(".") == 2
    }
    assert external.names("torchvision") == classification


def test_checking_a_name_loads_neither_torch_nor_the_library():
    code = (
        "import sys, attention_models as a;"
        "a.check_options('timm/resnet10t', {'drop_rate': 0.1});"
        "a.check_model_name('torchvision/resnet18');"
        "sys.exit(bool({'torch', 'timm', 'torchvision'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("name", "input_size"),
    [
        ("timm/resnet10t", 32),
        ("timm/vit_tiny_patch16_224", 32),  # has to know the size
        ("torchvision/mobilenet_v3_small", 32),
        ("torchvision/vit_b_32", 64),
        ("torchvision/googlenet", 64),  # would answer with three logits in training
    ],
)
def test_networks_of_other_libraries_map_images_to_logits(name, input_size):
    with torch.device("meta"):
        model = create_model(name, 7, input_size)
        assert model(torch.empty(2, 3, input_size, input_size)).shape == (2, 7)


def test_options_are_those_of_the_library():
    assert create_model("timm/resnet10t", 7, 32, drop_rate=0.5).drop_rate == 0.5
    with pytest.raises(ValueError, match=r"timm refused to build timm/resnet10t .*'dropp'"):
        create_model("timm/resnet10t", 7, 32, dropp=0.5)


def test_a_size_that_the_library_does_not_take_is_told_in_its_words():
    with pytest.raises(
        ValueError, match=r"torchvision refused to build torchvision/vit_b_32 .*Assert"
    ):
        create_model("torchvision/vit_b_32", 7, 30)


@pytest.mark.parametrize("option", ["num_classes", "img_size", "pretrained"])
def test_what_follows_from_the_data_is_no_option(option):
    with pytest.raises(ValueError, match=f"option '{option}' follows from the data set"):
        check_options("timm/resnet10t", {option: 3})


@pytest.mark.parametrize("value", [[1, 2], None, float("nan"), float("inf")])
def test_an_option_is_one_finite_value(value):
    with pytest.raises(ValueError, match="option 'drop_rate' takes one finite value"):
        check_options("timm/resnet10t", {"drop_rate": value})


def test_a_misspelt_name_is_answered_with_the_nearest_few_and_not_with_a_thousand():
    with pytest.raises(UnknownNameError, match="did you mean 'resnet10t'") as error:
        check_model_name("timm/resnet10tt")
    assert "others" in str(error.value)
    assert len(str(error.value)) < 300


def test_an_unknown_library_is_refused():
    with pytest.raises(UnknownNameError, match="did you mean 'timm'"):
        check_model_name("tim/resnet18")


def test_a_library_that_is_not_installed_is_named_with_what_to_do(monkeypatch):
    monkeypatch.setattr(external, "names", lambda library: frozenset())
    with pytest.raises(external.NotInstalledError, match="pip install timm"):
        check_model_name("timm/resnet18")


def test_a_run_with_such_a_network_has_a_name_that_is_one_folder():
    config = RunConfig(model="timm/resnet10t", model_options={"drop_rate": 0.1})
    assert config.run_id.startswith("timm-resnet10t-cifar10-s0-")
    assert config.identity["model_options"] == {"drop_rate": 0.1}
    assert config.run_id != RunConfig(model="timm/resnet10t").run_id


def test_a_stored_run_is_read_where_its_library_is_not_installed(monkeypatch):
    config = RunConfig(model="timm/resnet10t", model_options={"drop_rate": 0.1})
    document = json.loads(json.dumps(config.to_document()))
    monkeypatch.setattr(external, "names", lambda library: frozenset())
    assert read_document(document, config.run_id) == config
