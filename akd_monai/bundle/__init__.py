# SPDX-License-Identifier: Apache-2.0
"""Everything that reads a bundle's JSON."""

from akd_monai.bundle.compare import compare_bundles
from akd_monai.bundle.load import build_network, load_network
from akd_monai.bundle.metadata import (
    bundle_path,
    distillation_layer,
    input_shape,
    read_metadata,
    weights_path,
    weights_sha256,
)
from akd_monai.bundle.workflow import DistillationWorkflow, distillation_configs

__all__ = [
    "DistillationWorkflow",
    "build_network",
    "bundle_path",
    "compare_bundles",
    "distillation_configs",
    "distillation_layer",
    "input_shape",
    "load_network",
    "read_metadata",
    "weights_path",
    "weights_sha256",
]
