# SPDX-License-Identifier: Apache-2.0
"""Exported networks that are written by hand, without PyTorch, and volumes of varied geometry."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from akd_monai.deploy._recipe import Recipe, recipe_of_metadata

SIDE = 16
# what a bundle of the project says, for slices of 16 x 16
METADATA = {
    "akd_monai.format": "1",
    "akd_monai.channels": "1",
    "akd_monai.class_names": '["background", "prostate"]',
    "akd_monai.preprocessing": """[
        {"name": "Orientation", "axcodes": "RAS"},
        {"name": "Resize", "spatial_size": [16, 16, -1]},
        {"name": "ScaleIntensityRangePercentiles", "lower": 0.5, "upper": 99.5, "b_min": 0.0, "b_max": 1.0, "clip": true},
        {"name": "NormalizeIntensity"}]""",
    "akd_monai.inferer": '{"name": "SliceInferer", "roi_size": [16, 16], "sw_batch_size": 4, "spatial_dim": 2}',
    "akd_monai.postprocessing": """[
        {"name": "Activations", "softmax": true},
        {"name": "Invert", "nearest_interp": false},
        {"name": "AsDiscrete", "argmax": true}]""",
    "akd_monai.bundle": '"by_hand"',
}

# without resizing a mask is known to the voxel
AS_IT_IS = {
    "preprocessing": '[{"name": "Orientation", "axcodes": "RAS"}, {"name": "NormalizeIntensity"}]',
    "inferer": '{"name": "SliceInferer", "roi_size": [16, 16], "sw_batch_size": 4, "spatial_dim": 2}',
}


def recipe(**changes: str) -> Recipe:
    """Return the recipe of :data:`METADATA`, with entries replaced."""
    return recipe_of_metadata(metadata(**changes), "by hand")


def metadata(**changes: str) -> dict[str, str]:
    """Return :data:`METADATA` with entries replaced."""
    return {**METADATA, **{f"akd_monai.{name}": value for name, value in changes.items()}}


def write_model(path: Path, weights=(0.0, 4.0), biases=(0.0, -1.0), dims: int = 2, **changes: str) -> Path:
    """Write a network of one 1 x 1 convolution: the logit of class k is ``weights[k] * x + biases[k]``."""
    kernel = np.array(weights, np.float32).reshape(len(weights), 1, *[1] * dims)
    shape = ["batch", 1, *[SIDE] * dims]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "w", "b"], ["logits"])],
        "by_hand",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(weights), *shape[2:]])],
        [numpy_helper.from_array(kernel, "w"), numpy_helper.from_array(np.array(biases, np.float32), "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    for key, value in metadata(**changes).items():
        entry = model.metadata_props.add()
        entry.key = key
        entry.value = value
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


def bright_box(path: Path, shape=(24, 20, 6), box=((6, 15), (5, 12), (2, 4)), affine=None) -> np.ndarray:
    """Write a dark volume with a bright box and return where it is bright."""
    marked = np.zeros(shape, bool)
    marked[tuple(slice(*ends) for ends in box)] = True
    values = np.where(marked, 200, 10) + np.random.default_rng(0).integers(0, 5, shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values.astype(np.int16), np.diag([-1.0, -1, 3, 1]) if affine is None else affine), path)
    return marked
