# SPDX-License-Identifier: Apache-2.0
"""A stand-in for torchvision while MONAI Label is imported."""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from typing import NoReturn

from akd_monai.errors import InputError

__all__ = ["torchvision_stand_in"]


@contextmanager
def torchvision_stand_in() -> Iterator[None]:
    """Let MONAI Label be imported without torchvision, two functions of which it names but uses for pathology alone.

    Where torchvision is installed nothing is done; else, when the block ends, it counts as not installed again.
    """
    if importlib.util.find_spec("torchvision") is not None:
        yield
        return
    package = types.ModuleType("torchvision")
    package.__spec__ = ModuleSpec("torchvision", None, is_package=True)
    utils = types.ModuleType("torchvision.utils")
    package.__dict__.update(utils=utils, __path__=[], __version__="0.0.0")
    utils.__dict__.update(make_grid=_missing, save_image=_missing)
    modules = {"torchvision": package, "torchvision.utils": utils}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            sys.modules.pop(name, None)


def _missing(*_: object, **__: object) -> NoReturn:
    raise InputError("this part of MONAI Label needs torchvision, which is not installed.")
