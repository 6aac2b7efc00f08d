from __future__ import annotations

from jobs.seeds import derive_seed


def test_seeds_of_different_purposes_and_epochs_are_unrelated() -> None:
    seeds = {
        derive_seed(seed, purpose, epoch)
        for seed in range(10)
        for purpose in ("weights", "epoch")
        for epoch in range(10)
    }
    assert len(seeds) == 200
