# SPDX-License-Identifier: Apache-2.0
"""Keyed randomness: the same numbers in every process and version, since runs are resumed by them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from akd_monai.keys import random_key


def crc32(data: bytes) -> int:
    """The CRC-32 of zlib and gzip, bit by bit from its polynomial."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0xEDB88320 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ((), "()"),
        ((7,), "(7,)"),
        ((7, "shuffle", 1), "(7, 'shuffle', 1)"),
        ((0, "split", "HK"), "(0, 'split', 'HK')"),
        ((("a", 0, 1), ("b", 2)), "(('a', 0, 1), ('b', 2))"),
    ],
)
def test_the_key_is_the_checksum_of_the_parts_as_python_writes_them(parts, text):
    assert random_key(*parts) == crc32(text.encode())


def test_every_part_and_its_place_counts():
    keys = {random_key(*parts) for parts in ((1, 2), (2, 1), (1, 2, 0), ("1", 2), (12,), (1, "2"))}
    assert len(keys) == 6
    assert all(0 <= key < 2**32 for key in keys)


@pytest.mark.parametrize("seed", ["0", "12345"])
def test_another_process_has_the_same_keys(seed):
    code = "from akd_monai.keys import random_key; print(random_key(7, 'shuffle', 1))"
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert int(run.stdout) == random_key(7, "shuffle", 1)
