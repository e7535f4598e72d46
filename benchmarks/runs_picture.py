# SPDX-License-Identifier: Apache-2.0
"""A picture of MLflow's table of runs: a teacher, a student alone and two distilled ones on a SYNTHETIC set.

    python -m benchmarks.runs_picture --output docs/images/mlflow-runs.png

The trainings are so short that their numbers mean nothing. Chromium takes the picture; nothing outside this machine is read.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import monai.bundle

from akd_monai.bundle import distill_bundle, evaluate_bundle, write_bundles
from akd_monai.errors import InputError
from akd_monai.files import atomic_write
from akd_monai.handlers import show_runs
from akd_monai.prostate import make_phantom
from tests.experiments.browser import Browser, find_browser

logger = logging.getLogger(__name__)

_SECONDS = 300
_SIZE = {"width": 1900, "height": 480, "deviceScaleFactor": 1, "mobile": False}
_TEXT = "document.body.innerText"
_CLOSE = "document.querySelectorAll('button[aria-label=\"Close\"]').forEach(one => one.click())"
_SMALL: dict[str, Any] = {"spatial_size": [64, 64], "epochs": 3, "samples_per_epoch": 32, "batch_size": 4}
_TEACHER = {"network_def#features": [8, 16, 16, 16, 16]}
_RUNS = {"teacher": {}, "alone": {}, "distilled": {}, "distilled, affinity 0.2": {"lambda_affinity": 0.2}}


def make_runs(folder: Path) -> str:
    """Train and test, and return the URI of the database."""
    uri = f"sqlite:///{folder / 'mlruns.db'}"
    data = make_phantom(
        folder / "data", cases_per_site=4, sites=["RUNMC", "BMC"], size=64, slices=8, seed=0, progress=False
    )
    (teacher,) = write_bundles(folder, name="prostate_mri_unetplusplus", **_SMALL, **_TEACHER)
    (student,) = write_bundles(folder, name="prostate_mri_enet", **_SMALL, folds=2)
    for name, lambdas in _RUNS.items():
        run: dict[str, Any] = {"dataset_dir": str(data), "tracking_uri": uri, "run_name": name}
        place = folder / "runs" / name.replace(", ", "-").replace(" ", "-")
        bundle, site = (teacher, "RUNMC") if name == "teacher" else (student, "BMC")
        own = {"sites": [site], "ckpt_dir": str(place), "output_dir": str(place)}
        if name == "teacher":
            own["ckpt_dir"] = str(teacher / "models")
        if name.startswith("distilled"):
            distill_bundle(teacher, student, tracking="mlflow", **run, **own, **lambdas)
        else:
            _train(bundle, {**run, **own})
        evaluate_bundle(bundle, dataset_dir=str(data), folds=2, **own)
    return uri


def _train(bundle: Path, values: dict[str, Any]) -> None:
    monai.bundle.run(
        config_file=str(bundle / "configs" / "train.json"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        tracking=str(bundle / "configs" / "tracking.json"),
        bundle_root=str(bundle),
        **values,
    )


@contextlib.contextmanager
def served(uri: str) -> Iterator[str]:
    """Run MLflow's server while the block runs, and give its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--port", str(port), "--workers", "1", "--uvicorn-opts", f"--timeout-worker-healthcheck {_SECONDS}"]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, *options]
    variables = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, env=variables, start_new_session=True) as server:
        try:
            _wait_for(address)
            yield address
        finally:
            os.killpg(server.pid, signal.SIGTERM)


def _wait_for(address: str) -> None:
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=_SECONDS):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(1)
    raise TimeoutError(f"{address} does not answer")


def picture(uri: str, wanted: str) -> bytes:
    """Return MLflow's table as PNG, once it shows a text."""
    path = find_browser()
    if path is None:
        raise InputError("Chromium is not installed, which takes the picture; install it.")
    (line,) = show_runs(uri)
    page = line.partition("#")[2]
    with served(uri) as address, tempfile.TemporaryDirectory() as profile, Browser(path, profile, _SECONDS) as browser:
        browser.call("Emulation.setDeviceMetricsOverride", **_SIZE)
        browser.call("Page.navigate", url=f"{address}/#{page}")
        while wanted not in str(_evaluated(browser, _TEXT)):
            time.sleep(1)
        # the panel of an assistant, and a notice of the view
        _evaluated(browser, _CLOSE)
        time.sleep(3)
        return base64.b64decode(browser.call("Page.captureScreenshot", format="png")["data"])


def _evaluated(browser: Browser, expression: str) -> Any:
    return browser.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")


def main() -> None:
    """Make the runs, unless a database is given, and take the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, help="the picture")
    parser.add_argument("--tracking_uri", help="a database with runs, in place of new ones")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with tempfile.TemporaryDirectory() as folder:
        uri = given.tracking_uri or make_runs(Path(folder))
        logger.info("Written: %s", atomic_write(Path(given.output), picture(uri, "alone")))


if __name__ == "__main__":
    main()
