"""Frames for figures, made by hand, and what can be read in a drawn figure."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.style import SIZES, Width

PAGE = SIZES[Width.page]
FINAL = {"resnet18": 77.0, "resnet34": 76.6, "resnet50": 77.4}


def make_curves(
    final: dict[str, float] = FINAL,
    epochs: int = 60,
    std: float = 0.1,
    seeds: int = 3,
    metric: str = "test_top1",
) -> pd.DataFrame:
    """What analysis.curves.curves gives: two metrics of each group, rising to its final value."""
    parts = []
    for group, end in final.items():
        for name, above in ((metric, 0.0), (metric.replace("test", "train"), 20.0)):
            epoch = np.arange(1, epochs + 1)
            part = {"epoch": epoch, "step": 10 * epoch, "gpu_h": epoch / 2}
            mean = end + above - 60 * (np.exp(-epoch / 8) - np.exp(-epochs / 8))
            spread = std if seeds > 1 else np.nan
            about = {"group": group, "metric": name, "mean": mean, "std": spread}
            counts = {"n": seeds, "seeds": seeds, "planned": seeds, "finished": True}
            parts.append(pd.DataFrame(part | about | counts))
    return pd.concat(parts, ignore_index=True)


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for box in figure.legends for text in box.get_texts()]
