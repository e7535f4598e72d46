# SPDX-License-Identifier: Apache-2.0
"""The metadata of an ONNX file, read without the package onnx: the file is a message of Protocol Buffers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from akd_monai.errors import InputError

__all__ = ["onnx_metadata"]

# fields of ModelProto and StringStringEntryProto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
_METADATA = 14
_KEY = 1
_VALUE = 2
# kinds of fields on the wire
_VARINT = 0
_BYTES = 2
_FIXED = {1: 8, 5: 4}


def onnx_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return ``metadata_props`` of an ONNX file.

    Raises:
        InputError: if the file cannot be read, or is no ONNX file.
    """
    try:
        data = memoryview(Path(path).read_bytes())
    except OSError as error:
        raise InputError(
            f"cannot be opened ({error.strerror})", where=str(path), remedy="check path and permissions"
        ) from error
    entries = {}
    try:
        if not len(data):
            raise ValueError("nothing is in the file")
        for number, value in _fields(data):
            if number == _METADATA:
                pair = dict(_fields(value))
                entries[bytes(pair[_KEY]).decode()] = bytes(pair.get(_VALUE, b"")).decode()
    except (IndexError, KeyError, ValueError) as error:
        raise InputError("is no ONNX file", where=str(path), remedy="export it again", code="no-onnx") from error
    return entries


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield the number and the bytes of each field that holds bytes; the others are passed over."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        kind = tag & 7
        if kind == _VARINT:
            _, place = _varint(data, place)
        elif kind == _BYTES:
            length, place = _varint(data, place)
            if place + length > len(data):
                raise ValueError("a field ends beyond the file")
            yield tag >> 3, data[place : place + length]
            place += length
        elif kind in _FIXED:
            place += _FIXED[kind]
        else:
            raise ValueError(f"unknown kind of field {kind}")


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number of more than 64 bits")
