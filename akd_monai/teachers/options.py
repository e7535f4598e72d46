# SPDX-License-Identifier: Apache-2.0
"""How the teacher's outputs are computed and whether they are cached."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from akd_monai.errors import InputError, check_choice, check_mapping
from akd_monai.teachers._coding import CACHE_DTYPES, CacheDtype
from akd_monai.teachers.cache import TeacherCache

__all__ = ["CompileMode", "TeacherDtype", "TeacherNorm", "TeacherOptions"]

logger = logging.getLogger(__name__)

TeacherDtype = Literal["bfloat16", "float16"]
CompileMode = Literal["reduce-overhead", "max-autotune"]
#: Statistics of the teacher's batch normalisation, those of its weights, or those of the student's training images.
TeacherNorm = Literal["stored", "target"]


@dataclass(frozen=True)
class TeacherOptions:
    """Options of the teacher in a distillation; by default it is run on every batch as it is.

    A config gives them as one mapping, ``teacher_options`` of the trainer; what it leaves out has its default.

    Args:
        cache_dir: folder in which its outputs are stored, so that each is computed once; ``None`` for no cache.
        cache_dtype: ``"float32"`` stores every bit; ``"float16"`` stores features, and differences of logits, in half
            precision, with exact decisions.
        dtype: ``"bfloat16"`` or ``"float16"`` to run the teacher under autocast; ``None`` for that of the trainer.
        channels_last: keep the teacher's weights and images in the memory order of channels last.
        compile: run the teacher by ``torch.compile``, in its default mode (``True``) or in ``"reduce-overhead"``, which
            records CUDA graphs, or ``"max-autotune"``; its first outputs are compared with the plain ones.
        norm: ``"target"`` re-estimates the statistics of the teacher's batch normalisation on the student's training images,
            without their labels, before a run starts, see :func:`adapt_batch_norm`; ``"stored"`` keeps its own.
        norm_images: on how many images at most, 2 or more.

    Raises:
        InputError: for a value that is none of these.

    Example:
        >>> TeacherOptions.read({"dtype": "bfloat16"}).dtype
        'bfloat16'
        >>> TeacherOptions.read({"cachedir": "cache"})
        Traceback (most recent call last):
        ...
        akd_monai.errors.UnknownNameError: unknown entry 'cachedir' of teacher_options. Did you mean 'cache_dir'...
    """

    cache_dir: str | Path | None = None
    cache_dtype: CacheDtype = "float32"
    dtype: TeacherDtype | None = None
    channels_last: bool = False
    compile: bool | CompileMode = False
    norm: TeacherNorm = "stored"
    norm_images: int = 128

    def __post_init__(self) -> None:
        check_choice("cache_dtype of teacher_options", self.cache_dtype, CACHE_DTYPES)
        check_choice("dtype of teacher_options", self.dtype, (None, *get_args(TeacherDtype)))
        check_choice("channels_last of teacher_options", self.channels_last, (False, True))
        check_choice("compile of teacher_options", self.compile, (False, True, *get_args(CompileMode)))
        check_choice("norm of teacher_options", self.norm, get_args(TeacherNorm))
        if isinstance(self.norm_images, bool) or not isinstance(self.norm_images, int) or self.norm_images < 2:
            raise InputError(
                f"norm_images of teacher_options must be an integer of at least 2, got {self.norm_images!r}."
            )

    @classmethod
    def read(cls, given: TeacherOptions | Mapping[str, Any] | None) -> TeacherOptions:
        """Return the options that a config gives as a mapping.

        Raises:
            InputError: if it is no mapping, or a value is wrong.
            UnknownNameError: if an entry does not exist.
        """
        if isinstance(given, TeacherOptions):
            return given
        known = [field.name for field in fields(cls)]
        options = check_mapping("teacher_options", {} if given is None else _without_removed(given), known)
        return cls(**options)

    @property
    def autocast(self) -> torch.dtype | None:
        """The type of autocast that was asked for."""
        return None if self.dtype is None else getattr(torch, self.dtype)

    @property
    def cache(self) -> TeacherCache | None:
        """The cache that was asked for."""
        return None if self.cache_dir is None else TeacherCache(self.cache_dir, self.cache_dtype)


def _without_removed(given: Any) -> Any:
    """Take out ``cache_mode`` of version 0.1, whose default is the only mode that is left."""
    if not isinstance(given, Mapping) or "cache_mode" not in given:
        return given
    if given["cache_mode"] != "exact":
        raise InputError(
            f"cache_mode {given['cache_mode']!r} of teacher_options no longer exists: the teacher's outputs are always "
            "cached for the very image that the student sees",
            remedy="leave cache_mode out, and keep to flips and quarter turns or train without teacher_cache",
            code="removed",
        )
    logger.warning("cache_mode of teacher_options no longer exists; leave it out, 'exact' is what is always done.")
    return {name: value for name, value in given.items() if name != "cache_mode"}
