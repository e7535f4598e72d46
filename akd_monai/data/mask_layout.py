# SPDX-License-Identifier: Apache-2.0
"""Where the masks of volumes are written: one file for each volume, in the folders of the volumes."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from monai.data import FolderLayoutBase

from akd_monai.data._mask_places import MaskPlaces

__all__ = ["MaskLayout"]

logger = logging.getLogger(__name__)

_Path = str | os.PathLike[str]


class MaskLayout(MaskPlaces, FolderLayoutBase):
    """Give each volume a mask of its own; for ``SaveImaged(folder_layout=...)``.

    A volume in a sub-folder has its mask in a sub-folder of the same name. ``t2.nii.gz`` becomes ``t2_pred.nii.gz``; where
    volumes of one folder differ in their suffix alone, it stays in the mask's name: ``t2.nii_pred.nii.gz``. MONAI's
    :class:`monai.data.FolderLayout` gives such volumes one mask, which the last one overwrites.

    Args:
        output_dir: folder of the masks.
        volumes: all volumes that will be segmented.
        root: folder whose sub-folders are kept; a file stands for its folder. Where a volume lies elsewhere, it is the
            folder that all volumes share.
        postfix: what follows the volume's name.
        extension: suffix of the masks.

    Example:
        >>> layout = MaskLayout("masks", volumes=["in/a/t2.nii.gz", "in/b/t2.mha", "in/b/t2.nii"], root="in")
        >>> [layout.filename(volume).as_posix() for volume in layout.volumes]
        ['masks/a/t2_pred.nii.gz', 'masks/b/t2.mha_pred.nii.gz', 'masks/b/t2.nii_pred.nii.gz']
    """

    def check(self) -> None:
        """Check that every mask can be written, and say where masks of an earlier run are.

        Each is replaced when its volume is done; where that fails, it stays.
        """
        super().check()
        earlier = [path for path in map(self.path, self.volumes) if path.exists()]
        if earlier:
            count = f"{len(earlier)} of {len(self.volumes)} masks"
            logger.warning("%s: %s of an earlier run; one stays where its volume fails now.", self.output_dir, count)

    def filename(self, subject: _Path = "subject", idx: int | None = None, **_: Any) -> Path:
        """Return the mask's path; ``idx`` is the number of a patch."""
        path = self.path(subject)
        if idx is not None:
            path = path.with_name(path.name.removesuffix(self.extension) + f"_{idx}{self.extension}")
        return path
