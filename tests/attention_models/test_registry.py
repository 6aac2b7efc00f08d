import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

from attention_models import (
    ATTENTION,
    CIFAR_STEM_BELOW_PX,
    MODELS,
    Entry,
    Option,
    UnknownNameError,
    check_options,
    create_attention,
    create_model,
    find,
    least_images_per_gpu,
    list_models,
    registry,
)


def test_listing_and_checking_names_loads_no_torch():
    code = (
        "import sys, attention_models as a; a.list_models();"
        "a.check_options('bam_resnet50', {'combine': 'sum'});"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_unknown_network_is_answered_with_the_nearest_and_with_where_all_are_listed():
    with pytest.raises(UnknownNameError) as error:
        find("bam_resnet5O")
    assert error.value.valid == sorted(MODELS)
    assert str(error.value) == (
        "'bam_resnet5O' is not a known network; did you mean 'bam_resnet50'? Valid: bam_resnet50, "
        f"bam_resnet18, bam_resnet101, lambda_resnet50 and {len(MODELS) - 4} others; "
        "`launcher models` lists them"
    )


def test_a_name_like_no_other_gets_no_guess_and_all_names():
    with pytest.raises(UnknownNameError) as error:
        find("zzzzzz")
    assert "did you mean" not in str(error.value)
    assert all(name in str(error.value) for name in MODELS)


def test_few_names_are_all_told_with_the_guess_and_so_many_are_not_even_without_one():
    few, many = (UnknownNameError("key", "tme", ["time", *map(str, range(n))]) for n in (9, 10))
    assert str(few).endswith("; did you mean 'time'? Valid: 0, 1, 2, 3, 4, 5, 6, 7, 8, time")
    assert "did you mean 'time'? Valid: time, " in str(many)
    assert str(many).endswith(" and 7 others")
    assert str(UnknownNameError("key", "x", map(str, range(201)))).endswith(" and 197 others")


def test_an_unknown_option_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'combine'"):
        check_options("bam_resnet50", {"combined": "sum"})


def test_an_option_of_another_network_is_refused():
    with pytest.raises(UnknownNameError, match="option of network 'resnet18'"):
        check_options("resnet18", {"combine": "sum"})


def test_an_unknown_choice_is_answered_with_the_valid_ones():
    with pytest.raises(UnknownNameError, match="Valid: product, sum"):
        check_options("bam_resnet50", {"combine": "mul"})


@pytest.mark.parametrize(
    ("default", "given", "normalised"),
    [(0.5, 1, 1.0), (1, 2.0, 2), (True, False, False), ("a", "b", "b"), (0.5, 0.25, 0.25)],
)
def test_a_value_takes_the_type_of_its_option(default, given, normalised):
    value = Option(default, "").normalise("x", given)
    assert value == normalised
    assert type(value) is type(normalised)


@pytest.mark.parametrize(
    ("default", "given"),
    [
        (0.5, float("nan")),
        (0.5, float("inf")),
        (0.5, "1"),
        (0.5, True),
        (1, 2.5),
        (1, True),
        (1, float("nan")),
        (True, 1),
        ("a", 1),
        ("a", None),
    ],
)
def test_a_value_of_another_type_or_not_finite_is_refused(default, given):
    with pytest.raises(ValueError, match="option 'x' takes"):
        Option(default, "").normalise("x", given)


def test_patterns_select_names_in_the_order_of_the_registry():
    assert list_models() == list(MODELS)
    assert list_models("bam_resnet1*") == ["bam_resnet18", "bam_resnet101"]
    assert list_models("RESNET18") == []


def test_the_residual_attention_networks_of_imagenet_ask_for_32_images_per_gpu():
    asking = {name: least_images_per_gpu(name) for name in MODELS if least_images_per_gpu(name)}
    assert asking == dict.fromkeys(
        ["attention56", "attention92", "attentionnext56", "attentionnext92"], 32
    )
    assert least_images_per_gpu("timm/resnet18") == 0


def test_every_default_is_a_valid_value_of_its_option():
    for name, entry in MODELS.items():
        defaults = {key: option.default for key, option in entry.options.items()}
        assert check_options(name, defaults) == defaults


@pytest.mark.parametrize(
    ("input_size", "stride"), [(CIFAR_STEM_BELOW_PX - 1, 1), (CIFAR_STEM_BELOW_PX, 2)]
)
def test_the_automatic_stem_follows_the_size_of_the_images(input_size, stride):
    assert create_model("resnet_small", 5, input_size).conv1.stride == (stride, stride)


def test_a_stem_that_is_named_is_used_at_any_size():
    assert create_model("resnet_small", 5, 8, stem="imagenet").conv1.stride == (2, 2)
    assert create_model("resnet_small", 5, 224, stem="cifar").conv1.stride == (1, 1)


def test_a_network_that_asks_for_the_size_of_the_images_is_told(monkeypatch):
    module = types.ModuleType("attention_models.sized")
    exec(
        "from torch import nn\n"
        "def sized(num_classes, input_size):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(3 * input_size**2, num_classes))\n",
        module.__dict__,
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(MODELS, "sized", Entry("sized:sized", "one layer"))
    assert create_model("sized", 5, 4)(torch.zeros(1, 3, 4, 4)).shape == (1, 5)


def test_an_entry_with_an_unknown_attention_says_so(monkeypatch):
    entry = Entry("resnet:resnet18", "a typing error", arguments={"attention": "see"})
    monkeypatch.setitem(MODELS, "wrong", entry)
    with pytest.raises(UnknownNameError, match="'see' is not a known attention"):
        create_model("wrong", 5, 32)


def test_the_readme_shows_how_to_add_a_network_and_it_works(monkeypatch):
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    part = readme.partition("An attention module is one file")[2]
    source, attention_line, model_line = re.findall(r"```python\n(.*?)```", part, re.DOTALL)
    module = types.ModuleType("attention_models.gate")
    exec(source, module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    names = vars(registry)
    for table, line in ((ATTENTION, attention_line), (MODELS, model_line)):
        for name, entry in eval(f"{{{line}}}", names).items():
            monkeypatch.setitem(table, name, entry)

    assert isinstance(create_attention("gate", 8), module.Gate)
    model = create_model("gate_resnet50", 5, 32)
    gates = [part for part in model.modules() if isinstance(part, module.Gate)]
    assert len(gates) == 16
    assert model.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 5)
