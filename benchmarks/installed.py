# SPDX-License-Identifier: Apache-2.0
"""How much room the installed distributions take that an extra of this package needs."""

from __future__ import annotations

from collections.abc import Iterator
from configparser import ConfigParser
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SETUP = Path(__file__).parents[1] / "setup.cfg"


@dataclass(frozen=True)
class Environment:
    """Installed distributions: their number, and 10^6 bytes of their files."""

    packages: int
    megabytes: float


def environment_of(*extras: str) -> Environment:
    """Return what ``pip install .[extras]`` installs, as it lies in this environment; the package itself left out.

    Raises:
        RuntimeError: if something of it is not installed.
    """
    found: dict[str, Distribution] = {}
    waiting = [needed for line in _stated(extras) for needed in _needed(line, frozenset())]
    while waiting:
        name, wanted = waiting.pop()
        key = canonicalize_name(name)
        if key in found and not wanted:
            continue
        try:
            found[key] = distribution(name)
        except PackageNotFoundError as error:
            raise RuntimeError(f"{name} is not installed, so the size of the environment is not known") from error
        waiting += [needed for line in found[key].requires or () for needed in _needed(line, wanted)]
    return Environment(len(found), sum(map(_bytes, found.values())) / 1e6)


def _stated(extras: tuple[str, ...]) -> list[str]:
    """Return the requirements in ``setup.cfg``; what an editable installation says may be older."""
    config = ConfigParser()
    config.read(SETUP, encoding="utf-8")
    blocks = [config["options"]["install_requires"]]
    blocks += [config["options.extras_require"][extra] for extra in extras]
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _needed(line: str, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield the distribution that a requirement names, with its extras, if it applies here."""
    requirement = Requirement(line)
    marker = requirement.marker
    if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""}):
        yield requirement.name, frozenset(requirement.extras)


def _bytes(package: Distribution) -> int:
    files = [Path(str(package.locate_file(file))) for file in package.files or ()]
    return sum(path.stat().st_size for path in files if path.is_file())
