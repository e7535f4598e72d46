# SPDX-License-Identifier: Apache-2.0
"""Compare trainings: the demo, statistics over cases, and a report that opens offline.

Names are imported when they are first used, so that each command loads only what it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from akd_monai._lazy import lazy_names

if TYPE_CHECKING:
    from akd_monai.experiments.compress import Compressed, CompressionPlan, compress_bundle
    from akd_monai.experiments.crossed import CrossedSummary, crossed_summary
    from akd_monai.experiments.demo import run_demo
    from akd_monai.experiments.experiment import (
        experiment_cells,
        experiment_estimate,
        experiment_table,
        run_experiment,
    )
    from akd_monai.experiments.report import rebuild_report, render_page, write_report
    from akd_monai.experiments.results import Results, case_key, read_case_rows, read_results, write_results
    from akd_monai.experiments.settings import DemoSettings
    from akd_monai.experiments.statistics import (
        PairedDifference,
        Summary,
        holm,
        paired_difference,
        signed_rank_p,
        summarize,
    )

__all__ = [
    "Compressed",
    "CompressionPlan",
    "CrossedSummary",
    "DemoSettings",
    "PairedDifference",
    "Results",
    "Summary",
    "case_key",
    "compress_bundle",
    "crossed_summary",
    "experiment_cells",
    "experiment_estimate",
    "experiment_table",
    "holm",
    "paired_difference",
    "read_case_rows",
    "read_results",
    "rebuild_report",
    "render_page",
    "run_demo",
    "run_experiment",
    "signed_rank_p",
    "summarize",
    "write_report",
    "write_results",
]

_HOMES = {
    "Compressed": "compress",
    "CompressionPlan": "compress",
    "CrossedSummary": "crossed",
    "DemoSettings": "settings",
    "PairedDifference": "statistics",
    "Results": "results",
    "Summary": "statistics",
    "case_key": "results",
    "compress_bundle": "compress",
    "crossed_summary": "crossed",
    "experiment_cells": "experiment",
    "experiment_estimate": "experiment",
    "experiment_table": "experiment",
    "holm": "statistics",
    "paired_difference": "statistics",
    "read_case_rows": "results",
    "read_results": "results",
    "rebuild_report": "report",
    "render_page": "report",
    "run_demo": "demo",
    "run_experiment": "experiment",
    "signed_rank_p": "statistics",
    "summarize": "statistics",
    "write_report": "report",
    "write_results": "results",
}


__getattr__, __dir__ = lazy_names(__name__, _HOMES)
