# SPDX-License-Identifier: Apache-2.0
"""Verbs about runs that are over."""

from __future__ import annotations

from akd_monai._cli.door import verb

__all__ = ["send"]


@verb("akd_monai.handlers:send_spooled")
def send(output_dir: str, tracking_uri: str | None = None) -> str:
    """Send to MLflow what a training could not send, because the server or the database did not answer.

    Example: python -m akd_monai send --output_dir bundles/prostate_mri_enet/eval
    """
    from akd_monai.handlers import send_spooled

    count = send_spooled(output_dir, tracking_uri)
    if not count:
        return f"Nothing waits to be sent in {output_dir}"
    return f"Sent: {count} {'entry' if count == 1 else 'entries'} of {output_dir}"
