# SPDX-License-Identifier: Apache-2.0
"""Why does ESPNet learn slowly on SYNTHETIC images? One change at a time, with ENet as the control.

    python -m benchmarks.espnet_schedule --output espnet_schedule
    python -m benchmarks.espnet_schedule --output espnet_schedule --seeds 0 --iterations 10

Every training is that of the bundle at 64 x 64: its data, augmentation, loss, optimizer and schedule, 8 slices a batch, on
the 6 training cases of a synthetic site; Dice is that of its 8 test cases, argmax, after the last iteration. "With a batch's
statistics" is the same network with batch normalization in training mode: where both agree, running statistics are not the
reason. Writes ``espnet_schedule.json`` and ``espnet_schedule.md``.
"""

from __future__ import annotations

import argparse
import copy
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from monai.bundle import ConfigParser
from monai.metrics import compute_dice
from torch import nn

from akd_monai.bundle import write_bundle
from akd_monai.engines import lr_schedule
from akd_monai.files import atomic_write, read_json, write_json
from akd_monai.prostate import make_phantom

logger = logging.getLogger(__name__)

_RATE = 0.01
_BATCH = 8
_EPOCH = 10
_CHANGE_OF_TEST = (
    "$akd_monai.data.datalist(@dataset_dir, 'test', sites=@sites, seed=@split_seed, fold=@fold, folds=@folds)"
)

Batch = tuple[torch.Tensor, torch.Tensor]
Groups = Callable[[nn.Module, float], list[dict[str, Any]]]


def of_parts(names: Sequence[str], factor: float) -> Groups:
    """Return what gives the named parts of a network ``factor`` times the learning rate."""

    def groups(network: nn.Module, rate: float) -> list[dict[str, Any]]:
        inside = [p for name, p in network.named_parameters() if name.split(".")[0] in names]
        outside = [p for name, p in network.named_parameters() if name.split(".")[0] not in names]
        return [{"params": outside, "lr": rate}, {"params": inside, "lr": rate * factor}]

    return groups


def _momentum(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.3


def _straight(network: nn.Module) -> None:
    """Let the activations before the logits pass what is negative."""
    for module in (*network.stage4.modules(), *network.up5.modules(), *network.stage5.modules()):  # type: ignore[union-attr]
        if isinstance(module, nn.PReLU):
            nn.init.ones_(module.weight)


def _large_head(network: nn.Module) -> None:
    with torch.no_grad():
        network.head.weight.mul_(4)  # type: ignore[operator, union-attr]


_DECODER = ("up4", "skip4", "stage4", "up5", "stage5", "head")
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "ENet": ("enet", {}),
    "ESPNet": ("espnet", {}),
    "learning rate 0.003": ("espnet", {"rate": 0.003}),
    "learning rate 0.03": ("espnet", {"rate": 0.03}),
    "learning rate 0.1": ("espnet", {"rate": 0.1}),
    "momentum of the statistics 0.3": ("espnet", {"change": _momentum}),
    "first weights of the head times 4": ("espnet", {"change": _large_head}),
    "first slopes of the decoder's PReLUs 1": ("espnet", {"change": _straight}),
    "decoder at 5 times the learning rate": ("espnet", {"groups": of_parts(_DECODER, 5)}),
    "head at 10 times the learning rate": ("espnet", {"groups": of_parts(("head",), 10)}),
    "twice the iterations": ("espnet", {"longer": 2}),
    "ENet, head at 10 times the learning rate": ("enet", {"groups": of_parts(("head",), 10)}),
}


class Laboratory:
    """Trainings of the bundles' networks on one synthetic site.

    Args:
        data: folder of the synthetic set.
        site: where everything learns and is tested.
        folder: for the bundles.
    """

    def __init__(self, data: Path, site: str, folder: Path) -> None:
        self._data = data
        self._site = site
        self._folder = folder
        self._batches: dict[tuple[int, int], list[Batch]] = {}

    def parser(self, network: str, seed: int) -> ConfigParser:
        """Return the training config of a bundle with small sizes."""
        config = read_json(write_bundle(network, self._folder / network) / "configs" / "train.json")
        parser = ConfigParser(config)
        sizes = {"spatial_size": [64, 64], "samples_per_epoch": _BATCH * _EPOCH, "batch_size": _BATCH, "folds": 2}
        parser.update({**sizes, "dataset_dir": str(self._data), "sites": [self._site], "seed": seed, "device": "cpu"})
        parser["split_seed"] = 0
        return parser

    def batches(self, seed: int, count: int) -> list[Batch]:
        """Return the batches of a seed, the same for all networks."""
        if (seed, count) not in self._batches:
            self._batches[seed, count] = list(self._drawn(seed, count))
        return self._batches[seed, count]

    def _drawn(self, seed: int, count: int) -> Iterator[Batch]:
        parser = self.parser("enet", seed)
        sampler, loader = (parser.get_parsed_content(f"train#{name}") for name in ("sampler", "dataloader"))
        for epoch in range(count // _EPOCH):
            sampler.epoch = epoch
            yield from ((torch.as_tensor(batch["image"]), torch.as_tensor(batch["label"])) for batch in loader)

    def cases(self) -> list[Batch]:
        """Return the test cases as slices ``[D, 1, H, W]``."""
        parser = self.parser("enet", 0)
        parser["validate#dataset#data"] = _CHANGE_OF_TEST
        found = []
        for case in parser.get_parsed_content("validate#dataset"):
            image, label = (torch.as_tensor(case[key]).permute(3, 0, 1, 2) for key in ("image", "label"))
            found.append((image.contiguous(), label))
        return found

    def train(
        self,
        network: str,
        seed: int,
        iterations: int,
        *,
        rate: float = _RATE,
        change: Callable[[nn.Module], None] | None = None,
        groups: Groups | None = None,
        longer: int = 1,
    ) -> tuple[nn.Module, float]:
        """Train a network; return it and its mean loss over the last ten iterations."""
        parser = self.parser(network, seed)
        torch.manual_seed(seed)
        built = parser.get_parsed_content("network_def")
        if change is not None:
            change(built)
        loss = parser.get_parsed_content("loss")
        parameters = groups(built, rate) if groups else built.parameters()
        optimizer = torch.optim.Adam(parameters, lr=rate, fused=True)
        batches = self.batches(seed, longer * iterations)
        schedule = lr_schedule(optimizer, total_iterations=len(batches))
        values = []
        for image, label in batches:
            optimizer.zero_grad()
            value = loss(built(image), label)
            value.backward()
            optimizer.step()
            schedule.step()
            values.append(value.item())
        return built, statistics.fmean(values[-_EPOCH:])


@torch.no_grad()
def dice(network: nn.Module, cases: Sequence[Batch], mode: Literal["running", "batch"]) -> float:
    """Return the mean Dice over cases, with running statistics or with those of the case's own slices."""
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(mode == "batch")
    values = []
    for image, label in cases:
        found = network(image).argmax(1)
        values.append(float(compute_dice(found[None, None], label[None, :, 0][None])))
    return statistics.fmean(values)


def table(laboratory: Laboratory, seeds: Sequence[int], iterations: int) -> dict[str, list[dict[str, float]]]:
    """Return Dice in both modes and loss of each variant and seed."""
    cases = laboratory.cases()
    rows: dict[str, list[dict[str, float]]] = {}
    for name, (network, options) in VARIANTS.items():
        rows[name] = []
        for seed in seeds:
            trained, loss = laboratory.train(network, seed, iterations, **options)
            row = {"dice": dice(trained, cases, "running"), "dice_batch": dice(trained, cases, "batch"), "loss": loss}
            rows[name].append(row)
        logger.info("%s: %s", name, rows[name])
    return rows


def markdown(rows: dict[str, list[dict[str, float]]], about: dict[str, Any]) -> str:
    """Return the table, a column of values a seed."""
    lines = ["| SYNTHETIC images | Dice, a value a seed | with a batch's statistics | last loss |", "|---|---|---|---|"]
    for name, runs in rows.items():
        cells = [" ".join(f"{run[key]:.2f}" for run in runs) for key in ("dice", "dice_batch", "loss")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    facts = f"{about['iterations']} iterations, {about['site']}, seeds {about['seeds']},"
    facts += f" {about['cpu_seconds']:.0f} CPU seconds."
    return "\n".join([*lines, "", facts, ""])


def main(arguments: Sequence[str] | None = None) -> None:
    """Train every variant and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("espnet_schedule"), help="folder of the two files")
    parser.add_argument("--site", default="I2CVB", help="name of a site")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="one training each")
    parser.add_argument("--iterations", type=int, default=150, help=f"a multiple of {_EPOCH}")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        data = make_phantom(
            Path(folder, "data"), cases_per_site=16, sites=given.site, size=64, slices=8, progress=False
        )
        rows = table(Laboratory(data, given.site, Path(folder, "bundles")), given.seeds, given.iterations)
    about = {"synthetic": True, "site": given.site, "seeds": given.seeds, "iterations": given.iterations}
    about["cpu_seconds"] = time.process_time() - start
    write_json(given.output / "espnet_schedule.json", {**about, "rows": rows})
    atomic_write(given.output / "espnet_schedule.md", markdown(rows, about))


if __name__ == "__main__":
    main()
