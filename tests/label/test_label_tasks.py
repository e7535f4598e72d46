# SPDX-License-Identifier: Apache-2.0
"""What is added to MONAI Label's tasks, upon stand-ins for its classes."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import AsDiscreted, EnsureChannelFirstd, Invertd, LoadImaged, SaveImaged, Spacingd

from akd_monai.errors import InputError
from akd_monai.label._infer import SafeInfer, only_dropout, write_nifti
from akd_monai.label._train import SafeTrain
from akd_monai.networks.nets import ENet

LOADER = "akd_monai.handlers.LoadWeights"


class InferTask:
    """Stand-in for ``BundleInferTask``."""

    def __init__(self, path, conf, **options):
        self.options = options

    def pre_transforms(self, data=None):
        return [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            Spacingd("image", pixdim=(2.0, 2.0, 2.0), mode="bilinear"),
        ]


class TrainTask:
    """Stand-in for ``BundleTrainTask``."""

    def __init__(self, path, conf, **options):
        self.bundle_path, self.options = path, options
        self.const = SimpleNamespace(
            model_pytorch=lambda: "model.pt", multi_gpu_configs=lambda: ["multi_gpu_train.json"]
        )
        self.bundle_config = ConfigParser({"output_dir": "somewhere"})

    def __call__(self, request, datastore):
        return request

    def _partition_datalist(self, datalist, request, shuffle=False):
        share = round(len(datalist) * request.get("val_split", 0.2))
        return datalist[share:], datalist[:share]


Infer = type("Infer", (SafeInfer, InferTask), {})
Train = type("Train", (SafeTrain, TrainTask), {})


@pytest.fixture
def train(tmp_path):
    for name in ("configs", "models"):
        (tmp_path / name).mkdir()
    (tmp_path / "models" / "model.pt").write_text("weights")
    return Train(str(tmp_path), {})


def test_weights_are_loaded_strictly_whatever_the_caller_says():
    assert Infer("path", {}, load_strict=False).options["load_strict"] is True
    assert "post_filter" not in Infer("path", {}).options


def test_scoring_compares_probabilities_on_the_networks_grid():
    options = Infer("path", {}, train_mode=True, post_filter=[SaveImaged, Invertd]).options
    assert options["post_filter"] == [SaveImaged, Invertd, AsDiscreted]
    assert options["add_post_restore"] is False


def test_spacing_works_beside_the_path_of_the_image(tmp_path):
    path = str(tmp_path / "image.nii.gz")
    nib.save(nib.Nifti1Image(np.ones((8, 8, 4), np.float32), np.eye(4)), path)
    data = {"image": path, "image_path": path}
    for transform in Infer("path", {}).pre_transforms():
        data = transform(data)
    assert data["image_path"] == path
    assert data["image"].shape == (1, 4, 4, 2)


def test_dropout_alone_is_random_when_uncertainty_is_scored():
    torch.manual_seed(0)
    network, image = only_dropout(ENet(2, 1, 2, dropout=0.2)), torch.rand(2, 1, 32, 32)
    before = {name: value.clone() for name, value in network.named_buffers()}
    with torch.no_grad():
        assert not torch.equal(network(image), network(image))
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())


def test_mask_is_written_with_sheared_axes(tmp_path):
    affine = np.array([[0, 0.9, 0.1, 5], [-0.8, 0, 0, 7], [0, 0.2, -3.0, 1], [0, 0, 0, 1]])
    mask = torch.arange(6.0).reshape(3, 2, 1)
    data = {"pred": MetaTensor(mask), "pred_meta_dict": {"affine": affine}, "result_dtype": "uint8"}
    path = write_nifti({**data, "image_path": "any/case.1.nii.gz"})
    written = nib.load(path)
    assert path.endswith(".nii.gz")
    assert written.get_data_dtype() == np.uint8
    np.testing.assert_allclose(written.affine, affine, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(written.dataobj), mask.numpy())
    assert write_nifti({**data, "image_path": "any.nii.gz", "result_extension": ".nrrd"}) is None
    assert write_nifti({**data, "image_path": "any.nii.gz", "result_write_to_file": False}) is None


@pytest.mark.parametrize("codes", [(1, 1), (2, 1), (1, 0), (0, 1)])
def test_mask_has_the_header_of_its_image(tmp_path, codes):
    path, affine = tmp_path / "t2.nii.gz", np.diag([-0.5, -0.5, 3.0, 1.0])
    image = nib.Nifti1Image(np.ones((4, 3, 2), np.float32), affine)
    image.set_qform(np.diag([-0.5, -0.5, 4.0, 1.0]) if codes == (2, 1) else affine, codes[0])
    image.set_sform(affine, codes[1])
    image.header.set_xyzt_units("mm")
    nib.save(nib.Nifti1Image(image.dataobj, affine, image.header), path)
    data = {"pred": torch.ones(4, 3, 2), "pred_meta_dict": {"affine": affine}, "result_dtype": "uint8"}
    one, two = nib.load(path).header, nib.load(write_nifti({**data, "image_path": str(path)})).header
    for field in ("qform_code", "sform_code", "xyzt_units", "quatern_b", "qoffset_x", "srow_x", "srow_z", "pixdim"):
        np.testing.assert_array_equal(one[field], two[field], err_msg=field)


def test_an_empty_mask_is_said(caplog):
    data = {"pred": torch.zeros(4, 3, 2), "pred_meta_dict": {"affine": np.eye(4)}, "result_dtype": "uint8"}
    with caplog.at_level(logging.WARNING):
        write_nifti({**data, "image_path": "t2.nii.gz"})
        write_nifti({**data, "pred": torch.ones(4, 3, 2), "image_path": "full.nii.gz"})
    assert caplog.messages[0] == "t2.nii.gz: the mask is empty, no voxel is marked."
    assert caplog.messages[1].startswith("full.nii.gz: the mask marks 100% of the volume")


def test_training_without_labels_says_what_to_do(train):
    with pytest.raises(InputError, match="save at least one label with the tag 'final'"):
        train._partition_datalist([], {})


@pytest.mark.parametrize(("count", "split"), [(1, 0.2), (2, 0.2), (3, 1.0), (4, 0)])
def test_where_nothing_is_left_to_validate_or_train_on_all_cases_serve_for_both(train, count, split, caplog):
    cases = [{"image": str(i)} for i in range(count)]
    with caplog.at_level(logging.WARNING):
        assert train._partition_datalist(cases, {"val_split": split}) == (cases, cases)
    assert f"with {count} labelled images and val_split {split}" in caplog.text


def test_otherwise_the_cases_are_divided(train, caplog):
    cases = [{"image": str(i)} for i in range(5)]
    assert train._partition_datalist(cases, {}) == (cases[1:], cases[:1])
    assert not caplog.records


def test_training_begins_with_the_weights_and_keeps_them(train, tmp_path):
    handlers, weights = [{"_target_": "Other"}], tmp_path / "models" / "model.pt"
    for _ in range(2):  # the same list comes back at the next request
        train._load_checkpoint(str(weights), True, handlers)
        assert handlers == [{"_target_": LOADER, "network": "@network", "path": str(weights)}, {"_target_": "Other"}]
    kept = sorted((tmp_path / "models").glob("model_*.pt"))
    assert kept
    assert all(path.read_text() == "weights" for path in kept)
    train._load_checkpoint(str(weights), False, handlers)
    assert handlers == [{"_target_": "Other"}]


def test_every_training_has_an_output_folder_and_the_bundles_own_tracking(train, tmp_path):
    overrides = train._update_overrides({"tracking": "mlflow"})
    assert overrides["tracking"] == "mlflow"
    folder = ConfigParser({"output_dir": overrides["output_dir"]}).get_parsed_content("output_dir")
    assert Path(folder).parent == tmp_path / "eval"
    assert re.fullmatch(r"\d{8}-\d{6}", Path(folder).name)
    (tmp_path / "configs" / "tracking.json").write_text("{}")
    assert train._update_overrides({"tracking": "mlflow"})["tracking"] == str(tmp_path / "configs" / "tracking.json")
    assert "tracking" not in train._update_overrides({})


def test_each_training_may_replace_the_model_of_the_one_before(train):
    assert "resume" not in train._update_overrides({})
    train.bundle_config = ConfigParser({"output_dir": "somewhere", "resume": "auto"})
    assert train._update_overrides({})["resume"] == "never"


def test_request_of_a_viewer_is_put_right(train, tmp_path):
    given = {"run_id": "", "multi_gpu": True}
    assert train(given, None) == {"multi_gpu": False}
    assert given == {"run_id": "", "multi_gpu": True}
    (tmp_path / "configs" / "multi_gpu_train.json").write_text("{}")
    assert train({"run_id": "training", "multi_gpu": True}, None) == {"run_id": "training", "multi_gpu": True}
