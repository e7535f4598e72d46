# SPDX-License-Identifier: Apache-2.0
"""UNet++ against the same network written down a second time, in 2D and 3D."""

from __future__ import annotations

import pytest
import torch
from networks.nets.plain_layers import Plain, image, randomise

from akd_monai.errors import InputError
from akd_monai.networks.nets import UNetPlusPlus

FEATURES = (3, 5, 4, 6, 7)


def up(x):
    """Linear interpolation to twice the size, first and last pixel kept, one axis after the other."""
    for axis in (2, 3):
        old = x.shape[axis]
        place = torch.arange(2 * old, dtype=x.dtype) * (old - 1) / (2 * old - 1)
        left = place.floor().long().clamp(max=max(old - 2, 0))
        part = (place - left).view(-1, *[1] * (3 - axis))
        right = (left + 1).clamp(max=old - 1)
        x = x.index_select(axis, left) * (1 - part) + x.index_select(axis, right) * part
    return x


def node(p: Plain, x, name):
    for i in (0, 3):
        x = p.norm(p.conv(x, f"{name}.{i}"), f"{name}.{i + 1}").clamp(min=0)
    return x


def unetplusplus(p: Plain, x):
    grid = {}
    for i in range(5):
        grid[i, 0] = node(p, x, f"node_{i}_0")
        x = torch.stack([grid[i, 0][:, :, a::2, b::2] for a in (0, 1) for b in (0, 1)]).amax(0) if i < 4 else x
    for j in range(1, 5):
        for i in range(5 - j):
            skips = [grid[i, k] for k in range(j)]
            grid[i, j] = node(p, torch.cat([*skips, up(grid[i + 1, j - 1])], 1), f"node_{i}_{j}")
    return p.conv(grid[0, 4], "head")


def test_network_is_the_one_written_down():
    network = randomise(UNetPlusPlus(2, 2, 3, features=FEATURES))
    x = image(2, 2, 48, 32)
    torch.testing.assert_close(network(x), unetplusplus(Plain(network, 1e-5), x), rtol=1e-9, atol=1e-9)


def test_3d_network_that_looks_at_one_slice_is_the_2d_network():
    volume_net = randomise(UNetPlusPlus(3, 1, 2, features=FEATURES))
    with torch.no_grad():
        for value in volume_net.parameters():
            if value.ndim == 5 and value.shape[2] == 3:
                value[:, :, ::2] = 0  # only the middle of the kernel's depth is left
    flat = UNetPlusPlus(2, 1, 2, features=FEATURES).double().eval()
    flat.load_state_dict({k: v.sum(2) if v.ndim == 5 else v for k, v in volume_net.state_dict().items()})
    slice_ = image(1, 1, 32, 16)
    out = volume_net(slice_[:, :, None].expand(-1, -1, 16, -1, -1))
    assert out.shape == (1, 2, 16, 32, 16)
    for depth in (0, 7, 15):
        torch.testing.assert_close(out[:, :, depth], flat(slice_), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("features", [(4, 4, 4), (4, 4, 4, 4, 0), (4, 4, 4, 4, 4.5)])
def test_features_that_are_not_five_widths(features):
    with pytest.raises(InputError, match="features must be five positive integers, the width of each level, got"):
        UNetPlusPlus(2, 1, 2, features=features)


def test_no_layer_overwrites_the_output_of_the_one_before():
    network = UNetPlusPlus(2, 1, 2, features=FEATURES)
    assert not any(getattr(m, "inplace", False) for m in network.modules())
