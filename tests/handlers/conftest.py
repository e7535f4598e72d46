# SPDX-License-Identifier: Apache-2.0
"""Toy runs in processes of their own, which signals may hit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def run_toy() -> Iterator[Callable[..., int]]:
    """Return ``run(folder, faults, **options)``, which gives the exit code, or minus the signal that ended it."""
    command = [sys.executable, str(Path(__file__).with_name("toy_run.py"))]
    # One thread: a process that has used several cannot be forked safely.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as server:

        def run(folder: Path, faults: dict[str, int] | None = None, **options: object) -> int:
            folder.mkdir(parents=True, exist_ok=True)
            server.stdin.write(json.dumps([str(folder), faults or {}, options]) + "\n")
            server.stdin.flush()
            return int(server.stdout.readline())

        yield run
        server.stdin.close()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """Return a database with its tables, which take MLflow seconds to make."""
    from mlflow.tracking import MlflowClient  # takes seconds, which other tests need not pay for

    path = tmp_path_factory.mktemp("store") / "mlruns.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(empty_store, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_store, tmp_path / "mlruns.db")
    return f"sqlite:///{tmp_path / 'mlruns.db'}"
