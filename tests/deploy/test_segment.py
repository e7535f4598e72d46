# SPDX-License-Identifier: Apache-2.0
"""Masks by an ONNX file that was written by hand: values, files, refusals."""

from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from deploy_tools import AS_IT_IS, bright_box, write_model
from volume_tools import meta_image, nrrd

from akd_monai.deploy import segment
from akd_monai.errors import InputError

C, S = np.cos(0.3), np.sin(0.3)
AFFINES = {
    "straight": np.diag([1.0, 1, 3, 1]),
    "flipped": np.diag([-0.7, -0.9, 2.5, 1]),
    "oblique": np.array([[0.8 * C, -0.8 * S, 0, 5], [0.8 * S, 0.8 * C, 0, -7], [0, 0, 2.7, 9], [0, 0, 0, 1]]),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model") / "by_hand.onnx", **AS_IT_IS)


def mask_of(path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_the_bright_box_is_marked_on_the_grid_of_the_image(model, tmp_path, affine, engine):
    pytest.importorskip(engine)
    marked = bright_box(tmp_path / "t2.nii.gz", affine=affine)
    (done,) = segment(tmp_path / "t2.nii.gz", tmp_path / "masks", model=model, engine=engine, threads=1)
    image, mask = nib.load(tmp_path / "t2.nii.gz"), nib.load(done.mask)
    np.testing.assert_array_equal(mask_of(done.mask), marked)
    assert mask.get_data_dtype() == np.uint8
    for field in ("qform_code", "sform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "xyzt_units"):
        np.testing.assert_array_equal(mask.header[field], image.header[field])
    # nine by seven by two voxels
    assert done.figures["prostate"]["voxels"] == 126
    assert done.figures["prostate"]["volume_ml"] == pytest.approx(126 * abs(np.linalg.det(affine)) / 1000, abs=1e-4)
    assert done.figures["prostate"]["slices"] == 2
    assert done.warnings == ()


def test_axes_that_are_permuted(model, tmp_path):
    permuted = np.array([[0, 0.9 * C, 3 * S, 5], [-0.8, 0, 0, 7], [0, 0.9 * S, -3 * C, 1], [0, 0, 0, 1]])
    marked = bright_box(tmp_path / "t2.nii", affine=permuted)
    (done,) = segment(tmp_path / "t2.nii", tmp_path / "masks", model=model)
    np.testing.assert_array_equal(mask_of(done.mask), marked)
    # the array's first axis runs from front to back: nine voxels of 0.8 mm
    assert done.figures["prostate"]["largest_diameters_mm"]["posterior-anterior"] == 7.2


def test_every_format_and_sub_folders(model, tmp_path):
    voxels = np.full((8, 8, 4), 10)
    voxels[2:5, 3:6, 1:3] = 200
    folder = tmp_path / "in"
    bright_box(folder / "p1" / "t2.nii.gz")
    (folder / "a.nrrd").write_bytes(nrrd(voxels))
    (folder / "b.mha").write_bytes(meta_image(voxels))
    bright_box(folder / "p1" / "t2_segmentation.nii.gz")
    done = segment(folder, tmp_path / "out", model=model)
    names = [each.mask.relative_to(tmp_path / "out").as_posix() for each in done]
    assert names == ["a_pred.nii.gz", "b_pred.nii.gz", "p1/t2_pred.nii.gz"]
    for each in done[:2]:
        np.testing.assert_array_equal(mask_of(each.mask), voxels > 100)
        # LPS in the file, RAS in NIfTI
        np.testing.assert_allclose(nib.load(each.mask).affine, np.diag([-0.5, -0.5, 3, 1]))


@pytest.mark.fault(
    "Masks that are written",
    "bad volumes in a folder that is segmented without PyTorch",
    injected="truncated, NaN and a time series among three good ones",
    outcome="three masks, exit code 2, each bad file named with its cause",
)
def test_a_bad_volume_costs_itself_alone(model, tmp_path, caplog):
    folder = tmp_path / "in"
    for name in ("a", "c", "f"):
        bright_box(folder / f"{name}.nii.gz")
    (folder / "b.nii.gz").write_bytes((folder / "a.nii.gz").read_bytes()[:200])
    values = np.ones((4, 4, 2), np.float32)
    values[0] = np.nan
    nib.save(nib.Nifti1Image(values, np.eye(4)), folder / "d.nii.gz")
    nib.save(nib.Nifti1Image(np.ones((4, 4, 2, 3), np.float32), np.eye(4)), folder / "e.nii.gz")
    with pytest.raises(
        InputError, match=r"^3 of 6 volumes segmented; failed: b\.nii\.gz \(.*\), d\.nii\.gz \(holds 8 v"
    ):
        segment(folder, tmp_path / "out", model=model, statistics=True)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.gz")) == [f"{n}_pred.nii.gz" for n in "acf"]
    told = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert len(told) == 3
    assert "2/6 not segmented: " in told[0]
    assert "truncated" in told[0]
    assert "has shape [4, 4, 2, 3], expected three axes" in told[2]
    assert len(json.loads((tmp_path / "out" / "statistics.json").read_text())["volumes"]) == 3


def test_statistics_warnings_and_preview(model, tmp_path):
    bright_box(tmp_path / "in" / "edge.nii.gz", box=((0, 9), (5, 12), (2, 4)), affine=np.diag([0.5, -1.0, 4.0, 1.0]))
    nib.save(nib.Nifti1Image(np.full((16, 16, 3), 7, np.int16), np.eye(4)), tmp_path / "in" / "flat.nii.gz")
    edge, flat = segment(tmp_path / "in", tmp_path / "out", model=model, statistics=True, preview=True)
    content = json.loads((tmp_path / "out" / "statistics.json").read_text())
    found = content["volumes"]["edge_pred.nii.gz"]
    assert found["classes"]["prostate"] == {
        "voxels": 126,
        "volume_ml": 0.252,
        "slices": 2,
        "largest_diameters_mm": {"left-right": 4.5, "posterior-anterior": 7.0, "inferior-superior": 8.0},
    }
    assert found["warnings"] == ["the mask reaches the edge of the volume: part of the organ may lie outside"]
    assert content["volumes"]["flat_pred.nii.gz"]["warnings"] == [
        "is constant: every voxel is 7",
        "the mask is empty, no voxel is marked",
    ]
    for each in (edge, flat):
        assert each.preview is not None
        assert each.preview.read_bytes().startswith(b"\x89PNG")


def test_volumes_that_differ_in_their_suffix_alone(model, tmp_path):
    first = bright_box(tmp_path / "in" / "t2.nii")
    second = bright_box(tmp_path / "in" / "t2.nii.gz", box=((1, 3), (1, 4), (0, 2)))
    done = segment(tmp_path / "in", tmp_path / "out", model=model, preview=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "t2.nii.gz_pred.nii.gz",
        "t2.nii.gz_preview.png",
        "t2.nii_pred.nii.gz",
        "t2.nii_preview.png",
    ]
    for each, marked in zip(done, (first, second), strict=True):
        np.testing.assert_array_equal(mask_of(each.mask), marked)


def test_no_path_or_name_of_a_person_leaves_the_folder(model, tmp_path):
    image = nib.Nifti1Image(np.ones((16, 16, 3), np.int16), np.eye(4))
    image.header["descrip"] = b"SECRET^PERSON"
    image.header["db_name"] = b"SECRET"
    (tmp_path / "SECRET_FOLDER").mkdir()
    nib.save(image, tmp_path / "SECRET_FOLDER" / "t2.nii")
    segment(tmp_path / "SECRET_FOLDER", tmp_path / "out", model=model, statistics=True, preview=True)
    for path in (tmp_path / "out").iterdir():
        data = path.read_bytes() if path.suffix != ".gz" else nib.load(path).to_bytes()
        assert b"SECRET" not in data


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": '["background", "a", "b"]'}, "returned 2 channels, its metadata name 3 classes"),
        ({"channels": "2"}, "has 1 channels, the network wants 2"),
    ],
)
def test_a_recipe_that_does_not_fit(tmp_path, changes, message):
    bright_box(tmp_path / "t2.nii.gz")
    model = write_model(tmp_path / "m.onnx", **{**AS_IT_IS, **changes})
    with pytest.raises(InputError, match=message):
        segment(tmp_path / "t2.nii.gz", tmp_path / "out", model=model)


def test_values_that_are_not_finite_make_no_mask(tmp_path):
    bright_box(tmp_path / "t2.nii.gz")
    model = write_model(tmp_path / "m.onnx", weights=(0.0, float("nan")), **AS_IT_IS)
    with pytest.raises(InputError, match=r"0 of 1 volumes segmented; failed: t2.nii.gz .*NaN or infinite"):
        segment(tmp_path / "t2.nii.gz", tmp_path / "out", model=model)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_name_with_a_line_break_takes_no_second_line(model, tmp_path, caplog):
    bright_box(tmp_path / "in" / "a\nb.nii.gz")
    bright_box(tmp_path / "in" / "c.nii.gz")
    (tmp_path / "in" / "c\nd.nii.gz").write_bytes(b"")
    caplog.set_level("INFO")
    with pytest.raises(InputError, match=r"^2 of 3 volumes segmented; failed: c d\.nii\.gz \([^\n]*$"):
        segment(tmp_path / "in", tmp_path / "out", model=model)
    assert caplog.messages
    assert not [message for message in caplog.messages if "\n" in message]


def bundle_of(model, root):
    (root / "configs").mkdir(parents=True)
    (root / "configs" / "metadata.json").write_text("{}")
    (root / "models").mkdir()
    shutil.copy(model, root / "models" / "model.onnx")
    return root


def test_a_model_by_the_name_of_its_bundle(model, tmp_path):
    bright_box(tmp_path / "t2.nii.gz")
    bundle = bundle_of(model, tmp_path / "bundles" / "my_net")
    for given in ("my_net", bundle):
        assert len(segment(tmp_path / "t2.nii.gz", tmp_path / "o", model=given, bundles_dir=tmp_path / "bundles")) == 1
    (bundle / "models" / "model.pt").write_bytes(b"other weights")
    with pytest.raises(
        InputError, match=r"my_net: models/model.onnx was exported from other weights than models/model"
    ):
        segment(tmp_path / "t2.nii.gz", tmp_path / "o", model=bundle)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": None}, "no model was given; give --model, one of my_net"),
        ({"model": "my_nets"}, r"no bundle's folder and no bundle in .*'\. Did you mean 'my_net'\?$"),
        ({"model": "empty"}, "empty: has no models/model.onnx; run python -m akd_monai export"),
        ({"model": "none.onnx"}, r"none.onnx: cannot be opened \(No such file"),
        ({"model": "text.onnx"}, "text.onnx: is no ONNX file"),
        ({"model": "empty.onnx"}, "empty.onnx: is no ONNX file"),
        ({"model": "bare.onnx"}, "bare.onnx: says nothing about how its input is prepared; make it by .* export"),
        ({"model": "later.onnx"}, "later.onnx: is of another version of the format"),
        ({"model": "my_net", "engine": "tensorrt"}, "engine must be one of 'auto', 'onnxruntime', 'openvino', 'torch'"),
        ({"model": "my_net", "threads": 0}, "threads must be an integer from 1 to 1024, got 0"),
        ({"model": "my_net", "threads": 100_000}, "threads must be an integer from 1 to 1024, got 100000"),
        ({"model": "bare.onnx", "engine": "torch"}, "engine torch needs a bundle, not an ONNX file"),
    ],
)
def test_refusals_in_one_line(model, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    bundle_of(model, tmp_path / "bundles" / "my_net")
    (bundle_of(model, tmp_path / "bundles" / "empty") / "models" / "model.onnx").unlink()
    (tmp_path / "text.onnx").write_bytes(b"no model at all")
    # the version of the format, and nothing else
    (tmp_path / "bare.onnx").write_bytes(b"\x08\x08")
    (tmp_path / "empty.onnx").write_bytes(b"")
    write_model(tmp_path / "later.onnx", format="99")
    bright_box(tmp_path / "t2.nii.gz")
    with pytest.raises(InputError, match=message):
        segment("t2.nii.gz", "out", **options)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, "{") for name in ("bundle", "channels", "preprocessing", "inferer")),
        # empty ones would be taken for "nothing to prepare"
        *(("preprocessing", "{}"), ("preprocessing", '""'), ("postprocessing", "{}"), ("class_names", '"ab"')),
    ],
)
def test_damaged_metadata(tmp_path, name, value):
    bright_box(tmp_path / "t2.nii.gz")
    model = write_model(tmp_path / "m.onnx", **{name: value})
    with pytest.raises(InputError, match=r"m.onnx: has damaged metadata"):
        segment(tmp_path / "t2.nii.gz", tmp_path / "out", model=model)


@pytest.mark.fault(
    "Masks that are written",
    "a volume fails of which an earlier run wrote a mask",
    injected="the volume is truncated between two runs",
    outcome="the mask stays, and the line of the failure says that it is of an earlier run",
)
def test_an_older_mask_is_told(model, tmp_path, caplog):
    bright_box(tmp_path / "t2.nii.gz")
    segment(tmp_path / "t2.nii.gz", tmp_path / "out", model=model)
    (tmp_path / "t2.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match="0 of 1 volumes segmented"):
        segment(tmp_path / "t2.nii.gz", tmp_path / "out", model=model)
    (told,) = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert told.endswith("An earlier run's t2_pred.nii.gz is still there.")
