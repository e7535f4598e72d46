# SPDX-License-Identifier: Apache-2.0
"""Which bundles are served, that wrong weights are not, and what becomes of the copies. Needs no MONAI Label."""

from __future__ import annotations

import json
import logging
import shutil

import pytest
import torch
import yaml
from bundle_tools import small_bundle

from akd_monai.bundle import weights_sha256
from akd_monai.errors import InputError
from akd_monai.label._bundles import check_servable, choose_bundles
from akd_monai.label._copies import digest, served_copy
from akd_monai.networks.nets import ENet, ESPNet


def with_weights(root, seed=0):
    torch.manual_seed(seed)
    torch.save(ENet(2, 1, 2).state_dict(), root / "models" / "model.pt")
    return root


def change_metadata(root, change):
    path = root / "configs" / "metadata.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.fixture
def bundle(tmp_path):
    return with_weights(small_bundle("enet", tmp_path / "bundles" / "one"))


@pytest.fixture
def copy(bundle, tmp_path):
    return served_copy(bundle, tmp_path / "copy")


def test_bundles_without_weights_are_left_out_by_default(bundle, caplog):
    small_bundle("espnet", bundle.parent / "two")
    with caplog.at_level(logging.WARNING):
        assert choose_bundles(bundle.parent) == {"one": bundle}
    assert "not served, because they have no weights (models/model.pt): two" in caplog.text


def test_bundle_that_was_named_must_have_weights(bundle):
    small_bundle("espnet", bundle.parent / "two")
    with pytest.raises(InputError, match=r"two' has no weights \(models/model.pt\): train it first"):
        choose_bundles(bundle.parent, ["two"])


def test_misspelt_name_is_answered_with_those_there(bundle):
    with pytest.raises(InputError, match=r"unknown bundle 'ohne' in .* Did you mean 'one'"):
        choose_bundles(bundle.parent, ["ohne"])


def test_folder_without_bundles(tmp_path):
    with pytest.raises(InputError, match="holds no bundles"):
        choose_bundles(tmp_path)


def test_folder_in_which_no_bundle_has_weights(tmp_path):
    small_bundle("enet", tmp_path / "one")
    with pytest.raises(InputError, match=r"no bundle in .* has weights"):
        choose_bundles(tmp_path)


def test_weights_of_another_network_are_refused(bundle):
    torch.save(ESPNet(2, 1, 2).state_dict(), bundle / "models" / "model.pt")
    with pytest.raises(InputError, match=r"weights .*model.pt"):
        check_servable(bundle)


@pytest.mark.fault(
    "MONAI Label",
    "weights that are not those of the metadata",
    injected="another hash",
    outcome="refused",
)
def test_weights_with_another_hash_than_metadata_says_are_refused(bundle):
    wanted = weights_sha256(bundle)
    change_metadata(bundle, lambda content: content.update(weights_sha256=wanted))
    check_servable(bundle)
    with_weights(bundle, seed=1)  # they fit the network, so nothing else could tell
    with pytest.raises(InputError, match=f"{weights_sha256(bundle)[:12]}.*says {wanted[:12]}"):
        check_servable(bundle)


def test_input_must_be_called_as_monai_label_does(bundle):
    def rename(content):
        inputs = content["network_data_format"]["inputs"]
        inputs["volume"] = inputs.pop("image")

    change_metadata(bundle, rename)
    with pytest.raises(InputError, match=r"first of inputs .* is 'volume', MONAI Label wants 'image'"):
        check_servable(bundle)


def test_copy_holds_the_bundle_without_its_results(bundle, tmp_path):
    (bundle / "eval").mkdir()
    (bundle / "eval" / "resume.pt").write_text("large")
    copy = served_copy(bundle, tmp_path / "copy")
    assert digest(copy) == digest(bundle)
    assert not (copy / "eval").exists()


def test_copy_follows_the_bundle_while_nothing_was_trained_in_it(bundle, copy):
    with_weights(bundle, seed=1)
    served_copy(bundle, copy)
    assert weights_sha256(copy) == weights_sha256(bundle)


def test_what_was_trained_is_kept(bundle, copy, caplog):
    with_weights(copy, seed=1)
    trained = weights_sha256(copy)
    served_copy(bundle, copy)
    assert weights_sha256(copy) == trained
    assert not caplog.records
    with_weights(bundle, seed=2)
    served_copy(bundle, copy)
    assert weights_sha256(copy) == trained
    assert "is kept, since it was changed or trained there" in caplog.text


def test_folder_that_is_no_copy_is_left_alone(bundle, tmp_path):
    own = with_weights(small_bundle("enet", tmp_path / "own"), seed=1)
    before = digest(own)
    served_copy(bundle, own)
    assert digest(own) == before


@pytest.mark.fault(
    "MONAI Label",
    "copying a bundle was interrupted",
    injected="a half-made copy",
    outcome="made again",
)
def test_copy_that_was_interrupted_is_made_again(bundle, tmp_path):
    (tmp_path / ".tmp-copy" / "configs").mkdir(parents=True)
    shutil.copy(bundle / "configs" / "train.json", tmp_path / ".tmp-copy" / "stray.json")
    assert digest(served_copy(bundle, tmp_path / "copy")) == digest(bundle)


def test_label_says_that_it_trusts_what_it_serves(bundle, caplog):
    with caplog.at_level(logging.INFO):
        choose_bundles(bundle.parent)
    assert "The configs of one are trusted: the server runs what they say" in caplog.text
    assert "python -m akd_monai check BUNDLE" in caplog.text


def test_a_config_with_code_is_served_because_it_is_trusted(bundle):
    path = bundle / "configs" / "inference.json"
    content = json.loads(path.read_text())
    content["network_def"]["out_channels"] = "$1 + 1"
    path.write_text(json.dumps(content))
    check_servable(bundle)


def test_a_config_in_yaml_and_a_network_in_torchscript_are_served(bundle):
    inference = bundle / "configs" / "inference.json"
    content = json.loads(inference.read_text())
    inference.with_suffix(".yaml").write_text(yaml.safe_dump(content))
    inference.unlink()
    network = ENet(2, 1, 2)
    (bundle / "models" / "model.pt").unlink()
    torch.jit.trace(network.eval(), torch.zeros(1, 1, 32, 32)).save(bundle / "models" / "model.ts")
    assert choose_bundles(bundle.parent) == {"one": bundle}


def test_weights_of_another_name_are_told(bundle):
    (bundle / "models" / "model.pt").rename(bundle / "models" / "best_dice.pt")
    message = (
        r"has weights of other names \(best_dice.pt\), and MONAI Label reads models/model.pt alone, .*; copy those to"
    )
    with pytest.raises(InputError, match=message):
        choose_bundles(bundle.parent, ["one"])


@pytest.mark.parametrize("name", ["inference.yml", "common.json"])
def test_a_config_that_monai_label_does_not_read_is_told(bundle, name):
    inference = bundle / "configs" / "inference.json"
    inference.rename(bundle / "configs" / name)
    with pytest.raises(
        InputError, match=r"has no configs/inference.json or inference.yaml, the only ones that MONAI Label"
    ):
        check_servable(bundle)
    inference.write_text("{}")
    with pytest.raises(
        InputError, match=r"configs/inference.json of .* has no network_def, and MONAI Label reads no other"
    ):
        check_servable(bundle)
