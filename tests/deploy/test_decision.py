# SPDX-License-Identifier: Apache-2.0
"""The class of each voxel: the largest value, the first of equal ones."""

from __future__ import annotations

import numpy as np
import pytest

from akd_monai.deploy._decision import AsDiscrete


@pytest.mark.parametrize("classes", [1, 2, 3, 5])
def test_the_class_is_that_of_numpys_argmax_also_with_ties(classes):
    # few different values, so that many are equal
    values = np.random.default_rng(0).integers(0, 3, (classes, 7, 6, 5)).astype(np.float32)
    for given in (values, np.moveaxis(np.ascontiguousarray(np.moveaxis(values, 3, 0)), 0, 3)):
        found = AsDiscrete(argmax=True).apply(given)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, values.argmax(axis=0)[None])
