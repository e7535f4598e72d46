# SPDX-License-Identifier: Apache-2.0
"""The trust line: a network is built from a config of anyone, and no code of that config runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from akd_monai.bundle._plan import Component, read_plan
from akd_monai.bundle._resolved import resolved_config
from akd_monai.errors import InputError, one_line

__all__ = ["build_untrusted", "check_untrusted", "installed_modules_only"]


def build_untrusted(parser: ConfigParser, item: str, bundle_dir: str | Path, where: str) -> Any:
    """Return what ``item`` of a config describes, built only after all of it was read and found harmless.

    Args:
        parser: the config, as read.
        item: an id of it.
        bundle_dir: the bundle's folder.
        where: how messages name the config.

    Raises:
        InputError: with code ``"untrusted"`` and the way to trust the bundle if it would run code, import, load or
            download something; without it for what is broken.
    """
    with installed_modules_only(bundle_dir):
        plan = check_untrusted(parser, item, bundle_dir, where)
        return _Builder(where).built(plan)


def check_untrusted(parser: ConfigParser, item: str, bundle_dir: str | Path, where: str) -> Any:
    """Return the plan of ``item`` without building it; see :func:`build_untrusted`.

    Raises:
        InputError: as there.
    """
    try:
        return read_plan(resolved_config(parser, where), item, where)
    except InputError as error:
        if error.code != "untrusted":
            raise
        raise InputError(error.what, remedy=f"{error.remedy}, or {_offer(bundle_dir)}", code=error.code) from error


def _offer(bundle_dir: str | Path) -> str:
    return (
        f"if you trust its author after 'python -m akd_monai check {bundle_dir}' showed what it would run, pass "
        "--trust_teacher to distill, --trust_bundle to profile, trust_bundle=True in Python"
    )


@contextmanager
def installed_modules_only(bundle_dir: str | Path) -> Iterator[None]:
    """Take the working folder and the bundle off Python's search path: some layers import optional packages.

    Args:
        bundle_dir: the bundle's folder.
    """
    before = list(sys.path)
    sys.path[:] = [entry for entry in before if not _is_local(entry, Path(bundle_dir).resolve())]
    try:
        yield
    finally:
        sys.path[:] = before


def _is_local(entry: str, bundle_dir: Path) -> bool:
    path = Path(entry).resolve()
    return path == Path.cwd() or path.is_relative_to(bundle_dir)


class _Builder:
    def __init__(self, where: str) -> None:
        self._where = where
        self._done: dict[int, Any] = {}

    def built(self, plan: Any) -> Any:
        """Return a copy of the plan in which every component is built, each once."""
        if not isinstance(plan, (Component, dict, list)):
            return plan
        if id(plan) not in self._done:
            self._done[id(plan)] = self._new(plan)
        return self._done[id(plan)]

    def _new(self, plan: Component | dict[str, Any] | list[Any]) -> Any:
        if isinstance(plan, list):
            return [self.built(part) for part in plan]
        content = plan.arguments if isinstance(plan, Component) else plan
        values = {key: self.built(part) for key, part in content.items()}
        if not isinstance(plan, Component):
            return values
        try:
            return plan.network(**values)
        except Exception as error:
            what = f"{self._where} has {plan.target!r}, which cannot be built with these arguments ({one_line(error)})"
            raise InputError(what, remedy="correct them") from error
