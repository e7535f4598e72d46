# SPDX-License-Identifier: Apache-2.0
"""Masks as NIfTI files that keep the third axis of a volume with one slice."""

from __future__ import annotations

from typing import Any

from monai.config import NdarrayOrTensor
from monai.data import NibabelWriter

__all__ = ["VolumeWriter"]


class VolumeWriter(NibabelWriter):
    """Write one channel as a volume of three dimensions, whatever their lengths.

    :class:`monai.data.NibabelWriter` drops trailing axes of length 1, or else keeps that of the channel; a mask must
    have exactly the shape of its image. For ``SaveImaged``: ``"writer": "akd_monai.data.VolumeWriter"``.

    Example:
        >>> import torch
        >>> writer = VolumeWriter()
        >>> writer.set_data_array(torch.zeros(1, 8, 8, 1))
        >>> tuple(writer.data_obj.shape)
        (8, 8, 1)
    """

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
