# SPDX-License-Identifier: Apache-2.0
"""A small training run for the tests of resuming, in a process of its own: synthetic images, 4 epochs of 5 iterations.

``python toy_run.py FOLDER '{"kill_at": 13, ...}'`` writes its files and, at the end, ``final.pt`` and ``finished.json``
into FOLDER. ``kill_at`` sends ``signal`` to itself in the middle of that iteration.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path

import torch
from ignite.engine import Events
from monai.engines import IterationEvents, SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, MeanDice, StatsHandler, ValidationHandler, from_engine
from torch import nn
from torch.utils.data import DataLoader, Dataset

from akd_monai.data import KeyedSampler
from akd_monai.handlers import History, KeyedRandomness, LossTerms, ResumableCheckpoint, SaveBestModel
from akd_monai.keys import random_key

SAMPLES, BATCH, EPOCHS, LENGTH = 10, 2, 4, 5


class KeyedImages(Dataset):
    """Synthetic images whose noise is keyed by (epoch, index)."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, key):
        epoch, index = key if isinstance(key, tuple) else (0, key)
        generator = torch.Generator().manual_seed(random_key(epoch, index))
        image = torch.randn(1, 8, 8, generator=generator)
        return {"image": image, "label": (image > 0).float(), "case_id": f"case{index}"}


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    stem = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*stem, nn.Conv2d(4, 1, 1))


def build(folder: Path, options: dict) -> SupervisedTrainer:
    net, seed, workers = network(3), options.get("seed", 5), options.get("workers", 0)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.CyclicLR(optimizer, 1e-4, 1e-2, step_size_up=7, cycle_momentum=False)
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(KeyedImages(), batch_size=5),
        network=net,
        postprocessing=lambda item: {**item, "pred": (item["pred"] > 0).float()},
        key_val_metric={"val_mean_dice": MeanDice(output_transform=from_engine(["pred", "label"]))},
        val_handlers=[SaveBestModel(net, folder / "model.pt")],
    )
    sampler = KeyedSampler(KeyedImages(), seed=seed)
    handlers = [
        StatsHandler(iteration_log=False),
        ResumableCheckpoint(
            folder,
            fingerprint={"seed": seed},
            interval=options.get("interval"),
            resume=options.get("resume", "auto"),
        ),
        History(folder / "history.jsonl"),
        LossTerms(),
        ValidationHandler(interval=1, validator=evaluator),
        LrScheduleHandler(scheduler, print_lr=False, epoch_level=False),
        KeyedRandomness(seed, sampler, BATCH),
    ]
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=options.get("epochs", EPOCHS),
        train_data_loader=DataLoader(KeyedImages(), batch_size=BATCH, sampler=sampler, num_workers=workers),
        network=net,
        optimizer=optimizer,
        loss_function=nn.BCEWithLogitsLoss(),
        train_handlers=handlers,
        accumulation_steps=options.get("accumulation_steps", 1),
    )
    trainer.scheduler, trainer.seen = scheduler, []
    return trainer


def main(folder: Path, options: dict) -> None:
    # Anything that draws from the global generator at the start must not matter.
    torch.manual_seed(os.getpid())
    trainer = build(folder, options)

    def note(engine) -> None:
        with open(folder / "batches.txt", "a") as stream:
            stream.write(f"{engine.state.iteration} {','.join(engine.state.batch['case_id'])}\n")

    def hit(engine) -> None:
        if engine.state.iteration != options.get("kill_at"):
            return
        for _ in range(options.get("times", 1)):
            os.kill(os.getpid(), options.get("signal", signal.SIGKILL))

    trainer.add_event_handler(Events.ITERATION_STARTED, note)
    trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, hit)
    trainer.run()
    torch.save(trainer.network.state_dict(), folder / "final.pt")
    state = {"iteration": trainer.state.iteration, "epoch": trainer.state.epoch, "lr": trainer.scheduler.get_last_lr()}
    (folder / "finished.json").write_text(json.dumps(state))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main(Path(sys.argv[1]), json.loads(sys.argv[2]) if len(sys.argv) > 2 else {})
