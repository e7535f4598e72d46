# SPDX-License-Identifier: Apache-2.0
"""Seconds a volume of evaluation and a batch of feeding, by the configs of the bundles on volumes of a folder."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow
from torch import Tensor, nn

from akd_monai.data import datalist
from benchmarks.affinity import make_labels

BUNDLES = Path(__file__).parents[1] / "bundles"
# at most; spread over the sites
VOLUMES = 3
BATCHES = 40
# batches that wait for the start of the processes
WARM_UP = 8


def bundle_of(network: str) -> Path:
    """Return the bundle of a network: ``"UNet++"`` is ``prostate_mri_unetplusplus``."""
    return BUNDLES / f"prostate_mri_{network.lower().replace('+', 'plus')}"


@contextmanager
def opened(configs: tuple[str, ...], bundle: Path, folder: Path, changed: dict[str, Any]) -> Iterator[ConfigWorkflow]:
    """Open configs of a bundle as ``python -m monai.bundle run`` does, writing below ``folder``."""
    places = {"bundle_root": str(bundle), "ckpt_dir": str(folder / "models"), "output_dir": str(folder / "eval")}
    files = [str(bundle / "configs" / name) for name in configs]
    workflow = ConfigWorkflow(
        files,
        meta_file=str(bundle / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type="train",
        **{**places, "resume": "never", **changed},
    )
    workflow.initialize()
    yield workflow
    workflow.finalize()


def gland_like(network: nn.Module) -> nn.Module:
    """Let a network of random weights answer with one ellipse of the size of a prostate.

    Its own masks are noise, whose surfaces take many times longer to measure than those of a trained network.
    """

    def answer(_: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> Tensor:
        mask = make_labels(1, logits.shape[-1], 0.0)[:, None].to(logits)
        margin = 4 * (2 * mask - 1)
        return 0 * logits + torch.cat([-margin, margin], 1)

    network.register_forward_hook(answer)
    return network


def some_cases(changed: dict[str, Any]) -> list[Any]:
    """Return cases of ``dataset_dir`` in even steps."""
    cases = datalist(changed["dataset_dir"], "all")
    return list(cases[:: max(1, len(cases) // VOLUMES)][:VOLUMES])


def evaluation_seconds(name: str, folder: Path, changed: dict[str, Any]) -> dict[str, Any]:
    """Return the seconds a volume of the evaluation of a training, volumes in memory, and of a test.

    A test reads, prepares and predicts each volume, writes the mask and computes all metrics.
    """
    bundle = bundle_of(name)
    cases = some_cases(changed)
    found: dict[str, Any] = {"cases": [case["case_id"] for case in cases]}
    given = {**changed, "folds": 4, "validate#dataset#data": cases}
    with opened(("train.json",), bundle, folder, given) as workflow:
        network = workflow.parser.get_parsed_content("network")
        (folder / "models").mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), folder / "models" / "model.pt")
        # the first time starts the device
        for _ in range(2):
            found["validation"] = _a_volume(workflow, len(cases))
    with opened(("train.json", "evaluate.json"), bundle, folder, given) as workflow:
        found["test"] = _a_volume(workflow, len(cases))
    return found


def _a_volume(workflow: ConfigWorkflow, cases: int) -> float:
    gland_like(workflow.parser.get_parsed_content("network"))
    evaluator = workflow.parser.get_parsed_content("validate#evaluator")
    start = time.perf_counter()
    evaluator.run()
    return round((time.perf_counter() - start) / cases, 4)


def feeding_seconds(folder: Path, changed: dict[str, Any]) -> dict[str, float]:
    """Return the seconds that preparing a volume takes, and the median milliseconds from batch to batch."""
    bundle = bundle_of("ENet")
    cases = some_cases(changed)
    wanted = BATCHES * changed["batch_size"]
    given = {**changed, "train#dataset#data": cases, "samples_per_epoch": wanted}
    with opened(("train.json",), bundle, folder, given) as workflow:
        start = time.perf_counter()
        workflow.parser.get_parsed_content("train#dataset")
        prepared = (time.perf_counter() - start) / len(cases)
        loader = workflow.parser.get_parsed_content("train#dataloader")
        moments = []
        for batch in islice(loader, BATCHES):
            batch["image"].to(changed["device"])
            moments.append(time.perf_counter())
    gaps = [1e3 * (after - before) for before, after in pairwise(moments[WARM_UP:])]
    return {"volume_seconds": round(prepared, 4), "batch_ms": round(statistics.median(gaps), 3)}
