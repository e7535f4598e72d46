# SPDX-License-Identifier: Apache-2.0
"""Nodes of an ONNX graph in an equal form that engines run faster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

__all__ = ["rewrite"]

_Weights = dict[str, onnx.TensorProto]
_Nodes = list[onnx.NodeProto]


def rewrite(model: onnx.ModelProto) -> None:
    """Rewrite what engines do not fuse, or not well; what is computed stays the same.

    - ``PRelu`` with a single slope becomes ``LeakyRelu``, which ONNX Runtime fuses with the convolution before it;
    - ``ConvTranspose`` whose windows do not overlap becomes a 1 x 1 ``Conv`` and ``DepthToSpace``.

    Args:
        model: is changed in place.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: _Nodes = []
    for node in graph.node:
        form = _FORMS.get(node.op_type)
        nodes += form(node, weights) if form else [node]
    # the weights of nodes that were replaced; what else no node here uses may be one of a graph within a node
    left = _inputs_of(graph.node) - _inputs_of(nodes)
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.initializer[:]
    graph.initializer.extend(tensor for name, tensor in weights.items() if name not in left)


def _inputs_of(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    return {name for node in nodes for name in node.input}


def _leaky_relu(node: onnx.NodeProto, weights: _Weights) -> _Nodes:
    slope = weights.get(node.input[1])
    if slope is None or np.prod(slope.dims) != 1:
        return [node]
    alpha = float(numpy_helper.to_array(slope).reshape(()))
    return [helper.make_node("LeakyRelu", node.input[:1], node.output, name=node.name, alpha=alpha)]


def _pixel_shuffle(node: onnx.NodeProto, weights: _Weights) -> _Nodes:
    kernel = weights.get(node.input[1])
    # a bias may be left out, or be computed
    bias_name = node.input[2] if len(node.input) > 2 else ""
    bias = weights.get(bias_name)
    if kernel is None or (bias_name and bias is None) or not _is_disjoint(node, kernel.dims):
        return [node]
    side = kernel.dims[2]
    values = numpy_helper.to_array(kernel)
    # outputs have names that are used once, and nodes may have none
    name = f"{node.output[0]}_1x1"
    kernel_name = f"{name}_kernel"
    pointwise = np.ascontiguousarray(values.reshape(len(values), -1).T[..., None, None])
    weights[kernel_name] = numpy_helper.from_array(pointwise, kernel_name)
    given = [node.input[0], kernel_name]
    if bias is not None:
        repeated = np.repeat(numpy_helper.to_array(bias), side * side)
        weights[f"{name}_bias"] = numpy_helper.from_array(repeated, f"{name}_bias")
        given.append(f"{name}_bias")
    return [
        helper.make_node("Conv", given, [name], name=name, kernel_shape=[1, 1]),
        helper.make_node("DepthToSpace", [name], node.output, name=node.name, blocksize=side, mode="CRD"),
    ]


def _is_disjoint(node: onnx.NodeProto, kernel: Sequence[int]) -> bool:
    """Return whether each output pixel comes from one input pixel, with nothing added or cut off at the edges."""
    has = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if len(kernel) != 4 or kernel[2] != kernel[3] or has.get("auto_pad", b"NOTSET") != b"NOTSET":
        return False
    plain = {"group": 1, "pads": [0] * 4, "dilations": [1] * 2, "output_padding": [0] * 2}
    if any(has.get(name, value) != value for name, value in plain.items()) or "output_shape" in has:
        return False
    return bool(has.get("strides", [1, 1]) == list(kernel[2:]))


_FORMS: dict[str, Callable[[onnx.NodeProto, _Weights], _Nodes]] = {
    "PRelu": _leaky_relu,
    "ConvTranspose": _pixel_shuffle,
}
