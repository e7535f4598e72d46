# SPDX-License-Identifier: Apache-2.0
"""What a bundle's configs would run, found by reading them."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ComponentLocator, ConfigParser

from akd_monai.bundle._configs import load_config, merged_configs
from akd_monai.bundle._installed import full_name, is_installed_name
from akd_monai.bundle._items import config_items, short
from akd_monai.bundle._resolved import resolved_config
from akd_monai.bundle._trust import check_untrusted
from akd_monai.errors import InputError

__all__ = ["Finding", "read_code", "short_list"]

_LEVELS = ("network", "foreign code", "reaches out", "expressions")
_NETWORK = "network_def"
_MOST = 8

# as MONAI finds them in an expression
_REFERENCE = re.compile(r"@\w*(?:(?:#|::)\w*)*")
# names by which an expression can do more than compute a value from others
_REACHES = re.compile(
    r"__|^(import|eval|exec|compile|open|getattr|setattr|delattr|attrgetter|methodcaller|globals|locals|vars|dir|mro"
    r"|breakpoint|input|exit|quit|builtins|os|sys|subprocess|shutil|socket|requests|urllib|importlib|import_module"
    r"|optional_import|instantiate|Config\w+|pickle|ctypes|ctypeslib|hub|model_zoo|system|popen|kill|remove|unlink|rmtree|mkdir|makedirs|rename"
    r"|touch|symlink_to|hardlink_to|chmod|environ|memmap|tofile|fromfile)$|^(load(?!_state_dict)|save|write|download)"
)
# functions of the installed packages that do
_REACHING_FUNCTION = re.compile(
    r"^(?!akd_monai).*\.(load|save|run|download|exec|eval|import|open|spawn|convert_to)[a-z_]*$"
)


@dataclass(frozen=True)
class Finding:
    """Something that a config would run.

    Args:
        level: how serious it is.
        text: what it is, and its id in the config.
        file: the config's name.
    """

    level: str
    text: str
    file: str


def read_code(paths: Sequence[Path], bundle_dir: Path, metadata: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what configs would run, macros replaced; what an overlay repeats of ``train`` as well.

    Args:
        paths: the configs; those that cannot be read are left out.
        bundle_dir: the bundle's folder.
        metadata: content of ``metadata.json``.
    """
    # one for all: it searches every module of MONAI once
    locator = ComponentLocator()
    train = [path for path in paths if path.stem == "train"]
    for path in paths:
        for level, text in _of_config(path, train, metadata, bundle_dir, locator):
            yield Finding(level, text, path.name)


def _of_config(
    path: Path, train: list[Path], metadata: Mapping[str, Any], bundle_dir: Path, locator: ComponentLocator
) -> Iterator[tuple[str, str]]:
    try:
        parser = _merged(path, train, metadata)
    except InputError:
        return
    if _NETWORK in parser:
        try:
            check_untrusted(parser, _NETWORK, bundle_dir, "it")
        except InputError as error:
            yield "network", error.what.removeprefix("it has ")
    try:
        content = resolved_config(parser, "it").get()
    except InputError as error:
        yield "foreign code", f"{error.what.removeprefix('it has ')}; what it stands for is not listed"
        content = parser.get()
    for where, value in config_items(content, with_metadata=False):
        if isinstance(value, Mapping):
            yield from _of_target(where, value, locator)
        elif isinstance(value, str) and value.startswith("$"):
            yield _level_of(value), f"{where}: {short(value)}"


def _merged(path: Path, train: list[Path], metadata: Mapping[str, Any]) -> ConfigParser:
    """Return a config as MONAI would run it: an overlay merged into ``train``, if it fits, any other alone."""
    content = load_config(path)
    is_overlay = any("#" in str(key) or "::" in str(key) or str(key).startswith("+") for key in content)
    base = [other for other in train if is_overlay and other != path]
    try:
        return merged_configs([*base, path], metadata)
    except Exception:
        # an overlay that changes ids which do not exist, as it stands
        return ConfigParser(content, globals=False)


def _of_target(place: str, config: Mapping[str, Any], locator: ComponentLocator) -> Iterator[tuple[str, str]]:
    if config.get("_mode_", "default") not in ("default", "callable"):
        yield "foreign code", f"{place}: _mode_ {short(config['_mode_'])}"
    for key, target in config.items():
        # in an overlay that fits no config, the target may be part of an id
        is_target = re.split("#|::", str(key))[-1] == "_target_"
        if not is_target or not isinstance(target, str) or target.startswith(("$", "@")):
            continue
        name = full_name(target, locator)
        if not is_installed_name(name):
            yield "foreign code", f"{place}: target {short(target)} (not checked, would be imported)"
        elif _REACHING_FUNCTION.search(name) or _reaches(name):
            yield "reaches out", f"{place}: target {short(target)}"


def _level_of(expression: str) -> str:
    code = _REFERENCE.sub("_", expression.removeprefix("$")).strip()
    try:
        tree = ast.parse(code)
        names = list(_names_in(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return "reaches out"
    first = tree.body[0] if tree.body else None
    if isinstance(first, (ast.Import, ast.ImportFrom)):
        return _level_of_import(first)
    return "reaches out" if any(map(_REACHES.search, names)) else "expressions"


def _reaches(name: str) -> bool:
    package, *parts = name.split(".")
    return package != "akd_monai" and any(map(_REACHES.search, parts))


def _level_of_import(statement: ast.Import | ast.ImportFrom) -> str:
    # MONAI imports the first of several
    imported = statement.names[0].name
    name = imported if isinstance(statement, ast.Import) else statement.module or ""
    if is_installed_name(name):
        return "reaches out" if _reaches(f"{name}.{imported}") else "expressions"
    return "reaches out" if name.split(".")[0] in sys.stdlib_module_names else "foreign code"


def _names_in(tree: ast.AST) -> Iterator[str]:
    """Yield names and attributes as Python reads them: also those inside f-strings, and in letters that look alike."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


def short_list(findings: Sequence[Finding]) -> list[str]:
    """Return findings as lines, most serious first, each once, at most eight a level; harmless expressions are counted."""
    first: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        first.setdefault((finding.level, finding.text), finding)
    lines = []
    for level in _LEVELS:
        found = [finding for finding in first.values() if finding.level == level]
        texts = _counted(found) if level == "expressions" else [f"{one.file}: {one.text}" for one in found]
        lines += [_printable(f"{level}: {text}") for text in texts[:_MOST]]
        if len(texts) > _MOST:
            lines.append(f"{level}: and {len(texts) - _MOST} more")
    return lines


def _counted(findings: Sequence[Finding]) -> list[str]:
    if not findings:
        return []
    files = Counter(finding.file for finding in findings)
    places = ", ".join(f"{file} ({count})" for file, count in files.items())
    return [f"{len(findings)} that compute values, in {places}"]


def _printable(line: str) -> str:
    """Return a line without what steers a terminal: ids come from the config."""
    return "".join(sign if sign.isprintable() else "?" for sign in line)
