# SPDX-License-Identifier: Apache-2.0
"""The cases of a data set by the content of their files, wherever these lie."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.data import CacheDataset, PersistentDataset, SmartCacheDataset
from monai.data import Dataset as MonaiDataset
from monai.utils.enums import CommonKeys as Keys
from torch.utils.data import Dataset

from akd_monai.files import sha256_of
from akd_monai.handlers._describe import describe, digest, settings_of
from akd_monai.names import case_name

__all__ = ["DataFacts"]

logger = logging.getLogger(__name__)

_DIGITS = 16
# more cases are known by one hash
_MOST_CASES = 2000
# they say in another way what files and transforms say
_FOLLOWS = {"identify", "volume_keys", "views"}
_PLAIN = (MonaiDataset, CacheDataset, PersistentDataset)


class DataFacts:
    """Describe data sets; a file that several of them name is read once.

    Example:
        >>> DataFacts().of(MonaiDataset([{"image": 1.5, "case_id": "A/Case00"}]))["data"]
        {'A/Case00': {'image': 1.5}, 'order': ['A/Case00']}
    """

    def __init__(self) -> None:
        self._hashes: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def of(self, dataset: Any) -> Any:
        """Return what determines the items of ``dataset``."""
        return describe(dataset, self._special)

    def _special(self, value: Any) -> dict[str, Any] | None:
        """Describe data sets with a list of cases; whether and where MONAI's are cached says nothing of their items."""
        cases: Any = getattr(value, "data", None)
        if not isinstance(value, Dataset) or not _are_cases(cases):
            return None
        settings = {name: item for name, item in settings_of(value).items() if name not in _FOLLOWS | {"data"}}
        is_plain = isinstance(value, _PLAIN) and not isinstance(value, SmartCacheDataset)
        if is_plain:
            settings = {"transform": getattr(value, "transform", None)}
        name = "Dataset" if is_plain else type(value).__qualname__
        facts = {key: describe(item, self._nested(cases)) for key, item in sorted(settings.items())}
        return {"class": name, "data": self._cases(cases), **facts}

    def _nested(self, cases: Any) -> Callable[[Any], dict[str, Any] | None]:
        """Describe a data set inside another: its cases are often the same list."""

        def special(value: Any) -> dict[str, Any] | None:
            found = self._special(value)
            if found is not None and getattr(value, "data", None) is cases:
                found.pop("data")
            return found

        return special

    def _cases(self, cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        named: dict[str, Any] = {}
        for number, case in enumerate(cases):
            name = case_name(case, fallback=f"case {number}")
            while name in named:
                name += "'"
            named[name] = {key: self._value(item) for key, item in case.items() if key != "case_id"}
            self._notice_twin(name, case.get(Keys.IMAGE))
        facts = {**named, "order": list(named)}
        if len(named) <= _MOST_CASES:
            return facts
        return {"count": len(named), "sha256": digest(json.dumps(facts, sort_keys=True).encode())}

    def _notice_twin(self, name: str, image: Any) -> None:
        """Warn of one scan under two names, which may then stand in two parts of a split."""
        if not isinstance(image, (str, os.PathLike)) or not _is_file(image):
            return
        known = self._names.setdefault(self._content(os.fspath(image)), name)
        if known != name:
            logger.warning(
                "cases %s and %s have one image: the same scan counts twice; remove one of them.", known, name
            )

    def _value(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [self._value(item) for item in value]
        if isinstance(value, (str, os.PathLike)):
            return self._content(os.fspath(value))
        return describe(value)

    def _content(self, text: str) -> str:
        """Return the hash of the file or folder of this name, else the text without the folder of a path."""
        if text not in self._hashes:
            self._hashes[text] = _content_of(text)
        return self._hashes[text]


def _are_cases(value: Any) -> bool:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return False
    return bool(len(value)) and all(isinstance(case, Mapping) for case in value)


def _is_file(path: str | os.PathLike[str]) -> bool:
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def _content_of(text: str) -> str:
    path = Path(text)
    try:
        if ("." in text or os.sep in text) and path.is_file():
            return sha256_of(path)[:_DIGITS]
        if path.is_absolute() and path.is_dir():
            return _folder_hash(path)
    except (OSError, ValueError) as error:
        return f"unreadable ({type(error).__name__})"
    return path.name if path.is_absolute() else text


def _folder_hash(folder: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            total.update(f"{path.relative_to(folder).as_posix()}\n{sha256_of(path)}\n".encode())
    return total.hexdigest()[:_DIGITS]
