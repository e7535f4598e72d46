# SPDX-License-Identifier: Apache-2.0
"""A user's mistake ends MONAI's command line with one line; other programs and other errors stay as they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

WORDS = "akd_monai: Case00.nii.gz: has 0 bytes; copy it again."
MISTAKE = "raise akd_monai.errors.InputError('has 0 bytes', where='Case00.nii.gz', remedy='copy it again')"


def run_config(folder, expression: str, options=("-m", "monai.bundle", "run", "--config_file", "run.json")):
    imports = ["$import akd_monai", "$import akd_monai.errors"]
    (folder / "run.json").write_text(json.dumps({"imports": imports, "run": [expression]}))
    return subprocess.run(
        [sys.executable, "-W", "ignore", *options], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.fault(
    "Wrong input",
    "a mistake through `python -m monai.bundle run`",
    injected="an expression of a config raises it",
    outcome="the last line is the mistake, exit code 2",
)
@pytest.mark.slow
def test_the_last_line_under_monai_is_the_mistake(tmp_path):
    done = run_config(tmp_path, f"$exec({MISTAKE!r})")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == WORDS
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_other_errors_keep_their_traceback(tmp_path):
    done = run_config(tmp_path, "$exec('raise TypeError(1)')")
    assert done.returncode == 1
    assert "TypeError: 1" in done.stderr
    assert "Traceback" in done.stderr


@pytest.mark.slow
def test_other_programs_are_not_changed(tmp_path):
    done = run_config(tmp_path, "", options=("-c", f"import akd_monai.errors; {MISTAKE}"))
    assert done.returncode == 1
    assert "Traceback" in done.stderr


REFUSED = """
import torch
from multiprocessing.pool import ThreadPool
import akd_monai

def prepare(item):
    if item == 0:
        raise ValueError("refused")
    image = torch.rand(200, 200)
    for _ in range(2000):
        image = torch.mm(image, image).clamp(0, 1)

# as CacheDataset does it
with ThreadPool(1) as pool:
    list(pool.imap(prepare, range(3)))
"""


@pytest.mark.fault(
    "Wrong input",
    "the first volume is refused while a thread prepares the second",
    injected="a pool of threads as that of `CacheDataset`, whose second item is in PyTorch's code when the program ends",
    outcome="the error and exit code 1, not an abort of the C++ runtime (exit code 134)",
)
def test_a_refused_volume_does_not_end_in_an_abort(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", REFUSED], cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr.splitlines()[-1] == "ValueError: refused"
    assert done.returncode == 1


@pytest.mark.fault(
    "Wrong input",
    "output of a verb that nobody reads to its end",
    injected="the reading end of the pipe is closed, as `head` closes it",
    outcome="exit code 141, that of SIGPIPE, without a traceback",
)
@pytest.mark.parametrize("command", [["experiment", "table2", "--show"], ["--help"], ["experiment", "--help"]])
def test_output_that_nobody_reads_ends_a_verb_without_a_word(command, monkeypatch, capsys):
    from akd_monai.__main__ import main

    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        with pytest.raises(SystemExit) as stopped:
            main(command)
        # what was still held is dropped when the file is closed
    assert stopped.value.code == 141
    assert capsys.readouterr().err == ""


def test_a_broken_pipe_elsewhere_is_an_error_of_the_program(monkeypatch):
    from akd_monai.__main__ import main

    def broken(*_):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("akd_monai.bundle.find_code", lambda _: [])
    monkeypatch.setattr("akd_monai.bundle.find_problems", broken)
    with pytest.raises(BrokenPipeError):
        main(["check", "somewhere"])
