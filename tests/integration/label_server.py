# SPDX-License-Identifier: Apache-2.0
"""A real MONAI Label server for tests: its environment, bundle, images, start and end."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import requests
import torch
from bundle_tools import small_bundle

from akd_monai.label._checks import REQUIREMENTS
from akd_monai.networks.nets import ENet
from akd_monai.prostate import make_phantom

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data" / "inference-input"
MODEL = "prostate_mri_enet"
COS, SIN = np.cos(0.2), np.sin(0.2)
# axes exchanged and turned; a sheared grid is refused
OBLIQUE = np.array([[0, 0.9 * COS, 3 * SIN, 5], [-0.8, 0, 0, 7], [0, 0.9 * SIN, -3 * COS, 1], [0, 0, 0, 1]])
NO_NETWORK = ("retrying (retry(", "connection", "temporary failure", "could not fetch", "timed out", "proxy")

logger = logging.getLogger(__name__)


def installed_python() -> Path:
    """Python of an environment with MONAI Label."""
    folder = Path(os.environ.get("AKD_LABEL_ENV", ROOT / ".venv-label"))
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    packages = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    wanted = hashlib.sha256(f"{sorted(packages)}{REQUIREMENTS.read_text()}".encode()).hexdigest()
    if python.exists() and stamp.is_file() and stamp.read_text() == wanted:
        return python
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", folder], check=True)
    (folder / ".gitignore").write_text("*\n")
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site / "parent.pth").write_text("".join(f"import site; site.addsitedir({p!r})\n" for p in sorted(packages)))
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "install", "--quiet"]
    done = subprocess.run([*pip, "--no-deps", "-r", REQUIREMENTS], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        if any(words in done.stderr.lower() for words in NO_NETWORK):
            pytest.skip(f"skipped: MONAI Label cannot be fetched: {reason}")
        pytest.fail(f"MONAI Label cannot be installed: {done.stderr[-2000:]}")
    stamp.write_text(wanted)
    logger.warning("MONAI Label was installed in %.0f s", time.monotonic() - started)
    return python


@dataclass
class Server:
    """A running server and its folders."""

    url: str
    bundles: Path
    studies: Path
    app: Path
    log: Path
    process: subprocess.Popen

    @property
    def copy(self) -> Path:
        """The copy of the bundle that the server works on."""
        return self.app / "model" / MODEL

    def post(self, path: str, **options) -> requests.Response:
        """Send a request and see that it went well."""
        response = requests.post(self.url + path, timeout=300, **options)
        assert response.status_code == 200, f"{response.text}\n{self.log.read_text()[-4000:]}"
        return response

    def mask(self, image: str, folder: Path, params: dict | None = None) -> nib.Nifti1Image:
        """Segment an image of the studies."""
        sent = {"params": json.dumps(params or {})}
        path = folder / f"{image}_server.nii.gz"
        path.write_bytes(self.post(f"/infer/{MODEL}?image={image}&output=image", data=sent).content)
        loaded = nib.load(path)
        # read now: the next mask of the image goes to the same file
        return nib.Nifti1Image(np.asarray(loaded.dataobj), loaded.affine)


def make_bundle(root: Path) -> None:
    """Write a student for slices of 64 x 64 with weights that were drawn."""
    shape = {f"network_data_format#{side}#spatial_shape": [64, 64] for side in ("inputs#image", "outputs#pred")}
    small_bundle("enet", root, spatial_size=[64, 64], **shape)
    torch.manual_seed(0)
    torch.save(ENet(2, 1, 2).state_dict(), root / "models" / "model.pt")


def make_studies(root: Path) -> None:
    """Write images: three synthetic cases, one of them again on oblique axes, and a real volume."""
    phantom = make_phantom(
        root / "phantom", cases_per_site=3, sites=["RUNMC"], size=64, slices=6, seed=0, progress=False
    )
    studies = root / "studies"
    studies.mkdir()
    for number in range(3):
        shutil.copy(phantom / "RUNMC" / f"Case{number:02}.nii.gz", studies / f"phantom{number}.nii.gz")
    volume = nib.load(studies / "phantom0.nii.gz").get_fdata(dtype=np.float32)
    nib.save(nib.Nifti1Image(volume.transpose(1, 0, 2)[::-1, :50], OBLIQUE), studies / "turned.nii.gz")
    for path in sorted(REAL.glob("*.nii.gz"))[:1]:
        shutil.copyfile(path, studies / "real.nii.gz")


def wait_for(server: Server) -> None:
    """Wait until the server answers."""
    for _ in range(240):
        if server.process.poll() is not None:
            pytest.fail(f"the server ended at once:\n{server.log.read_text()[-4000:]}")
        try:
            if requests.get(f"{server.url}/info/", timeout=60).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.5)
    pytest.fail(f"the server did not answer:\n{server.log.read_text()[-4000:]}")


def end(process: subprocess.Popen) -> None:
    """End the server, and in any case all that it started."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
    if group_lives(process.pid):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=20)


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
