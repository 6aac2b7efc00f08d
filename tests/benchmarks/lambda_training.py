"""Does a LambdaResNet train, or does it collapse as in the source's log?

    python -m tests.benchmarks.lambda_training --cifar10 cifar10_jpeg.npz [--steps 300]

Trains on real CIFAR-10 images (JPEG bytes in one .npz: train_jpeg, train_offsets, train_labels) for
a few hundred steps, once for every setting below, and prints the mean training loss over each
tenth. A network that has learnt nothing has the loss of chance, ln 10 = 2.303; the source's log
shows 31 in its first epoch and 2.3 for the next thirteen.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torchvision.io import decode_jpeg

from attention_models import create_model
from jobs.config import RunConfig
from jobs.data import DataSet, Images, Normaliser, cut_crops, draw_epoch
from jobs.optim import learning_rate, make_optimizer, set_learning_rate

IMAGES_PER_EPOCH = 50_000
MARGIN_PX = 4

# What the source's log was made with (its network is LambdaResNet-50): the ImageNet stem, batch
# norm on the keys, restarts every 10, 20, 40 ... epochs, no warm-up, no clipping.
SOURCE = {
    "model_options": {"stem": "imagenet", "norm": "keys", "init": "source"},
    "schedule": "restarts",
    "lr_min": 1e-5,
    "weight_decay": 1e-4,
}
SETTINGS = {
    "the source's": SOURCE,
    "the source's, clipped at norm 2": SOURCE | {"clip_norm": 2.0},
    "the source's, our initialisation": SOURCE
    | {"model_options": {"stem": "imagenet", "norm": "keys"}},
    "ours, with its stem": {"model_options": {"stem": "imagenet"}, "clip_norm": 2.0},
    "ours": {"clip_norm": 2.0},
}


def load_images(path: Path, count: int) -> DataSet:
    """`count` training images of the .npz, which is sorted by class; there is no test set here."""
    with np.load(path) as file:
        offsets, jpeg = file["train_offsets"], torch.from_numpy(file["train_jpeg"])
        labels = torch.from_numpy(file["train_labels"]).long()
    chosen = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))[:count]
    pixels = torch.stack([decode_jpeg(jpeg[offsets[i] : offsets[i + 1]]) for i in chosen.tolist()])
    images = Images(pixels.permute(0, 2, 3, 1).contiguous(), labels[chosen])
    return DataSet(images, images, 10, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))


def train(
    data: DataSet, config: RunConfig, steps: int, device: torch.device, autocast: bool
) -> list[float]:
    """The loss of every step. An epoch of the schedule has 50,000 images, however few are given."""
    torch.manual_seed(config.seed)
    model = create_model(config.model, 10, data.input_size, **config.model_options).to(device)
    optimizer = make_optimizer(model, config)
    normalise, padded = Normaliser(data, device), data.train.padded(MARGIN_PX).to(device)
    losses = []
    batches = len(data.train) // config.batch_size
    for step in range(steps):
        epoch, batch = divmod(step, batches)
        if batch == 0:
            drawn = draw_epoch(
                config.seed, epoch, len(data.train), margin_px=MARGIN_PX, flip=True, device=device
            )
        index = drawn.order[batch * config.batch_size :][: config.batch_size]
        images = normalise(cut_crops(padded, index, drawn, data.input_size))
        rate = learning_rate(config, step, IMAGES_PER_EPOCH // config.batch_size)
        set_learning_rate(optimizer, rate)
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            loss = F.cross_entropy(model(images).float(), padded.labels[index])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if config.clip_norm:
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        losses.append(loss.item())
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cifar10", type=Path, required=True, help="the .npz with JPEG bytes")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--model", default="lambda_resnet18", help="lambda_resnet50 in the log")
    parser.add_argument("--warmup-steps", type=int, default=100, help="of our settings")
    parser.add_argument("--bf16", action="store_true", help="train under bf16 autocast")
    parser.add_argument("--only", default="", help="only settings whose name contains this")
    given = parser.parse_args()
    if not given.cifar10.is_file():
        print(f"skipped: there is no file {given.cifar10}")
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = load_images(given.cifar10, min(IMAGES_PER_EPOCH, given.steps * given.batch_size))
    print(
        f"{given.model}, {given.steps} steps of {given.batch_size} images, lr 0.1, on {device}. "
        f"Loss of chance: {math.log(10):.3f}. Mean loss of each tenth:"
    )
    for name, options in SETTINGS.items():
        if given.only not in name:
            continue
        warmup = given.warmup_steps * given.batch_size / IMAGES_PER_EPOCH
        config = RunConfig(
            model=given.model,
            batch_size=given.batch_size,
            warmup_epochs=warmup if name.startswith("ours") else 0,
            **options,
        )
        start = time.monotonic()
        losses = train(data, config, given.steps, device, given.bf16)
        tenths = np.array_split(np.array(losses), 10)
        means = " ".join(f"{tenth.mean():6.2f}" for tenth in tenths)
        print(f"{name:<34} {means}   ({time.monotonic() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
