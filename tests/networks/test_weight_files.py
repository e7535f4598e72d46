# SPDX-License-Identifier: Apache-2.0
"""A file of weights is the one that was written, and what is wrong with another is said with a remedy."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch
from torch import nn

from akd_monai.errors import InputError
from akd_monai.files import save_atomic
from akd_monai.networks import load_weights


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 2, 3))


def saved(folder, **record):
    """Save weights and the record that a training writes beside them."""
    path = folder / "model.pt"
    sha256 = save_atomic(small().state_dict(), path)
    (folder / "best.json").write_text(json.dumps({"metric": 0.5, "sha256": sha256, **record}))
    return path


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(data))


@pytest.mark.fault(
    "Damaged checkpoints and weights",
    "a bit of `model.pt` flips",
    injected="200 random bits",
    outcome="found in 200 of 200 by the SHA-256 in `best.json`",
)
def test_a_flipped_bit_of_a_best_model_is_found_in_200_of_200(tmp_path):
    path = saved(tmp_path)
    intact = path.read_bytes()
    load_weights(small(), path)
    network = small()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    missed = []
    for bit in random.Random(1).sample(range(8 * len(intact)), 200):
        path.write_bytes(intact)
        flip(path, bit)
        try:
            load_weights(network, path)
        except InputError:
            continue
        missed.append(bit)
    assert missed == []
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.fault(
    "Damaged checkpoints and weights",
    "a bit of weights without a record flips",
    injected="bits at random",
    outcome="found by the records' own checksums wherever a weight would change",
)
def test_without_a_record_no_flip_changes_a_weight(tmp_path):
    path = tmp_path / "teacher.pt"
    written = small()
    torch.save(written.state_dict(), path)
    intact = path.read_bytes()
    for bit in random.Random(2).sample(range(8 * len(intact)), 200):
        path.write_bytes(intact)
        flip(path, bit)
        network = small()
        try:
            load_weights(network, path)
        except InputError:
            continue
        for key, value in network.state_dict().items():
            assert torch.equal(value, written.state_dict()[key])


def test_damage_is_told_from_replacement(tmp_path):
    path = saved(tmp_path)
    data = path.read_bytes()
    flip(path, 8 * (data.index(b"data/0") + 200))
    with pytest.raises(InputError, match=r"are damaged \(the checksum of .*data/0 is wrong\); restore the file"):
        load_weights(small(), path)


@pytest.mark.fault(
    "Damaged checkpoints and weights",
    "weights are replaced by others",
    injected="another network's file under the same name",
    outcome="refused until its record is deleted",
)
def test_a_replaced_file_is_refused_until_its_record_is_deleted(tmp_path):
    path = saved(tmp_path)
    other = small()
    torch.save(other.state_dict(), path)
    message = r"have the SHA-256 \w{12}\.\.\., .*best\.json says \w{12}\.\.\..*on purpose, delete best\.json\.$"
    with pytest.raises(InputError, match=message):
        load_weights(small(), path)
    (tmp_path / "best.json").unlink()
    network = small()
    load_weights(network, path)
    assert torch.equal(network[0].weight, other[0].weight)


def test_the_entry_before_counts_when_a_run_ended_between_record_and_weights(tmp_path):
    path = saved(tmp_path)
    described = json.loads((tmp_path / "best.json").read_text())
    (tmp_path / "best.json").write_text(json.dumps({"metric": 0.6, "sha256": "0" * 64, "previous": described}))
    load_weights(small(), path)


def test_a_record_of_another_file_in_the_folder_is_none_of_this_one(tmp_path):
    saved(tmp_path)
    torch.save(small().state_dict(), tmp_path / "teacher.pt")
    load_weights(small(), tmp_path / "teacher.pt")
    saved(tmp_path, file="student.pt")
    torch.save(small().state_dict(), tmp_path / "model.pt")
    load_weights(small(), tmp_path / "model.pt")


@pytest.mark.parametrize("content", ["{", "[1]", "null", "{}", '{"sha256": 5}', '{"previous": [1]}'])
def test_a_record_that_says_nothing_does_not_stop(tmp_path, content):
    path = saved(tmp_path)
    (tmp_path / "best.json").write_text(content)
    load_weights(small(), path)


def test_the_metadata_of_a_bundle_is_asked_where_no_training_left_a_record(tmp_path):
    for name in ("models", "configs"):
        (tmp_path / name).mkdir()
    path = saved(tmp_path / "models")
    (tmp_path / "configs" / "metadata.json").write_text(json.dumps({"weights_sha256": "1" * 64}))
    load_weights(small(), path)
    (tmp_path / "models" / "best.json").unlink()
    with pytest.raises(InputError, match=r"metadata\.json says 111111111111.*correct weights_sha256 there\.$"):
        load_weights(small(), path)


def whole_network(path):
    torch.save(small(), path)


def with_numpy(path):
    torch.save({"state_dict": small().state_dict(), "dice": np.float64(0.8)}, path)


def torch_script(path):
    torch.jit.script(small()).save(path)


def lfs_pointer(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")


def web_page(path):
    path.write_text("<!DOCTYPE html>\n<html>Sign in</html>")


def cut(path):
    torch.save(small().state_dict(), path)
    path.write_bytes(path.read_bytes()[:900])


def old_and_cut(path):
    torch.save(small().state_dict(), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:900])


@pytest.mark.fault(
    "Damaged checkpoints and weights",
    "a Git LFS pointer, a web page, TorchScript, a pickled network as weights",
    injected="each in the place of `model.pt`",
    outcome="one line with the remedy",
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (whole_network, r"it holds an object of torch\.nn\.modules\.container\.Sequential, .*save them again by"),
        (with_numpy, r"it holds an object of numpy\.\S+, which could run code; save them again by torch\.save"),
        (torch_script, r"it is a TorchScript program; load it by torch\.jit\.load in a program of your own"),
        (lfs_pointer, r"it is a Git LFS pointer, not the file; fetch the file with git lfs pull\.$"),
        (web_page, r"it is a web page, not the file; download the file itself\.$"),
        (cut, r"it is damaged or not of PyTorch; restore it from a copy\.$"),
        (old_and_cut, r"it is damaged or not of PyTorch; restore it from a copy\.$"),
    ],
)
def test_what_is_no_state_dict_is_named_with_its_remedy(tmp_path, make, message):
    make(tmp_path / "teacher.pt")
    with pytest.raises(InputError, match=message) as refused:
        load_weights(small(), tmp_path / "teacher.pt")
    text = str(refused.value)
    assert "weights_only" not in text
    assert "\x1b" not in text
    assert "\n" not in text


def test_a_file_without_any_checksum_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(small().state_dict(), tmp_path / "model.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    load_weights(small(), tmp_path / "model.pt")


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "model.pt").mkdir()
    with pytest.raises(InputError, match=r"is a folder; give the path of a file"):
        load_weights(small(), tmp_path / "model.pt")
