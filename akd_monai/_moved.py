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

from akd_monai.errors import InputError

__all__ = ["MovedModules", "moved_name", "register"]

logger = logging.getLogger(__name__)

# old module: new module, both below akd_monai
_MODULES = {
    "bundle.change": "bundle.edit",
    "bundle.profile": "bundle.profiles",
    "bundle.results": "bundle.publish",
    "cache": "teachers",
    "cache.code_facts": "identity",
    "cache.identity": "teachers._identity",
    "cache.rows": "teachers._rows",
    "cache.teacher_cache": "teachers.cache",
    "data.find_view": "data.views",
    "data.flip_evidence": "prostate.flip_evidence",
    "data.mask_writer": "data.writer",
    "data.phantom": "prostate.phantom",
    "data.prepare": "prostate.prepare",
    "data.sources": "prostate.prepare._sources",
    "data.verify": "prostate.verify",
    "engines.cached_teacher": "teachers.cached",
    "engines.online_teacher": "teachers.online",
    "engines.sample_ids": "teachers._sample_ids",
    "engines.teacher_options": "teachers.options",
    "engines.teacher_source": "teachers.source",
    "experiments.machine": "networks.profile",
    "handlers.files": "files",
    "handlers.run_state": "handlers.run_member",
    "losses.gram_matrix": "losses.functional",
    "networks.hooks": "networks.taps",
    "networks.nets.batchnorm": "networks.layers",
    "networks.nets.prelu": "networks.layers",
    "networks.operations": "networks.profile",
    "networks.profile_table": "networks.profile",
}

# old name: new name, both below akd_monai
_NAMES = {
    "cache.RowStore": "teachers._rows.RowStore",
    "cache.teacher_identity": "teachers._identity.teacher_identity",
    "cache.volume_key": "identity.volume_key",
    "data.make_phantom": "prostate.make_phantom",
    "handlers.NonFiniteError": "errors.NonFiniteError",
    "prostate.prepare.prepare": "prostate.prepare_dataset",
    "prostate.verify.verify": "prostate.verify.verify_dataset",
    "networks.layers.BatchNorm2d": "networks.layers.VectorizedBatchNorm2d",
    "networks.layers.PReLU": "networks.layers.VectorizedPReLU",
}

# name: what to use instead
_REMOVED = {
    "data.BatchAffine": "use RandAffined in the transforms of akd_monai.data.SliceDataset",
    "data.SliceLoader": "use monai.data.DataLoader with akd_monai.data.SliceDataset",
    "data.SliceStore": "use akd_monai.data.SliceDataset",
    "networks.FeatureAdapter": "set adapter of a distillation term to 'conv1x1' or to a module of your own",
}


def moved_name(package: str, name: str) -> Any:
    """Return what was once called ``name`` in a package of akd_monai; for the package's ``__getattr__``.

    Raises:
        InputError: for a name that was removed, saying what to use instead.
        AttributeError: for a name that never existed.
    """
    short = f"{package.removeprefix('akd_monai.')}.{name}"
    if short in _REMOVED:
        raise InputError(f"{package}.{name} no longer exists", remedy=_REMOVED[short], code="removed")
    if short not in _NAMES:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    new = f"akd_monai.{_NAMES[short]}"
    logger.warning("%s.%s is now %s; change the name, the old one will be removed.", package, name, new)
    module, _, attribute = new.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


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
            # what is no longer in the module's new place may have another one
            return getattr(new, name) if hasattr(new, name) else moved_name(module.__name__, name)

        module.__dict__["__getattr__"] = find


class MovedModules(MetaPathFinder):
    """Find modules under the names that they had in version 0.1; asked only when nothing else finds them."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a moved module, None for every other name."""
        package, _, short = fullname.partition(".")
        if package != "akd_monai" or short not in _MODULES:
            return None
        new = f"akd_monai.{_MODULES[short]}"
        return ModuleSpec(fullname, _MovedModule(new), is_package=short == "cache")


def register() -> None:
    """Put the finder behind those of Python, once."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())
