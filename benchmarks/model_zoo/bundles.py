# SPDX-License-Identifier: Apache-2.0
"""The Model Zoo's segmentation bundles, and in which form each expects its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from akd_monai.losses import Activation

__all__ = ["BUNDLES", "ZooBundle"]


@dataclass(frozen=True)
class ZooBundle:
    """What has to be known of a bundle to give it data and to keep it small.

    Args:
        data: form of its data, a function of :mod:`benchmarks.model_zoo.data`.
        channels: of the image files.
        classes: values of the label files, the background included.
        side: of images and crops in pixels, the smallest that the network takes.
        spacing: of the images in mm, that of the bundle's own preprocessing.
        options: further arguments of the form of data.
        overrides: ids set for data and size, beside those that :mod:`benchmarks.model_zoo.shrinking` finds.
        network: ids without which MONAI 1.6 cannot build the network on a CPU; set for the student too.
        set_by_user: further ids without which the training fails in plain MONAI 1.6 too.
        why: they are needed.
        plain_fails: whether MONAI itself cannot build the network either, without ``network``.
        flags: further flags of ``distill``, such as that of the head.
        scripted: whether its TorchScript ``models/model.ts``, which the Model Zoo offers, is the teacher.
        traced: whether that is not offered, but made of the network with the ids of ``network`` by ``torch.jit.trace``.
        activation: what turns its logits into probabilities, read by hand from its configs.
    """

    data: str
    channels: int = 1
    classes: int = 2
    side: int = 32
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0)
    options: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    network: Mapping[str, Any] = field(default_factory=dict)
    set_by_user: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    plain_fails: bool = False
    flags: tuple[str, ...] = ()
    scripted: bool = False
    traced: bool = False
    activation: Activation = "softmax"


_BYTES = "the loss cannot square labels that are booleans or bytes"
_TORCHVISION = "torchvision is not installed"
_NOT_SQUARED = {"loss#squared_pred": False}
# one case of the many that the bundles keep for validation
_LAST = "$[{'image': i, 'label': l} for i, l in zip(@images[-1:], @labels[-1:])]"
_ONE = {"validate#dataset#data": _LAST}
_ON_CPU = "as it stands, the architecture is read onto a GPU, with weights_only where the file holds arrays of NumPy"
_DINTS = {
    "arch_ckpt": "$torch.load(@arch_ckpt_path, map_location='cpu', weights_only=False)",
    "dints_space#device": "$torch.device('cpu')",
}
_ANY_SIZE = (
    "SwinUNETR of MONAI 1.6 takes no img_size; the teacher is the network with these arguments, traced by PyTorch"
)
_SWIN = {
    "_target_": "SwinUNETR",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 14,
    "feature_size": 48,
    "use_checkpoint": True,
}

BUNDLES = {
    "spleen_ct_segmentation": ZooBundle("folders", spacing=(1.5, 1.5, 2.0), overrides=_ONE),
    "prostate_mri_anatomy": ZooBundle("tables", classes=3, side=64, spacing=(0.5, 0.5, 0.5)),
    "brats_mri_segmentation": ZooBundle(
        "lists",
        channels=4,
        classes=3,
        options={"label_values": [0, 1, 2, 4]},
        set_by_user=_NOT_SQUARED,
        why=_BYTES,
        activation="sigmoid",
    ),
    "swin_unetr_btcv_segmentation": ZooBundle(
        "folders",
        classes=14,
        side=64,
        spacing=(1.5, 1.5, 2.0),
        overrides=_ONE,
        network={"network_def": _SWIN},
        why=_ANY_SIZE,
        plain_fails=True,
        scripted=True,
        traced=True,
    ),
    "pancreas_ct_dints_segmentation": ZooBundle(
        "lists", classes=3, options={"architecture": True}, network=_DINTS, plain_fails=True, why=_ON_CPU, scripted=True
    ),
    "multi_organ_segmentation": ZooBundle(
        "lists", classes=8, options={"architecture": True}, network=_DINTS, plain_fails=True, why=_ON_CPU, scripted=True
    ),
    "renalStructures_CECT_segmentation": ZooBundle(
        "phases", channels=3, classes=7, spacing=(0.8, 0.8, 0.8), activation="sigmoid"
    ),
    "renalStructures_UNEST_segmentation": ZooBundle(
        "folders", classes=4, side=96, options={"margin": 0}, overrides=_ONE
    ),
    "wholeBrainSeg_Large_UNEST_segmentation": ZooBundle(
        "folders", classes=133, side=96, options={"images": "images", "labels": "labels", "margin": 0}, overrides=_ONE
    ),
    "wholeBody_ct_segmentation": ZooBundle("folders", classes=105, spacing=(1.5, 1.5, 1.5), overrides=_ONE),
    "endoscopic_tool_segmentation": ZooBundle("pictures", channels=3, side=64),
    "pathology_nuclick_annotation": ZooBundle(
        "nuclei",
        channels=3,
        side=64,
        set_by_user={**_NOT_SQUARED, "train#preprocessing#transforms#3#_disabled_": True},
        why=f"{_BYTES}; {_TORCHVISION}",
        activation="sigmoid",
    ),
    "pathology_nuclei_segmentation_classification": ZooBundle(
        "arrays",
        channels=3,
        classes=5,
        side=256,
        set_by_user={"train#preprocessing_transforms#9#_disabled_": True},
        why=_TORCHVISION,
        flags=("--teacher_head", "nucleus_prediction", "--student_head", "nucleus_prediction"),
    ),
    "pediatric_abdominal_ct_segmentation": ZooBundle("lists", classes=4, side=64, spacing=(1.5, 1.5, 1.5)),
    "segmentation_template": ZooBundle("files", classes=4),
    "spleen_deepedit_annotation": ZooBundle("folders", side=64, overrides=_ONE),
    "ventricular_short_axis_3label": ZooBundle("npz", classes=4, side=64),
    "vista2d": ZooBundle("pictures", channels=3, side=64, plain_fails=True),
    "vista3d": ZooBundle(
        "folds", side=64, spacing=(1.5, 1.5, 1.5), set_by_user=_NOT_SQUARED, why=_BYTES, activation="sigmoid"
    ),
}
