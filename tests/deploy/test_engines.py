# SPDX-License-Identifier: Apache-2.0
"""Engines leave the process that uses them as it was."""

from __future__ import annotations

import subprocess
import sys

import pytest
from deploy_tools import write_model

from akd_monai.deploy._engines import installed_engines

PROGRAM = """
import gc, signal, sys
from akd_monai.deploy._engines import open_onnx
signal.signal(signal.SIGINT, lambda *_: print("heard"))
networks = [open_onnx(sys.argv[2], sys.argv[1], 1) for _ in range(2)]
while networks:
    del networks[0]
    gc.collect()
    signal.raise_signal(signal.SIGINT)
"""


@pytest.mark.fault(
    "Stopped runs",
    "Ctrl-C after networks were opened and closed",
    injected="two networks of one engine, of which the first is closed first",
    outcome="the signal arrives, and nothing crashes",
)
@pytest.mark.parametrize("engine", installed_engines())
def test_signals_arrive_after_networks_were_closed(tmp_path, engine):
    model = write_model(tmp_path / "m.onnx")
    command = [sys.executable, "-c", PROGRAM, engine, str(model)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "heard\nheard\n"), done.stderr
