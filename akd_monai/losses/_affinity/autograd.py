# SPDX-License-Identifier: Apache-2.0
"""What losses share that make their gradient along with their value."""

from __future__ import annotations

import torch
from torch import Tensor


def scaled(gradient: Tensor, grad: Tensor) -> Tensor:
    """Return ``gradient * grad`` in a backward pass, in place where nobody can ask for ``gradient`` again.

    A second map of this size would be the peak of the step.

    Args:
        gradient: what forward has saved for this and owns alone.
        grad: the gradient that arrives, one number.
    """
    return gradient.mul_(grad) if _last_use(grad) else gradient * grad


def _last_use(grad: Tensor) -> bool:
    """Is the graph freed by the running backward pass, outside of compiled code, and ``grad`` one number?"""
    functorch = torch._C._functorch
    if torch.compiler.is_compiling() or functorch.is_batchedtensor(grad) or functorch.is_legacy_batchedtensor(grad):
        return False
    # PyTorch's compiled graphs ask the same before they reuse memory; without the answer the map is copied.
    keeps_graph = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return keeps_graph is not None and not keeps_graph()
