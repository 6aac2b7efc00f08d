from __future__ import annotations

import pytest
import torch

from jobs.config import RunConfig
from jobs.errors import NonFiniteLossError
from jobs.watch import best_by_chance, check_loss, is_stuck


def look(loss_sum: float, since: int, step: int, **options: float) -> None:
    config = RunConfig(model="resnet18", **options)
    check_loss(loss_sum, config, since=since, step=step, lr=0.05, precision="fp16")


def test_a_finite_loss_is_no_news() -> None:
    look(1e300, 0, 100)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_told_with_its_steps_and_the_settings(value: float) -> None:
    with pytest.raises(NonFiniteLossError) as caught:
        look(value, 100, 200, lr=0.4)
    message = str(caught.value)
    assert message.startswith(f"the training loss became {value} somewhere in steps 101 to 200;")
    assert "lr (0.4 at its peak, 0.05 in step 200), warmup_epochs (0)" in message
    assert "clip_norm (0, which is none)" in message
    assert "precision (fp16)" in message


def test_one_step_is_no_range() -> None:
    with pytest.raises(NonFiniteLossError, match="in step 7;"):
        look(float("nan"), 6, 7)


def test_naming_always_the_same_class_is_guessing_and_not_much_more_is() -> None:
    labels = torch.arange(10).repeat(1000)
    assert best_by_chance(labels) == pytest.approx(10 + 4 * 0.3)
    uneven = torch.cat([labels, torch.zeros(10_000, dtype=torch.long)])
    assert 55 < best_by_chance(uneven) < 57


def test_in_a_small_set_the_margin_stays_small() -> None:
    assert best_by_chance(torch.arange(10)) == pytest.approx(15)


def test_guessers_never_do_better() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (5000,), generator=generator)
    guesses = torch.randint(10, (1000, 5000), generator=generator)
    assert (guesses == labels).double().mean(1).max() * 100 < best_by_chance(labels)


@pytest.mark.parametrize(
    ("epochs", "options", "first"),
    [(200, {}, 40), (30, {}, 10), (200, {"stuck_after": 0.5}, 100), (5, {}, 10)],
)
def test_a_run_is_stuck_after_a_share_of_its_epochs_and_at_least_ten(
    epochs: int, options: dict[str, float], first: int
) -> None:
    config = RunConfig(model="resnet18", epochs=epochs, **options)
    assert not is_stuck(config, first - 1)
    assert is_stuck(config, first)
