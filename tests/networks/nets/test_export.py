# SPDX-License-Identifier: Apache-2.0
"""Scripted, exported and ONNX graphs give what the network gives, at other sizes too where the graph allows them."""

from __future__ import annotations

import io
import logging
import warnings

import pytest
import torch

from akd_monai.networks.nets import DeepLabV3Plus, ENet, ERFNet, ESPNet, UNetPlusPlus

FEATURES = (4, 6, 8, 10, 12)
SMALL = (ENet, ESPNet, ERFNet, UNetPlusPlus)


def small(make):
    torch.manual_seed(0)
    network = make(2, 1, 2, features=FEATURES) if make is UNetPlusPlus else make(2, 1, 2)
    network.train()(torch.randn(4, 1, 32, 32))  # statistics that are not 0 and 1
    return network.eval()


@pytest.mark.parametrize("make", SMALL, ids=lambda n: n.__name__)
def test_script_is_saved_and_equal_at_any_valid_size(make):
    network = small(make)
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(network), file)
    file.seek(0)
    scripted = torch.jit.load(file)
    for size in ((32, 32), (48, 16)):
        x = torch.randn(2, 1, *size)
        with torch.no_grad():
            torch.testing.assert_close(scripted(x), network(x), rtol=1e-5, atol=1e-5)


def test_script_of_deeplabv3plus():
    with torch.device("meta"):
        scripted = torch.jit.script(DeepLabV3Plus(2, 1, 2).eval())
        assert scripted(torch.zeros(1, 1, 37, 50)).shape == (1, 2, 37, 50)


@pytest.mark.parametrize("make", SMALL, ids=lambda n: n.__name__)
def test_exported_program_is_equal(make):
    network, x = small(make), torch.randn(1, 1, 32, 48)
    program = torch.export.export(network, (x,))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), network(x), rtol=1e-5, atol=1e-5)


def test_exported_program_takes_other_sizes():
    network = small(ENet)
    sides = {2: 8 * torch.export.Dim("h", min=2, max=64), 3: 8 * torch.export.Dim("w", min=2, max=64)}
    program = torch.export.export(network, (torch.randn(1, 1, 32, 48),), dynamic_shapes=(sides,))
    x = torch.randn(1, 1, 64, 24)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), network(x), rtol=1e-5, atol=1e-5)


def onnx_output(network, x, dynamo):
    onnx = pytest.importorskip("onnx", reason="skipped: onnx is not installed")
    pytest.importorskip("onnxscript", reason="skipped: onnxscript is not installed")
    from onnx.reference import ReferenceEvaluator

    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            model = torch.onnx.export(network, (x,), dynamo=True, verbose=False).model_proto
        else:
            torch.onnx.export(network, (x,), file, dynamo=False, input_names=["image"])
            model = onnx.load_from_string(file.getvalue())
    onnx.checker.check_model(model)
    return torch.from_numpy(ReferenceEvaluator(model).run(None, {model.graph.input[0].name: x.numpy()})[0])


# the newer exporter takes seconds a network; ENet's pooling and unpooling are what could go wrong in it
CASES = [*((make, False) for make in SMALL), (ENet, True)]


@pytest.mark.parametrize(
    ("make", "dynamo"), CASES, ids=[f"{m.__name__}-{'dynamo' if d else 'traced'}" for m, d in CASES]
)
def test_onnx_is_equal(make, dynamo):
    network, x = small(make), torch.randn(1, 1, 32, 16)
    with torch.no_grad():
        torch.testing.assert_close(onnx_output(network, x, dynamo), network(x), rtol=1e-3, atol=1e-4)
