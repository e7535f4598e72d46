# SPDX-License-Identifier: Apache-2.0
"""Deterministic transforms of one case, with its files checked before and its values after."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data import MetaTensor
from monai.transforms import Compose, LoadImaged

from akd_monai.data.nifti import FileError, read_nifti
from akd_monai.data.reader import CheckedReader
from akd_monai.errors import InputError, one_line
from akd_monai.names import case_name, is_nifti

__all__ = ["FOREGROUND", "CaseTransform", "case_error", "flattened", "is_path"]

FOREGROUND = "foreground"


class CaseTransform(Compose):
    """Deterministic transforms of one case, ending in tensors ``[D, C, H, W]``: slices first, each contiguous.

    The result holds the tensor of every key that the case has, and ``"foreground"``, a flag for each slice: whether the
    label has a value above 0 there. Without a label, every flag is set.

    Args:
        transforms: dictionary transforms that end in ``[C, H, W, D]``.
        keys: entries to keep; the first one must exist in every case.
        label_key: the entry that marks the foreground.
        **settings: of MONAI's ``Compose``.

    Raises:
        InputError: when called, naming the case and the file, if a file cannot be read, a transform fails, sizes differ
            between the keys, or a value is not finite.
    """

    def __init__(self, transforms: Sequence[Any], keys: Sequence[str], label_key: str, **settings: Any) -> None:
        super().__init__(transforms, **settings)
        self.keys = tuple(keys)
        self.label_key = label_key

    def __call__(self, data: Any, *args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:  # type: ignore[override]
        """Transform one case; the result is narrower than that of ``Compose``."""
        _check_files(data, self._checked_keys())
        try:
            result = super().__call__(dict(data), *args, **kwargs)
        except Exception as error:
            raise case_error(data, error) from error
        volumes = {key: _slices_first(data, key, result) for key in self.keys if key in data}
        _check_sizes(data, volumes, first=self.keys[0])
        return {**volumes, FOREGROUND: self._foreground(volumes)}

    def _checked_keys(self) -> set[Any]:
        """Return the entries whose files are read by a :class:`~akd_monai.data.CheckedReader`, so once is enough."""
        loaders = [transform for transform in self.flatten().transforms if isinstance(transform, LoadImaged)]
        # LoadImage tries its readers from the last to the first
        checked = [loader for loader in loaders if isinstance(loader._loader.readers[-1], CheckedReader)]
        return {key for loader in checked for key in loader.keys}

    def _foreground(self, volumes: Mapping[str, torch.Tensor]) -> torch.Tensor:
        label = volumes.get(self.label_key)
        if label is None:
            return torch.ones(len(volumes[self.keys[0]]), dtype=torch.bool)
        return (label > 0).flatten(1).any(dim=1)


def case_error(case: Mapping[str, Any], error: BaseException) -> Exception:
    """Return what to raise when ``error`` stopped ``case``: one line that names case, files and the first cause."""
    cause = _first_cause(error)
    if isinstance(cause, (InputError, MemoryError, torch.OutOfMemoryError)):
        return cause
    files = " and ".join(repr(str(file)) for file in _files(case)) or "no file"
    return InputError(f"case {case_name(case)} ({files}) cannot be prepared: {type(cause).__name__}: {one_line(cause)}")


def flattened(value: Any) -> Iterator[Any]:
    """Yield the entries of nested lists and tuples, or ``value`` itself."""
    if isinstance(value, (list, tuple)):
        for entry in value:
            yield from flattened(entry)
    else:
        yield value


def is_path(value: Any) -> bool:
    """Return whether an entry of a case names a file."""
    return isinstance(value, (str, os.PathLike))


def _first_cause(error: BaseException) -> BaseException:
    deeper = error.__cause__
    if deeper is None and not error.__suppress_context__:
        deeper = error.__context__
    return error if deeper is None else _first_cause(deeper)


def _files(case: Mapping[str, Any]) -> list[Path]:
    entries = [*flattened(case.get("image")), *flattened(case.get("label"))]
    return [Path(entry) for entry in entries if is_path(entry)]


def _check_files(case: Mapping[str, Any], checked: Collection[Any]) -> None:
    # Other readers stop at the last voxel, before the checksum of the file: damaged voxels would be trained on.
    for path in _files({key: value for key, value in case.items() if key not in checked}):
        if path.exists() and not is_nifti(path):
            continue
        try:
            read_nifti(path)
        except FileError as error:
            raise InputError(f"case {case_name(case)}: file {str(path)!r}: {error}") from error


def _slices_first(case: Mapping[str, Any], key: str, result: Any) -> torch.Tensor:
    volume = result.get(key) if isinstance(result, Mapping) else None
    if not isinstance(volume, torch.Tensor) or volume.ndim != 4:
        got = list(volume.shape) if isinstance(volume, torch.Tensor) else type(volume).__name__
        raise InputError(
            f"case {case_name(case)}: {key!r} must be a tensor [C, H, W, D] after the deterministic transforms,"
            f" got {got}; load it with LoadImaged and EnsureChannelFirstd."
        )
    plain = torch.as_tensor(volume.as_tensor() if isinstance(volume, MetaTensor) else volume)
    if plain.is_floating_point() and not torch.isfinite(plain).all():
        files = _files(case)
        source = files[0] if files else "its source"
        raise InputError(
            f"case {case_name(case)}: {key!r} holds NaN or Inf after the deterministic transforms;"
            f" repair {source} or leave the case out."
        )
    return plain.permute(3, 0, 1, 2).contiguous()


def _check_sizes(case: Mapping[str, Any], volumes: Mapping[str, torch.Tensor], first: str) -> None:
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
