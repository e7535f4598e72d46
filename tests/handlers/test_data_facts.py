# SPDX-License-Identifier: Apache-2.0
"""One scan under two names."""

from __future__ import annotations

import logging

from monai.data import Dataset

from akd_monai.handlers._data_facts import DataFacts


def test_one_scan_under_two_names_is_said_also_across_a_split(tmp_path, caplog):
    for name, content in (("a", b"first"), ("b", b"second")):
        (tmp_path / f"{name}.nii.gz").write_bytes(content)
    (tmp_path / "link.nii.gz").symlink_to(tmp_path / "a.nii.gz")

    def cases(*names):
        return Dataset([{"case_id": name, "image": str(tmp_path / f"{name}.nii.gz")} for name in names])

    facts = DataFacts()
    with caplog.at_level(logging.WARNING):
        facts.of(cases("a", "b"))
        facts.of(cases("a"))
        assert not caplog.records
        facts.of(cases("link"))
    assert [record.message for record in caplog.records] == [
        "cases a and link have one image: the same scan counts twice; remove one of them."
    ]
