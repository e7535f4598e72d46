# SPDX-License-Identifier: Apache-2.0
"""MONAI bundles: load their networks, distil, evaluate, check, write and change them."""

from akd_monai.bundle._classes import teacher_classes
from akd_monai.bundle._launcher import end_with_launcher
from akd_monai.bundle._settings import check_settings
from akd_monai.bundle.assembly import assemble_bundles, write_bundle
from akd_monai.bundle.check import check_bundle, find_code, find_problems
from akd_monai.bundle.compare import compare_bundles
from akd_monai.bundle.creation import new_bundle
from akd_monai.bundle.distill import distill_bundle
from akd_monai.bundle.edit import change_bundle
from akd_monai.bundle.evaluate import Evaluation, evaluate_bundle
from akd_monai.bundle.load import build_network, load_network
from akd_monai.bundle.metadata import (
    bundle_path,
    distillation_layer,
    input_shape,
    read_metadata,
    weights_path,
    weights_sha256,
)
from akd_monai.bundle.outputs import output_activation
from akd_monai.bundle.profiles import profile_bundles
from akd_monai.bundle.publish import publish_results
from akd_monai.bundle.recipe import list_recipes, recipe_path
from akd_monai.bundle.shipped import ShippedBundle, list_bundles, write_bundles
from akd_monai.bundle.teacher import load_teacher, teacher_root, teacher_sha256, teacher_value_range
from akd_monai.bundle.workflow import DistillationWorkflow, distillation_configs

__all__ = [
    "DistillationWorkflow",
    "Evaluation",
    "ShippedBundle",
    "assemble_bundles",
    "build_network",
    "bundle_path",
    "change_bundle",
    "check_bundle",
    "check_settings",
    "compare_bundles",
    "distill_bundle",
    "distillation_configs",
    "distillation_layer",
    "end_with_launcher",
    "evaluate_bundle",
    "find_code",
    "find_problems",
    "input_shape",
    "list_bundles",
    "list_recipes",
    "load_network",
    "load_teacher",
    "new_bundle",
    "output_activation",
    "profile_bundles",
    "publish_results",
    "read_metadata",
    "recipe_path",
    "teacher_classes",
    "teacher_root",
    "teacher_sha256",
    "teacher_value_range",
    "weights_path",
    "weights_sha256",
    "write_bundle",
    "write_bundles",
]
