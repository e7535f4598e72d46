# SPDX-License-Identifier: Apache-2.0
"""Masks as NIfTI files that lie where their images lie."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from monai.config import DtypeLike, NdarrayOrTensor
from monai.data import ImageWriter, NibabelWriter

from akd_monai.data.gate import odd_share
from akd_monai.data.placement import nifti_like, write_mask
from akd_monai.names import is_nifti

__all__ = ["VolumeWriter"]

logger = logging.getLogger(__name__)


class VolumeWriter(NibabelWriter):
    """Write one channel as a volume of three dimensions, placed by the header of its image.

    :class:`monai.data.NibabelWriter` drops trailing axes of length 1, or else keeps that of the channel; a mask must
    have exactly the shape of its image. It also writes one affine as qform and sform; programs that use the other one
    then place mask and image apart. Here qform, sform, their codes and the units are those of the image's NIfTI file,
    which the metadata name; for other formats they are the affine, in mm. The file appears when it is complete. An empty
    mask is a warning. For ``SaveImaged``: ``"writer": "akd_monai.data.VolumeWriter"``.

    Example:
        >>> import torch
        >>> writer = VolumeWriter()
        >>> writer.set_data_array(torch.zeros(1, 8, 8, 1))
        >>> tuple(writer.data_obj.shape)
        (8, 8, 1)
    """

    def __init__(self, output_dtype: DtypeLike = np.float32, **kwargs: Any) -> None:
        super().__init__(output_dtype=output_dtype, **kwargs)
        self.image_path: str | os.PathLike[str] | None = None

    def set_data_array(
        self,
        data_array: NdarrayOrTensor,
        channel_dim: int | None = 0,
        squeeze_end_dims: bool = False,
        **kwargs: Any,
    ) -> None:
        """Take the array of one channel; ``squeeze_end_dims`` is not used."""
        super().set_data_array(data_array, channel_dim=channel_dim, squeeze_end_dims=False, **kwargs)
        if self.data_obj.shape[-1] == 1:
            self.data_obj = self.data_obj[..., 0]

    def set_metadata(self, meta_dict: Mapping[str, Any] | None, resample: bool = True, **options: Any) -> None:
        """Take the affine, and the path of the image, which ``"filename_or_obj"`` names."""
        super().set_metadata(meta_dict, resample=resample, **options)
        file = (meta_dict or {}).get("filename_or_obj")
        self.image_path = file if isinstance(file, (str, os.PathLike)) else None

    def write(self, filename: str | os.PathLike[str], verbose: bool = False, **kwargs: Any) -> None:
        """Write the file, completely or not at all; formats other than NIfTI are left to MONAI."""
        if not is_nifti(filename):
            super().write(filename, verbose=verbose, **kwargs)
            return
        ImageWriter.write(self, filename, verbose=verbose)
        image = self.create_backend_obj(self.data_obj, affine=self.affine, dtype=self.output_dtype, **kwargs)
        array = np.asanyarray(image.dataobj)
        warning = odd_share(array)
        if warning:
            logger.warning("%s: %s.", self.image_path or filename, warning)
        self.data_obj = nifti_like(array, image.affine, self.image_path)
        write_mask(filename, self.data_obj)
