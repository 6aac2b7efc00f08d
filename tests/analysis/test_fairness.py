from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from analysis import fairness
from jobs.config import make_config

FOUND = {"code": "1f2e3d4c5b6a", "torch": "2.10.0", "device": "V100", "precision_used": "fp32"}
STEP_30 = {"schedule": "step", "lr_step_epochs": 30}
STEP_70 = {"schedule": "step", "lr_step_epochs": 70}


def run_row(
    model: str, seed: int = 0, found: dict[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    """A finished run's row of the frame that is loaded."""
    config = make_config({"model": model, "dataset": "cifar100", "seed": seed, **options})
    said = " ".join(f"{name}={value}" for name, value in sorted(config.model_options.items()))
    about = {"sweep": "demo", "run_id": config.run_id, "state": "finished", "epochs_done": 150}
    about |= {"model_options": said, "params": pd.NA, "origin": "trained"}
    about["lr_milestones_epochs"] = ""  # lists are text in the frame
    return config.by_name | about | FOUND | (found or {})


def imported_row(model: str, **known: Any) -> dict[str, Any]:
    row = run_row("resnet50")
    config = {name: None for name in row if name not in ("sweep", "state", "epochs_done", "params")}
    about = {"run_id": f"{model}-imported", "model": model, "origin": "imported", "code": ""}
    return row | config | about | {"torch": "", "device": "", "precision_used": ""} | known


def notes(*rows: dict[str, Any], by: str = "model") -> list[str]:
    return fairness.notes(pd.DataFrame(list(rows)), by)


def test_rows_that_were_trained_alike_need_no_note() -> None:
    rows = [run_row(model, seed) for model in ("resnet18", "resnet50") for seed in (0, 1)]
    assert notes(*rows) == []
    assert fairness.notes(pd.DataFrame(rows).iloc[:0]) == []


def test_another_schedule_is_told_with_who_has_which_and_why_it_matters() -> None:
    told = notes(
        run_row("preact_resnet50", **STEP_30),
        run_row("bam_preact_resnet50", **STEP_30),
        run_row("sresnet50_skips", **STEP_70),
    )
    assert told == [
        "not the same learning rate: lr_step_epochs=30 in preact_resnet50 and bam_preact_resnet50; "
        "lr_step_epochs=70 in sresnet50_skips. By itself it can move accuracy by more than an "
        "attention module does"
    ]


def test_what_differs_in_the_same_way_is_told_at_once() -> None:
    [schedule, recipe] = notes(
        run_row("resnet18", lr=0.05, warmup_epochs=5.0, batch_size=64, mixup_alpha=0.2),
        run_row("resnet50"),
    )
    assert "lr=0.05 warmup_epochs=5.0 in resnet18; lr=0.1 warmup_epochs=0.0" in schedule
    assert "batch_size=64 mixup_alpha=0.2 in resnet18" in recipe


def test_a_run_that_has_not_begun_does_not_yet_differ_in_what_auto_will_mean() -> None:
    waiting = {"precision_used": "", "device": "", "torch": "", "code": ""}
    rows = [
        run_row("resnet18", 0, precision="auto"),
        run_row("resnet50", 0, precision="auto"),
        run_row("resnet50", 1, waiting, precision="auto"),
    ]
    assert notes(*rows) == []
    [told] = notes(*rows, run_row("resnet34", 0, waiting, precision="bf16"))
    assert "precision=bf16 in resnet34" in told


def test_the_memory_of_a_gpu_is_no_difference_and_another_gpu_is() -> None:
    devices = ["V100-SXM2-16GB", "V100-SXM2-32GB", "V100-SXM2-16GB; V100-SXM2-32GB"]
    names = ["resnet18", "resnet34", "resnet101"]
    rows = [run_row(name, 0, {"device": on}) for name, on in zip(names, devices, strict=True)]
    assert notes(*rows) == []
    [told] = notes(*rows, run_row("resnet50", 0, {"device": "A100-SXM4-80GB"}))
    assert "device=A100-SXM4 in resnet50" in told


def test_rows_that_were_on_the_same_gpus_in_whichever_runs_do_not_differ() -> None:
    rows = [
        run_row("resnet18", 0, {"device": "Tesla V100; NVIDIA A100-SXM4-80GB"}),
        run_row("resnet18", 1, {"device": "Tesla V100"}),
        run_row("resnet50", 0, {"device": "NVIDIA A100-SXM4-40GB"}),
        run_row("resnet50", 1, {"device": "Tesla V100"}),
    ]
    assert notes(*rows) == []
    [told] = notes(*rows, run_row("resnet34", 0, {"device": "Tesla V100"}))
    both = "device=NVIDIA A100-SXM4|Tesla V100 in resnet18 and resnet50"
    assert told.startswith(f"not the same arithmetic: {both}; device=Tesla V100 in resnet34")


@pytest.mark.parametrize(
    ("changed", "topic"),
    [
        ({"epochs": 300}, "length of training"),
        ({"dataset": "cifar10"}, "images"),
        ({"train_images": 1000}, "images"),
        ({"weight_decay": 1e-4}, "recipe"),
        ({"compile": True}, "arithmetic"),
        ({"found": {"code": "ffff"}}, "code"),
        ({"found": {"torch": "2.11.0"}}, "arithmetic"),
        ({"found": {"device": "A100"}}, "arithmetic"),
        ({"found": {"precision_used": "bf16"}}, "arithmetic"),
        ({"model_options": {"stem": "imagenet"}}, "network"),
    ],
)
def test_every_kind_of_difference_is_found(changed: dict[str, Any], topic: str) -> None:
    [told] = notes(run_row("resnet18"), run_row("resnet50", **changed))
    assert told.startswith(f"not the same {topic}: ")


def test_what_the_rows_are_made_of_is_not_told() -> None:
    by_rate = [run_row("resnet18", lr=lr) for lr in (0.1, 0.2)]
    assert notes(*by_rate, by="lr") == notes(*by_rate, by="model,lr") == []
    by_images = [
        run_row("resnet18"),
        run_row("resnet18", dataset="imagefolder", image_folder="birds"),
    ]
    assert notes(*by_images, by="dataset") == []
    by_module = [run_row("resnet18", model_options={"attention": a}) for a in ("se", "eca")]
    assert notes(*by_module, by="model_options.attention") == []
    assert notes(*by_module, by="model_options") == []


def test_options_that_only_one_network_has_are_part_of_the_network() -> None:
    others = {"k": 8, "dropout": 0.0}
    assert notes(run_row("resnet50"), run_row("lambda_resnet50", model_options=others)) == []


DROPOUT = "model_options.dropout"


def test_a_default_of_a_network_is_part_of_it_where_rows_are_networks() -> None:
    own = [run_row("resnet50"), run_row("lambda_resnet50")]
    assert notes(*own) == notes(*own, by="model,lr") == []
    said = [run_row(row["model"], model_options={"dropout": row[DROPOUT]}) for row in own]
    assert notes(*said) == [], "to say a default is to say nothing"
    imported = imported_row("lambda_resnet50", **{DROPOUT: 0.3}, model_options="dropout=0.3")
    assert any(
        f"{DROPOUT}=0.0 in resnet50; {DROPOUT}=0.3 in lambda" in n for n in notes(own[0], imported)
    )


@pytest.mark.parametrize(("resnet", "others"), [(0.3, 0.3), (0.0, 0.0), (0.1, 0.1)])
def test_an_option_that_the_matrix_sets_alike_is_no_difference(resnet, others) -> None:
    rows = [
        run_row("resnet50", model_options={"dropout": resnet}),
        run_row("lambda_resnet50", model_options={"dropout": others}),
    ]
    assert notes(*rows) == []


@pytest.mark.parametrize(
    ("resnet", "others", "is_told"),
    [
        ({"dropout": 0.1}, {}, "0.1 in resnet50; model_options.dropout=0.3 in lambda_resnet50"),
        ({}, {"dropout": 0.2}, "0.0 in resnet50; model_options.dropout=0.2 in lambda_resnet50"),
        ({"dropout": 0.1}, {"dropout": 0.2}, "0.1 in resnet50; model_options.dropout=0.2 in"),
    ],
)
def test_an_option_that_is_set_for_one_network_is_told(resnet, others, is_told) -> None:
    [told] = notes(
        run_row("resnet50", model_options=resnet), run_row("lambda_resnet50", model_options=others)
    )
    assert told.startswith("not the same network: ")
    assert is_told in told


def test_where_rows_are_not_networks_their_defaults_are_told_like_what_is_set() -> None:
    rows = [run_row("resnet50", lr=0.1), run_row("lambda_resnet50", lr=0.2)]
    [told] = notes(*rows, by="lr")
    assert f"model=resnet50 {DROPOUT}=0.0 in 0.1" in told


def test_saying_auto_is_no_difference_if_the_same_came_of_it() -> None:
    auto = run_row("resnet18", precision="auto", found={"precision_used": "fp16"})
    said = run_row("resnet50", precision="fp16", found={"precision_used": "fp16"})
    assert notes(auto, said) == []


def test_a_run_that_has_not_begun_has_found_nothing_yet() -> None:
    nothing = {**dict.fromkeys(FOUND, ""), "state": "planned"}
    assert notes(run_row("resnet18"), run_row("resnet50", found=nothing)) == []


def test_one_row_against_many_does_not_name_the_many() -> None:
    others = ["resnet18", "resnet34", "resnet101", "resnet152"]
    odd = run_row("resnet50", found={"code": "abcdef0123"})
    [told] = notes(odd, *(run_row(model) for model in others))
    assert "code=abcdef01 in resnet50; code=1f2e3d4c in the 4 others" in told


def test_names_of_several_parts_are_quoted() -> None:
    rows = [run_row("resnet18", epochs=epochs, lr=lr) for epochs, lr in ((1, 0.1), (2, 0.2))]
    [told] = notes(*rows, by="model,lr")
    assert "epochs=1 in 'resnet18, lr=0.1'; epochs=2 in 'resnet18, lr=0.2'" in told


def test_what_is_averaged_besides_seeds_is_told_with_what_tells_it_apart() -> None:
    rows = [run_row(m, lr=lr) for m in ("resnet18", "resnet50") for lr in (0.1, 0.2)]
    assert notes(*rows) == [
        "runs that differ in lr are averaged together; to tell them apart: --by model,lr"
    ]
    frame = pd.DataFrame(rows)
    assert fairness.mixed_options(frame) == ["lr"]
    assert fairness.mixed_options(frame, "model,lr") == []
    assert fairness.mixed_options(frame, "dataset") == ["model", "lr"]


def test_a_head_for_other_classes_shows_in_the_number_of_parameters() -> None:
    sizes = (23_694_260, 25_538_360)
    rows = [run_row("sresnet50_skips", seed) | {"params": n} for seed, n in enumerate(sizes)]
    [told] = notes(*rows)
    assert "sresnet50_skips has 23,694,260 and 25,538,360 parameters" in told
    elsewhere = rows[1] | {"dataset": "cifar10"}
    assert not any("parameters" in note for note in notes(rows[0], elsewhere))


def test_what_is_not_known_of_imported_runs_is_told_once() -> None:
    rows = [imported_row(model, epochs=150, dataset="cifar100") for model in ("a", "b")]
    unknown = (
        "of the training of a and b only dataset and epochs are known. Whether the rest was the "
        "same cannot be told"
    )
    assert notes(*rows) == [unknown]
    assert "nothing is known" in notes(imported_row("a"))[0]
    *others, last = notes(*rows, run_row("resnet50", epochs=300))
    assert last == unknown
    assert [note.split(":")[0] for note in others] == [
        "not the same length of training",
        "not the same origin",
    ]
