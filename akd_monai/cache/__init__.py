# SPDX-License-Identifier: Apache-2.0
"""What a teacher made of each slice, computed once and kept: identity, coding and storage."""

from akd_monai.cache.coding import TargetCoding
from akd_monai.cache.identity import image_tags, sample_key, teacher_identity, volume_key
from akd_monai.cache.rows import RowStore
from akd_monai.cache.teacher_cache import MapStore, TeacherCache

__all__ = [
    "MapStore",
    "RowStore",
    "TargetCoding",
    "TeacherCache",
    "image_tags",
    "sample_key",
    "teacher_identity",
    "volume_key",
]
