# SPDX-License-Identifier: Apache-2.0
"""Handlers for MONAI's engines: resuming, the best model, loss terms, progress, history, tracking, metrics by case."""

from .best_model import SaveBestModel
from .case_metrics import CaseMetrics
from .checkpoint import ResumableCheckpoint
from .finite import FiniteLoss
from .history import History, read_history
from .load_weights import LoadWeights
from .loss_terms import LossTerms
from .mlflow_tracker import MLflowTracker
from .progress import Progress
from .randomness import KeyedRandomness
from .run_name import unique_run_name
from .run_state import RunMember

__all__ = [
    "CaseMetrics",
    "FiniteLoss",
    "History",
    "KeyedRandomness",
    "LoadWeights",
    "LossTerms",
    "MLflowTracker",
    "Progress",
    "ResumableCheckpoint",
    "RunMember",
    "SaveBestModel",
    "read_history",
    "unique_run_name",
]
