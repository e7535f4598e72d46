# SPDX-License-Identifier: Apache-2.0
"""Figures in a bundle's README come from the table of cases, and survive assembling."""

from __future__ import annotations

import hashlib
import json

import pytest
from bundle_tools import small_bundle

from akd_monai.bundle import publish_results
from akd_monai.bundle._parts import bundle_files, read_part
from akd_monai.bundle._results import read_results
from akd_monai.errors import InputError

TABLE = """case_id,site,class,dice,hd95_mm,asd_mm,reference_ml,predicted_ml
a,S,prostate,0.8,4.0,1.0,40,41
b,S,prostate,0.6,,,30,0
"""


@pytest.fixture
def bundle(tmp_path):
    root = small_bundle("enet", tmp_path / "student")
    (root / "models" / "model.pt").write_bytes(b"weights")
    (tmp_path / "per_case.csv").write_text(TABLE)
    return root


def test_means_by_hand(bundle, tmp_path):
    publish_results(bundle, tmp_path / "per_case.csv", data="SYNTHETIC phantom", trained_by="make demo")
    text = (bundle / "docs" / "README.md").read_text()
    # mean of 0.8 and 0.6, and the deviation of a sample of two: 0.2 / sqrt(2)
    assert "| prostate | 0.700 ± 0.141 | 4.000, undefined in 1 | 1.000, undefined in 1 |" in text
    assert "Evaluated on: SYNTHETIC phantom. Mean ± standard deviation over 2 cases." in text
    assert "make demo" in text
    assert "Not measured: no weights" not in text
    assert "## MONAI Bundle Commands" in text
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert metadata["eval_metrics"]["prostate_dice"] == 0.7
    assert metadata["weights_sha256"] == hashlib.sha256(b"weights").hexdigest()


@pytest.mark.fault(
    "Privacy",
    "published results name the home folder",
    injected="paths of the home in the command that trained and in the words about the data",
    outcome="`$HOME` and `~` in their place in README, results and metadata",
)
def test_what_is_published_names_no_home(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/homes/ada")
    table = tmp_path / "per_case.csv"
    publish_results(bundle, table, data="/homes/ada/data", trained_by="distill --dataset_dir=/homes/ada/data")
    written = [path.read_text() for path in bundle.rglob("*") if path.suffix in (".md", ".json")]
    assert not any("/homes/ada" in text for text in written)
    assert "distill --dataset_dir=$HOME/data" in (bundle / "docs" / "README.md").read_text()
    assert read_results(bundle)["data"] == "~/data"


def test_assembling_again_gives_the_same_files(bundle, tmp_path):
    publish_results(bundle, tmp_path / "per_case.csv", data="SYNTHETIC phantom")
    again = bundle_files(read_part("enet"), read_results(bundle))
    assert again["docs/README.md"] == (bundle / "docs" / "README.md").read_text()
    assert json.loads(again["configs/metadata.json"])["eval_metrics"]["cases"] == 2


def test_results_without_words_are_refused(bundle, tmp_path):
    with pytest.raises(InputError, match="publish must say what was evaluated on"):
        publish_results(bundle, tmp_path / "per_case.csv", data=" ")
    assert read_results(bundle) is None


def test_a_readme_without_the_section_is_refused(bundle, tmp_path):
    (bundle / "docs" / "README.md").write_text("# title\n")
    with pytest.raises(InputError, match="has no section '## Performance' to write to"):
        publish_results(bundle, tmp_path / "per_case.csv", data="x")
