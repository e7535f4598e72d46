# SPDX-License-Identifier: Apache-2.0
"""Find what a config names without importing anything but installed packages that this project stands on."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from pydoc import locate
from types import ModuleType
from typing import Any

from monai.bundle import ComponentLocator

from akd_monai.bundle._trust import installed_modules_only

__all__ = ["find_target", "full_name", "is_installed_name"]

_PACKAGES = ("torch", "monai", "ignite", "akd_monai", "numpy", "nibabel", "itk")


def full_name(target: str, locator: ComponentLocator) -> str:
    """Return the full name of one of MONAI's short names, and any other name as it is."""
    module = locator.get_component_module_name(target)
    # MONAI takes the first of several
    first = module[0] if isinstance(module, list) else module
    return target if first is None else f"{first}.{target}"


def is_installed_name(name: str) -> bool:
    """Return whether a full name may be imported to see whether it exists.

    Private modules are left out: some of them are programs, such as ``numpy.f2py.__main__``.

    Example:
        >>> is_installed_name("torch.optim.Adam"), is_installed_name("scripts.Net"), is_installed_name("torch._x.run")
        (True, False, False)
    """
    package, *rest = name.split(".")
    return package in _PACKAGES and not any(part.startswith("_") or not part.isidentifier() for part in rest)


def find_target(name: str, bundle_dir: str | Path) -> tuple[bool, Any]:
    """Return whether it can be said what ``name`` is, and what it is, None where it does not exist.

    Args:
        name: a full name.
        bundle_dir: the bundle's folder, from which nothing is imported.
    """
    if is_installed_name(name):
        with installed_modules_only(bundle_dir):
            return True, locate(name)
    if "." not in name:
        return True, getattr(builtins, name, None)
    return _among_loaded(name)


def _among_loaded(name: str) -> tuple[bool, Any]:
    """Find a name in the modules that are loaded already, such as that of a network which a user has named himself."""
    module, _, rest = name.rpartition(".")
    found = sys.modules.get(module)
    if not isinstance(found, ModuleType):
        return False, None
    # not getattr, which a module can define
    return True, vars(found).get(rest)
