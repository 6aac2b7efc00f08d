from __future__ import annotations

from decimal import Decimal

import pandas as pd
import pytest

from analysis import published
from analysis.metrics import METRICS
from attention_models import check_model_name, check_options
from jobs.config import DATASETS
from tests.analysis.test_fairness import run_row


def beside(*rows: dict, metric: str = "test_top1") -> pd.DataFrame:
    return published.beside(pd.DataFrame(list(rows)), metric=metric)


def test_every_entry_is_of_a_network_data_set_and_metric_that_we_know() -> None:
    assert published.sources()
    for source in published.sources():
        assert source.dataset in {*DATASETS, "imagenet"}
        for row in source.rows:
            assert row.metric in METRICS
            assert 0 < row.value < 100
            if row.model is not None:
                check_model_name(row.model)
                check_options(row.model, row.options)


def test_the_number_that_the_first_source_names_is_there() -> None:
    found = beside(run_row("resnet50")).set_index("name")
    assert found.loc["EfficientNet", "value"] == "91.7"
    assert found.loc["EfficientNet", "citation"].startswith("A. Sansom")
    assert found.loc["EfficientNet", "group"] is None


def test_a_network_of_ours_has_its_number_beside_it() -> None:
    plain, gated = (
        run_row("preact_resnet50", model_options={"attention": a}) for a in ("none", "se")
    )
    found = beside(plain).set_index("name")
    assert found.loc["PreActResNet50", "value"] == "75.06"
    assert found.loc["PreActResNet50", "group"] == "preact_resnet50"
    assert beside(gated).set_index("name").loc["PreActResNet50", "group"] is None
    mixed = beside(plain, gated).set_index("name")
    assert mixed.loc["PreActResNet50", "group"] is None, "a row of both is neither"


def test_an_imported_network_of_ours_is_the_one_without_options() -> None:
    imported = run_row("preact_resnet50") | {"origin": "imported", "model_options.attention": None}
    found = beside(imported).set_index("name")
    assert found.loc["PreActResNet50", "group"] == "preact_resnet50"


def test_only_what_was_measured_on_the_same_images_is_shown() -> None:
    assert beside(run_row("resnet50", dataset="digits")).empty
    folder = {"dataset": "imagefolder", "image_folder": "imagenet"}
    found = beside(run_row("resnest50d", **folder)).set_index("name")
    assert (found.loc["resnest50d", "value"], found.loc["resnest50d", "group"]) == (
        *("80.96", "resnest50d"),
    )


def test_an_accuracy_is_shown_as_error_and_back_with_its_digits() -> None:
    folder = {"dataset": "imagefolder", "image_folder": "imagenet"}
    rows = run_row("attention56", **folder), run_row("resnest26d", **folder)
    error = beside(*rows, metric="test_err5").set_index("name")["value"]
    assert (error["Attention-56"], error["resnest26d"]) == ("5.9", "5.7")
    accuracy = beside(*rows, metric="test_top1").set_index("name")["value"]
    assert accuracy["Attention-56"] == "78.24"
    assert beside(*rows, metric="test_loss").empty
    row = published.Row(name="a", metric="test_top1", value="93.20")
    assert str(row.as_metric("test_err1")) == "6.80"
    assert row.as_metric("test_err5") is None
    assert row.as_metric("test_top1") == Decimal("93.2")


def test_citations_are_numbered_and_networks_that_only_sources_have_come_last() -> None:
    summary = pd.DataFrame({"group": ["preact_resnet50", "resnet18"], "planned": [3, 2]})
    printed = beside(run_row("preact_resnet50"), run_row("resnet18"))
    whole, citations = published.add_to(summary, printed)
    assert list(whole["group"])[:3] == ["preact_resnet50", "resnet18", "EfficientNet (published)"]
    first, second, third = whole.head(3).to_dict("records")
    assert (first["published"], first["published_values"]) == ("75.06 [1]", "75.06")
    assert pd.isna(second["published"])
    assert third["published"] == "91.7 [2]"
    assert pd.isna(third["planned"])
    assert first["planned"] == 3
    assert citations[0] == f"[1] {first['published_in']}"


def test_without_published_numbers_it_says_so() -> None:
    summary = pd.DataFrame({"group": ["resnet18"], "planned": [1]})
    whole, citations = published.add_to(summary, beside(run_row("resnet18", dataset="digits")))
    assert list(whole["group"]) == ["resnet18"]
    assert whole["published"].isna().all()
    assert citations == ["no source prints this metric for these images"]


def test_a_mistake_in_the_facts_does_not_pass() -> None:
    with pytest.raises(ValueError, match="reamrk"):
        published.Row(name="a", metric="test_top1", value="1", reamrk="b")
