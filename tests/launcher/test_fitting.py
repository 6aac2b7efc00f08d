from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from launcher.fitting import fit_labels, least_width, short_id, with_short_names

LABELS = [
    f"preact_resnet50 attention={attention} lr={lr} warmup_epochs={lr} weight_decay=0.0005 s{seed}"
    for attention in ("none", "spatial_skips_dilation")
    for lr in (0.1, 0.05)
    for seed in (0, 1)
]


def test_with_little_room_what_all_have_gives_way_then_words_of_names_and_then_the_names() -> None:
    assert fit_labels(LABELS, 100) == LABELS
    assert fit_labels(LABELS, 70)[0] == "attention=none lr=0.1 warmup_epochs=0.1 s0"
    assert fit_labels(LABELS, 60)[0] == "attention=none lr=0.1 warmup=0.1 s0"
    assert least_width(LABELS) == len(fit_labels(LABELS, 60)[-1]) == 55
    assert fit_labels(LABELS, 40)[-1] == "spatial_skips_dilation 0.05 0.05 s1"
    assert fit_labels(LABELS, 20)[-1] == "spatial_sk…5 0.05 s1"


def test_a_short_name_is_that_of_no_other_option() -> None:
    long = ["lr_min=1 label_smoothing=0 ema_decay=0.9 weight_decay=1 crop_padding_px=4 drop_path=0"]
    short = "lr_min=1 smoothing=0 ema=0.9 wd=1 crop_padding=4 drop=0"
    assert with_short_names(long) == [short]
    assert with_short_names([*long, "drop_block=1"])[0].endswith("drop_path=0")


def test_a_run_in_which_nothing_is_unusual_is_told_by_its_network() -> None:
    assert fit_labels(["resnet18 s0", "resnet18 lr=0.3 s0"], 10) == ["resnet18", "lr=0.3"]
    assert fit_labels([], 10) == []


def test_the_short_id_is_the_beginning_of_the_hash() -> None:
    assert short_id("resnet18-cifar10-s0-c9a20b03d8f9") == "c9a20b03"


words = st.text("abc=01", min_size=1, max_size=12)


@given(
    st.lists(st.lists(words, min_size=1, max_size=6).map(" ".join), max_size=30),
    st.integers(10, 60),
)
def test_two_runs_never_look_the_same_however_narrow(texts: list[str], width: int) -> None:
    fitted = fit_labels(texts, width)
    assert all(len(text) <= width for text in fitted)
    assert len(set(fitted)) == len(set(texts))
    assert least_width(texts) <= max(map(len, texts), default=0)
