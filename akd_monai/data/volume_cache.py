# SPDX-License-Identifier: Apache-2.0
"""Volumes prepared once and kept, in memory or on disk, slice after slice, so that drawing one slice is one copy."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from pickle import PicklingError, UnpicklingError
from typing import Any

import monai
import torch
from monai.data import CacheDataset, PersistentDataset
from monai.data.utils import pickle_hashing
from monai.transforms import Compose, Transform

from akd_monai.data.nifti import FileError, read_nifti
from akd_monai.errors import InputError
from akd_monai.files import save_atomic, sha256_of
from akd_monai.identity import source_facts
from akd_monai.names import NIFTI_SUFFIXES, case_name

_LOGGER = logging.getLogger(__name__)

FOREGROUND = "foreground"
_FORMAT = 1  # of the stored files; part of their names


class CaseTransform(Compose):
    """Deterministic transforms of one case, ending in tensors ``[D, C, H, W]``: slices first, each slice in one piece.

    The result holds the tensor of every key that the case has, and ``"foreground"``, a flag for each slice: whether the
    label has a value above 0 there. Without a label, every flag is set.

    Args:
        transforms: dictionary transforms that end in ``[C, H, W, D]``.
        keys: entries to keep.
        label_key: the entry that marks the foreground.

    Raises:
        InputError: when called, naming the case and the file, if a file cannot be read, a transform fails, sizes differ
            between the keys, or a value is not finite.
    """

    def __init__(self, transforms: Sequence[Any], keys: Sequence[str], label_key: str, **settings: Any) -> None:
        super().__init__(transforms, **settings)
        self.keys, self.label_key = tuple(keys), label_key

    def __call__(self, data: Any, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:  # type: ignore[override]
        """Transform one case."""
        _check_files(data)
        try:
            result = super().__call__(dict(data), *args, **kwargs)
        except Exception as error:
            raise case_error(data, error) from error
        return self._slices_first(data, result)

    def _slices_first(self, case: Mapping[str, Any], result: Any) -> dict[str, torch.Tensor]:
        volumes: dict[str, torch.Tensor] = {}
        for key in self.keys:
            if key not in case:
                continue
            volume = result.get(key) if isinstance(result, Mapping) else None
            if not isinstance(volume, torch.Tensor) or volume.ndim != 4:
                got = list(volume.shape) if isinstance(volume, torch.Tensor) else type(volume).__name__
                raise InputError(
                    f"case {case_name(case)}: {key!r} must be a tensor [C, H, W, D] after the deterministic transforms,"
                    f" got {got}; load it with LoadImaged and EnsureChannelFirstd."
                )
            plain = torch.as_tensor(volume.as_tensor() if isinstance(volume, monai.data.MetaTensor) else volume)
            if plain.is_floating_point() and not torch.isfinite(plain).all():
                raise InputError(
                    f"case {case_name(case)}: {key!r} holds NaN or Inf after the deterministic transforms;"
                    f" repair {_files(case)[0] if _files(case) else 'its source'} or leave the case out."
                )
            volumes[key] = plain.permute(3, 0, 1, 2).contiguous()
        self._check_sizes(case, volumes)
        depth = len(volumes[self.keys[0]])
        label = volumes.get(self.label_key)
        marked = torch.ones(depth, dtype=torch.bool) if label is None else (label > 0).flatten(1).any(dim=1)
        return {**volumes, FOREGROUND: marked}

    def _check_sizes(self, case: Mapping[str, Any], volumes: Mapping[str, torch.Tensor]) -> None:
        first = self.keys[0]
        if first not in volumes:
            raise InputError(f"case {case_name(case)} has no entry {first!r}; every case needs one.")
        sizes = {key: [*volume.shape[2:], volume.shape[0]] for key, volume in volumes.items()}
        if any(size != sizes[first] for size in sizes.values()):
            raise InputError(
                f"case {case_name(case)}: sizes [H, W, D] differ between its volumes, {sizes};"
                " image and mask must lie on one grid."
            )
        if 0 in sizes[first]:
            raise InputError(f"case {case_name(case)} has no slice: its size is {sizes[first]}; leave it out.")


class StoredVolumes(PersistentDataset):
    """MONAI's persistent data set, with files that cannot be stale or half written.

    The name of a stored file is a hash of the content of the case's files, of the transforms' parameters, and of the
    files that define transforms of your own and functions given to any: a replaced image or a changed parameter finds no
    old file. Files are written whole or not at all, so processes may share the folder; one that cannot be read is made
    again. Volumes are mapped, not read: taking a slice touches that slice alone.
    """

    def __init__(self, data: Sequence[Mapping[str, Any]], transform: CaseTransform, cache_dir: str | os.PathLike[str]):
        folder = Path(cache_dir)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"cache_dir {str(folder)!r} cannot be made ({error.strerror}); give a folder.") from error
        super().__init__(data, transform, cache_dir=folder)
        code = source_facts(_code_of(transform.transforms), versioned=("monai", "torch"))
        parts = (_FORMAT, monai.__version__, transform.keys, transform.label_key, list(transform.transforms), code)
        try:
            recipe = pickle_hashing(parts).decode()
        except (PicklingError, AttributeError, TypeError) as error:
            raise InputError(
                f"the deterministic transforms cannot be told apart ({error}), so cache_dir could serve stale volumes;"
                " use named functions instead of lambdas, or leave cache_dir out."
            ) from error
        # hashed once: what is read later in the run is what was there at its start
        self._paths = [folder / f"{_content_key(case, recipe)}.pt" for case in data]

    def _transform(self, index: int) -> dict[str, torch.Tensor]:
        path = self._paths[index]
        stored = self._read(path)
        if stored is None:
            stored = self._pre_transform(dict(self.data[index]))
            self._write(path, stored)
        return stored

    def _read(self, path: Path) -> dict[str, torch.Tensor] | None:
        if not path.is_file():
            return None
        try:
            return torch.load(path, weights_only=True, mmap=True)
        except (RuntimeError, EOFError, UnpicklingError, ValueError) as error:
            _LOGGER.warning("cached volume %s is damaged (%s) and is made again.", path, _one_line(error))
            return None

    @staticmethod
    def _write(path: Path, volumes: Mapping[str, torch.Tensor]) -> None:
        try:
            save_atomic(dict(volumes), path)
        except OSError as error:
            raise InputError(
                f"cannot write to cache_dir {str(path.parent)!r} ({error.strerror});"
                " make room or give another folder, or leave cache_dir out to use memory."
            ) from error


def volume_source(
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


def case_error(case: Mapping[str, Any], error: BaseException) -> Exception:
    """Return what to raise when ``error`` stopped ``case``: one line that names case, files and the first cause."""
    cause = error
    while (deeper := cause.__cause__ or cause.__context__) is not None:
        cause = deeper
    if isinstance(cause, (InputError, MemoryError, torch.OutOfMemoryError)):
        return cause
    files = " and ".join(map(repr, map(str, _files(case)))) or "no file"
    return InputError(
        f"case {case_name(case)} ({files}) cannot be prepared: {type(cause).__name__}: {_one_line(cause)}"
    )


def _check_files(case: Mapping[str, Any]) -> None:
    # readers stop at the last voxel, before the checksum of the file: damaged voxels would be trained on
    for path in _files(case):
        if not path.exists() or path.name.lower().endswith(NIFTI_SUFFIXES):
            try:
                read_nifti(path)
            except FileError as problem:
                raise InputError(f"case {case_name(case)}: file {str(path)!r}: {problem}") from problem


def _files(case: Mapping[str, Any]) -> list[Path]:
    return [Path(value) for key in ("image", "label") for value in _flat(case.get(key)) if _is_path(value)]


def _code_of(transforms: Sequence[Any]) -> Iterator[Any]:
    """Yield the classes of transforms, of transforms inside them, and the functions that they were given."""
    for transform in transforms:
        yield from type(transform).__mro__
        for part in (part for value in vars(transform).values() for part in _flat(value)):
            if isinstance(part, Transform):
                yield from _code_of([part])
            elif inspect.isfunction(part):
                yield part


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for entry in value:
            yield from _flat(entry)
    else:
        yield value


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike))


def _content_key(case: Mapping[str, Any], recipe: str) -> str:
    content = []
    for key in sorted(case):
        for value in _flat(case[key]):
            path = Path(value) if _is_path(value) else None
            is_file = path is not None and path.is_file()
            content.append((key, "".join(path.suffixes), sha256_of(path)) if path and is_file else (key, value))
    return pickle_hashing((recipe, content)).decode()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
