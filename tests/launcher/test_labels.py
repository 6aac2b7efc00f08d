from __future__ import annotations

from jobs.config import RunConfig, changed_options
from launcher.labels import label_runs


def labels(*configs: RunConfig) -> list[str]:
    return list(label_runs({config.run_id: changed_options(config) for config in configs}).values())


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
        "bam_resnet18 combine=sum s0",
        "bam_resnet18 combine=product s0",
        "resnet18 s0",
    ]


def test_of_many_options_only_what_is_unusual_is_told() -> None:
    """Such as the runs that somebody started by hand over some weeks."""
    usual = RunConfig(model="resnet18")
    other = RunConfig(
        model="resnet18", lr=0.3, weight_decay=0.0, flip=False, clip_norm=2.0, init_from="a.pt",
        schedule="multistep", lr_milestones_epochs=[60, 90], seed=1,
    )  # fmt: skip
    first, second, third = labels(usual, other, usual.model_copy(update={"seed": 2}))
    assert (first, third) == ("resnet18 s0", "resnet18 s2")
    assert "init_from=a.pt" in second
    assert "flip=false" in second
    assert "lr_milestones_epochs=60,90" in second, "a value is one word"


def test_a_value_that_is_none_is_told_as_such() -> None:
    assert labels(RunConfig(model="resnet18"), RunConfig(model="resnet18", init_from="a.pt")) == [
        "resnet18 init_from=none s0",
        "resnet18 init_from=a.pt s0",
    ]
