"""Real images for the tests: pieces of a photograph that scikit-learn brings along."""

from __future__ import annotations

from functools import cache

import torch
from sklearn.datasets import load_sample_image
from torch import Tensor


@cache
def pieces(count: int, height: int, width: int) -> Tensor:
    """Pieces spread over the photograph: (count, height, width, 3), uint8."""
    whole = torch.from_numpy(load_sample_image("china.jpg").copy())
    tiles = whole.unfold(0, height, height).unfold(1, width, width).permute(0, 1, 3, 4, 2)
    tiles = tiles.reshape(-1, height, width, 3)
    return tiles[:: len(tiles) // count][:count].contiguous()
