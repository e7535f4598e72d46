# SPDX-License-Identifier: Apache-2.0
"""Medical Segmentation Decathlon, Task05_Prostate: 4-D NIfTI whose last axis holds T2 and ADC."""

from __future__ import annotations

import re
from pathlib import Path

from akd_monai.errors import InputError
from akd_monai.files import read_json
from akd_monai.names import NIFTI_SUFFIXES, is_nifti, stem_of, visible
from akd_monai.prostate.prepare._sources.base import CaseError, Listing, Pair, RawCase, Source, no_cases, problem_of
from akd_monai.prostate.prepare._sources.pairing import read_on_one_grid

__all__ = ["Decathlon"]

_CASE = re.compile(r"prostate_(\d+)", re.IGNORECASE)


class Decathlon(Source):
    """Reader of ``imagesTr/prostate_NN.nii.gz`` and ``labelsTr/prostate_NN.nii.gz``; ``imagesTs`` has no labels.

    The T2 channel is the one that ``dataset.json`` names, else the first. Patients of this set also occur in
    Prostate-3T, so it is no unseen site for RUNMC.
    """

    name = "decathlon"
    layout = "folders imagesTr and labelsTr with prostate_NN.nii.gz"

    def find_cases(self, root: Path, *, site: str | None = None, secret: bytes = b"") -> Listing:
        """List images by folder and file name."""
        images: dict[str, list[Path]] = {}
        for folder in ("imagesTr", "imagesTs"):
            for path in visible(root, f"**/{folder}/*"):
                match = _CASE.fullmatch(stem_of(path))
                if match and is_nifti(path) and path.is_file():
                    images.setdefault(match[1], []).append(path)
        if not images:
            raise no_cases(self.name, root, self.layout)
        return Listing([self._case(number, paths, site or "MSD") for number, paths in sorted(images.items())])

    def _case(self, number: str, images: list[Path], site: str) -> RawCase:
        path = images[0]
        training = path.parent.name == "imagesTr"
        folder = path.parent.parent / "labelsTr"
        names = [f"{stem_of(path)}{suffix}" for suffix in NIFTI_SUFFIXES]
        labels = [folder / name for name in names if training and (folder / name).is_file()]
        return RawCase(
            source=self.name,
            site=site,
            patient_id=f"msd-prostate-{number}",
            images=tuple(images),
            labels=tuple(labels),
            case=f"Case{number}",
            label_rule="gland = label > 0 (1 = peripheral zone, 2 = transition zone)",
            warnings=("the label is missing",) if training and not labels else (),
            problem=problem_of(images, labels),
        )

    def read(self, case: RawCase) -> Pair:
        """Read the T2 volume of one case and its label."""
        return read_on_one_grid(case, channel=_t2_channel(case.images[0].parent.parent))


def _t2_channel(root: Path) -> int:
    """Return the index of T2 in ``dataset.json``, 0 without such a file."""
    path = root / "dataset.json"
    if not path.is_file():
        return 0
    try:
        modalities = read_json(path)["modality"]
        names = {int(index): str(name).lower() for index, name in modalities.items()}
        return next(index for index, name in sorted(names.items()) if "t2" in name)
    except InputError as error:
        raise CaseError(error.what, remedy=error.remedy, where=path.name, code="channel") from None
    except (ValueError, KeyError, AttributeError, StopIteration):
        remedy = "restore the entry 'modality' that names a T2 channel"
        raise CaseError("names no T2 channel", remedy=remedy, where=path.name, code="channel") from None
