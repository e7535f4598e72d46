# SPDX-License-Identifier: Apache-2.0
"""What the surroundings of the tests, and other tests, must not change for a test."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest

# a shell that starts the tests in the background ignores Ctrl-C for them, and for all processes that they start
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# files that take minutes: begun first, so that the last worker does not run one alone
_LONG = (
    "tests/docs/test_pages.py",
    "tests/integration/test_demo_run.py",
    "tests/docs/test_compress_page.py",
    "tests/examples/",
    "tests/benchmarks/test_benchmarks.py",
    "tests/experiments/test_warm",
    "tests/deploy/",
    "tests/integration/",
    "tests/experiments/",
    "tests/handlers/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first; the others keep their order."""
    rank = {start: number for number, start in enumerate(_LONG)}
    items.sort(key=lambda item: next((rank[one] for one in _LONG if item.nodeid.startswith(one)), len(_LONG)))


@pytest.fixture(autouse=True)
def mlflow_settings_of_the_test_alone() -> Iterator[None]:
    """``mlflow.set_tracking_uri`` sets an environment variable, which later commands inherit, and goes before it itself."""
    before = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
    yield
    if "mlflow" in sys.modules:
        sys.modules["mlflow"].set_tracking_uri(None)
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        del os.environ[name]
    os.environ.update(before)
