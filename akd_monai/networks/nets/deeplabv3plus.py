# SPDX-License-Identifier: Apache-2.0
"""DeepLabV3+ on an aligned Xception-65: dilated convolutions at several rates and a small decoder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from akd_monai.errors import InputError, check_number
from akd_monai.networks.nets._checks import check_arguments, check_input

__all__ = ["DeepLabV3Plus"]

_REFERENCE_DROPOUT = (0.5, 0.5, 0.1)


class DeepLabV3Plus(nn.Module):
    """DeepLabV3+ on an aligned Xception-65 for 2D images of any size.

    Two switches select among the variants in use under this name; the backbone's ImageNet classifier is omitted.

    - By default, 54,746,962 parameters for one input channel and two classes, as in the published comparison: the
      low-level projection is 3x3, and the backbone's last block has no normalisation after its second convolution. Each
      shortcut takes the block's input.
    - ``canonical=True``, 54,699,858 parameters, as the authors describe it: a 1x1 projection and all normalisations.
    - ``rectified_shortcut=True`` changes no parameter: the shortcut of a block that starts with ReLU takes the rectified
      input, as with an in-place ReLU. Together with the default above it is exactly the published comparison.

    ``width`` scales the channels of every layer, as in MobileNets, for machines on which the published network is too
    large: 0.125 leaves 919,503 parameters.

    Layers: ``stem1`` (low) at 1/2 of the input size, 32 channels; ``exit`` (high), the backbone's output, at
    1/``output_stride``, 2048 channels; ``aspp`` at 1/``output_stride`` and ``decoder`` at 1/4, 256 channels each, all
    times ``width``.

    Training needs batches of two or more: the pooled branch has one value per channel and image, too few for batch
    normalisation. Use ``drop_last`` when the last batch of an epoch may be one image.

    Args:
        spatial_dims: 2.
        in_channels: channels of the image.
        out_channels: classes.
        output_stride: 8, or 16 for about a third of the operations.
        canonical: the authors' projection and normalisations instead of the published comparison's.
        rectified_shortcut: whether shortcuts take the rectified input.
        dropout: probability of dropout at all three places; None for the reference's 0.5 after the pyramid, and 0.5 and
            0.1 in the decoder.
        width: factor of the channels of every layer, above 0; each is rounded to an integer of at least 1.

    Raises:
        InputError: for arguments out of range, and in ``forward`` for an image of the wrong shape, or one image in training.

    Example:
        >>> with torch.device("meta"):  # no memory, no work: shapes only
        ...     DeepLabV3Plus(2, 1, 2).eval()(torch.zeros(1, 1, 33, 50)).shape
        torch.Size([1, 2, 33, 50])

    Source: Chen et al., 2018, arXiv:1802.02611, sections 3.1 to 3.3 and figure 4.
    """

    layers: ClassVar[dict[str, str]] = {"low": "stem1", "high": "exit"}
    stride: ClassVar[int] = 1

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        output_stride: int = 8,
        canonical: bool = False,
        rectified_shortcut: bool = False,
        dropout: float | None = None,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        rates = _REFERENCE_DROPOUT if dropout is None else (dropout, dropout, dropout)
        check_arguments("DeepLabV3Plus", spatial_dims, in_channels, out_channels, rates)
        if output_stride not in (8, 16):
            raise InputError(f"DeepLabV3Plus takes output_stride 8 or 16, got {output_stride!r}.")
        check_number("width", width, above=0)
        self.in_channels = in_channels
        rate = 16 // output_stride
        w32, w48, w64, w128, w256, w728, w1024, w2048 = _scaled((32, 48, 64, 128, 256, 728, 1024, 2048), width)
        self.stem1 = nn.Sequential(nn.Conv2d(in_channels, w32, 3, stride=2, padding=1, bias=False), *_bn_act(w32))
        self.stem2 = nn.Sequential(nn.Conv2d(w32, w64, 3, padding=1, bias=False), *_bn_act(w64))
        self.entry1 = nn.Sequential(_Block(w64, (w128, w128, w128), stride=2), nn.ReLU())
        self.entry2 = _Block(w128, (w256, w256, w256), stride=2)
        block = partial(_Block, relu_first=True, rectified_shortcut=rectified_shortcut)
        self.entry3 = block(w256, (w728, w728, w728), stride=output_stride // 8)
        self.middle = nn.Sequential(*(block(w728, (w728, w728, w728), dilation=rate) for _ in range(16)))
        last = block(w728, (w728, w1024, w1024), dilation=rate, unnormalised=None if canonical else 1)
        self.exit = nn.Sequential(last, nn.ReLU(), *_exit_flow(width, 2 * rate))
        self.aspp = _ASPP(w2048, w256, [6 * rate * k for k in (1, 2, 3)], rates[0])
        self.low_level = _conv_bn_act(w128, w48, 1 if canonical else 3)
        self.decoder = nn.Sequential(
            _conv_bn_act(w256 + w48, w256, 3), nn.Dropout(rates[1]), _conv_bn_act(w256, w256, 3)
        )
        self.head = nn.Sequential(nn.Dropout(rates[2]), nn.Conv2d(w256, out_channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits ``[B, out_channels, H, W]`` for an image ``[B, in_channels, H, W]``."""
        check_input(x, "DeepLabV3Plus", 2, self.in_channels, 1)
        skip = self.entry1(self.stem2(self.stem1(x)))
        deep = self.aspp(self.exit(self.middle(self.entry3(self.entry2(skip)))))
        deep = _resize(deep, skip)
        logits = self.head(self.decoder(torch.cat([deep, self.low_level(skip)], 1)))
        return _resize(logits, x)


def _scaled(channels: Sequence[int], width: float) -> list[int]:
    """Return channels times ``width``.

    Example:
        >>> _scaled((32, 728, 2048), 0.125), _scaled((3,), 0.1)
        ([4, 91, 256], [1])
    """
    return [max(1, round(width * count)) for count in channels]


def _exit_flow(width: float, dilation: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    widths = _scaled((1024, 1536, 1536, 2048), width)
    for inputs, outputs in pairwise(widths):
        layers += [_Sep(inputs, outputs, 1, dilation), *_bn_act(outputs)]
    return layers


def _resize(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=True)


def _bn_act(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU()]


def _conv_bn_act(inputs: int, outputs: int, size: int, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (size // 2)
    conv = nn.Conv2d(inputs, outputs, size, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(conv, *_bn_act(outputs))


class _Sep(nn.Sequential):
    """Depthwise 3x3 convolution, normalisation, 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, inputs, 3, stride, padding=dilation, dilation=dilation, groups=inputs, bias=False),
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 1, bias=False),
        )


class _Block(nn.Module):
    """Three separable convolutions, the last with the stride, and a shortcut."""

    def __init__(
        self,
        inputs: int,
        widths: Sequence[int],
        stride: int = 1,
        dilation: int = 1,
        relu_first: bool = False,
        rectified_shortcut: bool = False,
        unnormalised: int | None = None,
    ) -> None:
        super().__init__()
        body: list[nn.Module] = []
        width = inputs
        for i, output in enumerate(widths):
            if i or relu_first:
                body.append(nn.ReLU())
            strided = stride > 1 and i == len(widths) - 1
            body.append(_Sep(width, output, stride, 1) if strided else _Sep(width, output, 1, dilation))
            if i != unnormalised:
                body.append(nn.BatchNorm2d(output))
            width = output
        # rectifying twice changes nothing, so the body is the same and keeps its names in both forms
        self.entrance: nn.Module = nn.ReLU() if relu_first and rectified_shortcut else nn.Identity()
        self.body = nn.Sequential(*body)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or width != inputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.entrance(x)
        out: torch.Tensor = self.body(x) + self.shortcut(x)
        return out


class _ASPP(nn.Module):
    """Convolutions at several dilations and the image's mean, joined and projected."""

    def __init__(self, inputs: int, outputs: int, dilations: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.local = _conv_bn_act(inputs, outputs, 1)
        near, middle, far = dilations
        self.near = _conv_bn_act(inputs, outputs, 3, near)
        self.middle = _conv_bn_act(inputs, outputs, 3, middle)
        self.far = _conv_bn_act(inputs, outputs, 3, far)
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), _conv_bn_act(inputs, outputs, 1))
        self.project = nn.Sequential(_conv_bn_act(5 * outputs, outputs, 1), nn.Dropout(dropout))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():
            self._check_batch(x)
        mean = self.pooled(x).expand(-1, -1, x.shape[2], x.shape[3])
        out: torch.Tensor = self.project(torch.cat([self.local(x), self.near(x), self.middle(x), self.far(x), mean], 1))
        return out

    @torch.jit.unused
    def _check_batch(self, x: torch.Tensor) -> None:
        # frozen statistics, and statistics shared by several processes, need one image only
        alone = any(isinstance(m, nn.BatchNorm2d) and m.training for m in self.pooled.modules())
        if alone and x.shape[0] < 2:
            raise InputError(
                "DeepLabV3Plus cannot train on a batch of 1, since its pooled branch normalises one value per channel; "
                "use a batch_size of 2 or more and drop_last=True in the training data loader, or call network.eval()."
            )
