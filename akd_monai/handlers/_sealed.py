# SPDX-License-Identifier: Apache-2.0
"""A PyTorch file that ends in a hash of itself, so that damage of any byte is noticed."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import torch

__all__ = ["DamagedError", "read_sealed", "sealed"]

_MARK = b"sha256 "
_HEX = 64
_LENGTH = len(_MARK) + _HEX
# a zip archive ends with the length of its comment, which is 0 in PyTorch's files
_SHORT = 2


class DamagedError(Exception):
    """A file is not as it was written."""


def sealed(content: Any) -> memoryview:
    """Return ``content`` as ``torch.save`` writes it, with the SHA-256 of all that stands before as zip comment.

    ``torch.load`` and ``zipfile`` read the file as they read any other.

    Example:
        >>> data = sealed({"iteration": 3})
        >>> torch.load(io.BytesIO(data), weights_only=True), read_sealed(bytes(data))
        ({'iteration': 3}, ({'iteration': 3}, True))
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    # a view, since a checkpoint may fill a good part of the memory
    with buffer.getbuffer() as body:
        if bytes(body[-_SHORT:]) != bytes(_SHORT):
            raise RuntimeError("this version of PyTorch ends its files in another way")
        body[-_SHORT:] = _LENGTH.to_bytes(_SHORT, "little")
        seal = _MARK + hashlib.sha256(body).hexdigest().encode()
    buffer.seek(0, io.SEEK_END)
    buffer.write(seal)
    return buffer.getbuffer()


def read_sealed(data: bytes) -> tuple[Any, bool]:
    """Return the content, read with ``weights_only=True`` on the CPU, and whether a hash was there to be checked.

    Nothing is read from a file whose hash is wrong.

    Raises:
        DamagedError: if a byte has changed since the file was written, or it cannot be read.

    Example:
        >>> data = bytearray(sealed({"iteration": 3}))
        >>> data[100] ^= 1
        >>> read_sealed(bytes(data))
        Traceback (most recent call last):
        ...
        akd_monai.handlers._sealed.DamagedError: its checksum is wrong
    """
    has_hash = data[-_LENGTH:-_HEX] == _MARK
    if has_hash and hashlib.sha256(memoryview(data)[:-_LENGTH]).hexdigest().encode() != data[-_HEX:]:
        raise DamagedError("its checksum is wrong")
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise errors of many classes
        raise DamagedError((str(error).splitlines() or [type(error).__name__])[0]) from error
    return content, has_hash
