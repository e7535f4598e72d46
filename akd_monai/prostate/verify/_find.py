# SPDX-License-Identifier: Apache-2.0
"""Find the cases of a folder: files are paired by name and held against the manifest; what does not fit is a finding.

:func:`akd_monai.data.read_cases` follows the same naming rules, but stops at the first fault.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from akd_monai.data.manifest import MANIFEST, UNLABELLED
from akd_monai.errors import InputError
from akd_monai.names import MASK_SUFFIX, is_mask_name, is_nifti, stem_of, visible
from akd_monai.prostate._plausible import ZONE_SITES
from akd_monai.prostate.verify._check import CaseFiles
from akd_monai.prostate.verify._records import CaseRecord
from akd_monai.prostate.verify.report import Finding

__all__ = ["find_cases"]

_PATTERNS = ("*", "*/*", f"{UNLABELLED}/*/*")

# Names of the files of a case, by kind: "image" or "label".
_Pair = dict[str, str]


def find_cases(
    root: Path, records: Mapping[str, CaseRecord], label_values: Collection[int] | None
) -> tuple[list[CaseFiles], list[Finding]]:
    """Pair images and masks by name, site by site, and report names that clash and files that are missing.

    Args:
        root: the data set's folder.
        records: records of the manifest by case.
        label_values: values that masks may hold, ``None`` for those of the site.

    Raises:
        InputError: if the folder is missing or holds no NIfTI file.
    """
    if not root.is_dir():
        raise InputError(f"the data set folder {root} does not exist; give a folder as prepare writes it.")
    pairs, findings = _paired(root)
    if not pairs:
        raise InputError(
            f"{root} holds no NIfTI file; expected SITE/CaseNN.nii.gz and SITE/CaseNN_segmentation.nii.gz."
        )
    cases = [_case_files(root, case, pairs[case], records.get(case), label_values) for case in sorted(pairs)]
    return cases, findings + _missing(pairs, records)


def _files(root: Path) -> Iterator[Path]:
    for pattern in _PATTERNS:
        for path in visible(root, pattern):
            if path.is_file() and is_nifti(path):
                yield path


def _paired(root: Path) -> tuple[dict[str, _Pair], list[Finding]]:
    pairs: dict[str, _Pair] = {}
    findings: list[Finding] = []
    # Names of a site that differ in upper and lower case only are one case, as for read_cases.
    known: dict[tuple[str, str], str] = {}
    for path in sorted(_files(root), key=is_mask_name):
        site, name_in_site = _site_and_name(path)
        case = known.setdefault((site, name_in_site.lower()), f"{site}/{name_in_site}")
        kind = "label" if is_mask_name(path) else "image"
        name = path.relative_to(root).as_posix()
        pair = pairs.setdefault(case, {})
        if kind in pair:
            message = f"a second {kind} beside {pair[kind]}"
            findings.append(Finding(case, name, "two-files", "error", message, "remove one of the two"))
        else:
            pair[kind] = name
    return pairs, findings


def _site_and_name(path: Path) -> tuple[str, str]:
    stem = stem_of(path)
    if is_mask_name(path):
        stem = stem[: -len(MASK_SUFFIX)]
    # the name of a link counts, as for read_cases; "." has none
    return Path(os.path.abspath(path.parent)).name, stem


def _case_files(
    root: Path, case: str, pair: _Pair, record: CaseRecord | None, label_values: Collection[int] | None
) -> CaseFiles:
    site = case.split("/")[0]
    image = pair.get("image")
    has_zones = record is None and site.upper() in ZONE_SITES
    usual = (0, 1, 2) if has_zones else (0, 1)
    return CaseFiles(
        case=case,
        site=site,
        root=root,
        image=image,
        label=pair.get("label"),
        unlabelled=image is not None and image.startswith(f"{UNLABELLED}/"),
        sha256=_checksums(pair, record),
        label_values=tuple(label_values or usual),
        synthetic=record is not None and record.synthetic,
    )


def _checksums(pair: _Pair, record: CaseRecord | None) -> dict[str, str | None]:
    """Return the manifest's checksums of the files that it names; of others it says nothing."""
    if record is None:
        return {}
    named = {"image": record.image, "label": record.label}
    return {kind: digest for kind, digest in record.sha256.items() if named[kind] == pair.get(kind)}


def _missing(pairs: Mapping[str, _Pair], records: Mapping[str, CaseRecord]) -> list[Finding]:
    findings = []
    for case, record in records.items():
        for kind, name in (("image", record.image), ("label", record.label)):
            if name and pairs.get(case, {}).get(kind) != name:
                message = f"the {kind} that {MANIFEST} names is missing"
                remedy = "restore it or run prepare again"
                findings.append(Finding(case, name, "missing-file", "error", message, remedy))
    return findings
