from __future__ import annotations

from jobs.config import RunConfig
from launcher.labels import label_runs, short_id


def labels(*configs: RunConfig) -> list[str]:
    return list(label_runs({config.run_id: config for config in configs}).values())


def test_a_label_holds_what_tells_the_runs_apart_and_nothing_else() -> None:
    runs = [
        RunConfig(model="resnet18", lr=lr, epochs=20, seed=seed)
        for lr in (0.1, 0.2)
        for seed in (0, 1)
    ]
    assert labels(*runs) == [
        "resnet18 lr=0.1 s0",
        "resnet18 lr=0.1 s1",
        "resnet18 lr=0.2 s0",
        "resnet18 lr=0.2 s1",
    ]


def test_options_of_the_network_count_and_options_without_effect_do_not() -> None:
    runs = [
        RunConfig(model="bam_resnet18", model_options={"combine": "sum"}, keep="best"),
        RunConfig(model="bam_resnet18"),
        RunConfig(model="resnet18"),
    ]
    assert labels(*runs) == [
        "bam_resnet18 model_options.combine=sum s0",
        "bam_resnet18 model_options.combine=product s0",
        "resnet18 s0",
    ]


def test_the_short_id_is_the_beginning_of_the_hash() -> None:
    assert short_id("resnet18-cifar10-s0-c9a20b03d8f9") == "c9a20b03"
