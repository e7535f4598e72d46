# SPDX-License-Identifier: Apache-2.0
"""Docstrings and defaults of public functions, read from their source: importing them would take seconds."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

__all__ = ["argument_texts", "field_defaults", "read_arguments"]

_ROOT = Path(__file__).resolve().parents[2]
_ENTRY = re.compile(r" {4}\*{0,2}(\w+): (.*)")
_ROLE = re.compile(r":\w+:`~?([^`]+)`")

_Definition = ast.FunctionDef | ast.ClassDef


def argument_texts(target: str) -> dict[str, str]:
    """Return the text of each argument in the docstring of a public function or class, in plain words.

    Args:
        target: ``module:name``; where a package re-exports the name, the definition is found.

    Example:
        >>> argument_texts("akd_monai.files:as_path")
        {}
        >>> argument_texts("akd_monai.errors:unknown_name")["name"]
        'the unknown name.'
    """
    return read_arguments(ast.get_docstring(_definition(target)) or "")


def read_arguments(docstring: str) -> dict[str, str]:
    """Return the text of each argument of a docstring in Google's style, without Sphinx's markup."""
    texts: dict[str, list[str]] = {}
    section = docstring.partition("\nArgs:\n")[2]
    for line in section.splitlines():
        entry = _ENTRY.fullmatch(line)
        if line and not line.startswith(" "):
            break
        if entry:
            texts[entry[1]] = [entry[2]]
        elif texts:
            texts[list(texts)[-1]].append(line)
    return {name: _plain(" ".join(lines)) for name, lines in texts.items()}


def field_defaults(target: str) -> dict[str, str]:
    """Return the default of each field of a dataclass, as its source has it."""
    defaults = {}
    for node in _definition(target).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            defaults[node.target.id] = ast.unparse(node.value)
    return defaults


@cache
def _definition(target: str) -> _Definition:
    module, _, name = target.partition(":")
    tree = ast.parse(_file_of(module).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, _Definition) and node.name == name:
            return node
    for statement in ast.walk(tree):
        if isinstance(statement, ast.ImportFrom) and name in _imported(statement):
            return _definition(f"{statement.module}:{name}")
    raise LookupError(f"{target} is not defined")


def _imported(statement: ast.ImportFrom) -> list[str]:
    return [alias.asname or alias.name for alias in statement.names]


def _file_of(module: str) -> Path:
    path = _ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _plain(text: str) -> str:
    """Take Sphinx's markup off: ``:class:`~a.b.C``` becomes C, double backticks go."""
    text = _ROLE.sub(lambda match: match[1].rpartition(".")[2], text)
    return " ".join(text.replace("``", "").split())
