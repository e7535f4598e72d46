# SPDX-License-Identifier: Apache-2.0
"""Prepared volumes, kept in memory or on disk slice after slice, so that drawing one slice is one copy."""

from __future__ import annotations

import inspect
import logging
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from pickle import PicklingError, UnpicklingError
from typing import Any

import monai
import torch
from monai.data import CacheDataset, PersistentDataset
from monai.data.utils import pickle_hashing
from monai.transforms import Transform

from akd_monai.data._case_transform import CaseTransform, flattened, is_path
from akd_monai.errors import InputError, one_line
from akd_monai.files import save_atomic, sha256_of
from akd_monai.identity import source_facts

__all__ = ["StoredVolumes", "prepared_volumes"]

logger = logging.getLogger(__name__)

_FORMAT = 1  # of the stored files; part of their names
# What zipfile raises for a damaged directory, which no checksum protects: a bit there can turn a record into an encrypted
# one, or one of another compression.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,
    RuntimeError,
    EOFError,
    UnpicklingError,
    ValueError,
    OverflowError,
    OSError,
)


class StoredVolumes(PersistentDataset):
    """MONAI's persistent data set, with files that cannot be stale or incomplete.

    The name of a stored file is a hash of the content of the case's files, of the transforms' parameters, and of the
    files that define transforms of your own and functions given to any: a replaced image or a changed parameter finds
    no old file. Files are written completely or not at all, so processes may share the folder. Each process tests the
    checksums of a file before it uses it first, and replaces one that is damaged. From then on volumes are mapped, not
    read: taking a slice touches that slice alone.

    Args:
        data: cases.
        transform: prepares a case.
        cache_dir: the folder; it is made.

    Raises:
        InputError: if the folder cannot be made or written to, or the transforms cannot be told from others.
    """

    def __init__(
        self, data: Sequence[Mapping[str, Any]], transform: CaseTransform, cache_dir: str | os.PathLike[str]
    ) -> None:
        folder = Path(cache_dir)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cache_dir {str(folder)!r} cannot be made ({error.strerror}); give a folder.") from error
        super().__init__(data, transform, cache_dir=folder)
        recipe = _recipe_id(transform)
        # hashed once: what is read later in the run is what was there at its start
        self._paths = [folder / f"{_content_id(case, recipe)}.pt" for case in data]
        self._intact: set[Path] = set()

    def _transform(self, index: int) -> dict[str, torch.Tensor]:
        path = self._paths[index]
        stored = _read(path, is_intact=path in self._intact)
        if stored is None:
            stored = self._pre_transform(dict(self.data[index]))
            _write(path, stored)
        self._intact.add(path)
        return stored


def prepared_volumes(
    data: Sequence[Mapping[str, Any]],
    transform: CaseTransform,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    cache_rate: float = 1.0,
    num_workers: int = 1,
    progress: bool = False,
) -> CacheDataset | StoredVolumes:
    """Return the prepared volumes of ``data``: in memory, or on disk when ``cache_dir`` is given."""
    if cache_dir is not None:
        return StoredVolumes(data, transform, cache_dir)
    return CacheDataset(
        data, transform, cache_rate=cache_rate, num_workers=num_workers, progress=progress, copy_cache=False
    )


def _read(path: Path, *, is_intact: bool) -> dict[str, torch.Tensor] | None:
    if not path.is_file():
        return None
    try:
        if not is_intact:
            _check_sums(path)
        stored: dict[str, torch.Tensor] = torch.load(path, weights_only=True, mmap=True)
    except _DAMAGED as error:
        logger.warning("cached volume %s is damaged (%s); it is prepared again.", path, one_line(error))
        return None
    return stored


def _check_sums(path: Path) -> None:
    """Test the CRC of each record; PyTorch writes them, but does not test them when it reads."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"wrong checksum of {damaged}")


def _write(path: Path, volumes: Mapping[str, torch.Tensor]) -> None:
    try:
        save_atomic(dict(volumes), path)
    except OSError as error:
        raise InputError(
            f"cannot write to cache_dir {str(path.parent)!r} ({error.strerror});"
            " make room or give another folder, or leave cache_dir out to use memory."
        ) from error


def _recipe_id(transform: CaseTransform) -> str:
    """Return a hash of the transforms, their parameters, and their code where it is not MONAI's."""
    code = source_facts(_code_of(transform.transforms), versioned=("monai", "torch"))
    parts = (_FORMAT, monai.__version__, transform.keys, transform.label_key, list(transform.transforms), code)
    try:
        return pickle_hashing(parts).decode()
    except (PicklingError, AttributeError, TypeError) as error:
        raise InputError(
            f"the deterministic transforms cannot be told apart ({error}), so cache_dir could serve stale volumes;"
            " use named functions instead of lambdas, or leave cache_dir out."
        ) from error


def _code_of(transforms: Sequence[Any]) -> Iterator[Any]:
    """Yield the classes of transforms, of transforms inside them, and the functions that they were given."""
    for transform in transforms:
        yield from type(transform).__mro__
        for part in flattened(list(vars(transform).values())):
            if isinstance(part, Transform):
                yield from _code_of([part])
            elif inspect.isfunction(part):
                yield part


def _content_id(case: Mapping[str, Any], recipe: str) -> str:
    """Return a hash of the recipe and of the case, in which the content of a file stands for its name."""
    content: list[tuple[Any, ...]] = []
    for key in sorted(case):
        for value in flattened(case[key]):
            path = Path(value) if is_path(value) else None
            if path is not None and path.is_file():
                content.append((key, "".join(path.suffixes), sha256_of(path)))
            else:
                content.append((key, value))
    return pickle_hashing((recipe, content)).decode()
