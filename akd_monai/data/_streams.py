# SPDX-License-Identifier: Apache-2.0
"""Bytes of volume files: regular files only, decompressed step by step, so that a header is read before its voxels."""

from __future__ import annotations

import contextlib
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from akd_monai.errors import InputError

__all__ = [
    "DOWNLOAD_AGAIN",
    "GZIP_MAGIC",
    "FileError",
    "Inflater",
    "Source",
    "described_start",
    "opened",
    "read_promised",
]

DOWNLOAD_AGAIN = "copy or download the file again"
GZIP_MAGIC = b"\x1f\x8b"

# Some programs fill a file up to a block of the disk; more bytes than that after the voxels are a wrong header.
_PADDING = 512
_PIECE = 1 << 20
# zlib finds out by itself whether a stream is gzip (NIfTI, NRRD) or zlib (MetaImage)
_EITHER_WRAPPER = zlib.MAX_WBITS | 32
# no deflate stream is compressed better than 1032 to 1
_BEST_RATIO = 1032
# A volume of 1024 x 1024 x 1024; no scanner's is larger.
_MOST_VOXELS = 1 << 30

_STARTS = (
    (b"version https://git-lfs", "a Git LFS pointer: fetch the file itself"),
    (b"PK", "a ZIP archive"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"NRRD", "an NRRD file"),
    (b"\x89HDF", "an HDF5 file"),
)


class FileError(InputError):
    """A file that cannot be read as it should; ``code`` names the fault."""


class Source(Protocol):
    """What bytes are read from: a file, or what a compressed file holds."""

    def read(self, size: int, /) -> bytes:
        """Return ``size`` bytes, fewer only at the end."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file that is not empty; links to one count as one.

    Raises:
        FileError: for a missing or empty file, a folder, a device, a pipe or a link that leads nowhere.
    """
    try:
        stream = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - closed below, after errors were translated
    except OSError as error:
        what = f"cannot be opened ({error.strerror})"
        raise FileError(what, remedy="check path and permissions", code="missing-file") from None
    with stream:
        facts = os.fstat(stream.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise FileError("is no regular file", remedy="give a file, no pipe and no device", code="missing-file")
        if facts.st_size == 0:
            raise FileError("the file has 0 bytes", remedy=DOWNLOAD_AGAIN, code="empty-file")
        yield stream


def _without_waiting(path: str, flags: int) -> int:
    # a named pipe would otherwise wait for somebody to write into it
    return os.open(path, flags | os.O_NONBLOCK)


class Inflater:
    """Decompress a gzip or zlib stream step by step; its checksum is tested at its end.

    Args:
        stream: the file, at the first byte of the compressed data.

    Example:
        >>> import gzip, io
        >>> source = Inflater(io.BytesIO(gzip.compress(b"header, voxels")))
        >>> source.read(6), source.read(100), source.read(1)
        (b'header', b', voxels', b'')
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._engine = zlib.decompressobj(_EITHER_WRAPPER)
        self._pending = b""
        self._finished = False

    def read(self, size: int, /) -> bytes:
        """Return ``size`` bytes, fewer only at the end of the stream.

        Raises:
            FileError: for a truncated or damaged stream.
        """
        parts = []
        while size > 0 and not self._finished:
            part = self._step(size)
            size -= len(part)
            parts.append(part)
        return b"".join(parts)

    def _step(self, room: int) -> bytes:
        if self._engine.eof and not self._next_member():
            self._finished = True
            return b""
        piece = self._pending or self._stream.read(_PIECE)
        try:
            part = self._engine.decompress(piece, room)
        except zlib.error as error:
            raise _damaged(str(error)) from None
        self._pending = self._engine.unconsumed_tail or self._engine.unused_data
        if not piece and not part and not self._engine.eof:
            what = "the gzip stream ends too early: the file is truncated"
            raise FileError(what, remedy=DOWNLOAD_AGAIN, code="truncated")
        return part

    def _next_member(self) -> bool:
        """Begin the next of several gzip streams in one file, as some programs write them."""
        left = (self._pending or self._stream.read(_PIECE)).lstrip(b"\0")
        if not left:
            return False
        if not left.startswith(GZIP_MAGIC):
            raise _damaged("it is followed by other bytes")
        self._engine = zlib.decompressobj(_EITHER_WRAPPER)
        self._pending = left
        return True


def _damaged(reason: str) -> FileError:
    words = "CRC check failed" if "incorrect data check" in reason else reason
    return FileError(f"the gzip stream is damaged ({words})", remedy=DOWNLOAD_AGAIN, code="damaged")


def read_promised(source: Source, promised: int, *, voxels: int, stored: int, head: bytes = b"") -> bytes:
    """Return the ``promised`` bytes of a header, after which the file must end; never more are decompressed.

    Args:
        source: what they are read from.
        promised: the number of bytes, those of ``head`` included.
        voxels: how many voxels they hold.
        stored: the size of the file, compressed or not.
        head: what was read before.

    Raises:
        FileError: for a header that promises what no file of this size can hold, or for a file of another length.
    """
    if voxels > _MOST_VOXELS:
        what = f"the header promises {voxels} voxels, more than any scanner's volume has ({_MOST_VOXELS})"
        raise FileError(what, remedy=DOWNLOAD_AGAIN, code="too-large")
    is_compressed = isinstance(source, Inflater)
    if promised > stored * (_BEST_RATIO if is_compressed else 1):
        raise _truncated(promised, f"{stored} compressed" if is_compressed else str(stored))
    data = head + source.read(promised - len(head))
    if len(data) < promised:
        raise _truncated(promised, str(len(data)))
    # of a header that promises nothing, emptiness is the fault to tell
    if voxels and len(source.read(_PADDING + 1)) > _PADDING:
        what = f"holds more than the {promised} bytes that its header promises"
        raise FileError(what, remedy=DOWNLOAD_AGAIN, code="oversized")
    return data


def _truncated(promised: int, held: str) -> FileError:
    what = f"is truncated: the header promises {promised} bytes, the file holds {held}"
    return FileError(what, remedy=DOWNLOAD_AGAIN, code="truncated")


def described_start(data: bytes) -> str:
    """Say what kind of file begins with ``data``, without a byte of it: it may be a file that was not meant.

    Example:
        >>> described_start(b"<!doctype html><html>"), described_start(b"root:x:0:0")
        ('HTML, perhaps a download page', 'text')
    """
    if b"<html" in data[:512].lower():
        return "HTML, perhaps a download page"
    for start, words in _STARTS:
        if data.startswith(start):
            return words
    if data[128:132] == b"DICM":
        return "a DICOM file"
    printable = all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in data)
    return "text" if printable else "bytes of another kind"
