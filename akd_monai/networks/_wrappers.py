# SPDX-License-Identifier: Apache-2.0
"""The network inside wrappers of PyTorch."""

from __future__ import annotations

from torch import nn

__all__ = ["unwrap"]


def unwrap(module: nn.Module) -> nn.Module:
    """Return the network inside ``DataParallel``, ``DistributedDataParallel`` and ``torch.compile``, in any order.

    Example:
        >>> network = nn.Identity()
        >>> unwrap(nn.DataParallel(network)) is network
        True
    """
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner
