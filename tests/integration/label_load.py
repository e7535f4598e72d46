# SPDX-License-Identifier: Apache-2.0
"""Many clients at a real MONAI Label server: ``python -m tests.integration.label_load --requests 200 --clients 8``.

The server is started as ``python -m akd_monai label`` starts it, by the Python of an environment with MONAI Label that
``AKD_LABEL_ENV`` names. Half of the requests name a stored image, half send one. Each mask is compared with that of the
bundle's ``inference.json``; the server's memory and its temporary files are counted after a warm-up and at the end.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

import nibabel as nib  # noqa: E402
import numpy as np  # noqa: E402
import requests  # noqa: E402


@dataclass(frozen=True)
class Load:
    """What requests at a server came to; its memory is counted after the warm-up and after each quarter of them."""

    right: int
    wrong: tuple[str, ...]
    seconds: float
    rss_mb: tuple[float, ...]


def rss_mb(pid: int) -> float:
    """Return the memory that a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def masks_of(folder: Path) -> dict[str, np.ndarray]:
    """Return the masks of MONAI's command line by the names of their images."""
    suffix = "_pred.nii.gz"
    paths = folder.glob(f"*{suffix}")
    return {path.name.removesuffix(suffix): np.asarray(nib.load(path).dataobj) for path in paths}


def load(
    infer: str, pid: int, studies: Path, masks: dict[str, np.ndarray], *, count: int, clients: int, warm_up: int
) -> Load:
    """Send ``warm_up`` and then ``count`` requests, ``clients`` at a time."""
    names = sorted(masks)

    def ask(number: int) -> str:
        name = names[number % len(names)]
        if number // len(names) % 2:
            with (studies / f"{name}.nii.gz").open("rb") as file:
                answer = requests.post(f"{infer}?output=image", files={"file": ("any.nii.gz", file)}, timeout=300)
        else:
            answer = requests.post(f"{infer}?image={name}&output=image", timeout=300)
        if answer.status_code != 200:
            return f"{name}: {answer.status_code} {answer.text[:200]}"
        data = answer.content
        mask = nib.Nifti1Image.from_bytes(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
        return "" if np.array_equal(np.asarray(mask.dataobj), masks[name]) else f"{name}: another mask"

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, range(warm_up)))
        held = [rss_mb(pid)]
        words: list[str] = []
        start = time.monotonic()
        for quarter in np.array_split(range(count), 4):
            words += pool.map(ask, quarter.tolist())
            held.append(rss_mb(pid))
        seconds = time.monotonic() - start
    wrong = tuple(word for word in words if word)
    return Load(count - len(wrong), wrong, seconds, tuple(round(mb) for mb in held))


def main() -> int:
    """Run the command."""
    from bundle_tools import run_bundle
    from integration.label_server import MODEL, ROOT, Server, end, make_bundle, make_studies, wait_for

    parser = argparse.ArgumentParser(prog="python -m tests.integration.label_load")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--clients", type=int, default=8)
    asked = parser.parse_args()
    python = Path(os.environ.get("AKD_LABEL_ENV", ROOT / ".venv-label")) / "bin" / "python"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_bundle(root / "bundles" / MODEL)
        make_studies(root)
        (root / "tmp").mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TMPDIR": str(root / "tmp")}
        environment["MONAI_LABEL_AUTO_UPDATE_SCORING"] = "false"
        command = [python, "-W", "ignore", "-m", "akd_monai", "label", "--studies=studies", f"--port={port}"]
        log = root / "server.log"
        with log.open("w") as stream:
            process = subprocess.Popen(
                command, cwd=root, env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
            )
        url = f"http://127.0.0.1:{port}"
        try:
            wait_for(Server(url, root / "bundles", root / "studies", root / "label_app", log, process))
            run_bundle(
                root / "bundles" / MODEL,
                "configs/inference.json",
                f"--dataset_dir={root / 'studies'}",
                f"--output_dir={root / 'cli'}",
            )
            found = load(
                f"{url}/infer/{MODEL}",
                process.pid,
                root / "studies",
                masks_of(root / "cli"),
                count=asked.requests,
                clients=asked.clients,
                warm_up=10 * asked.clients,
            )
            time.sleep(1)
            # the server's own settings of logging, once for each start
            left = sorted(path.name for path in (root / "tmp").rglob("*") if path.suffix != ".json")
        finally:
            end(process)
    report = {**found.__dict__, "temporary_files": left}
    sys.stdout.write(json.dumps(report) + "\n")
    return int(bool(found.wrong or left))


if __name__ == "__main__":
    sys.exit(main())
