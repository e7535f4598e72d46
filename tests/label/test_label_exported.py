# SPDX-License-Identifier: Apache-2.0
"""An exported network in MONAI Label's inference, upon a stand-in for its class."""

from __future__ import annotations

import json

import pytest
import torch
from deploy_tools import write_model

from akd_monai.bundle import write_bundle
from akd_monai.deploy import ExportedNetwork
from akd_monai.errors import InputError
from akd_monai.files import sha256_of
from akd_monai.label._bundles import check_servable
from akd_monai.label._infer import SafeInfer


class InferTask:
    """Stand-in for ``BundleInferTask``: its networks have weights that are loaded strictly."""

    def __init__(self, path, conf, *, network, train_mode=False, **options):
        self.network = network
        self.path = path
        self.train_mode = train_mode

    def get_path(self, validate=True):
        return self.path

    def _get_network(self, device, data):
        self.network.load_state_dict(torch.load(self.path, weights_only=True), strict=True)
        return self.network


Infer = type("Infer", (SafeInfer, InferTask), {})


@pytest.fixture
def weights(tmp_path):
    torch.save({"weight": torch.ones(1)}, tmp_path / "model.pt")
    torch.save({"weight": torch.zeros(1)}, tmp_path / "model_best.pt")
    return tmp_path / "model.pt"


def task(weights, **options):
    sha256 = json.dumps(sha256_of(weights))
    network = ExportedNetwork(write_model(weights.with_name("m.onnx"), weights_sha256=sha256))
    return Infer(str(weights), {}, network=network, **options)


def test_logits_are_those_of_the_file_and_no_weights_are_loaded(weights):
    network = task(weights)._get_network("cpu", {})
    x = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(x), torch.cat([0 * x, 4 * x - 1], dim=1))


@pytest.mark.parametrize("name", ["model_best.pt", ["model_best.pt"]])
def test_weights_that_a_viewer_chose_must_be_those_of_the_file(weights, name):
    task(weights)._get_network("cpu", {"model_filename": "model.pt"})
    with pytest.raises(InputError, match=r"m.onnx: was exported from other weights than .*model_best.pt"):
        task(weights)._get_network("cpu", {"model_filename": name})


def test_other_weights_in_the_bundle_are_refused(weights):
    served = task(weights)
    weights.write_bytes(b"trained again")
    with pytest.raises(InputError, match=r"was exported from other weights than .*model.pt; export it again"):
        served._get_network("cpu", None)


def test_uncertainty_needs_the_network_in_pytorch(weights):
    with pytest.raises(InputError, match="has no dropout, by which uncertainty is scored; serve the bundle with its"):
        task(weights, train_mode=True)._get_network("cpu", {})


def test_a_bundle_whose_inference_names_the_exported_network_can_be_served(tmp_path):
    root = write_bundle("enet", tmp_path / "bundle")
    torch.save({"weight": torch.ones(1)}, root / "models" / "model.pt")
    sha256 = json.dumps(sha256_of(root / "models" / "model.pt"))
    exported = write_model(root / "models" / "model.onnx", weights_sha256=sha256)
    network = {"_target_": "akd_monai.deploy.ExportedNetwork", "path": str(exported)}
    config = root / "configs" / "inference.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "network_def": network}))
    check_servable(root)
    (root / "models" / "model.pt").write_bytes(b"trained again")
    with pytest.raises(InputError, match="was exported from other weights than"):
        check_servable(root)
