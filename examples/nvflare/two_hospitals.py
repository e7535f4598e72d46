# SPDX-License-Identifier: Apache-2.0
"""A teacher's weights travel from hospital A to hospital B: ``python two_hospitals.py [FOLDER]`` in NVFlare's simulator.

``prepare.py`` makes the folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import sys
from pathlib import Path

import numpy as np
import torch
from hospital import checked_state
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.workflows.model_controller import ModelController
from nvflare.job_config.api import FedJob
from nvflare.job_config.script_runner import ScriptRunner
from torch import Tensor

__all__ = ["TeacherThenStudent", "simulate"]

ROLES = {"hospital-A": "teacher", "hospital-B": "student"}
STUDENT = "student.pt"
MESSAGES = "messages.json"


class TeacherThenStudent(ModelController):  # type: ignore[misc]  # NVFlare has no types
    """Ask A for a teacher, hand its weights to B, and keep B's student: two messages with weights, and no rounds.

    Args:
        folder: where ``student.pt`` is written, and ``messages.json``, which lists every tensor that was sent.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(persistor_id="")
        self.folder = folder

    def run(self) -> None:
        """Send both requests."""
        teacher = self._answer("hospital-A", {"nothing": np.zeros(1, np.float32)})
        student = self._answer("hospital-B", teacher.params)
        folder = Path(self.folder)
        torch.save(_state(student), folder / STUDENT)
        sent = {"hospital-A to hospital-B": _listed(teacher), "hospital-B to server": _listed(student)}
        (folder / MESSAGES).write_text(json.dumps(sent, indent=1) + "\n", encoding="utf-8")

    def _answer(self, hospital: str, message: dict[str, np.ndarray]) -> FLModel:
        answers = self.send_model_and_wait(targets=[hospital], data=FLModel(params=message))
        if not answers:
            raise RuntimeError(f"{hospital} sent nothing; its training.log says why.")
        return answers[0]


def _state(message: FLModel) -> dict[str, Tensor]:
    # the server holds arrays, NVFlare's form between two clients of PyTorch
    return checked_state({name: torch.as_tensor(value) for name, value in message.params.items()})


def _listed(message: FLModel) -> dict[str, object]:
    """Return what a message holds: each tensor, the names of metrics, and what NVFlare adds."""
    tensors = {}
    for name, value in message.params.items():
        digest = hashlib.sha256(value.tobytes()).hexdigest()
        tensors[name] = {"shape": list(value.shape), "dtype": str(value.dtype), "sha256": digest}
    return {"tensors": tensors, "metrics": sorted(message.metrics or ()), "meta": sorted(message.meta or ())}


def simulate(folder: Path) -> Path:
    """Run both hospitals below a folder as two processes of NVFlare's simulator, and return the student's weights."""
    folder = folder.resolve()
    (folder / STUDENT).unlink(missing_ok=True)
    here = Path(__file__).resolve().parent
    job = FedJob(name="teacher_then_student")
    job.to_server(TeacherThenStudent(str(folder)))
    for hospital, role in ROLES.items():
        runner = ScriptRunner(
            script=str(here / "hospital.py"),
            script_args=f"--role {role} --folder {shlex.quote(str(folder / hospital))}",
        )
        job.to(runner, hospital)
    job.simulator_run(str(folder / "nvflare"), clients=list(ROLES), threads=len(ROLES), log_config="concise")
    return folder / STUDENT


def main() -> None:
    """Run the simulator in a folder of ``prepare.py``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("two_hospitals"))
    folder = parser.parse_args().folder
    if not (folder / "hospital-B").is_dir():
        sys.exit(f"{folder} holds no hospitals: run prepare.py {folder} first.")
    student = simulate(folder)
    if not student.is_file():
        sys.exit("No student: hospital-A/training.log or hospital-B/training.log says why in its last line.")
    sys.stdout.write(f"Student: {student}\n")


if __name__ == "__main__":
    main()
