#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Set up a virtual environment from the pinned versions and run one target in it.

    python3 make.py demo [DATA=folder] [OUT=folder]   teacher, student, distillation, report
    python3 make.py test                              every test
    python3 make.py lint                              ruff and mypy
    python3 make.py check                             every bundle against its parts and against MONAI
    python3 make.py docs                              the pages of docs/, into docs/_build
    python3 make.py env                               the environment alone

Needs Python 3.11 or newer and a network to the package index for the first call; later calls reuse ``.venv``.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
PINNED = ("setup.cfg", "pyproject.toml", "constraints.txt")


def wait_for(*command: str) -> int:
    """Run ``command`` in the project's folder and return its exit code.

    Ctrl-C reaches the command as well, which saves what it has and ends: it is waited for, and not killed.
    """
    with subprocess.Popen(list(command), cwd=ROOT) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue


def call(*command: str) -> None:
    """Run ``command`` in the project's folder and end with its exit code when it fails."""
    code = wait_for(*command)
    if code:
        # a negative code is the number of the signal that ended the command
        sys.exit(code if code > 0 else 128 - code)


def environment() -> None:
    """Create or refresh ``.venv``; nothing is done when the pinned versions have not changed."""
    if sys.version_info < (3, 11):
        version = sys.version.split()[0]
        sys.exit(f"The pinned versions need Python 3.11 or newer, this is {version}: call make.py with a newer one.")
    wanted = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in PINNED)).hexdigest()
    stamp = VENV / "akd_monai.stamp"
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"Setting up {VENV.name} (a few minutes the first time)", flush=True)
    if wait_for(sys.executable, "-m", "venv", "--clear", str(VENV)):
        sys.exit("Python could not make a virtual environment; on Debian and Ubuntu install the package python3-venv.")
    call(
        str(PYTHON),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-c",
        "constraints.txt",
        "-e",
        ".[dev,docs]",
    )
    stamp.write_text(wanted)


def demo(arguments: list[str]) -> None:
    """Run the demo; ``DATA=folder`` and ``OUT=folder`` may also come as environment variables, as make passes them."""
    values = {name: os.environ[name] for name in ("DATA", "OUT") if os.environ.get(name)}
    values.update(a.split("=", 1) for a in arguments if a.startswith(("DATA=", "OUT=")))
    options = {"DATA": "--dataset_dir", "OUT": "--output_dir"}
    flags = [f"{options[name]}={value}" for name, value in values.items()]
    rest = [a for a in arguments if not a.startswith(("DATA=", "OUT="))]
    call(str(PYTHON), "-m", "akd_monai", "demo", *flags, *rest)


def main() -> None:
    """Run the target named on the command line."""
    target, *arguments = sys.argv[1:] or ["help"]
    if target not in ("env", "demo", "test", "lint", "check", "docs"):
        sys.exit(__doc__)
    environment()
    # threads that spin for long while they wait for each other bring a machine that is busy otherwise to a crawl
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    if target == "demo":
        demo(arguments)
    elif target == "test":
        # most tests wait for a process that imports PyTorch and MONAI on one core: a worker for each core
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        # files in the order of tests/conftest.py, the long ones first
        order = ("--dist", "loadfile", "--no-loadscope-reorder")
        call(str(PYTHON), "-m", "pytest", "-n", "auto", *order, *arguments)
    elif target == "lint":
        call(str(PYTHON), "-m", "ruff", "check", ".")
        call(str(PYTHON), "-m", "ruff", "format", "--check", ".")
        call(str(PYTHON), "-m", "mypy")
    elif target == "check":
        bundles = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "bundles").iterdir())
        call(str(PYTHON), "-m", "akd_monai", "assemble", "--check")
        call(str(PYTHON), "-m", "akd_monai", "check", *bundles)
    elif target == "docs":
        call(str(PYTHON), "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs", "docs/_build")


if __name__ == "__main__":
    main()
