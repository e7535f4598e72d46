# SPDX-License-Identifier: Apache-2.0
"""The light path knows neither PyTorch nor MONAI nor ITK, and ends as every verb does."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from deploy_tools import AS_IT_IS, bright_box, write_model
from series_tools import grey, write_series

HEAVY = ("torch", "monai", "itk", "mlflow", "pandas", "matplotlib", "ignite", "parsl", "onnx")
DICOM = ("pydicom", "highdicom")
PROGRAM = """
import sys
from akd_monai.__main__ import main
main(sys.argv[1:])
import json
sys.stderr.write(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


def run(*arguments, check=True):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=check)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_segment_imports_nothing_heavy(tmp_path, engine):
    pytest.importorskip(engine)
    bright_box(tmp_path / "t2.nii.gz")
    model = write_model(tmp_path / "m.onnx")
    done = run(
        "segment", "-i", tmp_path / "t2.nii.gz", "-o", tmp_path / "out", f"--model={model}", f"--engine={engine}",
        "--threads=1", "--statistics", "--preview",
    )  # fmt: skip
    loaded = json.loads(done.stderr.splitlines()[-1])
    assert [name for name in (*HEAVY, *DICOM) if name in loaded] == []
    assert engine in loaded
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "t2_pred.nii.gz",
        "t2_preview.png",
        "statistics.json",
    }
    assert done.stdout.splitlines()[-1] == f"Masks: 1 in {tmp_path / 'out'}"
    assert "1/1 t2.nii.gz: prostate " in done.stderr


def test_a_bad_volume_ends_with_code_2_and_quiet_tells_only_that(tmp_path):
    bright_box(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "in" / "b.nii.gz").write_bytes(b"")
    model = write_model(tmp_path / "m.onnx")
    done = run("segment", "-i", tmp_path / "in", "-o", tmp_path / "out", "--model", model, "--quiet", check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    first, last = done.stderr.splitlines()
    assert first.startswith("2/2 not segmented: ")
    assert last == "akd_monai: 1 of 2 volumes segmented; failed: b.nii.gz (the file has 0 bytes)."
    (tmp_path / "in" / "b.nii.gz").unlink()
    done = run("segment", "-i", tmp_path / "in", "-o", tmp_path / "out", "--model", model, "--quiet")
    assert done.stdout == ""


def test_a_series_and_its_segmentation_need_no_more_than_pydicom_and_highdicom(tmp_path):
    write_series(tmp_path / "T2", grey()[0])
    write_series(tmp_path / "T2", grey()[0], prefix="again", SeriesNumber=4)
    model = write_model(tmp_path / "m.onnx", **AS_IT_IS)
    # the values of a list stand as TotalSegmentator's do
    done = run(
        "segment", "-i", tmp_path / "T2", "-o", tmp_path / "out", "--output_type", "nifti", "dicom_seg",
        "--model", model, "--series", "4",
    )  # fmt: skip
    loaded = json.loads(done.stderr.splitlines()[-1])
    assert [name for name in HEAVY if name in loaded] == []
    assert [name for name in DICOM if name in loaded] == list(DICOM)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"T2_series4_pred.nii.gz", "T2_series4_pred.seg.dcm"}
