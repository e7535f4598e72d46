# SPDX-License-Identifier: Apache-2.0
"""The style of one sample in the features of another: means and standard deviations of the channels, mixed."""

from __future__ import annotations

import torch

__all__ = ["mix_statistics"]


def mix_statistics(
    features: torch.Tensor, partners: torch.Tensor, shares: torch.Tensor, eps: float = 1e-6
) -> torch.Tensor:
    r"""Give each sample channel statistics between its own and those of another sample of the batch.

    .. math::
        \sigma_{\text{mix}} \frac{x - \mu(x)}{\sigma(x)} + \mu_{\text{mix}}, \quad
        \mu_{\text{mix}} = \lambda \mu(x) + (1 - \lambda) \mu(x'), \quad
        \sigma_{\text{mix}} = \lambda \sigma(x) + (1 - \lambda) \sigma(x')

    :math:`\mu` and :math:`\sigma^2 + \epsilon` are mean and biased variance over the pixels of one channel of one
    sample. No gradient flows through them. They are computed in float32 at least; with a share of exactly 1 a sample is
    returned bit for bit.

    Args:
        features: ``[B, C, *spatial]``, one spatial axis at least.
        partners: index of the other sample :math:`x'` for each sample, integers ``[B]``.
        shares: :math:`\lambda` from 0 to 1 for each sample, ``[B]``.
        eps: added to the variances.

    Example:
        >>> features = torch.tensor([[[1.0, 3.0]], [[10.0, 30.0]]])  # means 2 and 20, standard deviations 1 and 10
        >>> mix_statistics(features, torch.tensor([1, 0]), torch.tensor([0.5, 1.0]), eps=0.0)
        tensor([[[ 5.5000, 16.5000]],
        <BLANKLINE>
                [[10.0000, 30.0000]]])

    Source: Zhou et al., Domain generalization with MixStyle, ICLR 2021, arXiv:2104.02008, equations 3 to 6.
    The authors' public code has the unbiased variance.
    """
    values = features.to(torch.promote_types(features.dtype, torch.float32))
    axes = tuple(range(2, features.ndim))
    fixed = values.detach()
    mean = fixed.mean(axes, keepdim=True)
    std = (fixed.var(axes, correction=0, keepdim=True) + eps).sqrt()
    own = shares.to(values).reshape(-1, *[1] * (features.ndim - 1))
    other = partners.to(values.device)
    mixed_mean = own * mean + (1 - own) * mean[other]
    # one factor and one summand a channel, so that a share of 1 changes no bit
    factor = (own * std + (1 - own) * std[other]) / std
    return (values * factor + (mixed_mean - mean * factor)).to(features.dtype)
