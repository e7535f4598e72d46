# SPDX-License-Identifier: Apache-2.0
"""Work that may draw random numbers, and leaves the generators of a run as they are."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["kept_random_states"]


@contextmanager
def kept_random_states(seed: int | None = None) -> Iterator[None]:
    """Put the generators of Python, NumPy and PyTorch (on the CPU) back as they were.

    Args:
        seed: of all three in between; by default they continue.

    Example:
        >>> torch.manual_seed(0).initial_seed()
        0
        >>> expected = torch.rand(1)
        >>> _ = torch.manual_seed(0)
        >>> with kept_random_states():
        ...     _ = torch.rand(7)
        >>> bool(torch.rand(1) == expected)
        True
    """
    of_python = random.getstate()
    of_numpy = np.random.get_state(legacy=True)
    with torch.random.fork_rng(devices=[]):
        try:
            if seed is not None:
                random.seed(seed)
                np.random.seed(seed)
                torch.manual_seed(seed)
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)
