# SPDX-License-Identifier: Apache-2.0
"""Do the SYNTHETIC sites differ as scanners do? A student trained on each of them, evaluated on all six.

    python -m benchmarks.phantom_shift --output phantom_shift
    python -m benchmarks.phantom_shift --output phantom_shift --sites RUNMC BIDMC --train 4 --test 2 --epochs 4

For each site, ENet learns from that site's synthetic training cases alone, without augmentation; Dice is that of complete
test cases, argmax, no post-processing, mean over cases. Writes ``phantom_shift.json`` and ``phantom_shift.md``. The
table shows that the sites of the phantom differ; it says nothing about real MRI.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler
from monai.losses import DiceFocalLoss
from monai.metrics import compute_dice
from monai.transforms import Compose, NormalizeIntensity, ScaleIntensityRangePercentiles
from numpy.typing import NDArray

from akd_monai.data.sites import SITES, Site, site
from akd_monai.files import atomic_write, write_json
from akd_monai.keys import random_key
from akd_monai.networks.nets.enet import ENet
from akd_monai.prostate.phantom import make_case

logger = logging.getLogger(__name__)

_BATCH = 8
_LEARNING_RATE = 4e-3
_SIZE = 128
_SLICES = 10
# As in the bundles: per volume, robust against the bright rim of an endorectal coil.
_NORMALISE = Compose([ScaleIntensityRangePercentiles(0.5, 99.5, 0.0, 1.0, clip=True), NormalizeIntensity()])

Case = tuple[torch.Tensor, torch.Tensor]


def draw(where: Site, numbers: range, seed: int) -> list[Case]:
    """Return synthetic cases as (image ``[D, 1, H, W]``, mask ``[D, 1, H, W]``)."""
    cases = []
    for number in numbers:
        image, label, _ = make_case(where.name, number, size=_SIZE, slices=_SLICES, seed=seed)
        grey = _NORMALISE(torch.from_numpy(image.astype(np.float32))[None])
        cases.append((_as_slices(grey[0]), _as_slices(label).float()))
    return cases


def _as_slices(volume: torch.Tensor | NDArray[Any]) -> torch.Tensor:
    return torch.as_tensor(volume).permute(2, 1, 0)[:, None].contiguous()


def train(cases: Sequence[Case], epochs: int, seed: int) -> torch.nn.Module:
    """Train ENet on all slices of ``cases``."""
    torch.manual_seed(seed)
    slices = [{"image": x, "label": y} for image, label in cases for x, y in zip(image, label, strict=True)]
    loader = DataLoader(
        Dataset(slices), batch_size=_BATCH, shuffle=True, drop_last=True, generator=torch.Generator().manual_seed(seed)
    )
    network = ENet(2, 1, 2)
    optimizer = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
    schedule: Any = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * len(loader))
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=loader,
        network=network,
        optimizer=optimizer,
        loss_function=DiceFocalLoss(
            include_background=False, to_onehot_y=True, softmax=True, batch=True, smooth_nr=1, smooth_dr=1
        ),
        train_handlers=[LrScheduleHandler(schedule, print_lr=False, epoch_level=False)],
    )
    trainer.logger.setLevel(logging.WARNING)
    trainer.run()
    return network.eval()


@torch.no_grad()
def dice(network: torch.nn.Module, cases: Sequence[Case]) -> list[float]:
    """Return the Dice of each case."""
    values = []
    for image, label in cases:
        found = network(image).argmax(dim=1)
        values.append(float(compute_dice(found[None, None], label[:, 0][None, None])))
    return values


def shift_table(
    sites: Sequence[Site], *, train_cases: int, test_cases: int, epochs: int, seed: int
) -> dict[str, dict[str, list[float]]]:
    """Return the Dice values ``[trained on][evaluated on]`` of each test case."""
    tests = {s.name: draw(s, range(train_cases, train_cases + test_cases), seed) for s in sites}
    table: dict[str, dict[str, list[float]]] = {}
    for source in sites:
        start = time.process_time()
        network = train(draw(source, range(train_cases), seed), epochs, random_key(seed, "shift", source.name))
        table[source.name] = {name: dice(network, cases) for name, cases in tests.items()}
        logger.info("%s: %.0f CPU seconds", source.name, time.process_time() - start)
    return table


def markdown(table: dict[str, dict[str, list[float]]], about: dict[str, Any]) -> str:
    """Return the table of means, rows trained on, columns evaluated on."""
    names = list(table)
    rows = []
    own = []
    other = []
    for source in names:
        means = {name: float(np.mean(table[source][name])) for name in names}
        others = [value for name, value in means.items() if name != source]
        own.append(means[source])
        other += others
        cells = [f"**{value:.2f}**" if name == source else f"{value:.2f}" for name, value in means.items()]
        rows.append(f"| {source} | {' | '.join(cells)} | {np.mean(others):.2f} |")
    lines = [
        "SYNTHETIC images: Dice on test cases (mean) of ENet trained on one site, evaluated on each.",
        "",
        f"| trained on | {' | '.join(names)} | others |",
        "|---" * (len(names) + 2) + "|",
        *rows,
        "",
        f"Own site {np.mean(own):.2f}, other sites {np.mean(other):.2f}. {about['train_cases']} training and"
        f" {about['test_cases']} test cases a site, {about['epochs']} epochs, {_SIZE} x {_SIZE} pixels,"
        f" seed {about['seed']}, {about['cpu_seconds']:.0f} CPU seconds.",
        "",
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw, train, evaluate, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("phantom_shift"), help="folder of the two files")
    parser.add_argument("--sites", nargs="+", default=[s.name for s in SITES], help="names or codes, at least two")
    parser.add_argument("--train", type=int, default=12, help="training cases a site")
    parser.add_argument("--test", type=int, default=6, help="test cases a site")
    parser.add_argument("--epochs", type=int, default=28, help="epochs")
    parser.add_argument("--seed", type=int, default=0, help="seed of every random number")
    given = parser.parse_args(arguments)
    sites = list(dict.fromkeys(site(name) for name in given.sites))
    if len(sites) < 2 or min(given.train, given.test, given.epochs) < 1:
        parser.error("at least two sites, and at least one training case, test case and epoch are needed")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    start = time.process_time()
    table = shift_table(sites, train_cases=given.train, test_cases=given.test, epochs=given.epochs, seed=given.seed)
    about = {
        "synthetic": True,
        "train_cases": given.train,
        "test_cases": given.test,
        "epochs": given.epochs,
        "seed": given.seed,
        "cpu_seconds": time.process_time() - start,
    }
    text = markdown(table, about)
    write_json(given.output / "phantom_shift.json", {**about, "dice": table})
    atomic_write(given.output / "phantom_shift.md", text)
    logger.info("%s", text)


if __name__ == "__main__":
    main()
