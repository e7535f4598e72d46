# SPDX-License-Identifier: Apache-2.0
"""Help of the command line; the text of an argument is that of the public function's docstring."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator

from akd_monai._cli.door import VERBS, Door
from akd_monai._cli.source import argument_texts, field_defaults, read_arguments

__all__ = ["argument_help", "overview", "verb_help"]

_COMMAND = "python -m akd_monai"
_WIDTH = 110
_GROUPS = {
    "Try it": ("demo", "experiment", "compress", "report", "compare"),
    "Data": ("phantom", "prepare", "verify"),
    "Bundles": ("distill", "recipes", "evaluate", "send", "runs", "profile", "check", "label"),
    "Write bundles": ("bundles", "new_bundle", "assemble"),
    "Without PyTorch": ("export", "segment"),
}
_EMPTY = inspect.Parameter.empty


def overview() -> str:
    """Return the list of verbs."""
    width = max(map(len, VERBS))
    lines = [f"Usage: {_COMMAND} VERB [arguments]"]
    for group, verbs in _GROUPS.items():
        lines += ["", f"{group}:"]
        lines += [f"  {name:<{width}}  {_summary(VERBS[name])}" for name in verbs]
    return "\n".join([*lines, "", f"{_COMMAND} VERB --help shows the arguments of a verb."])


def verb_help(name: str) -> str:
    """Return the usage of a verb, what it does, and each argument with its default."""
    door = VERBS[name]
    lines = [f"Usage: {' '.join([_COMMAND, name, *_usage(door)])}", "", _description(door), "", "Arguments:"]
    for flag, text in _entries(door):
        lines.append(f"  {flag}")
        lines.extend(textwrap.wrap(text, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6))
    return "\n".join(lines)


def argument_help(door: Door) -> dict[str, str]:
    """Return the text of each argument of a verb; that of ``**override`` and the like under its own name.

    An argument that only the command line has is documented by the verb itself.
    """
    texts = argument_texts(door.target)
    own = read_arguments(inspect.getdoc(door.run) or "")
    return {name: own.get(name) or texts.get(name, "") for name in inspect.signature(door.run).parameters}


def _entries(door: Door) -> Iterator[tuple[str, str]]:
    texts = argument_help(door)
    for name, parameter in inspect.signature(door.run).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            yield name.upper(), texts[name]
        elif parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            letter = next((f"-{key}, " for key, known in door.letters.items() if known == name), "")
            yield f"{letter}--{name}{_default(parameter.default)}", texts[name]
        elif door.settings is None:
            yield "--ID VALUE", texts[name]
        else:
            yield from _settings(door.settings)


def _settings(target: str) -> Iterator[tuple[str, str]]:
    defaults = field_defaults(target)
    for name, text in argument_texts(target).items():
        yield f"--{name}{_default(ast.literal_eval(defaults[name]))}", text


def _default(value: object) -> str:
    if value is _EMPTY:
        return " (required)"
    return "" if value is None or value == () else f" (default {value})"


def _usage(door: Door) -> Iterator[str]:
    for name, parameter in inspect.signature(door.run).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            yield f"[{name.upper()} ...]"
        elif parameter.default is _EMPTY and parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            yield f"--{name} {name.upper()}"
    yield "[arguments]"


def _summary(door: Door) -> str:
    return (inspect.getdoc(door.run) or "").splitlines()[0]


def _description(door: Door) -> str:
    text = inspect.getdoc(door.run) or ""
    return text.partition("\nArgs:\n")[0].rstrip()
