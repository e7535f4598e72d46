# SPDX-License-Identifier: Apache-2.0
"""Cross-site knowledge distillation for MONAI bundles.

Importing the package loads nothing heavy, so that ``python -m akd_monai --help`` answers at once;
import what you need from its sub-packages.
"""

from __future__ import annotations

import importlib
import logging
import os
import warnings
from typing import Any

from akd_monai import _last_line, _moved

__all__ = ["__version__"]

__version__ = "0.1.0"

_PACKAGES = (
    "bundle",
    "data",
    "deploy",
    "engines",
    "experiments",
    "generalisation",
    "handlers",
    "label",
    "losses",
    "networks",
    "prostate",
    "teachers",
)

_moved.register()
_last_line.end_in_one_line()
_last_line.wait_for_pools()
# where pydicom is installed, each LoadImage of MONAI says that a decoder for GPUs is missing, which is for another reader
if os.environ.get("MONAI_DICOM_READER", "").strip().lower() != "nvimgcodec":
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader: ")


def __getattr__(name: str) -> Any:
    # so that `import akd_monai` is enough in a bundle's config, where names are looked up when they are used
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
