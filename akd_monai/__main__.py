# SPDX-License-Identifier: Apache-2.0
"""The command line: ``python -m akd_monai <verb>``, or ``akd <verb>``.

Every verb is a thin door to a public function. Nothing heavy is imported before a verb runs, so ``--help`` is quick.
Exit codes: 0 done, 1 failed while working (no memory, full disk, NaN), 2 wrong input (data, config or bundle), 128 + n
stopped by signal n, which is 141 where nobody reads the output any more (``| head``).
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import fire
from fire.core import FireExit

from akd_monai._cli import bundle_verbs, data_verbs, deploy_verbs, run_verbs, tracking_verbs
from akd_monai._cli.door import VERBS
from akd_monai._cli.flags import check_flags, typed_values
from akd_monai._cli.help import overview, verb_help
from akd_monai._cli.packages import missing_package
from akd_monai._cli.values import check_flag_values
from akd_monai._cli.words import with_joined_lists, with_present_words, without_letters
from akd_monai._last_line import UNREAD, is_unread, last_line, leave_at_signals, user_error
from akd_monai.errors import unknown_name

__all__ = ["main", "user_error"]

# importing them registers the verbs
_MODULES = (data_verbs, bundle_verbs, deploy_verbs, run_verbs, tracking_verbs)
_HELP = ("--help", "-h")


def main(command: Sequence[str] | None = None) -> None:
    """Run one verb; a mistake, a fault of the machine or Ctrl-C ends with one line, without a traceback."""
    if command is None:
        # not inside a program that calls this
        leave_at_signals()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        _run(list(sys.argv[1:] if command is None else command))
        # at the end of the interpreter, an error of this would be shown with its traceback
        sys.stdout.flush()
    except FireExit:
        raise
    except (KeyboardInterrupt, Exception) as error:
        if isinstance(error, BrokenPipeError) and is_unread():
            sys.exit(UNREAD)
        ending = last_line(error) or missing_package(error)
        if ending is None:
            raise
        line, code = ending
        sys.stderr.write(f"akd_monai: {line}\n")
        sys.exit(code)


def _run(command: list[str]) -> None:
    if not command or command[0] in (*_HELP, "help"):
        _show(overview())
    name, *arguments = command
    if name not in VERBS:
        raise unknown_name("verb", name, VERBS)
    if any(argument in _HELP for argument in arguments):
        _show(verb_help(name))
    arguments = without_letters(arguments, VERBS[name].letters)
    arguments, hints = with_present_words(arguments, VERBS[name].old_words)
    arguments = with_joined_lists(arguments, VERBS[name].lists)
    for hint in hints:
        sys.stderr.write(f"akd_monai: {hint}; the old name will be removed.\n")
    check_flags(name, VERBS[name].run, arguments)
    check_flag_values(VERBS[name], typed_values(arguments))
    os.environ.setdefault("PAGER", "cat")
    runs = {verb: door.run for verb, door in VERBS.items()}
    fire.Fire(runs, command=[name, *arguments], name="akd_monai")


def _show(help_text: str) -> NoReturn:
    sys.stdout.write(f"{help_text}\n")
    sys.stdout.flush()
    sys.exit(0)


if __name__ == "__main__":
    main()
