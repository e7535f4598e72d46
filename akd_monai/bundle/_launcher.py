# SPDX-License-Identifier: Apache-2.0
"""The bond between the ranks of a training and the launcher that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

import torch

__all__ = ["end_with_launcher"]

# from linux/prctl.h
_PR_SET_PDEATHSIG = 1


def end_with_launcher() -> None:
    """Let this rank end at once when the ``torchrun`` that started it is killed.

    A launcher that is killed cannot stop its ranks. They would keep their GPUs and train on, beside the run that resumes
    from their checkpoint. To be called before ``init_process_group``, which fails if the launcher is already gone. Without
    a launcher, and on systems other than Linux, nothing happens.

    Example:
        >>> end_with_launcher()

    Source: ``prctl(2)``, ``PR_SET_PDEATHSIG``.
    """
    if sys.platform != "linux" or not torch.distributed.is_torchelastic_launched():
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
