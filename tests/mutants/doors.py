# SPDX-License-Identifier: Apache-2.0
"""The four doors through which a volume enters, called on one case each as their commands call them."""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from bundle_tools import small_bundle
from monai.bundle import ConfigParser

from akd_monai.data.nifti import FileError
from akd_monai.data.volume_file import read_volume_file
from akd_monai.errors import InputError
from akd_monai.names import is_volume
from akd_monai.networks.nets import ENet
from akd_monai.prostate import prepare_dataset, verify_dataset

# an error that nobody foresaw, in the words of those that report it in one line
_UNFORESEEN = re.compile(r"\b[A-Z]\w*(Error|Exception|Warning)\b: ")


@dataclass
class Seen:
    """What became of a case at a door.

    Args:
        result: arrays that came out, ``None`` if the case was refused.
        said: warnings, or the reason of the refusal.
        fault: an error that nobody foresaw, empty without one.
    """

    result: list[np.ndarray] | None
    said: list[str]
    fault: str = ""


class Doors:
    """A bundle of drawn weights, and the doors.

    Args:
        folder: where everything is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bundle = small_bundle("enet", folder / "bundle")
        torch.manual_seed(0)
        torch.save(ENet(2, 1, 2).state_dict(), self.bundle / "models" / "model.pt")
        self._configs = {}
        for name in ("inference", "train"):
            parser = ConfigParser()
            parser.read_config(self.bundle / "configs" / f"{name}.json")
            self._configs[name] = dict(parser.get())

    def of(self, kind: str) -> dict[str, Callable[[Path], Seen]]:
        """Return the doors that take a format: a series of slices is prepared, and verify reads NIfTI."""
        doors: dict[str, Callable[[Path], Seen]] = {"prepare": self.prepare}
        if kind.startswith("nii"):
            doors["verify"] = self.verify
        if kind != "dicom":
            doors |= {"inference": self.inference, "training": self.training}
        return doors

    def case(self, files: dict[str, bytes]) -> Path:
        """Write a case into an empty folder and return the folder."""
        root = self.folder / "raw"
        shutil.rmtree(root, ignore_errors=True)
        for name, data in files.items():
            path = root / "SITE" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return root

    def prepare(self, root: Path) -> Seen:
        """Prepare the folder."""
        target = self.folder / "prepared"
        shutil.rmtree(target, ignore_errors=True)
        with _listening() as said, _foreseen() as refused:
            result = prepare_dataset("folder", root, target, workers=0, progress=False)
            if result.failed:
                refused += [str(failure) for failure in result.failed]
            said += [line for lines in result.warnings.values() for line in lines] + result.skipped
        return _seen(refused, said, lambda: _volumes(sorted(target.rglob("*.nii.gz"))))

    def verify(self, root: Path) -> Seen:
        """Verify the folder; what comes out are its voxels, which a training would take."""
        with _listening() as said, _foreseen() as refused:
            report = verify_dataset(root, workers=0, progress=False)
            refused += [str(finding) for finding in report.errors]
            said += [str(finding) for finding in report.warnings]
        return _seen(refused, said, lambda: _volumes(sorted(root.rglob("*.nii*"))))

    def inference(self, root: Path) -> Seen:
        """Segment the folder, as ``python -m monai.bundle run`` with ``inference.json`` does."""
        target = self.folder / "masks"
        shutil.rmtree(target, ignore_errors=True)
        parser = self._parser("inference", dataset_dir=str(root), output_dir=str(target))
        with _listening() as said, _foreseen() as refused:
            parser.get_parsed_content("run")
        return _seen(refused, said, lambda: _volumes(sorted(target.rglob("*.nii.gz"))))

    def training(self, root: Path) -> Seen:
        """Load the case as training and validation do."""
        names = sorted(path for path in root.rglob("case1*") if is_volume(path))
        data = [{"image": str(names[0]), "label": str(names[-1]), "case_id": "SITE/case1"}]
        parser = self._parser("train", **{"train#dataset#data": data, "validate#dataset#data": data})
        found: list[np.ndarray] = []
        with _listening() as said, _foreseen() as refused:
            volume = parser.get_parsed_content("train#dataset")._volumes[0]
            case = parser.get_parsed_content("validate#dataset")[0]
            found += [np.asarray(part) for part in (volume["image"], volume["label"], case["image"], case["label"])]
            found.append(np.asarray(case["label"].affine))
        return _seen(refused, said, lambda: found)

    def _parser(self, name: str, **changes) -> ConfigParser:
        parser = ConfigParser(dict(self._configs[name]))
        parser["bundle_root"] = str(self.bundle)
        parser["device"] = "$torch.device('cpu')"
        for key, value in changes.items():
            parser[key] = value
        return parser


def different(one: Seen, other: Seen) -> bool:
    """Return whether two cases came out differently."""
    if one.result is None or other.result is None:
        return one.result is not other.result
    if len(one.result) != len(other.result):
        return True
    pairs = list(zip(one.result, other.result, strict=True))
    return any(a.shape != b.shape or not np.allclose(a, b, atol=1e-4) for a, b in pairs)


def _seen(refused: list[str], said: list[str], result: Callable[[], list[np.ndarray]]) -> Seen:
    words = [*refused, *said]
    fault = next((line for line in words if _UNFORESEEN.search(line) or "\n" in line), "")
    return Seen(None if refused else result(), words, fault)


def _volumes(paths: list[Path]) -> list[np.ndarray]:
    arrays = []
    for path in paths:
        try:
            volume = read_volume_file(path)
        except FileError:
            # no volume, so nothing that could be used
            continue
        arrays += [np.asarray(volume.array, dtype=float), volume.affine]
    return arrays


@contextlib.contextmanager
def _foreseen():
    """Catch what a user would see in one line."""
    refused: list[str] = []
    try:
        yield refused
    except Exception as error:
        refused.append(_words(error))


def _words(error: BaseException) -> str:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, InputError):
        cause = cause.__cause__
    return str(cause) if cause is not None else f"{type(error).__name__}: {error}"


class _Kept(logging.Handler):
    def __init__(self, said: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.said = said

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


@contextlib.contextmanager
def _listening():
    """Keep the warnings of the package."""
    said: list[str] = []
    handler = _Kept(said)
    log = logging.getLogger("akd_monai")
    log.addHandler(handler)
    try:
        yield said
    finally:
        log.removeHandler(handler)
