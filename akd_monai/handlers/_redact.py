# SPDX-License-Identifier: Apache-2.0
"""Keep passwords out of the summary that MONAI prints of the arguments of a command."""

from __future__ import annotations

import logging

from akd_monai.handlers._mlflow_run import without_password

__all__ = ["hide_passwords_of_monai"]

_SUMMARY = "monai.bundle.scripts"


class _WithoutPasswords(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, without passwords in addresses."""
        shown = record.getMessage()
        public = without_password(shown)
        if public != shown:
            record.msg = public
            record.args = ()
        return True


def hide_passwords_of_monai() -> None:
    """Leave passwords in addresses out of what MONAI logs of a command; a second call changes nothing."""
    summary = logging.getLogger(_SUMMARY)
    if not any(isinstance(known, _WithoutPasswords) for known in summary.filters):
        summary.addFilter(_WithoutPasswords())
