# SPDX-License-Identifier: Apache-2.0
"""NaN of a network never becomes a mask: not at inference, where it costs one volume, nor in validation."""

from __future__ import annotations

import logging

import nibabel as nib
import numpy as np
import pytest
import torch
from bundle_tools import small_bundle
from monai.bundle import ConfigParser
from monai.data import MetaTensor

from akd_monai.data import CheckPredictiond
from akd_monai.errors import InputError, NonFiniteError
from akd_monai.networks.nets import ENet


@pytest.mark.parametrize(("value", "dtype"), [("nan", torch.float32), ("inf", torch.float16), ("-inf", torch.bfloat16)])
def test_a_value_that_is_not_finite_is_refused_by_name(value, dtype):
    pred = torch.zeros(2, 3, 4, dtype=dtype)
    pred[1, 2, 3] = float(value)
    item = {"pred": MetaTensor(pred, meta={"filename_or_obj": "in/t2.nii.gz"})}
    with pytest.raises(NonFiniteError, match=r"^in/t2\.nii\.gz: 1 of 24 values .* NaN or infinite, so no mask"):
        CheckPredictiond("pred")(item)


def test_the_volume_is_named_by_its_image_or_its_case():
    pred = torch.tensor([float("nan")])
    image = MetaTensor(torch.zeros(1), meta={"filename_or_obj": "in/t2.nii.gz"})
    for item, name in (
        ({"image": image}, "in/t2.nii.gz"),
        ({"case_id": "HK/Case13"}, "HK/Case13"),
        ({}, "a volume"),
    ):
        with pytest.raises(NonFiniteError, match=f"^{name}: 1 of 1 values"):
            CheckPredictiond("pred")({"pred": pred, **item})


def test_what_is_finite_passes_unchanged():
    pred = torch.tensor([[-65504.0, 65504.0]], dtype=torch.float16)
    assert CheckPredictiond("pred")({"pred": pred})["pred"] is pred


class HalfBlind(torch.nn.Module):
    """A network that returns some NaN for bright volumes, as mixed precision may."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        logits = self.network(x)
        # preprocessing scales both volumes alike; the one with a bright corner is the bad one
        if float(x[..., 0, 0].max()) > 1:
            logits[..., :2, :2] = float("nan")
        return logits


@pytest.fixture
def inference(tmp_path):
    """The inference of a bundle on two volumes, of which the network cannot see one."""
    root = small_bundle("enet", tmp_path / "bundle")
    torch.manual_seed(0)
    torch.save(ENet(2, 1, 2).state_dict(), root / "models" / "model.pt")
    (tmp_path / "in").mkdir()
    for name, corner in (("bad", 1000), ("good", 0)):
        volume = np.random.default_rng(0).normal(100, 20, (24, 20, 3)).astype(np.float32)
        # both ends of the first two axes, whichever way they run
        volume[0, [0, -1]] = corner
        volume[-1, [0, -1]] = corner
        nib.save(nib.Nifti1Image(volume, np.diag([1.0, 1.0, 3.0, 1.0])), tmp_path / "in" / f"{name}.nii.gz")
    parser = ConfigParser()
    parser.read_config(root / "configs" / "inference.json")
    places = {"bundle_root": root, "dataset_dir": tmp_path / "in", "output_dir": tmp_path / "out"}
    for name, place in places.items():
        parser[name] = str(place)
    parser["device"] = "$torch.device('cpu')"
    evaluator = parser.get_parsed_content("evaluator")
    evaluator.network = HalfBlind(evaluator.network)
    return parser


@pytest.mark.fault(
    "Numbers",
    "a network returns NaN in inference",
    injected="some logits of one of two volumes are NaN",
    outcome="that volume is refused and named, the other is segmented",
)
@pytest.mark.fault(
    "Numbers",
    "the network returns NaN for a part of a volume",
    injected="NaN in some logits",
    outcome="that volume is refused by name, the others are done, exit code 2",
)
def test_inference_refuses_partly_nan_logits_for_that_volume_alone(inference, tmp_path, caplog):
    with caplog.at_level(logging.WARNING), pytest.raises(RuntimeError) as caught:
        inference.get_parsed_content("run")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good_pred.nii.gz"]
    reported = caught.value.__cause__
    assert isinstance(reported, InputError)
    assert str(reported).startswith("1 of 2 volumes segmented; failed: bad.nii.gz (")
    (line,) = [line for line in caplog.messages if line.startswith("not segmented")]
    assert line.startswith(f"not segmented: {tmp_path / 'in' / 'bad.nii.gz'}: 24 of 6144 values")
