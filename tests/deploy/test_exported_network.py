# SPDX-License-Identifier: Apache-2.0
"""An exported network as a module of PyTorch."""

from __future__ import annotations

import json

import pytest
import torch
from deploy_tools import write_model

from akd_monai.deploy import ExportedNetwork
from akd_monai.errors import InputError
from akd_monai.files import sha256_of


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_logits_are_those_of_the_file(tmp_path, engine):
    pytest.importorskip(engine)
    network = ExportedNetwork(write_model(tmp_path / "m.onnx", weights=(0.5, -3.0), biases=(1.0, 2.0)), engine).eval()
    x = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    found = network(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.cat([0.5 * x + 1, -3 * x + 2], dim=1))
    # an engine may hand out its own memory, which the next batch overwrites
    network(torch.zeros(3, 1, 16, 16))
    torch.testing.assert_close(found, torch.cat([0.5 * x + 1, -3 * x + 2], dim=1))
    assert list(network.parameters()) == []


def test_another_size_is_refused(tmp_path):
    network = ExportedNetwork(write_model(tmp_path / "m.onnx"))
    with pytest.raises(InputError, match=r"was exported for inputs of \[1, 16, 16\], got \[1, 8, 16\]"):
        network(torch.zeros(1, 1, 8, 16))


def test_weights_are_compared(tmp_path):
    for name in ("model.pt", "other.pt"):
        (tmp_path / name).write_bytes(name.encode())
    sha256 = json.dumps(sha256_of(tmp_path / "model.pt"))
    network = ExportedNetwork(write_model(tmp_path / "m.onnx", weights_sha256=sha256))
    network.check_weights(tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"m.onnx: was exported from other weights than .*other.pt; export it again"):
        network.check_weights(tmp_path / "other.pt")
