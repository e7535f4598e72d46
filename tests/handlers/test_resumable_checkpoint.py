# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging
import signal
import threading

import pytest
import torch
from ignite.engine import Events
from monai.engines import IterationEvents, SupervisedTrainer
from monai.handlers import CheckpointLoader
from torch import nn
from toy_run import build, network

from akd_monai.errors import InputError, NonFiniteError
from akd_monai.files import sha256_of
from akd_monai.handlers import ResumableCheckpoint
from akd_monai.handlers._events import attached_handlers


def stop_after(epochs):
    """Return a handler that ends the run as an early stop does."""

    class Stop:
        def attach(self, engine):
            engine.add_event_handler(Events.EPOCH_COMPLETED(once=epochs), lambda e: e.terminate())

    return Stop()


def train(folder, **options):
    trainer = build(folder, **options)
    trainer.run()
    return trainer


def saved(folder):
    return torch.load(folder / "resume.pt", weights_only=True)


def test_finished_run_started_again_trains_nothing(tmp_path):
    train(tmp_path)
    before = {path.name: (sha256_of(path), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    trainer = build(tmp_path)
    steps = []
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda e: steps.append(1))
    trainer.run()
    after = {path.name: (sha256_of(path), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    for name in (".lock", ".model.pt.lock"):
        before.pop(name), after.pop(name)
    assert (steps, after) == ([], before)


def test_more_epochs_continue_as_if_planned(tmp_path):
    train(tmp_path / "two_steps", epochs=2)
    grown = train(tmp_path / "two_steps", epochs=4)
    uninterrupted = train(tmp_path / "one_step", epochs=4)
    assert grown.state.iteration == 20
    expected = uninterrupted.network.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in grown.network.state_dict().items())


@pytest.mark.fault(
    "The same run, or none",
    "fewer epochs than are done",
    injected="resumed with fewer epochs",
    outcome="refused in one line",
)
def test_fewer_epochs_than_done_are_refused(tmp_path):
    train(tmp_path, epochs=3)
    with pytest.raises(InputError, match="already completed 3 epochs, more than max_epochs = 2: raise"):
        train(tmp_path, epochs=2)


def test_early_stop_stays_stopped(tmp_path):
    train(tmp_path, handlers=[stop_after(2)])
    again = train(tmp_path)
    assert again.state.iteration == 10


def test_early_stop_continues_with_more_epochs(tmp_path):
    train(tmp_path, handlers=[stop_after(2)])
    assert train(tmp_path, epochs=5).state.iteration == 25


def test_another_seed_is_refused_by_name(tmp_path):
    train(tmp_path, epochs=1)
    with pytest.raises(
        InputError, match=r"differs in seed \(was 5, is 6\); train\.sampler\.seed .*: choose another output folder"
    ):
        train(tmp_path, seed=6)


def test_another_optimizer_is_refused(tmp_path):
    train(tmp_path, epochs=1)
    trainer = build(tmp_path)
    trainer.optimizer = torch.optim.SGD(trainer.network.parameters(), lr=0.1)
    with pytest.raises(InputError, match=r"optimizer_class \(was 'Adam', is 'SGD'\)"):
        trainer.run()


def test_another_architecture_is_refused(tmp_path):
    train(tmp_path, epochs=1)
    trainer = build(tmp_path)
    trainer.network[4] = nn.Conv2d(4, 2, 1)
    with pytest.raises(InputError, match=r"differs in network\.4\.out_channels \(was 1, is 2\): choose another"):
        trainer.run()


def test_a_part_of_another_shape_is_refused(tmp_path):
    train(tmp_path, epochs=1, extra={"head": nn.Linear(1, 1)})
    with pytest.raises(InputError, match=r"does not fit this run's extra_head .*size mismatch for weight"):
        train(tmp_path, extra={"head": nn.Linear(1, 2)})


def test_never_starts_from_the_beginning(tmp_path):
    train(tmp_path, epochs=2)
    again = build(tmp_path, seed=6, epochs=1, resume="never")
    again.run()
    assert (saved(tmp_path)["iteration"], saved(tmp_path)["fingerprint"]["seed"]) == (5, 6)
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 1
    assert again.evaluator.state.best_metric_epoch == 1


@pytest.mark.fault(
    "Damaged checkpoints and weights",
    "a checkpoint is cut, empty or no checkpoint",
    injected="the newest file is replaced",
    outcome="skipped with a warning, the file before is used",
)
@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b[:3000] + b"\xff" * 64 + b[3064:]]
)
def test_damaged_file_is_skipped_and_reported(tmp_path, caplog, damage):
    train(tmp_path, epochs=2)
    path = tmp_path / "resume.pt"
    path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        trainer = train(tmp_path, epochs=3)
    assert "skipped" in caplog.text
    assert "resume.pt, which cannot be read" in caplog.text
    assert trainer.state.iteration == 15


@pytest.mark.fault(
    "Damaged checkpoints and weights",
    "both checkpoints are damaged",
    injected="both files are replaced",
    outcome="one line with the remedy; no fresh start in silence",
)
def test_no_readable_file_is_an_error_not_a_fresh_start(tmp_path):
    train(tmp_path, epochs=2)
    model = sha256_of(tmp_path / "model.pt")
    for name in ("resume.pt", "resume-previous.pt"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"none of the checkpoints in .* can be read.*resume to 'never'"):
        train(tmp_path)
    assert sha256_of(tmp_path / "model.pt") == model


def test_starting_weights_do_not_overwrite_resumed_ones(tmp_path):
    """A bundle, or MONAI Label, may load the weights that training once began with, at every start."""
    torch.save(network(seed=99).state_dict(), tmp_path / "start.pt")

    class Load:
        def attach(self, engine):
            self.engine = engine
            engine.add_event_handler(Events.STARTED, self)

        def __call__(self, engine):
            CheckpointLoader(str(tmp_path / "start.pt"), {"network": engine.network})(engine)

    train(tmp_path / "hit", epochs=2, first=[Load()])
    resumed = train(tmp_path / "hit", epochs=4, first=[Load()])
    uninterrupted = train(tmp_path / "uninterrupted", epochs=4, first=[Load()])
    expected = uninterrupted.network.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in resumed.network.state_dict().items())


@pytest.mark.fault(
    "Numbers",
    "weights become NaN",
    injected="a weight is set to NaN during training",
    outcome="nothing is saved, the checkpoint before is intact",
)
def test_non_finite_weights_are_never_saved(tmp_path):
    trainer = build(tmp_path)

    @trainer.on(Events.ITERATION_COMPLETED(once=12))
    def spoil(engine):
        engine.network[0].weight.data[0] = float("nan")

    with pytest.raises(NonFiniteError, match=r"after iteration 15 \(0.weight"):
        trainer.run()
    assert saved(tmp_path)["iteration"] == 10


def test_state_that_could_not_be_read_back_is_refused_at_the_first_save(tmp_path):
    class Odd:
        def state_dict(self):
            return {"function": print, "object": Odd()}

        def load_state_dict(self, state):
            raise AssertionError("never saved")

    with pytest.raises(InputError, match="state of extra_odd cannot be saved safely"):
        train(tmp_path, extra={"odd": Odd()})
    assert not (tmp_path / "resume.pt").exists()


def test_extra_objects_are_restored(tmp_path):
    first, second = nn.Linear(1, 1), nn.Linear(1, 1)
    train(tmp_path, epochs=1, extra={"head": first})
    train(tmp_path, epochs=2, extra={"head": second})
    assert torch.equal(first.weight, second.weight)


def test_missing_part_is_refused(tmp_path):
    train(tmp_path, epochs=1, extra={"head": nn.Linear(1, 1)})
    with pytest.raises(InputError, match=r"holds extra_head, .* but this run has lr_scheduler_0, network, optimizer"):
        train(tmp_path)


def test_adapters_and_their_optimizer_are_part_of_the_run(tmp_path):
    def with_adapters():
        trainer = build(tmp_path, epochs=1)
        trainer.distillation = nn.Conv2d(1, 1, 1)
        trainer.adapter_optimizer = torch.optim.Adam(trainer.distillation.parameters())
        return trainer

    first, second = with_adapters(), with_adapters()
    first.run()
    second.run()
    assert torch.equal(first.distillation.weight, second.distillation.weight)
    assert {"distillation", "adapter_optimizer"} <= saved(tmp_path)["parts"].keys()
    assert "teacher" not in str(saved(tmp_path).keys())


def test_scaler_state_is_kept(tmp_path, monkeypatch):
    class Scaler:
        def __init__(self):
            self.scale_factor = 65536.0

        def is_enabled(self):
            return True

        def state_dict(self):
            return {"scale": self.scale_factor}

        def load_state_dict(self, state):
            self.scale_factor = state["scale"]

    monkeypatch.setattr(torch.cuda.amp, "GradScaler", Scaler)
    first = build(tmp_path, epochs=1)
    first.amp = True
    first.add_event_handler(Events.STARTED, lambda e: setattr(e, "amp", False))  # no autocast without a GPU
    first.add_event_handler(Events.ITERATION_COMPLETED(once=4), lambda e: setattr(e.scaler, "scale_factor", 128.0))
    first.run()
    second = build(tmp_path, epochs=1)
    second.amp = True
    second.run()
    assert second.scaler.scale_factor == 128.0


@pytest.mark.fault(
    "Disk, memory and processes",
    "the output folder cannot be written to",
    injected="a file stands in its place",
    outcome="refused before the first step",
)
def test_unwritable_folder_is_refused_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("in the way")
    trainer = build(tmp_path / "file" / "run")
    with pytest.raises(InputError, match=r"folder '.*file/run' cannot be written to"):
        trainer.run()
    assert trainer.state.iteration == 0


def test_an_error_elsewhere_passes_and_leaves_signals_and_lock_as_they_were(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    trainer = build(tmp_path)

    @trainer.on(Events.ITERATION_COMPLETED(once=7))
    def fail(engine):
        assert signal.getsignal(signal.SIGTERM) != before
        raise KeyError("elsewhere")

    with pytest.raises(KeyError, match="elsewhere"):
        trainer.run()
    assert signal.getsignal(signal.SIGTERM) == before
    assert train(tmp_path).state.iteration == 20


def test_error_without_any_other_handler_is_not_swallowed(tmp_path):
    def step(engine, batch):
        raise RuntimeError("broken step")

    net = nn.Linear(1, 1)
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=[{"image": torch.ones(1), "label": torch.ones(1)}],
        network=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        loss_function=nn.MSELoss(),
        iteration_update=step,
        train_handlers=[ResumableCheckpoint(tmp_path)],
    )
    with pytest.raises(RuntimeError, match="broken step"):
        trainer.run()


@pytest.mark.fault(
    "Stopped runs",
    "the loader fails after a stop signal",
    injected="the loader raises after Ctrl-C",
    outcome="the checkpoint is saved",
)
def test_failing_loader_after_a_stop_signal_still_saves(tmp_path):
    """Ctrl-C reaches worker processes, too; the batch after it may fail."""
    trainer = build(tmp_path)

    @trainer.on(Events.GET_BATCH_STARTED(once=8))
    def interrupt(engine):
        signal.raise_signal(signal.SIGINT)
        raise RuntimeError("DataLoader worker exited unexpectedly")

    with pytest.raises(SystemExit) as leaving:
        trainer.run()
    assert (leaving.value.code, saved(tmp_path)["iteration"]) == (130, 8)


@pytest.mark.fault(
    "Stopped runs",
    "a step fails after a stop signal",
    injected="an error in the backward pass after Ctrl-C",
    outcome="a half-done step is not saved",
)
def test_error_inside_a_step_after_a_stop_signal_does_not_save(tmp_path):
    trainer = build(tmp_path)

    @trainer.on(IterationEvents.BACKWARD_COMPLETED)
    def interrupt(engine):
        if engine.state.iteration == 8:
            signal.raise_signal(signal.SIGINT)
            raise RuntimeError("half a step")

    with pytest.raises(RuntimeError, match="half a step"):
        trainer.run()
    assert saved(tmp_path)["iteration"] == 5


def test_works_outside_the_main_thread(tmp_path):
    thread = threading.Thread(target=train, args=(tmp_path,), kwargs={"epochs": 1})
    thread.start()
    thread.join()
    assert saved(tmp_path)["iteration"] == 5


@pytest.mark.parametrize(
    "scheduler",
    [
        lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [1, 2]),
        lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 0.5**step),
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=20),
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o),
        lambda o: torch.optim.lr_scheduler.SequentialLR(
            o,
            [torch.optim.lr_scheduler.ConstantLR(o), torch.optim.lr_scheduler.CosineAnnealingLR(o, 5)],
            milestones=[2],
        ),
    ],
    ids=["multi_step", "lambda", "one_cycle", "plateau", "sequential"],
)
def test_schedulers_of_pytorch_can_be_saved_and_restored(tmp_path, scheduler):
    def make(epochs):
        trainer = build(tmp_path, epochs=epochs)
        schedule = scheduler(trainer.optimizer)
        handler = next(h for h in attached_handlers(trainer) if type(h).__name__ == "LrScheduleHandler")
        handler.lr_scheduler = schedule
        if isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
            handler.step_transform = lambda engine: 1.0
        return trainer, schedule

    first, schedule = make(1)
    first.run()
    second, resumed = make(1)
    second.run()
    assert resumed.last_epoch == schedule.last_epoch > 1
    assert second.optimizer.param_groups[0]["lr"] == first.optimizer.param_groups[0]["lr"]


def test_half_an_epoch_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"max_epochs must be an integer, got 1\.5\.$"):
        build(tmp_path, epochs=1.5).run()
    assert not (tmp_path / "resume.pt").exists()
