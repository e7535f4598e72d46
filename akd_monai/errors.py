# SPDX-License-Identifier: Apache-2.0
"""Errors that name a user's mistake and its remedy in one line."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

__all__ = [
    "BundleError",
    "InputError",
    "NonFiniteError",
    "UnknownNameError",
    "check_choice",
    "check_mapping",
    "check_number",
    "lost_process",
    "near_matches",
    "one_line",
    "unknown_name",
]

# how PyTorch says that a worker process of a data loader is gone, and how gloo and NCCL say it of another rank
_LOST_WORKER = re.compile(
    r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\)(?: is killed by signal: ([\w ]+)| exited unexpectedly)"
)
_LOST_RANK = re.compile(
    r"connection (closed|reset) by peer|broken pipe|remote process exited|communicator was aborted|pair closure", re.I
)
# more known names than this make a message that nobody reads
_MOST_NAMES = 40
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class InputError(ValueError):
    """A mistake in data, configuration or bundle; the command line shows its message alone and exits with 2.

    The message reads ``where: what; remedy.`` A complete sentence may also be given as ``what`` alone.

    Args:
        what: what is wrong, with the value that was found and the one that was expected.
        where: the file, case, config or argument concerned.
        remedy: what the user can do about it.
        code: a stable word for programs, such as ``"truncated"``.

    Attributes:
        what: as given.
        where: as given.
        remedy: as given.
        code: as given.

    Example:
        >>> raise InputError("has 0 bytes", where="Case00.nii.gz", remedy="download it again", code="empty-file")
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: Case00.nii.gz: has 0 bytes; download it again.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "", code: str = "") -> None:
        message = f"{where}: {what}" if where else what
        if remedy:
            message = f"{message}; {remedy}."
        super().__init__(message)
        self.what = what
        self.where = where
        self.remedy = remedy
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        # a worker process sends errors pickled, which would lose what was given by name
        return _rebuilt, (type(self), self.args, self.__dict__)


class UnknownNameError(InputError, KeyError):
    """A name that does not exist: a loss, a layer, a site, a config id."""

    # KeyError shows repr(message); a sentence should be readable as it is.
    __str__ = Exception.__str__


class BundleError(RuntimeError):
    """A bundle's own config or code failed: the message is its innermost error in one line; exit code 1."""


class NonFiniteError(FloatingPointError):
    """A loss, a weight or a prediction is NaN or infinite; what was saved before is intact."""


def lost_process(error: BaseException) -> InputError | None:
    """Return in one line that another process of the run is gone, if that is what an error of PyTorch reports.

    Example:
        >>> lost_process(RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed. "))
        InputError('the worker process 12 that loads data is gone (killed by signal: Killed): has memory run out? ...
        >>> lost_process(RuntimeError("shapes differ")) is None
        True
    """
    # a metric that could not be gathered wraps the reason
    causes: list[BaseException] = [error]
    # some libraries raise an error from itself
    while causes[-1].__cause__ is not None and not any(causes[-1].__cause__ is known for known in causes):
        causes.append(causes[-1].__cause__)
    message = "; ".join(str(cause) for cause in causes if isinstance(cause, RuntimeError))
    worker = _LOST_WORKER.search(message)
    if worker:
        how = f"killed by signal: {worker[2]}" if worker[2] else "it ended without a message"
        return InputError(
            f"the worker process {worker[1]} that loads data is gone ({how}): has memory run out? Lower num_workers, and "
            "start the same command again; what was saved is complete.",
            code="lost-process",
        )
    rank = _LOST_RANK.search(message)
    if rank:
        return InputError(
            f"another process of this training is gone ({rank[0].lower()}): its own last lines say why. Start the same "
            "command again; it resumes from the last checkpoint, which is complete.",
            code="lost-process",
        )
    return None


def _rebuilt(kind: type[InputError], args: tuple[Any, ...], state: dict[str, Any]) -> InputError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


def near_matches(name: str, known: Iterable[str]) -> str:
    """Return a hint with up to three known names that resemble ``name``, upper or lower case, or an empty string.

    Example:
        >>> near_matches("afinity", ["affinity", "gram", "logits"])
        " Did you mean 'affinity'?"
    """
    by_lower = {word.lower(): word for word in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
    if not close:
        return ""
    return f" Did you mean {', '.join(repr(by_lower[word]) for word in close)}?"


def unknown_name(
    kind: str,
    name: object,
    known: Iterable[str],
    *,
    where: str = "",
    remedy: str = "",
    most: int = _MOST_NAMES,
) -> UnknownNameError:
    """Return the error for a name that does not exist; every unknown name is reported in this form.

    Args:
        kind: what was named, for instance ``"loss"``.
        name: the unknown name.
        known: all names that exist.
        where: where they were looked for, for instance ``"in bundle 'x'"``.
        remedy: a further sentence, without its full stop.
        most: how many known names are listed.

    Example:
        >>> raise unknown_name("loss", "afinity", ["affinity", "gram"])
        Traceback (most recent call last):
        ...
        akd_monai.errors.UnknownNameError: unknown loss 'afinity'. Did you mean 'affinity'? Known: affinity, gram.
    """
    names = [str(entry) for entry in known]
    place = f" {where}" if where else ""
    listed = ", ".join(names[:most]) if names else "none"
    if len(names) > most:
        listed += f" and {len(names) - most} more"
    advice = f" {remedy}." if remedy else ""
    message = f"unknown {kind} {name!r}{place}.{near_matches(str(name), names)} Known: {listed}.{advice}"
    return UnknownNameError(message)


def check_mapping(what: str, given: Any, known: Iterable[str]) -> dict[str, Any]:
    """Return a mapping of a config as a dictionary, if it has known names only.

    Raises:
        InputError: if it is no mapping.
        UnknownNameError: if it has another name.

    Example:
        >>> check_mapping("options", {"sise": 3}, ["size"])
        Traceback (most recent call last):
        ...
        akd_monai.errors.UnknownNameError: unknown entry 'sise' of options. Did you mean 'size'? Known: size.
    """
    names = list(known)
    if not isinstance(given, Mapping):
        raise InputError(f"{what} must be a mapping, got {type(given).__name__}.")
    for name in given:
        if name not in names:
            raise unknown_name("entry", name, names, where=f"of {what}")
    return dict(given)


def check_choice(what: str, value: object, known: Iterable[Any]) -> None:
    """Raise ``InputError`` unless ``value`` is one of ``known``.

    Example:
        >>> check_choice("mode", "bach", ("batch", "channel"))
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: mode must be one of 'batch', 'channel', got 'bach'. Did you mean 'batch'?
    """
    names = list(known)
    if any(value == name and isinstance(value, bool) == isinstance(name, bool) for name in names):
        return
    words = [name for name in names if isinstance(name, str)]
    hint = near_matches(value, words) if isinstance(value, str) else ""
    raise InputError(f"{what} must be one of {', '.join(map(repr, names))}, got {value!r}.{hint}")


def check_number(what: str, value: object, *, above: float | None = None, at_least: float | None = None) -> None:
    """Raise ``InputError`` unless ``value`` is a finite real number in the range.

    Example:
        >>> check_number("temperature", 0, above=0)
        Traceback (most recent call last):
        ...
        akd_monai.errors.InputError: temperature must be a finite number above 0, got 0.
    """
    bound = ""
    if above is not None:
        bound = f" above {above:g}"
    elif at_least is not None:
        bound = f" of at least {at_least:g}"
    if not _is_number(value) or not _in_range(value, above, at_least):  # type: ignore[arg-type]
        raise InputError(f"{what} must be a finite number{bound}, got {value!r}.")


def _is_number(value: object) -> bool:
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the largest float
        return False


def _in_range(value: float, above: float | None, at_least: float | None) -> bool:
    if above is not None and value <= above:
        return False
    return at_least is None or value >= at_least


def one_line(error: BaseException | str, limit: int = 300) -> str:
    r"""Return the message of an error as one line of at most ``limit`` characters, without colours of a terminal.

    Example:
        >>> one_line(ValueError("first\n  second"))
        'first second'
    """
    return " ".join(_COLOURS.sub("", str(error)).split())[:limit]
