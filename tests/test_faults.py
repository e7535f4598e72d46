# SPDX-License-Identifier: Apache-2.0
"""Faults of the machine and of the numerics: one line that says what to do, and exit code 1."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest
import torch
from monai.engines import SupervisedTrainer

from akd_monai._faults import machine_fault
from akd_monai._last_line import last_line, leave_at_signals
from akd_monai.errors import BundleError, InputError, NonFiniteError

CPU = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "


def trainer(error: BaseException, size: int = 3) -> SupervisedTrainer:
    """A trainer of batches of ``size`` slices of 8 x 6 that ends with ``error`` in its first iteration."""
    network = torch.nn.Conv2d(1, 1, 1)
    image = torch.zeros(size * 2, 1, 8, 6)
    data = [{"image": one, "label": one} for one in image]

    def fail(*_):
        raise error

    made = SupervisedTrainer(
        device="cpu", max_epochs=1, train_data_loader=torch.utils.data.DataLoader(data, batch_size=size),
        network=network, optimizer=torch.optim.SGD(network.parameters(), lr=0.1), loss_function=fail,
    )  # fmt: skip
    made.logger.disabled = True
    return made


@pytest.mark.fault(
    "Disk, memory and processes",
    "memory has run out in training",
    injected="the allocators' errors of CPU and CUDA, MemoryError",
    outcome="exit code 1, one line names batch_size, spatial_size and num_workers with their values",
)
@pytest.mark.parametrize(
    ("error", "start"),
    [
        (RuntimeError(f"{CPU}2147483648 bytes. Error code 12"), "the memory is used up, 2.00 GiB more were asked for; "),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1073741824 bytes."), "the memory is "
         "used up, 1.00 GiB more were asked for; "),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.50 GiB. GPU 0 has"), "the memory of the GPU is "
         "used up, 20.50 GiB more were asked for; "),
        (MemoryError(), "the memory is used up; "),
        (RuntimeError("std::bad_alloc"), "the memory is used up; "),
    ],
)  # fmt: skip
def test_memory_that_ran_out_names_what_to_lower_with_the_values_of_the_run(error, start):
    with pytest.raises(type(error)) as caught:
        trainer(error).run()
    line, code = last_line(caught.value)
    assert code == 1
    assert line == f"{start}lower batch_size (now 3), spatial_size (now 8 x 6) or num_workers (now 0)."


def test_a_teacher_is_named_where_there_is_one():
    made = trainer(MemoryError())
    made.teacher = torch.nn.Identity()
    with pytest.raises(MemoryError) as caught:
        made.run()
    assert "a teacher_cache, or teacher_options#dtype bfloat16" in machine_fault(caught.value)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "eval/per_case.csv"), "no space left for eval/per_case.csv; free"),
        (OSError(errno.ENOSPC, "no space left in 'eval' for resume.pt: 5.2 MB needed; free some"), "resume.pt: 5.2 MB"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "no space left on the disk; free"),
        (OSError(errno.EACCES, "Permission denied", "out/a"), "out/a: Permission denied; change its permissions"),
        (OSError(errno.ESTALE, "Stale file handle", "out/a"), "out/a: Stale file handle; the network drive was lost"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "the memory is used up; lower"),
        (RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"), "no space left on the disk ("),
        (NonFiniteError("loss term gram is nan"), "loss term gram is nan"),
        (BundleError("bundle 'x' failed"), "bundle 'x' failed"),
    ],
    ids=str,
)  # fmt: skip
def test_other_faults_are_one_line(error, line):
    wrapped = RuntimeError("Failed to evaluate ConfigExpression")
    wrapped.__cause__ = error
    said, code = last_line(wrapped)
    assert code == 1
    assert line in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "error", [TypeError("a bug"), FileNotFoundError(errno.ENOENT, "No such file", "x"), RuntimeError("sizes differ")]
)
def test_errors_of_a_program_stay_what_they_are(error):
    assert machine_fault(error) == ""
    assert last_line(error) is None


def test_codes_and_the_variable_for_tracebacks(monkeypatch, capsys):
    assert last_line(InputError("wrong")) == ("wrong", 2)
    assert last_line(KeyboardInterrupt()) == ("stopped by Ctrl-C.", 130)
    assert last_line(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "))[1] == 1
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("AKD_TRACEBACK", "1")
    last_line(InputError("wrong"))
    assert "InputError: wrong" in capsys.readouterr().err


IMPORTING = """
import sys, time
from pathlib import Path
from akd_monai._last_line import leave_at_signals
leave_at_signals()
Path("slow_module.py").write_text("import time\\nprint('importing', flush=True)\\ntime.sleep(60)\\n")
sys.path.insert(0, ".")
try:
    import slow_module
except BaseException:
    raise ImportError("what C code makes of an interrupt") from None
"""


@pytest.mark.fault(
    "Stopped runs",
    "Ctrl-C or SIGTERM while modules are imported",
    injected="the signal arrives inside an import",
    outcome="one line, exit code 130 or 143, no traceback",
)
@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_inside_an_import_is_one_line(number, word, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    process = subprocess.Popen(
        [sys.executable, "-c", IMPORTING], cwd=tmp_path, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == "importing\n"
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert said == f"\nakd_monai: stopped by {word}.\n"


def test_signals_that_somebody_listens_to_are_left_alone():
    def mine(*_):
        pass

    before = signal.signal(signal.SIGTERM, mine)
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        leave_at_signals()
        assert signal.getsignal(signal.SIGTERM) is mine
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, interrupt)


def test_what_explains_a_fault_counts_not_the_fault():
    raw = OSError(errno.ENOSPC, "No space left on device")
    explained = OSError(errno.ENOSPC, "no space left in 'eval' for resume.pt: 5.2 MB needed; free some")
    explained.__cause__ = raw
    bundle = BundleError("bundle 'x' failed: OSError: no space left")
    bundle.__cause__ = explained
    assert last_line(bundle) == ("no space left in 'eval' for resume.pt: 5.2 MB needed; free some.", 1)


def test_a_full_disk_inside_the_words_of_monais_writer_is_found():
    said = (
        "SaveImage cannot find a suitable writer for out/a_pred.nii.gz.\nTraceback (most recent call last):\n  ...\n"
        "OSError: [Errno 28] No space left on device\n\nThe above exception was the direct cause of the following\n"
        "OSError: [Errno 28] no space left in 'out' for a_pred.nii.gz: 0.1 MB needed; free some\n"
    )
    assert machine_fault(RuntimeError(said)) == "no space left in 'out' for a_pred.nii.gz: 0.1 MB needed; free some."


def test_an_input_error_of_which_no_input_is_the_reason_ends_with_1():
    assert last_line(InputError("0 of 1 volumes segmented", code="machine-fault")) == ("0 of 1 volumes segmented", 1)


def test_an_error_that_is_its_own_cause_ends_too():
    first, second = RuntimeError("first"), RuntimeError("second")
    first.__cause__ = second
    second.__cause__ = first
    assert last_line(first) is None
    second.__cause__ = second
    assert last_line(first) is None
