# SPDX-License-Identifier: Apache-2.0
"""Two hospitals in NVFlare's simulator: what travels, what arrives, what does not, and what is refused."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from cli_tools import fails_with

from akd_monai.errors import InputError

pytest.importorskip("nvflare", reason="skipped: nvflare is not installed (pip install 'akd_monai[nvflare]')")
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "nvflare"
sys.path.insert(0, str(EXAMPLE))
import hospital  # noqa: E402
from prepare import prepare  # noqa: E402

WINDOW = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder of both hospitals after the run; ``untouched`` is hospital B as it was before."""
    root = tmp_path_factory.mktemp("two")
    prepare(root, size=32, epochs=1, features=(4, 4, 8, 8, 8))
    shutil.copytree(root / "hospital-B", root / "untouched")
    done = subprocess.run(
        [sys.executable, EXAMPLE / "two_hospitals.py", root],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
        # NVFlare kills groups of processes
        start_new_session=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == f"Student: {root / 'student.pt'}"
    return root


def state_of(path):
    return torch.load(path, weights_only=True)


@pytest.mark.slow
def test_the_teacher_of_a_is_the_teacher_of_b_to_the_bit(folder):
    ours = state_of(folder / "hospital-A" / hospital.TEACHER / "models" / "model.pt")
    theirs = state_of(folder / "hospital-B" / "received.pt")
    assert list(ours) == list(theirs)
    torch.testing.assert_close(theirs, ours, rtol=0, atol=0)
    assert not (folder / "hospital-B" / hospital.TEACHER / "models" / "model.pt").exists()


@pytest.mark.slow
def test_the_student_of_b_is_what_the_server_has_and_was_distilled(folder):
    trained = folder / "hospital-B" / hospital.STUDENT
    torch.testing.assert_close(
        state_of(folder / "student.pt"), state_of(trained / "models" / "model.pt"), rtol=0, atol=0
    )
    (epoch,) = map(json.loads, (trained / "eval" / "history.jsonl").read_text(encoding="utf-8").splitlines())
    assert epoch["loss/logits"] > 0


@pytest.mark.slow
def test_two_messages_hold_named_tensors_and_nothing_else(folder):
    messages = json.loads((folder / "messages.json").read_text(encoding="utf-8"))
    files = {"hospital-A to hospital-B": "hospital-B/received.pt", "hospital-B to server": "student.pt"}
    assert list(messages) == list(files)
    for name, file in files.items():
        state = state_of(folder / file)
        assert messages[name]["metrics"] == []
        listed = messages[name]["tensors"]
        assert {key: tensor["shape"] for key, tensor in listed.items()} == {k: list(v.shape) for k, v in state.items()}


def windows(path):
    """Return pieces of an image that nothing holds by chance: of its file, and of its voxels in two types."""
    image = nib.load(path)
    stored = np.asarray(image.dataobj)
    middle = len(path.read_bytes()) // 2
    found = [path.read_bytes()[middle : middle + WINDOW]]
    for values in (stored, stored.astype(np.float32)):
        for order in "CF":
            data = values.tobytes(order)
            start = len(data) // 2
            found.append(data[start : start + WINDOW])
    assert all(len(set(piece)) > 8 for piece in found)
    return found


def contents(root):
    for path in root.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            yield path, data + (gzip.decompress(data) if path.suffix == ".gz" else b"")


@pytest.mark.slow
def test_no_bytes_of_images_of_a_are_elsewhere(folder):
    images = [
        path for path in (folder / "hospital-A" / "data").rglob("*.nii.gz") if "segmentation" not in path.name.lower()
    ]
    assert len(images) == 8
    pieces = [piece for path in images for piece in windows(path)]
    at_home = b"".join(data for _, data in contents(folder / "hospital-A" / "data"))
    assert sum(piece in at_home for piece in pieces) >= 2 * len(images)
    for place in ("hospital-B", "nvflare"):
        for path, data in contents(folder / place):
            assert not any(piece in data for piece in pieces), path
    for name in ("student.pt", "messages.json"):
        assert not any(piece in (folder / name).read_bytes() for piece in pieces)


class Bomb:
    """Reading it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def poisoned(kind, state, folder):
    first = next(iter(state))
    if kind == "code":
        return {**state, first: Bomb(folder / "code ran")}
    if kind == "shape":
        return {**state, first: state[first][:, :, :1]}
    return {**state, first: torch.full_like(state[first], torch.nan)}


@pytest.mark.slow
@pytest.mark.fault(
    "Bundles that are not trusted",
    "a teacher's weights from another hospital are poisoned",
    injected="code in the pickle, a tensor of another shape, NaN",
    outcome="exit code 2, one line; no code runs and nothing is trained",
)
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("code", "which could run code"),
        ("shape", "1 of another shape"),
        ("nan", "hold NaN or infinity in 1 of 212 tensors"),
    ],
)
def test_poisoned_weights_end_in_one_line(kind, message, folder, tmp_path, capsys):
    place = shutil.copytree(folder / "untouched", tmp_path / "hospital-B")
    torch.save(poisoned(kind, state_of(folder / "hospital-B" / "received.pt"), tmp_path), place / hospital.RECEIVED)
    assert message in fails_with(capsys, *hospital.distil_command(place)[3:])
    assert not (tmp_path / "code ran").exists()
    student = place / hospital.STUDENT
    assert not list(student.rglob("*.pt"))
    assert not (student / "eval" / "history.jsonl").exists()


@pytest.mark.parametrize("message", [{"w": [1.0]}, {"w": Bomb("x")}, {1: torch.zeros(1)}, {}, None, torch.zeros(2)])
def test_a_message_of_anything_but_named_tensors_is_refused(message):
    with pytest.raises(InputError, match="a message must map names to tensors, got"):
        hospital.checked_state(message)


def test_a_training_that_fails_tells_no_more_than_its_exit_code(tmp_path):
    (tmp_path / hospital.TEACHER).mkdir()
    with pytest.raises(RuntimeError) as caught:
        hospital.train_teacher(tmp_path)
    assert str(caught.value) == "the training ended with exit code 1; its last line stands in training.log."
    assert (tmp_path / hospital.LOG).read_text(encoding="utf-8")
