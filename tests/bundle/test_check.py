# SPDX-License-Identifier: Apache-2.0
"""``check_bundle`` names each fault that was planted in a complete bundle."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from bundle_tools import small_bundle

from akd_monai.bundle import check_bundle, find_problems
from akd_monai.errors import InputError


@pytest.fixture
def bundle(tmp_path) -> Path:
    return small_bundle("enet", tmp_path / "student")


def edit(bundle: Path, name: str, where: str, value: object) -> None:
    path = bundle / "configs" / name
    content = json.loads(path.read_text(encoding="utf-8"))
    *parents, last = where.split("/")
    place = content
    for step in parents:
        place = place[int(step) if isinstance(place, list) else step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    path.write_text(json.dumps(content), encoding="utf-8")


FAULTS = [
    ("train.json", "loss/_target_", "DiceFocalLos", "train.json: loss: 'DiceFocalLos' does not exist"),
    ("train.json", "loss/gama", 2.0, "has no argument 'gama'"),
    ("train.json", "train/trainer/epochs", 3, "'SupervisedTrainer' has no argument 'epochs'"),
    ("train.json", "optimizer/lr", "@learning_rat", "optimizer::lr refers to 'learning_rat', which does not exist"),
    ("train.json", "network_def/dropout", 0.3, "network_def differs between train.json and inference.json"),
    ("inference.json", "preprocessing/transforms/3/mode", "nearest", "prepares the image in another way"),
    ("inference.json", "inferer/roi_size", "@size", "inferer::roi_size refers to 'size'"),
    ("distill.json", "trainer#train#teacher", "@teacher", "'trainer#train#teacher' has no target in the train config"),
    ("distill.json", "train#trainer#teachers", "@teacher", "has no argument 'teachers'"),
    ("evaluate.json", "validate#handler#0", 1, "'validate#handler#0' has no target in the train config"),
    ("metadata.json", "monai_version", None, "metadata.json has no 'monai_version'"),
    ("metadata.json", "version", "9.9", "version '9.9' is not in changelog"),
]


@pytest.mark.parametrize(("name", "where", "value", "message"), FAULTS, ids=[f"{f[0]}-{f[1]}" for f in FAULTS])
def test_fault_is_named(bundle, name, where, value, message):
    assert find_problems(bundle) == []
    edit(bundle, name, where, value)
    with pytest.raises(InputError, match=re.escape(message)):
        check_bundle(bundle)


def test_every_fault_is_in_one_message(bundle):
    edit(bundle, "train.json", "loss/gama", 2.0)
    (bundle / "LICENSE").unlink()
    with pytest.raises(InputError, match=r"has 2 problems: LICENSE is missing; train.json: loss:"):
        check_bundle(bundle)


def test_weights_that_are_not_those_of_the_metadata(bundle):
    (bundle / "models" / "model.pt").write_bytes(b"other")
    edit(bundle, "metadata.json", "weights_sha256", "0" * 64)
    with pytest.raises(
        InputError, match=r"models/model.pt has the hash [0-9a-f]{12}..., metadata.json says 000000000000"
    ):
        check_bundle(bundle)
