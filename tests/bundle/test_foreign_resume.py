# SPDX-License-Identifier: Apache-2.0
"""A student that knows nothing of this package, killed and run again, ends with the weights of a run in one go."""

from __future__ import annotations

import functools
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import monai
import pytest
import torch
from small_students import flat, nested, stepwise, unet, write_big, write_student, write_volumes

from akd_monai.__main__ import user_error
from akd_monai.bundle import distill_bundle
from akd_monai.engines import DistillationMixin

# of 4 volumes in batches of one, so that an epoch has 4 steps
EPOCHS = 3
KILLS = {
    "between two epochs": [(signal.SIGKILL, 5)],
    "inside an epoch": [(signal.SIGKILL, 7)],
    "stopped twice in one epoch, then killed": [(signal.SIGTERM, 6), (signal.SIGTERM, 7), (signal.SIGKILL, 10)],
}


@pytest.fixture(autouse=True)
def no_seeds_or_modules_are_left(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    monai.utils.set_determinism(None)


def dropping(data: Path) -> dict[str, Any]:
    """Return a config whose network draws random numbers as well."""
    return nested(data, network_def={**unet(2), "dropout": 0.3}, epochs=EPOCHS)


def pair(root: Path, config: dict[str, Any], data: Path, suffix: str = "json") -> tuple[Path, Path]:
    return write_big(root / "teacher", dropping(data)), write_student(root / "student", config, suffix=suffix)


def in_fork(bundles: tuple[Path, Path], kill: tuple[int, int] | None, options: dict[str, Any]) -> int:
    """Distil in another process, which sends itself a signal at the beginning of a step; return its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        torch.set_num_threads(1)
        torch.manual_seed(os.getpid())
        step = DistillationMixin._iteration

        @functools.wraps(step)
        def hit(self, engine, batch):
            if kill is not None and engine.state.iteration == kill[1]:
                os.kill(os.getpid(), kill[0])
            return step(self, engine, batch)

        DistillationMixin._iteration = hit
        distill_bundle(*bundles, **options)
        code = 0
    except SystemExit as leave:
        code = leave.code
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def state_of(student: Path) -> dict[str, torch.Tensor]:
    """Return all that a finished run has left: newest weights, optimizer, schedule, random numbers, and the best model."""
    saved = torch.load(student / "distillation" / "resume.pt", weights_only=True)
    assert saved["finished"]
    found = {f"best {name}": value for name, value in torch.load(student / "models" / "model.pt").items()}
    _flatten(saved["parts"], "parts", found)
    _flatten(saved["members"], "members", found)
    return {name: value for name, value in found.items() if "_saved" not in name and "seconds" not in name}


def _flatten(value: Any, name: str, found: dict[str, Any]) -> None:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    if not isinstance(value, (dict, list, tuple)):
        found[name] = value
    for key, part in parts:
        _flatten(part, f"{name} {key}", found)


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    differing = [name for name in one if not _is_same(one[name], other[name])]
    assert not differing, differing


def _is_same(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def resumed(bundles: tuple[Path, Path], kills: list[tuple[int, int]], **options: Any) -> dict[str, Any]:
    for kill in kills:
        expected = -kill[0] if kill[0] == signal.SIGKILL else 128 + kill[0]
        assert in_fork(bundles, kill, options) == expected
    assert in_fork(bundles, None, options) == 0
    return state_of(bundles[1])


@pytest.fixture(scope="module")
def in_one_go(tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("one")
    data = write_volumes(root / "data")
    return data, resumed(pair(root, dropping(data), data), [])


def test_a_finished_run_that_is_started_again_trains_nothing_and_names_its_file(in_one_go, caplog):
    data, expected = in_one_go
    bundles = data.parent / "teacher", data.parent / "student"
    with caplog.at_level("INFO"):
        assert distill_bundle(*bundles) == bundles[1] / "models" / "model.pt"
    assert (
        f"the run in {bundles[1] / 'distillation'} is finished (epoch {EPOCHS}): nothing left to train" in caplog.text
    )
    assert_same(state_of(bundles[1]), expected)


def test_without_resuming_nothing_is_kept_and_every_run_is_a_new_one(tmp_path):
    data = write_volumes(tmp_path / "data")
    bundles = pair(tmp_path, {**dropping(data), "epochs": 1}, data)
    first = torch.load(distill_bundle(*bundles, distillation_resume="off"), weights_only=True)
    assert not (bundles[1] / "distillation").exists()
    again = torch.load(distill_bundle(*bundles, distillation_resume="off"), weights_only=True)
    assert_same(again, first)
    other = distill_bundle(*bundles, distillation_resume="off", lambda_logits=2.0)
    assert not all(torch.equal(value, first[name]) for name, value in torch.load(other, weights_only=True).items())


def test_another_run_is_not_resumed(tmp_path):
    data = write_volumes(tmp_path / "data")
    bundles = pair(tmp_path, {**dropping(data), "epochs": 1}, data)
    distill_bundle(*bundles)
    with pytest.raises(RuntimeError) as caught:
        distill_bundle(*bundles, lambda_logits=2.0)
    message = str(user_error(caught.value))
    assert "belongs to another run, which differs in terms.logits.weight (was 0.2, is 2.0)" in message
    assert "set resume to 'never'" in message
    assert distill_bundle(*bundles, lambda_logits=2.0, distillation_resume="never") is not None


@pytest.mark.parametrize("when", KILLS)
def test_a_run_that_is_killed_and_started_again_ends_as_without(in_one_go, tmp_path, when):
    data, expected = in_one_go
    assert_same(resumed(pair(tmp_path, dropping(data), data), KILLS[when]), expected)


def short_epochs(data: Path) -> dict[str, Any]:
    """Return a config whose epochs are shorter than a pass over the data."""
    config = dropping(data)
    config["train"]["trainer"]["epoch_length"] = 3
    return config


def in_workers(data: Path) -> dict[str, Any]:
    """Return a config whose batches are made by other processes."""
    config = dropping(data)
    config["train"]["dataloader"]["num_workers"] = 2
    return config


def own_step(data: Path) -> dict[str, Any]:
    return {**stepwise(data), "epochs": EPOCHS}


def top_level(data: Path) -> dict[str, Any]:
    return {**flat(data), "num_epochs": EPOCHS}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "suffix", "kills"),
    [
        (short_epochs, "json", [(signal.SIGKILL, 4), (signal.SIGTERM, 6), (signal.SIGKILL, 9)]),
        (in_workers, "json", [(signal.SIGTERM, 6)]),
        (own_step, "json", [(signal.SIGTERM, 6), (signal.SIGKILL, 9)]),
        (top_level, "yaml", [(signal.SIGTERM, 6)]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_other_students_end_as_without_as_well(tmp_path, config, suffix, kills):
    data = write_volumes(tmp_path / "data")
    expected = resumed(pair(tmp_path / "one", config(data), data, suffix), [])
    assert_same(resumed(pair(tmp_path / "other", config(data), data, suffix), kills), expected)


@pytest.mark.fault(
    "Stopped runs",
    "a foreign student trained on unlabelled volumes as well",
    injected="SIGKILL inside the second of three epochs",
    outcome="resumed; weights, optimizer and random numbers are those of a run in one go, bit for bit",
)
def test_unlabelled_volumes_change_nothing_of_it(tmp_path):
    data = write_volumes(tmp_path / "data")
    images = write_volumes(tmp_path / "images", count=3)
    listed = [{"image": str(path)} for path in sorted(images.glob("image*"))]
    options = {"unlabelled_data": listed, "unlabelled_batch_size": 1, "confidence": 0.3}
    one_go = resumed(pair(tmp_path / "one", dropping(data), data), [], **options)
    killed = resumed(pair(tmp_path / "killed", dropping(data), data), [(signal.SIGKILL, 7)], **options)
    assert_same(one_go, killed)
