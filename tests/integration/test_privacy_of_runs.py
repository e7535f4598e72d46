# SPDX-License-Identifier: Apache-2.0
"""No byte that a training, an evaluation, an inference, a report or MLflow leaves names the user, the home or the host."""

from __future__ import annotations

import gzip
import json
import platform
import shutil
import socket
import sqlite3
import zipfile
from pathlib import Path

import pytest
import torch
from bundle_tools import FEATURES, SIZE, small_bundle
from monai.bundle import ConfigParser, ConfigWorkflow

from akd_monai.__main__ import main
from akd_monai.experiments import rebuild_report, write_report
from akd_monai.experiments.results import read_case_rows, read_results
from akd_monai.networks.nets import UNetPlusPlus
from akd_monai.networks.profile.machine import machine_facts
from akd_monai.prostate import make_phantom

CANARIES = (b"canaryhome", b"canaryuser", b"canaryhost")
# MLflow finds the files of a run by an absolute place, which therefore stays in a local database
PLACES = {("experiments", "artifact_location"), ("runs", "artifact_uri")}


def cells(path: Path) -> bytes:
    """Return every cell of a database but the places of artifacts."""
    found = []
    connection = sqlite3.connect(path)
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        cursor = connection.execute(f'SELECT * FROM "{table}"')
        names = [column[0] for column in cursor.description]
        for row in cursor:
            pairs = zip(names, row, strict=True)
            found += [str(value).encode() for name, value in pairs if (table, name) not in PLACES]
    connection.close()
    assert len(found) > 20
    return b"\n".join(found)


def content(path: Path) -> bytes:
    """Return the bytes of a file, and those that are compressed in it."""
    data = path.read_bytes()
    if data[:15] == b"SQLite format 3":
        return cells(path)
    if data[:2] == b"\x1f\x8b":
        return gzip.decompress(data)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return data + b"\n".join(archive.read(name) for name in archive.namelist())
    return data


def told(root: Path) -> dict[str, bytes]:
    """Return the files below a folder that name somebody, with the canary."""
    found = {}
    for path in root.rglob("*"):
        text = str(path.relative_to(root)).encode()
        text += content(path) if path.is_file() else b""
        found.update({str(path.relative_to(root)): canary for canary in CANARIES if canary in text})
    return found


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "canaryhome"
    folder.mkdir()
    for name, value in {"HOME": str(folder), "USER": "canaryuser", "LOGNAME": "canaryuser"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(socket, "gethostname", lambda: "canaryhost")
    monkeypatch.setattr(platform, "node", lambda: "canaryhost")
    return folder


def infer(bundle: Path, images: Path, masks: Path) -> None:
    workflow = ConfigWorkflow(
        config_file=str(bundle / "configs" / "inference.json"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type="infer",
        bundle_root=str(bundle),
        dataset_dir=str(images),
        output_dir=str(masks),
    )
    workflow.initialize()
    workflow.run()
    workflow.finalize()


def results(student: Path, data: Path, out: Path) -> dict:
    image = data / "I2CVB" / "Case00.nii.gz"
    rows = read_case_rows(out / "per_case.csv")
    system = {"key": "a", "label": "a", "role": "distilled", "per_case": rows}
    files = {"image": str(image), "label": str(data / "I2CVB" / "Case00_segmentation.nii.gz")}
    return {
        "title": f"of {student}",
        "data": {"kind": "synthetic", "description": f"in {data}"},
        "protocol": "cross_site",
        "target": "I2CVB",
        "sources": ["RUNMC"],
        "seed": 0,
        "settings": {"where": str(data), "scratch": "/scratch/canaryuser/x"},
        "machine": dict(machine_facts()),
        "systems": [system],
        "images": {"I2CVB/Case00": files},
        "commands": [f"python -m akd_monai distill --dataset_dir={data}"],
        "warnings": [f"see {out}"],
        "mlflow": {"tracking_uri": f"sqlite:///{out / 'mlruns.db'}", "experiment": "demo"},
    }


@pytest.mark.fault(
    "Privacy",
    "training, evaluation, inference, report and MLflow of a user",
    injected="home, user and host are canary strings, every byte is searched, unpacked",
    outcome="found nowhere but in the places of files within the local database",
)
def test_no_output_names_the_user_the_home_or_the_host(home, tmp_path, capfd):
    data = make_phantom(
        home / "data", cases_per_site=4, sites=["I2CVB"], size=SIZE, slices=4, seed=0, progress=False
    )  # fmt: skip
    teacher = small_bundle("unetplusplus", home / "bundles" / "teacher")
    student = small_bundle("enet", home / "bundles" / "student")
    torch.manual_seed(3)
    torch.save(UNetPlusPlus(2, 1, 2, features=FEATURES).state_dict(), teacher / "models" / "model.pt")
    out = home / "run"
    common = [f"--dataset_dir={data}", f"--output_dir={out}", f"--ckpt_dir={out}", "--sites=['I2CVB']"]
    tracking = f"--tracking={student / 'configs' / 'tracking.json'}"
    cache = f"--teacher_cache={home / 'cache'}"
    main(["distill", f"--teacher={teacher}", f"--student={student}", tracking, cache, *common])
    main(["evaluate", f"--bundle={student}", *common])
    shutil.copy(out / "model.pt", student / "models" / "model.pt")
    infer(student, data / "I2CVB", home / "masks")
    write_report(results(student, data, out), home / "report")
    assert told(home) == {}
    page = (home / "report" / "index.html").read_text()
    assert "distill --dataset_dir=$HOME/data" in page
    assert "mlflow ui --backend-store-uri sqlite:///$HOME/run/mlruns.db" in page
    assert "/scratch/&lt;user&gt;/x" in page
    # a report elsewhere still finds the images, and says as little
    write_report(results(student, data, out), tmp_path / "elsewhere")
    assert told(tmp_path / "elsewhere") == {}
    found = read_results(tmp_path / "elsewhere")["images"]["I2CVB/Case00"]
    assert found["image"] == str(data / "I2CVB" / "Case00.nii.gz")
    rebuild_report(tmp_path / "elsewhere")
    assert told(tmp_path / "elsewhere") == {}
    # the executed config was logged, and still means the same
    (logged,) = (out / "mlruns").rglob("config_*.json")
    (executed,) = out.glob("config_*.json")
    assert json.loads(logged.read_text()) == json.loads(executed.read_text())
    parser = ConfigParser()
    parser.read_config(str(executed))
    assert parser.get_parsed_content("dataset_dir") == str(data)
    assert parser.get_parsed_content("teacher_bundle") == str(teacher)
    assert parser.get_parsed_content("output_dir") == str(out)
