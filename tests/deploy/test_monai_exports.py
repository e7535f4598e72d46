# SPDX-License-Identifier: Apache-2.0
"""MONAI's own exports work on the project's bundles, beside ``export``."""

from __future__ import annotations

import warnings

import numpy as np
import onnxruntime
import pytest
import torch
from bundle_tools import SIZE, small_bundle
from monai.bundle import ckpt_export, onnx_export

from akd_monai.bundle import build_network


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = small_bundle("enet", tmp_path_factory.mktemp("monai") / "bundle")
    torch.manual_seed(0)
    network = build_network(root).eval()
    torch.save(network.state_dict(), root / "models" / "model.pt")
    x = torch.randn(2, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    # flat regions tie in every pooling
    x[..., :8] = 0.5
    with torch.no_grad():
        return root, x, network(x)


def arguments(root, name):
    return {
        "net_id": "network_def",
        "filepath": str(root / "models" / name),
        "ckpt_file": str(root / "models" / "model.pt"),
        "meta_file": str(root / "configs" / "metadata.json"),
        "config_file": str(root / "configs" / "inference.json"),
    }


def test_ckpt_export(trained):
    root, x, wanted = trained
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ckpt_export(**arguments(root, "model.ts"))
        script = torch.jit.load(str(root / "models" / "model.ts"))
    with torch.no_grad():
        torch.testing.assert_close(script(x), wanted)


def test_onnx_export(trained):
    root, x, wanted = trained
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnx_export(**arguments(root, "monai.onnx"), input_shape=[2, 1, SIZE, SIZE])
    session = onnxruntime.InferenceSession(str(root / "models" / "monai.onnx"), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: np.asarray(x)})
    torch.testing.assert_close(torch.from_numpy(logits), wanted, rtol=1e-4, atol=1e-5)
