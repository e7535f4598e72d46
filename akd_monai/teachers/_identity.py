# SPDX-License-Identifier: Apache-2.0
"""What a stored output belongs to: the teacher, the volume, the slice and view, and the image itself."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import torch
from torch import nn

from akd_monai.identity import code_facts, plain_text, tensor_bytes

__all__ = ["image_tags", "sample_key", "teacher_identity"]

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def teacher_identity(teacher: nn.Module) -> str:
    """Return a hash of all that decides a network's output: its code, settings, parameters and buffers.

    Example:
        >>> network = nn.Conv2d(1, 2, 1)
        >>> before = teacher_identity(network)
        >>> network.weight.data[0, 0, 0, 0] += 1e-6
        >>> teacher_identity(network) == before
        False
    """
    digest = hashlib.sha256(f"{teacher}\n".encode())
    digest.update("\n".join([*code_facts(teacher), *_settings(teacher)]).encode())
    for name, value in sorted([*teacher.named_parameters(), *teacher.named_buffers()]):
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(tensor_bytes(value))
    return digest.hexdigest()


def sample_key(volume: str, position: int, view: int) -> bytes:
    """Return the 16 bytes under which the output for one view of one slice is stored."""
    return hashlib.blake2b(f"{volume} {position} {view}".encode(), digest_size=16).digest()


def image_tags(images: torch.Tensor) -> list[int]:
    """Return a 64-bit checksum for each image of ``[B, C, *spatial]``, the same on any device.

    A sum, modulo 2^64, of the values' bits times a weight of their place: any changed value changes it, and so does,
    but for one chance in 2^40 or less, any other change.

    Example:
        >>> one = torch.tensor([[[1.0, 2.0]]])
        >>> image_tags(one) == image_tags(one.flip(-1))
        False
    """
    bits = images.detach().contiguous().view(_BITS[images.element_size()]).flatten(1)
    weights = _weights(bits.shape[1], str(bits.device))
    return [int(value) for value in (bits.long() * weights).sum(1).tolist()]


@lru_cache(maxsize=4)
def _weights(count: int, device: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    # odd, so that a change of one value can never vanish modulo 2^64
    weights = torch.randint(-(2**62), 2**62, (count,), generator=generator) * 2 + 1
    return weights.to(device)


def _settings(network: nn.Module) -> list[str]:
    """Return the attributes of all modules, printed or not, as far as they are plain values."""
    own = vars(nn.Module()).keys()
    return [
        f"{name}.{key} {plain_text(value)}"
        for name, module in network.named_modules()
        for key, value in sorted(vars(module).items())
        if key not in own
    ]
