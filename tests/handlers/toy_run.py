# SPDX-License-Identifier: Apache-2.0
"""A small training run on synthetic images for the tests of handlers: 4 epochs of 5 iterations."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.engines import IterationEvents, SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, MeanDice, StatsHandler, ValidationHandler, from_engine
from torch import nn
from torch.utils.data import DataLoader, Dataset

from akd_monai.data import KeyedSampler
from akd_monai.handlers import History, KeyedRandomness, LossTerms, ResumableCheckpoint, SaveBestModel
from akd_monai.keys import random_key

SAMPLES, BATCH, EPOCHS = 10, 2, 4


class KeyedImages(Dataset):
    """Synthetic images whose noise is keyed by (epoch, index)."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, key):
        epoch, index = key if isinstance(key, tuple) else (0, key)
        generator = torch.Generator().manual_seed(random_key(epoch, index))
        image = torch.randn(1, 8, 8, generator=generator)
        return {"image": image, "label": (image > 0).float(), "case_id": f"case{index}"}


def network(seed: int = 3) -> nn.Module:
    """Return a network with batch normalisation and dropout."""
    torch.manual_seed(seed)
    stem = [nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*stem, nn.Conv2d(4, 1, 1))


def build(
    folder: str | Path,
    *,
    seed: int = 5,
    epochs: int = EPOCHS,
    workers: int = 0,
    handlers: list[Any] | None = None,
    first: list[Any] | None = None,
    trainer: dict[str, Any] | None = None,
    score: Any = None,
    models: str | Path | None = None,
    **checkpoint: Any,
) -> SupervisedTrainer:
    """Return a trainer whose handlers stand in the most awkward order: the checkpoint before all it must wait for."""
    folder, net = Path(folder), network()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.CyclicLR(optimizer, 1e-4, 1e-2, step_size_up=7, cycle_momentum=False)
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(KeyedImages(), batch_size=5),
        network=net,
        postprocessing=lambda item: {**item, "pred": (item["pred"] > 0).float()},
        key_val_metric={"val_mean_dice": MeanDice(output_transform=from_engine(["pred", "label"]))},
        val_handlers=[SaveBestModel(net, Path(models or folder) / "model.pt")],
    )
    if score is not None:
        evaluator.add_event_handler(
            Events.EPOCH_COMPLETED, lambda e: e.state.metrics.update(val_mean_dice=score(e.state.epoch))
        )
    sampler = KeyedSampler(KeyedImages(), seed=seed)
    loader = DataLoader(KeyedImages(), batch_size=BATCH, sampler=sampler, num_workers=workers)
    result = SupervisedTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=loader,
        network=net,
        optimizer=optimizer,
        loss_function=nn.BCEWithLogitsLoss(),
        train_handlers=[
            *(first or []),
            StatsHandler(iteration_log=False, epoch_log=False),
            ResumableCheckpoint(folder, **{"fingerprint": {"seed": seed}, **checkpoint}),
            History(folder / "history.jsonl"),
            LossTerms(),
            ValidationHandler(interval=1, validator=evaluator),
            LrScheduleHandler(scheduler, print_lr=False, epoch_level=False),
            KeyedRandomness(seed, sampler, BATCH),
            *(handlers or []),
        ],
        **(trainer or {}),
    )
    result.scheduler, result.evaluator, result.sampler = scheduler, evaluator, sampler
    return result


def run_in_process(folder: str, faults: dict[str, int], options: dict[str, Any]) -> None:
    """Train, meet ``faults``, and leave ``final.pt``, ``finished.json``, ``batches.txt`` and ``log.txt`` in ``folder``.

    Faults: ``at_iteration`` sends ``signal`` (SIGKILL) ``times`` (1) in the middle of that iteration; ``at_validation``
    sends SIGKILL in the n-th iteration of validations, of which an epoch has two; ``after_ms`` sends it some time after
    the start; ``at_sync`` and
    ``at_replace`` send SIGKILL while the n-th file is half written, or just before the n-th is renamed.
    """
    path = Path(folder)
    logging.basicConfig(level=logging.INFO, filename=path / "log.txt", filemode="w", force=True)
    if "after_ms" in faults:
        _kill_after(faults["after_ms"] / 1000)
    _kill_at("fsync", faults.get("at_sync", 0), halve=True)
    _kill_at("replace", faults.get("at_replace", 0), halve=False)
    # Whatever draws from the global generator before must not matter.
    torch.manual_seed(os.getpid())
    trainer = build(path, **options)

    def note(engine) -> None:
        with open(path / "batches.txt", "a") as stream:
            stream.write(f"{engine.state.iteration} {' '.join(engine.state.batch['case_id'])}\n")

    def hit(engine) -> None:
        if engine.state.iteration == faults.get("at_iteration"):
            for _ in range(faults.get("times", 1)):
                os.kill(os.getpid(), faults.get("signal", signal.SIGKILL))

    validated = []

    def hit_validation(engine) -> None:
        validated.append(engine.state.iteration)
        if len(validated) == faults.get("at_validation"):
            os.kill(os.getpid(), signal.SIGKILL)

    trainer.evaluator.add_event_handler(IterationEvents.FORWARD_COMPLETED, hit_validation)
    trainer.add_event_handler(Events.ITERATION_STARTED, note)
    trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, hit)
    trainer.run()
    torch.save(trainer.network.state_dict(), path / "final.pt")
    state = {"iteration": trainer.state.iteration, "epoch": trainer.state.epoch, "lr": trainer.scheduler.get_last_lr()}
    best = {"best": trainer.evaluator.state.best_metric, "best_epoch": trainer.evaluator.state.best_metric_epoch}
    (path / "finished.json").write_text(json.dumps({**state, **best}))


def _kill_after(seconds: float) -> None:
    """Let another process send SIGKILL, which does not wait until Python is between two steps."""
    victim = os.getpid()
    if os.fork() == 0:
        time.sleep(seconds)
        if os.getppid() == victim:
            os.kill(victim, signal.SIGKILL)
        os._exit(0)


def _kill_at(name: str, number: int, *, halve: bool) -> None:
    real, calls = getattr(os, name), []

    def call(*args):
        calls.append(name)
        if len(calls) == number:
            with contextlib.suppress(OSError):  # a folder is synchronised, too
                if halve:
                    os.ftruncate(args[0], os.fstat(args[0]).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args)

    if number:
        setattr(os, name, call)


def serve() -> None:
    """Read one run a line from the standard input, do it in a fork and answer its exit code: imports are paid for once."""
    with tempfile.TemporaryDirectory() as folder:
        build(folder, epochs=1).run()  # what is imported late is imported now
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                run_in_process(*json.loads(line))
                code = 0
            except SystemExit as leave:
                code = leave.code
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        status, give_up = None, time.monotonic() + 120
        while status is None:
            done, status = os.waitpid(pid, os.WNOHANG)
            if not done:
                status = None
                time.sleep(0.01)
                if time.monotonic() > give_up:
                    os.kill(pid, signal.SIGKILL)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
