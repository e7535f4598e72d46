# SPDX-License-Identifier: Apache-2.0
"""The Model Zoo's segmentation bundles, and in which form each expects its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
    """

    data: str
    channels: int = 1
    classes: int = 2
    side: int = 32
    spacing: tuple[float, ...] = (1.0, 1.0, 1.0)
    options: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)


# labels that MONAI 1.6 reads as booleans or bytes, which the loss cannot square
_NOT_SQUARED = {"loss#squared_pred": False}
# one case of the many that the bundles keep for validation
_LAST = "$[{'image': i, 'label': l} for i, l in zip(@images[-1:], @labels[-1:])]"
_ONE = {"validate#dataset#data": _LAST}

BUNDLES = {
    "spleen_ct_segmentation": ZooBundle("folders", spacing=(1.5, 1.5, 2.0), overrides=_ONE),
    "prostate_mri_anatomy": ZooBundle("tables", classes=3, side=64, spacing=(0.5, 0.5, 0.5)),
    "brats_mri_segmentation": ZooBundle(
        "lists", channels=4, classes=3, options={"label_values": [0, 1, 2, 4]}, overrides=_NOT_SQUARED
    ),
    "swin_unetr_btcv_segmentation": ZooBundle("folders", classes=14, side=64, spacing=(1.5, 1.5, 2.0), overrides=_ONE),
    "pancreas_ct_dints_segmentation": ZooBundle("lists", classes=3, side=64, options={"architecture": True}),
    "multi_organ_segmentation": ZooBundle("lists", classes=8, side=64, options={"architecture": True}),
    "renalStructures_CECT_segmentation": ZooBundle("phases", channels=3, classes=7, spacing=(0.8, 0.8, 0.8)),
    "renalStructures_UNEST_segmentation": ZooBundle("folders", classes=4, side=96, overrides=_ONE),
    "wholeBrainSeg_Large_UNEST_segmentation": ZooBundle(
        "folders", classes=133, side=96, options={"images": "images", "labels": "labels"}, overrides=_ONE
    ),
    "wholeBody_ct_segmentation": ZooBundle("folders", classes=105, spacing=(1.5, 1.5, 1.5), overrides=_ONE),
    "endoscopic_tool_segmentation": ZooBundle("pictures", channels=3, side=64),
    "pathology_nuclick_annotation": ZooBundle("nuclei", channels=3, side=64, overrides=_NOT_SQUARED),
    "pathology_nuclei_segmentation_classification": ZooBundle("arrays", channels=3, classes=5, side=256),
    "pediatric_abdominal_ct_segmentation": ZooBundle("lists", classes=4, side=64, spacing=(1.5, 1.5, 1.5)),
    "segmentation_template": ZooBundle("files", classes=4),
    "spleen_deepedit_annotation": ZooBundle("folders", side=64, overrides=_ONE),
    "ventricular_short_axis_3label": ZooBundle("npz", classes=4, side=64),
    "vista2d": ZooBundle("pictures", channels=3, side=64),
    "vista3d": ZooBundle("folds", side=64, spacing=(1.5, 1.5, 1.5)),
}
