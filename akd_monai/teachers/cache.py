# SPDX-License-Identifier: Apache-2.0
"""A folder with the outputs of teachers, shared by every run that uses the same teachers and images."""

from __future__ import annotations

import os

from akd_monai.errors import check_choice
from akd_monai.files import as_path
from akd_monai.teachers._coding import CACHE_DTYPES, CacheDtype

__all__ = ["TeacherCache"]


class TeacherCache:
    """A folder for each teacher below ``cache_dir``, and in it one for each layer and image shape.

    The name of a teacher's folder is a hash of what decides its outputs: weights, architecture, precision and device, and
    the head, classes and activation that are taken of them. A changed weight is another folder. Inside, outputs are found
    by a hash of the prepared volume, the slice and the view: a changed image or transform is another row. Nothing is ever
    replaced, so nothing can be stale; to free the space, delete ``cache_dir``.

    Args:
        cache_dir: the folder; it is made when the first output is stored.
        dtype: ``"float32"`` stores every bit; ``"float16"`` takes half of the space for features and sigmoid channels and
            a quarter for two-class logits; decisions stay exact.

    Attributes:
        cache_dir: as a path.
        dtype: as given.

    Raises:
        InputError: for another dtype, or if ``cache_dir`` is no path.

    Example:
        >>> TeacherCache("teacher_cache", dtype="float16").cache_dir.name
        'teacher_cache'
        >>> TeacherCache("teacher_cache", dtype="float8")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: dtype of the teacher cache must be one of 'float32', 'float16', got 'float8'. ...
    """

    def __init__(self, cache_dir: str | os.PathLike[str], dtype: CacheDtype = "float32") -> None:
        check_choice("dtype of the teacher cache", dtype, CACHE_DTYPES)
        self.cache_dir = as_path(cache_dir, "cache_dir of the teacher cache")
        self.dtype = dtype
