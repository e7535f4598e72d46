# SPDX-License-Identifier: Apache-2.0
"""Config files of a bundle: where they are, their content, and what is wrong with them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from akd_monai.bundle.metadata import bundle_path
from akd_monai.errors import InputError, one_line, unknown_name
from akd_monai.files import read_json

__all__ = [
    "CONFIG_SUFFIXES",
    "check_overrides",
    "config_path",
    "explained",
    "load_config",
    "merged_configs",
    "missed_ids",
    "with_common",
]

CONFIG_SUFFIXES = (".json", ".yaml", ".yml")


def config_path(bundle_dir: str | Path, name: str) -> Path | None:
    """Return ``configs/<name>`` as JSON or YAML, the first that exists, or None.

    Raises:
        InputError: if the folder is no bundle.
    """
    for suffix in CONFIG_SUFFIXES:
        path = bundle_path(bundle_dir, "configs", f"{name}{suffix}")
        if path.is_file():
            return path
    return None


def with_common(bundle_dir: str | Path, path: Path) -> list[Path]:
    """Return the files that make up a config: some bundles keep in ``configs/common`` what all of their configs share.

    Their commands name both, the shared one first, so that MONAI merges them.
    """
    common = config_path(bundle_dir, "common")
    return [path] if common is None or common == path else [common, path]


def load_config(path: Path) -> dict[str, Any]:
    """Return the content of one config file.

    Raises:
        InputError: if it cannot be opened, is no valid JSON or YAML, repeats a key, or holds no mapping.
    """
    if path.suffix.lower() == ".json":
        content: dict[str, Any] = read_json(path)
        return content
    if path.suffix.lower() not in CONFIG_SUFFIXES:
        raise InputError(
            "is no config file by its name", where=str(path), remedy=f"call it {' or '.join(CONFIG_SUFFIXES)}"
        )
    try:
        with warnings.catch_warnings():
            # MONAI keeps the last of two and warns
            warnings.filterwarnings("error", message="Duplicate key")
            found = ConfigParser.load_config_file(path)
    except OSError as error:
        remedy = "check path and permissions"
        raise InputError(f"cannot be opened ({error.strerror})", where=str(path), remedy=remedy) from error
    except Exception as error:
        # which class it is depends on the YAML library that MONAI finds
        what = f"is no valid YAML ({one_line(error)})"
        raise InputError(what, where=str(path), remedy="correct or replace the file", code="yaml") from error
    if not isinstance(found, dict):
        what = f"must hold a mapping at its top level, got {type(found).__name__}"
        raise InputError(what, where=str(path), remedy="correct or replace the file", code="yaml")
    if _holds_itself(found):
        what = "has an anchor that contains itself, which no program can read to its end"
        raise InputError(what, where=str(path), remedy="correct or replace the file", code="yaml")
    return found


def _holds_itself(content: Any) -> bool:
    """Return whether a value stands somewhere below itself, as anchors of YAML can have it.

    Example:
        >>> shared = [1]
        >>> _holds_itself({"a": shared, "b": [shared]})
        False
        >>> shared.append(shared)
        >>> _holds_itself({"a": shared})
        True
    """
    done: set[int] = set()
    above: set[int] = set()
    todo = [(content, False)]
    while todo:
        value, is_left = todo.pop()
        if not isinstance(value, (dict, list)) or id(value) in done:
            continue
        if is_left:
            above.discard(id(value))
            done.add(id(value))
            continue
        if id(value) in above:
            return True
        above.add(id(value))
        todo.append((value, True))
        todo.extend((part, False) for part in (value.values() if isinstance(value, dict) else value))
    return False


def merged_configs(paths: Sequence[Path], metadata: Mapping[str, Any] | None = None) -> ConfigParser:
    """Return a parser with the configs merged in order, as ``python -m monai.bundle run`` merges them.

    Raises:
        InputError: if a file is broken, or an overlay changes an id below one that does not exist.
    """
    for path in paths:
        load_config(path)
    parser = ConfigParser()
    try:
        with explained(paths):
            parser.read_config([str(path) for path in paths])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        what = f"sets an id that leads nowhere ({one_line(error)})"
        raise InputError(what, where=str(paths[-1]), remedy="correct the id", code="missed-id") from error
    if metadata is not None:
        parser.read_meta(dict(metadata))
    return parser


@contextmanager
def explained(paths: Sequence[Path]) -> Iterator[None]:
    """Turn what MONAI raises on reading and merging ``paths`` into an ``InputError`` that names the file."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        mistake = _mistake(paths)
        if mistake is None:
            raise
        raise mistake from error


def _mistake(paths: Sequence[Path]) -> InputError | None:
    """Read the files one by one and return what is wrong with the first that is broken."""
    try:
        base, *overlays = [load_config(path) for path in paths]
    except InputError as error:
        return error
    for path, overlay in zip(paths[1:], overlays, strict=True):
        missed = missed_ids(base, overlay)
        if missed:
            what = f"changes {missed[0]!r}, whose parent does not exist in {paths[0].name}"
            return InputError(what, where=str(path), remedy="correct the id", code="missed-id")
    return None


def missed_ids(base: Mapping[str, Any], overlay: Mapping[str, Any]) -> list[str]:
    """Return the ids of an overlay that change nothing in ``base``: nested ids without parent, ``+`` without target.

    Example:
        >>> missed_ids({"train": {"epochs": 1}}, {"train#epochs": 2, "trian#epochs": 2, "+handlers": []})
        ['trian#epochs', '+handlers']
    """
    parser = ConfigParser(config=dict(base))
    missed = []
    for name in overlay:
        target = name.removeprefix("+")
        needed = _parent(target) or (target if name.startswith("+") else "")
        if needed and needed not in parser:
            missed.append(name)
    return missed


def check_overrides(parser: ConfigParser, override: Mapping[str, Any]) -> None:
    """Refuse overrides of ids that the configs do not have: MONAI would accept and ignore them.

    The parent of a nested id must exist; an argument of a component that is left at its default may be added.

    Raises:
        UnknownNameError: naming the id and those that resemble it.
    """
    for name in override:
        if (_parent(name) or name) not in parser:
            part, known = _first_unknown(parser, name)
            where = "" if part == name else f"in {name!r}"
            raise unknown_name("config id", part, known, where=where, remedy="Only ids that a config has can be set")


def _first_unknown(parser: ConfigParser, name: str) -> tuple[str, list[str]]:
    """Return the shortest part of an id that does not exist, and the ids that stand where it was looked for."""
    place = ""
    entries = _entries(parser.get())
    for part in name.replace("#", "::").split("::"):
        if part not in entries:
            break
        place = f"{place}{part}#"
        entries = _entries(entries[part])
    return f"{place}{part}", sorted(f"{place}{key}" for key in entries if key != ConfigParser.meta_key)


def _entries(content: Any) -> dict[str, Any]:
    """Return what stands below an id by name, or by number in a list."""
    if isinstance(content, list):
        content = dict(enumerate(content))
    return {str(key): value for key, value in content.items()} if isinstance(content, Mapping) else {}


def _parent(name: str) -> str:
    return "::".join(name.replace("#", "::").split("::")[:-1])
