# SPDX-License-Identifier: Apache-2.0
"""Whether an engine survives a network: a crash in its own code would end this process without a word."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from akd_monai.deploy._stages import process_environment

__all__ = ["opens_in_fresh_process"]

_PROGRAM = """
import sys
from pathlib import Path
from akd_monai.deploy._engines import open_onnx
open_onnx(Path(sys.argv[1]), sys.argv[2], 1, one_by_one=True, precision=sys.argv[3])
"""


def opens_in_fresh_process(path: Path, engine: str, precision: str) -> bool:
    """Return whether a process of its own can open a network, and is not ended by a signal.

    An error that the engine raises is no crash: whoever opens the network gets it in words.

    Args:
        path: an ONNX file.
        engine: ``onnxruntime`` or ``openvino``.
        precision: what the engine is asked for.
    """
    command = [sys.executable, "-c", _PROGRAM, str(path), engine, precision]
    done = subprocess.run(command, env=process_environment(1), capture_output=True, check=False)
    return done.returncode >= 0
