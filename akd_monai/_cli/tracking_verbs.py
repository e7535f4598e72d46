# SPDX-License-Identifier: Apache-2.0
"""The verb about runs in MLflow."""

from __future__ import annotations

from akd_monai._cli.door import verb

__all__ = ["runs"]


@verb("akd_monai.handlers:show_runs")
def runs(tracking_uri: str = "mlruns.db") -> str:
    """Say how MLflow shows tracked runs; a database that was moved finds the files of its runs again.

    Example: python -m akd_monai runs --tracking_uri bundles/prostate_mri_enet/eval
    """
    from akd_monai.handlers import show_runs

    lines = show_runs(tracking_uri)
    return "\n".join(lines) if lines else f"No runs in {tracking_uri}"
