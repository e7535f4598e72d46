# SPDX-License-Identifier: Apache-2.0
"""A network that has learned from slices of one size is not used on another without a word."""

from __future__ import annotations

import json

import pytest
from bundle_tools import small_bundle
from monai.bundle import ConfigParser

from akd_monai.bundle import _evaluation
from akd_monai.data._trained_size import RECORD, warn_of_other_size
from akd_monai.deploy import export as export_module
from akd_monai.deploy._from_bundle import recipe_of_bundle
from akd_monai.files import sha256_of
from akd_monai.handlers import load_weights


def trained(root, size):
    weights = root / "models" / "model.pt"
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(b"weights")
    (root / RECORD).parent.mkdir(exist_ok=True)
    content = {"spatial_size": size, "weights_sha256": sha256_of(weights)}
    (root / RECORD).write_text(json.dumps(content))
    return weights


@pytest.mark.fault(
    "Wrong input",
    "slices of another size than a network has learned from",
    injected="weights of a training at 32 x 48, evaluated, exported and used at the size of their bundle",
    outcome="a warning with both sizes",
)
def test_another_size_is_a_warning_at_each_door(tmp_path, caplog, monkeypatch):
    root = small_bundle("enet", tmp_path / "bundle")
    recipe = recipe_of_bundle(root)
    used = json.loads((root / "configs" / "inference.json").read_text())["spatial_size"]
    weights = trained(root, [32, 48])
    words = (
        f"model.pt has learned from slices of 32 x 48 and is used on {used[0]} x {used[1]}, where masks may be wrong"
    )
    export_module._compare_size(root, None, recipe)
    _evaluation._compare_size(ConfigParser({"spatial_size": used, "output_dir": str(root / "eval")}), weights)
    monkeypatch.setattr(load_weights, "load_weights", lambda *_: None)
    handlers = ConfigParser(json.loads((root / "configs" / "inference.json").read_text()))
    handlers["bundle_root"] = str(root)
    handlers.get_parsed_content("handlers")[0](None)
    assert [words in message for message in caplog.messages if "Weights" not in message] == [True, True, True]


@pytest.mark.parametrize("what", ["same size", "other weights", "no record", "no size in it", "damaged"])
def test_silence_where_nothing_is_known_or_nothing_is_wrong(tmp_path, caplog, what):
    weights = trained(tmp_path, [64, 64] if what == "same size" else [32, 32])
    record = tmp_path / RECORD
    if what == "other weights":
        weights.write_bytes(b"others")
    if what == "no record":
        record.unlink()
    if what == "no size in it":
        record.write_text(json.dumps({"weights_sha256": sha256_of(weights)}))
    if what == "damaged":
        record.write_text("{")
    warn_of_other_size(record, weights, [64, 64])
    assert caplog.messages == []
