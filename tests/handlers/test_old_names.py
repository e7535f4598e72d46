# SPDX-License-Identifier: Apache-2.0
"""Names that programs of version 0.1 may use."""

from __future__ import annotations

import importlib

import pytest

from akd_monai import handlers
from akd_monai.errors import NonFiniteError


def test_an_error_that_moved_is_found_under_its_old_name():
    assert handlers.NonFiniteError is NonFiniteError
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = handlers.Nothing


def test_the_base_class_of_handlers_with_a_state_is_found_in_its_old_module():
    assert importlib.import_module("akd_monai.handlers.run_state").RunMember is handlers.RunMember
