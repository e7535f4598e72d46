# SPDX-License-Identifier: Apache-2.0
"""What the Model Zoo asks of a bundle, by MONAI's own commands, for all five at a small size."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import onnx
import pytest
import torch
from bundle_tools import small_bundle
from monai.bundle import ConfigWorkflow, ckpt_export, onnx_export, verify_net_in_out

from akd_monai.bundle import build_network
from akd_monai.prostate import make_phantom

PARTS = ["enet", "espnet", "erfnet", "unetplusplus", "deeplabv3plus"]
SIZE = 32


@pytest.fixture(scope="module", params=PARTS)
def bundle(request, tmp_path_factory) -> Path:
    """A bundle with drawn weights."""
    root = small_bundle(request.param, tmp_path_factory.mktemp("zoo") / f"prostate_mri_{request.param}")
    torch.manual_seed(0)
    torch.save(build_network(root).state_dict(), root / "models" / "model.pt")
    return root


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> Path:
    """Synthetic cases of one site."""
    folder = tmp_path_factory.mktemp("cases") / "phantom"
    return make_phantom(folder, cases_per_site=4, sites=["RUNMC"], size=SIZE, slices=4, seed=0, progress=False)


def files(bundle: Path) -> dict[str, str]:
    return {
        "meta_file": str(bundle / "configs" / "metadata.json"),
        "config_file": str(bundle / "configs" / "inference.json"),
    }


@pytest.mark.parametrize("kind", ["train", "inference"])
def test_every_property_that_monai_knows_is_there(bundle, cases, kind):
    workflow = ConfigWorkflow(
        config_file=str(bundle / "configs" / f"{kind}.json"), workflow_type=kind, bundle_root=str(bundle),
        dataset_dir=str(cases), logging_file=False,
    )  # fmt: skip
    workflow.initialize()
    assert workflow.check_properties() == []


def test_network_takes_and_gives_what_the_metadata_says(bundle):
    verify_net_in_out("network_def", **files(bundle))


def test_metadata_has_the_types_of_the_schema(bundle):
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert metadata["schema"].endswith("meta_schema_20240725.json")
    for key in ("changelog", "required_packages_version", "eval_metrics", "supported_apps", "network_data_format"):
        assert isinstance(metadata[key], dict), key
    for key in ("version", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors",
                "copyright", "intended_use", "data_type", "image_classes", "label_classes", "pred_classes"):  # fmt: skip
        assert isinstance(metadata[key], str), key
    for form in (
        metadata["network_data_format"]["inputs"]["image"],
        metadata["network_data_format"]["outputs"]["pred"],
    ):
        assert isinstance(form["num_channels"], int)
        assert all(isinstance(side, int) for side in form["spatial_shape"])
        assert all(isinstance(value, (int, float)) for value in form["value_range"])
        assert {"type", "format", "dtype"} <= form.keys()


def test_torchscript_gives_what_the_network_gives(bundle, tmp_path):
    ckpt_export(
        "network_def", filepath=str(tmp_path / "model.ts"), ckpt_file=str(bundle / "models" / "model.pt"),
        input_shape=[1, 1, SIZE, SIZE], **files(bundle),
    )  # fmt: skip
    image = torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    network = build_network(bundle).eval()
    network.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True))
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.load(tmp_path / "model.ts").eval()(image), network(image))


def test_onnx_is_written_and_valid(bundle, tmp_path, monkeypatch):
    # MONAI exports through a temporary file and leaves the weights beside it, 209 MB for the largest network
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    onnx_export(
        "network_def", filepath=str(tmp_path / "model.onnx"), ckpt_file=str(bundle / "models" / "model.pt"),
        input_shape=[1, 1, SIZE, SIZE], **files(bundle),
    )  # fmt: skip
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model)
    assert [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim][1:] == [2, SIZE, SIZE]
