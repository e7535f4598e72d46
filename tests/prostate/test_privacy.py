# SPDX-License-Identifier: Apache-2.0
"""What tells of a person is replaced."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from akd_monai.prostate._privacy import looks_personal, pseudonym, redacted
from akd_monai.prostate.prepare._sources.folder_names import case_name


def test_names_dates_and_identifiers_are_redacted():
    text = "2003-07-27/DOE^JOHN/1.3.12.2.1107.5.2.30.25245.20060207/19990101/Prostate3T-01-0013"
    assert redacted(text).startswith("DATE/NAME/uid-")
    assert redacted(text).endswith("/DATE/Prostate3T-01-0013")
    assert redacted("Patient 383/T2W") == "Patient 383/T2W"
    assert looks_personal("Patient Name: X")
    assert looks_personal("01.02.1950")
    assert not looks_personal("ITK 5.4.7")
    key = b"k" * 16
    assert pseudonym("a", key) == pseudonym("a", key) != pseudonym("a", b"l" * 16)
    assert pseudonym("a", key) != pseudonym("b", key)


def test_a_name_is_one_name_in_both_forms_of_its_accents():
    # Linux keeps the bytes of whoever wrote them, and a copy by way of macOS has others
    composed, apart = (unicodedata.normalize(form, "Müller Ångström") for form in ("NFC", "NFD"))
    assert composed != apart
    assert pseudonym(composed, b"k" * 16) == pseudonym(apart, b"k" * 16)
    image, mask = Path(composed, "t2.nii.gz"), Path("labels", apart, "t2_seg.nii.gz")
    assert case_name(image) == case_name(mask) == composed
    assert case_name(Path(apart), is_folder=True) == composed
