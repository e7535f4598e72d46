# SPDX-License-Identifier: Apache-2.0
"""Handlers for MONAI's engines: resuming, the best model, loss terms, progress, history, tracking, metrics by case."""

from __future__ import annotations

from typing import Any

from akd_monai._moved import moved_name
from akd_monai.handlers._redact import hide_passwords_of_monai
from akd_monai.handlers.best_model import SaveBestModel
from akd_monai.handlers.case_metrics import CaseMetrics
from akd_monai.handlers.checkpoint import ResumableCheckpoint
from akd_monai.handlers.finite import FiniteLoss
from akd_monai.handlers.first_batch import FirstBatch
from akd_monai.handlers.history import History, read_history
from akd_monai.handlers.initial_weights import InitialWeights
from akd_monai.handlers.load_weights import LoadWeights
from akd_monai.handlers.loss_terms import LossTerms
from akd_monai.handlers.mlflow_tracker import MLflowTracker
from akd_monai.handlers.progress import Progress
from akd_monai.handlers.random_state import RandomState
from akd_monai.handlers.randomness import KeyedRandomness
from akd_monai.handlers.run_member import RunMember
from akd_monai.handlers.run_name import unique_run_name
from akd_monai.handlers.run_record import RunRecord
from akd_monai.handlers.saver_state import SaverState
from akd_monai.handlers.send_spooled import send_spooled
from akd_monai.handlers.show_runs import show_runs

__all__ = [
    "CaseMetrics",
    "FiniteLoss",
    "FirstBatch",
    "History",
    "InitialWeights",
    "KeyedRandomness",
    "LoadWeights",
    "LossTerms",
    "MLflowTracker",
    "Progress",
    "RandomState",
    "ResumableCheckpoint",
    "RunMember",
    "RunRecord",
    "SaveBestModel",
    "SaverState",
    "read_history",
    "send_spooled",
    "show_runs",
    "unique_run_name",
]

# where this package is imported before MONAI runs a bundle, as in a server or a notebook
hide_passwords_of_monai()


def __getattr__(name: str) -> Any:
    return moved_name(__name__, name)
