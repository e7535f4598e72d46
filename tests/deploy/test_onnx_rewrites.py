# SPDX-License-Identifier: Apache-2.0
"""Rewritten nodes compute the same, and what does not fit the other form stays as it is."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, checker, helper, numpy_helper

from akd_monai.deploy._onnx_rewrites import rewrite


def model_of(kind, weights, **attributes):
    """Return a graph of one node with constant weights."""
    names = [f"w{number}" for number in range(len(weights))]
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", *names], ["y"], name="node", **attributes)],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 4, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", None, None, None])],
        [numpy_helper.from_array(value, name) for name, value in zip(names, weights, strict=True)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def values_of(model):
    x = np.random.default_rng(1).normal(size=(2, 3, 4, 5)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return x, session.run(None, {"x": x})[0]


def drawn(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def kinds(model):
    return [node.op_type for node in model.graph.node]


def test_one_slope_becomes_an_attribute():
    model = model_of("PRelu", [np.full((1, 1, 1), 0.25, np.float32)])
    rewrite(model)
    checker.check_model(model)
    assert kinds(model) == ["LeakyRelu"]
    assert len(model.graph.initializer) == 0
    x, y = values_of(model)
    np.testing.assert_array_equal(y, np.where(x > 0, x, np.float32(0.25) * x))


@pytest.mark.parametrize("with_bias", [False, True])
def test_windows_side_by_side_become_a_product(with_bias):
    weights = [drawn(3, 2, 2, 2), *([drawn(2)] if with_bias else [])]
    model = model_of("ConvTranspose", weights, strides=[2, 2], kernel_shape=[2, 2])
    rewrite(model)
    checker.check_model(model)
    assert kinds(model) == ["Conv", "DepthToSpace"]
    x, y = values_of(model)
    wanted = np.zeros((2, 2, 8, 10))
    for i, j in np.ndindex(2, 2):
        wanted[:, :, i::2, j::2] = np.einsum("bchw,co->bohw", x, weights[0][:, :, i, j].astype(float))
    if with_bias:
        wanted += weights[1][None, :, None, None]
    np.testing.assert_allclose(y, wanted, atol=1e-6)


def test_a_bias_that_is_computed_is_not_lost():
    model = model_of("ConvTranspose", [drawn(3, 2, 2, 2), drawn(2)], strides=[2, 2])
    model.graph.node[0].input[2] = "bias"
    model.graph.node.insert(0, helper.make_node("Neg", ["w1"], ["bias"]))
    _, wanted = values_of(model)
    rewrite(model)
    checker.check_model(model)
    np.testing.assert_array_equal(values_of(model)[1], wanted)


def test_nodes_without_names_keep_their_own_weights():
    model = model_of("ConvTranspose", [drawn(3, 2, 2, 2)], strides=[2, 2])
    second = helper.make_node("ConvTranspose", ["h", "second"], ["y"], strides=[2, 2])
    model.graph.node[0].output[0] = "h"
    model.graph.node[0].ClearField("name")
    model.graph.node.append(second)
    model.graph.initializer.append(numpy_helper.from_array(drawn(2, 1, 2, 2), "second"))
    _, wanted = values_of(model)
    rewrite(model)
    checker.check_model(model)
    assert kinds(model) == ["Conv", "DepthToSpace"] * 2
    np.testing.assert_allclose(values_of(model)[1], wanted, atol=1e-6)


def test_weights_of_a_graph_within_a_node_stay():
    shape = ["batch", 3, 4, 5]
    branches = {}
    for name, kind in (("then_branch", "Add"), ("else_branch", "Sub")):
        made = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        branches[name] = helper.make_graph([helper.make_node(kind, ["x", "w0"], [name])], name, [], [made])
    model = model_of("PRelu", [drawn(1), np.array(True)])
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("If", ["w1"], ["y"], **branches))
    x, wanted = values_of(model)
    np.testing.assert_array_equal(wanted, x + drawn(1))
    rewrite(model)
    checker.check_model(model)
    np.testing.assert_array_equal(values_of(model)[1], wanted)


@pytest.mark.parametrize(
    ("kind", "weights", "attributes"),
    [
        ("PRelu", [drawn(3, 1, 1)], {}),
        ("ConvTranspose", [drawn(3, 2, 3, 3)], {"strides": [2, 2]}),
        ("ConvTranspose", [drawn(3, 2, 2, 2)], {"strides": [2, 2], "pads": [1, 0, 0, 0]}),
        ("ConvTranspose", [drawn(3, 2, 2, 2)], {"strides": [2, 2], "output_padding": [1, 1]}),
        ("ConvTranspose", [drawn(3, 2, 2, 2)], {"strides": [2, 2], "output_shape": [9, 11]}),
        ("ConvTranspose", [drawn(3, 2, 2, 2)], {"strides": [2, 2], "group": 3}),
        ("ConvTranspose", [drawn(3, 2, 2, 3)], {"strides": [2, 3]}),
        ("ConvTranspose", [drawn(3, 2, 2, 2)], {}),
    ],
)
def test_anything_else_stays(kind, weights, attributes):
    model = model_of(kind, weights, **attributes)
    before = model.SerializeToString()
    rewrite(model)
    assert model.SerializeToString() == before
