"""Does a LambdaResNet train, or does it collapse as in the source's log?

    python -m tests.benchmarks.lambda_training --data-dir data
    python -m tests.benchmarks.lambda_training --cifar10 cifar10_jpeg.npz --bf16 --only source

Trains on real CIFAR-10 images for a few hundred steps, once for every setting, and prints the mean
training loss over each tenth. A network that has learnt nothing has the loss of chance, ln 10 =
2.303; the source's log shows 31 in its first epoch and 2.3 for the next thirteen. (Its network had
1,000 outputs for the 10 classes; ours has 10.)

The images are those of `python -m jobs.data cifar10 DIR`, or JPEG bytes in one .npz: train_jpeg
(all of them, one after the other), train_offsets (N + 1) and train_labels (N).
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
from jobs.config import RunConfig, missing_data
from jobs.data.datasets import DataSet, Images, load_dataset
from jobs.data.resident import ResidentFeed
from jobs.distributed import ALONE
from jobs.optim import learning_rate, make_optimizer, set_learning_rate

IMAGES_PER_EPOCH = 50_000
TENTHS = 10

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


def unpack_images(path: Path, count: int) -> DataSet:
    """`count` training images of an .npz, which may be sorted by class; there is no test set."""
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
    feed = ResidentFeed(data, config, ALONE, device, torch.contiguous_format)
    losses = []
    batches = len(data.train) // config.batch_size
    for step in range(steps):
        epoch, batch = divmod(step, batches)
        (part,) = feed.train_parts(epoch, batch)
        rate = learning_rate(config, step, IMAGES_PER_EPOCH // config.batch_size)
        set_learning_rate(optimizer, rate)
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            loss = F.cross_entropy(model(part.images).float(), part.labels)
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
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="default: %(default)s")
    parser.add_argument("--cifar10", type=Path, metavar="FILE", help="an .npz instead")
    parser.add_argument("--steps", type=int, default=300, help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=64, help="default: %(default)s")
    parser.add_argument(
        "--model",
        default="lambda_resnet18",
        help="default: %(default)s; that of the log is lambda_resnet50",
    )
    parser.add_argument(
        "--warmup-steps", type=int, default=100, help="of our settings; default: %(default)s"
    )
    parser.add_argument("--bf16", action="store_true", help="train under bf16 autocast")
    parser.add_argument(
        "--only", default="", help=f"settings whose name contains this: {'; '.join(SETTINGS)}"
    )
    given = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    count = min(IMAGES_PER_EPOCH, given.steps * given.batch_size)
    if given.cifar10 and not given.cifar10.is_file():
        parser.error(f"there is no file {given.cifar10}")
    if given.cifar10:
        data = unpack_images(given.cifar10, count)
    else:
        config = RunConfig(model=given.model, data_dir=given.data_dir, train_images=count)
        if missing := missing_data(config):
            print(f"skipped: {missing}")
            return
        data = load_dataset(config)
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
        parts = np.array_split(np.array(losses), TENTHS)
        means = " ".join(f"{part.mean():6.2f}" for part in parts)
        print(f"{name:<34} {means}   ({time.monotonic() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
