# SPDX-License-Identifier: Apache-2.0
"""The network inside wrappers of PyTorch, and a network that is not trained."""

from __future__ import annotations

from torch import nn

__all__ = ["frozen", "unwrap"]


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


def frozen(network: nn.Module) -> nn.Module:
    """Return ``network`` in ``eval`` mode and without gradients; unlike ``requires_grad_`` it takes TorchScript as well.

    Example:
        >>> import torch
        >>> frozen(torch.jit.script(nn.Linear(2, 1))).weight.requires_grad
        False
    """
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network.eval()
