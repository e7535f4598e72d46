# SPDX-License-Identifier: Apache-2.0
"""What runs at a hospital: A trains the teacher and sends its weights; B distils a student from weights it was sent.

NVFlare starts it at each client. Images, masks, predictions and logs stay in the hospital's folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from akd_monai.errors import InputError

__all__ = ["checked_state", "distil_command", "distil_student", "train_teacher"]

TEACHER = "prostate_mri_unetplusplus"
STUDENT = "prostate_mri_enet"
RECEIVED = "received.pt"
LOG = "training.log"
_WEIGHTS = Path("models") / "model.pt"


def train_teacher(hospital: Path) -> dict[str, Tensor]:
    """Train the teacher's bundle on all sites of the hospital, and return its weights."""
    bundle = hospital / TEACHER
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/train.json"]
    _run([*command, f"--dataset_dir={hospital / 'data'}"], bundle, hospital / LOG)
    return _weights_of(bundle)


def distil_student(hospital: Path, received: Any) -> dict[str, Tensor]:
    """Distil the student's bundle from a teacher's weights that came from elsewhere, and return the student's weights.

    They are untrusted: only named tensors are stored, and ``distill`` compares names and shapes with the teacher's public
    bundle and refuses values that are no numbers, before anything is trained.
    """
    torch.save(checked_state(received), hospital / RECEIVED)
    _run(distil_command(hospital), hospital, hospital / LOG)
    return _weights_of(hospital / STUDENT)


def distil_command(hospital: Path) -> list[str]:
    """Return the command of the distillation."""
    return [
        *(sys.executable, "-m", "akd_monai", "distill"),
        f"--teacher={hospital / TEACHER}",
        f"--teacher_weights={hospital / RECEIVED}",
        f"--student={hospital / STUDENT}",
        f"--dataset_dir={hospital / 'data'}",
    ]


def checked_state(message: Any) -> dict[str, Tensor]:
    """Return a message's weights as contiguous tensors of memory of their own.

    Raises:
        InputError: if it is no mapping from names to tensors.
    """
    if not isinstance(message, Mapping) or not message:
        raise InputError(f"a message must map names to tensors, got {type(message).__name__}.")
    state = {}
    for name, value in message.items():
        if not isinstance(name, str) or type(value) is not Tensor:
            raise InputError(f"a message must map names to tensors, got {type(value).__name__} under {name!r}.")
        state[name] = value.detach().cpu().clone()
    return state


def _weights_of(bundle: Path) -> dict[str, Tensor]:
    return checked_state(torch.load(bundle / _WEIGHTS, map_location="cpu", weights_only=True))


def _run(command: Sequence[str], folder: Path, log: Path) -> None:
    """Run a training; what it says stays here, since an error's message may reach the server."""
    with open(log, "w", encoding="utf-8") as stream:
        done = subprocess.run(command, cwd=folder, stdout=stream, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        raise RuntimeError(f"the training ended with exit code {done.returncode}; its last line stands in {log.name}.")


def main() -> None:
    """Answer each request of the server: with a teacher, or with a student distilled from the weights it holds."""
    import nvflare.client as flare

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--role", choices=("teacher", "student"), required=True)
    parser.add_argument("--folder", type=Path, required=True)
    asked = parser.parse_args()
    flare.init()
    while flare.is_running():
        message = flare.receive()
        if message is None:
            break
        is_teacher = asked.role == "teacher"
        weights = train_teacher(asked.folder) if is_teacher else distil_student(asked.folder, message.params)
        # tensors: in this exchange NVFlare drops NumPy arrays without a word
        flare.send(flare.FLModel(params=weights))


if __name__ == "__main__":
    main()
