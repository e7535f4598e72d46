# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C on ``make.py`` waits until the command has saved, and ends with its exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from docs_tools import DOCS

# a command that takes longer to save than Python waits for one that it calls
COMMAND = """
import signal, sys, time
def save(*_):
    time.sleep(1)
    print("saved", flush=True)
    sys.exit(130)
signal.signal(signal.SIGINT, save)
print("ready", flush=True)
time.sleep(60)
"""
PROGRAM = "import make, sys; make.call(sys.executable, '-c', sys.argv[1])"


@pytest.mark.fault(
    "Stopped runs",
    "Ctrl-C on `make.py demo`",
    injected="SIGINT to all processes of the terminal, and a command that needs a second to save",
    outcome="it saves; exit code 130, no traceback",
)
def test_ctrl_c_waits_for_the_command():
    command = [sys.executable, "-c", PROGRAM, COMMAND]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen(command, cwd=DOCS.parent, **options) as process:
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (130, "saved\n", "")
