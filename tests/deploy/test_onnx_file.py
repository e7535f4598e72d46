# SPDX-License-Identifier: Apache-2.0
"""The exporter's own words stay out of what a command says."""

from __future__ import annotations

import logging

import torch

from akd_monai.deploy._onnx_file import write_onnx


def test_steps_of_the_exporter_are_not_told(tmp_path, caplog):
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.PReLU()).eval()
    with caplog.at_level(logging.INFO):
        write_onnx(network, (1, 16, 16), tmp_path / "model.onnx", {})
    assert [record.name for record in caplog.records if record.name.startswith(("torch.onnx", "onnx"))] == []
    assert logging.getLogger("onnxscript").level == logging.NOTSET
