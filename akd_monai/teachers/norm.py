# SPDX-License-Identifier: Apache-2.0
"""A teacher whose batch normalisation is adapted to the images of a student, without labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from akd_monai._faults import machine_fault
from akd_monai.errors import InputError, one_line

__all__ = ["adapt_batch_norm"]

_WHERE = "teacher"


def _batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """Return the layers of batch normalisation that keep statistics, in the order of definition.

    Example:
        >>> len(_batch_norms(nn.Sequential(nn.BatchNorm2d(2), nn.InstanceNorm2d(2))))
        1
    """
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    return [layer for layer in layers if layer.running_mean is not None]


def adapt_batch_norm(network: nn.Module, batches: Iterable[Tensor]) -> int:
    r"""Replace the statistics of a network's batch normalisation by those of other images, and change nothing else.

    The images pass through the network once. Each layer normalises a batch by the batch's own mean and variance, as in
    training, and keeps the plain mean of them over :math:`N` batches,

    .. math:: \mu = \frac{1}{N} \sum_n \mu_n, \qquad \sigma^2 = \frac{1}{N} \sum_n \sigma^2_n

    with PyTorch's unbiased :math:`\sigma^2_n`, over images and pixels. Weights stay as they are, and every other layer,
    dropout included, stays in ``eval`` mode. If it fails, the network keeps the statistics that it had.

    Args:
        network: with batch normalisation; it is left in ``eval`` mode.
        batches: images ``[B, C, *spatial]``, best of equal numbers, of at least two.

    Returns:
        The number of images.

    Raises:
        InputError: for a network without statistics of batch normalisation, no image, or images that it cannot process.

    Example:
        >>> network = nn.BatchNorm2d(1)
        >>> images = torch.tensor([1.0, 2.0, 3.0, 6.0]).reshape(4, 1, 1, 1)
        >>> adapt_batch_norm(network, images.split(2))
        4
        >>> network.running_mean.item(), network.running_var.item()  # of means 1.5 and 4.5, variances 0.5 and 4.5
        (3.0, 2.5)

    Source: Li et al., 2016, arXiv:1603.04779, section 3 (AdaBN), with the cumulative mean of PyTorch's ``update_bn``.
    """
    layers = _batch_norms(network)
    if not layers:
        raise InputError(
            f"{type(network).__name__} has no batch normalisation with stored statistics, which could be re-estimated",
            where=_WHERE,
            remedy="set teacher_norm to stored",
        )
    count = 0
    with _estimating(network, layers), torch.no_grad():
        for batch in batches:
            _process(network, batch)
            count += len(batch)
        if not count:
            raise InputError("there is no image to re-estimate batch statistics on.", where=_WHERE)
    return count


@contextmanager
def _estimating(network: nn.Module, layers: list[_BatchNorm]) -> Iterator[None]:
    """Have the layers take cumulative means; put back what they had if that fails."""
    before = [(buffer, buffer.clone()) for layer in layers for buffer in layer.buffers()]
    momenta = [layer.momentum for layer in layers]
    network.eval()
    try:
        for layer in layers:
            layer.reset_running_stats()
            # None is PyTorch's cumulative mean
            layer.momentum = None
            layer.train()
        yield
    except BaseException:
        for buffer, value in before:
            buffer.copy_(value)
        raise
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        network.eval()


def _process(network: nn.Module, batch: Tensor) -> Any:
    try:
        return network(batch)
    except (RuntimeError, ValueError) as error:
        if machine_fault(error):
            raise
        raise InputError(
            f"cannot take statistics of a batch of shape {list(batch.shape)}: {one_line(error)}",
            where=_WHERE,
            remedy="give batches of more images, or set teacher_norm to stored",
        ) from error
