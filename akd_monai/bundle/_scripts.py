# SPDX-License-Identifier: Apache-2.0
"""Modules that lie in a bundle's folder: the student's under their own names, a trusted teacher's under private ones."""

from __future__ import annotations

import ast
import builtins
import hashlib
import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["bundle_on_path", "with_private_modules"]

_PREFIX = "_akd_bundle_"


@contextmanager
def bundle_on_path(bundle_dir: str | Path) -> Iterator[None]:
    """Let modules of a bundle be imported by name, from any working folder, as MONAI does while it runs a bundle.

    What another bundle has imported under one of these names is forgotten first; the search path is put back at the end.

    Args:
        bundle_dir: the bundle's folder.
    """
    root = Path(bundle_dir).resolve()
    for name in _own_names(root):
        other = _bundle_of(sys.modules.get(name))
        if other is not None and other != root:
            _forget(name)
    before = sys.path.count(str(root))
    sys.path.insert(1, str(root))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        while sys.path.count(str(root)) > before:
            sys.path.remove(str(root))


def with_private_modules(config: Any, bundle_dir: str | Path) -> Any:
    """Return a config in which the modules of its bundle's folder have private names, under which they can be imported.

    A teacher's ``scripts.net`` becomes ``_akd_bundle_<hash>.scripts.net``, so that a student may have a ``scripts`` of
    its own. Imports among these modules, absolute or relative, lead to the private ones as well. Nothing is written into
    the folder.

    Args:
        config: content of a config of a bundle that is trusted.
        bundle_dir: the bundle's folder.
    """
    root = Path(bundle_dir).resolve()
    names = _own_names(root)
    if not names:
        return config
    package = _PREFIX + hashlib.sha256(str(root).encode()).hexdigest()[:12]
    _make_package(package, root, names)
    return _renamed(config, package, names)


def _own_names(root: Path) -> list[str]:
    """Return the names of the modules and packages in a folder, such as ``scripts``."""
    modules = [path.stem for path in root.glob("*.py")]
    packages = [path.name for path in root.iterdir() if path.is_dir() and any(path.rglob("*.py"))]
    return sorted(name for name in {*modules, *packages} if name.isidentifier())


def _bundle_of(module: ModuleType | None) -> Path | None:
    """Return the bundle in whose folder a module lies, None if it is no bundle's."""
    if module is None:
        return None
    places = list(getattr(module, "__path__", []))
    if not places and getattr(module, "__file__", None):
        places = [str(module.__file__)]
    for place in places:
        folder = Path(place).resolve().parent
        if (folder / "configs" / "metadata.json").is_file():
            return folder
    return None


def _forget(name: str) -> None:
    for known in list(sys.modules):
        if known == name or known.startswith(f"{name}."):
            del sys.modules[known]


def _make_package(package: str, root: Path, names: Sequence[str]) -> None:
    if package in sys.modules:
        return
    module = ModuleType(package)
    module.__path__ = [str(root)]
    sys.modules[package] = module
    sys.meta_path.insert(0, _Finder(package, names))


class _Finder:
    """Finds the modules below a private package, and nothing else."""

    def __init__(self, package: str, names: Sequence[str]) -> None:
        self._package = package
        self._names = names

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> ModuleSpec | None:
        if not name.startswith(f"{self._package}."):
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is None or not isinstance(spec.loader, SourceFileLoader) or spec.origin is None:
            return spec
        loader = _Loader(name, spec.origin, self._package, self._names)
        return spec_from_file_location(
            name, spec.origin, loader=loader, submodule_search_locations=spec.submodule_search_locations
        )


class _Loader(SourceFileLoader):
    """Runs a module whose imports of its bundle's modules lead to the private ones."""

    def __init__(self, name: str, path: str, package: str, names: Sequence[str]) -> None:
        super().__init__(name, path)
        self._package = package
        self._names = names

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        """Write no compiled file into the folder of someone else."""

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": self._import}
        super().exec_module(module)

    def _import(
        self,
        name: str,
        importer: Mapping[str, Any] | None = None,
        names: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        top = name.split(".")[0]
        if level or top not in self._names:
            return builtins.__import__(name, importer, names, fromlist or (), level)
        found = builtins.__import__(f"{self._package}.{name}", importer, names, fromlist or (), 0)
        # "import scripts.net" binds scripts
        return found if fromlist else sys.modules[f"{self._package}.{top}"]


def _renamed(value: Any, package: str, names: Sequence[str]) -> Any:
    if isinstance(value, list):
        return [_renamed(part, package, names) for part in value]
    if isinstance(value, dict):
        renamed = {key: _renamed(part, package, names) for key, part in value.items()}
        target = renamed.get("_target_")
        if isinstance(target, str) and target.split(".")[0] in names:
            renamed["_target_"] = f"{package}.{target}"
        return renamed
    is_import = isinstance(value, str) and value.startswith(("$import ", "$from "))
    return _renamed_import(value, package, names) if is_import else value


def _renamed_import(expression: str, package: str, names: Sequence[str]) -> str:
    try:
        (statement,) = ast.parse(expression[1:].strip()).body
    except (SyntaxError, ValueError):
        return expression
    if isinstance(statement, ast.ImportFrom) and (statement.module or "").split(".")[0] in names:
        statement.module = f"{package}.{statement.module}"
        return f"${ast.unparse(statement)}"
    if isinstance(statement, ast.Import) and statement.names[0].name.split(".")[0] in names:
        return _renamed_module(statement.names[0], package)
    return expression


def _renamed_module(given: ast.alias, package: str) -> str:
    """Return the import of a module under the name by which MONAI's expressions know it."""
    if given.asname is not None or "." not in given.name:
        return f"$import {package}.{given.name} as {given.asname or given.name}"
    top = given.name.split(".")[0]
    importlib.import_module(f"{package}.{given.name}")
    return f"$import {package}.{top} as {top}"
