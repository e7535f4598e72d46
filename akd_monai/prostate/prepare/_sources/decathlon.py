# SPDX-License-Identifier: Apache-2.0
"""Medical Segmentation Decathlon, Task05_Prostate: 4-D NIfTI whose last axis holds T2 and ADC."""

from __future__ import annotations

import re
from pathlib import Path

from akd_monai.errors import InputError
from akd_monai.files import read_json
from akd_monai.names import is_nifti, stem_of, visible
from akd_monai.prostate.prepare._sources.base import CaseError, Listing, Pair, RawCase, Source, no_cases
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
        images: dict[str, Path] = {}
        for folder in ("imagesTr", "imagesTs"):
            for path in visible(root, f"**/{folder}/*"):
                match = _CASE.fullmatch(stem_of(path))
                if match and is_nifti(path):
                    images.setdefault(match[1], path)
        if not images:
            raise no_cases(self.name, root, self.layout)
        return Listing([self._case(number, path, site or "MSD") for number, path in sorted(images.items())])

    def _case(self, number: str, path: Path, site: str) -> RawCase:
        training = path.parent.name == "imagesTr"
        label = path.parent.parent / "labelsTr" / path.name
        labelled = training and label.is_file()
        return RawCase(
            source=self.name,
            site=site,
            patient_id=f"msd-prostate-{number}",
            images=(path,),
            labels=(label,) if labelled else (),
            case=f"Case{number}",
            label_rule="gland = label > 0 (1 = peripheral zone, 2 = transition zone)",
            warnings=("the label is missing",) if training and not labelled else (),
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
