# SPDX-License-Identifier: Apache-2.0
"""Names of version 0.1 that configs and programs may still use: old places that lead to the new ones.

A bundle's JSON holds full module paths, so a file that was written before a module moved must still work, or end in an
error that names the new place.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from akd_monai._moved_tables import MODULES, NAMES, REMOVED
from akd_monai.errors import InputError

__all__ = ["MovedModules", "moved_name", "register"]

logger = logging.getLogger(__name__)


def moved_name(package: str, name: str) -> Any:
    """Return what was once called ``name`` in a package of akd_monai; for the package's ``__getattr__``.

    Raises:
        InputError: for a name that was removed, saying what to use instead.
        AttributeError: for a name that never existed.
    """
    short = _short(package, name)
    if short in REMOVED:
        raise InputError(f"{package}.{name} no longer exists", remedy=REMOVED[short], code="removed")
    if short not in NAMES:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    new = f"akd_monai.{NAMES[short]}"
    logger.warning("%s.%s is now %s; change the name, the old one will be removed.", package, name, new)
    module, _, attribute = new.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def _short(module: str, name: str) -> str:
    return f"{module.removeprefix('akd_monai.')}.{name}"


class _MovedModule(Loader):
    """Make a module whose names are those of the module in the new place."""

    def __init__(self, new: str) -> None:
        self._new = new

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Let Python make an empty module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Look every name up in the new place."""
        new = importlib.import_module(self._new)
        logger.warning("%s is now %s; change the name, the old one will be removed.", module.__name__, self._new)

        def find(name: str) -> Any:
            if name.startswith("__"):
                # a path of the new package would make second copies of its modules
                raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")
            if _short(module.__name__, name) in {*NAMES, *REMOVED}:
                return moved_name(module.__name__, name)
            if hasattr(new, name):
                return getattr(new, name)
            raise InputError(
                f"{module.__name__}.{name} of version 0.1 is private now or no longer exists",
                remedy=f"{self._new} offers {', '.join(new.__all__)}",
                code="removed",
            )

        module.__dict__["__getattr__"] = find


class MovedModules(MetaPathFinder):
    """Find modules under the names that they had in version 0.1; asked only when nothing else finds them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a moved module, None for every other name."""
        package, _, short = fullname.partition(".")
        if package != "akd_monai" or short not in MODULES:
            return None
        new = f"akd_monai.{MODULES[short]}"
        return ModuleSpec(fullname, _MovedModule(new), is_package=any(name.startswith(f"{short}.") for name in MODULES))


def register() -> None:
    """Put the finder behind those of Python, once."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())
