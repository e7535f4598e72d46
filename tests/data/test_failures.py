# SPDX-License-Identifier: Apache-2.0
"""The line about an image without a mask names the image, and once."""

from __future__ import annotations

import pytest

from akd_monai.data._failures import described_failure
from akd_monai.errors import InputError


@pytest.mark.parametrize(
    ("file", "error", "message"),
    [
        # folders of DICOM are often called by a number
        ("in/p/1", InputError("has 1 channels, the network wants 2"), "in/p/1: has 1 channels, the network wants 2"),
        ("in/p/1", InputError("a gap", where="1"), "1: a gap"),
        ("in/p/1", InputError("is damaged", where="1/IM0007"), "1/IM0007: is damaged"),
        ("in/p/1", InputError("is damaged", where="11"), "in/p/1: 11: is damaged"),
        ("in/a.nii.gz", InputError("'in/a.nii.gz' is a link"), "'in/a.nii.gz' is a link"),
        ("in/a.nii.gz", InputError("is a link", where="in/a.nii.gz"), "in/a.nii.gz: is a link"),
        ("in/1", IndexError("index 1 is out of bounds"), "in/1: IndexError: index 1 is out of bounds"),
    ],
)
def test_a_line_names_its_file(file, error, message):
    assert described_failure(file, error).message == message
