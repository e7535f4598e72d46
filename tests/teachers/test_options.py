# SPDX-License-Identifier: Apache-2.0
"""Options of the teacher: one mapping, each entry checked."""

from __future__ import annotations

import logging
from dataclasses import fields

import pytest
import torch

from akd_monai.errors import InputError, UnknownNameError
from akd_monai.teachers import TeacherOptions


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"cache_dtype": "float64"}, InputError, "cache_dtype of teacher_options must be one of 'float32', 'float16'"),
        ({"dtype": "float32"}, InputError, "dtype of teacher_options must be one of None, 'bfloat16', 'float16'"),
        ({"channels_last": 1}, InputError, "channels_last of teacher_options must be one of False, True, got 1"),
        ({"compile": "fast"}, InputError, "compile of teacher_options must be one of False, True, 'reduce-overhead'"),
        ({"chanels_last": True}, UnknownNameError, "'chanels_last' of teacher_options. Did you mean 'channels_last'"),
        ({"cache_dir": 5}, InputError, "cache_dir of the teacher cache must be a path, got 5"),
        (["cache"], InputError, "teacher_options must be a mapping, got list"),
    ],
)
def test_options_are_checked(options, error, message):
    with pytest.raises(error, match=message):
        TeacherOptions.read(options).cache  # noqa: B018 - the folder is read where it is first needed


def test_a_mapping_sets_every_field():
    options = {
        "cache_dir": "cache",
        "cache_dtype": "float16",
        "dtype": "bfloat16",
        "channels_last": True,
        "compile": "max-autotune",
        "norm": "target",
        "norm_images": 7,
    }
    assert set(options) == {field.name for field in fields(TeacherOptions)}
    read = TeacherOptions.read(options)
    assert read == TeacherOptions(**options) == TeacherOptions.read(read)
    assert read.autocast is torch.bfloat16
    assert (str(read.cache.cache_dir), read.cache.dtype) == ("cache", "float16")


def test_by_default_nothing_is_cached_or_changed():
    for options in (TeacherOptions.read(None), TeacherOptions.read({}), TeacherOptions()):
        assert options.cache is None
        assert options.autocast is None
        assert not options.channels_last
        assert not options.compile


def test_the_mode_of_version_0_1_is_said_to_be_gone(caplog):
    with pytest.raises(
        InputError, match=r"cache_mode 'warped' of teacher_options no longer exists.*; leave cache_mode"
    ):
        TeacherOptions.read({"cache_mode": "warped"})
    with caplog.at_level(logging.WARNING):
        assert TeacherOptions.read({"cache_mode": "exact", "cache_dir": "x"}) == TeacherOptions(cache_dir="x")
    assert "cache_mode of teacher_options no longer exists; leave it out" in caplog.text
