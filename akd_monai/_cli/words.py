# SPDX-License-Identifier: Apache-2.0
"""Other forms of arguments: letters such as ``-i``, lists with blanks, and old names, still accepted with a hint."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from akd_monai.errors import InputError

__all__ = ["with_joined_lists", "with_present_words", "without_letters"]

_FLAG = re.compile(r"--([A-Za-z][\w-]*)(=.*)?", re.DOTALL)
_LETTER = re.compile(r"-([A-Za-z])(=.*)?", re.DOTALL)


def without_letters(arguments: Sequence[str], letters: Mapping[str, str]) -> list[str]:
    """Return the arguments of a command with the names that letters stand for.

    Args:
        arguments: as typed after the verb.
        letters: letter: name of the argument.

    Example:
        >>> without_letters(["-i", "t2.nii.gz", "-o=masks", "-5"], {"i": "input", "o": "output_dir"})
        ['--input', 't2.nii.gz', '--output_dir=masks', '-5']
    """
    replaced = []
    for argument in arguments:
        match = _LETTER.fullmatch(argument)
        known = match is not None and match[1] in letters
        replaced.append(f"--{letters[match[1]]}{match[2] or ''}" if match and known else argument)
    return replaced


def with_joined_lists(arguments: Sequence[str], lists: Collection[str]) -> list[str]:
    """Return the arguments of a command with commas between the values of a flag that takes several.

    Fire would take the second value for an argument without a flag.

    Args:
        arguments: as typed after the verb.
        lists: names of the flags.

    Example:
        >>> with_joined_lists(["--output_type", "nifti", "dicom_seg", "--quiet"], {"output_type"})
        ['--output_type', 'nifti,dicom_seg', '--quiet']
    """
    joined: list[str] = []
    # where the value of the list stands that is being read
    place: int | None = None
    for argument in arguments:
        name, value = _flag(argument)
        if name:
            place = len(joined) + (value == "") if name in lists else None
        elif place is not None and place < len(joined):
            joined[place] += f",{argument}"
            continue
        joined.append(argument)
    return joined


def with_present_words(arguments: Sequence[str], old_words: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return the arguments of a command with present names for old ones, and a hint for each that was replaced.

    Args:
        arguments: as typed after the verb.
        old_words: old name: present name.

    Raises:
        InputError: if both names of an argument are given.

    Example:
        >>> with_present_words(["--output=a.md"], {"output": "output_file"})
        (['--output_file=a.md'], ['--output is now --output_file'])
    """
    given = {name for name, _ in map(_flag, arguments)}
    replaced = []
    hints = []
    for argument in arguments:
        name, value = _flag(argument)
        new = old_words.get(name)
        if new is None:
            replaced.append(argument)
            continue
        if new in given:
            raise InputError(f"--{name} is the old name of --{new}, and both are given; leave --{name} out.")
        replaced.append(f"--{new}{value}")
        hints.append(f"--{name} is now --{new}")
    return replaced, hints


def _flag(argument: str) -> tuple[str, str]:
    match = _FLAG.fullmatch(argument)
    return (match[1].replace("-", "_"), match[2] or "") if match else ("", "")
