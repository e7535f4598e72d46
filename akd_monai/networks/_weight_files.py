# SPDX-License-Identifier: Apache-2.0
"""Read a file of weights as tensors only, after a check that it is the file that was written."""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from akd_monai.errors import InputError, one_line
from akd_monai.files import read_json, sha256_of

__all__ = ["read_weights"]

_BEST = "best.json"
_BUNDLE_WEIGHTS = "model.pt"
_SHOWN = 12
_HEAD = 256
_CHUNK = 1 << 20
_SAVE = "save them again by torch.save(network.state_dict(), path)"
# how a file begins that was never one of weights
_HEADS = {
    b"version https://git-lfs": ("is a Git LFS pointer, not the file", "fetch the file with git lfs pull"),
    b"<!doctype html": ("is a web page, not the file", "download the file itself"),
    b"<html": ("is a web page, not the file", "download the file itself"),
}

logger = logging.getLogger(__name__)


def read_weights(path: Path) -> Any:
    """Return the content of a file of weights.

    A file named by ``best.json`` beside it, or by ``weights_sha256`` in the metadata of its bundle, must have the
    SHA-256 given there; and every zip record of a file must have its checksum.

    Raises:
        InputError: if the file is missing, damaged, not the recorded one, or holds more than tensors.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "do not exist"
        raise _error(path, what, "give the path of a file written by torch.save")
    _check_head(path)
    broken = _broken_record(path)
    if broken:
        raise _error(path, f"are damaged (the checksum of {broken} is wrong)", "restore the file from a copy")
    _check_recorded(path)
    if _is_program(path):
        remedy = f"load it by torch.jit.load in a program of your own and {_SAVE}"
        raise _error(path, "cannot be read as tensors only: it is a TorchScript program", remedy)
    return _load(path)


def _error(path: Path, what: str, remedy: str) -> InputError:
    return InputError(f"weights {str(path)!r} {what}; {remedy}.")


def _check_head(path: Path) -> None:
    with open(path, "rb") as stream:
        head = stream.read(_HEAD).lstrip().lower()
    if not head:
        raise _error(path, "cannot be read as tensors only: it is empty", "restore it from a copy")
    for start, (what, remedy) in _HEADS.items():
        if head.startswith(start):
            raise _error(path, f"cannot be read as tensors only: it {what}", remedy)


def _broken_record(path: Path) -> str:
    """Return the name of a record of a zip archive whose CRC is wrong, which PyTorch does not test; else nothing."""
    names = _record_names(path)
    if not names:
        return ""
    with zipfile.ZipFile(path) as archive:
        broken = [name for name in names if not _is_intact(archive, name)]
    # PyTorch can be told to write no checksums at all
    return "" if len(broken) == len(names) > 1 else next(iter(broken), "")


def _record_names(path: Path) -> list[str]:
    """Return the records of a zip archive; none of another file, or of one so damaged that PyTorch says it best."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception:  # damaged archives raise errors of many classes
        return []


def _is_intact(archive: zipfile.ZipFile, name: str) -> bool:
    try:
        with archive.open(name) as stream:
            while stream.read(_CHUNK):
                pass
    except Exception:  # as above
        return False
    return True


def _is_program(path: Path) -> bool:
    # asked before PyTorch is, which would warn and change to its other reader
    return any(name.endswith("/constants.pkl") for name in _record_names(path))


def _check_recorded(path: Path) -> None:
    for source, hashes, remedy in (_best_model(path), _published(path)):
        if not hashes:
            continue
        found = sha256_of(path)
        if found not in hashes:
            raise _error(
                path,
                f"have the SHA-256 {found[:_SHOWN]}..., {source} says {hashes[0][:_SHOWN]}...: the file is damaged or "
                "was replaced",
                f"restore it from a copy, or, if you replaced it on purpose, {remedy}",
            )
        return


def _best_model(path: Path) -> tuple[str, list[str], str]:
    """Return where the best model of a training is recorded, the hashes that its file may have, and the remedy."""
    record = path.with_name(_BEST)
    content = _json(record)
    if content.get("file", _BUNDLE_WEIGHTS) != path.name:
        content = {}
    # written before the weights, so the entry before describes the file if the process ended in between
    entries = [content, content.get("previous")]
    return str(record), _hashes(entries, "sha256"), f"delete {_BEST}"


def _published(path: Path) -> tuple[str, list[str], str]:
    """Return the same for the weights of a published bundle."""
    metadata = path.parent.parent / "configs" / "metadata.json"
    in_place = path.name == _BUNDLE_WEIGHTS and path.parent.name == "models"
    content = _json(metadata) if in_place else {}
    return str(metadata), _hashes([content], "weights_sha256"), "correct weights_sha256 there"


def _hashes(entries: list[Any], name: str) -> list[str]:
    found = [entry.get(name) for entry in entries if isinstance(entry, Mapping)]
    return [value for value in found if isinstance(value, str) and value]


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content: dict[str, Any] = read_json(path)
    except InputError as error:
        logger.warning("the hash of the weights is not checked: %s", error)
        return {}
    return content


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise errors of many classes
        reason, remedy = _explained(path, str(error) or type(error).__name__)
        raise _error(path, f"cannot be read as tensors only: {reason}", remedy) from error


def _explained(path: Path, message: str) -> tuple[str, str]:
    """Return reason and remedy; PyTorch's own advice, which is to read the file in a way that runs code, is left out."""
    wanted = re.search(r"(?:GLOBAL|global:?|function|class) ([A-Za-z_][\w.]*\.\w+)", message)
    if wanted is not None:
        return f"it holds an object of {wanted[1]}, which could run code", _SAVE
    if not zipfile.is_zipfile(path) or "PytorchStreamReader" in message:
        return "it is damaged or not of PyTorch", "restore it from a copy"
    if message.startswith("Weights only load failed"):
        return "it holds more than tensors, numbers and strings, which could run code", _SAVE
    return one_line(message.splitlines()[0]), _SAVE
