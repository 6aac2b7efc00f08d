"""Where randomness begins: a seed of its own for every purpose."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, purpose: str, epoch: int = 0) -> int:
    """A seed for one purpose, unrelated to those of other purposes and epochs."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
