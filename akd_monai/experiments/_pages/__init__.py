# SPDX-License-Identifier: Apache-2.0
"""The pages of an experiment: its report, and how the paper was read."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["is_experiment", "write_parts_report", "write_study_report"]


def is_experiment(folder: Path) -> bool:
    """Return whether a folder is that of an experiment, complete or not."""
    return (folder / "experiment.json").is_file() or (folder / "cells").is_dir()


def write_study_report(output_dir: str | os.PathLike[str]) -> Path:
    """Write the pages of an experiment, see :func:`akd_monai.experiments._pages.page.write_study_report`."""
    # figures and networks are needed by no other report
    from akd_monai.experiments._pages import page

    return page.write_study_report(output_dir)


def write_parts_report(folder: Path) -> Path:
    """Write the page over the parts of an experiment, see :func:`akd_monai.experiments._pages.parts.write_parts_report`."""
    from akd_monai.experiments._pages import parts

    return parts.write_parts_report(folder)
