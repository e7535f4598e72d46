# SPDX-License-Identifier: Apache-2.0
"""How the teacher's maps are computed and whether they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from akd_monai.errors import InputError, check_mapping
from akd_monai.teachers.cache import TeacherCache
from akd_monai.teachers.coding import DTYPES

COMPILE_MODES = (False, True, "reduce-overhead", "max-autotune")
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class TeacherOptions:
    """Options of the teacher in a distillation; by default it is run on every batch as it is.

    Args:
        cache_dir: folder in which its maps are kept, computed at most once; ``None`` to keep none.
        cache_dtype: ``"float32"``, exact, or ``"float16"``, see :class:`~akd_monai.teachers.coding.TargetCoding`.
        dtype: ``"bfloat16"`` or ``"float16"`` to run the teacher under autocast; ``None`` for that of the trainer.
        channels_last: keep the teacher's weights and images in the memory order of channels last.
        compile: run the teacher by ``torch.compile``, in its default mode (``True``) or in ``"reduce-overhead"``, which
            records CUDA graphs, or ``"max-autotune"``; its first result is compared with the plain one.

    Raises:
        InputError: for a value that is none of these.

    Example:
        >>> TeacherOptions.read({"dtype": "bfloat16"}).dtype
        'bfloat16'
        >>> TeacherOptions.read({"cachedir": "cache"})
        Traceback (most recent call last):
        ...
        akd_monai.errors.UnknownNameError: teacher_options has no 'cachedir'. Did you mean 'cache_dir'...
    """

    cache_dir: str | Path | None = None
    cache_dtype: str = "float32"
    dtype: str | None = None
    channels_last: bool = False
    compile: bool | str = False

    def __post_init__(self) -> None:
        choices: dict[str, tuple[Any, ...]] = {
            "cache_dtype": DTYPES,
            "dtype": (None, *_DTYPES),
            "channels_last": (True, False),
            "compile": COMPILE_MODES,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"{name} of teacher_options must be {' or '.join(map(repr, allowed))}, got {getattr(self, name)!r}."
                )

    @classmethod
    def read(cls, given: TeacherOptions | Mapping[str, Any] | None) -> TeacherOptions:
        """Return the options that a config gives as a mapping."""
        if isinstance(given, TeacherOptions):
            return given
        known = [field.name for field in fields(cls)]
        return cls(**check_mapping("teacher_options", {} if given is None else given, known))

    @property
    def autocast(self) -> torch.dtype | None:
        """The type of autocast that was asked for."""
        return _DTYPES[self.dtype] if self.dtype else None

    @property
    def cache(self) -> TeacherCache | None:
        """The cache that was asked for."""
        return None if self.cache_dir is None else TeacherCache(self.cache_dir, self.cache_dtype)
